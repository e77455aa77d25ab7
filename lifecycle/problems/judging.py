"""What evaluation and gate ask of a problem: how two models on the same rows are measured and compared."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from lifecycle.problems.contract import Columns
from lifecycle.problems.estimating import Estimating
from lifecycle.problems.metric import Metric, Scores
from lifecycle.settings.gate_rules import GateRules

CATEGORIES = "categories"
"""In place of a column: every input that puts rows into a few groups."""
Slices = Mapping[str, Callable[[Columns, pd.DataFrame], pd.Series]]


class Judging(NamedTuple):
    """How the models of a problem are judged.

    Attributes:
        metric: That decides where the rules name none.
        quality: What is measured on slices.
        slices: What makes slices beside the columns of the dataset: inputs and rows, with `truth`, to a value of each.
        usual_slices: Those where the rules name none.
        named: The metric of a name by the rules; raises ConfigError if there is none.
        standard: Every metric that some scores allow: what a verdict lists.
        scores_of: The scores of models by role, from the truth and their stored answers in the same order.
        problems_of: What makes stored answers unusable, in words.
        same_truth: Whether answers were stored beside this truth.
        trivial: What takes no model, by the truth of these very rows: name, metric to be beaten by, and its scores.
        inapplicable: The rules that are set and ask for what this problem does not have.
        estimating: How well rows without truth are answered; None where nothing tells.
    """

    metric: str
    quality: str
    slices: Slices
    usual_slices: tuple[str, ...]
    named: Callable[[str, GateRules], Metric]
    standard: Callable[[Any], list[Metric]]
    scores_of: Callable[[pd.Series, Mapping[str, pd.DataFrame]], Mapping[str, Scores]]
    problems_of: Callable[[pd.DataFrame], list[str]]
    same_truth: Callable[[pd.Series, pd.Series], bool]
    trivial: Callable[[Any, GateRules], Iterator[tuple[str, Metric, Any]]]
    inapplicable: Callable[[GateRules], Iterator[str]]
    estimating: Estimating | None = None

    def completed(self, rules: GateRules) -> GateRules:
        """The rules with the problem's own metric and slices where they name none."""
        by = self.usual_slices if rules.slices.by is None else rules.slices.by
        return rules.model_copy(
            update={
                "metric": rules.metric or self.metric,
                "slices": rules.slices.model_copy(update={"by": by}),
            }
        )
