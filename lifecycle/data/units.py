"""Rows that are not to be parted, near twins or the rows of a group: whole units fill the quotas of the sides."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from lifecycle.core.names import Side
from lifecycle.data.split import apportion
from lifecycle.problems.text_classification.identity import text_key

if TYPE_CHECKING:
    import pandas as pd

Rooms = Mapping[str, Mapping[str, int]]
"""Per stratum and side how many rows are missing to the quota; below zero where there are too many."""


class Unit(NamedTuple):
    """Some rows: a name that orders them, and how many there are of each stratum."""

    name: str
    rows: Mapping[str, int]


def rooms(totals: Mapping[str, int], fractions: Mapping[Side, float], taken: Mapping[str, Mapping[str, int]]) -> Rooms:
    """What is missing to the quotas of strata with `totals` rows, some of which are `taken`."""
    quotas = {stratum: apportion(total, list(fractions.values())) for stratum, total in totals.items()}
    return {
        stratum: {
            str(side): quota - taken.get(stratum, {}).get(str(side), 0)
            for side, quota in zip(fractions, of_stratum, strict=True)
        }
        for stratum, of_stratum in quotas.items()
    }


def place(
    units: Iterable[Unit], room: Rooms, fractions: Mapping[Side, float], empty: Collection[str] = ()
) -> dict[str, str]:
    """Give each unit a side, by name.

    Large ones come first, so that small ones can level out; among those of about one size, and among equals, names
    decide. Each goes where it exceeds the quotas of its strata least, and of such sides to the one that is furthest
    behind its share of what was placed: every side gets its part of the units, not what is left of them. The last
    units go to sides that are `empty` otherwise.
    """
    waiting = sorted(units, key=lambda unit: (-sum(unit.rows.values()).bit_length(), unit.name))
    shares = {stratum: _shares(of_stratum, fractions) for stratum, of_stratum in room.items()}
    placed: dict[str, Counter[str]] = defaultdict(Counter)
    vacant, chosen = set(empty), dict[str, str]()
    for left, unit in zip(range(len(waiting), 0, -1), waiting, strict=True):
        sides = [str(side) for side in fractions if left > len(vacant) or str(side) in vacant]
        costs = [(_excess(unit, side, room, placed), -_behind(unit, side, shares, placed)) for side in sides]
        chosen[unit.name] = side = sides[costs.index(min(costs))]
        vacant.discard(side)
        for stratum, count in unit.rows.items():
            placed[stratum][side] += count
    return chosen


def of_groups(
    groups: "pd.Series[str]", strata: "pd.Series[str]", known: Mapping[str, str], fractions: Mapping[Side, float]
) -> dict[str, str]:
    """The side of each group of rows: of those with a known one that, of the others as the quotas ask for."""
    held: dict[str, Counter[str]] = defaultdict(Counter)
    for (group, stratum), count in Counter(zip(groups.tolist(), strata.tolist(), strict=True)).items():
        held[group][stratum] = count
    settled = {group: side for group, side in known.items() if group in held}
    taken: dict[str, Counter[str]] = defaultdict(Counter)
    for group, side in settled.items():
        for stratum, count in held[group].items():
            taken[stratum][side] += count
    names = {text_key(f"group {group!r}"): group for group in held if group not in settled}
    empty = {str(side) for side in fractions} - {*settled.values()}
    room = rooms(Counter(strata), fractions, taken)
    fresh = place((Unit(name, held[group]) for name, group in names.items()), room, fractions, empty)
    return settled | {names[name]: side for name, side in fresh.items()}


def _shares(room: Mapping[str, int], fractions: Mapping[Side, float]) -> dict[str, float]:
    missing = {side: max(0, count) for side, count in room.items()}
    total = sum(missing.values())
    return {str(side): missing[str(side)] / total if total else share for side, share in fractions.items()}


def _excess(unit: Unit, side: str, room: Rooms, placed: Mapping[str, Counter[str]]) -> int:
    return sum(max(0, placed[stratum][side] + count - room[stratum][side]) for stratum, count in unit.rows.items())


def _behind(
    unit: Unit, side: str, shares: Mapping[str, Mapping[str, float]], placed: Mapping[str, Counter[str]]
) -> float:
    behind = 0.0
    for stratum, count in sorted(unit.rows.items()):  # a sum of floats depends on the order
        behind += count * (shares[stratum][side] * (placed[stratum].total() + count) - placed[stratum][side])
    return round(behind, 9)
