"""The contract of every text model: `predict(DataFrame{text}) -> DataFrame{label, score}`, same rows, same order.

This file travels inside each logged model (MLflow's models-from-code), so it imports nothing of this project: plain
`mlflow.pyfunc.load_model` runs it anywhere.
"""

from typing import Any

import pandas as pd
import skops.io
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

TRUSTED_TYPES = ["sklearn.tree._tree.Tree"]
"""The types beyond skops' own defaults that we load. A model's own list is never asked."""


class TextModel(PythonModel):  # type: ignore[misc]  # mlflow is untyped
    """A scikit-learn pipeline, vectoriser and label names included, stored with skops."""

    def __init__(self, pipeline: Any = None) -> None:
        self.pipeline = pipeline

    def load_context(self, context: Any) -> None:
        """Load the pipeline; a type outside skops' defaults and our list is refused."""
        self.pipeline = skops.io.load(context.artifacts["pipeline"], trusted=TRUSTED_TYPES)

    # mlflow warns about hints that it cannot turn into a schema, so the other parameters carry none
    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:  # type: ignore[no-untyped-def]  # noqa: ARG002
        """Label each text with its most probable class (ties: the first in sorted order) and that probability."""
        texts = pd.DataFrame({"text": model_input["text"].to_numpy(object)})
        if texts.empty:
            return pd.DataFrame({"label": pd.Series(dtype="str"), "score": pd.Series(dtype="float64")})
        probabilities = self.pipeline.predict_proba(texts)
        best = probabilities.argmax(axis=1)
        return pd.DataFrame({"label": self.pipeline.classes_[best].astype(str), "score": probabilities.max(axis=1)})


set_model(TextModel())
