"""Stands in for `model.typed` and `cells.unusable`, with their signatures, until these are there."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lifecycle.problems.tabular.spelling import NUMBER, TIME, is_missing

if TYPE_CHECKING:
    import pandas as pd


def typed(frame: "pd.DataFrame", columns: "Iterable[tuple[str, str]]") -> "pd.DataFrame":
    """The cells in the form in which a model takes them."""
    import pandas as pd

    return pd.DataFrame({name: _converted(frame[name], kind) for name, kind in columns}, index=frame.index)


def unusable(frame: "pd.DataFrame", columns: "Iterable[tuple[str, str]]") -> "pd.Series":
    """Why a row cannot be used: the first cell that is not of its kind."""
    import pandas as pd

    reasons = pd.Series([None] * len(frame), index=frame.index, dtype=object)
    names = {"numeric": "not_a_number", "boolean": "not_a_truth_value", "datetime": "not_a_time"}
    for name, kind in columns:
        if kind in names:
            bad = _converted(frame[name], kind).isna() & ~is_missing(frame[name].str.strip(), kind)
            reasons[bad & reasons.isna()] = names[kind]
    return reasons


def _converted(cells: "pd.Series[str]", kind: str) -> "pd.Series":
    import pandas as pd

    cells = cells.str.strip()
    cells = cells.where(~is_missing(cells, kind))
    if kind == "numeric":
        return pd.to_numeric(cells.where(cells.str.fullmatch(NUMBER)), errors="coerce").astype("float64")
    if kind == "boolean":
        words = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}
        return cells.str.lower().map(words).astype("float64")
    if kind == "datetime":
        times = pd.to_datetime(cells.where(cells.str.fullmatch(TIME)), format="ISO8601", errors="coerce", utc=True)
        return times.dt.tz_localize(None).astype("datetime64[us]")
    return cells.map({cell: _plain(cell) for cell in cells.dropna().unique()}).astype(object).where(cells.notna(), None)


def _plain(cell: str) -> str:
    from lifecycle.problems.classification.labels import plain_spelling

    return plain_spelling([cell]).get(cell, cell)
