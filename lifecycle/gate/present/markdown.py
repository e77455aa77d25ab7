"""A verdict as Markdown: what stands in Prefect's UI, before an approver, and in the summary of a CI job."""

import math
from collections.abc import Iterable, Iterator, Sequence

from lifecycle.core.class_names import as_markdown
from lifecycle.gate.verdict import Flip, Verdict
from lifecycle.problems.findings import Interval, SliceLine, shown
from lifecycle.settings.gate_rules import OF_A_CLASS

SHOWN = 12
TEXT = 120


def text(verdict: Verdict) -> str:
    """The decision with its reasons, then metrics, parts, behaviour and rows; the checks have a table of their own."""
    return "\n\n".join(_blocks(verdict)) + "\n"


def metric_names(verdict: Verdict) -> list[str]:
    """The metrics of the whole, the one that decides first, then those that a check is about."""
    asked = [check.name.removeprefix("gain in ") for check in verdict.checks if check.name.startswith("gain in ")]
    asked += [check.name.split(" ", 1)[1] for check in verdict.checks if check.name.startswith(("floor ", "ceiling "))]
    measured = {**verdict.metrics, **verdict.champion_metrics}
    return [name for name in dict.fromkeys([*asked, *measured]) if name in measured and _of_the_whole(name, asked)]


def _of_the_whole(name: str, asked: Sequence[str]) -> bool:
    return name in asked or not name.startswith(OF_A_CLASS)


def _blocks(verdict: Verdict) -> Iterator[str]:
    yield f"# {verdict.title} in {verdict.env}: {verdict.challenger}"
    if verdict.mode == "dry_run":
        yield f"**DRY RUN: the gate of {verdict.env} protects nothing.** What it refuses is promoted all the same."
    yield "\n".join(f"- {as_markdown(reason)}" for reason in verdict.reasons)
    yield _where(verdict)
    yield from _table(("metric", "challenger", "champion", "gain"), _metrics(verdict))
    slices = [_slice(line) for line in verdict.slices[:SHOWN]]
    quality = verdict.slices[0].quality if verdict.slices else ""
    yield from _table(
        ("slice", "rows", "outcome", "challenger", "champion", "p"), slices, f"Slices of the rows, by {quality}"
    )
    columns = ("behaviour", "failures", "outcome", "for example")
    yield from _table(columns, _behaviour(verdict), "Behaviour")
    better, worse = verdict.change_words
    yield from _flips(f"newly {worse}", verdict.broken_rows, verdict.broken)
    yield from _flips(f"newly {better}", verdict.repaired_rows, verdict.repaired)
    yield f"Verdict `{verdict.digest}`"


def _where(verdict: Verdict) -> str:
    data = f"{verdict.data_name} {verdict.data_version} {verdict.side}".strip()
    against = f"the champion {verdict.champion}" if verdict.champion else "no champion"
    left = [f"{count:,} rows that the {who} was trained on" for who, count in verdict.left_out.items() if count]
    aside = f" Left out: {' and '.join(left)}." if left else ""
    terms = "".join(f" {as_markdown(term)}" for term in verdict.terms)
    return f"Against {against}, on {verdict.rows:,} rows of {data}.{aside}{terms}"


def _metrics(verdict: Verdict) -> Iterator[tuple[str, ...]]:
    for name in metric_names(verdict):
        sides = verdict.metrics.get(name), verdict.champion_metrics.get(name)
        yield name, *map(_interval, sides), _interval(verdict.gains.get(name), "+")


def _slice(line: SliceLine) -> tuple[str, ...]:
    p = "" if line.p is None else _number(line.p)
    return line.name, f"{line.rows:,}", line.outcome, _interval(line.challenger), _interval(line.champion), p


def _behaviour(verdict: Verdict) -> Iterator[tuple[str, ...]]:
    for line in verdict.behaviour:
        first = line.examples[0] if line.examples and line.outcome == "fail" else {}
        example = "; ".join(f"{key}: {value}" for key, value in first.items())
        yield f"{line.suite}: {line.name}", f"{line.failures:,} of {line.cases:,}", line.outcome, example


def _flips(what: str, count: int, flips: Sequence[Flip]) -> Iterator[str]:
    rows = [
        (str(flip.row), flip.truth, flip.champion, flip.challenger, f"{flip.score:.2f}", flip.text[:TEXT])
        for flip in flips[:SHOWN]
    ]
    shown = f", of them the surest {len(rows)}" if count > len(rows) else ""
    yield from _table(
        ("row", "truth", "champion", "challenger", "score", "text"), rows, f"Rows {what}: {count:,}{shown}"
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> Iterator[str]:
    """A table with its heading; without rows there is neither."""
    lines = [f"| {' | '.join(map(as_markdown, row))} |" for row in rows]
    if lines:
        head = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
        yield (f"## {title}\n\n" if title else "") + "\n".join([*head, *lines])


def _interval(found: Interval | None, sign: str = "") -> str:
    return (
        ""
        if found is None
        else f"{_number(found.value, sign)} [{_number(found.low, sign)}, {_number(found.high, sign)}]"
    )


def _number(value: float, sign: str = "") -> str:
    return shown(value, sign) if math.isfinite(value) else "not a number"
