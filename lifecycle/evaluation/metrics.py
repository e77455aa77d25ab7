"""Every metric of the gate as a measure of weighted rows, so that thousands of resamples are measured in one go.

A metric takes the predictions of one model and weights of shape (..., n), how often each row was drawn, and returns one
number for each of the leading axes. With whole numbers as weights it equals scikit-learn's metric (`zero_division=0`)
on the rows repeated so often, which measures one resample at a time and is far slower.

`Predictions`     one model's labels, scores and probabilities beside the truth
`named`           the metric of a name, one's own and the cost of the rules included
`standard`        every metric that can be measured on some predictions

What cannot be measured is a `MetricError`, or a NaN where a resample leaves a metric undefined; never a good value.
"""

import importlib
import math
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property, partial
from numbers import Real
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.errors import ConfigError, MetricError
from lifecycle.settings.gate_rules import OF_A_CLASS, CostRules, GateRules

T = TypeVar("T")
Codes = NDArray[np.int64]
Floats = NDArray[np.float64]
Weights = NDArray[np.float64]
"""How often each row was drawn, (..., n); ones for the rows themselves."""
Drawn = NDArray[np.float64]
"""The same with the rows first, (n, resamples): sums over rows then run along the memory."""

EDGES = np.arange(1, 10) / 10
"""Between the bins of the calibration error."""
OWN_RESAMPLES = 200
"""A metric of one's own is Python called once per resample: more would take minutes."""
TOLERATED = 1e-3
"""How far the probabilities of a row may be from 1 in sum; models that calculate in float32 are not exact."""


class _Fields(NamedTuple):
    classes: tuple[str, ...]
    truth: Codes
    label: Codes
    score: Floats
    probabilities: Floats | None


class Predictions(_Fields):
    """One model on the comparable rows; all arrays are aligned with the rows, and none is ever changed.

    Attributes:
        classes: Sorted union of the truth, both models' labels and their probability columns.
        truth: Codes into `classes`, (n,).
        label: Codes into `classes`, (n,).
        score: Confidence of the label, in [0, 1], (n,).
        probabilities: (n, len(classes)), each row sums to 1; None if the model gives none.
    """

    @cached_property
    def _known(self) -> dict[Hashable, Any]:
        return {}

    def once(self, what: Hashable, find: Callable[[], T]) -> T:
        """What depends on the rows alone and not on how often each is drawn: it is found once for all resamples."""
        if what not in self._known:
            self._known[what] = find()
        return cast(T, self._known[what])


class Metric(NamedTuple):
    """A metric by its name.

    Attributes:
        name: As in the rules.
        measure: Weights (..., n) to values (...); raises MetricError, gives NaN where it is undefined.
        higher: Whether more is better.
        needs_probabilities: Whether a model without probabilities cannot be measured.
        reads: The fields of `Predictions` that it depends on, beside the truth.
        resamples: At most so many resamples, because it is slow.
        rate: For a plain share of rows: which rows are counted and which of these are hits, as masks.
    """

    name: str
    measure: Callable[[Predictions, Weights], Floats]
    higher: bool = True
    needs_probabilities: bool = False
    reads: tuple[str, ...] = ("label",)
    resamples: int | None = None
    rate: Callable[[Predictions], tuple[NDArray[np.bool_], NDArray[np.bool_]]] | None = None


def named(name: str, rules: GateRules) -> Metric:
    """The metric of a name.

    Raises:
        ConfigError: There is no such metric, or it is `cost` and the rules have no costs.
    """
    if name in rules.own_metrics:
        return _own(name, rules.own_metrics[name])
    if name == "cost" and rules.costs is not None:
        return _metric(name, partial(_cost, rules.costs), higher=False)
    if name.startswith(OF_A_CLASS) and name not in OF_A_CLASS:
        return _of_a_class(*name.split(".", 1))
    if name in STANDARD:
        return STANDARD[name]
    known = sorted(set(STANDARD) | set(rules.own_metrics))
    raise ConfigError(
        f"{name!r} is not a metric: there are {', '.join(known)}, precision., recall., f1.<class>, and `cost` "
        "if the gate's rules have `costs`.",
        "See `mlops config show`, gate.",
    )


def standard(predictions: Predictions) -> list[Metric]:
    """What a verdict lists: every metric that these predictions allow, and those of each class that the truth has."""
    undefined = {"roc_auc", "average_precision"} if len(np.unique(predictions.truth)) < 2 else set()
    usable = [
        metric
        for metric in STANDARD.values()
        if metric.name not in undefined and not (metric.needs_probabilities and predictions.probabilities is None)
    ]
    classes = [predictions.classes[code] for code in np.unique(predictions.truth)]
    return usable + [_of_a_class(score, label) for label in classes for score in PER_CLASS]


