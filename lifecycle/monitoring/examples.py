"""Rows that show what an alert is about: those of a batch that its drifted columns have and the baseline hardly had.

What is kept are their numbers, with the columns that tell; a value only of columns that the settings say are nobody's
secret. The key of a row is read from the published batch when it is asked for: once a row is erased nobody finds it.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from lifecycle.inference.manifest import MANIFEST, REJECTED
from lifecycle.inference.manifest import load as manifest_of
from lifecycle.monitoring.findings import Alert, Example, Line
from lifecycle.problems.distributions import Distribution, Seen
from lifecycle.storage import volumes

SHOWN, COLUMNS = 3, 3
"""Rows of a batch, and columns of a row."""


def examples(
    seen: Sequence[Seen], before: Sequence[Distribution], lines: Sequence[Line], shown: Sequence[str]
) -> Iterator[Line]:
    """The rows that have most of what has drifted.

    Args:
        seen: What can be counted of rows.
        before: How that was distributed.
        lines: What was found of it.
        shown: Inputs whose values may be told.
    """
    drifted = {(line.part, line.name) for line in lines if line.beyond}
    values = {(each.part, each.name): each.values for each in seen if (each.part, each.name) in drifted}
    known = {(each.part, each.name): each for each in before}
    weights = pd.DataFrame({key[1]: _weights(known[key], cells) for key, cells in values.items()})
    if weights.empty:
        return
    total = weights.sum(axis="columns")
    for row in total[total > 0].sort_values(ascending=False, kind="stable").index[:SHOWN]:
        telling = weights.loc[row].sort_values(ascending=False, kind="stable")
        names = [str(name) for name in telling[telling > 0].index[:COLUMNS]]
        cells = {name: values[key].loc[row] for key in values for name in (key[1],)}
        told = ", ".join(_told(name, cells, shown) for name in names)
        yield line_of(int(row), told, len(total))


def line_of(row: int, told: str, rows: int) -> Line:
    """One row as something that was measured."""
    return Line(part="example", name=told, measure="row", value=row, limit=0.0, rows=rows, beyond=False)


def with_keys(alert: Alert, output_root: Path) -> Alert:
    """The same, with the keys of its examples as far as their batch is there; a row that was erased is left out."""
    folders = {each.batch: output_root / alert.model / str(alert.version) / each.batch for each in alert.examples}
    keys = {batch: _keys(folder, alert.examples) for batch, folder in folders.items()}
    found = [
        each.model_copy(update={"key": there.get(each.row, "") if there is not None else ""})
        for each in alert.examples
        for there in [keys[each.batch]]
        if there is None or each.row in there
    ]
    return alert.model_copy(update={"examples": tuple(found)})


def _keys(folder: Path, wanted: Sequence[Example]) -> Mapping[int, str] | None:
    """The keys of some rows of a published batch, empty where it has none; None if it is not there."""
    if not volumes.exists(folder / MANIFEST):
        return None
    manifest, there, found = manifest_of(folder), volumes.local(folder), dict[int, str]()
    rows = [each.row for each in wanted if each.batch == folder.name]
    for name in sorted(set(manifest.parts) - {REJECTED}):
        table = pq.read_table(there / name, columns=["row", "input_key"], filters=[("row", "in", rows)])
        keys = table["input_key"].to_pylist() if manifest.key_column else [""] * len(table)
        found |= dict(zip(table["row"].to_pylist(), keys, strict=True))
    return found


def _weights(before: Distribution, cells: "pd.Series[Any]") -> "pd.Series[float]":
    """By row how much more frequent than in the baseline is what it has; 0 where that is less."""
    now = before.counted(cells)
    was = np.array([*before.counts, before.missing]) + 0.5
    found = np.array([*now.counts, now.missing]) + 0.5
    grown = np.log((found / found.sum()) / (was / was.sum())).clip(min=0)
    return pd.Series(grown[before.places(cells)], cells.index)


def _told(name: str, cells: Mapping[str, Any], shown: Sequence[str]) -> str:
    """A column, with what was counted of it if that may be told."""
    if not any(name == column or name.endswith(f" of {column}") for column in shown):
        return name
    cell = cells[name]
    return f"{name}={cell:.4g}" if isinstance(cell, float) else f"{name}={str(cell)[:40]}"
