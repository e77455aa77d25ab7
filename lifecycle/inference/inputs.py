"""Which columns of a table a model reads, and which of the rows it cannot score."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lifecycle.core.errors import ConfigError
from lifecycle.data import cells
from lifecycle.inference.manifest import BatchRequest, by_input
from lifecycle.problems.contract import TEXT, Column, Columns, columns_of
from lifecycle.problems.tabular.cells import unusable
from lifecycle.settings.rules import DataRules


class Refusal(NamedTuple):
    """Why a row cannot be scored, and what stands there."""

    reason: str
    text: str


class Inputs(NamedTuple):
    """The inputs of a model in the order in which it calls them, and the columns of a table that they are read from."""

    columns: Columns
    sources: tuple[str, ...]

    @classmethod
    def of(cls, request: BatchRequest, model: Any) -> "Inputs":
        """What a loaded model reads of the table of a request.

        Raises:
            ConfigError: The request names an input that the model has not, or one column for two inputs.
        """
        named, where = by_input(request.columns), f"{request.model.label} reads {', '.join(model.inputs)}"
        if unknown := [name for name, source in named.items() if name not in model.inputs and name != source]:
            raise ConfigError(f"{where}, not {', '.join(unknown)}.", "Correct the columns: see mlops infer --help")
        sources = tuple(named.get(name, name) for name in model.inputs)
        if len({*sources}) < len(sources):
            raise ConfigError(f"{where}, each from a column of its own.", "Correct the columns: see mlops infer --help")
        return cls(columns_of(model), sources)

    @property
    def by_source(self) -> dict[str, str]:
        """The columns of the table, each with the input that is read from it."""
        return {source: column.name for source, column in zip(self.sources, self.columns, strict=True)}

    @property
    def text_source(self) -> str:
        """The column of the texts of a model that reads one text; else empty."""
        return next((s for s, column in zip(self.sources, self.columns, strict=True) if column.name == TEXT), "")

    @property
    def options(self) -> dict[str, str]:
        """The columns of the table, each with the option that names another one, or its entry in `--columns`."""
        return {
            source: "--text-column" if column.name == TEXT else f"'{{}}': '{column.name}'"
            for source, column in zip(self.sources, self.columns, strict=True)
        }

    def taken_from(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The inputs of some rows, under the names that the model calls them."""
        return rows[[*self.sources]].set_axis([column.name for column in self.columns], axis="columns")


def refusals(inputs: pd.DataFrame, columns: Iterable[Column], rules: DataRules) -> dict[int, Refusal]:
    """The rows that cannot be scored, by their number; of several columns the first one tells why."""
    refused: dict[int, Refusal] = {}
    for column in columns:
        column_cells = inputs[column.name]
        reasons = _of_texts(column_cells, rules) if column.is_text else _of_values(column_cells, column, rules)
        for row, reason in reasons.items():
            text = str(column_cells[row])
            refused.setdefault(row, Refusal(reason, text if column.name == TEXT else f"{column.name}: {text}"))
    return refused


def _of_texts(texts: "pd.Series[Any]", rules: DataRules) -> dict[int, str]:
    blank = np.array([isinstance(text, str) and (not text or text.isspace()) for text in texts.to_list()], dtype=bool)
    return _of_cells(texts, rules) | dict.fromkeys(texts.index[blank].to_list(), "blank_text")


def _of_values(values: "pd.Series[Any]", column: Column, rules: DataRules) -> dict[int, str]:
    """A missing cell is none of them: what to make of it is the model's business."""
    no_texts = _of_cells(values, rules)
    texts = values.drop([*no_texts]).to_frame(column.name)
    reasons = unusable(texts, [(column.name, column.kind)]).dropna()
    return no_texts | dict(zip(reasons.index.to_list(), reasons.to_list(), strict=True))


def _of_cells(values: "pd.Series[Any]", rules: DataRules) -> dict[int, str]:
    """The cells that hold no text or one that cannot be used; a column without any is looked at as a whole."""
    every = values.to_list()
    if cells.all_usable(every, rules):
        return {}
    unusable = ((row, cells.unusable(cell, rules)) for row, cell in zip(values.index.to_list(), every, strict=True))
    return {row: problem[0] for row, problem in unusable if problem}
