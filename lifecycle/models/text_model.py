"""The contract of every text model: `predict(DataFrame{text}) -> DataFrame{label, score}`, same rows, same order.

This file travels inside each logged model (MLflow's models-from-code), so it imports nothing of this project: plain
`mlflow.pyfunc.load_model` runs it anywhere.
"""

from typing import Any

import numpy as np
import pandas as pd
import skops.io
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

TRUSTED_TYPES = ["sklearn.tree._tree.Tree"]
"""The types beyond skops' own defaults that we load. A model's own list is never asked."""


PROBE = ("profit rose", "sales fell sharply", "the company held its meeting")


def column_of(pipeline: Any) -> str | None:
    """The column that a fitted pipeline reads its texts from; None if it takes the texts alone.

    A pipeline that remembers no column is asked: a vectoriser that is given a table reads the names of its columns and
    answers one row for three texts, so the texts alone are tried first.
    """
    names = getattr(pipeline, "feature_names_in_", None)
    if names is not None:
        return str(names[0])
    try:
        rows = len(pipeline.predict_proba(pd.Series(PROBE, dtype=object)))
    except Exception:
        return "text"
    return None if rows == len(PROBE) else "text"


class TextModel(PythonModel):  # type: ignore[misc]  # mlflow is untyped
    """A scikit-learn pipeline, vectoriser and label names included, stored with skops; a foreign one may be pickled."""

    def __init__(self, pipeline: Any = None) -> None:
        self.use(pipeline)

    def use(self, pipeline: Any) -> None:
        """Predict with a fitted pipeline; it reads a table with one column or the texts alone."""
        self.pipeline = pipeline
        self.column = None if pipeline is None else column_of(pipeline)

    def load_context(self, context: Any) -> None:
        """Load the pipeline; from a skops file, a type outside skops' defaults and our list is refused."""
        path = context.artifacts["pipeline"]
        if path.endswith(".pkl"):
            import joblib  # type: ignore[import-untyped]

            self.use(joblib.load(path))
        else:
            self.use(skops.io.load(path, trusted=TRUSTED_TYPES))

    def probabilities(self, texts: Any) -> Any:
        """One row of probabilities for each text, in the order of the pipeline's classes."""
        values = pd.Series(list(texts), dtype=object)
        return self.pipeline.predict_proba(values if self.column is None else pd.DataFrame({self.column: values}))

    # mlflow warns about hints that it cannot turn into a schema, so the other parameters carry none
    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:  # type: ignore[no-untyped-def]  # noqa: ARG002
        """Label each text with its most probable class (ties: the first in sorted order) and that probability."""
        if model_input.empty:
            return pd.DataFrame({"label": pd.Series(dtype="str"), "score": pd.Series(dtype="float64")})
        return self.labelled(self.probabilities(model_input["text"]))

    def labelled(self, probabilities: Any) -> pd.DataFrame:
        """The most probable class of each row of probabilities, and how probable it is."""
        labels = np.asarray(self.pipeline.classes_)[probabilities.argmax(axis=1)].astype(str)
        return pd.DataFrame({"label": labels, "score": probabilities.max(axis=1)})


set_model(TextModel())
