"""A published batch against the baseline of the version that scored it.

Of a large batch some rows are looked at: they are enough to tell how it differs, and what that costs stays the same.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow.parquet as pq

from lifecycle.data import ingest
from lifecycle.evaluation.baseline import Baseline
from lifecycle.inference import sample
from lifecycle.inference.manifest import REJECTED, BatchManifest, BatchRequest, by_input
from lifecycle.monitoring.compare import compared
from lifecycle.monitoring.findings import Line, Measured
from lifecycle.problems import distributions
from lifecycle.problems.known import named
from lifecycle.problems.shares import wilson
from lifecycle.settings.rules import MonitoringRules
from lifecycle.storage import volumes

CONFIDENCE = 0.99


class Published(NamedTuple):
    """A published batch: what was asked, where it lies, and what its manifest says."""

    request: BatchRequest
    folder: Path
    manifest: BatchManifest


def measured(batch: Published, baseline: Baseline, rules: MonitoringRules) -> Measured:
    """All that is to be said of a batch; of one with too few rows, how many there are and were rejected."""
    manifest, now = batch.manifest, datetime.now(UTC)
    lines: tuple[Line, ...] = (_rejected(manifest, rules),)
    if manifest.scored >= rules.min_rows:
        lines += compared([*_pairs(batch, baseline)], rules)
    return Measured(
        model=manifest.model_name,
        version=manifest.model_version or 0,
        batch=batch.folder.name,
        day=manifest.logical_date or now.date(),
        at=now,
        baseline=baseline.digest,
        rows_in=manifest.rows_in,
        scored=manifest.scored,
        lines=lines,
    )


def _pairs(
    batch: Published, baseline: Baseline
) -> Iterator[tuple[distributions.Distribution, distributions.Distribution]]:
    """Each distribution of the baseline with that of the batch over the same bins."""
    inputs = _inputs(batch, baseline)
    answers = _answers(batch, inputs.index)  # without rows that were erased
    inputs = inputs.loc[answers.index]
    seen = [
        *distributions.of_inputs(inputs, baseline.columns, baseline.known),
        *distributions.of_predictions(answers, named(baseline.problem)),
    ]
    found = {(each.part, each.name): each.values for each in seen}
    for before in baseline.distributions:
        yield before, before.counted(found[before.part, before.name])


def _rejected(manifest: BatchManifest, rules: MonitoringRules) -> Line:
    """The share of rows that could not be scored; beyond its limit if that is no chance either."""
    count = sum(manifest.rejected.values())
    share = wilson(count, manifest.rows_in, CONFIDENCE)
    return Line(
        part="batch",
        name="rows",
        measure="rejected",
        value=share.value,
        limit=rules.max_rejected,
        rows=manifest.rows_in,
        low=share.low,
        high=share.high,
        beyond=manifest.rows_in > 0 and share.low > rules.max_rejected,
    )


def _answers(batch: Published, rows: "pd.Index[int]") -> pd.DataFrame:
    """The predictions of some rows, in their order."""
    folder, columns = volumes.local(batch.folder), ["row", *named(batch.manifest.problem).prediction]
    frames = []
    for name in sorted(batch.manifest.parts):
        if name != REJECTED:
            answers = pq.read_table(folder / name, columns=columns).to_pandas().set_index("row")
            frames.append(answers[answers.index.isin(rows)])
    return pd.DataFrame(pd.concat(frames)).sort_index()


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
