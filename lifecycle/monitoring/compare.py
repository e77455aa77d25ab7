"""Two distributions over the same bins or levels: how far apart they are, and how far chance alone takes them.

The population stability index (PSI) decides, since it says how much has moved whatever the number of rows. Of rows that
come from one source it is about (bins - 1) (1/n + 1/m) all the same, so that much is taken off. The test guards against
what chance makes beside that: Kolmogorov-Smirnov of numbers, read at the ends of the bins, where it errs on the side of
no finding; chi-square of levels.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import jensenshannon

from lifecycle.monitoring.findings import Line
from lifecycle.problems.distributions import Distribution
from lifecycle.problems.shares import adjusted, larger_p
from lifecycle.settings.rules import MonitoringRules

Counts = NDArray[np.int64]
WORTH_TELLING = 5
"""What is less than this part of its limit is not."""
EXPECTED = 5
"""Bins in which fewer rows are to be expected are counted together; Cochran's rule lets one of them have fewer."""


def compared(pairs: Sequence[tuple[Distribution, Distribution]], rules: MonitoringRules) -> tuple[Line, ...]:
    """What is to be said of each pair of baseline and batch; p-values are corrected for their number."""
    lines = [line for before, now in pairs for line in _lines(before, now, rules)]
    p_values = adjusted([line.p for line in lines if line.p is not None])
    corrected = iter(p_values)
    return tuple(
        line.model_copy(update={"p": p, "beyond": line.value > line.limit and p < rules.significance})
        for line in lines
        for p in [next(corrected)]
    )


def _lines(before: Distribution, now: Distribution, rules: MonitoringRules) -> Iterator[Line]:
    about: dict[str, Any] = {"part": now.part, "name": now.name, "beyond": False}
    was, is_now = np.array(before.counts), np.array(now.counts)
    n, m = before.rows, now.rows
    if n and m and len(was) > 1:
        statistic, p = _tested(was, is_now, are_numbers=before.edges is not None)
        psi, js = _distances(was, is_now)
        yield Line(**about, measure="psi", value=psi, limit=rules.max_drift, rows=m, js=js, statistic=statistic, p=p)
        yield from _outside(before, now, rules, about)
    every, of_now = n + before.missing, m + now.missing
    if before.missing + now.missing and every and of_now:
        shares = before.missing / every, now.missing / of_now
        p = larger_p((now.missing, of_now), (before.missing, every))
        yield _grown("missing", shares, rules.max_missing, p, of_now, about)


def _outside(before: Distribution, now: Distribution, rules: MonitoringRules, about: dict[str, Any]) -> Iterator[Line]:
    """The share of rows unlike the baseline, where it has grown by as much as is worth telling."""
    if before.part != "input" or before.beyond is None or now.beyond is None:
        return
    shares = before.beyond / before.rows, now.beyond / now.rows
    if shares[1] - shares[0] > rules.max_outside / WORTH_TELLING:
        p = larger_p((now.beyond, now.rows), (before.beyond, before.rows))
        yield _grown("outside", shares, rules.max_outside, p, now.rows, about)


def _grown(measure: str, shares: tuple[float, float], limit: float, p: float, rows: int, about: dict[str, Any]) -> Line:
    """By how much a share of rows has grown."""
    before, now = shares
    return Line(**about, measure=measure, value=now - before, limit=limit, before=before, now=now, rows=rows, p=p)


def _tested(was: Counts, now: Counts, *, are_numbers: bool) -> tuple[float, float]:
    """The statistic and its p."""
    n, m = was.sum(), now.sum()
    if are_numbers:
        distance = float(np.abs(np.cumsum(was) / n - np.cumsum(now) / m).max())
        return distance, float(stats.kstwo.sf(distance, max(1, round(n * m / (n + m)))))
    table = _pooled(was, now)
    if table.shape[1] < 2:
        return 0.0, 1.0
    found = stats.chi2_contingency(table, correction=False)
    return float(found.statistic), float(found.pvalue)


def _distances(was: Counts, now: Counts) -> tuple[float, float]:
    """PSI beyond what chance makes, and the Jensen-Shannon distance."""
    table = _pooled(was, now)
    n, m = table.sum(axis=1)
    bins = table.shape[1]
    p, q = (row / row.sum() for row in table + 0.5)  # an empty bin is no proof that nothing falls into it
    psi = float(((q - p) * np.log(q / p)).sum())
    return max(0.0, psi - (bins - 1) * (1 / n + 1 / m)), float(jensenshannon(p, q, base=2))


def _pooled(was: Counts, now: Counts) -> Counts:
    """Both with the bins together in which few rows are to be expected; next to nothing goes to the largest bin.

    Not to a small one: a level that was renamed would be taken for itself.
    """
    table = np.stack([was, now])
    expected = table.sum(axis=0) * table.sum(axis=1).min() / table.sum()
    rare = expected < EXPECTED
    if not rare.any() or rare.all():
        return table if not rare.any() else table.sum(axis=1, keepdims=True)
    kept, rest = table[:, ~rare], table[:, rare].sum(axis=1, keepdims=True)
    if expected[rare].sum() >= 1:
        return np.hstack([kept, rest])
    kept[:, int(kept.sum(axis=0).argmax())] += rest[:, 0]
    return kept
