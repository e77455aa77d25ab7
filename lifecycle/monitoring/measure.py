"""A published batch, or the requests of a window, against the baseline of the version that has answered.

Of a large batch some rows are looked at: they are enough to tell how it differs, and what that costs stays the same.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow.parquet as pq

from lifecycle.data import ingest
from lifecycle.evaluation.baseline import Baseline
from lifecycle.evaluation.estimates import BIAS
from lifecycle.inference import sample
from lifecycle.inference.manifest import REJECTED, BatchManifest, BatchRequest, by_input
from lifecycle.monitoring.compare import compared
from lifecycle.monitoring.examples import examples
from lifecycle.monitoring.findings import Line, Measured
from lifecycle.monitoring.performance import Found, Yardstick
from lifecycle.problems import distributions
from lifecycle.problems.known import named
from lifecycle.problems.shares import wilson
from lifecycle.settings.gate_rules import GateRules
from lifecycle.settings.rules import MonitoringRules
from lifecycle.storage import volumes

CONFIDENCE = 0.99


ANY_GATE = GateRules()
DEVIATIONS = 2.576
"""Of a normal distribution, for 99 %."""


class Published(NamedTuple):
    """A published batch: what was asked, where it lies, and what its manifest says."""

    request: BatchRequest
    folder: Path
    manifest: BatchManifest


class Observed(NamedTuple):
    """What a version was asked and has answered, wherever that lies.

    Attributes:
        model: The registered name.
        version: Which of its versions.
        batch: What it is called among all that is measured of the version.
        day: That it is for.
        rows_in: All rows, of which some were rejected.
        rejected: Those that could not be scored.
        scored: Those that were.
        inputs: Some inputs by row, under the names that the model calls them, as far as they are known.
        answers: The predictions by row, one part after the other.
        lines: What is measured of no row.
    """

    model: str
    version: int
    batch: str
    day: date
    rows_in: int
    rejected: int
    scored: int
    inputs: Callable[[], pd.DataFrame]
    answers: Callable[[], Iterator[pd.DataFrame]]
    lines: tuple[Line, ...] = ()


def of_batch(batch: Published, baseline: Baseline) -> Observed:
    """A published batch as it is measured."""
    manifest = batch.manifest
    return Observed(
        model=manifest.model_name,
        version=manifest.model_version or 0,
        batch=batch.folder.name,
        day=manifest.logical_date or datetime.now(UTC).date(),
        rows_in=manifest.rows_in,
        rejected=sum(manifest.rejected.values()),
        scored=manifest.scored,
        inputs=partial(_inputs, batch, baseline),
        answers=partial(_answers, batch),
        lines=tuple(_pace(batch)),
    )


def measured(found: Observed, baseline: Baseline, rules: MonitoringRules, gate: GateRules = ANY_GATE) -> Measured:
    """All that is to be said of a batch; of one with too few rows, how many there are and were rejected."""
    lines: tuple[Line, ...] = (_rejected(found, rules), *found.lines)
    if found.scored >= rules.min_rows:
        seen = _seen(found, baseline)
        lines += compared([*_pairs(seen, baseline)], rules)
        lines += tuple(examples(seen, baseline.distributions, lines, rules.example_columns))
        lines += tuple(_estimated(found, Yardstick(baseline, gate, rules), distributions.features(seen)))
    return Measured(
        **{name: getattr(found, name) for name in ("model", "version", "batch", "day", "rows_in", "scored")},
        at=datetime.now(UTC),
        baseline=baseline.digest,
        lines=lines,
    )


def _seen(found: Observed, baseline: Baseline) -> list[distributions.Seen]:
    """What can be counted of some rows of a batch."""
    inputs = found.inputs()
    answers = pd.concat([part[part.index.isin(inputs.index)] for part in found.answers()]).sort_index()
    inputs = inputs.loc[answers.index]  # without rows that were erased
    there = tuple(column for column in baseline.columns if column.name in inputs)
    return [
        *distributions.of_inputs(inputs, there, baseline.known),
        *distributions.of_predictions(answers, named(baseline.problem)),
    ]


def _pace(batch: Published) -> Iterator[Line]:
    """How long scoring has taken, where whoever scored has said so: for information, it has no limit."""
    seconds = sample.seconds(batch.request.sample) if batch.request.sample else None
    if seconds is not None and batch.manifest.scored:
        value = 1000 * seconds / batch.manifest.scored
        about = {"part": "latency", "name": "1,000 rows", "measure": "seconds", "rows": batch.manifest.scored}
        yield Line.model_validate(about | {"value": value, "limit": 0.0, "now": value, "beyond": False})


def _pairs(
    seen: list[distributions.Seen], baseline: Baseline
) -> Iterator[tuple[distributions.Distribution, distributions.Distribution]]:
    """Each distribution of the baseline with that of the batch over the same bins."""
    found = {(each.part, each.name): each.values for each in seen}
    for before in baseline.distributions:
        if (before.part, before.name) in found:  # of requests some inputs may be kept by nobody
            yield before, before.counted(found[before.part, before.name])


def _estimated(batch: Observed, yardstick: Yardstick, features: pd.DataFrame) -> Iterator[Line]:
    """The metrics as they are likely to be, and first how well the deciding one was told when that was checked."""
    learnt, problem = yardstick.baseline.learnt, named(yardstick.baseline.problem)
    known = {f"{each.part} {each.name}" for each in yardstick.baseline.distributions}
    if learnt is None or (learnt.needs_inputs and not known <= {*features}):
        return
    checks, found = {}, []
    for estimate, check in learnt.estimates(problem, features, batch.answers()):
        metric, value, reach = estimate.metric, estimate.value, DEVIATIONS * estimate.deviation
        checks[metric.name] = check
        found.append(Found(metric, value, value - reach, value + reach))
    lines = [*yardstick.lines("estimate", found, batch.scored)]
    for line in lines[:1]:
        check = checks[line.name]
        yield Line(
            part="estimate",
            name=line.name,
            measure="check",
            value=check.widened,
            limit=BIAS,
            before=check.realised,
            now=check.estimated,
            rows=yardstick.baseline.rows,
            beyond=not check.holds,
        )
    yield from lines


def _rejected(found: Observed, rules: MonitoringRules) -> Line:
    """The share of rows that could not be scored; beyond its limit if that is no chance either."""
    share = wilson(found.rejected, found.rows_in, CONFIDENCE)
    return Line(
        part="batch",
        name="rows",
        measure="rejected",
        value=share.value,
        limit=rules.max_rejected,
        rows=found.rows_in,
        low=share.low,
        high=share.high,
        beyond=found.rows_in > 0 and share.low > rules.max_rejected,
    )


def _answers(batch: Published) -> Iterator[pd.DataFrame]:
    """The predictions by row, one part of the batch after the other."""
    folder, columns = volumes.local(batch.folder), ["row", *named(batch.manifest.problem).prediction]
    for name in sorted(batch.manifest.parts):
        if name != REJECTED:
            yield pq.read_table(folder / name, columns=columns).to_pandas().set_index("row")


def _inputs(batch: Published, baseline: Baseline) -> pd.DataFrame:
    """Some inputs, under the names that the model calls them: those that were kept, else the table is read again."""
    kept = sample.take(batch.request.sample) if batch.request.sample else None
    return _again(batch, [column.name for column in baseline.columns]) if kept is None else kept


def _again(batch: Published, names: list[str]) -> pd.DataFrame:
    request, named_by = batch.request, by_input(batch.manifest.columns)
    sources = [named_by.get(name, name) for name in names]
    chunks = ingest.stream(
        request.input,
        request.rules,
        sources,
        rows_per_chunk=request.inference.rows_per_part,
        sha256=request.input_sha256,
    )
    rejected = pq.read_table(volumes.local(batch.folder) / REJECTED, columns=["row"])["row"].to_pylist()
    kept = pd.DataFrame(columns=sources)
    for chunk in chunks:
        good = chunk.loc[~chunk.index.isin(rejected), sources]
        kept = sample.of(pd.concat([kept, good]) if len(kept) else good)
    return kept.sort_index().set_axis(names, axis="columns")
