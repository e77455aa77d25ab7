"""What the columns of a table are: numbers, categories, truth values or times, or nothing to learn from."""

import logging
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple, cast

import pandas as pd

from lifecycle.core.errors import ConfigError, DataError
from lifecycle.problems.contract import DROP, Column, Columns, Kind
from lifecycle.problems.tabular.spelling import CODE, DATE, INFINITE, NUMBER, TIME, WRITTEN, is_missing

logger = logging.getLogger(__name__)

MOST_LEVELS = 12
"""Whole numbers of so few different values are codes of categories, such as the month."""
UNIQUE = 0.9
"""Where more of the cells than this differ, a text is an identifier, or free text."""
NEARLY_ALL = 0.9
"""Where so many cells are numbers, the others may be mistakes."""
CODES = {"code", "zip", "zipcode", "postal", "postcode", "postalcode", "id"}
"""Words in the name of a column whose numbers count nothing."""
KINDS: frozenset[str] = frozenset({"numeric", "categorical", "boolean", "datetime", DROP})


class Judged(NamedTuple):
    """What a column seems to be: a kind, or `drop` with the reason as a note."""

    kind: str
    missing: int
    distinct: int
    examples: tuple[str, ...]
    note: str = ""


def infer(frame: pd.DataFrame, target: str, declared: Mapping[str, str]) -> Columns:
    """The inputs among the columns of a table whose cells are texts; what is declared wins.

    Raises:
        ConfigError: A declared column is not there.
        DataError: No column is left to learn from.
    """
    if missing := [name for name in declared if name not in frame]:
        what = f"Declared columns are not there: {listed(missing)}; there are {listed(frame.columns)}."
        raise ConfigError(what, "Correct the names under columns.")
    kinds = dict(declared)
    for name in frame.columns:
        if name not in declared and name != target:
            judged = judge(name, frame[name])
            kinds[name] = judged.kind
            if judged.note:
                logger.info("Column %r is %s: %s", name, _as(judged.kind), judged.note)
    inputs = tuple(
        Column(name=name, kind=cast("Kind", kinds[name]))
        for name in frame.columns
        if name != target and kinds[name] != DROP
    )
    if not inputs:
        raise DataError(f"No column but the target {target!r} can be learnt from.", "Declare kinds under columns.")
    return inputs


def frozen(names: Iterable[str], inputs: Columns, declared: Mapping[str, str]) -> Columns:
    """The inputs of the parent version, which a later version keeps; columns that are new are none.

    Raises:
        ConfigError: Another kind is declared for a column than the parent has.
        DataError: A column is gone.
    """
    there, kinds = list(names), {column.name: column.kind for column in inputs}
    for name, kind in declared.items():
        if kinds.get(name, DROP) != kind:
            what = f"Column {name!r} is declared {kind}, and is {_as(kinds.get(name, DROP))} in the parent version."
            raise ConfigError(what, "Declare the same, or choose another --data-name.")
    if gone := [name for name in kinds if name not in there]:
        what = f"Inputs of the parent version are gone: {listed(gone)}; there are {listed(there) or 'no others'}."
        raise DataError(what, "Add them to the source, or choose another --data-name.")
    if new := [name for name in there if name not in kinds and name not in declared]:
        logger.info("No inputs, since the parent version does not have them as such: %s", listed(new))
    return inputs


def judge(name: str, cells: "pd.Series[str]") -> Judged:
    """What a column of texts seems to be by its name and its cells."""
    counts = cells.str.strip().value_counts()
    present = counts[~is_missing(counts.index.to_series(), "categorical")]
    missing, distinct = len(cells) - int(present.sum()), len(present)
    kind, note = _kind(name, present)
    if distinct == 0 or (distinct == 1 and not missing):
        kind, note = DROP, "it says the same in every row"
    elif kind == "categorical" and distinct > UNIQUE * present.sum():
        kind = DROP
        note = f"nearly every cell differs ({distinct:,} of {present.sum():,}): an identifier, or free text{note}"
    return Judged(kind, missing, distinct, tuple(f"{value!s:.40}" for value in present.index[:3]), note.lstrip("; "))


def _kind(name: str, present: "pd.Series[int]") -> tuple[str, str]:
    """The kind of a column by the different values that are there, with the rows that have them."""
    values = present.index.to_series().astype("str")
    if len(values) < MOST_LEVELS and {*values.str.lower()} == {"true", "false"}:
        return "boolean", ""
    numbers = values[values.str.fullmatch(NUMBER)]
    others = values.drop(numbers.index)
    others = others[~is_missing(others, "numeric")]
    are_few = present[others.index].sum() <= (1 - NEARLY_ALL) * present.sum()
    if len(numbers) and are_few and others.str.fullmatch(INFINITE, case=False).all():
        kind, note = _kind_of_numbers(name, numbers)
        return kind, "; infinite cells cannot be used" if len(others) and kind != "categorical" else note
    if len(values) and values.str.fullmatch(TIME).all() and _are_times(values):
        return "datetime", ""
    are_many = len(numbers) and present[numbers.index].sum() >= NEARLY_ALL * present.sum()
    return "categorical", _note_of_words(values, others if are_many else others[:0])


def _note_of_words(values: "pd.Series[str]", strays: "pd.Series[str]") -> str:
    """What people read as dates or numbers, and what stands among numbers."""
    if len(values) and values.str.fullmatch(DATE).all():
        return f"; a date written like {values.iloc[0]!r:.40} is a word to a model: write 2026-12-31"
    if are_written(values):
        example = values[~values.str.fullmatch(NUMBER)].iloc[0]
        return f"; a number written like {example!r:.40} is a word to a model: write it plainly"
    if len(strays):
        return f"; all but cells such as {strays.iloc[0]!r:.40} are numbers: if they are mistakes, declare it"
    return ""


def _kind_of_numbers(name: str, numbers: "pd.Series[str]") -> tuple[str, str]:
    if numbers.str.match(CODE).any():
        return "categorical", ""
    values = pd.to_numeric(numbers, errors="coerce").astype("float64")  # of too many digits for a number: none
    levels = values.unique()
    if {*levels[:3]} == {0.0, 1.0}:
        return "boolean", ""
    is_code = len(levels) <= MOST_LEVELS or says_code(name)
    return ("categorical" if is_code and (values % 1 == 0).all() else "numeric"), ""


def are_written(cells: "pd.Series[str]") -> bool:
    """Whether all cells that say something are numbers, some of which only people read as such."""
    there = cells[~is_missing(cells, "numeric")]
    return bool(there.str.fullmatch(WRITTEN).all() and not there.str.fullmatch(NUMBER).all())


def _are_times(values: "pd.Series[str]") -> bool:
    return bool(pd.to_datetime(values, format="ISO8601", errors="coerce", utc=True).notna().all())


def says_code(name: str) -> bool:
    """Whether a column is called a code, a postal code or an identifier."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return not CODES.isdisjoint(word.lower() for word in words)


def listed(names: Iterable[str], most: int = 20) -> str:
    """Names of columns in a message."""
    ordered = list(names)
    return ", ".join(f"{name!r:.60}" for name in ordered[:most]) + (", …" if len(ordered) > most else "")


def _as(kind: str) -> str:
    return "no input" if kind == DROP else kind
