"""The metrics of classifiers, under scikit-learn's names (`zero_division=0`).

`named`     the metric of a name, a team's own and the cost of the rules included
`standard`  every metric that some scores allow
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lifecycle.core.errors import MetricError
from lifecycle.problems.classification import ranking
from lifecycle.problems.classification.ranking import probabilities_of, sum_by
from lifecycle.problems.classification.scores import ClassScores
from lifecycle.problems.metric import Codes, Drawn, Floats, Mask, Metric, mean, own, ratio, unknown, weighted
from lifecycle.settings.gate_rules import OF_A_CLASS, CostRules, GateRules

EDGES = np.arange(1, 10) / 10
"""Between the bins of the calibration error."""


def named(name: str, rules: GateRules) -> Metric:
    """The metric of a name.

    Raises:
        ConfigError: There is no such metric, or it is `cost` and the rules have no costs.
    """
    if name in rules.own_metrics:
        return own(name, rules.own_metrics[name], ("label", "probabilities"), _rows_of)
    if name == "cost" and rules.costs is not None:
        return weighted(name, partial(_cost, rules.costs), higher=False)
    if name.startswith(OF_A_CLASS) and name not in OF_A_CLASS:
        return _of_a_class(*name.split(".", 1))
    if name in STANDARD:
        return STANDARD[name]
    more = ", precision., recall., f1.<class>, and `cost` if the gate's rules have `costs`"
    raise unknown(name, sorted({*STANDARD, *rules.own_metrics}), more)


def standard(scores: ClassScores) -> list[Metric]:
    """What a verdict lists: every metric that these scores allow, and those of each class that the truth has."""
    undefined = {"roc_auc", "average_precision"} if len(np.unique(scores.truth)) < 2 else set()
    usable = [
        metric
        for metric in STANDARD.values()
        if metric.name not in undefined and not (metric.needs_probabilities and scores.probabilities is None)
    ]
    classes = [scores.classes[code] for code in np.unique(scores.truth)]
    return usable + [_of_a_class(score, label) for label in classes for score in PER_CLASS]


class _Counts(NamedTuple):
    """Weights by class, each (classes, resamples)."""

    hits: Floats
    actual: Floats
    predicted: Floats


def _counts(scores: ClassScores, drawn: Drawn) -> _Counts:
    right = scores.right.astype(float)
    count = len(scores.classes)
    return _Counts(
        sum_by(scores.truth, drawn, count, right),
        sum_by(scores.truth, drawn, count),
        sum_by(scores.label, drawn, count),
    )


PER_CLASS: dict[str, Callable[[_Counts], Floats]] = {
    "precision": lambda counts: ratio(counts.hits, counts.predicted),
    "recall": lambda counts: ratio(counts.hits, counts.actual),
    "f1": lambda counts: ratio(2 * counts.hits, counts.actual + counts.predicted),
}


def _macro(score: str, scores: ClassScores, drawn: Drawn) -> Floats:
    """The mean over the classes that the drawn rows have in truth.

    A class that a model only says must not make its mean one of more classes than the other model's.
    """
    counts = _counts(scores, drawn)
    present = counts.actual > 0
    return ratio((PER_CLASS[score](counts) * present).sum(axis=0), present.sum(axis=0).astype(float), math.nan)


def _weighted(score: str, scores: ClassScores, drawn: Drawn) -> Floats:
    counts = _counts(scores, drawn)
    return ratio((PER_CLASS[score](counts) * counts.actual).sum(axis=0), counts.actual.sum(axis=0), math.nan)


def _single(score: str, label: str, scores: ClassScores, drawn: Drawn) -> Floats:
    """Of one class alone: of hundreds of classes all counts again for each would take minutes."""
    code = _code(label, scores)
    truth, predicted = scores.truth == code, scores.label == code
    return PER_CLASS[score](_Counts(*(_sum_of(rows, drawn) for rows in (truth & predicted, truth, predicted))))


def _sum_of(rows: Mask, drawn: Drawn) -> Floats:
    return np.asarray(drawn[rows].sum(axis=0))


def _code(label: str, scores: ClassScores) -> int:
    if label not in scores.classes:
        raise MetricError(f"there is no class {label!r}, only {', '.join(scores.classes)}")
    return scores.classes.index(label)


def _balanced_accuracy(scores: ClassScores, drawn: Drawn) -> Floats:
    counts = _counts(scores, drawn)
    present = counts.actual > 0
    return ratio(PER_CLASS["recall"](counts).sum(axis=0), present.sum(axis=0).astype(float), math.nan)


def _mcc(scores: ClassScores, drawn: Drawn) -> Floats:
    """Matthews' correlation of truth and label for any number of classes; 0 if either is constant."""
    hits, actual, predicted = _counts(scores, drawn)
    rows = actual.sum(axis=0)
    together = hits.sum(axis=0) * rows - (actual * predicted).sum(axis=0)
    spread = (rows**2 - (predicted**2).sum(axis=0)) * (rows**2 - (actual**2).sum(axis=0))
    return ratio(together, np.sqrt(spread))


