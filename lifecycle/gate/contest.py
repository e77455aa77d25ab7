"""By which rule a challenger is compared, and what is left of the risk after all that were judged on the same rows."""

from typing import NamedTuple

from lifecycle.core.frozen import Frozen
from lifecycle.gate.verdict import Rule
from lifecycle.problems.metric import Codes, Metric
from lifecycle.settings.gate_rules import GateRules


class Contest(Frozen):
    """The rule with its reason, and how often the rows were asked before."""

    rule: Rule
    why: str = ""
    judged_before: int = 0
    """Other challengers that were judged on these rows, or on some of them."""
    spent: float = 0.0
    """The same, each counted as the share of these rows that it was judged on: rows that are new count for nothing."""

    def limit(self, rules: GateRules) -> float:
        """What the whole interval of the gain must lie above."""
        return -rules.margin if self.rule == "retraining" else rules.min_gain

    def risk(self, rules: GateRules) -> float:
        """The risk of a wrong promotion that this challenger may run: of the k-th one on the same rows 1 / k².

        All together, however many they are, run a risk of at most π² / 6 = 1.64 times that of the first. A retraining
        is not chosen among many, definition, seed and data leave one, so it has the whole.
        """
        if self.rule == "retraining" or rules.reuse == "count":
            return rules.risk
        return float(rules.risk / (1 + self.spent) ** 2)


class Terms(NamedTuple):
    """How two models are compared: by which metric, by which rules, in which contest, on rows of which groups."""

    metric: Metric
    rules: GateRules
    contest: Contest
    groups: Codes | None = None

    @property
    def limit(self) -> float:
        """What the whole interval of the gain must lie above."""
        return self.contest.limit(self.rules)

    @property
    def risk(self) -> float:
        """The risk of a wrong promotion that this challenger may run."""
        return self.contest.risk(self.rules)
