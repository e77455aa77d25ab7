"""Laws of a division: near twins on one side, groups unparted, times in order, and nobody's side changes."""

import random
import string
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import hypothesis
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.errors import ConfigError, DataError
from lifecycle.core.names import Side
from lifecycle.data import division, split, twins
from lifecycle.data.division import Division, Earlier
from lifecycle.data.manifest import CreateDataRequest
from lifecycle.data.source import Source
from lifecycle.problems.text_classification import identity
from lifecycle.settings.rules import DataRules

examples = hypothesis.settings(deadline=None, max_examples=25)
SIDES = ["train", "test", "holdout"]
Row = tuple[str, str, str]
"""Text, label, and the cell that decides."""


def sentence(number: int, variant: int = 0) -> str:
    """Twenty words that no other number has; variants differ in one of them."""
    words = [f"{letter}{number}" for letter in string.ascii_lowercase[:20]]
    return " ".join([*words, f"variant{variant}"] if variant else words)


def request(near: str = "together", **arguments: Any) -> CreateDataRequest:
    return CreateDataRequest(
        data_root=Path("data"),
        data_name="news",
        data_version="1",
        source=Source(uri="news.csv"),
        rules=DataRules.model_validate({"near_duplicates": near}),
        **arguments,
    )


def divide(rows: list[Row], asked: CreateDataRequest, parent: Division | None = None) -> Division:
    """As `dataset.create` does."""
    frame = pd.DataFrame(rows, columns=["text", "label", "source_by"], index=range(1, len(rows) + 1), dtype="str")
    earlier = Earlier(parent.rows, parent.starts) if parent else Earlier()
    identities = division.identities(frame["text"].map(identity.text_key))
    if by := division.by_content(asked, earlier):
        by = by.settled(frame, identities)
        frame = frame.drop(index=[*by.moved(frame, identities)])
    frame = frame.rename_axis("row").reset_index().assign(key=[identity.text_key(text) for text in frame["text"]])
    return division.divide(frame, asked, by, earlier)


def sides(of: Division) -> dict[str, str]:
    return dict(zip(of.rows["text"], of.rows["split"], strict=True))


# numbers of a sentence with how many variants it has
families = st.lists(st.sampled_from([1, 1, 1, 2, 3]), min_size=40, max_size=80)


def table(sizes: list[int], start: int = 0) -> list[Row]:
    numbered = enumerate(sizes, start)
    return [(sentence(n, v), ("good", "bad")[n % 2], f"{n % 9}") for n, size in numbered for v in range(size)]


@examples
@given(families)
def test_near_twins_are_on_one_side_and_quotas_hold(sizes: list[int]) -> None:
    rows = table(sizes)
    made = divide(rows, request())
    where = sides(made)
    assert len(where) == len(rows)
    for number, size in enumerate(sizes):
        assert len({where[sentence(number, variant)] for variant in range(size)}) == 1
    assert made.near_duplicates
    assert made.near_duplicates.beside_train == {"test": 0, "holdout": 0}
    assert made.near_duplicates.rows == sum(size for size in sizes if size > 1)
    for label, total in Counter(label for _, label, _ in rows).items():
        held = Counter(where[text] for text, each, _ in rows if each == label)
        assert all(abs(held[side] - total * share) < 4 for side, share in zip(SIDES, (0.6, 0.2, 0.2), strict=True))


@examples
@given(families, st.randoms(use_true_random=False), st.sampled_from(["", "group_column", "time_column"]))
def test_the_order_of_rows_does_not_matter(sizes: list[int], chance: random.Random, column: str) -> None:
    rows, asked = table(sizes), request(**({column: "by"} if column else {}))
    assert sides(divide(chance.sample(rows, len(rows)), asked)) == sides(divide(rows, asked))


@examples
@given(st.integers(20, 60), st.sampled_from(["together", "count", "off"]))
def test_without_near_twins_the_split_is_what_it_was_before_they_were_kept(count: int, near: str) -> None:
    made = divide(table([1] * count), request(near))
    before = split.assign(made.rows["key"], made.rows["label"], request().fractions, {})
    assert made.rows["split"].tolist() == before.tolist()


