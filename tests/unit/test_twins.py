"""Near twins: no false pair, hardly one overlooked, the same for every order and machine; groups stay small.

Promise: Near twins and groups are in one split, by time the newest rows are held out; no text changes its split when
data grows (also `tests/unit/test_division.py`).
"""

import hashlib
import random
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.data import twins
from lifecycle.data.twins import Pair
from lifecycle.problems.text_classification import identity
from lifecycle.problems.text_pair_classification.identity import pair_key

sentences = st.lists(
    st.sampled_from(["the", "cat", "sat", "on", "a", "mat", "and", "saw", "two", "dogs"]), min_size=1, max_size=12
)
tables = st.lists(sentences.map(" ".join), max_size=40)
PARCEL = "your parcel {} is waiting at the shop around the corner until friday evening"


def by_key(texts: list[str]) -> dict[str, tuple[str, ...]]:
    return {identity.text_key(text): (text,) for text in texts}


def similarity(one: tuple[str, ...], other: tuple[str, ...]) -> float:
    """Of the texts that are least alike."""
    shingles = [(twins.shingles(text), twins.shingles(another)) for text, another in zip(one, other, strict=True)]
    return min(len(first & second) / len(first | second) for first, second in shingles)


@given(tables)
def test_each_pair_is_a_true_one_and_stands_once(texts: list[str]) -> None:
    keyed = by_key(texts)
    found = twins.pairs(keyed)
    assert all(pair.similarity == similarity(keyed[pair.one], keyed[pair.other]) >= 0.75 for pair in found)
    assert len({pair[:2] for pair in found}) == len(found)
    assert all(pair.one < pair.other for pair in found)


@given(st.lists(st.tuples(sentences.map(" ".join), sentences.map(" ".join)), max_size=30))
def test_a_row_of_two_texts_is_a_twin_of_another_one_if_both_of_its_texts_are(rows: list[tuple[str, str]]) -> None:
    keyed = {pair_key(*row): row for row in rows}
    found = twins.pairs(keyed)
    assert all(pair.similarity == similarity(keyed[pair.one], keyed[pair.other]) >= 0.75 for pair in found)


def test_a_long_text_in_common_makes_no_twins_of_pairs_whose_other_texts_differ_nor_of_turned_ones() -> None:
    long = " ".join(f"w{number}" for number in range(60))
    rows = [(long, "it is short"), (long, "who knows"), ("it is short", long), (f"{long} indeed", "It is short.")]
    (pair,) = twins.pairs({pair_key(*row): row for row in rows})
    assert {*pair[:2]} == {pair_key(*rows[0]), pair_key(*rows[3])}


def test_hardly_a_pair_is_overlooked() -> None:
    chance = random.Random(0)
    words = [f"word{number}" for number in range(400)]
    bases = [chance.sample(words, chance.randint(6, 25)) for _ in range(150)]
    copies = [[*base[: (cut := chance.randrange(len(base)))], chance.choice(words), *base[cut + 1 :]] for base in bases]
    keyed = by_key([" ".join(text) for text in (*bases, *copies)])
    true = {pair for pair in combinations(sorted(keyed), 2) if similarity(*(keyed[key] for key in pair)) >= 0.75}
    assert len(true) > 50
    assert len({pair[:2] for pair in twins.pairs(keyed)}) >= 0.99 * len(true)


@given(tables, st.randoms(use_true_random=False))
def test_the_order_of_texts_does_not_matter(texts: list[str], chance: random.Random) -> None:
    shuffled = chance.sample(texts, len(texts))
    assert twins.pairs(by_key(shuffled)) == twins.pairs(by_key(texts))


