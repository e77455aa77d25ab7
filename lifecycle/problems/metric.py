"""What a metric is: a measure of weighted rows, so that thousands of resamples are measured in one go.

A metric takes the scores of one model and weights of shape (..., n), how often each row was drawn, and returns one
number for each of the leading axes. With whole numbers as weights it equals scikit-learn's metric of its name on the
rows repeated so often, which measures one resample at a time and is far slower.

What cannot be measured is a `MetricError`, or a NaN where a resample leaves a metric undefined; never a good value.
"""

import importlib
import math
from collections.abc import Callable, Hashable, Sequence
from functools import cache
from numbers import Real
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from lifecycle.core import own_code
from lifecycle.core.errors import ConfigError, MetricError
from lifecycle.problems.findings import Interval

T = TypeVar("T")
Codes = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Weights = NDArray[np.float64]
"""How often each row was drawn, (..., n); ones for the rows themselves."""
Drawn = NDArray[np.float64]
"""The same with the rows first, (n, resamples): sums over rows then run along the memory."""

OWN_RESAMPLES = 200
"""A metric of one's own is Python called once per resample: more would take minutes."""


class Flips(NamedTuple):
    """Rows on which a challenger does worse or better than a champion, as masks, and what is said of them."""

    broken: Mask
    repaired: Mask
    test: str
    """The exact binomial test of the two counts, by its usual name."""
    words: tuple[str, str] = ("repaired", "broken")
    """What the second and the first are called."""


class Scores(Protocol):
    """One model on the comparable rows; all arrays are aligned with the rows, and none is ever changed."""

    @property
    def truth(self) -> Any:
        """What each row should be answered with, (n,)."""

    @property
    def classes(self) -> tuple[str, ...]:
        """What the codes of truth and labels mean; empty where answers are numbers."""

    @property
    def right(self) -> Mask | None:
        """The rows that are answered rightly; None where no answer is simply right or wrong."""

    @property
    def without_model(self) -> tuple[str, int]:
        """The best answer that is the same to every row, and how many rows it has right; none where `right` is None."""

    def once(self, what: Hashable, find: Callable[[], T]) -> T:
        """What depends on the rows alone and not on how often each is drawn: it is found once for all resamples."""

    def take(self, rows: Codes) -> Self:
        """These rows alone, in this order."""

    def interleave(self, other: Self) -> Self:
        """Each row twice: first as this model answers, then as the other does."""

    def alike(self, *others: Self) -> tuple[Codes, Codes]:
        """Rows that are the same to metrics which read no more than labels: the first of each group, and its group."""

    def flips(self, champion: Self) -> Flips:
        """Where this model does worse, and where better, than a champion."""

    def severity(self, other: Self) -> Floats:
        """How bad it is for this model to do worse than another one, by row."""

    def certainty(self, row: int) -> float:
        """How sure it is of its answer to a row."""

    def said(self, row: int) -> tuple[str, str]:
        """The truth of a row, and what the model says."""

    def confusion(self) -> tuple[tuple[int, ...], ...]:
        """Rows by truth and label; empty where answers are numbers."""

    def quality(self, mask: Mask, confidence: float) -> Interval:
        """How well it does on a part of the rows, in the measure of slices."""

    def slice_loss(self, champion: Self, mask: Mask) -> tuple[float, float]:
        """How much it loses against a champion on a part of the rows, and the one-sided p of that being chance."""

    def changed(self, champion: Self) -> int:
        """Rows that readers of the predictions would see changed."""


class Metric(NamedTuple):
    """A metric by its name.

    Attributes:
        name: As in the rules.
        measure: Weights (..., n) to values (...); raises MetricError, gives NaN where it is undefined.
        higher: Whether more is better.
        needs_probabilities: Whether a model without probabilities cannot be measured.
        reads: The fields of the scores that it depends on, beside the truth.
        resamples: At most so many resamples, because it is slow.
        rate: For a plain share of rows: which rows are counted and which of these are hits, as masks.
        in_units: Whether it is measured in units of the target, so that limits of it are shares of the champion's.
    """

    name: str
    measure: Callable[[Any, Weights], Floats]
    higher: bool = True
    needs_probabilities: bool = False
    reads: tuple[str, ...] = ("label",)
    resamples: int | None = None
    rate: Callable[[Any], tuple[Mask, Mask]] | None = None
    in_units: bool = False


LABELS = ("label",)


def reads_labels(metric: Metric, *, alone: bool = False) -> bool:
    """Whether a metric depends on which class is said; alone, whether it depends on nothing else."""
    return metric.reads == LABELS if alone else LABELS[0] in metric.reads


def weighted(name: str, of: Callable[[Any, Drawn], Floats], **properties: Any) -> Metric:
    """A metric from a function of rows-first weights."""

    def measure(scores: Any, weights: Weights) -> Floats:
        drawn = np.moveaxis(np.asarray(weights, dtype=float), -1, 0)
        return of(scores, drawn.reshape(len(drawn), -1)).reshape(drawn.shape[1:])

    return Metric(name, measure, **properties)


def ratio(part: Floats, whole: Floats, otherwise: float = 0.0) -> Floats:
    """A division that gives `otherwise` where the divisor is 0."""
    out = np.full(np.broadcast(part, whole).shape, otherwise)
    return np.asarray(np.divide(part, whole, out=out, where=whole != 0))


def mean(values: Floats, drawn: Drawn) -> Floats:
    """The mean of a number that each row has, for each resample."""
    return ratio(values @ drawn, drawn.sum(axis=0), math.nan)


def value_of(metric: Metric, scores: Scores) -> float:
    """The metric on the rows themselves, turned so that more is better."""
    value = float(metric.measure(scores, np.ones(len(scores.truth))))
    return value if metric.higher else -value


def own(name: str, path: str, reads: Sequence[str], answers: Callable[[Any, Codes], Sequence[Any]]) -> Metric:
    """A metric of a team's own: `module:function`, called with what `answers` gives of some rows."""

    def measure(scores: Scores, weights: Weights) -> Floats:
        flat = np.asarray(weights).reshape(-1, weights.shape[-1])
        drawn = (np.repeat(np.arange(len(row)), np.rint(row).astype(int)) for row in flat)
        values = [_call(path.removeprefix("-"), answers(scores, rows)) for rows in drawn]
        return np.array(values, dtype=float).reshape(weights.shape[:-1])

    return Metric(name, measure, higher=not path.startswith("-"), reads=tuple(reads), resamples=OWN_RESAMPLES)


def own_function(path: str) -> Callable[..., Any]:
    """The function of a rule's `module:function`; whatever its module raises when it is imported is raised."""
    module, name = path.removeprefix("-").split(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


@cache
def own_digest(path: str) -> str:
    """The sha256 of the code of a rule's `module:function`, as this process has imported it; empty if it is no Python.

    What has changed since on the disk is not what measures here.
    """
    try:
        return own_code.digest(path.removeprefix("-"))
    except ConfigError:
        return ""


def _call(path: str, arguments: Sequence[Any]) -> float:
    """Call a function of somebody's; whatever it does, the answer is a number or a MetricError."""
    try:
        value: Any = own_function(path)(*arguments)
    except (Exception, SystemExit) as error:
        raise MetricError(f"{path} failed: {type(error).__name__}: {error}") from error
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
        raise MetricError(f"{path} gave {value!r}, which is no number")
    return float(value)


def unknown(name: str, known: Sequence[str], more: str = "") -> ConfigError:
    """The error about a metric that there is not."""
    return ConfigError(
        f"{name!r} is not a metric: there are {', '.join(known)}{more}.", "See `mlops config show`, gate."
    )
