"""A small `lifecycle.problems.tabular.proposal` for a tree that has none yet: the same names, plainer rules."""

from typing import Any, Literal, NamedTuple

import pandas as pd

TARGETS = {"label", "churned", "price"}


class ProposedColumn(NamedTuple):
    name: str
    kind: str
    missing: int
    distinct: int
    examples: tuple[str, ...]
    note: str


class Proposal(NamedTuple):
    problem: str
    target: str | None
    candidates: tuple[str, ...]
    columns: tuple[ProposedColumn, ...]
    key: str | None
    split_by: Literal["random", "time"]
    time_column: str | None
    notes: tuple[str, ...]


def propose(frame: pd.DataFrame, target: str | None = None) -> Proposal:
    columns = tuple(_column(name, frame[name]) for name in frame.columns)
    kinds = {column.name: column.kind for column in columns}
    key = next((name for name in frame.columns if name == "id" and frame[name].is_unique), None)
    candidates = tuple(name for name in frame.columns if name in TARGETS)
    target = target or (candidates[0] if len(candidates) == 1 else None)
    if "text" in kinds.values():
        problem = "text-classification"
    else:
        problem = "tabular-regression" if kinds.get(str(target)) == "numeric" else "tabular-classification"
    time = next((name for name, kind in kinds.items() if kind == "datetime"), None)
    return Proposal(problem, target, candidates, columns, key, "time" if time else "random", time, ("It is small.",))


def _column(name: str, cells: "pd.Series[Any]") -> ProposedColumn:
    full = cells[cells != ""]
    kind, note = "categorical", ""
    if pd.to_numeric(full, errors="coerce").notna().all():
        kind = "numeric"
    elif set(full.str.lower()) <= {"yes", "no", "true", "false"}:
        kind = "boolean"
    elif full.str.fullmatch(r"\d{4}-\d\d-\d\d").all():
        kind = "datetime"
    elif full.str.len().mean() > 25:
        kind = "text"
    elif full.nunique() == 1:
        kind, note = "drop", "one value alone"
    examples = tuple(full.drop_duplicates()[:3])
    return ProposedColumn(name, kind, int((cells == "").sum()), int(full.nunique()), examples, note)