@examples
@given(families)
def test_near_twins_are_only_counted_where_that_is_asked(sizes: list[int]) -> None:
    made = divide(table(sizes), request("count"))
    strata = made.rows["label"].map(lambda label: f'["{label}"]')
    assert made.rows["split"].tolist() == split.assign(made.rows["key"], strata, request().fractions, {}).tolist()
    where, near = sides(made), made.near_duplicates
    assert near
    texts = [(text, n) for n, size in enumerate(sizes) for text in (sentence(n, v) for v in range(size))]
    true = {(one, other) for (one, n), (other, m) in combinations(texts, 2) if n == m}
    assert (near.together, near.pairs) == (False, len(true))
    for side in ("test", "holdout"):
        found = {
            one for pair in true for one, other in (pair, pair[::-1]) if (where[one], where[other]) == (side, "train")
        }
        assert near.beside_train[side] == len(found)
    assert divide(table(sizes), request("off")).near_duplicates is None


@examples
@given(families, families, st.randoms(use_true_random=False))
def test_growth_keeps_every_side_and_new_twins_follow(
    first: list[int], second: list[int], chance: random.Random
) -> None:
    rows = table(first)
    parent = divide(rows, request())
    kept = [(text, chance.choice(("good", "bad")), by) for text, _, by in chance.sample(rows, len(rows) * 3 // 4)]
    copies = [(sentence(number, 9), "good", "") for number in range(len(first))]
    where = sides(divide([*copies, *table(second, start=1000), *kept], request(), parent))
    before = sides(parent)
    assert {text: where[text] for text, _, _ in kept} == {text: before[text] for text, _, _ in kept}
    assert [where[text] for text, _, _ in copies] == [before[sentence(number)] for number in range(len(first))]


@pytest.mark.parametrize("size", [2, 5, 9, 10, 19])
def test_every_class_is_on_every_side_whatever_its_twins(size: int) -> None:
    """Twins of a class too small for them are parted: else nothing could be measured of it."""
    rare = [(sentence(1000, variant), "rare", "") for variant in range(size)]
    rows = [*table([1] * 400), *rare, *((sentence(2000 + n), "rare", "") for n in range(max(0, 10 - size)))]
    made = divide(rows, request())
    assert set(made.rows.loc[made.rows["label"] == "rare", "split"]) == set(SIDES)
    assert made.near_duplicates
    assert made.near_duplicates.rows == size
    if size < 9:
        assert made.near_duplicates.beside_train == {"test": 0, "holdout": 0}


def test_a_new_class_of_copies_of_train_is_on_every_side_all_the_same() -> None:
    parent = divide(table([1] * 60), request())
    in_train = [text for text, side in sides(parent).items() if side == "train"]
    copies = [(f"{text} again", "rare", "") for text in in_train[:10]]
    made = divide([*table([1] * 60), *copies], request(), parent)
    assert set(made.rows.loc[made.rows["label"] == "rare", "split"]) == set(SIDES)
    assert sides(parent).items() <= sides(made).items()


grouped = st.lists(st.integers(1, 9), min_size=3, max_size=30)


def in_groups(sizes: list[int], start: int = 0) -> list[Row]:
    """Of each group as many rows, of both classes; no two texts are twins."""
    spread = [group for group, size in enumerate(sizes, start) for _ in range(size)]
    return [(sentence(1000 * start + n), ("good", "bad")[n % 2], f"group {group}") for n, group in enumerate(spread)]


def try_divide(rows: list[Row], asked: CreateDataRequest, parent: Division | None = None) -> Division:
    """A class may have all its rows in groups that are held out: no law speaks of that."""
    try:
        return divide(rows, asked, parent)
    except DataError as error:
        hypothesis.assume("has no row in train" not in str(error))
        raise


@examples
@given(grouped, grouped)
def test_no_group_is_on_two_sides_and_a_known_one_keeps_its_side(first: list[int], second: list[int]) -> None:
    asked = request(group_column="by")
    parent = try_divide(in_groups(first), asked)
    assert set(parent.rows["split"]) == set(SIDES)
    more = [(sentence(10**6 + n), "good", f"group {n % len(first)}") for n in range(20)]
    grown = try_divide([*in_groups(second, start=len(first)), *more, *in_groups(first)], asked, parent)
    for made in (parent, grown):
        assert made.rows.groupby("source_by")["split"].nunique().max() == 1
    assert sides(parent).items() <= sides(grown).items()
    before = dict(zip(parent.rows["source_by"], parent.rows["split"], strict=True))
    after = dict(zip(grown.rows["source_by"], grown.rows["split"], strict=True))
    assert before.items() <= after.items()


def test_groups_fill_the_quotas_of_classes() -> None:
    made = divide(in_groups([5] * 100), request(group_column="by"))
    counts = made.rows.groupby(["label", "split"]).size()
    assert all(abs(counts["good", side] - 250 * share) <= 5 for side, share in zip(SIDES, (0.6, 0.2, 0.2), strict=True))


def test_near_twins_are_counted_where_a_column_decides_and_do_not_move_its_groups() -> None:
    rows = [(sentence(n, variant), ("good", "bad")[n % 2], f"{variant}") for n in range(20) for variant in range(3)]
    made = divide(rows, request(group_column="by"))
    assert made.rows.groupby("source_by")["split"].nunique().max() == 1
    assert made.near_duplicates
    assert made.near_duplicates.together is False
    assert made.near_duplicates.beside_train == {"test": 20, "holdout": 20}


@pytest.mark.parametrize("groups", [1, 2])
def test_too_few_groups_are_refused(groups: int) -> None:
    rows = [(text, label, f"g{n % groups}") for n, (text, label, _) in enumerate(table([1] * 30))]
    with pytest.raises(DataError, match=rf"column 'by' leaves the split .* without a row: of its {groups} groups"):
        divide(rows, request(group_column="by"))


def test_a_group_under_a_new_name_keeps_its_side_and_a_text_that_changes_its_group_is_set_aside() -> None:
    rows, asked = in_groups([4] * 12), request(group_column="by")
    parent = divide(rows, asked)
    renamed = [(text, label, group.replace("group", "customer")) for text, label, group in rows]
    assert sides(divide(renamed, asked, parent)) == sides(parent)
    side_of = dict(zip(parent.rows["source_by"], parent.rows["split"], strict=True))
    train, held = (next(group for group, side in side_of.items() if side == wanted) for wanted in ("train", "holdout"))
    moving = next(text for text, _, group in rows if group == train)
    swapped = [(text, label, held if text == moving else group) for text, label, group in rows]
    assert sides(parent).items() - sides(divide(swapped, asked, parent)).items() == {(moving, "train")}


moments = st.lists(st.integers(0, 30), min_size=20, max_size=80)


def at(times: list[int], start: int = 0) -> list[Row]:
    return [(sentence(start + n), ("good", "bad")[n % 2], f"2026-01-{1 + time:02}") for n, time in enumerate(times)]


@examples
@given(moments, moments)
def test_by_time_no_row_is_older_than_one_of_an_earlier_side(first: list[int], second: list[int]) -> None:
    hypothesis.assume(len({*first}) >= 3)
    asked = request(time_column="by")
    parent = try_divide(at(first), asked)
    grown = try_divide([*at(second, start=1000), *at(first)], asked, parent)
    for made in (parent, grown):
        assert set(made.rows["split"]) == set(SIDES)
        bounds = made.rows.groupby("split")["source_by"].agg(["min", "max"])
        assert bounds.loc["train", "max"] < bounds.loc["test", "min"]
        assert bounds.loc["test", "max"] < bounds.loc["holdout", "min"]
    assert sides(parent).items() <= sides(grown).items()
    assert (
        grown.starts
        == parent.starts
        == {side: parent.rows.loc[parent.rows["split"] == side, "source_by"].min() for side in SIDES[1:]}
    )


def test_distinct_times_fill_the_quotas_to_the_row() -> None:
    rows = [(sentence(n), ("good", "bad")[n % 2], str(n - 50)) for n in range(100)]
    made = divide(rows, request(time_column="by"))
    assert Counter(made.rows["split"]) == {"train": 60, "test": 20, "holdout": 20}
    assert made.starts == {"test": "10", "holdout": "30"}
    newer = [*rows, *((sentence(1000 + n), "good", str(n)) for n in range(50, 70))]
    assert Counter(divide(newer, request(time_column="by"), made).rows["split"])["holdout"] == 40


def test_two_moments_cannot_fill_three_sides() -> None:
    with pytest.raises(DataError, match="leaves the split test without a row: of its 2 moments"):
        divide(at([0, 1] * 20), request(time_column="by"))
    made = divide(at([0, 0, 1, 1] * 10), request(time_column="by", holdout=False))
    with pytest.raises(ConfigError, match=r"divided into train, test; these sizes ask for train, test, holdout"):
        divide(at([0, 1, 2] * 20), request(time_column="by"), made)


@pytest.mark.parametrize(
    ("cells", "bad"),
    [
        (["2026-01-01", "2026-01-01T12:30", "2026-01-01 12:30:59.5"], []),
        (["2026-01-01T12:30Z", "2026-01-01T12:30+02:00"], []),
        (["1", "-1.5", "1e3", " 7 "], []),
        (
            ["2026-01-01", "2026-02-30", "2026-W01-1", "20260101", "01.02.2026", "today", "", "２０２６-01-01"],
            [2, 3, 4, 5, 6, 7, 8],
        ),
        (["2026-01-01", "2026-01-02", "2026-01-01T12:30Z"], [3]),
        (["1", "2", "007", "NaN", "inf", "1,5"], [3, 4, 5, 6]),
    ],
)
def test_a_time_is_an_iso_date_or_a_number_as_most_of_them_are(cells: list[str], bad: list[int]) -> None:
    frame = pd.DataFrame({"source_by": cells}, index=range(1, len(cells) + 1), dtype="str")
    by = division.by_content(request(time_column="by"), Earlier())
    assert by
    reasons, said = by.unfit(frame)
    assert reasons == dict.fromkeys(bad, "no_time")
    assert said.startswith(f"Row {bad[0]}, column 'by': {cells[bad[0] - 1]!r} is not" if bad else "")


def test_times_are_of_the_kind_that_the_parent_has() -> None:
    frame = pd.DataFrame({"source_by": ["1", "2", "2026-05-01"]}, index=[1, 2, 3], dtype="str")
    by = division.by_content(request(time_column="by"), Earlier(starts={"holdout": "2026-03-01", "test": "2026-02-01"}))
    assert by
    assert list(by.starts) == ["test", "holdout"]
    assert by.unfit(frame)[0] == {1: "no_time", 2: "no_time"}


def test_numbers_are_compared_to_the_last_digit_and_times_across_offsets() -> None:
    nanoseconds = [str(1764288000000000000 + n) for n in range(30)]
    made = divide(
        [(sentence(n), ("good", "bad")[n % 2], cell) for n, cell in enumerate(nanoseconds)], request(time_column="by")
    )
    assert made.starts == {"test": nanoseconds[18], "holdout": nanoseconds[24]}
    zones = ["2026-01-01T00:00+02:00", "2025-12-31T23:00Z", "2026-01-01T00:00-05:00"]
    made = divide(
        [(sentence(n), ("good", "bad")[n // 3 % 2], zones[n % 3]) for n in range(30)], request(time_column="by")
    )
    assert made.starts == {"test": zones[1], "holdout": zones[2]}


BAD: list[tuple[dict[str, Any], str]] = [
    ({"group_column": "a", "time_column": "b"}, "not by both"),
    ({"time_column": "a", "stratify": ("label",)}, "leave stratify out"),
    ({"group_column": "label"}, "must differ from text_column and label_column"),
    ({"time_column": "text"}, "must differ from text_column and label_column"),
]


@pytest.mark.parametrize(("arguments", "fragment"), BAD)
def test_what_cannot_be_asked_together_is_refused(arguments: dict[str, Any], fragment: str) -> None:
    with pytest.raises(ValueError, match=fragment):
        request(**arguments)


def test_sides_are_named_as_everywhere() -> None:
    assert [str(side) for side in Side] == SIDES
    assert twins.SIMILARITY == 0.75  # what versions say of themselves
