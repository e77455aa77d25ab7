"""What chance may have done: intervals, paired comparisons and tests over the predictions of one or two models.

`measure`         every metric of both models and every gain, with intervals of one bootstrap
`accepts_gain`    the decision whether a gain is more than chance
`at_risk`         an interval of another level
`discordance`     rows that one model breaks and the other repairs, with McNemar's exact test
`randomised_p`    the paired randomisation test of a gain
`spread`          how much the gain of two models varies
`careful_low`     what a gain lies above, if it varies so much
`rows_needed`     how many rows it takes to see a gain
`visible`         the gain that some rows can show
`wilson`          the interval of a share
`larger_p`        Fisher's exact test of two shares
`rarer_p`         the exact test that something is so many times rarer
`adjusted`        p-values for many tests at once (Benjamini and Hochberg)

Resampling, tests and corrections are scipy's; every draw is seeded, so that the same rows give the same verdict.
"""

import math
import sys
import warnings
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.errors import MetricError
from lifecycle.evaluation.findings import Interval
from lifecycle.evaluation.metrics import Drawn, Floats, Metric, Predictions

Codes = NDArray[np.int64]
SEED = 20_240_229
CELLS = 400_000
"""Draws that a batch of resamples holds at once: 3 MB stay in a processor's cache, and memory stays bounded."""
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
    """Rows that only one of two models gets right, and the exact two-sided p of McNemar's test."""

    broken: int
    repaired: int
    p: float


def measure(
    metrics: Sequence[Metric],
    challenger: Predictions,
    champion: Predictions | None,
    *,
    confidence: float,
    resamples: int,
) -> Measured:
    """Measure both models, with percentile intervals of one seeded bootstrap over the rows.

    Every resample draws rows, and both models are measured on the same ones with every metric: the gains are paired,
    and their intervals are a little wider, see `_expanded`.
    A plain share of rows (accuracy, precision and recall of a class) has Wilson's interval instead. A metric of one's
    own has fewer resamples, `metrics.OWN_RESAMPLES`. What cannot be measured is left out with its reason.
    """
    models = {"challenger": challenger} | ({"champion": champion} if champion else {})
    found = Measured({}, {}, {}, {})
    if len(challenger.truth) < 2:
        return found._replace(unmeasurable={metric.name: "there are fewer than two rows" for metric in metrics})
    for limit, group in groupby(sorted(metrics, key=_limit), key=_limit):
        alike = {metric.name: metric for metric in group}
        drawn, reasons = _bootstrapped(list(alike.values()), models, confidence, min(resamples, limit))
        for (role, name), spread in drawn.items():
            rate = alike[name].rate if role in models else None
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
    from scipy.stats import norm

    if risk == (1 - confidence) / 2:
        return gain
    wider = float(norm.isf(risk) / norm.isf((1 - confidence) / 2))
    low, high = (gain.value + wider * (limit - gain.value) for limit in (gain.low, gain.high))
    return Interval(value=gain.value, low=low, high=high)


def discordance(challenger: Predictions, champion: Predictions) -> Discordance:
    """McNemar's exact test: the binomial test of the rows that only one of the two models gets right."""
    from scipy import stats

    new, old = challenger.label == challenger.truth, champion.label == champion.truth
    broken, repaired = int((old & ~new).sum()), int((new & ~old).sum())
    p = float(stats.binomtest(repaired, broken + repaired).pvalue) if broken + repaired else 1.0
    return Discordance(broken, repaired, p)


