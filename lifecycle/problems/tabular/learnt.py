"""What the inputs of a table hold in train, and what later rows hold beyond it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lifecycle.problems.contract import Columns

if TYPE_CHECKING:
    import pandas as pd

MOST_CATEGORIES = 50
"""Of a column with more, those with the most rows are kept, and an unseen one is not told from a rare one."""


def learn(rows: "pd.DataFrame", inputs: Columns) -> dict[str, dict[str, Any]]:
    """The range or the categories of each input that is no text, and the share of cells that are missing."""
    return {column.name: _learnt(rows[column.stored], column.kind) for column in inputs if not column.is_text}


def _learnt(cells: "pd.Series", kind: str) -> dict[str, Any]:
    missing = {"missing": round(float(cells.isna().mean()), 6) if len(cells) else 0.0}
    if kind == "categorical":
        counts = cells.value_counts().sort_index().sort_values(ascending=False, kind="stable")
        kept = {str(name): int(rows) for name, rows in counts.head(MOST_CATEGORIES).items()}
        return missing | {"categories": kept, "distinct": len(counts)}
    there = cells.dropna()
    if there.empty:
        return missing
    if kind == "datetime":
        return missing | {"min": str(there.min().isoformat()), "max": str(there.max().isoformat())}
    return missing | {"min": float(there.min()), "max": float(there.max()), "mean": float(there.mean())}


def departures(
    learnt: Mapping[str, Mapping[str, Any]], rows: "pd.DataFrame", inputs: Columns
) -> dict[str, dict[str, int]]:
    """How many rows hold a value outside the range, or a category, that was not learnt, or suddenly none, by input."""
    counted = {}
    for column in inputs:
        if column.is_text:
            continue
        known, cells = learnt.get(column.name, {}), rows[column.stored]
        unlike = _unlike(known, cells) | _missing(known, cells)
        counted[column.name] = {what: rows for what, rows in unlike.items() if rows}
    return {name: of for name, of in counted.items() if of}


def _unlike(learnt: Mapping[str, Any], cells: "pd.Series") -> dict[str, int]:
    import pandas as pd

    if "categories" in learnt:
        known = learnt["categories"]
        whole = len(known) == learnt["distinct"]
        return {"unseen": int((cells.notna() & ~cells.isin([*known])).sum()) if whole else 0}
    if "min" not in learnt:
        return {}
    least, greatest = learnt["min"], learnt["max"]
    if isinstance(least, str):
        least, greatest = pd.Timestamp(least), pd.Timestamp(greatest)
    return {"below": int((cells < least).sum()), "above": int((cells > greatest).sum())}


def _missing(learnt: Mapping[str, Any], cells: "pd.Series") -> dict[str, int]:
    """The rows without a cell, where they are most rows, and were not half as many."""
    rows = int(cells.isna().sum())
    return {"missing": rows} if 2 * rows > len(cells) and rows > 2 * learnt.get("missing", 1.0) * len(cells) else {}
