"""The plots of a training run that tells numbers."""

from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.metrics import PredictionErrorDisplay

POINTS = 5_000
"""More rows than this make a picture no clearer: so many of them are shown, the same at each time."""


def draw(truth: "pd.Series[Any]", answers: pd.DataFrame, folder: Path) -> None:
    """Draw predictions against the truth, and what is left between them, into a folder, which is made if need be."""
    from matplotlib.figure import Figure

    folder.mkdir(exist_ok=True)
    for kind, name in (("actual_vs_predicted", "predicted_actual"), ("residual_vs_predicted", "residuals")):
        figure = Figure(figsize=(5.5, 5), layout="constrained")
        PredictionErrorDisplay.from_predictions(
            truth.to_numpy("float64"),
            answers["prediction"].to_numpy(),
            kind=kind,
            subsample=min(POINTS, len(truth)),
            ax=figure.subplots(),
            random_state=0,
            scatter_kwargs={"s": 8, "alpha": 0.5},
        )
        figure.savefig(folder / f"{name}.png", dpi=120)
