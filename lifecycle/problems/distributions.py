"""How what a model is given and what it answers is distributed: counts that monitoring compares, and no row.

Of a column each row has one or more things that can be counted, by the column's kind:

text                  its length and that of its words, the shares of its words that it repeats and that training had
                      not seen, and of its characters those beyond ASCII: another language or encoding moves these
numeric               the number, in bins of about as many rows each
categorical, boolean  the level; levels of few rows together, since a rare name may be somebody's
any other             whether it is there: a moment, for one, always moves on
"""

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from lifecycle.core.frozen import Frozen
from lifecycle.problems.contract import Columns
from lifecycle.problems.known import Problem
from lifecycle.problems.tabular.model import FORMS

Part = Literal["input", "prediction"]
Vocabulary = frozenset[int]
"""Digests of words: what was written cannot be read from them."""

MOST_BINS, ROWS_PER_BIN = 10, 20
MOST_LEVELS, ROWS_OF_A_LEVEL = 50, 5
MOST_WORDS = 20_000
ROWS_OF_A_REACH = 40
WORD = re.compile(r"\w+")
TOLD = ("length", "word length", "repeated words", "characters beyond ASCII", "unseen words")
"""What each text has, in the order of `_of_text`."""


class Seen(NamedTuple):
    """One thing that each row has: numbers with NaN, or levels with None, where it is missing."""

    part: Part
    name: str
    values: "pd.Series[Any]"


class Distribution(Frozen):
    """Rows by bin or level of one thing."""

    part: Part
    name: str
    edges: tuple[float, ...] | None = None
    """Upper ends of all bins of numbers but the last one."""
    levels: tuple[str, ...] = ()
    counts: tuple[int, ...]
    """By bin; or by level, and last of all other levels."""
    missing: int
    reach: tuple[float, float] | None = None
    """Of numbers: nearly all rows lie within."""
    outside: int | None = None
    """Numbers beyond that reach."""

    @classmethod
    def of(cls, seen: Seen) -> "Distribution":
        """The distribution of some rows, in bins or levels that suit them."""
        there = seen.values.dropna()
        shape = cls(part=seen.part, name=seen.name, counts=(), missing=0)
        if seen.values.dtype.kind == "f":
            numbers = there.to_numpy(np.float64)
            shape = shape.model_copy(update={"edges": _edges(numbers), "reach": _reach(numbers)})
        else:
            frequent = there.value_counts().head(MOST_LEVELS)
            named = sorted(map(str, frequent[frequent >= ROWS_OF_A_LEVEL].index))
            shape = shape.model_copy(update={"levels": tuple(named)})
        return shape.counted(seen.values)

    def counted(self, values: "pd.Series[Any]") -> "Distribution":
        """Other rows by the same bins or levels."""
        *counts, missing = map(int, np.bincount(self.places(values), minlength=self._size + 1))
        outside = None
        if self.edges is not None and self.reach:
            numbers = values.to_numpy(np.float64)
            outside = int(((numbers < self.reach[0]) | (numbers > self.reach[1])).sum())
        return self.model_copy(update={"counts": tuple(counts), "missing": missing, "outside": outside})

    def places(self, values: "pd.Series[Any]") -> "np.ndarray[Any, np.dtype[np.int64]]":
        """The bin or level of each row, by its number; of one in which it is missing, the number after the last."""
        is_missing = values.isna().to_numpy()
        if self.edges is not None:
            found = np.searchsorted(self.edges, values.to_numpy(np.float64), side="left")
        else:
            found = pd.Index(self.levels, dtype=object).get_indexer(pd.Index(values, dtype=object))
            found[found < 0] = len(self.levels)
        return np.where(is_missing, self._size, found)

    @property
    def _size(self) -> int:
        return len(self.edges if self.edges is not None else self.levels) + 1

    @property
    def beyond(self) -> int | None:
        """Rows unlike those that it was made of: numbers beyond their reach, levels without a name; None if unknown."""
        return self.outside if self.edges is not None else self.counts[-1]

    @property
    def rows(self) -> int:
        """The rows in which it is not missing."""
        return sum(self.counts)


def of_inputs(rows: pd.DataFrame, columns: Columns, known: Mapping[str, Vocabulary]) -> Iterator[Seen]:
    """What can be counted of inputs, under the names that the model calls them, as a source or a dataset has them."""
    for column in columns:
        cells = rows[column.name]
        if column.kind == "text":
            found = _text(column.name, cells, known.get(column.name))
        else:
            found = _OF_KIND.get(column.kind, _presence)(column.name, cells)
        for name, values in found:
            yield Seen("input", name, values)


