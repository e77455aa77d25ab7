"""A model of any MLflow flavour under the contract of its problem: raw columns in, its prediction out, row by row.

This file travels inside each logged model (MLflow's models-from-code), so it imports nothing of this project but what
travels beside it; the foreign model lies in it as MLflow wrote it. What it reads and what its answers mean is told by
a file, never guessed from the answers of the moment.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

Columns = Sequence[tuple[str, str]]
"""The inputs of a model: the name and the kind of each."""
FOLDER, TOLD = "external", "external.json"
"""The artifacts: the foreign model, and what is told of it."""

TABLE, TEXTS, ARRAY = "table", "texts", "array"
"""How it takes its rows: columns by their names, texts alone, or numbers in their order."""
NUMBERS, LABELS, SCORED, PROBABILITIES, SECOND = "numbers", "labels", "scored labels", "probabilities", "probability"
"""What it answers with: a number, a label, a label and its score, one probability per class, that of the second one."""

NUMPY = {"double": "float64", "float": "float32", "long": "int64", "integer": "int32", "boolean": "bool"}
"""What MLflow calls numbers and truth values, to numpy's types; all else is given as it is."""
SURE = 1e-3
"""How far probabilities may be from adding up to 1, as those of 32 bits are; they are then made to."""


def spelled(value: Any) -> str:
    """An answer as a text: 1, 1.0 and numpy's 1 are the same class."""
    plain = value.item() if isinstance(value, np.generic) else value
    return str(int(plain)) if isinstance(plain, float) and plain.is_integer() else str(plain)


def as_table(answer: Any, rows: int) -> pd.DataFrame:
    """What a model answered, whatever it is made of, as a table of one row per row; columns without names are counted.

    Raises:
        ValueError: It is nothing of the kind.
    """
    if isinstance(answer, Mapping):  # the outputs of a graph; of classes, the one with their probabilities
        outputs = {name: as_table(output, rows) for name, output in answer.items()}
        wide = [table for table in outputs.values() if len(table.columns) > 1]
        if len(wide or outputs) != 1:
            raise ValueError(f"it answers with several outputs: {', '.join(map(str, outputs))}")
        return (wide or [*outputs.values()])[0]
    if isinstance(answer, list) and answer and isinstance(answer[0], Mapping):
        answer = pd.DataFrame(answer)
    if isinstance(answer, pd.DataFrame):
        table = answer.reset_index(drop=True)
    else:
        array = np.asarray(answer.to_numpy() if isinstance(answer, pd.Series) else answer)
        if array.ndim not in {1, 2}:
            raise ValueError(f"it answers {rows} rows with an array of shape {array.shape}")
        table = pd.DataFrame(array)
    if len(table) != rows:
        raise ValueError(f"it answers {rows} rows with {len(table)}")
    return table.set_axis([spelled(name) for name in table.columns], axis="columns")


def numbers(table: pd.DataFrame) -> Any:
    """The number of each row.

    Raises:
        ValueError: There are several columns, or what is no number.
    """
    if "prediction" in table:
        return table["prediction"].to_numpy("float64")
    if len(table.columns) != 1:
        raise ValueError(f"it answers with the columns {_named(table)}: one number a row, or `prediction`, is needed")
    return table.iloc[:, 0].to_numpy("float64")


def _named(table: pd.DataFrame) -> str:
    return ", ".join(table.columns[:9])


def gives(table: pd.DataFrame) -> str:
    """What kind of answer a classifier's table is.

    Raises:
        ValueError: It is none.
    """
    if "label" in table:
        return SCORED if "score" in table else LABELS
    if len(table.columns) == 1:
        values = table.iloc[:, 0]
        return SECOND if values.dtype.kind == "f" and (values % 1 != 0).any() else LABELS
    if all(kind.kind in "fiu" for kind in table.dtypes):
        return PROBABILITIES
    raise ValueError(f"it answers with the columns {_named(table)}: `label`, or a probability per class, is needed")


class Classes(NamedTuple):
    """What a classifier says of rows: a label and a score of each, or the probabilities of all classes."""

    names: tuple[str, ...]
    probabilities: Any
    labelled: pd.DataFrame


