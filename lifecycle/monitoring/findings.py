"""What was found of batches, the alerts that follow, and where a model stands; light, since `mlops status` reads it.

An alert is a fold of what was measured: of itself it leaves that it was told, and that it was silenced.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from itertools import groupby
from statistics import median
from typing import Literal

from pydantic import Field

from lifecycle.core.frozen import Frozen
from lifecycle.settings.rules import MonitoringRules

Kind = Literal["drift", "performance", "latency"]
Part = Literal["input", "prediction", "batch", "latency", "performance", "estimate", "slice", "example"]
OTHERS: dict[Part, Kind] = {"input": "drift", "prediction": "drift", "batch": "drift", "latency": "latency"}
"""What an alert is about whose causes are not performance."""
SERVED = "served-"
"""How the names of windows of requests begin."""
EARLIER = 3
"""Batches before one that tell how many rows are usual."""


class Line(Frozen):
    """One thing that was measured of a batch, against its limit."""

    part: Part
    name: str = Field(description="A column, what is counted of it, a metric, or a slice.")
    measure: str = Field(
        description="psi (beyond what chance makes), outside, missing, rejected, volume; the loss in a metric, or how "
        "far an estimate was off when it was checked (check); of a slice, what is measured of it; p50, p95, p99: "
        "milliseconds within which so many requests were answered; seconds for 1,000 rows of a batch."
    )
    value: float
    limit: float = Field(description="0 where there is none.")
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

    @property
    def share(self) -> float:
        """Of its limit; 0 where there is none."""
        return self.value / self.limit if self.limit else 0.0

    @property
    def told(self) -> str:
        """In words, as of a line that is beyond its limit."""
        before, now = self.before or 0.0, self.now or 0.0
        return {
            "psi": f"{self.name} is distributed otherwise: PSI {self.value:.3g} (limit {self.limit:.3g})",
            "outside": f"{self.name}: {now:.0%} of the rows are unlike the baseline ({before:.0%} there)",
            "missing": f"{self.name} is missing in {now:.0%} of the rows ({before:.0%} before)",
            "rejected": f"{self.value:.1%} of the rows were rejected (limit {self.limit:.1%})",
            "volume": f"{now:,.0f} rows, where {before:,.0f} are usual",
            "loss": f"{self.part.replace('performance', 'measured').replace('estimate', 'estimated')} {self.name}: "
            f"{now:.3g}, which was {before:.3g} when it was judged",
            "check": f"{self.name} cannot be estimated well: {now:.3g} on the baseline, where it was {before:.3g}",
        }.get(self.measure) or self._slow_or_else

    @property
    def _slow_or_else(self) -> str:
        if self.part == "latency":
            return f"{self.measure} of the {self.name} is {self.value:,.0f} ms (limit {self.limit:,.0f})"
        return f"{self.name}: {self.measure} {self.value:.3g}"


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
    def is_served(self) -> bool:
        """Whether it is a window of requests, which are compared among themselves."""
        return self.batch.startswith(SERVED)

    @property
    def order(self) -> tuple[date, datetime, str]:
        """By the days that batches are for, and of one day as they were measured."""
        return self.day, self.at, self.batch

    @property
    def beyond(self) -> tuple[Line, ...]:
        """What is beyond its limit."""
        return tuple(line for line in self.lines if line.beyond)

    @property
    def told(self) -> str:
        """In words what is beyond its limit; nothing can be said of no rows."""
        beyond = ", ".join(f"{line.name} ({line.measure} {line.value:.3g})" for line in self.beyond)
        if beyond:
            return f"beyond the limits: {beyond}"
        return "as when it was judged" if self.rows_in else "it has no rows"


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
        how = "estimated " if self.part == "estimate" else ""
        return f"{self.name}: {how}{self.measure} {self.value:.3g} (limit {self.limit:.3g}) in {self.batches} batches"


class Example(Frozen):
    """A row that shows what an alert is about: where it is, and what tells."""

    batch: str
    row: int
    what: str
    key: str = ""

    @property
    def told(self) -> str:
        """In words."""
        who = f"{self.key} (row {self.row})" if self.key else f"row {self.row}"
        return f"{who} of {self.batch}: {self.what}"


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
    slices: tuple[str, ...] = Field(
        (), description="Of the last of these batches that has labels, those worse than it."
    )
    examples: tuple[Example, ...] = Field((), description="Rows of the last of these batches that shows any.")
    is_open: bool

    @property
    def told(self) -> str:
        """One sentence for people."""
        what = "; ".join(cause.told for cause in self.causes[:5])
        more = f"; and {len(self.causes) - 5} more" if len(self.causes) > 5 else ""
        where = f"; worst in {', '.join(self.slices)}" if self.slices else ""
        rows = f"; for example {'; '.join(each.told for each in self.examples)}" if self.examples else ""
        return f"{self.model} v{self.version}: {self.kind} since {self.since}: {what}{more}{where}{rows}"


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
    """What of its inputs and predictions was farthest from the baseline."""
    alerts: tuple[Alert, ...]
    performance: Line | None = None
    """The deciding metric, of the last batch that has labels; where none has any, of the last batch as estimated."""
    answered: date | None = None
    """The day of that batch."""
    trust: str = ""
    """Whether that may be believed, if it is estimated."""


def worse_slices(lines: Iterable[Line]) -> list[Line]:
    """The slices that are answered worse than the whole batch by more than chance, the worst first."""
    apart = [
        line
        for line in lines
        if line.part == "slice"
        and line.value > 0
        and not (line.low or 0.0) <= (line.before or 0.0) <= (line.high or 0.0)
    ]
    return sorted(apart, key=lambda line: -line.value)


def with_volume(batches: Iterable[Measured], rules: MonitoringRules) -> list[Measured]:
    """The same in their order, each with how its rows compare with those of the batches before it."""
    ordered = sorted(batches, key=lambda each: each.order)
    found = []
    for is_served in (False, True):
        alike = [each for each in ordered if each.is_served == is_served]
        for place, each in enumerate(alike):
            volume = _volume(each, alike[max(0, place - rules.window) : place], rules)
            found.append(each.model_copy(update={"lines": (*each.lines, *volume)}))
    return sorted(found, key=lambda each: each.order)


def _volume(batch: Measured, before: Sequence[Measured], rules: MonitoringRules) -> Iterator[Line]:
    if len(before) < EARLIER:
        return
    usual, rows = max(1.0, median(each.rows_in for each in before)), max(1, batch.rows_in)
    times = max(rows / usual, usual / rows)
    yield Line(
        part="batch",
        name="rows",
        measure="volume",
        value=times - 1,
        limit=rules.max_volume - 1,
        before=usual,
        now=batch.rows_in,
        rows=batch.rows_in,
        beyond=times > rules.max_volume,
    )


def alerts(batches: Iterable[Measured], kind: Kind, rules: MonitoringRules) -> list[Alert]:
    """The alerts of one kind that some batches give, in the order of their beginning, whatever the order of these."""
    ordered = sorted(batches, key=lambda each: (each.version, each.is_served, *each.order))
    return [
        alert
        for _, group in groupby(ordered, key=lambda each: (each.version, each.is_served))
        for alert in _of_version([*group][rules.warm_up :], kind, rules)
    ]


def standing(batches: Sequence[Measured], labelled: Sequence[Measured], found: Sequence[Alert]) -> Standing | None:
    """Where a model stands after its last batch; None before the first."""
    if not batches:
        return None
    last = max(batches, key=lambda each: each.order)
    drift = (line for line in last.lines if OTHERS.get(line.part) == "drift")
    answered = max(
        (each for each in labelled if each.version == last.version), key=lambda each: each.order, default=last
    )
    return Standing(
        model=last.model,
        version=last.version,
        batches=sum(each.version == last.version for each in batches),
        last=last.batch,
        day=last.day,
        worst=max(drift, key=lambda line: line.share, default=None),
        performance=next((line for line in answered.lines if line.measure == "loss"), None),
        answered=answered.day,
        alerts=tuple(alert for alert in found if alert.is_open and alert.version == last.version),
    )


def _of_version(batches: Sequence[Measured], kind: Kind, rules: MonitoringRules) -> Iterator[Alert]:
    """One after the other: open while enough batches are bad, and the same one if it is soon back."""
    alert: Alert | None = None
    quiet = 0
    for place in range(len(batches)):
        seen = batches[max(0, place + 1 - rules.window) : place + 1]
        causes = _causes(seen, kind, rules.least)
        if not causes:
            quiet += 1
            alert = alert and alert.model_copy(update={"is_open": False})
            continue
        if alert and not alert.is_open and quiet > rules.cool_down:
            yield alert
            alert = None
        first = next(each for each in seen if _bad(each, kind).keys() & {_key(cause) for cause in causes})
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
            slices=tuple(line.name for line in worse_slices(seen[-1].lines)[:3]) if kind == "performance" else (),
            examples=_examples(seen, kind),
            is_open=True,
        )
        quiet = 0
    if alert:
        yield alert


def _examples(seen: Sequence[Measured], kind: Kind) -> tuple[Example, ...]:
    """The rows of the last batch that is bad and has any."""
    for each in reversed(seen):
        rows = [line for line in each.lines if line.part == "example"]
        if rows and _bad(each, kind):
            return tuple(Example(batch=each.batch, row=int(line.value), what=line.name) for line in rows)
    return ()


def _causes(seen: Sequence[Measured], kind: Kind, least: int) -> tuple[Cause, ...]:
    """What was beyond its limit in enough of the batches, the worst first."""
    bad = [_bad(each, kind) for each in seen]
    counts = Counter(key for each in bad for key in each)
    latest = {key: line for each in bad for key, line in each.items()}
    causes = [
        Cause(
            part=line.part,
            name=line.name,
            measure=line.measure,
            batches=counts[key],
            value=line.value,
            limit=line.limit,
        )
        for key, line in latest.items()
        if counts[key] >= least
    ]
    return tuple(sorted(causes, key=lambda cause: (-cause.batches, -abs(cause.value - cause.limit), cause.name)))


def _bad(batch: Measured, kind: Kind) -> dict[tuple[str, str, str], Line]:
    """What is beyond its limit, of that which such an alert is about."""
    return {_key(line): line for line in batch.beyond if OTHERS.get(line.part, "performance") == kind}


def _key(each: Line | Cause) -> tuple[str, str, str]:
    """What counts as the same; an estimate of a metric is about the same as what labels say of it."""
    return "performance" if each.part == "estimate" else each.part, each.name, each.measure
