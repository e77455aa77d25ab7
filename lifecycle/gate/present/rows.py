"""What a verdict rests on as tables of plain text, once for whoever shows it: terminal, Markdown, HTML, model card."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lifecycle.core.names import TEXT_CLASSIFICATION
from lifecycle.gate.verdict import Flip, Measurements
from lifecycle.problems.contract import TEXT
from lifecycle.problems.findings import Interval, shown
from lifecycle.settings.gate_rules import OF_A_CLASS

SHOWN = 12
"""Rows of a table that a person reads; a report and the verdict's JSON have more."""
CLASS_METRICS = ("precision", "recall", "f1")


class Row(NamedTuple):
    """The cells of a row, and the outcome that it tells, if it tells one."""

    cells: tuple[str, ...]
    tone: str = ""


class Table(NamedTuple):
    """Rows below a header; without rows there is nothing to show. `inputs` heads what the models were given."""

    title: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    inputs: str = ""


def every(verdict: Measurements, most: int = SHOWN) -> Iterator[Table]:
    """All tables of a verdict that have rows, the checks first; of slices and rows of the data so many."""
    made = (checks(verdict), metrics(verdict), classes(verdict), slices(verdict, most), behaviour(verdict))
    yield from (table for table in (*made, *changes(verdict, most)) if table.rows)


def checks(verdict: Measurements) -> Table:
    """Each rule: what was measured, what was asked, whether it passed."""
    lines = (
        Row(
            (
                check.name,
                _words(check.outcome),
                number(check.value),
                "" if check.low is None or check.high is None else f"[{number(check.low)}, {number(check.high)}]",
                number(check.limit),
                check.detail,
            ),
            check.outcome,
        )
        for check in verdict.checks
    )
    return Table("Checks", ("check", "outcome", "value", "interval", "limit", "detail"), tuple(lines))


def metrics(verdict: Measurements) -> Table:
    """Both models side by side, the metric that decides first; those of a class have a table of their own."""
    gains = [check.name.removeprefix("gain in ") for check in verdict.checks if check.name.startswith("gain in ")]
    asked = [name.partition(" over ")[0] for name in gains]
    asked += [check.name.split(" ", 1)[1] for check in verdict.checks if check.name.startswith(("floor ", "ceiling "))]
    measured = {**verdict.metrics, **verdict.champion_metrics}
    names = [name for name in dict.fromkeys([*asked, *measured]) if name in measured]
    lines = (
        Row(
            (
                name,
                interval(verdict.metrics.get(name)),
                interval(verdict.champion_metrics.get(name)),
                interval(verdict.gains.get(name), "+"),
            )
        )
        for name in names
        if name in asked or not name.startswith(OF_A_CLASS)
    )
    return Table("Metrics", ("metric", "challenger", "champion", "gain, above 0 is better"), tuple(lines))


def classes(verdict: Measurements) -> Table:
    """The metrics of each class with their gains; there are none of numbers."""
    lines = (
        Row((name, *(_beside(verdict, f"{metric}.{name}") for metric in CLASS_METRICS), f"{sum(counts):,}"))
        for name, counts in list(zip(verdict.classes, verdict.confusion, strict=False))[:SHOWN]
        if any(f"{metric}.{name}" in verdict.metrics for metric in CLASS_METRICS)
    )
    return Table("Classes", ("class", *(f"{metric} (gain)" for metric in CLASS_METRICS), "rows"), tuple(lines))


def slices(verdict: Measurements, most: int = SHOWN) -> Table:
    """Slices of the rows, those that fail first, in the quality that is measured there."""
    lines = tuple(
        Row(
            (
                line.name,
                f"{line.rows:,}",
                _words(line.outcome),
                interval(line.challenger),
                interval(line.champion),
                "" if line.gain is None else number(line.gain, "+"),
                "" if line.p is None else f"{line.p:.2g}",
            ),
            line.outcome,
        )
        for line in verdict.slices[:most]
    )
    quality = verdict.slices[0].quality.capitalize() if verdict.slices else ""
    title = f"{quality} on slices of the rows, those that fail first{_of(len(lines), len(verdict.slices))}"
    return Table(title, ("slice", "rows", "outcome", "challenger", "champion", "gain", "p"), lines)


def behaviour(verdict: Measurements) -> Table:
    """Each behaviour check; of one that fails, a case."""
    lines = (
        Row(
            (
                f"{line.suite}: {line.name}",
                line.outcome,
                f"{line.failures:,} of {line.cases:,}",
                f"{line.limit:.0%}",
                "; ".join(f"{key}: {value}" for key, value in line.examples[0].items())
                if line.examples and line.outcome == "fail"
                else "",
            ),
            line.outcome,
        )
        for line in verdict.behaviour
    )
    header = ("behaviour", "outcome", "failures", "limit", "for example")
    return Table("Behaviour", header, tuple(lines), header[-1])


def changes(verdict: Measurements, most: int = SHOWN) -> tuple[Table, Table]:
    """The rows on which the challenger does worse than the champion, and those on which it does better."""
    better, worse = verdict.change_words
    return (
        _changed(verdict, worse, verdict.broken_rows, verdict.broken[:most]),
        _changed(verdict, better, verdict.repaired_rows, verdict.repaired[:most]),
    )


def _changed(verdict: Measurements, word: str, count: int, flips: Sequence[Flip]) -> Table:
    said, inputs = ("score", "newly") if verdict.classes else ("error", "predicted"), _inputs(verdict)
    worst = f", of them the worst {len(flips)}" if count > len(flips) else ""
    lines = (
        Row(
            (str(flip.row), flip.truth, flip.champion, flip.challenger, number(flip.score), " ".join(flip.text.split()))
        )
        for flip in flips
    )
    header = ("row", "truth", "champion", "challenger", said[0], inputs)
    return Table(f"Rows {said[1]} {word}: {count:,}{worst}", header, tuple(lines), inputs)


def _inputs(verdict: Measurements) -> str:
    return TEXT if verdict.problem == TEXT_CLASSIFICATION else "inputs"


def interval(found: Interval | None, sign: str = "") -> str:
    """An estimate with its interval."""
    if found is None:
        return ""
    value, low, high = (_shown(end, sign) for end in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"


def number(value: float | None, sign: str = "") -> str:
    """A number as a person reads it: whole ones, as counts are, without decimals."""
    if value is None:
        return ""
    return format(value, f"{sign},.0f") if math.isfinite(value) and value == round(value) else _shown(value, sign)


def _shown(value: float, sign: str) -> str:
    return shown(value, sign) if math.isfinite(value) else "not a number" if math.isnan(value) else f"{value:{sign}}"


def _words(outcome: str) -> str:
    return outcome.replace("_", " ")


def _of(count: int, everything: int) -> str:
    return f", {count} of {everything}" if count < everything else ""


def _beside(verdict: Measurements, metric: str) -> str:
    found, gain = verdict.metrics.get(metric), verdict.gains.get(metric)
    return "" if found is None else f"{found.value:.3f}" + (f" ({gain.value:+.3f})" if gain else "")