# From the rows of each class


class _Counts(NamedTuple):
    """Weights by class, each (classes, resamples)."""

    hits: Floats
    actual: Floats
    predicted: Floats


def _counts(predictions: Predictions, drawn: Drawn) -> _Counts:
    right = (predictions.truth == predictions.label).astype(float)
    count = len(predictions.classes)
    return _Counts(
        _sum_by(predictions.truth, drawn, count, right),
        _sum_by(predictions.truth, drawn, count),
        _sum_by(predictions.label, drawn, count),
    )


def _sum_by(codes: Codes, drawn: Drawn, count: int, values: Floats | None = None) -> Floats:
    """Sums of the rows with the same code, each times its value: (n, resamples) to (count, resamples)."""
    from scipy import sparse

    rows = len(codes)
    each, ends = np.ones(rows) if values is None else values, np.arange(rows + 1, dtype=codes.dtype)
    return np.asarray(sparse.csc_array((each, codes, ends), shape=(count, rows)) @ drawn)


def _ratio(part: Floats, whole: Floats, otherwise: float = 0.0) -> Floats:
    out = np.full(np.broadcast(part, whole).shape, otherwise)
    return np.asarray(np.divide(part, whole, out=out, where=whole != 0))


PER_CLASS: dict[str, Callable[[_Counts], Floats]] = {
    "precision": lambda counts: _ratio(counts.hits, counts.predicted),
    "recall": lambda counts: _ratio(counts.hits, counts.actual),
    "f1": lambda counts: _ratio(2 * counts.hits, counts.actual + counts.predicted),
}


def _macro(score: str, predictions: Predictions, drawn: Drawn) -> Floats:
    """The mean over the classes that the drawn rows have in truth.

    A class that a model only says must not make its mean one of more classes than the other model's.
    """
    counts = _counts(predictions, drawn)
    present = counts.actual > 0
    return _ratio((PER_CLASS[score](counts) * present).sum(axis=0), present.sum(axis=0).astype(float), math.nan)


def _weighted(score: str, predictions: Predictions, drawn: Drawn) -> Floats:
    counts = _counts(predictions, drawn)
    return _ratio((PER_CLASS[score](counts) * counts.actual).sum(axis=0), counts.actual.sum(axis=0), math.nan)


def _single(score: str, label: str, predictions: Predictions, drawn: Drawn) -> Floats:
    """Of one class alone: of hundreds of classes all counts again for each would take minutes."""
    code = _code(label, predictions)
    truth, predicted = predictions.truth == code, predictions.label == code
    return PER_CLASS[score](_Counts(*(_sum_of(rows, drawn) for rows in (truth & predicted, truth, predicted))))


def _sum_of(rows: NDArray[np.bool_], drawn: Drawn) -> Floats:
    return np.asarray(drawn[rows].sum(axis=0))


def _code(label: str, predictions: Predictions) -> int:
    if label not in predictions.classes:
        raise MetricError(f"there is no class {label!r}, only {', '.join(predictions.classes)}")
    return predictions.classes.index(label)


def _balanced_accuracy(predictions: Predictions, drawn: Drawn) -> Floats:
    counts = _counts(predictions, drawn)
    present = counts.actual > 0
    return _ratio(PER_CLASS["recall"](counts).sum(axis=0), present.sum(axis=0).astype(float), math.nan)


def _mcc(predictions: Predictions, drawn: Drawn) -> Floats:
    """Matthews' correlation of truth and label for any number of classes; 0 if either is constant."""
    hits, actual, predicted = _counts(predictions, drawn)
    rows = actual.sum(axis=0)
    together = hits.sum(axis=0) * rows - (actual * predicted).sum(axis=0)
    spread = (rows**2 - (predicted**2).sum(axis=0)) * (rows**2 - (actual**2).sum(axis=0))
    return _ratio(together, np.sqrt(spread))


# Means of a number that each row has


def _mean(values: Floats, drawn: Drawn) -> Floats:
    return _ratio(values @ drawn, drawn.sum(axis=0), math.nan)


def _accuracy(predictions: Predictions, drawn: Drawn) -> Floats:
    return _mean((predictions.truth == predictions.label).astype(float), drawn)


