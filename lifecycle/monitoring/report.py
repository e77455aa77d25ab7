"""The page of a model in production: one HTML file, readable without network, by day, by night and on a phone.

What is drawn follows from what was measured; the plots are inline SVG in the colours of the page.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, PackageLoader

from lifecycle.monitoring import labels, standings, store, trust
from lifecycle.monitoring.examples import with_keys
from lifecycle.monitoring.findings import Alert, Line, Measured, worse_slices
from lifecycle.monitoring.trust import Trust
from lifecycle.monitoring.worst import WorstRow
from lifecycle.registry import catalog
from lifecycle.settings.rules import MonitoringRules

SHOWN_BATCHES, SHOWN_COLUMNS, SHOWN_METRICS = 60, 40, 6
STEP, LEFT, HEIGHT, FOOT = 22, 64, 150, 30
"""Of a plot: pixels between batches, beside and below it, and its height."""
REJECTED, PACES = "rejected rows", {"p95": "p95 of requests (ms)", "seconds": "seconds for 1,000 rows"}
"""What is drawn after the metrics."""
DAYS = 2
"""From one day that is named below a plot to the next."""


class Promotion(NamedTuple):
    """A version became champion."""

    at: date
    version: int
    kind: str


class History(NamedTuple):
    """All that a page tells of."""

    name: str
    drift: Sequence[Measured]
    performance: Sequence[Measured]
    alerts: Sequence[Alert]
    said: Mapping[trust.Batch, Trust]
    promotions: Sequence[Promotion] = ()
    worst: Sequence[WorstRow] = ()


def gathered(root: Path, name: str, rules: MonitoringRules, output_root: Path) -> History:
    """What there is to tell of a model, but for who was champion.

    Raises:
        NotFoundError: No batch of it was measured yet.
    """
    standings.read(root, name)
    drift, performance = store.history(root, name, rules)
    return History(
        name=name,
        drift=drift,
        performance=performance,
        alerts=[with_keys(alert, output_root) for alert in store.alerts(root, name, rules)],
        said=trust.statements(drift, performance, rules),
        worst=labels.worst_rows(root, output_root, performance),
    )


def promotions(lines: Iterable[catalog.Line]) -> list[Promotion]:
    """Who became champion when, from the history of a model."""
    found: list[Promotion] = []
    for line in lines:
        if line.champion and (not found or found[-1].version != line.champion):
            found.append(Promotion(line.at.date(), line.champion, line.kind))
    return found


class Point(NamedTuple):
    """A metric of a batch in a plot."""

    x: float
    y: float
    top: float
    bottom: float
    kind: str
    title: str


class Plot(NamedTuple):
    """A metric over the batches."""

    name: str
    width: int
    points: list[Point]
    usual: float | None
    ticks: list[tuple[float, str]]
    days: list[tuple[float, str]]
    alerts: list[tuple[float, float, str]]
    promotions: list[tuple[float, str]]
    height: int = HEIGHT + FOOT
    left: int = LEFT


class Cell(NamedTuple):
    """How far a column of a batch is from the baseline."""

    told: str
    share: float
    """Of the limit, at most twice."""
    beyond: bool
    title: str


def render(history: History) -> str:
    """The page.

    Args:
        history: Of at least one batch.
    """
    shown = history._replace(drift=sorted(history.drift, key=lambda each: each.order)[-SHOWN_BATCHES:])
    last = shown.drift[-1]
    labelled = max(history.performance, key=lambda each: each.order, default=None)
    slices = [line for line in labelled.lines if line.part == "slice"] if labelled else []
    return (
        _templates()
        .get_template("monitoring.html.j2")
        .render(
            h=shown,
            at=datetime.now(UTC),
            last=last,
            said=history.said.get((last.version, last.batch)),
            changes=[line.told for line in last.beyond],
            open=[alert for alert in history.alerts if alert.is_open],
            plots=[*_plots(shown)],
            heat=[*_heat(shown.drift)],
            labelled=labelled,
            slices=sorted(slices, key=lambda line: -line.value),
            worse={line.name for line in worse_slices(slices)},
        )
    )


@cache
def _templates() -> Environment:
    templates = Environment(loader=PackageLoader("lifecycle"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    templates.filters["number"] = _number
    return templates


def _plots(history: History) -> Iterator[Plot]:
    """Each metric with its intervals, the deciding one first, and the share of rejected rows."""
    labelled = {(each.version, each.batch): each for each in history.performance}
    found: dict[str, list[tuple[int, str, Line]]] = {}
    for place, batch in enumerate(history.drift):
        key = batch.version, batch.batch
        later = labelled[key].lines if key in labelled else ()
        believed = key in history.said and history.said[key].verdict != "do not trust"
        for line in (*later, *batch.lines):
            if line.measure == "loss":
                kind = "realised" if line.part == "performance" else "estimated" if believed else "doubtful"
                found.setdefault(line.name, []).append((place, kind, line))
            elif line.measure == "rejected":
                share = line.model_copy(update={"now": line.value})
                found.setdefault(REJECTED, []).append((place, "realised", share))
            elif line.measure in PACES:
                found.setdefault(PACES[line.measure], []).append((place, "realised", line))
    beside = (REJECTED, *PACES.values())
    names = [*[name for name in found if name not in beside][:SHOWN_METRICS], *beside]
    for name in names:
        if name in found:
            yield _plot(name, found[name], history)


def _plot(name: str, found: Sequence[tuple[int, str, Line]], history: History) -> Plot:
    lines = [line for _, _, line in found]
    usual = lines[-1].before
    low, high = _range([value for each in lines for value in (each.now, each.low, each.high, usual)])
    half = STEP / 2

    def y(value: float | None) -> float:
        share = ((value if value is not None else low) - low) / (high - low)
        return round(8 + (HEIGHT - 16) * (1 - min(max(share, 0.0), 1.0)), 1)

    def point(place: int, kind: str, line: Line) -> Point:
        batch, x = history.drift[place], LEFT + STEP * place + half + (4 if kind != "realised" else -2)
        reach = f" [{_number(line.low)}, {_number(line.high)}]" if line.low is not None else ""
        title = f"{batch.day}, v{batch.version}: {kind} {_number(line.now)}{reach}"
        ends = (y(line.high), y(line.low)) if line.low is not None else (y(line.now),) * 2
        return Point(x, y(line.now), *ends, kind, title)

    days = [each.day for each in history.drift]
    return Plot(
        name=name,
        width=LEFT + STEP * len(days) + 16,
        points=[point(*each) for each in found],
        usual=y(usual) if usual is not None else None,
        ticks=[(y(low + (high - low) * share), _number(low + (high - low) * share)) for share in (0, 0.5, 1)],
        days=[(LEFT + STEP * place + half, f"{day:%m-%d}") for place, day in enumerate(days) if place % DAYS == 0],
        alerts=[*_alerts(history.alerts, days)],
        promotions=[*_promotions(history.promotions, days)],
    )


def _alerts(alerts: Iterable[Alert], days: Sequence[date]) -> Iterator[tuple[float, float, str]]:
    """Where alerts begin and end."""
    for alert in alerts:
        inside = [place for place, day in enumerate(days) if alert.since <= day <= alert.until]
        if inside:
            yield LEFT + STEP * inside[0], STEP * (inside[-1] - inside[0] + 1), alert.told


def _promotions(promotions: Iterable[Promotion], days: Sequence[date]) -> Iterator[tuple[float, str]]:
    """Before which batch a version became champion."""
    for each in promotions:
        place = next((place for place, day in enumerate(days) if day >= each.at), len(days))
        yield LEFT + STEP * place, f"{each.at}: v{each.version} ({each.kind})"


def _heat(batches: Sequence[Measured]) -> Iterator[tuple[str, list[Cell | None]]]:
    """Per thing that is counted the population stability index of each batch, the farthest first."""
    names = dict.fromkeys((line.part, line.name) for each in batches for line in each.lines if line.measure == "psi")
    rows = []
    for key in names:
        found = [next((line for line in each.lines if _is(line, key)), None) for each in batches]
        worst = max(line.share for line in found if line)
        rows.append(
            (
                worst,
                key[1],
                [_cell(line, each.day) if line else None for line, each in zip(found, batches, strict=True)],
            )
        )
    for _, name, cells in sorted(rows, key=lambda row: (-row[0], row[1]))[:SHOWN_COLUMNS]:
        yield name, cells


def _is(line: Line, key: tuple[str, str]) -> bool:
    return line.measure == "psi" and (line.part, line.name) == key


def _cell(line: Line, day: date) -> Cell:
    title = f"{line.name}, {day}: PSI {line.value:.3g} (limit {line.limit:.3g})"
    told = f"{line.value:.2f}".removeprefix("0") if line.value < 10 else f"{line.value:.0f}"
    return Cell(told, round(min(line.share, 2.0) / 2, 2), line.beyond, title)


def _range(values: Iterable[float | None]) -> tuple[float, float]:
    """The ends of an axis that holds some values."""
    there = [value for value in values if value is not None and math.isfinite(value)]
    low, high = min(there, default=0.0), max(there, default=1.0)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
    return (max(0.0, low - margin) if low >= 0 else low - margin), high + margin


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
