"""Units are never parted, fill the quotas as nearly as they can, and leave no side empty."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.names import Side
from lifecycle.data import units
from lifecycle.data.units import Unit

SHARES = {Side.TRAIN: 0.6, Side.TEST: 0.2, Side.HOLDOUT: 0.2}
sizes = st.lists(st.integers(1, 8), min_size=1, max_size=40)


def place(made: list[Unit], empty: tuple[str, ...] = ()) -> tuple[dict[str, str], dict[str, Counter[str]]]:
    totals: Counter[str] = Counter()
    for unit in made:
        totals.update(unit.rows)
    chosen = units.place(made, units.rooms(totals, SHARES, {}), SHARES, empty)
    held = {stratum: Counter[str]() for stratum in totals}
    for unit in made:
        for stratum, count in unit.rows.items():
            held[stratum][chosen[unit.name]] += count
    return chosen, held


def units_of(counts: list[int]) -> list[Unit]:
    return [Unit(f"unit {number}", {"a": count}) for number, count in enumerate(counts)]


@given(sizes)
def test_each_unit_has_one_side_and_no_quota_is_missed_by_more_than_units_are_large(counts: list[int]) -> None:
    chosen, held = place(units_of(counts))
    assert {*chosen.values()} <= {str(side) for side in SHARES}
    assert len(chosen) == len(counts)
    for side, share in SHARES.items():
        assert held["a"][str(side)] <= share * sum(counts) + max(counts)


@given(sizes, st.randoms(use_true_random=False))
def test_the_order_of_units_does_not_matter(counts: list[int], chance: random.Random) -> None:
    made = units_of(counts)
    assert place(chance.sample(made, len(made)))[0] == place(made)[0]


@given(st.lists(st.integers(1, 50), min_size=3, max_size=12))
def test_no_side_stays_empty_where_there_are_units_for_each(counts: list[int]) -> None:
    chosen, _ = place(units_of(counts), tuple(str(side) for side in SHARES))
    assert {*chosen.values()} == {str(side) for side in SHARES}


def test_pairs_of_two_strata_fill_both_quotas_to_the_row() -> None:
    made = [Unit(f"{number}", {"ab"[number % 2]: 2}) for number in range(100)]
    _, held = place(made)
    assert held == {stratum: {"train": 60, "test": 20, "holdout": 20} for stratum in "ab"}


def test_large_units_come_first_and_small_ones_level_out() -> None:
    _, held = place(units_of([1] * 50 + [30, 20]))
    assert held["a"] == {"train": 60, "test": 20, "holdout": 20}


@pytest.mark.parametrize(
    ("taken", "room"),
    [
        ({}, {"train": 6, "test": 2, "holdout": 2}),
        ({"a": {"train": 8}}, {"train": -2, "test": 2, "holdout": 2}),
    ],
)
def test_what_is_taken_is_missing_no_more(taken: dict[str, dict[str, int]], room: dict[str, int]) -> None:
    assert units.rooms({"a": 10}, SHARES, taken) == {"a": room}
