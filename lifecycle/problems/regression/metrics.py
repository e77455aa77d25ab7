"""The metrics of regressors, under scikit-learn's names."""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from lifecycle.problems.metric import Codes, Drawn, Floats, Metric, mean, own, ratio, unknown, weighted
from lifecycle.problems.regression.scores import NumberScores
from lifecycle.settings.gate_rules import GateRules


def named(name: str, rules: GateRules) -> Metric:
    """The metric of a name.

    Raises:
        ConfigError: There is no such metric of numbers.
    """
    if name in rules.own_metrics:
        return own(name, rules.own_metrics[name], ("prediction",), _rows_of)
    if name in STANDARD:
        return STANDARD[name]
    raise unknown(name, sorted({*STANDARD, *rules.own_metrics}))


def standard(scores: NumberScores) -> list[Metric]:
    """What a verdict lists: every metric that these scores allow, and percentages where no truth is 0."""
    useless = {"r2": len(np.unique(scores.truth)) < 2, "mean_absolute_percentage_error": not scores.truth.all()}
    return [metric for metric in STANDARD.values() if not useless.get(metric.name)]


def _root_mean_squared_error(scores: NumberScores, drawn: Drawn) -> Floats:
    return np.sqrt(mean(scores.errors**2, drawn))


def _mean_absolute_error(scores: NumberScores, drawn: Drawn) -> Floats:
    return mean(scores.errors, drawn)


def _mean_pinball_loss(scores: NumberScores, drawn: Drawn) -> Floats:
    """Of the median, as is scikit-learn's default: half of the absolute error."""
    return mean(scores.errors, drawn) / 2


def _mean_absolute_percentage_error(scores: NumberScores, drawn: Drawn) -> Floats:
    """A truth of 0 counts as the smallest number that there is, as in scikit-learn: the error is then huge."""
    whole = np.maximum(np.abs(scores.truth), np.finfo(np.float64).eps)
    return mean(scores.errors / whole, drawn)


def _r2(scores: NumberScores, drawn: Drawn) -> Floats:
    """The share of the variance that is explained; undefined where all drawn rows have the same truth.

    Each resample is centred on its own mean, so that neither large numbers nor an outlier elsewhere cost it digits.
    """
    centre, rows = mean(scores.truth, drawn), drawn.sum(axis=0)
    total = np.sum((scores.truth[:, None] - centre) ** 2 * drawn, axis=0)
    rounding = len(drawn) * np.finfo(np.float64).eps * np.abs(centre)
    return 1 - ratio(scores.errors**2 @ drawn, np.where(total > rows * rounding**2, total, 0.0), math.nan)


def _rows_of(scores: NumberScores, rows: Codes) -> Sequence[list[float]]:
    """What a metric of a team's own is called with: truth and predictions."""
    return scores.truth[rows].tolist(), scores.prediction[rows].tolist()


_error = partial(weighted, higher=False, reads=("prediction",), in_units=True)
STANDARD: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _error("root_mean_squared_error", _root_mean_squared_error),
        _error("mean_absolute_error", _mean_absolute_error),
        weighted("r2", _r2, reads=("prediction",)),
        weighted(
            "mean_absolute_percentage_error", _mean_absolute_percentage_error, higher=False, reads=("prediction",)
        ),
        _error("mean_pinball_loss", _mean_pinball_loss),
    )
}
"""The metrics that need nothing of the rules, by name."""
