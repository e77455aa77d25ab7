"""Metrics of the order in which a classifier's probabilities put the rows of each class."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import sparse

from lifecycle.core.errors import MetricError
from lifecycle.problems.classification.scores import ClassScores
from lifecycle.problems.metric import Codes, Drawn, Floats, ratio

TOLERATED = 1e-3
"""How far the probabilities of a row may be from 1 in sum; models that calculate in float32 are not exact."""


def sum_by(codes: Codes, drawn: Drawn, count: int, values: Floats | None = None) -> Floats:
    """Sums of the rows with the same code, each times its value: (n, resamples) to (count, resamples)."""
    rows = len(codes)
    each, ends = np.ones(rows) if values is None else values, np.arange(rows + 1, dtype=codes.dtype)
    return np.asarray(sparse.csc_array((each, codes, ends), shape=(count, rows)) @ drawn)


def probabilities_of(scores: ClassScores) -> Floats:
    """The probabilities of a model that tells them.

    Raises:
        MetricError: It tells none, or what it tells is no probability.
    """
    return scores.once("probabilities", lambda: _sound(scores.probabilities))


def _sound(found: Floats | None) -> Floats:
    if found is None:
        raise MetricError("gives no probabilities")
    if not np.isfinite(found).all() or (found < 0).any() or (found > 1).any():
        raise MetricError("a probability is not a number in [0, 1]")
    if (np.abs(found.sum(axis=1) - 1) > TOLERATED).any():
        raise MetricError("the probabilities of a row do not sum to 1")
    return found


class _Ranked(NamedTuple):
    """The rows of a class and what lies around each of them in the order of its probability, each (rows, resamples)."""

    weight: Floats
    others_above: Floats  # rows of other classes with a greater one
    others_tied: Floats
    others: Floats  # all rows of other classes, (resamples,)


class _Order(NamedTuple):
    """The rows of a class by its probability, the greatest first, and where all other rows lie among them.

    Attributes:
        rows: The rows of the class.
        place: Which of their different probabilities each has; None if no two are the same.
        last: Of each probability, the last row that has it.
        below: Of every row, the first probability that is not above its own; one that there is not for their own rows.
        tied: The same of rows of other classes that have just this probability, else one that there is not.
    """

    rows: Codes
    place: Codes | None
    last: Codes
    below: Codes
    tied: Codes | None

    def ranked(self, drawn: Drawn) -> _Ranked:
        """What lies around each row of the class if the rows are drawn so often."""
        values = len(self.last)
        others = np.cumsum(sum_by(self.below, drawn, values + 2)[:-1], axis=0)
        above, tied = others[:-1], np.zeros((1, 1))
        if self.tied is not None:
            tied = sum_by(self.tied, drawn, values + 2)[:values]
            above, tied = above - tied, tied if self.place is None else tied[self.place]
        return _Ranked(drawn[self.rows], above if self.place is None else above[self.place], tied, others[-1])

    def above(self, weight: Floats) -> Floats:
        """How much of the class has at least the probability of each of its rows."""
        sums = np.cumsum(weight, axis=0)
        return sums if self.place is None else np.asarray(sums[self.last][self.place])


def _ordered(scores: ClassScores, code: int) -> _Order:
    """Only the rows of the class are sorted; the others are looked up among them."""
    score, belongs = probabilities_of(scores)[:, code], scores.truth == code
    rows = np.flatnonzero(belongs)
    rows = rows[np.argsort(-score[rows], kind="stable")]
    values, first, place = np.unique(-score[rows], return_index=True, return_inverse=True)
    below = np.searchsorted(values, -score)
    tied = ~belongs & (np.append(values, np.nan)[below] == -score)
    nowhere = len(values) + 1
    return _Order(
        rows=rows,
        place=None if len(values) == len(rows) else place,
        last=np.append(first[1:], len(rows)) - 1,
        below=np.where(belongs, nowhere, below).astype(np.int32),
        tied=np.where(tied, below, nowhere).astype(np.int32) if tied.any() else None,
    )


def roc_auc(order: _Order, drawn: Drawn) -> Floats:
    """The share of pairs, one row of the class and one of another, that are in order; a tie counts half."""
    ranked = order.ranked(drawn)
    rows = ranked.weight.sum(axis=0)
    wrong = (ranked.weight * (ranked.others_above + ranked.others_tied / 2)).sum(axis=0)
    return 1 - ratio(wrong, rows * ranked.others, math.nan)


def average_precision(order: _Order, drawn: Drawn) -> Floats:
    """The mean precision at the probabilities of the rows of the class."""
    ranked = order.ranked(drawn)
    above = order.above(ranked.weight)
    mean = (ranked.weight * ratio(above, above + ranked.others_above + ranked.others_tied)).sum(axis=0)
    rows = ranked.weight.sum(axis=0)
    return ratio(mean, rows * (ranked.others > 0), math.nan)


def one_versus_rest(of: Callable[[_Order, Drawn], Floats], scores: ClassScores, drawn: Drawn) -> Floats:
    """The mean over the classes that have rows and do not have all of them; of two classes the second alone."""
    codes = [1] if len(scores.classes) == 2 else np.unique(scores.truth).tolist()
    each = np.stack([of(scores.once(("order", code), partial(_ordered, scores, code)), drawn) for code in codes])
    defined = np.isfinite(each)
    return ratio(np.where(defined, each, 0).sum(axis=0), defined.sum(axis=0).astype(float), math.nan)
