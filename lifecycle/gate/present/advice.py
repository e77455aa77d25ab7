"""What would have been enough: of a refusal, the gain that these very rows would have shown."""

from lifecycle.evaluation.statistics import at_risk
from lifecycle.gate.checks import GAIN
from lifecycle.gate.verdict import Check, Verdict
from lifecycle.problems.findings import Interval, shown
from lifecycle.settings.gate_rules import LOWER

UP_TO_ONE = frozenset({"accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "mcc", "r2", "roc_auc"})


def enough(verdict: Verdict, confidence: float) -> str:
    """The gain that would have been accepted on these rows, were it as uncertain as this one; empty if none was short.

    An interval is about as wide for a better challenger of the kind: its lower end would have reached the limit.
    One that answers every row as its rival does has no width, and tells nothing of another one.

    Args:
        verdict: The refusal.
        confidence: Of the intervals in it.
    """
    short = [check for check in verdict.checks if check.name.startswith(GAIN) and check.outcome == "fail"]
    if any(check.low == check.high for check in short):
        return ""
    return next((_told(verdict, check, confidence) for check in short if check.low is not None), "")


def _told(verdict: Verdict, check: Check, confidence: float) -> str:
    value, low, high, limit = (number or 0.0 for number in (check.value, check.low, check.high, check.limit))
    surely = at_risk(Interval(value=value, low=low, high=high), confidence, verdict.risk or (1 - confidence) / 2).low
    if surely > limit:  # so far it would have been enough: the refusal rests on another bound, or on the p value
        return ""
    gain = limit + value - surely
    metric, _, rival = check.name.removeprefix(GAIN).strip().partition(" over ")
    told = f"On these {verdict.rows:,} rows a gain of about {shown(gain)} in {metric} would have been enough"
    champion = verdict.champion_metrics.get(metric)
    if rival or champion is None:
        return f"{told}."
    needed = champion.value - gain if metric in LOWER else champion.value + gain
    if (metric in LOWER and needed < 0) or (metric in UP_TO_ONE and needed > 1):
        return f"No gain over {shown(champion.value)} in {metric}, which the champion has, can be shown by so few rows."
    return f"{told}: {shown(needed)}, where the champion has {shown(champion.value)}."
