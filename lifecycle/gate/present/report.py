"""The report of a verdict: one HTML file with its plots, readable without network, by day, by night and on a phone.

The plots are inline SVG that the template draws from the numbers below: they take their colours from the page, and
cost milliseconds where matplotlib costs a second to import.
"""

import math
from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader
from numpy.typing import NDArray
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

from lifecycle.gate.decide import SHOWN_FLIPS
from lifecycle.gate.present import rows
from lifecycle.gate.verdict import Measurements
from lifecycle.problems.classification.metrics import EDGES
from lifecycle.problems.classification.scores import ClassScores
from lifecycle.problems.findings import BehaviourLine, Interval
from lifecycle.problems.metric import Scores
from lifecycle.problems.regression.scores import NumberScores
from lifecycle.settings.gate_rules import HIGHER, LOWER, OF_A_CLASS

SHOWN_CLASSES = 12
SHOWN_METRICS = 60
SHOWN_SLICES = 100
CURVE_POINTS = 200


class Scale(NamedTuple):
    """The horizontal axis of the plots in a table's rows, in a drawing of 200 by 28."""

    low: float
    high: float

    @property
    def ticks(self) -> list[float]:
        """Values with a line: the ends, the middle and between."""
        return [self.low + (self.high - self.low) * quarter / 4 for quarter in range(5)]

    def at(self, value: float) -> float:
        """Where a value stands; what lies beyond an end stands at that end."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(12 + 176 * share, 1)

    def holds(self, found: Interval | None) -> bool:
        """Whether an estimate can be shown; a NaN cannot."""
        return found is not None and self.low <= found.value <= self.high and math.isfinite(found.low + found.high)


UNIT = Scale(0, 1)


class Bin(NamedTuple):
    """Rows of which a model is about equally sure."""

    low: float
    high: float
    rows: int
    confidence: float
    right: float

    @property
    def place(self) -> tuple[float, float]:
        """Where it stands in the diagram."""
        return round(self.confidence, 4), round(self.right, 4)


class Curve(NamedTuple):
    """A curve in the unit square with the area that it is known by."""

    points: list[list[float]]
    area: float


class Matrix(NamedTuple):
    """Rows by truth and label: the largest classes one by one, the labels of all others together."""

    labels: tuple[str, ...]
    lines: list[tuple[str, list[int], int]]


class Model(NamedTuple):
    """What is drawn of one of the two models."""

    role: str
    label: str
    matrix: Matrix | None = None
    reliability: list[Bin] | None = None
    ece: float = math.nan
    roc: Mapping[str, Curve] | None = None
    precision_recall: Mapping[str, Curve] | None = None
    errors: list[list[float]] | None = None
    """Truth and prediction of some rows, within the range of both models' numbers."""


def render(verdict: Measurements, challenger: Scores | None = None, champion: Scores | None = None) -> str:
    """Write the report of a verdict, or of a comparison alone.

    Without scores, as of a refusal without any rows, it has no curves.
    """
    models = [_model("challenger", verdict.challenger, verdict.classes, verdict.confusion, challenger)]
    if verdict.champion:
        models.append(_model("champion", verdict.champion, verdict.classes, verdict.champion_confusion, champion))
    return (
        _templates()
        .get_template("verdict.html.j2")
        .render(
            v=verdict,
            checks=rows.checks(verdict),
            changes=zip(rows.changes(verdict, SHOWN_FLIPS), ("challenger", "champion"), strict=True),
            models=models,
            metrics=_metrics(verdict),
            limits={check.name: check.limit for check in verdict.checks},
            lower=LOWER,
            shares=[name for name in _metrics(verdict) if _is_share(name)],
            slices=verdict.slices[:SHOWN_SLICES],
            behaviour=[(line, _failed(line)) for line in verdict.behaviour],
            unit=UNIT,
            gain_scale=_gain_scale(verdict),
            curve_classes=_names(models[0].roc, models[-1].roc),
        )
    )


