"""How well a model of numbers does on one split."""

from typing import Any

import pandas as pd
from sklearn import metrics

from lifecycle.problems.learning import Summary

METRICS = ("root_mean_squared_error", "mean_absolute_error", "median_absolute_error", "r2_score")
"""scikit-learn's names of what is measured, each a function of truth and prediction."""


def answers(model: Any, inputs: pd.DataFrame) -> pd.DataFrame:
    """What a model of ours says of each row: `prediction`."""
    told: pd.DataFrame = model.predict(None, inputs)
    return told


def summary(split: str, truth: Any, answers: pd.DataFrame) -> Summary:
    """Metrics of one split as MLflow names: `test.root_mean_squared_error`, `test.r2` and so on."""
    measured = METRICS if len(truth) > 1 else METRICS[:-1]  # of one row there is no share of a variance
    values = {name: float(getattr(metrics, name)(truth, answers["prediction"])) for name in measured}
    return Summary({f"{split}.{name.removesuffix('_score')}": value for name, value in values.items()})
