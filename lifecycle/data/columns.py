"""A split by a column of the table: no group on two sides, or the oldest rows for training and the newest held out.

What a parent version settled stays: a known group keeps its side, and the moments at which sides begin stay. A row
that the parent holds on another side than its column asks for is set aside: else it would change its side.
"""

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from lifecycle.core.errors import ConfigError, DataError
from lifecycle.core.names import Side
from lifecycle.data import split, units
from lifecycle.problems.classification.labels import LONGEST, NUMBER

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

BLANK_GROUP, NO_TIME, OTHER_SIDE = "blank_group", "no_time", "other_side"

ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?", re.ASCII)
KINDS = ("an ISO date or time without an offset", "an ISO time with an offset", "a number")
"""What a column of times may hold, one of them; where there is as much of two, the first."""

Moment = Decimal | datetime


class ByColumn(NamedTuple):
    """The column that decides, and what the parent version settled."""

    column: str
    is_time: bool
    name: str
    fractions: Mapping[Side, float]
    inherited: Mapping[str, str] = {}
    groups: Mapping[str, str] = {}
    starts: Mapping[str, str] = {}

    @property
    def said(self) -> str:
        """By what it decides."""
        return f"the column {self.column!r}"

    @property
    def cells(self) -> str:
        """What its column is called in a canonical table."""
        return f"source_{self.column}"

    @property
    def later(self) -> list[str]:
        """The sides after train."""
        return [str(side) for side in self.fractions if side is not Side.TRAIN]

    def unfit(self, frame: "pd.DataFrame") -> tuple[dict[int, str], str]:
        """The rows whose cell tells no group or no time, with their reason, and a sentence about the first of them."""
        cells = frame[self.cells].str.strip()
        if not self.is_time:
            return _reasons(frame, (cells == "").tolist(), BLANK_GROUP, self.column, "a group")
        kind = _kind_of(Counter(self.starts.values()) or Counter(cells.tolist()))
        bad = _mapped(cells, lambda cell: (time := _moment(cell)) is None or time[0] != kind)
        return _reasons(frame, bad.tolist(), NO_TIME, self.column, kind)

    def settled(self, frame: "pd.DataFrame", identities: "pd.Series[str]") -> Self:
        """With the groups whose side is known: those of the parent, and renamed ones, most of whose rows it holds.

        Raises:
            ConfigError: The sides are not those that the parent's times are divided into.
        """
        if self.starts and list(self.starts) != self.later:
            what = f"{self.name}: the parent's times are divided into {', '.join(['train', *self.starts])}; "
            raise ConfigError(f"{what}these sizes ask for {', '.join(self.fractions)}.", "Choose another --data-name.")
        if not self.inherited:
            return self
        groups, cells = dict(self.groups), frame[self.cells].str.strip()
        of_group = identities[frame.index].groupby(cells).unique()
        for group, keys in of_group.drop(list(groups), errors="ignore").items():
            held = Counter(self.inherited[key] for key in keys if key in self.inherited)
            if 2 * held.total() > len(keys):
                groups[str(group)] = min(held, key=lambda side: (-held[side], list(Side).index(Side(side))))
        return self._replace(groups=groups)

    def moved(self, frame: "pd.DataFrame", identities: "pd.Series[str]") -> dict[int, str]:
        """The rows that the parent holds on another side than their group or time asks for, with their reason."""
        known = identities[frame.index].map(dict(self.inherited)).dropna()
        cells = frame.loc[known.index, self.cells].str.strip()
        wanted = _mapped(cells, _later_side(self.starts) if self.is_time else self.groups.get)
        return dict.fromkeys(known.index[wanted != known], OTHER_SIDE)

    def divide(self, rows: "pd.DataFrame", strata: "pd.Series[str]") -> tuple["pd.Series[str]", dict[str, str]]:
        """The side of each row and, of a split by time, at what moment each later side begins.

        Raises:
            DataError: A side is left without a row.
        """
        cells = rows[self.cells].str.strip()
        starts = (dict(self.starts) or _starts(cells, self)) if self.is_time else {}
        groups = {} if self.is_time else units.of_groups(cells, strata, self.groups, self.fractions)
        sides = _mapped(cells, _later_side(starts) if self.is_time else groups.__getitem__)
        _require_every_side(sides, cells, self)
        return sides.rename("split").astype("str"), starts


