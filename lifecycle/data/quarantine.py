"""Which rows are set aside before a split, each with its reason, and whether what is left can be split."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from lifecycle.data import split
from lifecycle.data.columns import OTHER_SIDE
from lifecycle.errors import DataError
from lifecycle.settings import DataRules

if TYPE_CHECKING:
    import pandas as pd

DUPLICATE, CONFLICT = "duplicate", "conflicting_label"


def set_aside(
    frame: "pd.DataFrame", failed: Mapping[int, str], name: str, rules: DataRules
) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """Part the rows that may be split from those in quarantine.

    In this order: rows in `failed` (row number to reason); all rows of a text with different labels; repeats of a row,
    each naming the row that is kept, the first one. Texts are compared in their normalised form.

    Returns:
        The rows to split (`row, key, text, label, …`) and the quarantine (`row, text, label, …, reason, kept_row`).

    Raises:
        DataError: More rows than the budget fail, or conflicting labels are not tolerated.
    """
    import pandas as pd

    reasons = pd.Series(dict(failed), dtype="object").reindex(frame.index)
    keys = frame["text"].map(split.text_key)
    conflicting = _conflicting(frame["label"], keys, reasons.isna())
    if len(conflicting) and rules.conflicting_labels == "fail":
        what = f"{name}: {len(conflicting)} rows carry texts with different labels, such as row {conflicting[0]}."
        raise DataError(what, "Correct them, or set data.conflicting_labels to quarantine.")
    reasons.loc[conflicting] = CONFLICT
    usable = reasons.isna()
    first = pd.Series(frame.index[usable], index=frame.index[usable]).groupby(keys[usable]).transform("min")
    repeats = first.index[first != first.index]
    reasons.loc[repeats] = DUPLICATE
    check_budget(reasons[~usable].to_dict() | dict.fromkeys(repeats, DUPLICATE), len(reasons), name, rules)

    kept_row = first.reindex(repeats).astype("Int64")
    table = frame.assign(key=keys, reason=reasons.astype("str"), kept_row=kept_row).reset_index(names="row")
    aside = reasons.notna().to_numpy()
    kept = table[~aside].drop(columns=["reason", "kept_row"])
    return kept.reset_index(drop=True), table[aside].drop(columns="key").reset_index(drop=True)


def check_classes(rows: "pd.DataFrame", name: str, column: str, fractions: Iterable[float]) -> None:
    """Refuse what cannot be split: fewer than two classes, or a class too small to be on every side."""
    counts = {str(label): int(count) for label, count in rows["label"].value_counts().items()}
    shown = ", ".join(f"{label!r}: {count}" for label, count in list(counts.items())[:10])
    if len(counts) < 2:
        what = f"{name}: 1 class is left in column {column!r} ({shown})."
        if not counts:
            what = f"{name}: no row is left with a text and a label in column {column!r}."
        raise DataError(what, "A classifier needs two classes or more.")
    needed = max(math.ceil(1 / share - 1e-9) for share in fractions)
    if rare := [label for label, count in counts.items() if count < needed]:
        what = f"{name}: class {rare[0]!r} of column {column!r} has {counts[rare[0]]} usable rows; "
        what += f"for one on every side it needs {needed} at these sizes ({shown})."
        raise DataError(what, "Add rows, merge classes, or raise the smallest size.")


def _conflicting(labels: "pd.Series[str]", keys: "pd.Series[str]", usable: "pd.Series[bool]") -> "pd.Index[int]":
    different = labels[usable].groupby(keys[usable]).transform("nunique")
    return different.index[different > 1]


def check_budget(reasons: Mapping[int, str], count: int, name: str, rules: DataRules, said: str = "") -> None:
    """Refuse a table of which too many rows cannot be used; repeats, here or of a text on another side, do not count.

    Args:
        reasons: Row number to reason.
        count: How many rows there are.
        name: What the table is called.
        rules: The budget.
        said: A sentence about the first of them.

    Raises:
        DataError: More rows than the budget cannot be used.
    """
    counted = {row: reason for row, reason in reasons.items() if reason not in {DUPLICATE, OTHER_SIDE}}
    if len(counted) > rules.max_quarantine_fraction * count:
        counts = ", ".join(f"{reason} {n}" for reason, n in Counter(counted.values()).most_common())
        what = f"{name}: {len(counted)} of {count} rows cannot be used ({counts}), such as row "
        what += f"{min(counted)}: more than data.max_quarantine_fraction={rules.max_quarantine_fraction:g}."
        raise DataError(what, said or "Correct the source, or raise the budget on purpose.")
