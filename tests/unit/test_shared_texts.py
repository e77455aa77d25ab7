"""Laws of a split by shared texts: no text of a pair is on two sides, and what was held out stays held out."""

from random import Random

import hypothesis
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.errors import ConfigError, DataError
from lifecycle.core.names import Side
from lifecycle.data import dataset
from lifecycle.data.manifest import Manifest
from lifecycle.data.shared_texts import BySharedTexts
from lifecycle.data.source import Source
from lifecycle.problems.text_classification.identity import normalised
from lifecycle.problems.text_pair_classification.identity import pair_key
from lifecycle.settings import Settings
from tests.pairs import CLASSES

BOTH = ("one", "other")
FRACTIONS = {Side.TRAIN: 0.6, Side.TEST: 0.2, Side.HOLDOUT: 0.2}
APART = [(f"a text {number}", f"its own {number}") for number in range(10)]
"""Pairs that share nothing, so that there is something for each split."""
TEXTS = [f"{word}{number}" for number in range(12) for word in ("text ", "TEXT  ")]
PAIRS = st.lists(st.tuples(st.sampled_from(TEXTS), st.sampled_from(TEXTS)), max_size=40)
ANY = st.sampled_from([*TEXTS, *(text for pair in APART for text in pair)])


def split(pairs: list[tuple[str, str]], known: dict[str, str]) -> tuple[pd.DataFrame, dict[int, str]]:
    """As `dataset.create` does: what joins two sides goes, of equal pairs the first one stays."""
    by = BySharedTexts(BOTH, "pairs.csv", FRACTIONS, known)
    rows = pd.DataFrame(pairs, columns=[*BOTH], index=range(1, len(pairs) + 1), dtype="str")
    rows["key"] = [pair_key(*pair) for pair in pairs]
    moved = by.moved(rows, rows["key"])
    kept = rows.drop(index=[*moved]).drop_duplicates("key")
    return kept.assign(split=by.divide(kept, pd.Series("", index=kept.index))[0]), moved


def sides_of(rows: pd.DataFrame) -> dict[str, set[str]]:
    sides: dict[str, set[str]] = {}
    for name in BOTH:
        for text, side in zip(rows[name].map(normalised), rows["split"], strict=True):
            sides.setdefault(text, set()).add(side)
    return sides


@given(
    PAIRS.map(lambda pairs: APART + pairs),
    st.lists(st.tuples(ANY, ANY), max_size=40),
    st.randoms(use_true_random=False),
)
def test_no_text_is_on_two_sides_also_when_the_data_grow(
    pairs: list[tuple[str, str]], more: list[tuple[str, str]], random: Random
) -> None:
    try:
        first, moved = split(pairs, {})
    except DataError:
        hypothesis.reject()
    assert not moved, "without a parent nothing joins two sides"
    assert all(len(of) == 1 for of in sides_of(first).values())

    before = {text: of.pop() for text, of in sides_of(first).items()}
    grown = [*pairs, *more]
    then, moved = split(grown, before)
    after = sides_of(then)
    assert all(len(of) == 1 for of in after.values())
    assert all(after[text] == {side} for text, side in before.items()), "every text keeps its side"
    assert not {*moved} & {*range(1, len(pairs) + 1)}, "no row of the parent is set aside"
    kept = {*moved}
    for row in kept:
        texts = [after.get(normalised(text), set()) for text in grown[row - 1]]
        assert len(set.union(*texts)) > 1, "only what would join two sides is set aside"

    random.shuffle(grown)
    again, _ = split(grown, before)
    sides = [dict(zip(of["key"], of["split"], strict=True)) for of in (then, again)]
    assert sides[0] == sides[1], "whatever the order of the rows"


def write(config: Settings, rows: pd.DataFrame, version: str = "1", **arguments: object) -> Manifest:
    path = config.datasets.parent / f"pairs-{version}.csv"
    rows.to_csv(path, index=False)
    options: dict[str, object] = {"problem": "text-pair-classification", "target": "label"}
    options |= {"columns": dict.fromkeys(BOTH, "text"), "group_texts": True, **arguments}
    request = dataset.state(config, Source(uri=str(path)), data_name="pairs", data_version=version, **options)
    dataset.create(request)
    return dataset.verify(config.datasets, "pairs", version)


def table(groups: int = 40, size: int = 3) -> pd.DataFrame:
    """Groups of pairs that share their first text, with one of another's second text as first one."""
    rows = [
        (f"first text {group}", f"second text {group} {place}", CLASSES[(group + place) % 3])
        for group in range(groups)
        for place in range(size)
    ]
    rows += [(f"second text {group} 0", f"a third text {group}", CLASSES[group % 3]) for group in range(groups)]
    return pd.DataFrame(rows, columns=[*BOTH, "label"])


def test_a_grown_version_sets_aside_what_would_join_two_sides_and_says_so(config: Settings) -> None:
    rows = table()
    made = write(config, rows)
    assert made.told == ["No text of a pair is on two splits"]
    kept = dataset.load_rows(config.datasets, "pairs", "1")
    assert all(len(of) == 1 for of in sides_of(kept).values())
    of_side = kept.groupby("split")["one"].first()
    new = [
        (of_side["train"], of_side["holdout"], "neutral"),
        (of_side["holdout"], "something new", "neutral"),
        ("something NEW", "something newer", "entailment"),
        (" ", of_side["test"], "neutral"),
        (" ", of_side["train"], "neutral"),
    ]
    grown = pd.concat([rows, pd.DataFrame(new, columns=rows.columns)], ignore_index=True)
    manifest = write(config, grown, "2")
    assert manifest.quarantined == {"blank_text": 2, "other_side": 1}
    then = dataset.load_rows(config.datasets, "pairs", "2").set_index("other")["split"]
    assert then["something new"] == then["something newer"] == "holdout"
    without = write(config, rows, "2b", parent="1", holdout=False)
    assert "holdout" in without.counts, "what was held out stays held out"
    with pytest.raises(ConfigError, match="was made with --group-texts, and its texts keep their splits"):
        write(config, grown, "3", parent="2", group_texts=False)


def test_one_large_group_is_told_of_and_leaves_no_empty_split(
    config: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    chain = [(f"text {n}", f"text {n + 1}", CLASSES[n % 3]) for n in range(120)]
    rows = pd.DataFrame(chain, columns=[*BOTH, "label"])
    with pytest.raises(DataError, match="the largest has 120 of 120 rows") as refused:
        write(config, rows)
    assert "by: group, column: one" in refused.value.fix
    assert not (config.datasets / "pairs").exists()
    rest = table(groups=3, size=3)
    write(config, pd.concat([rows, rest], ignore_index=True), holdout=False)
    assert "the split test has 9.1% of the rows, not 20%" in caplog.text
    assert "the largest has 120 of 132 rows (90.9%)" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"group_column": "one"}, "not by both"),
        ({"time_column": "day"}, "not by both"),
        ({"problem": "text-classification", "columns": {"one": "text"}}, "has no pairs of texts"),
    ],
)
def test_what_cannot_be_split_by_texts_is_refused(config: Settings, arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        write(config, table(), **arguments)
    assert not (config.datasets / "pairs").exists()
