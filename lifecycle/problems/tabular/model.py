"""The contract of every tabular model: raw columns in, `label, score` or `prediction` out, same rows, same order.

This file travels inside each logged model (MLflow's models-from-code), so it imports nothing of this project: plain
`mlflow.pyfunc.load_model` runs it anywhere, on cells as a CSV file, a database, JSON or pandas give them.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

Columns = Sequence[tuple[str, str]]
"""The inputs of a model: the name and the kind of each."""

CLASSIFICATION = "tabular-classification"

MISSING = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"}
    | {"NULL", "NaN", "None", "n/a", "nan", "null"}
)
"""The spellings that pandas' readers take for a missing cell, so that a table means the same whoever has read it."""
TRUTH = {word: value for value, words in ((1.0, "true yes y t 1"), (0.0, "false no n f 0")) for word in words.split()}
TRUTH_VALUES = {word: word.capitalize() for word in ("True", "TRUE", "true", "False", "FALSE", "false")}
"""What pandas' readers take for truth values, and how those are spelled."""
DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+|-0")
TIME = re.compile(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}(?:$|[T ])")
"""How a moment begins by ISO 8601: with year, month and day."""


def typed(frame: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """The columns in their canonical form, whatever the cells are; what is not of its kind is missing. Idempotent.

    Numeric and boolean become float64 with NaN, categorical texts or None, datetime datetime64[us], which is in UTC.

    Raises:
        ValueError: A column is not there, or appears twice.
    """
    if lacking := [name for name, _ in columns if name not in frame.columns]:
        read = ", ".join(name for name, _ in columns)
        raise ValueError(f"the column {', '.join(map(repr, lacking))} is missing; the model reads {read}")
    names = {name for name, _ in columns}
    if repeated := [name for name in frame.columns[frame.columns.duplicated()] if name in names]:
        raise ValueError(f"the column {repeated[0]!r} appears twice")
    floats = {name for name, dtype in zip(frame.columns, frame.dtypes, strict=True) if dtype == np.float64}
    plain = [name for name, kind in columns if kind == "numeric" and name in floats]
    numbers = frame[plain].to_numpy("float64")  # at once: column by column a wide table takes seconds
    forms = dict(zip(plain, np.where(np.isfinite(numbers), numbers, np.nan).T, strict=True))
    cells = {name: forms[name] if name in forms else FORMS[kind](frame[name]) for name, kind in columns}
    return pd.DataFrame(cells, index=frame.index)


def spelled(cells: "pd.Series[Any]") -> "pd.Series[Any]":
    """Each cell as a text without blanks around it, numbers and truth values plainly; None where it is missing."""
    if cells.dtype != object or pd.api.types.infer_dtype(cells, skipna=True) == "string":
        codes, distinct = pd.factorize(cells)  # among these, what is equal is spelled alike
        words = np.array([*map(_word, distinct.tolist() if cells.dtype.kind != "M" else distinct), None], dtype=object)
        return pd.Series(words[codes], index=cells.index, dtype=object)
    return pd.Series([_word(cell) for cell in cells], index=cells.index, dtype=object)


def _word(cell: Any) -> str | None:
    if isinstance(cell, str):
        text = cell.strip()
        if text in MISSING:
            return None
        return _decimal(float(text)) if DECIMAL.fullmatch(text) else TRUTH_VALUES.get(text, text)
    if isinstance(cell, Decimal):
        return None if cell.is_nan() else _word(f"{cell:f}")
    if cell is None or cell is pd.NaT or cell is pd.NA or cell != cell:  # noqa: PLR0124  NaN alone differs from itself
        return None
    if isinstance(cell, float | np.floating):
        return _decimal(float(cell))
    return _moment(cell) if isinstance(cell, date) else str(cell)


def _decimal(number: float) -> str:
    return np.format_float_positional(number, trim="-") if number else "0"


def _moment(moment: date) -> str:
    """A date or time as ISO 8601, in UTC without zone."""
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        return moment.isoformat()
    return pd.Timestamp(moment).tz_convert("UTC").tz_localize(None).isoformat()


def _numeric(cells: "pd.Series[Any]") -> "pd.Series[float]":
    if cells.dtype.kind not in "iufb":
        are_texts = pd.api.types.infer_dtype(cells, skipna=True) == "string"  # their numbers need no plain spelling
        words = cells.map(str.strip, na_action="ignore") if are_texts else spelled(cells)
        told = words.map({word: float(value == "True") for word, value in TRUTH_VALUES.items()})
        cells = pd.to_numeric(words, errors="coerce").fillna(told)
    numbers = pd.Series(cells.to_numpy("float64", na_value=np.nan), index=cells.index)
    return numbers.where(np.isfinite(numbers))


def _boolean(cells: "pd.Series[Any]") -> "pd.Series[float]":
    return spelled(cells).str.lower().map(TRUTH).astype("float64")


def _datetime(cells: "pd.Series[Any]") -> "pd.Series[Any]":
    if cells.dtype.kind != "M":
        words = spelled(cells)
        usable = words.where(words.str.match(TIME).fillna(value=False).astype(bool), None)
        cells = pd.to_datetime(usable, format="ISO8601", errors="coerce", utc=True)
    moments = cells if cells.dt.tz is None else cells.dt.tz_convert("UTC").dt.tz_localize(None)
    return moments.astype("datetime64[us]")


FORMS = {"numeric": _numeric, "boolean": _boolean, "categorical": spelled, "datetime": _datetime}
"""Kind of a column to what brings its cells into their canonical form."""

MOMENTS: dict[str, Callable[["pd.Series[Any]"], Any]] = {
    "year": lambda at: at.dt.year,
    "month": lambda at: at.dt.month,
    "weekday": lambda at: at.dt.dayofweek,
    "hour": lambda at: at.dt.hour,
    "days": lambda at: (at - pd.Timestamp(0).as_unit("us")) / pd.Timedelta(days=1),
}
"""What is learnt of a moment; days are those since 1970."""


def expanded(frame: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """The features of a pipeline from typed columns: each moment becomes five numbers, named unlike any column."""
    features: dict[str, Any] = {}
    for name, kind in columns:
        if kind != "datetime":
            features[name] = frame[name]
            continue
        for part, take in MOMENTS.items():
            feature = f"{name}:{part}"
            while feature in frame or feature in features:
                feature += ":"
            features[feature] = take(frame[name]).astype("float64")
    return pd.DataFrame(features, index=frame.index)


def store(pipeline: Any, path: Any) -> None:
    """Write a fitted pipeline as a skops file."""
    import skops.io

    skops.io.dump(pipeline, path, compression=ZIP_DEFLATED, compresslevel=1)


def read(path: Any, trusted_types: Iterable[str]) -> Any:
    """Read a pipeline from a skops file; a type outside skops' defaults and the list is refused."""
    import skops.io

    return skops.io.load(path, trusted=sorted(trusted_types))


def forget_others(code: Path) -> None:
    """Let no code that came with another model be taken for that of this one, which MLflow puts first on the path."""
    own = {path.stem for path in code.iterdir()} if code.is_dir() else set()
    for name in [name for name in sys.modules if name.partition(".")[0] in own]:
        del sys.modules[name]


class TabularModel(PythonModel):  # type: ignore[misc]  # mlflow is untyped
    """A scikit-learn pipeline stored with skops, and the names and kinds of the columns that it reads."""

    def __init__(self, pipeline: Any = None, columns: Columns = (), problem: str = "") -> None:
        self.pipeline, self.columns, self.problem = pipeline, columns, problem

    def load_context(self, context: Any) -> None:
        """Load the pipeline and its columns; from a skops file, a type that is not trusted is refused."""
        described = json.loads(Path(context.artifacts["columns"]).read_text(encoding="utf-8"))
        self.problem = described["problem"]
        self.columns = [(column["name"], column["kind"]) for column in described["columns"]]
        trusted_types = (getattr(context, "model_config", None) or {}).get("trusted_types", ())
        forget_others(Path(context.artifacts["pipeline"]).parents[1] / "code")
        self.pipeline = read(context.artifacts["pipeline"], trusted_types)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that the model reads; further ones are ignored."""
        return tuple(name for name, _ in self.columns)

    def features(self, frame: pd.DataFrame) -> pd.DataFrame:
        """What the pipeline is given for raw columns: features, or if it asks for them the inputs as they are typed."""
        inputs = typed(frame, self.columns)
        return inputs if getattr(self.pipeline, "takes_inputs_", False) else expanded(inputs, self.columns)

    def probabilities(self, frame: pd.DataFrame) -> Any:
        """One row of probabilities for each row, in the order of the pipeline's classes."""
        return self.pipeline.predict_proba(self.features(frame))

    # mlflow warns about hints that it cannot turn into a schema, so the other parameters carry none
    def predict(self, context, model_input: pd.DataFrame, params=None):  # type: ignore[no-untyped-def]  # noqa: ARG002
        """Of a class the most probable one (ties: the first in sorted order) and that probability; else the number."""
        if (params or {}).get("probabilities"):
            return self.probabilities(model_input)
        features = self.features(model_input)
        if self.problem == CLASSIFICATION:
            if features.empty:
                return pd.DataFrame({"label": pd.Series(dtype="str"), "score": pd.Series(dtype="float64")})
            return self.labelled(self.pipeline.predict_proba(features))
        numbers = self.pipeline.predict(features) if len(features) else []
        return pd.DataFrame({"prediction": np.asarray(numbers, dtype="float64")})

    def labelled(self, probabilities: Any) -> pd.DataFrame:
        """The most probable class of each row of probabilities, and how probable it is."""
        labels = np.asarray(self.pipeline.classes_)[probabilities.argmax(axis=1)].astype(str)
        return pd.DataFrame({"label": labels, "score": probabilities.max(axis=1)})


set_model(TabularModel())