def classes(table: pd.DataFrame, told: Mapping[str, Any]) -> Classes:
    """The labels of rows, called as the data call them.

    A model that gives labels alone says nothing of how sure it is: its score is 1.

    Raises:
        ValueError: The answer is another one than is told, or its probabilities are none.
    """
    kind, named = told["gives"], told["labels"]
    if kind in {PROBABILITIES, SECOND}:
        told_of = [*named] if kind == SECOND else [*table.columns]
        names = tuple(named.get(name, name) for name in told_of)
        chances = probabilities(np.column_stack([1 - table.iloc[:, 0], table.iloc[:, 0]]) if kind == SECOND else table)
        best = chances.argmax(axis=1)
        labels = np.asarray(names, dtype=object)[best]
        return Classes(names, chances, pd.DataFrame({"label": labels, "score": chances.max(axis=1)}))
    if gives(table) != kind:
        raise ValueError(f"it answers with {gives(table)}, and gave {kind} when it was registered")
    labels = labels_in(table)
    scores = table["score"].to_numpy("float64") if kind == SCORED else np.ones(len(table))
    told_labels = [named.get(label, label) for label in labels]
    return Classes((), None, pd.DataFrame({"label": pd.Series(told_labels, dtype=object), "score": scores}))


def labels_in(table: pd.DataFrame) -> "pd.Series[Any]":
    """The label of each row as a text.

    Raises:
        ValueError: One is missing.
    """
    values = table["label"] if "label" in table else table.iloc[:, 0]
    if values.isna().any():
        raise ValueError(f"it gives no label to row {int(values.isna().to_numpy().argmax())}")
    return values.map(spelled)


def probabilities(table: Any) -> Any:
    """Rows of probabilities that add up to 1.

    Raises:
        ValueError: One is negative or missing, or they are far from it: numbers before a softmax, say.
    """
    chances = np.asarray(table, dtype="float64")
    sums = chances.sum(axis=1)
    wrong = ~((chances >= 0).all(axis=1) & (np.abs(sums - 1) <= SURE))
    if wrong.any():
        row = int(wrong.argmax())
        told = ", ".join(f"{chance:.4g}" for chance in chances[row][:6])
        raise ValueError(f"its probabilities of row {row} are {told}, which add up to {sums[row]:.4g} and not to 1")
    return chances / sums[:, None]


def cast(cells: "pd.Series[Any]", read: Mapping[str, str]) -> Any:
    """The cells of one column in the type that the model reads.

    Raises:
        ValueError: A cell is missing or has a fraction, where the model reads whole numbers.
    """
    kind: Any = NUMPY.get(read["type"])
    if kind is None:
        return cells
    if kind not in {"float64", "float32"}:
        values = cells.astype("float64")
        lost = values.isna() | (values % 1 != 0)
        if lost.any():
            what = "a missing cell" if values[lost].isna().any() else f"{values[lost].iloc[0]:g}"
            raise ValueError(f"the column {read['input']!r} holds {what}, and the model reads {read['type']}")
    return cells.astype(kind)


def _texts(frame: pd.DataFrame, name: str, names: Sequence[str]) -> "pd.Series[Any]":
    """The cells of one column, of which there must be exactly one: a text that is lost would go unnoticed."""
    count = list(frame.columns).count(name)
    if count != 1:
        what = "is missing" if count == 0 else "appears twice"
        raise ValueError(f"the column {name!r} {what}; the model reads {', '.join(names)}")
    cells = frame[name].tolist()
    if wrong := [cell for cell in cells if not isinstance(cell, str)]:
        raise ValueError(f"the column {name!r} holds {wrong[0]!r:.60}, which is no text")
    return pd.Series(cells, dtype=object)


