"""Which cells of a table are not of their column's kind."""

from typing import Any

import pandas as pd

from lifecycle.problems.tabular.model import Columns, spelled, typed
from lifecycle.problems.tabular.spelling import is_missing

REASONS = {"numeric": "not_a_number", "boolean": "not_a_truth_value", "datetime": "not_a_time"}
"""Kind of a column to why a cell of it cannot be used; whatever a category is spelled like, it can."""


def unusable(frame: pd.DataFrame, columns: Columns) -> "pd.Series[Any]":
    """Why each row cannot be used, by its first cell that is not of its kind; None if it can, missing cells or not."""
    reasons = pd.Series(None, index=frame.index, dtype=object)
    canonical = typed(frame, columns)
    for name, kind in columns:
        if kind in REASONS:
            lost = canonical[name].isna()
            words = spelled(frame.loc[lost, name])
            wrong = words[words.notna() & ~is_missing(words, kind)].index
            reasons.loc[reasons.index.isin(wrong) & reasons.isna()] = REASONS[kind]
    return reasons
