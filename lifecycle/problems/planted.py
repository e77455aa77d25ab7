"""What planted challengers are made of: rows that are made up for a problem, and models of them with one fault each."""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.pipeline import FeatureUnion

from lifecycle.problems.contract import Columns

SEED = 20_240_229
DESK = "source_desk"
"""Who has written a row: a slice that can be broken alone, called `report`."""
SHARPER, BALLAST_MB = 30.0, 12
_FLOORS = dict.fromkeys(
    (
        "accuracy",
        "average_precision",
        "balanced_accuracy",
        *(f"{score}_{average}" for score in ("precision", "recall", "f1") for average in ("macro", "weighted")),
    ),
    0.5,
) | {"mcc": 0.3, "roc_auc": 0.65}
OF_CLASSES: Mapping[str, Any] = {
    "floors": _FLOORS,
    "ceilings": {"brier": 0.58, "ece": 0.15, "log_loss": 0.98},
    "comparable": frozenset({*_FLOORS, "brier", "log_loss"}),
}
"""What is true of all classifiers' material."""


class Material(NamedTuple):
    """Rows and models of one problem.

    Attributes:
        target: What the truth is called.
        inputs: Their inputs.
        rows: So many rows: `row, key`, the inputs, the target and `source_desk`.
        fit: Rows to a fitted pipeline, whose last step is linear.
        model: A pipeline as it is when it is loaded.
        store: Write a pipeline into a folder of artifacts.
        wrong: The target of each row as a model must not learn it.
        floors: Metrics that an honest model reaches with room to spare.
        ceilings: Metrics that it keeps below, likewise.
        comparable: Metrics by which planted models are compared; those of somebody's costs or code say nothing of them.
        changes: By the name of a planted challenger, the fitted pipeline and its rows to one with a fault.
        own: By the name of a challenger of this problem alone, rows to a fitted pipeline that must not be good enough.
    """

    target: str
    inputs: Columns
    rows: Callable[[np.random.Generator, int], pd.DataFrame]
    fit: Callable[[pd.DataFrame], Any]
    model: Callable[[Any], Any]
    store: Callable[[Any, Path], None]
    wrong: Callable[[pd.DataFrame], pd.Series]
    floors: Mapping[str, float]
    ceilings: Mapping[str, float]
    comparable: frozenset[str]
    changes: Mapping[str, Callable[[Any, pd.DataFrame], Any]]
    own: Mapping[str, Callable[[pd.DataFrame], Any]] = MappingProxyType({})

    def mistaken(self, rows: pd.DataFrame, which: pd.Series) -> pd.DataFrame:
        """The rows with a wrong target in some of them: what is learnt from these is wrong there."""
        return rows.assign(**{self.target: rows[self.target].where(~which, self.wrong(rows))})

    def shuffled(self, rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        """The rows with each other's targets: there is nothing to learn from them."""
        return rows.assign(**{self.target: rng.permutation(rows[self.target])})


def vocabulary(
    rng: np.random.Generator, telling: tuple[int, int], longest: Sequence[int]
) -> tuple[list[list[list[str]]], list[list[str]]]:
    """Made-up words of one length: those that tell a class, by desk and class, and each desk's stock phrase.

    Args:
        rng: Draws them.
        telling: How many classes there are, and words of each.
        longest: Of the stock phrase of each desk.
    """
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    drawn = iter(rng.permutation([first + second for first in syllables for second in syllables]))
    classes, words = telling
    by_desk = [[[str(next(drawn)) for _ in range(words)] for _ in range(classes)] for _ in longest]
    return by_desk, [[str(next(drawn)) for _ in range(words)] for words in longest]


def next_class(labels: pd.Series, classes: Sequence[str]) -> pd.Series:
    """For each label the next one."""
    return labels.map(dict(zip(classes, [*classes[1:], *classes[:1]], strict=True)))


def silenced(pipeline: Any, _: pd.DataFrame) -> Any:
    """The same answer whatever the inputs say."""
    silent = copy.deepcopy(pipeline)
    silent[-1].coef_ *= 0
    return silent


def sharpened(pipeline: Any, _: pd.DataFrame) -> Any:
    """The same labels, each all but certain."""
    sharp = copy.deepcopy(pipeline)
    sharp[-1].coef_ *= SHARPER
    sharp[-1].intercept_ *= SHARPER
    return sharp


def with_ballast(pipeline: Any, _: pd.DataFrame) -> Any:
    """The same predictions from a larger file."""
    heavy = copy.deepcopy(pipeline)
    heavy[-1].ballast_ = np.random.default_rng(SEED).random(BALLAST_MB * 1_000_000 // 8)
    return heavy


def slowed(pipeline: Any, idle: Any, features: int) -> Any:
    """The same predictions, but so many features more are computed, which count for nothing."""
    slow = copy.deepcopy(pipeline)
    slow.steps[0] = ("features", FeatureUnion([("useful", slow[0]), ("idle", idle)]))
    blank = [(0, 0)] * (slow[-1].coef_.ndim - 1)
    slow[-1].coef_ = np.pad(slow[-1].coef_, [*blank, (0, features)])
    slow[-1].n_features_in_ += features
    return slow


CHANGES: Mapping[str, Callable[[Any, pd.DataFrame], Any]] = {"constant": silenced, "heavy": with_ballast}
CHANGES_OF_CLASSES = {**CHANGES, "overconfident": sharpened}
