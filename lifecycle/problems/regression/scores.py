"""One regressor on the comparable rows: numbers beside the truth, and how it compares with another one."""

import warnings
from collections.abc import Callable, Hashable, Mapping
from functools import cached_property
from typing import Any, NamedTuple, Self, TypeVar, cast

import numpy as np
import pandas as pd
from scipy import stats

from lifecycle.problems.findings import Interval, shown
from lifecycle.problems.metric import Codes, Flips, Floats, Mask

T = TypeVar("T")


class _Fields(NamedTuple):
    truth: Floats
    prediction: Floats


class NumberScores(_Fields):
    """One model's predictions beside the truth, both (n,)."""

    @cached_property
    def _known(self) -> dict[Hashable, Any]:
        return {}

    @property
    def classes(self) -> tuple[str, ...]:
        """There are none."""
        return ()

    @property
    def right(self) -> None:
        """No number is simply right or wrong."""

    @property
    def without_model(self) -> tuple[str, int]:
        """So none has rows right."""
        return "no number", 0

    @property
    def errors(self) -> Floats:
        """How far each prediction is from the truth, without its sign."""
        return self.once("errors", lambda: np.abs(self.prediction - self.truth))

    def once(self, what: Hashable, find: Callable[[], T]) -> T:
        """What depends on the rows alone and not on how often each is drawn: it is found once for all resamples."""
        if what not in self._known:
            self._known[what] = find()
        return cast(T, self._known[what])

    def take(self, rows: Codes) -> Self:
        """These rows alone, in this order."""
        return type(self)(self.truth[rows], self.prediction[rows])

    def interleave(self, other: Self) -> Self:
        """Each row twice: first as this model answers, then as the other does."""
        return type(self)(*(np.stack(pair, axis=1).ravel() for pair in zip(self, other, strict=True)))

    def alike(self, *others: Self) -> tuple[Codes, Codes]:
        """No two rows count as the same: numbers rarely are."""
        _ = others
        rows = np.arange(len(self.truth))
        return rows, rows

    def flips(self, champion: Self) -> Flips:
        """The rows on which this model is farther from the truth than a champion, or closer to it."""
        return Flips(
            self.errors > champion.errors, self.errors < champion.errors, "sign test", ("closer", "farther off")
        )

    def severity(self, other: Self) -> Floats:
        """How much farther from the truth it is than another model."""
        return np.asarray(self.errors - other.errors)

    def certainty(self, row: int) -> float:
        """In place of a confidence: how far it is from the truth."""
        return float(self.errors[row])

    def said(self, row: int) -> tuple[str, str]:
        """The truth of a row, and what the model says."""
        return shown(float(self.truth[row])), shown(float(self.prediction[row]))

    def quality(self, mask: Mask, confidence: float) -> Interval:
        """The mean absolute error on a part of the rows, with Student's interval."""
        errors = self.errors[mask]
        mean = float(errors.mean()) if len(errors) else 0.0
        if len(errors) < 2 or not errors.std():
            return Interval(value=mean, low=mean, high=mean)
        low, high = stats.t.interval(confidence, len(errors) - 1, loc=mean, scale=stats.sem(errors))
        return Interval(value=mean, low=max(0.0, float(low)), high=float(high))

    def slice_loss(self, champion: Self, mask: Mask) -> tuple[float, float]:
        """By which share the mean absolute error grows, and the one-sided p of the paired t-test."""
        new, old = self.errors[mask], champion.errors[mask]
        if len(new) < 2 or np.array_equal(new, old):
            return 0.0, 1.0
        lost = float((new.mean() - old.mean()) / old.mean()) if old.mean() else np.inf
        with warnings.catch_warnings():  # where all rows lose about the same, which is no chance
            warnings.simplefilter("ignore", RuntimeWarning)
            return lost, float(stats.ttest_rel(new, old, alternative="greater").pvalue)

    def changed(self, champion: Self) -> int:
        """Rows whose prediction is another number."""
        return int((self.prediction != champion.prediction).sum())

    def confusion(self) -> tuple[tuple[int, ...], ...]:
        """Numbers are not counted by class."""
        return ()


def scores_of(truth: pd.Series, answers: Mapping[str, pd.DataFrame]) -> dict[str, NumberScores]:
    """The scores of models by their role, from what was stored of each for the same rows in the same order."""
    target = truth.to_numpy(np.float64)
    return {role: NumberScores(target, frame["prediction"].to_numpy(np.float64)) for role, frame in answers.items()}


def problems_of(answers: pd.DataFrame) -> list[str]:
    """What makes stored answers unusable, in words."""
    columns = list(map(str, answers.columns))
    if columns.count("prediction") != 1:
        return ["lacks or repeats the column prediction"]
    if answers["prediction"].dtype.kind not in "fiu":
        return ["has predictions that are no numbers"]
    if not np.isfinite(answers["prediction"].to_numpy(np.float64)).all():
        return ["has a prediction that is not finite"]
    return []