def _cost(costs: CostRules, predictions: Predictions, drawn: Drawn) -> Floats:
    """Money per 1,000 rows. A class that nobody knows is a slip of the pen and would make its mistakes free."""
    table = np.zeros((len(predictions.classes), len(predictions.classes)))
    for truth, by_label in costs.matrix.items():
        for label, cost in by_label.items():
            table[_code(truth, predictions), _code(label, predictions)] = cost
    return 1000 * _mean(table[predictions.truth, predictions.label], drawn)


def _log_loss(predictions: Predictions, drawn: Drawn) -> Floats:
    return _mean(predictions.once("log_loss", lambda: _log_losses(predictions)), drawn)


def _log_losses(predictions: Predictions) -> Floats:
    given = _probabilities(predictions)[np.arange(len(predictions.truth)), predictions.truth]
    smallest = np.finfo(given.dtype).eps
    return np.asarray(-np.log(np.clip(given, smallest, 1 - smallest)))


def _brier(predictions: Predictions, drawn: Drawn) -> Floats:
    """The squared error summed over the classes, in [0, 2]; half of it, as is usual, where there are two classes."""
    errors = predictions.once("brier", lambda: _squared_errors(predictions))
    return _mean(errors, drawn) * (0.5 if len(predictions.classes) < 3 else 1)


def _squared_errors(predictions: Predictions) -> Floats:
    truth = np.eye(len(predictions.classes))[predictions.truth]
    return np.asarray(((truth - _probabilities(predictions)) ** 2).sum(axis=1))


def _ece(predictions: Predictions, drawn: Drawn) -> Floats:
    """Expected calibration error of the label's score.

    The scores fall into ten bins of equal width, ((m - 1) / 10, m / 10]; the error is the mean over the bins of the
    distance between the accuracy and the mean score in a bin, each weighted by its share of the rows.

    Source: Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, ICML 2017, equation 3.
    """
    bins, distance = predictions.once("ece", lambda: _distances(predictions))
    by_bin = _sum_by(bins, drawn, len(EDGES) + 1, distance)
    return _ratio(np.abs(by_bin).sum(axis=0), drawn.sum(axis=0), math.nan)


def _distances(predictions: Predictions) -> tuple[Codes, Floats]:
    """The bin of each row, and how far its score is from being right or wrong."""
    score = predictions.score
    if not (np.isfinite(score).all() and (score >= 0).all() and (score <= 1).all()):
        raise MetricError("a score is not a number in [0, 1]")
    return np.searchsorted(EDGES, score), (predictions.truth == predictions.label) - score


def _probabilities(predictions: Predictions) -> Floats:
    return predictions.once("probabilities", lambda: _sound(predictions.probabilities))


def _sound(found: Floats | None) -> Floats:
    if found is None:
        raise MetricError("gives no probabilities")
    if not np.isfinite(found).all() or (found < 0).any() or (found > 1).any():
        raise MetricError("a probability is not a number in [0, 1]")
    if (np.abs(found.sum(axis=1) - 1) > TOLERATED).any():
        raise MetricError("the probabilities of a row do not sum to 1")
    return found


# From the order of the rows


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
        others = np.cumsum(_sum_by(self.below, drawn, values + 2)[:-1], axis=0)
        above, tied = others[:-1], np.zeros((1, 1))
        if self.tied is not None:
            tied = _sum_by(self.tied, drawn, values + 2)[:values]
            above, tied = above - tied, tied if self.place is None else tied[self.place]
        return _Ranked(drawn[self.rows], above if self.place is None else above[self.place], tied, others[-1])

    def above(self, weight: Floats) -> Floats:
        """How much of the class has at least the probability of each of its rows."""
        sums = np.cumsum(weight, axis=0)
        return sums if self.place is None else np.asarray(sums[self.last][self.place])


def _ordered(predictions: Predictions, code: int) -> _Order:
    """Only the rows of the class are sorted; the others are looked up among them."""
    score, belongs = _probabilities(predictions)[:, code], predictions.truth == code
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


def _roc_auc(order: _Order, drawn: Drawn) -> Floats:
    """The share of pairs, one row of the class and one of another, that are in order; a tie counts half."""
    ranked = order.ranked(drawn)
    rows = ranked.weight.sum(axis=0)
    wrong = (ranked.weight * (ranked.others_above + ranked.others_tied / 2)).sum(axis=0)
    return 1 - _ratio(wrong, rows * ranked.others, math.nan)


def _average_precision(order: _Order, drawn: Drawn) -> Floats:
    """The mean precision at the probabilities of the rows of the class."""
    ranked = order.ranked(drawn)
    above = order.above(ranked.weight)
    mean = (ranked.weight * _ratio(above, above + ranked.others_above + ranked.others_tied)).sum(axis=0)
    rows = ranked.weight.sum(axis=0)
    return _ratio(mean, rows * (ranked.others > 0), math.nan)


