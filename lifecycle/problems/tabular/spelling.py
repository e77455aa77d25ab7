"""How a cell that is text spells a number, a time, or that it is missing."""

import pandas as pd

from lifecycle.problems.tabular.model import MISSING, UNKNOWN_NUMBER

NUMBER = "?"
"""Missing where the others are numbers; elsewhere it may be a category."""
NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
CODE = r"[+-]?0[0-9]+"
"""A number whose leading zeros say that it counts nothing."""
TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}.*)?"


def is_missing(cells: "pd.Series[str]", kind: str) -> "pd.Series[bool]":
    """Which cells, without blanks around them, say nothing."""
    return cells.isin([*MISSING, UNKNOWN_NUMBER] if kind == "numeric" else [*MISSING])
