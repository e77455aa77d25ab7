"""The rows of a dataset of typed columns and a class or a number."""

import hashlib
import logging
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lifecycle.core import class_names
from lifecycle.core.errors import ConfigError
from lifecycle.core.names import ProblemName
from lifecycle.problems.classification.labels import spelled
from lifecycle.problems.contract import DROP, Before, Canonical, Columns, TableRequest
from lifecycle.problems.tabular import columns, identity
from lifecycle.problems.tabular.cells import unusable
from lifecycle.problems.tabular.model import typed
from lifecycle.problems.tabular.spelling import NUMBER, is_missing

logger = logging.getLogger(__name__)

BLANK_TARGET, BLANK_KEY, NOT_A_NUMBER = "blank_target", "blank_key", "not_a_number"
MEANING = {
    BLANK_TARGET: "is blank",
    BLANK_KEY: "is blank",
    NOT_A_NUMBER: "is not a number",
    "not_a_truth_value": "is not a truth value",
    "not_a_time": "is not an ISO date or time",
}
CELL_TYPES = {"numeric": "float64", "boolean": "float64", "datetime": "datetime64[us]", "categorical": "str"}


class TabularTable(NamedTuple):
    """Inputs of several kinds and a truth; without a key, equal rows are different rows that share an identity."""

    problem: ProblemName
    target: str
    has_classes: bool
    texts: int = 0
    folder: None = None
    kinds: frozenset[str] = columns.KINDS

    def check(self, request: TableRequest) -> None:
        """Refuse a target that is a key, an input, or decides on the split."""
        others = {request.key, request.group_column, request.time_column, *request.columns}
        if request.target in others:
            raise ValueError(f"the target {request.target!r} must be no other column's part: key, input, group or time")
        if request.key and request.columns.get(request.key, DROP) != DROP:
            raise ValueError(f"the key {request.key!r} cannot be an input: it tells one row only")

    def options(self, request: TableRequest) -> dict[str, str]:
        """The target and the key."""
        return {request.target: "--target"} | ({request.key: "--key"} if request.key else {})

    def parameters(self, request: TableRequest) -> dict[str, Any]:
        """What is asked for, not what is inferred: that follows from the rows and the parent."""
        values = {"problem": self.problem, "target": request.target, "columns": dict(request.columns)}
        return values | ({"key": request.key} if request.key else {})

    def rows_digest(self, raw: pd.DataFrame) -> str:
        """The sha256 of the columns: of each its name, the lengths of its cells, and all their letters."""
        total = hashlib.sha256()
        for name in raw.columns:
            cells = raw[name].tolist()
            total.update(f"{name}\n".encode())
            total.update(np.fromiter(map(len, cells), "<i8", len(cells)).tobytes())
            total.update("".join(cells).encode())
        return total.hexdigest()

    def names(self, request: TableRequest, inputs: Columns) -> dict[str, str]:
        """The target and the inputs."""
        return {request.target: self.target} | {column.name: column.stored for column in inputs}

    def canonical(self, raw: pd.DataFrame, request: TableRequest, before: Before) -> Canonical:
        """Convert the inputs; the column that decides on the split stays as text too, for the next version.

        Raises:
            ConfigError: Two columns would have the same name.
        """
        inputs = self._inputs(raw, request, before)
        kinds, names = [(column.name, str(column.kind)) for column in inputs], self.names(request, inputs)
        deciding = {request.group_column, request.time_column}
        others = [name for name in raw.columns if name not in names or name in deciding]
        target, said_of_target = self._target(raw[request.target], before.classes)
        stored = [self.target, *(column.stored for column in inputs), *(f"source_{name}" for name in others)]
        if len({*stored}) < len(stored):
            twice = next(name for name in stored if stored.count(name) > 1)
            raise ConfigError(f"Two columns would be called {twice!r} in the dataset.", "Rename one, or drop it.")
        frame = typed(raw, kinds)
        lost = unusable(raw[frame.isna().any(axis="columns")], kinds)  # what could be converted can be used
        reasons = self._reasons(raw, request, said_of_target, lost)
        frame = frame.rename(columns={column.name: column.stored for column in inputs})
        frame.insert(0, self.target, target)
        frame = frame.join(raw[others].add_prefix("source_"))
        trimmed = int((raw[request.target].str.strip() != raw[request.target]).sum())
        return Canonical(frame, inputs, reasons, self._said(raw, request, kinds, reasons), trimmed)

    def keys(self, frame: pd.DataFrame, inputs: Columns, request: TableRequest) -> "pd.Series[str]":
        """By the declared key; else by the inputs in the order of their names, and by the column that decides.

        Rows that differ in their group or time alone are different ones, and may be on different splits.
        """
        if request.key:
            return identity.of_cells(frame[f"source_{request.key}"])
        deciding = request.group_column or request.time_column
        parts = [frame[column.stored] for column in sorted(inputs, key=lambda column: column.name)]
        parts += [frame[f"source_{deciding}"].str.strip()] if deciding else []
        return identity.numbered(identity.of_rows(parts), frame[self.target])

    def flaw(self, rows: pd.DataFrame) -> str:
        """That a key stands twice, or an identity on two splits."""
        if rows["key"].duplicated().any():
            return "a key stands twice"
        identities = rows["key"].str[: identity.IDENTITY]
        shared = identities[identities.duplicated(keep=False)]
        splits = rows["split"][shared.index].groupby(shared).nunique()
        return "equal rows are on two splits" if (splits > 1).any() else ""

    def suite(self, inputs: Columns) -> tuple[dict[str, Any], ...]:
        """Every column is there and of its type, and there is a truth."""
        names = [self.target, *(column.stored for column in inputs)]
        there = {"column_set": names, "exact_match": False}
        rules = [("expect_table_columns_to_match_set", there)]
        rules += [("expect_column_values_to_not_be_null", {"column": self.target})]
        kinds = [(column.stored, CELL_TYPES[column.kind]) for column in inputs]
        kinds += [(self.target, "str" if self.has_classes else "float64")]
        rules += [("expect_column_values_to_be_of_type", {"column": name, "type_": kind}) for name, kind in kinds]
        return tuple({"type": rule, "kwargs": options, "severity": "critical"} for rule, options in rules)

    def _inputs(self, raw: pd.DataFrame, request: TableRequest, before: Before) -> Columns:
        no_inputs = {request.key, request.group_column} - request.columns.keys()
        time = request.time_column
        if time and time not in request.columns and columns.judge(time, raw[time]).kind != "datetime":
            no_inputs.add(time)  # a number that counts up tells the row
        no_inputs -= {column.name for column in before.inputs}
        frame = raw.drop(columns=[name for name in no_inputs if name])
        if before.inputs:
            return columns.frozen(frame.drop(columns=request.target).columns, before.inputs, request.columns)
        return columns.infer(frame, request.target, request.columns)

    def _target(self, cells: "pd.Series[str]", classes: tuple[str, ...]) -> tuple[pd.Series, pd.Series]:
        """The truth as it is stored, and why it cannot be used."""
        cells = cells.str.strip()
        if self.has_classes:
            labels = spelled(class_names.canonicals(cells), classes)
            return labels, (labels == "").map({True: BLANK_TARGET, False: None}).astype(object)
        numbers = pd.to_numeric(cells.where(cells.str.fullmatch(NUMBER)), errors="coerce").astype("float64")
        reasons = pd.Series([None] * len(cells), index=cells.index, dtype=object)
        reasons[~np.isfinite(numbers)] = NOT_A_NUMBER
        reasons[is_missing(cells, "numeric")] = BLANK_TARGET
        return numbers, reasons

    def _reasons(
        self, raw: pd.DataFrame, request: TableRequest, of_target: pd.Series, of_inputs: pd.Series
    ) -> dict[int, str]:
        reasons = of_target.where(of_target.notna(), of_inputs.reindex(raw.index))
        if request.key:
            reasons[raw[request.key].str.strip() == ""] = BLANK_KEY
        return dict(reasons.dropna().items())  # type: ignore[arg-type]  # the index holds row numbers

    def _said(
        self, raw: pd.DataFrame, request: TableRequest, kinds: Iterable[tuple[str, str]], reasons: dict[int, str]
    ) -> str:
        """Where the first of the rows that cannot be used has its cell."""
        if not reasons:
            return ""
        row, reason = next(iter(reasons.items()))
        first = raw.loc[[row]]
        of_inputs = (name for name, kind in kinds if unusable(first, [(name, kind)]).notna().any())
        on_target = reason == BLANK_TARGET or self._target(first[request.target], ())[1].notna().any()
        column = (request.key or "") if reason == BLANK_KEY else request.target if on_target else next(of_inputs)
        return f"Row {row}, column {column!r}: {first[column].iloc[0]!r:.60} {MEANING[reason]}."


CLASSIFICATION = TabularTable("tabular-classification", "label", has_classes=True)
REGRESSION = TabularTable("tabular-regression", "target", has_classes=False)
