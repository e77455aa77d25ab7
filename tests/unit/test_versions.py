"""The version that nobody named: the one that holds the same already, else the next number."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle import settings
from lifecycle.data import dataset, versions
from lifecycle.data.source import Source
from tests.conftest import write_news


@pytest.mark.parametrize(
    ("version", "after"),
    [
        ("1", "2"),
        ("9", "10"),
        ("1.0.3", "1.0.4"),
        ("v7-final", "v8-final"),
        ("2026-11", "2026-12"),
        ("first", "first.1"),
    ],
)
def test_the_last_number_is_raised(version: str, after: str) -> None:
    assert versions._next(version) == after


@given(st.from_regex(r"[a-z0-9_][a-z0-9_.-]{0,20}", fullmatch=True))
def test_names_never_come_back(version: str) -> None:
    names = [version]
    for _ in range(5):
        names.append(versions._next(names[-1]))
    assert len(set(names)) == len(names)


def make(source: Path, version: str | None = None, **arguments: object) -> str:
    config = settings.load("dev")
    table, named = Source(uri=str(source)), {"data_name": "news", **arguments}
    version = version or versions.chosen(config, table, **named)
    dataset.create(dataset.state(config, table, data_version=version, **named))
    return version


def test_the_same_table_keeps_its_version_and_another_one_gets_the_next(home: Path) -> None:
    table = write_news(home / "news.csv", 60)
    assert [make(table), make(table)] == ["1", "1"]
    assert make(table, test_size=0.3) == "2"
    assert make(table) == "1"
    assert make(write_news(home / "more.csv", 90)) == "3"
    assert make(table, parent="2") == "4"


def test_a_name_that_is_taken_is_not_given_again(home: Path) -> None:
    table = write_news(home / "news.csv", 60)
    make(table, "1.0.3")
    make(write_news(home / "more.csv", 90), "1.0.4", parent="1.0.3")
    assert make(write_news(home / "most.csv", 120)) == "1.0.5"
