"""How well slices of a batch were answered: classes, quarters of numbers, and columns that came with the labels.

A batch keeps predictions and no inputs; so what slices are made of comes with the table of labels, and is
kept beside them under the same digests of keys.
"""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lifecycle.core.errors import DataError
from lifecycle.evaluation.slices import FEW, QUARTERS, by_value
from lifecycle.monitoring import store
from lifecycle.monitoring.findings import Line
from lifecycle.problems.known import Problem
from lifecycle.problems.metric import Mask, Scores
from lifecycle.settings.gate_rules import SliceRules
from lifecycle.settings.rules import MonitoringRules
from lifecycle.storage import volumes

logger = logging.getLogger(__name__)

FOLDER, CONFIDENCE = "slices", 0.99
MOST = SliceRules().max_values
"""Values of a column that make slices; smaller classes than so many are one together."""


def keep(root: Path, name: str, values: pd.DataFrame) -> None:
    """Keep what slices are made of, by the digests of keys, as far as that is new.

    Raises:
        DataError: A column has too many values to make slices of; nothing is kept.
    """
    for column in values:
        if values[column].nunique() > FEW and not _is_numeric(values[column]):
            what = f"{column!r} has {values[column].nunique():,} values: too many to make slices of."
            raise DataError(what, "Name a column of a few values, or of numbers: --slice-column")
    before = known(root, name).reindex(index=values.index, columns=values.columns)
    new = values[(values != before).any(axis=1)]
    if len(new):
        path = root / name / FOLDER / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}.parquet"
        store.put(path, pa.Table.from_pandas(new, preserve_index=True))


def known(root: Path, name: str) -> pd.DataFrame:
    """The newest values by the digest of the key; a column that did not come with a label is missing there."""
    paths = store.tables(root, f"{name}/{FOLDER}/*.parquet")
    parts = [pq.read_table(volumes.local(path)).to_pandas() for path in paths]
    return pd.DataFrame(pd.concat(parts)).groupby(level=0).last() if parts else pd.DataFrame()


def lines(
    problem: Problem, scores: Scores, truth: "pd.Series[Any]", values: pd.DataFrame, rules: MonitoringRules
) -> Iterator[Line]:
    """How well each slice of enough rows was answered beside all rows that have labels.

    Args:
        problem: Says what is measured of a slice.
        scores: Of the rows.
        truth: Theirs, in the same order.
        values: What slices are made of besides, in the same order.
        rules: How many rows are enough.
    """
    whole = scores.quality(np.ones(len(truth), bool), CONFIDENCE)
    sign = 1.0 if scores.right is not None else -1.0  # of errors less is better
    for name, mask in _made(problem, truth.reset_index(drop=True), values.reset_index(drop=True)):
        if rules.min_rows <= mask.sum() < len(truth):
            found = scores.quality(mask, CONFIDENCE)
            yield Line(
                part="slice",
                name=name,
                measure=problem.judging.quality,
                value=sign * (whole.value - found.value),
                limit=0.0,
                before=whole.value,
                now=found.value,
                low=found.low,
                high=found.high,
                rows=int(mask.sum()),
                beyond=False,
            )


def _made(problem: Problem, truth: "pd.Series[Any]", values: pd.DataFrame) -> Iterator[tuple[str, Mask]]:
    """What the problem makes of the truth, then each column that came, whatever it is called."""
    if problem.target in problem.judging.slices:
        yield from by_value(problem.target, truth, MOST, is_class=True)
    for column in map(str, values):
        cells = values[column].replace("", None)
        if _is_numeric(cells) and cells.nunique() > QUARTERS:
            yield from by_value(column, pd.to_numeric(cells), MOST)
        elif cells.nunique() <= MOST:
            yield from by_value(column, cells.astype(object), MOST)
        else:  # each delivery had few, or they were numbers; its labels are measured all the same
            logger.warning("No slices by %s: there are %s values of it by now", column, f"{cells.nunique():,}")


def _is_numeric(cells: "pd.Series[Any]") -> bool:
    there = cells[cells.notna() & (cells != "")]
    return bool(len(there)) and bool(np.isfinite(pd.to_numeric(there, errors="coerce")).all())
