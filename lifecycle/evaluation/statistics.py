"""What chance may have done: intervals, paired comparisons and tests over the predictions of one or two models.

`measure`         every metric of both models and every gain, with intervals of one bootstrap
`accepts_gain`    the decision whether a gain is more than chance
`at_risk`         an interval of another level
`discordance`     rows that one model breaks and the other repairs, with an exact test
`randomised_p`    the paired randomisation test of a gain
`spread`          how much the gain of two models varies
`careful_low`     what a gain lies above, if it varies so much
`rows_needed`     how many rows it takes to see a gain
`visible`         the gain that some rows can show

Resampling, tests and corrections are scipy's; every draw is seeded, so that the same rows give the same verdict.
"""

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from scipy import sparse, stats
from scipy.stats import norm

from lifecycle.core.errors import MetricError
from lifecycle.evaluation.bootstrap import CELLS, SEED, bootstrapped, differing, labels_alone, most_resamples
from lifecycle.problems.findings import Interval
from lifecycle.problems.metric import Codes, Floats, Mask, Metric, Scores, reads_labels, value_of
from lifecycle.problems.shares import wilson

TOGETHER = 8
"""Batches of swaps that scipy makes at once: it takes them up row by row, which lasts as long for few as for many."""
ERROR_RESAMPLES = 400
"""Enough for a standard error; the limits of an interval lie in the tails and need more."""
COUNTED = 5
"""A tail of fewer random swaps is measured by how many standard deviations lie before it, not by their number."""


class Measured(NamedTuple):
    """Metric name to interval. A gain is above 0 where the challenger is better, whichever way the metric runs."""

    challenger: dict[str, Interval]
    champion: dict[str, Interval]
    gain: dict[str, Interval]
    unmeasurable: dict[str, str]
    """Metric name to the reason why it lacks an interval."""


class Discordance(NamedTuple):
    """Rows on which only one of two models does better, and the exact two-sided p of a test by its usual name."""

    broken: int
    repaired: int
    p: float
    test: str
    words: tuple[str, str]

    @property
    def told(self) -> str:
        """The same in words."""
        better, worse = self.words
        return f"{self.repaired} rows {better}, {self.broken} {worse}, {self.test} p = {self.p:.2g}"


def measure(
    metrics: Sequence[Metric],
    challenger: Scores,
    champion: Scores | None,
    *,
    confidence: float,
    resamples: int,
    groups: Codes | None = None,
) -> Measured:
    """Measure both models, with percentile intervals of one seeded bootstrap over the rows, or over groups of rows.

    Every resample draws rows, and both models are measured on the same ones with every metric: the gains are paired,
    and their intervals are a little wider, see `_expanded`.
    A plain share of rows (accuracy, precision and recall of a class) has Wilson's interval instead, unless there
    are groups. A metric of one's own has fewer resamples, `metrics.OWN_RESAMPLES`. What cannot be measured is left out
    with its reason.
    """
    models = {"challenger": challenger} | ({"champion": champion} if champion else {})
    found = Measured({}, {}, {}, {})
    if len(challenger.truth) < 2:
        return found._replace(unmeasurable={metric.name: "there are fewer than two rows" for metric in metrics})
    for limit, group in groupby(sorted(metrics, key=most_resamples), key=most_resamples):
        alike = {metric.name: metric for metric in group}
        drawn, reasons = bootstrapped(list(alike.values()), models, confidence, min(resamples, limit), groups)
        for (role, name), spread in drawn.items():
            rate = alike[name].rate if role in models and groups is None else None
            getattr(found, role)[name] = _share(rate(models[role]), confidence) if rate else spread.interval
        found.unmeasurable.update(reasons)
    return found


