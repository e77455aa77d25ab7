"""Slices of the rows: a challenger that is better on the whole may be much worse on one of them."""

from collections.abc import Iterable, Iterator

import pandas as pd

from lifecycle.core.errors import DataError
from lifecycle.problems.contract import Columns, plain
from lifecycle.problems.findings import SliceLine
from lifecycle.problems.judging import CATEGORIES
from lifecycle.problems.known import Problem
from lifecycle.problems.metric import Mask, Scores
from lifecycle.problems.shares import adjusted
from lifecycle.settings.gate_rules import GateRules, SliceRules

QUARTERS = 4
FEW = 10
"""An input with more values than this makes slices only where a rule names it."""


def slices(
    problem: Problem,
    inputs: Columns,
    rows: pd.DataFrame,
    challenger: Scores,
    champion: Scores | None,
    rules: GateRules,
) -> tuple[SliceLine, ...]:
    """Judge each slice by the quality that the problem measures there, those that fail first.

    Of more classes than a rule allows values, the largest are slices and all others together are one.

    A slice fails if it loses more than `max_loss` against the champion and the one-sided test of the paired rows,
    adjusted for the number of slices, says that this is no chance; or if it does not reach the floor.

    Raises:
        DataError: A column of the rules is not in the dataset, or has too many values to make slices.
    """
    made = dict(made_of(problem, inputs, rows, rules.slices))
    judged = [name for name, mask in made.items() if mask.sum() >= rules.slices.min_rows]
    lost = {name: challenger.slice_loss(champion, made[name]) for name in judged} if champion else {}
    p_values = dict(zip(lost, adjusted([p for _, p in lost.values()]), strict=True))
    lines = []
    for name, mask in made.items():
        line = SliceLine(
            name=name,
            quality=problem.judging.quality,
            rows=int(mask.sum()),
            challenger=challenger.quality(mask, rules.confidence),
            champion=champion.quality(mask, rules.confidence) if champion else None,
            gain=-lost[name][0] if name in lost else None,
            p=p_values.get(name),
            outcome="too_few",
        )
        lines.append(line if name not in judged else line.model_copy(update={"outcome": _outcome(line, rules)}))
    return tuple(sorted(lines, key=lambda line: (line.outcome != "fail", line.gain or 0)))


def _outcome(line: SliceLine, rules: GateRules) -> str:
    lost = line.gain is not None and line.p is not None and -line.gain > rules.slices.max_loss
    chance = line.p is None or line.p > 1 - rules.confidence
    low = rules.slices.floor is not None and line.challenger.value < rules.slices.floor
    return "fail" if (lost and not chance) or low else "pass"


def made_of(problem: Problem, inputs: Columns, rows: pd.DataFrame, rules: SliceRules) -> Iterator[tuple[str, Mask]]:
    """The slices that rules ask for, each with its rows as a mask: values of a column, or quarters of numbers."""
    for by in dict.fromkeys(name for rule in rules.by or () for name in _columns(rule, inputs, rows)):
        own = problem.judging.slices.get(by)
        values = own(inputs, rows) if own else rows[column_of(by, rows.columns)]
        yield from by_value(by, values, rules.max_values, is_class=by == problem.target)


def _columns(by: str, inputs: Columns, rows: pd.DataFrame) -> Iterator[str]:
    """What a rule names: one thing, or every input that puts rows into a few groups."""
    if by != CATEGORIES:
        yield by
        return
    for column in inputs:
        if column.kind in {"categorical", "boolean"} and 1 < rows[column.stored].nunique() <= FEW:
            yield column.stored


def by_value(by: str, values: pd.Series, most: int, *, is_class: bool = False) -> Iterator[tuple[str, Mask]]:
    """Quarters of numbers, values of anything else; the smaller of very many classes together."""
    names = {value: plain(value) for value in values.dropna().unique()}
    if pd.api.types.is_numeric_dtype(values) and len(names) > QUARTERS:
        parts = pd.qcut(values, QUARTERS, duplicates="drop")
        names = {part: _ends(values[parts == part]) for part in parts.dropna().unique()}
        values = parts
    elif is_class and len(names) > most:
        largest = values.value_counts().index[: most - 1]
        yield f"the {len(names) - len(largest)} smaller classes", ~values.isin(largest).to_numpy(bool)
        names = {value: names[value] for value in largest}
    require_few(by, len(names), most)
    for value in sorted(names):
        yield f"{by} = {names[value]}", (values == value).to_numpy(bool)


def _ends(values: pd.Series) -> str:
    return f"{plain(float(values.min()))} to {plain(float(values.max()))}"


def column_of(by: str, columns: Iterable[str]) -> str:
    """Which of the columns of the rows makes the slices.

    Raises:
        DataError: None of them does.
    """
    there = list(columns)
    column = by if by in there else f"source_{by}"
    if column not in there:
        own = ", ".join(sorted(name for name in there if name.startswith("source_"))) or "none of its own"
        raise DataError(f"The dataset has no column {by} to make slices of; it has {own}.", "Correct gate.slices.by.")
    return column


def require_few(by: str, values: int, max_values: int) -> None:
    """Refuse a column that would make more slices than a rule allows.

    Raises:
        DataError: It would.
    """
    if values > max_values:
        what = f"The column {by} has {values} values, too many to make slices of the rows (at most {max_values})."
        raise DataError(what, "Choose another for gate.slices.by, or raise gate.slices.max_values.")
