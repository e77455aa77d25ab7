"""What tells how well a version answers rows without truth, and how well that was found to tell it.

An estimate is checked on the rows that it is learnt of, by folds: learnt of most of them, it is compared with what the
others turn out to be. Where it errs by more than it says its interval is widened; where to one side, it says so.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from lifecycle.core.frozen import Frozen
from lifecycle.problems.classification.confidence import Confidence
from lifecycle.problems.estimating import Estimator
from lifecycle.problems.known import Problem
from lifecycle.problems.metric import Metric
from lifecycle.problems.regression.loss import LearntLoss

LEAST_ROWS = 100
"""Of fewer rows nothing is learnt."""
FOLDS, CHECKED_ROWS = 5, 10_000
DEVIATIONS = 2.576
"""Of a normal distribution, for 99 %."""
BIAS = 3.0
"""Deviations by which an estimate may be off on all folds together."""


class Estimate(NamedTuple):
    """A metric as it is likely to be, and how far it may be off by chance (one deviation)."""

    metric: Metric
    value: float
    deviation: float


class Check(Frozen):
    """How well a metric was estimated on the rows that the version was judged on."""

    estimated: float
    realised: float
    widened: float
    """By this factor intervals are wider than they would be."""
    holds: bool


class Learnt(Frozen):
    """What tells how well a version answers rows without truth."""

    estimator: Confidence | LearntLoss
    checks: dict[str, Check]

    @property
    def needs_inputs(self) -> bool:
        """Whether it is asked about inputs, rather than about answers alone."""
        return isinstance(self.estimator, LearntLoss)

    def estimates(
        self, problem: Problem, features: pd.DataFrame, answers: Iterable[pd.DataFrame]
    ) -> Iterator[tuple[Estimate, Check]]:
        """Each metric of some rows that was checked, with that check."""
        for estimate in _estimates(problem, self.estimator, features, answers):
            if check := self.checks.get(estimate.metric.name):
                yield estimate._replace(deviation=estimate.deviation * check.widened), check


def learnt(problem: Problem, features: pd.DataFrame, answers: pd.DataFrame) -> Learnt | None:
    """What can be learnt of answers beside their truth; None of too few, and where nothing tells.

    Args:
        problem: Says how.
        features: What can be counted of the rows.
        answers: `truth` and what was predicted, in the same order.
    """
    estimating = problem.judging.estimating
    if not estimating or len(answers) < LEAST_ROWS:
        return None
    features, answers = features.reset_index(drop=True), answers.reset_index(drop=True)
    found = estimating.learnt(features, answers)
    assert isinstance(found, Confidence | LearntLoss)  # noqa: S101  the union that a baseline is read as
    return Learnt(estimator=found, checks=_checks(problem, features.head(CHECKED_ROWS), answers.head(CHECKED_ROWS)))


def _checks(problem: Problem, features: pd.DataFrame, answers: pd.DataFrame) -> dict[str, Check]:
    """What each fold is estimated to be by the others, against what it is."""
    estimating, fold = problem.judging.estimating, np.arange(len(answers)) % FOLDS
    rows: list[dict[str, float | str]] = []
    for place in range(FOLDS if estimating else 0):
        others, here = fold != place, fold == place
        known = estimating.learnt(features[others], answers[others])  # type: ignore[union-attr]
        held, inputs = answers[here].reset_index(drop=True), features[here].reset_index(drop=True)
        scores = problem.judging.scores_of(held["truth"], {"": held})[""]
        for metric, value, deviation in _estimates(problem, known, inputs, [held]):
            realised = float(metric.measure(scores, np.ones(len(held))))
            rows.append({"metric": metric.name, "estimated": value, "realised": realised, "deviation": deviation})
    table = pd.DataFrame(rows, columns=["metric", "estimated", "realised", "deviation"]).dropna()
    return {str(name): _check(group) for name, group in table.groupby("metric") if len(group) == FOLDS}


def _check(folds: pd.DataFrame) -> Check:
    error, deviation = folds["estimated"] - folds["realised"], folds["deviation"].clip(lower=1e-12)
    widened = max(1.0, float(np.sqrt(((error / deviation) ** 2).mean())))
    bias = abs(float(error.sum())) / (widened * float(np.sqrt((deviation**2).sum())))
    return Check(
        estimated=float(folds["estimated"].mean()),
        realised=float(folds["realised"].mean()),
        widened=min(widened, 1 / float(np.finfo(float).eps)),
        holds=bias <= BIAS and widened <= BIAS,
    )


def _estimates(
    problem: Problem, estimator: Estimator, features: pd.DataFrame, answers: Iterable[pd.DataFrame]
) -> Iterator[Estimate]:
    """The metrics of a problem that likely truths tell."""
    likely = estimator.likely(features, answers)
    judging = problem.judging
    if judging.estimating is None or not len(likely.truth):
        return
    scores = judging.scores_of(likely.truth, {"": likely.answers})[""]
    for metric in judging.standard(scores):
        if judging.estimating.tells(metric) and "." not in metric.name:
            value = float(metric.measure(scores, likely.weights))
            deviation = float(np.std(metric.measure(scores, likely.replicates)))
            if np.isfinite(value + deviation):
                yield Estimate(metric, value, deviation)