def of_predictions(rows: pd.DataFrame, problem: Problem) -> Iterator[Seen]:
    """What can be counted of stored predictions: classes, scores, numbers; of an answer in words its length."""
    for column, kind in problem.prediction.items():
        if column not in rows:
            continue  # over HTTP a model may tell less
        told = "numeric" if kind == "double" else "categorical" if problem.table.has_classes else "text"
        for name, values in _OF_KIND[told](column, rows[column]):
            yield Seen("prediction", name, values)


def features(seen: Iterable[Seen]) -> pd.DataFrame:
    """What can be counted of rows, as the columns of one table."""
    return pd.DataFrame({f"{each.part} {each.name}": each.values for each in seen})


def vocabulary(texts: Iterable[str]) -> Vocabulary:
    """The digests of the words that at least two of some texts hold, at most the most frequent ones."""
    counts = Counter(_digest(word) for text in texts for word in {*_words(text)})
    return frozenset(word for word, count in counts.most_common(MOST_WORDS) if count > 1)


def _edges(values: "np.ndarray[Any, Any]") -> tuple[float, ...]:
    """Quantiles; where the least value fills a bin, what is less than that has one of its own."""
    bins = min(MOST_BINS, len(values) // ROWS_PER_BIN)
    if bins < 2:
        return ()
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1], method="lower"))
    least = values.min()
    below = [float(np.nextafter(least, -np.inf))] if edges[0] == least else []
    return (*below, *(float(edge) for edge in edges))


def _reach(values: "np.ndarray[Any, Any]") -> tuple[float, float] | None:
    """Quantiles that leave out 1 % and at least the outermost rows, so that none is told; None of too few rows."""
    if len(values) < ROWS_OF_A_REACH:
        return None
    share = max(0.005, 2 / len(values))
    low, high = np.quantile(values, (share, 1 - share))
    return float(low), float(high)


def _presence(name: str, cells: "pd.Series[Any]") -> Iterator[tuple[str, "pd.Series[Any]"]]:
    yield name, cells.isna().map({True: np.nan, False: 0.0}).astype("float64")


def _text(
    name: str, cells: "pd.Series[Any]", known: Vocabulary | None = None
) -> Iterator[tuple[str, "pd.Series[Any]"]]:
    """What the texts of any language have, and, where a vocabulary is known, the share of words beyond it."""
    is_unseen = None if known is None else cache(lambda word: _digest(word) not in known)  # most words come often
    there = cells.dropna()
    told = pd.DataFrame(
        [_of_text(str(text), is_unseen) for text in there], index=there.index, columns=[*TOLD], dtype="float64"
    ).reindex(cells.index)
    for what in TOLD if known is not None else TOLD[:-1]:
        yield f"{what} of {name}", told[what]


def _of_text(text: str, is_unseen: Callable[[str], bool] | None) -> tuple[float, ...]:
    words = _words(text)
    beyond = 0.0 if text.isascii() else 1 - len(text.encode("ascii", "ignore")) / len(text)
    if not words:
        return len(text), 0.0, 0.0, beyond, 0.0
    number = len(words)
    unseen = sum(map(is_unseen, words)) / number if is_unseen else 0.0
    return len(text), len("".join(words)) / number, 1 - len({*words}) / number, beyond, unseen


def _typed(name: str, cells: "pd.Series[Any]", kind: str) -> Iterator[tuple[str, "pd.Series[Any]"]]:
    values = FORMS[kind](cells)
    yield name, values.map({1.0: "True", 0.0: "False"}).astype(object) if kind == "boolean" else values


def _moment(name: str, cells: "pd.Series[Any]") -> Iterator[tuple[str, "pd.Series[Any]"]]:
    return _presence(name, FORMS["datetime"](cells))


_OF_KIND: dict[str, Callable[[str, "pd.Series[Any]"], Iterator[tuple[str, "pd.Series[Any]"]]]] = {
    "text": _text,
    "numeric": lambda name, cells: _typed(name, cells, "numeric"),
    "categorical": lambda name, cells: _typed(name, cells, "categorical"),
    "boolean": lambda name, cells: _typed(name, cells, "boolean"),
    "datetime": _moment,
}


def _digest(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "replace"))


def _words(text: str) -> list[str]:
    return [*map(str.lower, WORD.findall(text))]