@cache
def _templates() -> Environment:
    """The templates, compiled once for all verdicts of a process."""
    templates = Environment(loader=PackageLoader("lifecycle"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    templates.filters |= {"number": _number, "signed": _signed}
    return templates


def _model(
    role: str,
    label: str,
    classes: tuple[str, ...],
    confusion: tuple[tuple[int, ...], ...],
    scores: Scores | None,
) -> Model:
    matrix = _matrix(classes, np.array(confusion)) if np.any(confusion) else None
    if isinstance(scores, NumberScores) and len(scores.truth):
        return Model(role, label, errors=_errors(scores))
    if not isinstance(scores, ClassScores) or not len(scores.truth):
        return Model(role, label, matrix)
    bins = list(_bins(scores))
    ece = sum(bin.rows * abs(bin.confidence - bin.right) for bin in bins) / len(scores.truth)
    return Model(role, label, matrix, bins, ece, *_curves(scores))


def _matrix(classes: tuple[str, ...], confusion: NDArray[np.int64]) -> Matrix:
    shown = _largest(confusion.sum(axis=1))
    counts = confusion[:, shown]
    labels = [classes[code] for code in shown]
    if len(shown) < len(classes):
        counts = np.column_stack([counts, confusion.sum(axis=1) - counts.sum(axis=1)])
        labels.append("others")
    return Matrix(tuple(labels), [(classes[c], counts[c].tolist(), int(confusion[c].sum())) for c in shown])


def _errors(scores: NumberScores) -> list[list[float]]:
    """Predictions by truth, both on the range of the truth; what lies beyond it stands at its end."""
    low, high = float(scores.truth.min()), float(scores.truth.max())
    both = np.column_stack([scores.truth, scores.prediction])
    placed = np.clip((both - low) / ((high - low) or 1.0), 0, 1)
    kept = np.unique(np.linspace(0, len(placed) - 1, CURVE_POINTS).astype(int))
    points: list[list[float]] = placed[kept].round(4).tolist()
    return points


def _largest(rows: NDArray[np.int64]) -> list[int]:
    """The classes with the most rows, in their own order: a report of hundreds would show none of them."""
    return sorted(np.argsort(-rows, kind="stable")[:SHOWN_CLASSES].tolist())


def _bins(scores: ClassScores) -> Iterator[Bin]:
    """Rows by confidence, in the bins of the metric `ece`; empty ones are left out."""
    ends = [0.0, *EDGES.tolist(), 1.0]
    place = np.searchsorted(EDGES, scores.score)
    right = scores.label == scores.truth
    for code in np.unique(place):
        inside = place == code
        confidence, share = float(scores.score[inside].mean()), float(right[inside].mean())
        yield Bin(ends[code], ends[code + 1], int(inside.sum()), confidence, share)


def _curves(scores: ClassScores) -> tuple[dict[str, Curve], dict[str, Curve]] | tuple[None, None]:
    """ROC and precision-recall of each class against the rest; a class with no rows, or with all of them, has none."""
    if scores.probabilities is None:
        return None, None

    roc, precision_recall = {}, {}
    for code in _largest(np.bincount(scores.truth, minlength=len(scores.classes))):
        name, likely = scores.classes[code], scores.probabilities[:, code]
        truth = scores.truth == code
        if truth.any() and not truth.all():
            false_rate, true_rate, _ = roc_curve(truth, likely)
            precision, recall, _ = precision_recall_curve(truth, likely, drop_intermediate=True)
            roc[name] = Curve(_thinned(false_rate, true_rate), auc(false_rate, true_rate))
            area = average_precision_score(truth, likely)
            precision_recall[name] = Curve(_thinned(recall, precision), area)
    return roc, precision_recall


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[list[float]]:
    """No more points than a small picture can show; both ends stay."""
    kept = np.unique(np.linspace(0, len(x) - 1, CURVE_POINTS).astype(int))
    points: list[list[float]] = np.column_stack([x, y])[kept].round(4).tolist()
    return points


def _names(*curves: Mapping[str, Curve] | None) -> list[str]:
    """The classes that have a curve of either model."""
    return list(dict.fromkeys(name for each in curves if each for name in each))


def _metrics(verdict: Measurements) -> list[str]:
    """The metrics to show: first those of the whole, then those of a class."""
    measured = {**verdict.metrics, **verdict.champion_metrics}
    return sorted(measured, key=lambda name: name.startswith(OF_A_CLASS))[:SHOWN_METRICS]


def _is_share(metric: str) -> bool:
    """Whether a metric fits on the scale of the others; money, or a metric of one's own, has a scale of its own."""
    return metric in HIGHER | {"brier", "ece"} or metric.startswith(OF_A_CLASS)


def _failed(line: BehaviourLine) -> Interval:
    return Interval(value=line.failures / line.cases if line.cases else 0, low=line.low, high=line.high)


def _gain_scale(verdict: Measurements) -> Scale:
    """As far to the left as to the right of no gain, up to a round number."""
    drawn = [gain for name, gain in verdict.gains.items() if _is_share(name) and Scale(-1, 1).holds(gain)]
    widest = min(max((abs(end) for gain in drawn for end in (gain.low, gain.high)), default=0.0), 1.0)
    step = 10.0 ** math.floor(math.log10(max(widest, 0.01)))
    end = max(math.ceil(round(widest / step, 6)), 1) * step
    return Scale(-end, end)


def _number(value: float | None) -> str:
    """A number as a person reads it: whole ones, as counts are, without decimals."""
    if value is None or not math.isfinite(value):
        return "∞" if value == math.inf else "–"
    if value == round(value):
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3f}"


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + _number(value)