def accepts_gain(gain: Interval, p: float, *, min_gain: float, risk: float) -> bool:
    """Whether the challenger is better than chance explains, or not worse by more than is tolerated.

    The whole interval must lie above `min_gain`; a tie therefore keeps the champion. Unless a loss is tolerated, the
    randomisation test must agree too: of a handful of rows that all happen to be repaired, a bootstrap never draws
    one that was broken, and its interval is too sure of itself.

    Args:
        gain: The gain and its interval, of `measure`.
        p: Of `randomised_p`.
        min_gain: As in the rules; below 0 it is a tolerated loss.
        risk: Of a wrong promotion: what the interval leaves out below itself.
    """
    if not all(map(math.isfinite, (gain.value, gain.low, gain.high))) or gain.low <= min_gain:
        return False
    return min_gain < 0 or p <= risk


def at_risk(gain: Interval, confidence: float, risk: float) -> Interval:
    """An interval that leaves out `risk` at either end, made of one of another level.

    It is as much wider as the quantiles of the normal distribution lie further out: there a bootstrap has no draws.
    """
    if risk == (1 - confidence) / 2:
        return gain
    wider = float(norm.isf(risk) / norm.isf((1 - confidence) / 2))
    low, high = (gain.value + wider * (limit - gain.value) for limit in (gain.low, gain.high))
    return Interval(value=gain.value, low=low, high=high)


def discordance(challenger: Scores, champion: Scores) -> Discordance:
    """The exact binomial test of the rows on which only one of the two models does better."""
    flips = challenger.flips(champion)
    broken, repaired = int(flips.broken.sum()), int(flips.repaired.sum())
    p = float(stats.binomtest(repaired, broken + repaired).pvalue) if broken + repaired else 1.0
    return Discordance(broken, repaired, p, flips.test, flips.words)


