"""The code of a tabular model as it travels inside the model: what it is stored as, and what it answers.

Written by hand after the form that all tabular models have; it imports nothing of this project.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import skops.io
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

MISSING = ("", "NA", "N/A", "NaN", "null", "None")
TRUE_OR_FALSE = {"true": 1.0, "yes": 1.0, "1": 1.0, "1.0": 1.0, "false": 0.0, "no": 0.0, "0": 0.0, "0.0": 0.0}


class Column(NamedTuple):
    """One input."""

    name: str
    kind: str


class TabularModel(PythonModel):  # type: ignore[misc]  # mlflow is untyped
    """A pipeline over typed columns."""

    def use(self, pipeline: Any, description: dict[str, Any]) -> "TabularModel":
        self.pipeline, self.problem = pipeline, description["problem"]
        self.columns = tuple(Column(**column) for column in description["columns"])
        self.inputs = tuple(column.name for column in self.columns)
        return self

    def read(self, pipeline: Path, columns: Path) -> "TabularModel":
        return self.use(skops.io.load(pipeline), json.loads(columns.read_text(encoding="utf-8")))

    def load_context(self, context: Any) -> None:
        self.read(Path(context.artifacts["pipeline"]), Path(context.artifacts["columns"]))

    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:  # type: ignore[no-untyped-def]  # noqa: ARG002
        rows = pd.DataFrame({column.name: typed(model_input[column.name], column.kind) for column in self.columns})
        if self.problem == "tabular-regression":
            return pd.DataFrame({"prediction": self.pipeline.predict(rows)})
        likely = self.pipeline.predict_proba(rows)
        labels = pd.Series(self.pipeline.classes_[likely.argmax(axis=1)], dtype=object)
        return pd.DataFrame({"label": labels, "score": likely.max(axis=1)})


def typed(values: "pd.Series[Any]", kind: str) -> "pd.Series[Any]":
    cells = values.map(lambda cell: None if pd.isna(cell) or str(cell).strip() in MISSING else cell)
    if kind == "datetime":
        return pd.to_datetime(cells, format="ISO8601", utc=True).dt.tz_localize(None).astype("datetime64[us]")
    if kind == "boolean":
        return cells.map(lambda cell: None if pd.isna(cell) else TRUE_OR_FALSE[str(cell).lower()]).astype("float64")
    return (
        pd.to_numeric(cells, errors="coerce").astype("float64")
        if kind == "numeric"
        else cells.astype(object).where(cells.notna(), None)
    )


set_model(TabularModel())
