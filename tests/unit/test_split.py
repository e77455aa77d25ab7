"""Laws of the split: a partition, stable, in proportion, and the same for every order of rows."""

import hashlib
import math
import random
import unicodedata
from collections import Counter

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.names import Side
from lifecycle.data import split
from lifecycle.problems.text_classification import identity

sizes = st.tuples(st.integers(1, 60), st.integers(0, 39)).map(lambda sizes: (sizes[0] / 100, sizes[1] / 100))
fractions = sizes.map(lambda s: {Side.TRAIN: 1 - s[0] - s[1], Side.TEST: s[0], Side.HOLDOUT: s[1]})
strata = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=120)


def keys_of(count: int) -> list[str]:
    return [identity.text_key(f"text {number}") for number in range(count)]


def assign(keys: list[str], of: list[str], shares: dict[Side, float], kept: dict[str, str]) -> dict[str, str]:
    index = pd.RangeIndex(5, 5 + len(keys))  # rows left after a quarantine do not count from 0
    sides = split.assign(
        pd.Series(keys, index=index, dtype="str"), pd.Series(of, index=index, dtype="str"), shares, kept
    )
    assert sides.index.equals(index)
    return dict(zip(keys, sides, strict=True))


@given(st.integers(0, 100_000), fractions)
def test_apportion_divides_the_whole_by_less_than_one_from_exact(total: int, shares: dict[Side, float]) -> None:
    counts = split.apportion(total, list(shares.values()))
    assert sum(counts) == total
    assert all(abs(count - total * share) < 1 for count, share in zip(counts, shares.values(), strict=True))


@pytest.mark.parametrize(
    ("total", "shares", "counts"),
    [
        (10, [0.6, 0.2, 0.2], [6, 2, 2]),
        (5, [0.6, 0.2, 0.2], [3, 1, 1]),
        (4, [0.6, 0.2, 0.2], [2, 1, 1]),
        (1, [0.5, 0.5], [1, 0]),
        (10, [1 - 0.7 - 0.2, 0.7, 0.2], [1, 7, 2]),  # 1 - 0.7 - 0.2 is 0.10000000000000003
        (8, [1 - 0.05 - 0.15, 0.05, 0.15], [7, 0, 1]),  # 6.4, 0.4 and 1.2: a tie, but for the last digit of a float
        (0, [0.5, 0.5], [0, 0]),
    ],
)
def test_apportion_by_largest_remainder(total: int, shares: list[float], counts: list[int]) -> None:
    assert split.apportion(total, shares) == counts


@given(strata, fractions)
def test_each_side_holds_its_share_of_each_stratum(of: list[str], shares: dict[Side, float]) -> None:
    keys = keys_of(len(of))
    sides = assign(keys, of, shares, {})
    assert set(sides.values()) <= set(shares)
    for stratum, total in Counter(of).items():
        held = Counter(sides[key] for key, each in zip(keys, of, strict=True) if each == stratum)
        for side, share in shares.items():
            exact = round(total * share, 9)
            assert math.floor(exact) <= held[side] <= math.ceil(exact)


@given(strata, fractions, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(of: list[str], shares: dict[Side, float], chance: random.Random) -> None:
    keys = keys_of(len(of))
    kept = {key: str(Side.TEST) for key in keys[::7]}
    rows = list(zip(keys, of, strict=True))
    chance.shuffle(rows)
    assert assign([key for key, _ in rows], [each for _, each in rows], shares, kept) == assign(keys, of, shares, kept)


@given(strata, fractions, st.data())
def test_inherited_keys_keep_their_side_and_new_ones_make_up_what_is_missing(
    of: list[str], shares: dict[Side, float], data: st.DataObject
) -> None:
    keys = keys_of(len(of))
    some = st.dictionaries(st.sampled_from([*keys, "gone"]), st.sampled_from([str(side) for side in Side]))
    kept = data.draw(some)
    sides = assign(keys, of, shares, kept)
    assert {key: sides[key] for key in kept if key in sides} == {key: kept[key] for key in kept if key in sides}
    for stratum, total in Counter(of).items():
        members = [key for key, each in zip(keys, of, strict=True) if each == stratum]
        quotas = dict(zip(shares, split.apportion(total, list(shares.values())), strict=True))
        before, after = Counter(kept.get(key) for key in members), Counter(sides[key] for key in members)
        if all(before[side] <= quota for side, quota in quotas.items()):
            assert {side: after[side] for side in shares} == quotas
        assert all(after[side] == before[side] for side in shares if before[side] > quotas[side])


def test_the_split_is_the_same_on_every_machine() -> None:
    sides = assign(keys_of(10), ["a"] * 10, {Side.TRAIN: 0.6, Side.TEST: 0.2, Side.HOLDOUT: 0.2}, {})
    in_order = [sides[key] for key in sorted(sides)]
    assert in_order == ["train"] * 6 + ["test"] * 2 + ["holdout"] * 2
    assert identity.text_key(" Profit ROSE") == hashlib.sha256(b"profit rose").hexdigest()


@given(st.text())
def test_a_key_does_not_depend_on_composition_case_or_blanks(text: str) -> None:
    key = identity.text_key(text)
    for form in ("NFC", "NFD"):
        assert identity.text_key(unicodedata.normalize(form, text)) == key
    assert identity.text_key(unicodedata.normalize("NFD", text).casefold()) == key
    assert identity.text_key(f"\n {text}\u00a0") == key
    assert identity.text_key(text.replace(" ", "\t\n ")) == key
    assert identity.text_key(identity.normalised(text)) == key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Café", "CAFE\u0301"),
        ("Straße", "STRASSE"),
        ("\u0390", "\u03aa\u0301"),  # composed, and its capital in two parts
        ("\u03ac\u0345\u0301", "\u03b1\u0301\u0301\u03b9"),  # what case-folding adds is composed again
        ("a  b", " a\u3000b\n"),
    ],
)
def test_variants_of_a_text_have_one_key(one: str, other: str) -> None:
    assert identity.text_key(one) == identity.text_key(other)


def test_the_form_that_is_compared_is_composed_and_folded() -> None:
    assert identity.normalised(" Cafe\u0301\u00a0AU \n lait") == "café au lait"


@pytest.mark.parametrize(("one", "other"), [("ab", "a b"), ("cafe", "café"), ("1.5", "15"), ("a", "a."), ("", "0")])
def test_different_texts_have_different_keys(one: str, other: str) -> None:
    assert identity.text_key(one) != identity.text_key(other)
