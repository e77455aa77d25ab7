"""What the predictions of a tabular model depend on: how much worse they are when one column's cells are shuffled."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.class_names import as_plotted

MOST_COLUMNS, GROUPS = 40, 10
"""So many columns are measured; by which of a wider table's, the answers in so many groups of rows say."""
MOST_CELLS, MOST_ROWS = 20_000, 2_000
"""So many rows are predicted per repetition that a wide table takes no longer than a narrow one."""
MOST_TOGETHER = 4_000_000
"""Cells that are predicted at once: of a wide table a prediction costs as much for few rows as for many."""
REPEATS, NARROW = 2, 20
"""How often each column of a table of at most so many columns is shuffled; those of a wider one are once."""
SHOWN = 25
"""The columns that the plot shows, those that matter most."""

Answers = Callable[[pd.DataFrame], pd.DataFrame]
"""What the model says of some inputs."""
Loss = Callable[[Any, pd.DataFrame], float]
"""How bad answers are, against the truth."""


def measured(answers_of: Answers, loss: Loss, inputs: pd.DataFrame, truth: "pd.Series[Any]") -> pd.DataFrame:
    """A row per input, the one that matters most first: its name, by how much the loss rises, and how sure that is.

    `rows` is how many rows that was measured on. Of a wide table, 0 stands at the columns that were not measured.
    """
    rng = np.random.default_rng(0)
    count = min(len(inputs), MOST_ROWS, MOST_CELLS // min(inputs.shape[1], MOST_COLUMNS))
    rows = np.sort(rng.permutation(len(inputs))[:count])
    inputs, truth = inputs.iloc[rows].reset_index(drop=True), truth.iloc[rows].reset_index(drop=True)
    rises = _rises(answers_of, loss, inputs, truth, rng)
    table = pd.DataFrame({"input": [*inputs.columns]})
    table["importance"] = table["input"].map({name: np.mean(of) for name, of in rises.items()}).astype("float64")
    table["deviation"] = table["input"].map({name: np.std(of) for name, of in rises.items()}).astype("float64")
    table["rows"] = np.where(table["importance"].isna(), 0, count)
    return table.sort_values("importance", ascending=False, kind="stable", ignore_index=True)


def _rises(
    answers_of: Answers, loss: Loss, inputs: pd.DataFrame, truth: "pd.Series[Any]", rng: np.random.Generator
) -> Mapping[str, list[float]]:
    """By how much the loss rises each time that a column is shuffled, of the columns that are measured."""
    count = len(inputs)
    answers, repeats = answers_of(inputs), REPEATS if inputs.shape[1] <= NARROW else 1
    before, rises = loss(truth, answers), defaultdict[str, list[float]](list)
    names = [name for name in _followed(inputs, answers) for _ in range(repeats)]
    step = max(1, MOST_TOGETHER // inputs.size)
    for some in (names[place : place + step] for place in range(0, len(names), step)):
        frames = [inputs.assign(**{name: inputs[name].to_numpy()[rng.permutation(count)]}) for name in some]
        told = answers_of(pd.concat(frames, ignore_index=True))
        for name, place in zip(some, range(0, len(told), count), strict=True):
            rises[name].append(loss(truth, told.iloc[place : place + count].reset_index(drop=True)) - before)
    return rises


def _followed(inputs: pd.DataFrame, answers: pd.DataFrame) -> list[str]:
    """The columns that the answers follow most closely, which to find out nothing need be predicted."""
    if inputs.shape[1] <= MOST_COLUMNS:
        return [*inputs.columns]
    numbers = answers.select_dtypes("number").to_numpy("float64")
    shares = pd.Series({name: _explained(_groups(inputs[name]), numbers) for name in inputs.columns})
    return [*shares.sort_values(ascending=False, kind="stable").index[:MOST_COLUMNS]]


def _groups(cells: "pd.Series[Any]") -> Any:
    """The group of each row: 0 where the cell is missing, else by its rank or, of a category, by how common it is."""
    if cells.dtype.kind in "iufbM":
        return np.ceil(cells.rank(pct=True).fillna(0).to_numpy() * GROUPS).astype("int64")
    places = cells.value_counts().rank(method="first", ascending=False)
    return cells.map(places).clip(upper=GROUPS).fillna(0).to_numpy("int64")


def _explained(groups: Any, numbers: Any) -> float:
    """The share of the variance of the answers that lies between the groups."""
    centred, sizes = numbers - numbers.mean(0), np.bincount(groups, minlength=GROUPS + 1)
    sums = np.stack([np.bincount(groups, column, GROUPS + 1) for column in centred.T])
    whole = float((centred**2).sum())
    return float((sums**2 / np.maximum(sizes, 1)).sum()) / whole if whole else 0.0


def draw(table: pd.DataFrame, measure: str, path: Path) -> None:
    """Draw the columns that matter most."""
    from matplotlib.figure import Figure

    known = table.dropna(subset="importance")
    shown = known.iloc[:SHOWN][::-1]
    figure = Figure(figsize=(7, 1.2 + 0.28 * len(shown)), layout="constrained")
    axes = figure.subplots()
    axes.barh([as_plotted(name) for name in shown["input"]], shown["importance"], xerr=shown["deviation"])
    axes.set_title(f"{len(known):,} of {len(table):,} columns were measured, on {table['rows'].max():,} rows")
    axes.set_xlabel(f"{measure} rises by, when the cells of the column are shuffled")
    figure.savefig(path, dpi=120)