def _accuracy(scores: ClassScores, drawn: Drawn) -> Floats:
    return mean(scores.right.astype(float), drawn)


def _cost(costs: CostRules, scores: ClassScores, drawn: Drawn) -> Floats:
    """Money per 1,000 rows. A class that nobody knows is a typo and would make its mistakes free."""
    table = np.zeros((len(scores.classes), len(scores.classes)))
    for truth, by_label in costs.matrix.items():
        for label, cost in by_label.items():
            table[_code(truth, scores), _code(label, scores)] = cost
    return 1000 * mean(table[scores.truth, scores.label], drawn)


def _log_loss(scores: ClassScores, drawn: Drawn) -> Floats:
    return mean(scores.once("log_loss", lambda: _log_losses(scores)), drawn)


def _log_losses(scores: ClassScores) -> Floats:
    given = probabilities_of(scores)[np.arange(len(scores.truth)), scores.truth]
    smallest = np.finfo(given.dtype).eps
    return np.asarray(-np.log(np.clip(given, smallest, 1 - smallest)))


def _brier(scores: ClassScores, drawn: Drawn) -> Floats:
    """The squared error summed over the classes, in [0, 2]; half of it, as is usual, where there are two classes."""
    errors = scores.once("brier", lambda: _squared_errors(scores))
    return mean(errors, drawn) * (0.5 if len(scores.classes) < 3 else 1)


def _squared_errors(scores: ClassScores) -> Floats:
    truth = np.eye(len(scores.classes))[scores.truth]
    return np.asarray(((truth - probabilities_of(scores)) ** 2).sum(axis=1))


def _ece(scores: ClassScores, drawn: Drawn) -> Floats:
    """Expected calibration error of the label's score.

    The scores fall into ten bins of equal width, ((m - 1) / 10, m / 10]; the error is the mean over the bins of the
    distance between the accuracy and the mean score in a bin, each weighted by its share of the rows.

    Source: Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, ICML 2017, equation 3.
    """
    bins, distance = scores.once("ece", lambda: _distances(scores))
    by_bin = sum_by(bins, drawn, len(EDGES) + 1, distance)
    return ratio(np.abs(by_bin).sum(axis=0), drawn.sum(axis=0), math.nan)


def _distances(scores: ClassScores) -> tuple[Codes, Floats]:
    """The bin of each row, and how far its score is from being right or wrong."""
    score = scores.score
    if not (np.isfinite(score).all() and (score >= 0).all() and (score <= 1).all()):
        raise MetricError("a score is not a number in [0, 1]")
    return np.searchsorted(EDGES, score), scores.right - score


def _of_a_class(score: str, label: str) -> Metric:
    def rate(scores: ClassScores) -> tuple[Mask, Mask]:
        code = _code(label, scores)
        counted = (scores.label if score == "precision" else scores.truth) == code
        return counted, scores.right

    return weighted(f"{score}.{label}", partial(_single, score, label), rate=None if score == "f1" else rate)


def _right(scores: ClassScores) -> tuple[Mask, Mask]:
    return np.ones(len(scores.truth), dtype=bool), scores.right


def _rows_of(scores: ClassScores, rows: Codes) -> tuple[list[str], list[str], Any]:
    """What a metric of a team's own is called with: truth and labels, and the probabilities as a table."""
    classes = np.array(scores.classes, dtype=object)
    truth, labels = (classes[codes[rows]].tolist() for codes in (scores.truth, scores.label))
    if scores.probabilities is None:
        return truth, labels, None
    return truth, labels, pd.DataFrame(scores.probabilities[rows], columns=list(scores.classes))


_of_probabilities = partial(weighted, reads=("probabilities",), needs_probabilities=True)
STANDARD: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        weighted("accuracy", _accuracy, rate=_right),
        weighted("balanced_accuracy", _balanced_accuracy),
        *(weighted(f"{score}_macro", partial(_macro, score)) for score in PER_CLASS),
        *(weighted(f"{score}_weighted", partial(_weighted, score)) for score in PER_CLASS),
        weighted("mcc", _mcc),
        _of_probabilities("roc_auc", partial(ranking.one_versus_rest, ranking.roc_auc)),
        _of_probabilities("average_precision", partial(ranking.one_versus_rest, ranking.average_precision)),
        _of_probabilities("log_loss", _log_loss, higher=False),
        _of_probabilities("brier", _brier, higher=False),
        weighted("ece", _ece, higher=False, reads=("label", "score")),
    )
}
"""The metrics that need nothing of the rules, by name."""