def randomised_p(
    metric: Metric, challenger: Scores, champion: Scores, *, resamples: int, groups: Codes | None = None
) -> float:
    """One-sided p of the gain if it were chance alone which of the two models gave which prediction.

    In each row, or in all rows of a group, the two predictions are swapped or not; p is the share of such swaps whose
    gain is at least the one that was seen. Only rows that differ matter. Where they have no more than `resamples` ways
    of being swapped, all are tried and p is exact. Of more ways some are drawn; where fewer than `COUNTED` of these
    reach the gain, p is that of a normal distribution with their mean and spread, as wide a tail as sums of swaps have.

    Raises:
        MetricError: The metric cannot be measured.
    """
    if len(challenger.truth) < 2:
        raise MetricError("there are fewer than two rows")
    rows = np.flatnonzero(differing(metric, challenger, champion))
    swap = np.arange(len(rows)) if groups is None else np.unique(groups[rows], return_inverse=True)[1]
    units = max(2, int(swap.max(initial=-1)) + 1)  # one alone scipy does not take; to swap nothing changes nothing
    swaps = sparse.coo_array((np.ones(len(rows)), (rows, swap)), shape=(len(challenger.truth), units))
    gain = _gain_of_swaps(metric, challenger, champion, swaps)
    tried = min(resamples, most_resamples(metric))
    batch = max(1, CELLS // units)

    def statistic(swapped: Floats, _: Floats, axis: int) -> Floats:
        flat = np.moveaxis(swapped, axis, 0).reshape(units, -1)
        gains = [gain(flat[:, start : start + batch]) for start in range(0, flat.shape[1], batch)]
        return np.concatenate(gains).reshape(swapped.shape[:-1])

    found = stats.permutation_test(
        (np.zeros(units), np.ones(units)),
        statistic,
        permutation_type="samples",
        vectorized=True,
        n_resamples=tried,
        batch=batch * TOGETHER,
        alternative="greater",
        rng=np.random.default_rng(SEED),
    )
    if not np.isfinite([found.statistic, *found.null_distribution]).all():
        raise MetricError(f"{metric.name} is undefined on these rows")
    return _tail(float(found.statistic), found.null_distribution, float(found.pvalue), exact=2**units <= tried)


def _tail(seen: float, swapped: Floats, p: float, *, exact: bool) -> float:
    """How probable so large a gain is among the swaps."""
    if exact or p * (len(swapped) + 1) >= COUNTED or not swapped.std():
        return p
    return float(norm.sf((seen - swapped.mean()) / swapped.std()))


def difference(metric: Metric, challenger: Scores, champion: Scores) -> float:
    """The gain itself, above 0 where the challenger is better; not a number if it cannot be measured."""
    try:
        return value_of(metric, challenger) - value_of(metric, champion)
    except MetricError:
        return math.nan


def spread(
    metric: Metric,
    challenger: Scores,
    champion: Scores,
    *,
    confidence: float,
    resamples: int,
    groups: Codes | None = None,
) -> float:
    """The variance of the gain of two models like these, times the rows.

    Few rows that differ say little about how many will: the bootstrap's variance is raised in the proportion in which
    the upper Wilson limit of their share exceeds the share itself, and is at least that limit, the variance of a gain
    in accuracy if each of them were repaired or broken; of a metric in units of the target, if each changed the whole
    by as much as the champion's value.
    """
    rows = len(challenger.truth)
    differs = wilson(int(differing(metric, challenger, champion).sum()), rows, confidence)
    models = {"challenger": challenger, "champion": champion}
    tried = min(resamples, most_resamples(metric), ERROR_RESAMPLES)
    drawn, _ = bootstrapped([metric], models, confidence, tried, groups)
    error = drawn["gain", metric.name].error if ("gain", metric.name) in drawn else 0.0
    variance = error**2 * rows * (differs.high / differs.value if differs.value else 1)
    if reads_labels(metric) or not variance:
        unit = value_of(metric, champion) if metric.in_units else 1.0
        variance = max(variance, differs.high * unit**2)
    return float(variance)


def rows_needed(variance: float, *, margin: float, risk: float, power: float) -> int:
    """How many rows it takes to see a gain of `margin` with `power`, if chance may seem one with `risk`.

    The usual normal approximation for a paired difference: n = v (z_a + z_b)^2 / margin^2, with a = risk, b = 1 - power
    and v of `spread`.
    """
    return math.ceil(variance * (_quantiles(risk, power) / margin) ** 2)


def careful_low(gain: float, variance: float, rows: int, *, risk: float) -> float:
    """What a gain is above but for `risk`, if it varies as much as `spread` says at most."""
    return gain - float(norm.isf(risk)) * math.sqrt(variance / rows)


def visible(variance: float, rows: int, *, risk: float, power: float) -> float:
    """The gain that so many rows show with `power`: `rows_needed` the other way round."""
    return _quantiles(risk, power) * math.sqrt(variance / rows)


def _quantiles(risk: float, power: float) -> float:
    return float(norm.isf(risk) + norm.ppf(power))


def _gain_of_swaps(
    metric: Metric, challenger: Scores, champion: Scores, swaps: sparse.coo_array
) -> Callable[[Floats], Floats]:
    """The gain if in some rows the predictions had been the other model's, for swaps of shape (swaps, resamples).

    `swaps`, of shape (rows, swaps), says which row takes part in which.

    Both models' predictions are one table, and a swap moves weight between two rows of it.
    """
    both, place = challenger.interleave(champion), np.arange(2 * len(challenger.truth))
    if labels_alone(metric):
        first, place = both.alike()
        both = both.take(first)
    mine, everything = (
        np.bincount(part, minlength=len(both.truth))[:, None].astype(float) for part in (place[0::2], place)
    )
    rows, swap = swaps.coords
    one = np.ones(len(rows))
    moves = sparse.csr_array(
        (np.append(-one, one), (np.append(place[2 * rows], place[2 * rows + 1]), np.append(swap, swap))),
        shape=(len(both.truth), swaps.shape[1]),
    )

    def gain(swapped: Floats) -> Floats:
        drawn = np.asarray(mine + moves @ swapped)
        difference = metric.measure(both, drawn.T) - metric.measure(both, (everything - drawn).T)
        return np.round(difference if metric.higher else -difference, 12)  # equal gains are equal, however summed

    return gain


def _share(masks: tuple[Mask, Mask], confidence: float) -> Interval:
    counted, hits = masks
    return wilson(int((counted & hits).sum()), int(counted.sum()), confidence)