def randomised_p(metric: Metric, challenger: Predictions, champion: Predictions, *, resamples: int) -> float:
    """One-sided p of the gain if it were chance alone which of the two models gave which prediction.

    In each row the two predictions are swapped or not; p is the share of such swaps whose gain is at least the one
    that was seen. Only rows that differ matter. Where they have no more than `resamples` ways of being swapped, all
    are tried and p is exact. Of more ways some are drawn; where fewer than `COUNTED` of these reach the gain, p is that
    of a normal distribution with their mean and spread, as wide a tail as sums of swaps have.

    Raises:
        MetricError: The metric cannot be measured.
    """
    from scipy import stats

    if len(challenger.truth) < 2:
        raise MetricError("there are fewer than two rows")
    differ = np.flatnonzero(differing(metric, challenger, champion))
    rows = np.append(differ, np.setdiff1d([0, 1], differ))[: max(2, len(differ))]  # one alone scipy does not take
    gain, tried = _gain_of_swaps(metric, challenger, champion, rows), min(resamples, _limit(metric))
    batch = max(1, CELLS // len(rows))

    def statistic(swapped: Floats, _: Floats, axis: int) -> Floats:
        flat = np.moveaxis(swapped, axis, 0).reshape(len(rows), -1)
        gains = [gain(flat[:, start : start + batch]) for start in range(0, flat.shape[1], batch)]
        return np.concatenate(gains).reshape(swapped.shape[:-1])

    found = stats.permutation_test(
        (np.zeros(len(rows)), np.ones(len(rows))),
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
    return _tail(float(found.statistic), found.null_distribution, float(found.pvalue), exact=2 ** len(rows) <= tried)


def _tail(seen: float, swapped: Floats, p: float, *, exact: bool) -> float:
    """How probable so large a gain is among the swaps."""
    from scipy.stats import norm

    if exact or p * (len(swapped) + 1) >= COUNTED or not swapped.std():
        return p
    return float(norm.sf((seen - swapped.mean()) / swapped.std()))


def difference(metric: Metric, challenger: Predictions, champion: Predictions) -> float:
    """The gain itself, above 0 where the challenger is better; not a number if it cannot be measured."""
    once = np.ones(len(challenger.truth))
    try:
        found = float(metric.measure(challenger, once)) - float(metric.measure(champion, once))
    except MetricError:
        return math.nan
    return found if metric.higher else -found


def differing(metric: Metric, challenger: Predictions, champion: Predictions) -> NDArray[np.bool_]:
    """Rows in which the two models differ in anything that the metric reads, as a mask."""
    differs = np.zeros(len(challenger.truth), dtype=bool)
    for name in metric.reads:
        new, old = getattr(challenger, name), getattr(champion, name)
        if new is not None and old is not None:
            differs |= (new != old).reshape(len(differs), -1).any(axis=1)
        elif new is not None or old is not None:
            differs[:] = True
    return differs


def spread(
    metric: Metric, challenger: Predictions, champion: Predictions, *, confidence: float, resamples: int
) -> float:
    """The variance of the gain of two models like these, times the rows.

    Few rows that differ say little about how many will: the bootstrap's variance is raised in the proportion in which
    the upper Wilson limit of their share exceeds the share itself, and is at least that limit, the variance of a gain
    in accuracy if each of them were repaired or broken.
    """
    rows = len(challenger.truth)
    differs = wilson(int(differing(metric, challenger, champion).sum()), rows, confidence)
    models = {"challenger": challenger, "champion": champion}
    drawn, _ = _bootstrapped([metric], models, confidence, min(resamples, _limit(metric), ERROR_RESAMPLES))
    error = drawn["gain", metric.name].error if ("gain", metric.name) in drawn else 0.0
    variance = error**2 * rows * (differs.high / differs.value if differs.value else 1)
    if "label" in metric.reads or not variance:
        variance = max(variance, differs.high)
    return float(variance)


def rows_needed(variance: float, *, margin: float, risk: float, power: float) -> int:
    """How many rows it takes to see a gain of `margin` with `power`, if chance may seem one with `risk`.

    The usual normal approximation for a paired difference: n = v (z_a + z_b)^2 / margin^2, with a = risk, b = 1 - power
    and v of `spread`.
    """
    return math.ceil(variance * (_quantiles(risk, power) / margin) ** 2)


def careful_low(gain: float, variance: float, rows: int, *, risk: float) -> float:
    """What a gain is above but for `risk`, if it varies as much as `spread` says at most."""
    from scipy.stats import norm

    return gain - float(norm.isf(risk)) * math.sqrt(variance / rows)


def visible(variance: float, rows: int, *, risk: float, power: float) -> float:
    """The gain that so many rows show with `power`: `rows_needed` the other way round."""
    return _quantiles(risk, power) * math.sqrt(variance / rows)


def _quantiles(risk: float, power: float) -> float:
    from scipy.stats import norm

    return float(norm.isf(risk) + norm.ppf(power))


def wilson(hits: int, rows: int, confidence: float) -> Interval:
    """A share with Wilson's interval; of no rows nothing is known, and the share counts as 0."""
    from scipy import stats

    if not rows:
        return Interval(value=0.0, low=0.0, high=1.0)
    limits = stats.binomtest(hits, rows).proportion_ci(confidence, method="wilson")
    return Interval(value=hits / rows, low=float(limits.low), high=float(limits.high))


def larger_p(one: tuple[int, int], other: tuple[int, int]) -> float:
    """One-sided p of Fisher's exact test that one share of hits among rows is larger than another by chance alone."""
    from scipy import stats

    table = np.array([[hits, rows - hits] for hits, rows in (one, other)])
    return float(stats.fisher_exact(table, alternative="greater").pvalue)


def rarer_p(one: tuple[int, int], other: tuple[int, int], times: float) -> float:
    """One-sided p, if a share of hits among rows were another one divided by `times`, of it being as small as it is.

    Given how many hits there are in all, those of the first are binomial (the conditional test of two Poisson rates).
    Hits among rows spread less than that, so the test errs on the side of no finding.
    """
    from scipy import stats

    hits, expected = one[0] + other[0], one[1] / times
    if not hits:
        return 1.0
    return float(stats.binomtest(one[0], hits, expected / (expected + other[1]), alternative="less").pvalue)


def adjusted(p_values: Sequence[float]) -> list[float]:
    """The p-values after Benjamini and Hochberg's correction for having made so many tests."""
    from scipy import stats

    return [float(p) for p in stats.false_discovery_control(p_values)] if p_values else []


Column = tuple[str, str]
"""What a bootstrap follows: (challenger | champion | gain, metric)."""


class _Spread(NamedTuple):
    interval: Interval
    error: float


def _bootstrapped(
    metrics: Sequence[Metric], models: dict[str, Predictions], confidence: float, resamples: int
) -> tuple[dict[Column, _Spread], dict[str, str]]:
    """One bootstrap of every metric, on every model, and of every gain; and why some cannot be measured."""
    rows = len(models["challenger"].truth)
    tables, reasons = _tables(models), dict[str, str]()
    once = _columns(metrics, tables, np.arange(rows)[None], reasons)
    values = {column: float(value[0]) for column, value in once.items() if np.isfinite(value).all()}
    for _, name in once.keys() - values.keys():
        reasons.setdefault(name, "undefined on these rows")
    if not values:
        return {}, reasons

    def statistic(index: Codes, axis: int) -> Floats:
        found = _columns(metrics, tables, np.moveaxis(index, axis, -1), reasons)
        return np.stack([found[column] for column in values])

    spreads, by_name = {}, {metric.name: metric for metric in metrics}
    for (column, value), low, high, every in zip(
        values.items(), *_resampled(statistic, rows, confidence, resamples), strict=True
    ):
        role, name = column
        limits = low, high
        if undefined := int((~np.isfinite(every)).sum()):
            reasons.setdefault(name, f"undefined in {undefined:,} of {resamples:,} resamples, a class is too rare")
            continue
        if role == "gain":
            limits = _expanded(every, int(differing(by_name[name], **models).sum()), confidence)
        interval = Interval(value=value, low=float(limits[0]), high=float(limits[1]))
        spreads[column] = _Spread(interval, float(every.std(ddof=1)))
    return spreads, reasons


def _resampled(
    statistic: Callable[[Codes, int], Floats], rows: int, confidence: float, resamples: int
) -> tuple[Floats, Floats, Floats]:
    """The percentile limits of every column, and its value on every resample."""
    from scipy import stats

    with warnings.catch_warnings():  # a NaN becomes a reason
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (np.arange(rows),),
            statistic,
            confidence_level=confidence,
            n_resamples=resamples,
            batch=max(1, CELLS // rows),
            vectorized=True,
            method="percentile",
            rng=np.random.default_rng(SEED),
        )
    limits = found.confidence_interval
    return np.asarray(limits.low), np.asarray(limits.high), np.asarray(found.bootstrap_distribution)


def _expanded(drawn: Floats, differ: int, confidence: float) -> tuple[float, float]:
    """The limits of a gain: percentiles a little further out than for a metric of one model.

    Only rows that differ move a gain, and a percentile interval from few of them is too narrow. Its limits are pushed
    out by 1 / sqrt(differ) standard errors: what one more of these rows, broken or repaired, would move them.
    """
    from scipy.stats import norm

    tail = norm.cdf(norm.ppf((1 - confidence) / 2) - 1 / math.sqrt(max(differ, 1)))
    return float(np.quantile(drawn, tail)), float(np.quantile(drawn, 1 - tail))


class _Table(NamedTuple):
    """Rows for some metrics: the models' predictions, and which row of it each row of the data counts for."""

    models: dict[str, Predictions]
    place: Codes

    def weights(self, index: Codes) -> Drawn:
        """How often each row of this table is in each resample, (rows, resamples), for rows of the data by number."""
        count = len(index)
        cells = self.place[index] * count + np.arange(count)[:, None]
        rows = len(self.models["challenger"].truth)
        return np.bincount(cells.ravel(), minlength=rows * count).reshape(rows, count).astype(float)


def _tables(models: dict[str, Predictions]) -> dict[bool, _Table]:
    """The rows for metrics that read more than labels, and (`True`) for those that do not.

    To the latter, rows with the same truth and labels are one row that counts more often: a handful instead of all.
    """
    one = models["challenger"]
    first, place = _alike(len(one.classes), one.truth, *(model.label for model in models.values()))
    few = {role: _taken(model, first)._replace(probabilities=None) for role, model in models.items()}
    return {False: _Table(models, np.arange(len(place))), True: _Table(few, place)}


def _alike(classes: int, *codes: Codes) -> tuple[Codes, Codes]:
    """Rows with the same codes: the first row of each group, and the group of each row."""
    _, first, place = np.unique(
        np.ravel_multi_index(codes, [classes] * len(codes)), return_index=True, return_inverse=True
    )
    return first, place


def _taken(predictions: Predictions, rows: Codes) -> Predictions:
    classes, truth, label, score, probabilities = predictions
    return Predictions(
        classes, truth[rows], label[rows], score[rows], None if probabilities is None else probabilities[rows]
    )


def _labels_alone(metric: Metric) -> bool:
    return metric.reads == ("label",)


def _columns(
    metrics: Sequence[Metric], tables: dict[bool, _Table], index: Codes, reasons: dict[str, str]
) -> dict[Column, Floats]:
    """Every metric of every model and the gains on each resample of the rows; NaN and a reason where there is none."""
    found: dict[Column, Floats] = {}
    weights = {few: tables[few].weights(index) for few in {_labels_alone(metric) for metric in metrics}}
    for metric in metrics:
        few = _labels_alone(metric)
        for role, model in tables[few].models.items():
            try:
                found[role, metric.name] = metric.measure(model, weights[few].T)
            except MetricError as error:
                found[role, metric.name] = np.full(len(index), math.nan)
                reasons.setdefault(metric.name, f"{role}: {error}")
        if "champion" in tables[few].models:
            gain = found["challenger", metric.name] - found["champion", metric.name]
            found["gain", metric.name] = gain if metric.higher else -gain
    return found


def _gain_of_swaps(
    metric: Metric, challenger: Predictions, champion: Predictions, rows: Codes
) -> Callable[[Floats], Floats]:
    """The gain if in some of `rows` the predictions had been the other model's, for swaps of shape (rows, resamples).

    Both models' predictions are one table, and a swap moves weight between two rows of it.
    """
    from scipy import sparse

    both, place = _interleaved(challenger, champion), np.arange(2 * len(challenger.truth))
    if _labels_alone(metric):
        first, place = _alike(len(both.classes), both.truth, both.label)
        both = _taken(both, first)
    mine, everything = (
        np.bincount(part, minlength=len(both.truth))[:, None].astype(float) for part in (place[0::2], place)
    )
    swap, one = np.arange(len(rows)), np.ones(len(rows))
    moves = sparse.csr_array(
        (np.append(-one, one), (np.append(place[2 * rows], place[2 * rows + 1]), np.append(swap, swap))),
        shape=(len(both.truth), len(rows)),
    )

    def gain(swapped: Floats) -> Floats:
        drawn = np.asarray(mine + moves @ swapped)
        difference = metric.measure(both, drawn.T) - metric.measure(both, (everything - drawn).T)
        return np.round(difference if metric.higher else -difference, 12)  # equal gains are equal, however summed

    return gain


def _interleaved(challenger: Predictions, champion: Predictions) -> Predictions:
    """Each row twice: the challenger's prediction, then the champion's."""

    def both(one: NDArray[Any] | None, other: NDArray[Any] | None) -> Any:
        if one is None or other is None:
            return None
        return np.stack([one, other], axis=1).reshape(-1, *one.shape[1:])

    return Predictions(challenger.classes, *map(both, challenger[1:], champion[1:]))


def _share(masks: tuple[NDArray[np.bool_], NDArray[np.bool_]], confidence: float) -> Interval:
    counted, hits = masks
    return wilson(int((counted & hits).sum()), int(counted.sum()), confidence)


def _limit(metric: Metric) -> int:
    return metric.resamples or sys.maxsize
