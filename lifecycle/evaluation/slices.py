"""Parts of the rows: a challenger that is better on the whole may be much worse on one of them."""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lifecycle.core.errors import DataError
from lifecycle.evaluation import statistics
from lifecycle.evaluation.findings import SliceLine
from lifecycle.evaluation.metrics import Predictions
from lifecycle.settings.gate_rules import GateRules

Mask = NDArray[np.bool_]
QUARTERS = 4


def slices(
    rows: pd.DataFrame, challenger: Predictions, champion: Predictions | None, rules: GateRules
) -> tuple[SliceLine, ...]:
    """Judge each part by accuracy, those that fail first.

    Of more classes than a rule allows values, the largest are parts and all others together are one.

    A part fails if it loses more than `max_loss` against the champion and the exact one-sided McNemar test, adjusted
    for the number of parts, says that this is no chance; or if it does not reach the floor.

    Raises:
        DataError: A column of the rules is not in the dataset, or has too many values to make parts.
    """
    parts = {name: mask for by in rules.slices.by for name, mask in _parts(by, rows, rules.slices.max_values)}
    judged = [name for name, mask in parts.items() if mask.sum() >= rules.slices.min_rows]
    p_values = dict.fromkeys(parts, None) | _adjusted({name: parts[name] for name in judged}, challenger, champion)
    lines = [_line(name, mask, challenger, champion, rules, p_values[name]) for name, mask in parts.items()]
    return tuple(sorted(lines, key=lambda line: (line.outcome != "fail", line.gain or 0)))


def _parts(by: str, rows: pd.DataFrame, max_values: int) -> Iterator[tuple[str, Mask]]:
    if by == "text_length":
        lengths = rows["text"].str.len()
        values = pd.qcut(lengths, QUARTERS, duplicates="drop") if lengths.nunique() > 1 else lengths
        names = {
            value: f"{lengths[values == value].min()} to {lengths[values == value].max()}" for value in set(values)
        }
    else:
        values = rows[column_of(by, rows.columns)]
        names = {value: str(value) for value in values.dropna().unique()}
    if by == "label" and len(names) > max_values:
        largest = values.value_counts().index[: max_values - 1]
        yield f"the {len(names) - len(largest)} smaller classes", ~values.isin(largest).to_numpy(bool)
        names = {value: names[value] for value in largest}
    require_few(by, len(names), max_values)
    for value in sorted(names):
        yield f"{by} = {names[value]}", (values == value).to_numpy(bool)


def column_of(by: str, columns: Iterable[str]) -> str:
    """Which of the columns of the rows makes the parts.

    Raises:
        DataError: None of them does.
    """
    there = list(columns)
    column = "truth" if by == "label" else by if by in there else f"source_{by}"
    if column not in there:
        own = ", ".join(name for name in there if name.startswith("source_")) or "none of its own"
        raise DataError(f"The dataset has no column {by} to make parts of; it has {own}.", "Correct gate.slices.by.")
    return column


def require_few(by: str, values: int, max_values: int) -> None:
    """Refuse a column that would make more parts than a rule allows.

    Raises:
        DataError: It would.
    """
    if values > max_values:
        what = f"The column {by} has {values} values, too many to make parts of the rows (at most {max_values})."
        raise DataError(what, "Choose another for gate.slices.by, or raise gate.slices.max_values.")


def _adjusted(parts: dict[str, Mask], challenger: Predictions, champion: Predictions | None) -> dict[str, float | None]:
    """Whether each part is worse by more than chance: one-sided exact McNemar, Benjamini-Hochberg over the parts."""
    if champion is None or not parts:
        return {}
    return dict(zip(parts, statistics.adjusted([_worse(m, challenger, champion) for m in parts.values()]), strict=True))


def _worse(mask: Mask, challenger: Predictions, champion: Predictions) -> float:
    from scipy import stats

    new, old = _right(challenger)[mask], _right(champion)[mask]
    broken, repaired = int((old & ~new).sum()), int((new & ~old).sum())
    if not broken + repaired:
        return 1.0
    return float(stats.binomtest(broken, broken + repaired, alternative="greater").pvalue)


def _line(
    name: str, mask: Mask, challenger: Predictions, champion: Predictions | None, rules: GateRules, p: float | None
) -> SliceLine:
    size, asked = int(mask.sum()), rules.slices
    new = statistics.wilson(int(_right(challenger)[mask].sum()), size, rules.confidence)
    old = statistics.wilson(int(_right(champion)[mask].sum()), size, rules.confidence) if champion else None
    gain = new.value - old.value if old else None
    lost = gain is not None and p is not None and -gain > asked.max_loss and p <= 1 - rules.confidence
    low = asked.floor is not None and new.value < asked.floor
    return SliceLine(
        name=name,
        rows=size,
        challenger=new,
        champion=old,
        gain=gain,
        p=p,
        outcome="too_few" if size < asked.min_rows else "fail" if lost or low else "pass",
    )


def _right(predictions: Predictions) -> Mask:
    return np.asarray(predictions.label == predictions.truth)
