"""What the gate asks about classifiers: which rows they have right, and how sure they are of it."""

from collections.abc import Iterator
from functools import partial

import pandas as pd

from lifecycle.problems.classification import metrics, trivial
from lifecycle.problems.classification.confidence import Confidence
from lifecycle.problems.classification.scores import problems_of, scores_of
from lifecycle.problems.estimating import Estimating
from lifecycle.problems.judging import CATEGORIES, Judging
from lifecycle.problems.metric import reads_labels
from lifecycle.settings.gate_rules import GateRules


def _same_truth(recorded: pd.Series, truth: pd.Series) -> bool:
    return bool((recorded.to_numpy(object) == truth.to_numpy(object)).all())


def inapplicable_to_texts(rules: GateRules) -> Iterator[str]:
    """The rules that are set and ask for what classes of texts do not have."""
    if rules.language_judge:
        yield "gate.language_judge"


def _inapplicable(rules: GateRules) -> Iterator[str]:
    if rules.behaviour:
        yield "gate.behaviour"
    yield from inapplicable_to_texts(rules)


JUDGING = Judging(
    metric="f1_macro",
    quality="accuracy",
    slices={"label": lambda _, rows: rows["truth"]},
    usual_slices=("label", CATEGORIES),
    named=metrics.named,
    standard=metrics.standard,
    scores_of=scores_of,
    problems_of=problems_of,
    same_truth=_same_truth,
    trivial=trivial.answers,
    inapplicable=_inapplicable,
    estimating=Estimating(Confidence.learnt, partial(reads_labels, alone=True)),
)
