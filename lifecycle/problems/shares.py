"""Intervals and exact tests of shares of rows."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from lifecycle.problems.findings import Interval


def wilson(hits: int, rows: int, confidence: float) -> Interval:
    """A share with Wilson's interval; of no rows nothing is known, and the share counts as 0."""
    if not rows:
        return Interval(value=0.0, low=0.0, high=1.0)
    limits = stats.binomtest(hits, rows).proportion_ci(confidence, method="wilson")
    return Interval(value=hits / rows, low=float(limits.low), high=float(limits.high))


def larger_p(one: tuple[int, int], other: tuple[int, int]) -> float:
    """One-sided p of Fisher's exact test that one share of hits among rows is larger than another by chance alone."""
    table = np.array([[hits, rows - hits] for hits, rows in (one, other)])
    return float(stats.fisher_exact(table, alternative="greater").pvalue)


def rarer_p(one: tuple[int, int], other: tuple[int, int], times: float) -> float:
    """One-sided p, if a share of hits among rows were another one divided by `times`, of it being as small as it is.

    Given how many hits there are in all, those of the first are binomial (the conditional test of two Poisson rates).
    Hits among rows spread less than that, so the test errs on the side of no finding.
    """
    hits, expected = one[0] + other[0], one[1] / times
    if not hits:
        return 1.0
    return float(stats.binomtest(one[0], hits, expected / (expected + other[1]), alternative="less").pvalue)


def sign_p(against: int, for_it: int) -> float:
    """One-sided exact p that so many rows speak against and not for a model by chance; 1 if none speaks."""
    if not against + for_it:
        return 1.0
    return float(stats.binomtest(against, against + for_it, alternative="greater").pvalue)


def adjusted(p_values: Sequence[float]) -> list[float]:
    """The p-values after Benjamini and Hochberg's correction for having made so many tests."""
    return [float(p) for p in stats.false_discovery_control(p_values)] if p_values else []
