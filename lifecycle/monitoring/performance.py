"""How much worse metrics are than on the rows that a version was judged on: as lines, realised or estimated."""

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from lifecycle.evaluation.baseline import Baseline
from lifecycle.monitoring.findings import Line
from lifecycle.problems.known import named
from lifecycle.problems.metric import Metric
from lifecycle.settings.gate_rules import GateRules
from lifecycle.settings.rules import MonitoringRules


class Found(NamedTuple):
    """A metric of a batch with its interval."""

    metric: Metric
    value: float
    low: float
    high: float


class Yardstick(NamedTuple):
    """What metrics are measured against, and by which rules."""

    baseline: Baseline
    gate: GateRules
    rules: MonitoringRules

    def deciding(self, there: Iterable[str]) -> str:
        """The metric that decides: the gate's, else the problem's own."""
        judging = named(self.baseline.problem).judging
        wanted = judging.completed(self.gate).metric or judging.metric
        return wanted if wanted in there else judging.metric

    def lines(self, part: Literal["performance", "estimate"], found: Iterable[Found], rows: int) -> Iterator[Line]:
        """Each metric that the baseline has too, the deciding one first."""
        there = {each.metric.name: each for each in found if each.metric.name in self.baseline.metrics}
        deciding, limit = self.deciding(there), self.rules.max_loss
        for name, each in sorted(there.items(), key=lambda pair: pair[0] != deciding):
            before, best = self.baseline.metrics[name], each.high if each.metric.higher else each.low
            lost, at_best = (loss(each.metric, before, value) for value in (each.value, best))
            yield Line(
                part=part,
                name=name,
                measure="loss",
                value=lost,
                limit=limit,
                before=before,
                now=each.value,
                rows=rows,
                low=each.low,
                high=each.high,
                beyond=name == deciding and lost > limit and rows >= self.rules.min_rows and at_best > 0,
            )


def loss(metric: Metric, before: float, now: float) -> float:
    """How much worse a metric is; of errors in units of the target, as a share of what it was."""
    lost = before - now if metric.higher else now - before
    return lost / before if metric.in_units and before else lost
