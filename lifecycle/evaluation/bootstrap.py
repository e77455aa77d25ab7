"""One seeded bootstrap of every metric of both models and of every gain: both are measured on the same resamples.

Drawn are rows or, where rows of one group are alike, groups: with all their rows, as many as these are.
"""

import math
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import sparse, stats
from scipy.stats import norm

from lifecycle.core.errors import MetricError
from lifecycle.problems.findings import Interval
from lifecycle.problems.metric import Codes, Drawn, Floats, Mask, Metric, Scores, reads_labels

SEED = 20_240_229
CELLS = 400_000
"""Draws that a batch of resamples holds at once: 3 MB stay in a processor's cache, and memory stays bounded."""

Column = tuple[str, str]
"""What a bootstrap follows: (challenger | champion | gain, metric)."""


class Spread(NamedTuple):
    """What a bootstrap makes of one value: its interval, and its standard error."""

    interval: Interval
    error: float


def bootstrapped(
    metrics: Sequence[Metric],
    models: Mapping[str, Scores],
    confidence: float,
    resamples: int,
    groups: Codes | None = None,
) -> tuple[dict[Column, Spread], dict[str, str]]:
    """One bootstrap of every metric, on every model, and of every gain; and why some cannot be measured."""
    rows = len(models["challenger"].truth)
    tables, reasons = _tables(metrics, models, groups), dict[str, str]()
    units = np.arange(rows if groups is None else groups.max() + 1)
    once = _columns(metrics, tables, units[None], reasons)
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
        values.items(), *_resampled(statistic, units, max(1, CELLS // rows), confidence, resamples), strict=True
    ):
        role, name = column
        limits = low, high
        if undefined := int((~np.isfinite(every)).sum()):
            reasons.setdefault(name, f"undefined in {undefined:,} of {resamples:,} resamples, a class is too rare")
            continue
        if role == "gain":
            differ = differing(by_name[name], models["challenger"], models["champion"])
            limits = _expanded(every, count_units(differ, groups), confidence)
        interval = Interval(value=value, low=float(limits[0]), high=float(limits[1]))
        spreads[column] = Spread(interval, float(every.std(ddof=1)))
    return spreads, reasons


def _resampled(
    statistic: Callable[[Codes, int], Floats], units: Codes, batch: int, confidence: float, resamples: int
) -> tuple[Floats, Floats, Floats]:
    """The percentile limits of every column, and its value on every resample."""
    with warnings.catch_warnings():  # a NaN becomes a reason
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (units,),
            statistic,
            confidence_level=confidence,
            n_resamples=resamples,
            batch=batch,
            vectorized=True,
            method="percentile",
            rng=np.random.default_rng(SEED),
        )
    limits = found.confidence_interval
    return np.asarray(limits.low), np.asarray(limits.high), np.asarray(found.bootstrap_distribution)


def _expanded(drawn: Floats, differ: int, confidence: float) -> tuple[float, float]:
    """The limits of a gain: percentiles a little further out than for a metric of one model.

    Only rows (or groups) that differ move a gain, and a percentile interval from few of them is too narrow. Its limits
    are pushed out by 1 / sqrt(differ) standard errors: what one more of these, broken or repaired, would move them.
    """
    tail = norm.cdf(norm.ppf((1 - confidence) / 2) - 1 / math.sqrt(max(differ, 1)))
    return float(np.quantile(drawn, tail)), float(np.quantile(drawn, 1 - tail))


class _Table(NamedTuple):
    """Rows for some metrics: the models' predictions, and which row of it each row of the data counts for.

    Where groups are drawn: how many of each group count for each row, (rows, groups).
    """

    models: dict[str, Scores]
    place: Codes
    of_groups: sparse.csr_array | None = None

    def weights(self, index: Codes) -> Drawn:
        """How often each row of this table is in each resample, (rows, resamples), for rows or groups by number."""
        count = len(index)
        if self.of_groups is not None:
            groups, cells = self.of_groups.shape[1], index * count + np.arange(count)[:, None]
            drawn = np.bincount(cells.ravel(), minlength=groups * count).reshape(groups, count).astype(float)
            return np.asarray(self.of_groups @ drawn)
        cells = self.place[index] * count + np.arange(count)[:, None]
        rows = len(self.models["challenger"].truth)
        return np.bincount(cells.ravel(), minlength=rows * count).reshape(rows, count).astype(float)


def _tables(metrics: Sequence[Metric], models: Mapping[str, Scores], groups: Codes | None) -> dict[bool, _Table]:
    """The rows for metrics that read more than labels, and (`True`) for those that do not.

    To the latter, rows with the same truth and labels are one row that counts more often: a handful instead of all.
    """
    everything = _table(dict(models), np.arange(len(models["challenger"].truth)), groups)
    if not any(map(labels_alone, metrics)):
        return {False: everything}
    one, *others = models.values()
    first, place = one.alike(*others)
    return {False: everything, True: _table({role: model.take(first) for role, model in models.items()}, place, groups)}


def _table(models: dict[str, Scores], place: Codes, groups: Codes | None) -> _Table:
    if groups is None:
        return _Table(models, place)
    return _Table(models, place, sparse.coo_array((np.ones(len(place)), (place, groups))).tocsr())


labels_alone = partial(reads_labels, alone=True)
"""Whether rows with the same truth and labels are the same to a metric."""


def _columns(
    metrics: Sequence[Metric], tables: dict[bool, _Table], index: Codes, reasons: dict[str, str]
) -> dict[Column, Floats]:
    """Every metric of every model and the gains on each resample of the rows; NaN and a reason where there is none."""
    found: dict[Column, Floats] = {}
    weights = {few: tables[few].weights(index) for few in {labels_alone(metric) for metric in metrics}}
    for metric in metrics:
        few = labels_alone(metric)
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


def differing(metric: Metric, challenger: Scores, champion: Scores) -> Mask:
    """Rows in which the two models differ in anything that the metric reads, as a mask."""
    differs = np.zeros(len(challenger.truth), dtype=bool)
    for name in metric.reads:
        new, old = getattr(challenger, name), getattr(champion, name)
        if new is not None and old is not None:
            differs |= (new != old).reshape(len(differs), -1).any(axis=1)
        elif new is not None or old is not None:
            differs[:] = True
    return differs


def count_units(rows: Mask, groups: Codes | None) -> int:
    """How many rows these are or, where rows of one group are alike, of how many groups."""
    return int(rows.sum()) if groups is None else len(np.unique(groups[rows]))


def most_resamples(metric: Metric) -> int:
    """How many resamples a metric is measured on at most."""
    return metric.resamples or sys.maxsize
