"""Answers that take no model: always the same class or their frequencies, and classes drawn as often as they occur.

A first champion has nobody to beat but these. Both are made of the truth of the very rows that are judged, which no
model knows: what does not beat them there has learnt nothing that its metric can tell.
"""

from collections.abc import Iterator

import numpy as np

from lifecycle.problems.classification import metrics
from lifecycle.problems.classification.scores import ClassScores
from lifecycle.problems.metric import Codes, Floats, Metric, value_of
from lifecycle.settings.gate_rules import GateRules

SEED = 20_240_229
DRAWS = 101
"""Chance is lucky or not: of so many draws the middle one stands for it."""
SYMMETRIC = "mcc"
"""What decides where a constant answer is perfect, as in the recall of one class: here it is worth 0."""


def answers(challenger: ClassScores, rules: GateRules) -> Iterator[tuple[str, Metric, ClassScores]]:
    """The best constant answer and a draw by chance, each with its name and the metric by which it is to be beaten.

    Raises:
        MetricError: The metric of the rules cannot be measured.
    """
    metric = metrics.named(rules.metric, rules)
    constant = max(_constants(challenger), key=lambda each: value_of(metric, each))
    if _is_perfect(metric, constant, rules):
        metric = metrics.named(SYMMETRIC, rules)
        constant = max(_constants(challenger), key=lambda each: value_of(metric, each))
    yield f"always {challenger.classes[constant.label[0]]!r}", metric, constant
    drawn = sorted(_draws(challenger), key=lambda each: value_of(metric, each))
    yield "chance", metric, drawn[DRAWS // 2]


def _constants(like: ClassScores) -> Iterator[ClassScores]:
    """Each class that the truth has as the only answer, the most frequent first: as sure as it is frequent, or sure."""
    codes, counts = np.unique(like.truth, return_counts=True)
    for code in codes[np.argsort(-counts, kind="stable")]:
        for shares in (_shares(like), np.eye(len(like.classes))[code]):
            yield _answering(like, np.full_like(like.truth, code), shares)


def _shares(like: ClassScores) -> Floats:
    return np.bincount(like.truth, minlength=len(like.classes)) / len(like.truth)


def _draws(like: ClassScores) -> Iterator[ClassScores]:
    """The true classes dealt to the rows at random; how sure they are is how frequent they are."""
    rng = np.random.default_rng(SEED)
    for _ in range(DRAWS):
        yield _answering(like, rng.permutation(like.truth), _shares(like))


def _answering(like: ClassScores, label: Codes, shares: Floats) -> ClassScores:
    probabilities = None if like.probabilities is None else np.tile(shares, (len(label), 1))
    return like._replace(label=label, score=shares[label], probabilities=probabilities)


def _is_perfect(metric: Metric, constant: ClassScores, rules: GateRules) -> bool:
    best = 1.0 if metric.higher else 0.0
    return metric.name not in rules.own_metrics and abs(value_of(metric, constant)) == best