class ExternalModel(PythonModel):  # type: ignore[misc]  # mlflow is untyped
    """A foreign model, and what is told of it.

    Attributes:
        told: What it reads, in its order, how it takes it, and what it gives.
        columns: Its inputs as the data call them; None is one text.
        typed: Brings the cells of a table into their canonical form.
        within: In which the code that came with it may be imported.
        beside: The modules that travel beside this file, by their names.
    """

    def __init__(
        self,
        model: Any = None,
        told: Mapping[str, Any] | None = None,
        columns: Columns | None = None,
        problem: str = "text-classification",
        *,
        typed: Callable[..., pd.DataFrame] | None = None,
        within: Callable[[], AbstractContextManager[Any]] = nullcontext,
        beside: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        self.model, self.told, self.columns, self.problem = model, dict(told or {}), columns, problem
        self.typed, self.within, self.beside = typed, within, beside

    def load_context(self, context: Any) -> None:
        """Load the foreign model as MLflow does, which runs the code in it."""
        from mlops_columns import forget_others, typed  # type: ignore[import-not-found]  # it travels beside this file

        folder = Path(context.artifacts["external"])
        forget_others(folder / "code")
        self.told, self.typed = json.loads(Path(context.artifacts["told"]).read_text(encoding="utf-8")), typed
        if "columns" in context.artifacts:
            described = json.loads(Path(context.artifacts["columns"]).read_text(encoding="utf-8"))
            self.problem = described["problem"]
            self.columns = [(column["name"], column["kind"]) for column in described["columns"]]
        self.model = mlflow.pyfunc.load_model(str(folder))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that the model reads; further ones are ignored."""
        return tuple(name for name, _ in self.columns or (("text", "text"),))

    def given(self, frame: pd.DataFrame) -> Any:
        """The rows as the foreign model takes them.

        Raises:
            ValueError: A column is missing, appears twice, or holds what the model does not read.
        """
        kinds = self.columns or (("text", "text"),)
        values = [(name, kind) for name, kind in kinds if kind != "text"]
        cells = {name: _texts(frame, name, self.inputs) for name, kind in kinds if kind == "text"}
        if values:
            canonical = self.typed(frame, values)  # type: ignore[misc]  # who reads values was given it
            cells |= {name: canonical[name].reset_index(drop=True) for name, _ in values}
        read = {each["column"]: cast(cells[each["input"]], each) for each in self.told["reads"]}
        if self.told["shape"] == TEXTS:
            return next(iter(read.values())).tolist()
        if self.told["shape"] == ARRAY:
            array = np.column_stack([*read.values()]).astype(self.told["dtype"])
            return {self.told["name"]: array} if self.told["name"] else array
        return pd.DataFrame(read)

    def answer(self, frame: pd.DataFrame) -> pd.DataFrame:
        """What the foreign model says of rows, as a table of one row per row."""
        given = self.given(frame)
        with self.within():
            if self.told["asks"] == "predict":
                return as_table(self.model.predict(given), len(frame))
            fitted = self.model.get_raw_model()
            chances = as_table(fitted.predict_proba(given), len(frame))
            return chances.set_axis([spelled(name) for name in fitted.classes_], axis="columns")

    # mlflow warns about hints that it cannot turn into a schema, so the other parameters carry none
    def predict(self, context, model_input: pd.DataFrame, params=None):  # type: ignore[no-untyped-def]  # noqa: ARG002
        """Predict each row."""
        if (params or {}).get("probabilities"):
            return classes(self.answer(model_input), self.told).probabilities
        if self.told["gives"] == NUMBERS:
            values = numbers(self.answer(model_input)) if len(model_input) else []
            return pd.DataFrame({"prediction": np.asarray(values, dtype="float64")})
        if not len(model_input):
            return pd.DataFrame({"label": pd.Series(dtype="str"), "score": pd.Series(dtype="float64")})
        return classes(self.answer(model_input), self.told).labelled


class ExternalClassifier(ExternalModel):
    """A foreign model that tells the probabilities of all classes."""

    @property
    def pipeline(self) -> Any:
        """What names the classes in the order of their probabilities."""
        named = self.told["labels"]
        return SimpleNamespace(classes_=[named.get(name, name) for name in self.told["classes"]])

    def probabilities(self, frame: pd.DataFrame) -> Any:
        """One row of probabilities for each row, in the order of the classes."""
        return classes(self.answer(frame), self.told).probabilities

    def labelled(self, chances: Any) -> pd.DataFrame:
        """The most probable class of each row of probabilities, and how probable it is."""
        labels = np.asarray(self.pipeline.classes_)[chances.argmax(axis=1)].astype(str)
        return pd.DataFrame({"label": labels, "score": chances.max(axis=1)})


set_model(ExternalModel())
