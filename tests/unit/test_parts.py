"""A table is read, validated and written in parts: what becomes of its rows does not depend on how large they are."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle import settings
from lifecycle.core import letters
from lifecycle.data import dataset, keys, validation, writing
from lifecycle.data.readers import csv_by_arrow
from lifecycle.data.source import Source
from lifecycle.problems.text_classification.identity import text_key, text_keys
from lifecycle.problems.text_classification.table import TABLE, stripped

SIGNS = ' \t\n\v\x01\x1c\x85\xa0AbZ"\\éßЖ\u3000'
CELLS = st.lists(st.text(SIGNS, max_size=6) | st.text(max_size=4), min_size=1, max_size=8)


def storable(cells: list[str]) -> "pd.Series[str]":
    return pd.Series([cell.encode("utf-8", "replace").decode() for cell in cells], dtype="str", name="text")


@given(CELLS, st.integers(1, 9))
def test_letters_together_say_what_each_cell_says(cells: list[str], size: int) -> None:
    texts = storable(cells)
    found = [key for part in letters.in_parts(texts, size) for key in text_keys(part).to_pylist()]
    assert found == [text_key(text) for text in texts]
    trimmed, count = stripped(texts)
    assert trimmed.tolist() == texts.str.strip().tolist()
    assert count == (trimmed != texts).sum()
    total = hashlib.sha256(b'["text", "other"]')
    for text in texts:
        total.update(f"{json.dumps([text, text], ensure_ascii=False)}\n".encode())
    assert TABLE.rows_digest(pd.DataFrame({"text": texts, "other": texts})) == total.hexdigest()


@given(st.lists(st.sampled_from(["0" * 16, "0" * 15 + "1", "f" * 16]), max_size=6), st.lists(st.text("ab", min_size=1)))
def test_keys_that_begin_alike_are_told_apart(begins: list[str], others: list[str]) -> None:
    for cells in ([f"{begin}{place % 2}" for place, begin in enumerate(begins)], others):
        texts = pd.Series(cells, dtype="str")
        assert keys.repeated(texts).tolist() == texts.duplicated(keep=False).tolist()
        assert [cells[place] for place in keys.in_order(texts)] == sorted(cells)


def expectation(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_column_{kind}", "kwargs": kwargs, "severity": "warning", "meta": {"reason": kind}}


def test_results_on_parts_are_those_on_the_whole(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["a", " ", "b", None, "", "x" * 20] * 5, "n": range(30)}, index=range(1, 31))
    frame = frame.astype({"text": "str", "n": float})
    suite = (
        expectation("values_to_match_regex", column="text", regex=r"\S"),
        expectation("value_lengths_to_be_between", column="text", max_value=5, mostly=0.5),
        expectation("values_to_not_be_null", column="text", mostly=0.5),
        expectation("values_to_be_between", column="n", max_value=25, mostly=0.8),
        expectation("values_to_be_of_type", column="n", type_="float64"),
    )
    whole = validation.check(frame, suite, tmp_path / "0", but=[7, 8])
    assert {*whole.quarantine} >= {2, 26} - {7, 8}
    for size in (1, 7):
        assert validation.check(frame, suite, tmp_path / str(size), but=[7, 8], at_once=size) == whole
    of_all = (*suite, expectation("values_to_be_unique", column="n"))
    assert validation.check(frame, of_all, tmp_path / "all", at_once=1).results[-1]["success"]


@pytest.mark.parametrize("size", [1, 7])
def test_a_version_does_not_depend_on_the_parts(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(f" text {n % 50} ", ("good", "bad", "")[(n % 50) % 2 + (n == 7)], str(n)) for n in range(60)]
    source = tmp_path / "news.csv"
    pd.DataFrame(rows, columns=["text", "label", "note"]).to_csv(source, index=False)

    def made(name: str) -> tuple[str, pd.DataFrame, pd.DataFrame]:
        config = settings.load("dev", home=tmp_path / name)
        config = config.model_copy(update={"data": config.data.model_copy(update={"near_duplicates": "off"})})
        dataset.create(dataset.plan(config, Source(uri=str(source)), data_name="news", data_version="1"))
        folder = config.datasets / "news" / "1"
        files = (pd.read_parquet(folder / name) for name in (dataset.SPLIT, dataset.QUARANTINE))
        return dataset.verify(config.datasets, "news", "1").digest, *files

    digest, split, quarantine = made("whole")
    assert len(quarantine) == 10
    monkeypatch.setattr(csv_by_arrow, "AT_ONCE", 40 * size)
    monkeypatch.setattr(writing, "AT_ONCE", size)
    monkeypatch.setattr(letters.in_parts, "__defaults__", (size,))
    monkeypatch.setitem(validation.check.__kwdefaults__, "at_once", 5 * size)
    other = made("parts")
    assert other[0] == digest
    pd.testing.assert_frame_equal(other[1], split)
    pd.testing.assert_frame_equal(other[2], quarantine)
