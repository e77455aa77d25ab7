"""What a model answers, as parts and Delta tables hold it, and what a manifest says of all answers."""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lifecycle.core.errors import DataError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import ProblemName
from lifecycle.core.refusals import CANNOT_SCORE, refused_by_the_library
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.problems.classification.summary import PROBABILITY
from lifecycle.problems.contract import TEXT
from lifecycle.problems.known import named


class Numbers(Frozen):
    """How far predicted numbers reach."""

    min: float
    mean: float
    max: float


class Tally(NamedTuple):
    """What predictions of some rows say in all: rows by class, or answered and refused; or how far numbers reach."""

    rows: int
    labels: Counter[str]
    numbers: Numbers | None

    @classmethod
    def of(cls, table: pa.Table, problem: ProblemName) -> "Tally":
        """The tally of a table that holds predictions."""
        answered = named(problem)
        first = next(iter(answered.prediction))
        if answered.model_type == "classifier":
            return cls(len(table), Counter(table[first].to_pylist()), None)
        if answered.refusal:
            refused = pc.sum(pc.equal(table[first], answered.refusal)).as_py() or 0
            counts = {"answered": len(table) - refused, "refused": refused}
            return cls(len(table), Counter({said: rows for said, rows in counts.items() if rows}), None)
        values = table[next(name for name, kind in answered.prediction.items() if kind == "double")].to_numpy()
        if not len(values):
            return cls(0, Counter(), None)
        low, high = float(values.min()), float(values.max())
        mean = _within(low, 2 * float((values / len(values) / 2).sum()), high)
        return cls(len(table), Counter(), Numbers(min=low, mean=mean, max=high))

    @classmethod
    def merged(cls, tallies: Iterable["Tally"]) -> "Tally":
        """One tally of several; the same in whatever order they come."""
        every = list(tallies)
        rows, known = sum(tally.rows for tally in every), [(tally.rows, tally.numbers) for tally in every]
        labels = sum((tally.labels for tally in every), Counter[str]())
        parts = [(count / rows, numbers) for count, numbers in known if numbers]
        if not parts:
            return cls(rows, labels, None)
        low, high = min(part.min for _, part in parts), max(part.max for _, part in parts)
        mean = _within(low, 2 * math.fsum(share * part.mean / 2 for share, part in parts), high)
        return cls(rows, labels, Numbers(min=low, mean=mean, max=high))


def _within(low: float, mean: float, high: float) -> float:
    """A mean that was summed by halves, since the largest numbers add up to more than a number can be."""
    return min(max(mean, low), high)


def predict(model: Any, label: str, inputs: pd.DataFrame, *, probabilities: bool = False) -> pa.Table:
    """The predictions of a loaded model, one per row in the order of the rows; and if asked for, of each class.

    Raises:
        DataError: It cannot score them, or answers with something else; a number must be finite.
    """
    kinds, noun = named(model.problem).prediction, "texts" if model.inputs == (TEXT,) else "rows"
    with refused_by_the_library(f"{label} cannot score these {noun}: ", DataError, CANNOT_SCORE):
        predicted = evaluation.predicted(model, inputs) if probabilities else model.predict(None, inputs)
    if len(predicted) != len(inputs):
        what = f"{label} answers {len(inputs):,} {noun} with {len(predicted):,} predictions."
        raise DataError(what, CANNOT_SCORE)
    with refused_by_the_library(f"{label} answers with no {', '.join(kinds)}: ", DataError, CANNOT_SCORE):
        beside = {str(name): "double" for name in predicted if str(name).startswith(PROBABILITY)}
        table = pa.table({name: _column(predicted[name], kind) for name, kind in {**kinds, **beside}.items()})
    _require_finite(table, label, inputs)
    return table


def _column(values: "pd.Series[Any]", kind: str) -> pa.Array:
    if kind == "double":
        return pa.array(values.to_numpy(float), pa.float64())
    return pa.array(values.to_list(), pa.string())


def _require_finite(table: pa.Table, label: str, inputs: pd.DataFrame) -> None:
    for name in table.column_names:
        column = table[name]
        right = pc.is_finite(column) if pa.types.is_floating(column.type) else pc.is_valid(column)
        place = pc.index(right, False).as_py()
        if place >= 0:
            value, row = column[place].as_py(), inputs.index[place]
            what = f"{label} predicts {value} as the {name} of row {row}: that is no prediction."
            raise DataError(what, CANNOT_SCORE)
