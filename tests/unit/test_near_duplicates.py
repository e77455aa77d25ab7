"""Dataset versions of tables with near twins, groups or times: what they record, tell, refuse and keep as it was."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cli import show
from lifecycle import settings
from lifecycle.core.errors import ConfigError, ConflictError, DataError
from lifecycle.data import dataset
from lifecycle.data.manifest import Manifest
from lifecycle.data.source import Source
from lifecycle.erasure.erase import erase
from lifecycle.erasure.wanted import Subject
from tests.conftest import tree
from tests.unit.test_division import sentence

BEFORE = {
    *("text_column", "label_column", "test_size", "holdout", "holdout_size", "stratify", "suite"),
    "conflicting_labels",
}
"""The parameters of a version as the first release wrote them."""


def table(count: int = 60, copies: int = 0) -> pd.DataFrame:
    """Texts of two classes, three customers and a day each; of the first ones there is a copy."""
    rows = [(n, 0) for n in range(count)] + [(n, 1) for n in range(copies)]
    return pd.DataFrame(
        {
            "text": [sentence(n, variant) for n, variant in rows],
            "label": [("good", "bad")[n % 2] for n, _ in rows],
            "customer": [f"c{n % 7}" for n, _ in rows],
            "day": [f"2026-{1 + n // 28:02}-{1 + n % 28:02}" for n, _ in rows],
        }
    )


def plan(root: Path, rows: pd.DataFrame, version: str = "1", near: str = "together", **arguments: Any) -> Any:
    config = settings.load("dev", home=root, data={"near_duplicates": near})
    rows.to_csv(root / f"{version}.csv", index=False)
    source = Source(uri=str(root / f"{version}.csv"))
    return dataset.plan(config, source, data_name="news", data_version=version, **arguments)


def make(root: Path, rows: pd.DataFrame, version: str = "1", near: str = "together", **arguments: Any) -> Manifest:
    dataset.create(plan(root, rows, version, near, **arguments))
    return dataset.load(root / "data", "news", version)


def sides(root: Path, version: str = "1") -> dict[str, str]:
    rows = dataset.load_rows(root / "data", "news", version)
    return dict(zip(rows["text"], rows["split"], strict=True))


def test_a_version_records_and_tells_its_near_twins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="lifecycle"):
        made = make(tmp_path, table(copies=20))
    told = "40 rows have a near twin, kept on one split where the quotas allow; with one in train: test 0, holdout 0"
    assert made.near_duplicates
    assert (made.near_duplicates.pairs, made.near_duplicates.told) == (20, told)
    assert made.parameters["near_duplicates"] == "together"
    assert f"Near duplicates: {told}" in caplog.messages
    assert told in (tmp_path / "data" / "news" / "1" / "report.html").read_text()
    show.dataset(made, "folder")
    assert f"Near duplicates: {told}\n" in capsys.readouterr().out
    where = sides(tmp_path)
    assert all(where[sentence(n)] == where[sentence(n, 1)] for n in range(20))
    assert dataset.verify(tmp_path / "data", "news", "1") == made


def test_a_version_without_near_twins_has_the_digest_that_it_always_had(tmp_path: Path) -> None:
    digests = set()
    for near in ("together", "count", "off"):
        (root := tmp_path / near).mkdir()
        made = make(root, table(), near=near)
        assert made.parameters.keys() == BEFORE
        assert made.told == []
        digests.add((made.digest, made.files["split.parquet"]))
    assert len(digests) == 1


def test_a_version_that_was_made_before_near_twins_were_kept_stays_as_it_is(tmp_path: Path) -> None:
    made = make(tmp_path, table(copies=20), near="off")
    path = tmp_path / "data" / "news" / "1" / "manifest.json"
    old = json.loads(path.read_text())
    del old["near_duplicates"], old["starts"]
    path.write_text(json.dumps(old))
    before = tree(tmp_path / "data")
    assert make(tmp_path, table(copies=20)) == made
    assert tree(tmp_path / "data") == before
    grown = make(tmp_path, table(count=80, copies=30), "2")
    assert sides(tmp_path).items() <= sides(tmp_path, "2").items()
    where = sides(tmp_path, "2")
    assert all(where[sentence(n)] == where[sentence(n, 1)] for n in range(20, 30))
    assert grown.near_duplicates
    assert grown.near_duplicates.beside_train != {"test": 0, "holdout": 0}  # what was parted before stays parted


def test_the_setting_makes_another_version_where_there_are_near_twins(tmp_path: Path) -> None:
    make(tmp_path, table(copies=20), near="count")
    with pytest.raises(ConflictError, match="near_duplicates is"):
        make(tmp_path, table(copies=20))
    (tmp_path / "other").mkdir()
    make(tmp_path / "other", table(copies=20))
    for near in ("count", "off"):
        with pytest.raises(ConflictError, match="near_duplicates is"):
            make(tmp_path / "other", table(copies=20), near=near)


def test_a_copy_of_a_text_that_is_gone_from_the_table_follows_it(tmp_path: Path) -> None:
    make(tmp_path, table())
    corrected = table(copies=60).tail(60)
    make(tmp_path, corrected, "2")
    before, after = sides(tmp_path), sides(tmp_path, "2")
    assert {after[sentence(n, 1)] == before[sentence(n)] for n in range(60)} == {True}


def test_an_erasure_counts_again_and_keeps_the_digest(tmp_path: Path) -> None:
    made = make(tmp_path, table(copies=20))
    config = settings.load("dev", home=tmp_path)
    (tmp_path / "1.csv").unlink()
    erase([config], Subject(texts=(sentence(0, 1), sentence(1))))
    erased = dataset.load(tmp_path / "data", "news", "1")
    assert (made.near_duplicates, erased.near_duplicates) == (
        erased.near_duplicates and erased.near_duplicates.model_copy(update={"rows": 40}),
        made.near_duplicates and made.near_duplicates.model_copy(update={"rows": 36}),
    )
    assert make(tmp_path, table(copies=20)) == erased


def test_a_split_by_group_is_recorded_told_and_grows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = make(tmp_path, table(copies=20), group_column="customer")
    assert made.parameters.keys() == BEFORE | {"group_column"}
    show.dataset(made, "folder")
    assert "No value of 'customer' is on two splits\n" in capsys.readouterr().out
    make(tmp_path, table(count=90, copies=40), "2", group_column="customer")
    assert sides(tmp_path).items() <= sides(tmp_path, "2").items()
    rows = dataset.load_rows(tmp_path / "data", "news", "2")
    assert rows.groupby("source_customer")["split"].nunique().max() == 1


def test_a_split_by_time_is_recorded_told_and_grows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = make(tmp_path, table(), time_column="day")
    assert made.parameters.keys() == BEFORE | {"time_column"}
    assert made.starts == {"test": "2026-02-09", "holdout": "2026-02-21"}
    show.dataset(made, "folder")
    assert "By 'day': test from 2026-02-09, holdout from 2026-02-21\n" in capsys.readouterr().out
    grown = make(tmp_path, table(count=90), "2", time_column="day")
    assert sides(tmp_path).items() <= sides(tmp_path, "2").items()
    assert {side: sum(counts.values()) for side, counts in grown.counts.items()} == {
        "train": 36,
        "test": 12,
        "holdout": 42,
    }


@pytest.mark.parametrize("first", [{}, {"group_column": "customer"}, {"time_column": "day"}])
@pytest.mark.parametrize("then", [{}, {"group_column": "customer"}, {"group_column": "day"}, {"time_column": "day"}])
def test_a_dataset_is_divided_one_way(tmp_path: Path, first: dict[str, str], then: dict[str, str]) -> None:
    if first == then:
        return
    make(tmp_path, table(), **first)
    before = tree(tmp_path / "data")
    with pytest.raises(ConfigError, match=r"news 1 was made with.*choose another --data-name"):
        make(tmp_path, table(count=90), "2", **then)
    assert tree(tmp_path / "data") == before


@pytest.mark.parametrize(
    ("column", "cell", "reason", "fragment"),
    [
        ("customer", " ", "blank_group", "'customer': ' ' is not a group"),
        ("day", "soon", "no_time", "'day': 'soon' is not an ISO date or time without an offset"),
    ],
)
def test_a_cell_that_decides_nothing_sets_its_row_aside(
    tmp_path: Path, column: str, cell: str, reason: str, fragment: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows, option = table(), {"customer": "group_column", "day": "time_column"}[column]
    rows.loc[4, column] = cell
    with caplog.at_level("INFO", logger="lifecycle"):
        made = make(tmp_path, rows, **{option: column})
    assert made.quarantined == {reason: 1}
    assert any(f"Row 5, column {fragment}" in message for message in caplog.messages)
    rows[column] = cell
    request = plan(tmp_path, rows, "2", **{option: column})
    with pytest.raises(DataError, match=rf"60 of 60 rows cannot be used \({reason} 60\)"):
        dataset.check_source(request)


def test_a_text_that_comes_to_another_side_is_set_aside_beyond_the_budget(tmp_path: Path) -> None:
    make(tmp_path, table(), time_column="day")
    again = pd.concat([table(), table().assign(day="2026-12-24")])
    made = make(tmp_path, again, "2", time_column="day")
    assert made.quarantined == {"duplicate": 12, "other_side": 48}
    assert sides(tmp_path, "2") == sides(tmp_path)


@pytest.mark.parametrize("option", ["group_column", "time_column"])
def test_an_unknown_column_is_named_with_its_option(tmp_path: Path, option: str) -> None:
    with pytest.raises((ConfigError, DataError), match=f"'cutsomer'.*--{option.replace('_', '-')}"):
        dataset.check_source(plan(tmp_path, table(), **{option: "cutsomer"}))


def test_one_group_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"column 'customer' leaves the split test without a row: of its 1 groups"):
        make(tmp_path, table().assign(customer="all"), group_column="customer")
    assert not (tmp_path / "data" / "news" / "1").exists()
