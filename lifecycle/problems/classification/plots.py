"""The plots of a training run: whatever the classes are called, and however many there are."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.metrics import ConfusionMatrixDisplay, PrecisionRecallDisplay, RocCurveDisplay, confusion_matrix

from lifecycle.core.class_names import as_plotted
from lifecycle.problems.classification.summary import PROBABILITY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUMBERED, NAMED, CURVES = 15, 50, 20
"""Up to how many classes a confusion matrix shows its numbers and their names, and how many classes have curves."""


def draw(truth: "pd.Series[Any]", answers: pd.DataFrame, folder: Path) -> None:
    """Draw the confusion matrix and the one-versus-rest PR and ROC curves into a folder.

    Args:
        truth: Labels, (n,).
        answers: `label, score, probability.<class>…` of the same rows.
        folder: Is made if it is not there.
    """
    columns = [name for name in answers.columns if name.startswith(PROBABILITY)]
    classes = np.array([name.removeprefix(PROBABILITY) for name in columns], dtype=object)
    labels, probabilities = truth.to_numpy(object), answers[columns].to_numpy()
    folder.mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a letter without a picture is a box
        _confusion(classes, labels, answers["label"].to_numpy(object)).savefig(folder / "confusion_matrix.png", dpi=120)
        _curves(classes, labels, probabilities).savefig(folder / "pr_roc.png", dpi=120)


def _confusion(classes: Any, truth: Any, predicted: Any) -> "Figure":
    from matplotlib.figure import Figure

    count = len(classes)
    side = min(5 + 0.2 * max(count - NUMBERED // 2, 0), 12)
    figure = Figure(figsize=(side, 0.9 * side), layout="constrained")
    names = [as_plotted(label) for label in classes]
    shown = ConfusionMatrixDisplay(confusion_matrix(truth, predicted, labels=classes), display_labels=names)
    axes = figure.subplots()
    shown.plot(
        ax=axes,
        include_values=count <= NUMBERED,
        colorbar=count > NUMBERED,
        xticks_rotation="vertical" if count > 5 else "horizontal",
    )
    if count > NAMED:
        axes.set(xticks=[], yticks=[])
    return figure


def _curves(classes: Any, truth: Any, probabilities: Any) -> "Figure":
    """The curves of the classes with the most rows."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    axes = figure.subplots(1, 2)
    rows = np.array([(truth == label).sum() for label in classes])
    for code in sorted(np.argsort(-rows, kind="stable")[:CURVES]):
        if 0 < rows[code] < len(truth):
            hit, name = truth == classes[code], as_plotted(classes[code])
            PrecisionRecallDisplay.from_predictions(hit, probabilities[:, code], name=name, ax=axes[0])
            RocCurveDisplay.from_predictions(hit, probabilities[:, code], name=name, ax=axes[1])
    return figure
