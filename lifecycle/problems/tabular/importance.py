"""What the predictions of a tabular model depend on: how much worse they are when one column's cells are shuffled."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lifecycle.core.class_names import as_plotted

MOST_CELLS, MOST_ROWS, LEAST_ROWS = 20_000, 2_000, 200
"""So many rows are predicted per repetition that a wide table takes no longer than a narrow one."""
REPEATS, NARROW = 2, 20
"""How often each column of a table of at most so many columns is shuffled; those of a wider one are once."""
SHOWN = 25
"""The columns that the plot shows, those that matter most."""

Loss = Callable[[pd.DataFrame, Any], float]
"""How bad the predictions for some inputs are, against their truth."""


def measured(loss: Loss, inputs: pd.DataFrame, truth: "pd.Series[Any]") -> pd.DataFrame:
    """A row per input, the one that matters most first: its name, by how much the loss rises, and how sure that is."""
    rng = np.random.default_rng(0)
    count = min(len(inputs), MOST_ROWS, max(LEAST_ROWS, MOST_CELLS // inputs.shape[1]))
    rows = np.sort(rng.permutation(len(inputs))[:count])
    inputs, truth = inputs.iloc[rows].reset_index(drop=True), truth.iloc[rows].reset_index(drop=True)
    before, repeats = loss(inputs, truth), REPEATS if inputs.shape[1] <= NARROW else 1
    rises = {
        name: [
            loss(inputs.assign(**{name: inputs[name].to_numpy()[rng.permutation(count)]}), truth) - before
            for _ in range(repeats)
        ]
        for name in inputs.columns
    }
    table = {"input": [*rises], "importance": np.mean([*rises.values()], 1), "deviation": np.std([*rises.values()], 1)}
    return pd.DataFrame(table).sort_values("importance", ascending=False, kind="stable", ignore_index=True)


def draw(table: pd.DataFrame, measure: str, path: Path) -> None:
    """Draw the columns that matter most."""
    shown = table.iloc[:SHOWN][::-1]
    figure = Figure(figsize=(7, 1.2 + 0.28 * len(shown)), layout="constrained")
    axes = figure.subplots()
    axes.barh([as_plotted(name) for name in shown["input"]], shown["importance"], xerr=shown["deviation"])
    axes.set_xlabel(f"{measure} rises by, when the cells of the column are shuffled")
    figure.savefig(path, dpi=120)
