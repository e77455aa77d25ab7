"""How a cell that is text spells a number, a time, or that it is missing."""

import pandas as pd

from lifecycle.problems.tabular.model import MISSING

UNKNOWN = "?"
"""Missing too where the others are numbers or truth values; elsewhere it may be a category."""
NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
CODE = r"[+-]?0[0-9]+"
"""A number whose leading zeros say that it counts nothing."""
INFINITE = r"[+-]?(?:inf|infinity)"
"""What a number without end is spelled like, in any case; no model learns from it."""
_SIGN = r"(?:[$€£¥₹]|USD|EUR|GBP|CHF|JPY)"
WRITTEN = rf"[(+-]?\s*{_SIGN}?\s*[+-]?[0-9]{{1,3}}(?:[,.'\s]?[0-9]{{3}})*(?:[.,][0-9]+)?\s*(?:%|{_SIGN})?\)?"
"""A number as people write it: with a currency, per cent, groups of thousands, a decimal comma."""
DATE = r"[0-9]{1,4}[./-][0-9]{1,2}[./-][0-9]{1,4}.*"
"""A date as people write it, which no two countries read alike."""
TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}.*)?"


def is_missing(cells: "pd.Series[str]", kind: str) -> "pd.Series[bool]":
    """Which cells, without blanks around them, say nothing."""
    return cells.isin([*MISSING, UNKNOWN] if kind in {"numeric", "boolean"} else [*MISSING])