def test_the_hashes_are_the_same_on_every_machine() -> None:
    (hashes,) = twins._hashes(twins._Words([("Profit rose by 5 %",), ("日本語",), (":-)",)]))
    assert hashes.shape == (3, 125)
    assert (
        hashlib.sha256(hashes.astype("<u4").tobytes()).hexdigest()
        == "1dc2e4a0c6b9d87de4ad2e598c1025727279e756ed310138f37be0d5b69dcc32"
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("We will never fly with them again", "RT @someone: We will never fly with them again!!"),
        ("good service https://t.co/abc", "Good service https://t.co/xyz"),
        ("@ann thanks", "@bob thanks"),
        (PARCEL.format(17), PARCEL.format(4711)),
        ("今日はとても良い天気ですね明日も晴れるでしょう", "今日はとても良い天気ですね明日も晴れるでしょうか"),
    ],
)
def test_copies_are_near_twins(one: str, other: str) -> None:
    assert len(twins.pairs(by_key([one, other]))) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("text 1", "text 2"),
        ("profit rose by 5 percent", "profit fell by 5 percent"),
        ("the dog bites a man", "a man bites the dog"),
        (":-)", ":-("),
        ("https://t.co/abc", "https://t.co/xyz"),
        ("@ann", "@bob"),
        ("👍", "👎"),
    ],
)
def test_texts_that_say_something_else_are_none(one: str, other: str) -> None:
    assert twins.pairs(by_key([one, other])) == []


def test_no_text_and_one_text_have_no_twin() -> None:
    assert twins.pairs({}) == twins.pairs(by_key(["alone"])) == []


def test_a_template_costs_a_bounded_number_of_pairs_and_hangs_together() -> None:
    keyed = by_key([PARCEL.format(number) for number in range(300)])
    found = twins.pairs(keyed)
    assert len(found) <= twins.NEIGHBOURS * len(keyed)
    _, groups = twins.linked(found, 100 * len(keyed), {})
    assert [len(group) for group in groups] == [300]


def test_a_chain_of_likeness_does_not_join_half_a_table() -> None:
    words = [f"w{number}" for number in range(230)]
    keyed = by_key([" ".join(words[start : start + 30]) for start in range(200)])
    _, groups = twins.linked(twins.pairs(keyed), len(keyed), {})
    assert 5 < max(len(group) for group in groups) <= 10


def linked(*pairs: tuple[str, str, float], **inherited: str) -> tuple[dict[str, str], list[list[str]]]:
    return twins.linked([Pair(*pair) for pair in pairs], 100, inherited)


def test_a_new_text_goes_to_the_side_of_its_most_similar_inherited_twin() -> None:
    assert linked(("a", "new", 0.9), ("b", "new", 0.8), a="holdout", b="train") == ({"new": "holdout"}, [])
    assert linked(("b", "new", 0.9), ("a", "new", 0.9), a="holdout", b="train") == ({"new": "train"}, [])


def test_a_twin_of_a_new_twin_follows_it() -> None:
    assert linked(("new", "newer", 0.9), ("a", "new", 0.8), a="test") == ({"new": "test", "newer": "test"}, [])


def test_inherited_texts_on_two_sides_are_not_joined_by_a_new_one() -> None:
    sides, groups = linked(("a", "one", 0.9), ("one", "two", 0.85), ("b", "two", 0.8), a="train", b="test")
    assert (sides, groups) == ({"one": "train", "two": "test"}, [])


def test_a_known_side_has_room_for_every_direct_twin() -> None:
    many = [f"new{number}" for number in range(50)]
    sides, _ = linked(*(("a", new, 0.9) for new in many), a="holdout")
    assert sides == dict.fromkeys(many, "holdout")


@given(tables, st.data())
def test_a_side_is_only_given_to_new_texts_and_no_text_is_in_two_groups(texts: list[str], data: st.DataObject) -> None:
    keyed = by_key(texts)
    known = data.draw(st.dictionaries(st.sampled_from([*keyed, "gone"]), st.sampled_from(["train", "holdout"])))
    sides, groups = twins.linked(twins.pairs(keyed), len(keyed), known)
    free = [key for group in groups for key in group]
    assert len({*free}) == len(free)
    assert not {*free, *sides} & {*known}
    assert not {*free} & {*sides}