def _one_versus_rest(of: Callable[[_Order, Drawn], Floats], predictions: Predictions, drawn: Drawn) -> Floats:
    """The mean over the classes that have rows and do not have all of them; of two classes the second alone."""
    codes = [1] if len(predictions.classes) == 2 else np.unique(predictions.truth).tolist()
    each = np.stack(
        [of(predictions.once(("order", code), partial(_ordered, predictions, code)), drawn) for code in codes]
    )
    defined = np.isfinite(each)
    return _ratio(np.where(defined, each, 0).sum(axis=0), defined.sum(axis=0).astype(float), math.nan)


# One's own


def _own(name: str, path: str) -> Metric:
    reads = ("label", "probabilities")
    measure = partial(_each_resample, path.removeprefix("-"))
    return Metric(name, measure, higher=not path.startswith("-"), reads=reads, resamples=OWN_RESAMPLES)


def _each_resample(path: str, predictions: Predictions, weights: Weights) -> Floats:
    flat = np.asarray(weights).reshape(-1, weights.shape[-1])
    values = [_call(path, predictions, np.repeat(np.arange(len(row)), np.rint(row).astype(int))) for row in flat]
    return np.array(values, dtype=float).reshape(weights.shape[:-1])


def own_function(path: str) -> Callable[..., Any]:
    """The function of a rule's `module:function`; whatever its module raises when it is imported is raised."""
    module, name = path.removeprefix("-").split(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def _call(path: str, predictions: Predictions, rows: Codes) -> float:
    """Call one's own function on some rows; whatever it does, the answer is a number or a MetricError."""
    classes = np.array(predictions.classes, dtype=object)
    try:
        value: Any = own_function(path)(
            classes[predictions.truth[rows]].tolist(),
            classes[predictions.label[rows]].tolist(),
            _frame(predictions, rows),
        )
    except (Exception, SystemExit) as error:
        raise MetricError(f"{path} failed: {type(error).__name__}: {error}") from error
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
        raise MetricError(f"{path} gave {value!r}, which is no number")
    return float(value)


def _frame(predictions: Predictions, rows: Codes) -> Any:
    import pandas as pd

    if predictions.probabilities is None:
        return None
    return pd.DataFrame(predictions.probabilities[rows], columns=list(predictions.classes))


# The table of them


def _metric(
    name: str,
    of: Callable[[Predictions, Drawn], Floats],
    *,
    higher: bool = True,
    reads: Sequence[str] = ("label",),
    rate: Callable[[Predictions], tuple[NDArray[np.bool_], NDArray[np.bool_]]] | None = None,
) -> Metric:
    """A metric from a function of rows-first weights."""

    def measure(predictions: Predictions, weights: Weights) -> Floats:
        drawn = np.moveaxis(np.asarray(weights, dtype=float), -1, 0)
        return of(predictions, drawn.reshape(len(drawn), -1)).reshape(drawn.shape[1:])

    return Metric(name, measure, higher, "probabilities" in reads, tuple(reads), rate=rate)


def _of_a_class(score: str, label: str) -> Metric:
    def rate(predictions: Predictions) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        code = _code(label, predictions)
        counted = (predictions.label if score == "precision" else predictions.truth) == code
        return counted, predictions.truth == predictions.label

    return _metric(f"{score}.{label}", partial(_single, score, label), rate=None if score == "f1" else rate)


def _right(predictions: Predictions) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    return np.ones(len(predictions.truth), dtype=bool), predictions.truth == predictions.label


PROBABILITIES = ("probabilities",)
STANDARD: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _metric("accuracy", _accuracy, rate=_right),
        _metric("balanced_accuracy", _balanced_accuracy),
        *(_metric(f"{score}_macro", partial(_macro, score)) for score in PER_CLASS),
        *(_metric(f"{score}_weighted", partial(_weighted, score)) for score in PER_CLASS),
        _metric("mcc", _mcc),
        _metric("roc_auc", partial(_one_versus_rest, _roc_auc), reads=PROBABILITIES),
        _metric("average_precision", partial(_one_versus_rest, _average_precision), reads=PROBABILITIES),
        _metric("log_loss", _log_loss, higher=False, reads=PROBABILITIES),
        _metric("brier", _brier, higher=False, reads=PROBABILITIES),
        _metric("ece", _ece, higher=False, reads=("label", "score")),
    )
}
"""The metrics that need nothing of the rules, by name."""
