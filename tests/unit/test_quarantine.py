"""What is set aside before a split: one bad row is not a bad table, and a bad table is not many bad rows."""

import csv
import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle import settings
from lifecycle.core.errors import DataError
from lifecycle.data import dataset
from lifecycle.data.manifest import CreateDataRequest, Manifest
from lifecycle.data.quarantine import set_aside, wanted
from lifecycle.data.source import Source
from lifecycle.problems.text_classification import identity
from lifecycle.settings.rules import DataRules
from tests.conftest import tree

Rows = Iterable[tuple[str, str]]
SIDES = (0.6, 0.2, 0.2)  # five rows for one on every side


def two_classes(rows: int) -> list[tuple[str, str]]:
    return [(f"text {number}", ("positive", "negative")[number % 2]) for number in range(rows)]


def of_class(label: str, rows: int) -> list[tuple[str, str]]:
    return [(f"{label} number {number}", label) for number in range(rows)]


def plan(root: Path, rows: Rows, data_version: str = "1.0.0", **rules: Any) -> CreateDataRequest:
    source = root / f"{data_version}.csv"
    with source.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    config = settings.load("dev", home=root, data={"rare_classes": "quarantine", **rules})
    return dataset.plan(config, Source(uri=str(source)), data_name="news", data_version=data_version)


def make(root: Path, rows: Rows, data_version: str = "1.0.0", **rules: Any) -> Manifest:
    request = plan(root, rows, data_version, **rules)
    dataset.check_source(request)
    dataset.create(request)
    return dataset.load(root / "data", "news", data_version)


def aside(root: Path, data_version: str = "1.0.0") -> dict[int, tuple[str, int | None]]:
    found = pd.read_parquet(root / "data" / "news" / data_version / "quarantine.parquet")
    kept = [None if pd.isna(row) else int(row) for row in found["kept_row"]]
    return dict(zip(found["row"], zip(found["reason"], kept, strict=True), strict=True))


# Classes too small for every side


def test_a_mistyped_class_is_set_aside_and_the_class_that_was_meant_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "lifecycle"):
        manifest = make(tmp_path, [*two_classes(60), ("a slip", "Positve"), *of_class("odd", 4)])
    assert manifest.classes == ("negative", "positive")
    assert manifest.quarantined == {"rare_class": 5}
    assert aside(tmp_path) == dict.fromkeys(range(61, 66), ("rare_class", None))
    told = [record.message for record in caplog.records]
    assert told == [
        "Set aside the rows of classes with fewer than 5, too few for every split: "
        "'Positve' (1 row, did you mean 'positive'?); 'odd' (4 rows)"
    ]


@pytest.mark.parametrize(("rows", "rare"), [(4, True), (5, False)])
def test_a_class_is_rare_if_it_cannot_be_on_every_side(tmp_path: Path, rows: int, rare: bool) -> None:
    manifest = make(tmp_path, [*two_classes(60), *of_class("odd", rows)])
    assert ("odd" in manifest.classes, manifest.rows_quarantined) == (not rare, rows if rare else 0)


def test_repeats_make_no_class_larger_and_name_no_row_that_is_not_kept(tmp_path: Path) -> None:
    manifest = make(tmp_path, [*two_classes(60), *of_class("odd", 3), *of_class("odd", 3), *two_classes(1)])
    assert manifest.quarantined == {"duplicate": 1, "rare_class": 6}
    assert aside(tmp_path)[67] == ("duplicate", 1)


def test_what_other_rules_set_aside_does_not_count_for_a_class(tmp_path: Path) -> None:
    rows = [*two_classes(60), *of_class("odd", 5), (" ", "odd"), ("ODD number 0", "positive")]
    make(tmp_path, rows)
    assert Counter(reason for reason, _ in aside(tmp_path).values()) == {
        "blank_text": 1,
        "conflicting_label": 2,
        "rare_class": 4,
    }


def refused(request: CreateDataRequest) -> tuple[str, str]:
    """What both the look at the source and the ingest say; neither leaves anything."""
    before = tree(request.data_root.parent)
    with pytest.raises(DataError) as early:
        dataset.check_source(request)
    with pytest.raises(DataError) as late:
        dataset.create(request)
    assert tree(request.data_root.parent) == before
    return str(early.value), str(late.value)


def test_unless_rare_classes_are_tolerated_nothing_is_made(tmp_path: Path) -> None:
    assert DataRules().rare_classes == "fail"
    for message in refused(plan(tmp_path, [*two_classes(60), ("a slip", "positve")], rare_classes="fail")):
        assert "class 'positve' of column 'label' has 1 usable rows" in message
        assert "it needs 5 at these sizes" in message
        assert "Rare are 'positve' (1 row, did you mean 'positive'?). " in message
        assert message.endswith("set data.rare_classes to quarantine.")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([*two_classes(60), *((f"note {n}", f"id {n}") for n in range(40))], "40 of 100 rows .*rare_class 40.*row 61"),
        ([*two_classes(60), *((f"note {n}", f"id {n}") for n in range(40))], r"'id 0' \(1 row\).* 35 more"),
        ([*two_classes(60), *((f"note {n}", f"id {n}") for n in range(40))], "choose another --label-column"),
        ([(f"note {n}", f"id {n}") for n in range(60)], "60 different values in 60 rows: they are texts or ids"),
        ([*of_class("one", 60), *of_class("odd", 2)], "class 'odd' of column 'label' has 2 usable rows"),
        (of_class("one", 60), "1 class is left in column 'label'"),
    ],
)
def test_a_column_that_holds_no_classes_is_refused(tmp_path: Path, rows: Rows, words: str) -> None:
    for message in refused(plan(tmp_path, rows)):
        assert pytest.raises(DataError, match=words).matches(DataError(message)), message