def _mapped(cells: "pd.Series[str]", function: Callable[[str], object]) -> "pd.Series":
    """A function of each cell, computed once for equal ones."""
    return cells.map({cell: function(cell) for cell in cells.unique()})


def _reasons(
    frame: "pd.DataFrame", bad: Sequence[bool], reason: str, column: str, wanted: str
) -> tuple[dict[int, str], str]:
    rows = [int(row) for row, is_bad in zip(frame.index, bad, strict=True) if is_bad]
    if not rows:
        return {}, ""
    cell = frame.loc[rows[0], f"source_{column}"]
    what = f"Row {rows[0]}, column {column!r}: {cell!r:.60} is not {wanted}."
    return dict.fromkeys(rows, reason), what


def _require_every_side(sides: "pd.Series[str]", cells: "pd.Series[str]", by: ByColumn) -> None:
    there = {*sides.unique()}
    if not (lacking := [str(side) for side in by.fractions if str(side) not in there]):
        return
    counts = Counter(cells.tolist())
    largest, rows = counts.most_common(1)[0]
    one = "moment" if by.is_time else "group"
    what = f"{by.name}: column {by.column!r} leaves the split {lacking[0]} without a row: of its {len(counts)} {one}s, "
    what += f"none of which is parted, {largest!r:.60} has {rows:,} of {len(cells):,} rows."
    raise DataError(what, f"Choose a column with more {one}s, or fewer splits: --no-holdout.")


def _kind_of(cells: Mapping[str, int]) -> str:
    """The kind of most cells, each with the rows that have it."""
    kinds = Counter[str]()
    for cell, rows in cells.items():
        if moment := _moment(cell):
            kinds[moment[0]] += rows
    return max(KINDS, key=lambda kind: kinds[kind])


def _moment(cell: str) -> tuple[str, Moment] | None:
    """Of a number, or an ISO date or time, its kind and a value that can be compared with others of the kind."""
    if len(cell) <= LONGEST and NUMBER.fullmatch(cell):
        return KINDS[2], Decimal(cell)
    try:
        time = datetime.fromisoformat(cell) if ISO.fullmatch(cell) else None
    except ValueError:
        return None
    return (KINDS[0] if time.tzinfo is None else KINDS[1], time) if time else None


def in_order(cells: "pd.Series[str]") -> "np.ndarray[Any, Any]":
    """The positions of cells of a column of times, the oldest first; of one moment as they come."""
    import numpy as np

    moments = [_value(cell) for cell in cells.str.strip()]
    return np.array(sorted(range(len(moments)), key=moments.__getitem__))


def _value(cell: str) -> Moment:
    found = _moment(cell)
    if found is None:
        raise DataError(f"{cell!r:.60} is no time.", "Report this bug: such rows are set aside.")
    return found[1]


def _later_side(starts: Mapping[str, str]) -> Callable[[str], str]:
    """The side of a cell: the last one that begins no later."""
    begins, sides = [_value(cell) for cell in starts.values()], [str(Side.TRAIN), *starts]
    return lambda cell: sides[bisect_right(begins, _value(cell))]


def _starts(cells: "pd.Series[str]", by: ByColumn) -> dict[str, str]:
    """The cells at which sides begin: between two moments, as near to the quotas as whole moments allow."""
    of_moment: dict[Moment, list[str]] = defaultdict(list)
    rows = Counter[Moment]()
    for cell, count in Counter(cells.tolist()).items():
        of_moment[_value(cell)].append(cell)
        rows[_value(cell)] += count
    moments = sorted(of_moment)
    before = [0, *accumulate(rows[moment] for moment in moments)]
    wanted = [*accumulate(split.apportion(len(cells), list(by.fractions.values())))]
    starts, first = dict[str, str](), 1
    for place, side in enumerate(by.later):
        last = len(moments) - len(by.later) + place  # each side after this one needs a moment
        if first > last:
            break
        at = min(range(first, last + 1), key=lambda each: abs(before[each] - wanted[place]))
        starts[side], first = min(of_moment[moments[at]]), at + 1
    return starts
