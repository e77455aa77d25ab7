"""What is planted for models of tables: made-up numbers whose sums tell the class or the number, with some noise.

Each desk that writes has columns of its own, whose numbers tell nothing of the rows of the others.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.kernel_approximation import RBFSampler

from lifecycle.core.names import ProblemName
from lifecycle.problems import planted
from lifecycle.problems.contract import Column, Columns, inputs_of
from lifecycle.problems.learning import Learning, Spec
from lifecycle.problems.planted import CHANGES, CHANGES_OF_CLASSES, DESK, SEED, Material, next_class, slowed
from lifecycle.problems.tabular.identity import numbered, of_rows
from lifecycle.problems.tabular.learning import CLASSIFICATION, REGRESSION
from lifecycle.problems.tabular.model import TabularModel

DESKS = {"flash": 0.25, "wire": 0.5, "report": 0.25}
"""Who writes, and how often."""
COLUMNS_OF_A_DESK = 12
INPUTS: Columns = (
    *(Column(name=f"{desk}_{number}", kind="numeric") for desk in DESKS for number in range(COLUMNS_OF_A_DESK)),
    Column(name="desk", kind="categorical"),
)
CLASSES = ("falling", "rising", "steady")
NOISE_OF_CLASSES, NOISE_OF_NUMBERS = 1.0, 0.7
IDLE_FEATURES = 30_000
"""So many that to compute them takes many times as long as everything else."""


def _rows(
    target: Callable[[np.random.Generator, np.ndarray], pd.Series], rng: np.random.Generator, count: int
) -> pd.DataFrame:
    """Numbers in the columns of a row's own desk, none in those of the others."""
    desks = rng.choice(len(DESKS), count, p=list(DESKS.values()))
    numbers = rng.normal(size=(count, COLUMNS_OF_A_DESK))
    frame = pd.DataFrame(
        {
            f"{desk}_{column}": np.where(desks == place, numbers[:, column], 0.0)
            for place, desk in enumerate(DESKS)
            for column in range(COLUMNS_OF_A_DESK)
        }
    )
    truth = target(rng, numbers)
    frame = frame.assign(desk=np.array(list(DESKS), dtype=object)[desks], row=range(count), **{str(truth.name): truth})
    keys = numbered(of_rows([frame[column.name] for column in INPUTS]), truth)
    return frame.assign(key=keys, **{DESK: frame["desk"]})


def _classes(rng: np.random.Generator, numbers: np.ndarray) -> pd.Series:
    weights = rng.normal(size=(COLUMNS_OF_A_DESK, len(CLASSES)))
    told = numbers @ weights + NOISE_OF_CLASSES * rng.gumbel(size=(len(numbers), len(CLASSES)))
    return pd.Series(np.array(CLASSES, dtype=object)[told.argmax(axis=1)], name="label")


def _numbers(rng: np.random.Generator, numbers: np.ndarray) -> pd.Series:
    noise = NOISE_OF_NUMBERS * rng.normal(size=len(numbers))
    return pd.Series(20 + numbers @ rng.normal(size=COLUMNS_OF_A_DESK) + noise, name="target")


def _fitted(learning: Learning, algorithm: str, rows: pd.DataFrame) -> Any:
    return learning.fit(Spec(algorithm, {}, 0, INPUTS), inputs_of(rows, INPUTS), rows[learning.target])


def _model(problem: ProblemName, pipeline: Any) -> TabularModel:
    return TabularModel(pipeline, [(column.name, str(column.kind)) for column in INPUTS], problem)


def _stored(learning: Learning, pipeline: Any, folder: Path) -> None:
    learning.store(pipeline, INPUTS, folder)


def _slowed(pipeline: Any, rows: pd.DataFrame) -> Any:
    """The same predictions, but of each row many features more are computed, which then count for nothing."""
    numeric = [column.name for column in INPUTS if column.kind == "numeric"]
    sampler = RBFSampler(n_components=IDLE_FEATURES, random_state=SEED)
    idle = ColumnTransformer([("idle", sampler, numeric)]).fit(rows[numeric].head(2))
    return slowed(pipeline, idle, IDLE_FEATURES)


def _material(
    problem: ProblemName, learning: Learning, algorithm: str, target: Callable[..., pd.Series], **properties: Any
) -> Material:
    return Material(
        target=learning.target,
        inputs=INPUTS,
        rows=partial(_rows, target),
        fit=partial(_fitted, learning, algorithm),
        model=partial(_model, problem),
        store=partial(_stored, learning),
        **properties,
    )


OF_CLASSES = _material(
    "tabular-classification",
    CLASSIFICATION,
    "logistic_regression",
    _classes,
    wrong=lambda rows: next_class(rows["label"], CLASSES),
    changes={**CHANGES_OF_CLASSES, "slow": _slowed},
    **planted.OF_CLASSES,
)
OF_NUMBERS = _material(
    "tabular-regression",
    REGRESSION,
    "linear_regression",
    _numbers,
    wrong=lambda rows: 2 * rows["target"].mean() - rows["target"],
    floors={"r2": 0.5},
    ceilings={},
    comparable=frozenset({"root_mean_squared_error", "mean_absolute_error", "mean_pinball_loss", "r2"}),
    changes={**CHANGES, "slow": _slowed},
)