def test_rare_classes_count_beside_what_else_is_wrong(tmp_path: Path) -> None:
    blank = [(" ", "positive")] * 12
    rows = [*two_classes(60), *of_class("odd", 4), *of_class("strange", 4)]
    assert make(tmp_path, [*rows, *blank]).rows_quarantined == 20  # of 80: the quarter that is allowed
    with pytest.raises(DataError, match=r"21 of 81 rows .*blank_text 13, rare_class 8"):
        dataset.create(plan(tmp_path, [*rows, *blank, blank[0]], "2.0.0"))


def test_a_class_of_the_parent_is_not_lost_because_it_has_lost_rows(tmp_path: Path) -> None:
    make(tmp_path, [*two_classes(60), *of_class("odd", 6)])
    request = plan(tmp_path, [*two_classes(60), *of_class("odd", 2), ("a slip", "o")], "2.0.0")
    before = tree(tmp_path)
    with pytest.raises(DataError, match=r"class 'odd' .* has 2 usable rows.*The parent version has this class"):
        dataset.create(request)
    assert tree(tmp_path) == before
    assert make(tmp_path, [*two_classes(60), ("a slip", "odd ones")], "2.0.0").classes == ("negative", "positive")


def test_a_rare_class_that_grows_becomes_one(tmp_path: Path) -> None:
    make(tmp_path, [*two_classes(60), *of_class("odd", 2)])
    assert "odd" in make(tmp_path, [*two_classes(60), *of_class("odd", 10)], "2.0.0").classes


def test_whether_rare_classes_are_tolerated_is_no_part_of_a_version(tmp_path: Path) -> None:
    made = make(tmp_path, [*two_classes(60), ("a slip", "odd")])
    dataset.create(plan(tmp_path, [*two_classes(60), ("a slip", "odd")], rare_classes="fail"))
    assert "rare_classes" not in made.parameters


# Texts with different labels


@pytest.mark.parametrize(
    ("labels", "kept"),
    [
        ("aaaaaaaaab", "a"),  # nine against one
        ("aaab", "a"),
        ("baaa", "a"),
        ("aaaab", "a"),
        ("aab", None),  # one more is a toss
        ("aabb", None),
        ("aaabb", None),  # no two thirds
        ("aaaabb", "a"),
        ("aaaaabbb", None),
        ("aaaabc", "a"),
        ("aaabc", None),
        ("abc", None),
    ],
)
def test_a_clear_majority_keeps_its_first_row(tmp_path: Path, labels: str, kept: str | None) -> None:
    names = {"a": "positive", "b": "negative", "c": "neutral"}
    same = [("One  text" if n % 2 else "one text", names[each]) for n, each in enumerate(labels)]
    make(tmp_path, [*two_classes(60), *of_class("neutral", 20), *same], conflicting_labels="majority")
    found, first = aside(tmp_path), 81 + labels.index(kept or "a")
    expected = {
        81 + n: ("duplicate", first) if each == kept else ("conflicting_label", None)
        for n, each in enumerate(labels)
        if each != kept or 81 + n != first
    }
    assert found == (expected if kept else dict.fromkeys(range(81, 81 + len(labels)), ("conflicting_label", None)))


def test_a_majority_is_asked_only_where_it_is_chosen(tmp_path: Path) -> None:
    rows = [*two_classes(60), *[("one text", "positive")] * 9, ("one text", "negative")]
    usual = make(tmp_path, rows)
    chosen = make(tmp_path, rows, "2.0.0", conflicting_labels="majority")
    assert usual.quarantined == {"conflicting_label": 10}
    assert chosen.quarantined == {"conflicting_label": 1, "duplicate": 8}
    assert (usual.parameters | {"conflicting_labels": "majority"}) == chosen.parameters


LABELS = st.sampled_from(["a", "b", "c", "odd"])


@given(st.lists(st.tuples(st.integers(0, 30), LABELS), max_size=120), st.sampled_from(["quarantine", "majority"]))
def test_every_row_is_kept_or_set_aside_for_one_reason(rows: list[tuple[int, str]], choice: Any) -> None:
    rules = DataRules(max_quarantine_fraction=1, conflicting_labels=choice, rare_classes="quarantine")
    pairs = [*rows, *((100 + n, "ab"[n % 2]) for n in range(20))]
    frame = pd.DataFrame([(f"text {n}", label) for n, label in pairs], columns=["text", "label"])
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    keys = frame["text"].map(identity.text_key)
    kept, quarantine = set_aside(frame, keys, {}, "rows", rules, wanted("label", SIDES))
    assert sorted([*kept["row"], *quarantine["row"]]) == list(frame.index)
    assert kept["key"].is_unique
    assert kept["label"].value_counts().min() >= 5
    votes = {key: Counter(of["label"]) for key, of in frame.groupby(frame["text"].map(identity.text_key))}
    for key, label in zip(kept["key"], kept["label"], strict=True):
        assert len(votes[key]) == 1 or (choice == "majority" and votes[key][label] * 3 >= votes[key].total() * 2)
    assert set(quarantine["kept_row"].dropna()) <= set(kept["row"])
    assert (quarantine["kept_row"].notna() == (quarantine["reason"] == "duplicate")).all()
