"""A published batch against the baseline of the version that scored it.

Its table is read once more, as it was for scoring, and of a large one some rows are looked at: they are enough to tell
how a batch differs, and the memory and time stay those of a few thousand rows. Which rows these are follows from their
numbers alone. To keep inputs while scoring would cost every part, whether anybody measures it or not.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from lifecycle.data import ingest
from lifecycle.evaluation.baseline import Baseline
from lifecycle.inference import local
from lifecycle.inference.manifest import REJECTED, BatchManifest, BatchRequest, by_input
from lifecycle.monitoring.compare import compared
from lifecycle.monitoring.findings import Line, Measured
from lifecycle.problems import distributions
from lifecycle.problems.known import named
from lifecycle.problems.shares import wilson
from lifecycle.settings.rules import MonitoringRules
from lifecycle.storage import volumes

SAMPLE = 5_000
"""Of a batch with more rows than this, about so many are looked at."""
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
    answers = _answers(batch)
    inputs = _inputs(batch, baseline, answers.index)
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


def sampled(rows: "pd.Index[int]", of: int) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Which rows are looked at in a batch of so many: all of a small one, else by their numbers, evenly spread."""
    share = min(1.0, SAMPLE / max(of, 1))
    mixed = rows.to_numpy(np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # modulo 2**64
    return np.asarray((mixed >> np.uint64(32)) < np.uint64(round(share * 2**32)))


def _answers(batch: Published) -> pd.DataFrame:
    """The predictions of the rows that are looked at, by row."""
    folder, columns = volumes.local(batch.folder), ["row", *named(batch.manifest.problem).prediction]
    frames = []
    for name in sorted(batch.manifest.parts):
        if name != REJECTED:
            rows = pq.read_table(folder / name, columns=columns).to_pandas().set_index("row")
            frames.append(rows[sampled(rows.index, batch.manifest.rows_in)])
    answers: pd.DataFrame = pd.concat(frames)
    return answers


def _inputs(batch: Published, baseline: Baseline, scored: "pd.Index[int]") -> pd.DataFrame:
    """The inputs of the rows that are looked at, as the table has them, under the names that the model calls them."""
    request, manifest = batch.request, batch.manifest
    named_by, names = by_input(manifest.columns), [column.name for column in baseline.columns]
    sources = [named_by.get(name, name) for name in names]
    splits = {local.SPLIT: ""} if request.splits else {}
    chunks = ingest.stream(
        request.input,
        request.rules,
        dict.fromkeys(sources, "") | splits,
        rows_per_chunk=request.inference.rows_per_part,
        sha256=request.input_sha256,
    )
    frames = [chunk.loc[sampled(chunk.index, manifest.rows_in) & chunk.index.isin(scored), sources] for chunk in chunks]
    rows: pd.DataFrame = pd.concat(frames).set_axis(names, axis="columns")
    return rows
