"""What the gate asks about regressors: how far they are from the truth, compared row by row."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from lifecycle.problems.estimating import Estimating
from lifecycle.problems.judging import CATEGORIES, Judging
from lifecycle.problems.metric import Metric, value_of
from lifecycle.problems.regression import metrics
from lifecycle.problems.regression.loss import LearntLoss
from lifecycle.problems.regression.scores import NumberScores, problems_of, scores_of
from lifecycle.settings.gate_rules import GateRules


def _same_truth(recorded: pd.Series, truth: pd.Series) -> bool:
    return np.array_equal(recorded.to_numpy(np.float64), truth.to_numpy(np.float64))


def _trivial(scores: NumberScores, rules: GateRules) -> Iterator[tuple[str, Metric, NumberScores]]:
    """The better one of the mean and the median of the truth on these very rows, as the answer to every row."""
    metric = metrics.named(rules.metric, rules)
    constants = {"mean": float(np.mean(scores.truth)), "median": float(np.median(scores.truth))}
    answers = {name: scores._replace(prediction=np.full_like(scores.truth, value)) for name, value in constants.items()}
    best = max(answers, key=lambda name: value_of(metric, answers[name]))
    yield f"the {best} of these rows", metric, answers[best]


def _inapplicable(rules: GateRules) -> Iterator[str]:
    asked = {
        "behaviour": rules.behaviour,
        "calibration.max_ece": rules.calibration.max_ece,
        "costs": rules.costs,
        "language_judge": rules.language_judge,
        "max_churn": rules.max_churn,
        "slices.floor": rules.slices.floor,
    }
    yield from (f"gate.{name}" for name, value in asked.items() if value is not None and value != ())


def _tells(metric: Metric) -> bool:
    """Whether a metric follows from how large errors are: not from their size beside a truth that may be next to 0."""
    return metric.name != "mean_absolute_percentage_error"


JUDGING = Judging(
    metric="root_mean_squared_error",
    quality="mean absolute error",
    slices={"target": lambda _, rows: rows["truth"]},
    usual_slices=("target", CATEGORIES),
    named=metrics.named,
    standard=metrics.standard,
    scores_of=scores_of,
    problems_of=problems_of,
    same_truth=_same_truth,
    trivial=_trivial,
    inapplicable=_inapplicable,
    estimating=Estimating(LearntLoss.learnt, _tells),
)
