"""Metrics and intervals from stored predictions of one or two models on the same rows.

Resampling and tests are scipy's.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifecycle.frozen import Frozen
from lifecycle.gate.verdict import Interval

Codes = NDArray[np.int64]
SEED = 20_240_229


class Paired(Frozen):
    """Two models on the same rows: the gain of the challenger and how their mistakes differ."""

    gain: Interval
    broken: int
    repaired: int
    mcnemar_p: float


def encode(*columns: Any) -> tuple[list[Codes], int]:
    """Map labels to numbers that mean the same in every column; returns the columns and how many labels there are."""
    values = [np.asarray(column, dtype=str) for column in columns]
    labels, flat = np.unique(np.concatenate(values), return_inverse=True)
    return np.split(flat.astype(np.int64), np.cumsum([len(v) for v in values])[:-1]), len(labels)


def f1_macro(truth: Codes, predicted: Codes, labels: int) -> NDArray[np.float64]:
    """Unweighted mean of F1 over the classes that occur in truth or prediction, along the last axis.

    Equals scikit-learn's `f1_score(average="macro", zero_division=0)`; vectorised over resamples, shape (..., n).
    """
    rows = truth.reshape(-1, truth.shape[-1])
    guesses = predicted.reshape(rows.shape)
    offset = np.arange(len(rows))[:, None] * labels * labels
    cells = np.bincount((offset + rows * labels + guesses).ravel(), minlength=len(rows) * labels * labels)
    confusion = cells.reshape(len(rows), labels, labels)
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    total = confusion.sum(axis=1) + confusion.sum(axis=2)
    scores = np.divide(2 * hits, total, out=np.zeros(hits.shape), where=total > 0)
    mean = scores.sum(axis=1) / np.maximum((total > 0).sum(axis=1), 1)
    return np.asarray(mean.reshape(truth.shape[:-1]), dtype=np.float64)


def accuracy(truth: Codes, predicted: Codes, labels: int) -> NDArray[np.float64]:  # noqa: ARG001  one signature for all
    """Share of equal labels along the last axis."""
    return np.asarray((truth == predicted).mean(axis=-1), dtype=np.float64)


METRICS: dict[str, Callable[[Codes, Codes, int], NDArray[np.float64]]] = {"f1_macro": f1_macro, "accuracy": accuracy}


def metric_interval(metric: str, truth: Any, predicted: Any, *, confidence: float, resamples: int) -> Interval:
    """A metric with its interval: Wilson's for accuracy, a percentile bootstrap over rows for the others."""
    (y, p), labels = encode(truth, predicted)
    value = float(METRICS[metric](y, p, labels))
    if metric == "accuracy":
        from scipy import stats

        wilson = stats.binomtest(int((y == p).sum()), len(y)).proportion_ci(confidence, method="wilson")
        return Interval(value=value, low=float(wilson.low), high=float(wilson.high))
    low, high = _bootstrap(lambda rows: METRICS[metric](y[rows], p[rows], labels), len(y), confidence, resamples)
    return Interval(value=value, low=low, high=high)


def compare(metric: str, truth: Any, challenger: Any, champion: Any, *, confidence: float, resamples: int) -> Paired:
    """The challenger's gain over the champion on the same rows.

    The interval is a paired percentile bootstrap: each resample draws rows, both models are measured on them, seeded.
    McNemar's test is exact: the binomial test of the rows that only one of the two gets right.
    """
    from scipy import stats

    (y, new, old), labels = encode(truth, challenger, champion)
    measure = METRICS[metric]

    def difference(rows: Codes) -> NDArray[np.float64]:
        return measure(y[rows], new[rows], labels) - measure(y[rows], old[rows], labels)

    everything = np.arange(len(y))
    low, high = _bootstrap(difference, len(y), confidence, resamples)
    broken = int(((old == y) & (new != y)).sum())
    repaired = int(((old != y) & (new == y)).sum())
    p = float(stats.binomtest(repaired, broken + repaired).pvalue) if broken + repaired else 1.0
    gain = Interval(value=float(difference(everything)), low=low, high=high)
    return Paired(gain=gain, broken=broken, repaired=repaired, mcnemar_p=p)


def _bootstrap(
    statistic: Callable[[Codes], NDArray[np.float64]], rows: int, confidence: float, resamples: int
) -> tuple[float, float]:
    from scipy import stats

    result = stats.bootstrap(
        (np.arange(rows),),
        lambda drawn, axis: statistic(np.moveaxis(drawn, axis, -1)),
        confidence_level=confidence,
        n_resamples=resamples,
        batch=max(1, 2_000_000 // rows),
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(SEED),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
