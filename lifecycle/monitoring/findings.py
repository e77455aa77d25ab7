"""What was found of batches, the alerts that follow, and where a model stands; light, since `mlops status` reads it.

An alert is a fold of what was measured: of itself it leaves that it was told, and that it was silenced.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from itertools import groupby
from typing import Literal

from pydantic import Field

from lifecycle.core.frozen import Frozen
from lifecycle.settings.rules import MonitoringRules

Kind = Literal["drift", "performance"]


class Line(Frozen):
    """One thing that was measured of a batch, against its limit."""

    part: Literal["input", "prediction", "batch", "performance"]
    name: str = Field(description="A column, what is counted of it, or a metric.")
    measure: str = Field(description="psi (beyond what chance makes), missing, rejected; or the loss in a metric.")
    value: float
    limit: float
    before: float | None = Field(None, description="Of the baseline: the share of missing cells, or the metric.")
    now: float | None = Field(None, description="The same of the batch.")
    rows: int
    js: float | None = Field(None, description="Jensen-Shannon distance, 0 to 1.")
    statistic: float | None = Field(
        None, description="Of the test: Kolmogorov-Smirnov of numbers, chi-square of levels."
    )
    p: float | None = Field(None, description="Of that test, corrected by Benjamini and Hochberg over the batch.")
    low: float | None = Field(None, description="Of the interval of a share or metric.")
    high: float | None = None
    beyond: bool = Field(description="Whether it is beyond its limit, by more than chance.")


class Measured(Frozen):
    """A batch of one version, with all that was measured of it."""

    model: str
    version: int
    batch: str
    day: date
    at: datetime
    baseline: str
    rows_in: int
    scored: int
    lines: tuple[Line, ...]

    @property
    def order(self) -> tuple[date, datetime, str]:
        """By the days that batches are for, and of one day as they were measured."""
        return self.day, self.at, self.batch

    @property
    def beyond(self) -> tuple[Line, ...]:
        """What is beyond its limit."""
        return tuple(line for line in self.lines if line.beyond)


class Cause(Frozen):
    """What an alert is about: in how many of the batches, and how bad it was in the last of these."""

    part: str
    name: str
    measure: str
    batches: int
    value: float
    limit: float

    @property
    def told(self) -> str:
        """In words."""
        return f"{self.name}: {self.measure} {self.value:.3g} (limit {self.limit:.3g}) in {self.batches} batches"


class Alert(Frozen):
    """Something was beyond its limit in `least` of the last `window` batches of a version."""

    id: str
    kind: Kind
    model: str
    version: int
    since: date
    until: date
    batches: int
    window: int
    causes: tuple[Cause, ...]
    is_open: bool

    @property
    def told(self) -> str:
        """One sentence for people."""
        what = "; ".join(cause.told for cause in self.causes[:5])
        more = f"; and {len(self.causes) - 5} more" if len(self.causes) > 5 else ""
        return f"{self.model} v{self.version}: {self.kind} since {self.since}: {what}{more}"


class Silence(Frozen):
    """An alert that somebody has seen: who, why, and how long it says nothing."""

    alert: str
    reason: str
    by: str
    until: datetime


class Standing(Frozen):
    """Where a model stands: what `mlops status` shows of it."""

    model: str
    version: int
    batches: int
    last: str
    day: date
    worst: Line | None
    alerts: tuple[Alert, ...]


def alerts(batches: Iterable[Measured], kind: Kind, rules: MonitoringRules) -> list[Alert]:
    """The alerts of one kind that some batches give, in the order of their beginning, whatever the order of these."""
    ordered = sorted(batches, key=lambda each: (each.version, *each.order))
    return [
        alert
        for _, group in groupby(ordered, key=lambda each: each.version)
        for alert in _of_version([*group][rules.warm_up :], kind, rules)
    ]


def standing(batches: Sequence[Measured], found: Sequence[Alert]) -> Standing | None:
    """Where a model stands after its last batch; None before the first."""
    if not batches:
        return None
    last = max(batches, key=lambda each: each.order)
    worst = max(last.lines, key=lambda line: line.value / line.limit if line.limit else 0.0, default=None)
    return Standing(
        model=last.model,
        version=last.version,
        batches=sum(each.version == last.version for each in batches),
        last=last.batch,
        day=last.day,
        worst=worst,
        alerts=tuple(alert for alert in found if alert.is_open and alert.version == last.version),
    )


def _of_version(batches: Sequence[Measured], kind: Kind, rules: MonitoringRules) -> Iterator[Alert]:
    """One after the other: open while enough batches are bad, and the same one if it is soon back."""
    alert: Alert | None = None
    quiet = 0
    for place in range(len(batches)):
        seen = batches[max(0, place + 1 - rules.window) : place + 1]
        causes = _causes(seen, rules.least)
        if not causes:
            quiet += 1
            alert = alert and alert.model_copy(update={"is_open": False})
            continue
        if alert and not alert.is_open and quiet > rules.cool_down:
            yield alert
            alert = None
        first = next(each for each in seen if _bad(each) & {_key(cause) for cause in causes})
        alert = Alert(
            id=alert.id if alert else f"{kind}-v{first.version}-{first.batch}",
            kind=kind,
            model=first.model,
            version=first.version,
            since=alert.since if alert else first.day,
            until=seen[-1].day,
            batches=max(cause.batches for cause in causes),
            window=len(seen),
            causes=causes,
            is_open=True,
        )
        quiet = 0
    if alert:
        yield alert


def _causes(seen: Sequence[Measured], least: int) -> tuple[Cause, ...]:
    """What was beyond its limit in enough of the batches, the worst first."""
    counts = Counter(key for each in seen for key in _bad(each))
    lines = {_key(line): line for each in seen for line in each.beyond}
    causes = [
        Cause(
            **dict(zip(("part", "name", "measure"), key, strict=True)),
            batches=count,
            value=line.value,
            limit=line.limit,
        )
        for key, count in counts.items()
        if count >= least and (line := lines[key])
    ]
    return tuple(sorted(causes, key=lambda cause: (-cause.batches, -abs(cause.value - cause.limit), cause.name)))


def _bad(batch: Measured) -> set[tuple[str, str, str]]:
    return {_key(line) for line in batch.beyond}


def _key(each: Line | Cause) -> tuple[str, str, str]:
    return each.part, each.name, each.measure
