"""How far an estimate of performance may be believed: a fold of what was measured, so that it changes as labels come.

Three things make an estimate wrong, as the authors of the method say: inputs unlike those of the baseline, too few
rows, and a changed relation between inputs and truth, which nothing but labels can show. So no estimate is called right
before labels of its own batch confirm it, and once labels contradict one, none is believed until some agree.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from lifecycle.core.frozen import Frozen
from lifecycle.monitoring.findings import Line, Measured
from lifecycle.settings.rules import MonitoringRules

Batch = tuple[int, str]
"""Its version and name."""
OF_SUPPORT = ("outside", "missing")


class Trust(Frozen):
    """Whether the estimated performance of a batch may be believed, and why not."""

    verdict: Literal["confirmed", "unconfirmed", "do not trust"]
    why: tuple[str, ...]

    @property
    def told(self) -> str:
        """In words."""
        return self.verdict + "".join(f"; {reason}" for reason in self.why)


def statements(
    drift: Iterable[Measured], performance: Iterable[Measured], rules: MonitoringRules
) -> dict[Batch, Trust]:
    """What is to be said of each estimate, by version and batch."""
    labelled = {(each.version, each.batch): each for each in performance}
    said: dict[Batch, Trust] = {}
    last: dict[int, tuple[Measured, bool]] = {}
    for each in sorted(drift, key=lambda batch: batch.order):
        key = each.version, each.batch
        estimate = _deciding(each, "estimate")
        if estimate is None:
            continue
        agrees = _agrees(estimate, labelled.get(key), rules)
        if agrees is not None:
            last[each.version] = each, agrees
        said[key] = _statement(each, agrees, last.get(each.version))
    return said


def answered(drift: Sequence[Measured], performance: Sequence[Measured], rules: MonitoringRules) -> list[Measured]:
    """How well each batch was answered: as its labels say, and before enough of these came as is to be believed."""
    said = statements(drift, performance, rules)
    labelled = {(each.version, each.batch): each for each in performance if _rows(each) >= rules.min_rows}
    estimated = [
        each.model_copy(update={"lines": tuple(line for line in each.lines if line.part == "estimate")})
        for each in drift
        if (key := (each.version, each.batch)) in said and key not in labelled and said[key].verdict != "do not trust"
    ]
    return [*labelled.values(), *estimated]


def believed(batch: Measured) -> tuple[Line, ...]:
    """What was measured of a batch, without an estimate that the batch itself speaks against."""
    doubted = any(True for _ in _reasons(batch))
    return tuple(line for line in batch.lines if not (doubted and line.part == "estimate"))


def _statement(batch: Measured, agrees: bool | None, last: tuple[Measured, bool] | None) -> Trust:
    reasons = [*_reasons(batch)]
    if last and not last[1]:
        whose = "its labels contradict it" if last[0] is batch else f"the labels of {last[0].day} contradict theirs"
        reasons.append(f"{whose}: what inputs mean has changed, or how they are told")
    if reasons:
        return Trust(verdict="do not trust", why=tuple(reasons))
    if agrees:
        return Trust(verdict="confirmed", why=())
    since = f"labels last agreed on {last[0].day}" if last else "no labels have come yet"
    return Trust(verdict="unconfirmed", why=(f"it holds only if inputs mean what they did: {since}",))


def _reasons(batch: Measured) -> Iterator[str]:
    """What the batch itself says against its estimate."""
    for line in batch.lines:
        if line.part == "input" and line.measure in OF_SUPPORT and line.beyond:
            what = "unlike any row of the baseline" if line.measure == "outside" else "missing"
            yield f"{line.name} is {what} in {line.now or 0:.0%} of the rows ({line.before or 0:.0%} there)"
        if line.measure == "check" and line.beyond:
            was = f"was estimated as {line.now or 0:.3g}, and was {line.before or 0:.3g}"
            yield f"on the rows of the baseline {line.name} {was}"


def _agrees(estimate: Line, labelled: Measured | None, rules: MonitoringRules) -> bool | None:
    """Whether labels allow an estimate: their intervals meet; None where too few labels say anything."""
    found = _named(labelled, estimate.name) if labelled else None
    if found is None or found.rows < rules.min_rows:
        return None
    ends = [each for line in (found, estimate) for each in (line.low, line.high)]
    if None in ends:
        return None
    low, high, other_low, other_high = (float(end or 0.0) for end in ends)
    return low <= other_high and other_low <= high


def _deciding(batch: Measured, part: str) -> Line | None:
    return next((line for line in batch.lines if line.part == part and line.measure == "loss"), None)


def _named(batch: Measured, name: str) -> Line | None:
    return next((line for line in batch.lines if line.part == "performance" and line.name == name), None)


def _rows(batch: Measured) -> int:
    return max((line.rows for line in batch.lines if line.part == "performance"), default=0)
