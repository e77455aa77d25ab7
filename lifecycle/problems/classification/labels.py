"""Labels that are truth values or numbers: one spelling, whichever format and program wrote them.

The same column is `True` in the CSV of pandas, `TRUE` in that of Excel, `true` in JSON and Parquet; `1.0` where a
neighbour was missing, `1` where none was. So in a column of nothing but truth values each is `True` or `False`, and in
one of nothing but numbers each is written plainly: `1`, `0.5`. In any other column a label is a text as it is written:
`007`, `1.0` beside `high`, `NA`.
"""

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d{1,2})?", re.ASCII)
"""A number of JSON, which Python and Arrow write too; `007` is a code."""

LONGEST = 100
"""Digits beyond which it is no number that anybody counts with."""


def spelled(labels: "pd.Series[str]", known: Iterable[str] = ()) -> "pd.Series[str]":
    """The labels, each value in one spelling: that of a `known` class, else the plain one; blank ones stay blank."""
    there = [label for label in labels.unique() if label]
    plain = plain_spelling(there)
    theirs = {_plain(label): label for label in known}
    return (
        labels.map({label: theirs.get(plain[label], plain[label]) for label in there} | {"": ""}) if plain else labels
    )


def plain_spelling(labels: Iterable[str]) -> dict[str, str]:
    """Each label's plain spelling, if all of them are truth values or all are numbers; else none."""
    found = {label: _plain(label) for label in labels}
    kinds = {_kind(label) for label in found}
    return found if kinds in ({"truth value"}, {"number"}) else {}


def _kind(label: str) -> str:
    if label.lower() in {"true", "false"}:
        return "truth value"
    return "number" if len(label) <= LONGEST and NUMBER.fullmatch(label) else "text"


def _plain(label: str) -> str:
    match _kind(label):
        case "truth value":
            return label.capitalize()
        case "number":
            number = f"{Decimal(label):f}"
            digits = number.rstrip("0").rstrip(".") if "." in number else number
            return "0" if digits == "-0" else digits
    return label
