"""A person's row leaves the predictions of any problem: by the value of a column, and by the key of a dataset's row."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lifecycle import settings
from lifecycle.core.references import ModelRef
from lifecycle.data import tombstones
from lifecycle.data.source import Source
from lifecycle.erasure import predictions
from lifecycle.erasure.erase import erase
from lifecycle.erasure.forms import Forms
from lifecycle.erasure.predictions import Held
from lifecycle.erasure.wanted import Subject, Wanted, resolve, spelled
from lifecycle.inference import batch
from lifecycle.inference import manifest as batches
from lifecycle.inference.manifest import BatchRequest
from lifecycle.settings import Settings
from lifecycle.settings.rules import InferenceRules
from tests.tabular import REGRESSION, logged, published, rentals

FACTS = {"erasure": "e", "at": "2026-11-28T00:00:00", "by": "me", "reason": ""}


@pytest.fixture
def config(migrated: Path, tmp_path: Path) -> Settings:
    (tmp_path / "state").mkdir()
    shutil.copy(migrated, tmp_path / "state" / "mlflow.db")
    return settings.load("dev", home=tmp_path / "state")


@pytest.fixture
def model(config: Settings) -> ModelRef:
    return logged(config.mlflow_uri, REGRESSION)


@pytest.fixture
def of_version(config: Settings) -> ModelRef:
    """A model whose input `label` a dataset version has under another name."""
    return logged(config.mlflow_uri, REGRESSION, season="label")


def scored(config: Settings, model: ModelRef, keep: tuple[str, ...] = (), **table: Any) -> Path:
    inference = InferenceRules(rows_per_part=6, workers=1, keep=keep)
    request = BatchRequest(model=model, output_root=config.predictions, inference=inference, **table)
    batch.infer(request)
    return batches.locate(request)[0]


def hours(folder: Path) -> pd.DataFrame:
    manifest = batches.verify(folder)
    parts = [pd.read_parquet(folder / name) for name in sorted(manifest.parts) if name != batches.REJECTED]
    return pd.concat(parts)


@pytest.mark.parametrize("key_column", ["instant", None])
def test_a_row_leaves_a_batch_by_the_value_of_a_column_and_does_not_come_again(
    config: Settings, model: ModelRef, tmp_path: Path, key_column: str | None
) -> None:
    rows = rentals(15).astype(object)
    rows.loc[9, "temp"] = "warm"
    path = tmp_path / "in.csv"
    rows.to_csv(path, index=False)
    folder = scored(config, model, input=Source(uri=str(path)), key_column=key_column)
    before = batches.load(folder)
    most = int(hours(folder)["prediction"].to_numpy().argmax())
    whose = hours(folder)["row"].iloc[most] - 1
    done = erase([config], Subject(id_column="instant", ids=(f"h{whose}", "h09", "h9")))
    assert ([touched.rows for touched in done.touched], done.unmet) == ([{"scored": 1, "rejected": 1}], {"ids": (2,)})
    after, left = batches.verify(folder), hours(folder)
    assert (after.scored, after.rejected, after.rows_erased, after.rows_in) == (13, {}, 2, 15)
    assert whose + 1 not in left["row"].tolist()
    assert after.numbers is not None
    assert before.numbers is not None
    assert after.numbers.max == left["prediction"].max() < before.numbers.max
    again = scored(config, model, input=Source(uri=str(path)), key_column=key_column, logical_date="2026-11-28")
    pd.testing.assert_frame_equal(hours(again), left)
    assert batches.load(again).numbers == after.numbers
    assert batches.load(again).rows_erased == 2


def test_an_input_that_has_changed_is_missed_only_where_no_id_stands_in_the_batch(
    config: Settings, model: ModelRef, tmp_path: Path
) -> None:
    path = tmp_path / "in.csv"
    rentals(15).to_csv(path, index=False)
    source = Source(uri=str(path))
    by_id = scored(config, model, input=source, key_column="instant")
    by_row = scored(config, model, input=source, logical_date="2026-11-28")
    rentals(16).to_csv(path, index=False)
    (left,) = erase([config], Subject(id_column="instant", ids=("h3",))).left
    assert (left.what, "changed since: name its rows by their ids" in left.why) == (str(by_row), True)
    assert [4 in hours(folder)["row"].tolist() for folder in (by_id, by_row)] == [False, True]


def test_a_key_or_an_id_of_a_dataset_finds_its_row_in_the_batch_of_it(config: Settings, of_version: ModelRef) -> None:
    rows = rentals(20)
    rows.loc[7, ["temp", "season", "holiday"]] = rows.loc[3, ["temp", "season", "holiday"]]
    version = published(config.datasets, rows)
    table = batches.of_version(config.datasets, version)
    assert (table.columns, table.key_column) == (
        {"temp": "temp", "source_label": "label", "holiday": "holiday"},
        "key",
    )
    folder = scored(config, of_version, **table._asdict())
    keys = pd.read_parquet(table.input.uri)["key"]
    assert hours(folder)["input_key"].tolist() == keys.tolist()
    assert keys[3][:16] == keys[7][:16]
    for subject, expected in (
        (Subject(keys=(keys[3],)), {4}),
        (Subject(keys=(keys[3][:16],)), {4, 8}),
        (Subject(id_column="instant", ids=("h3", "h5")), {4, 6}),
    ):
        wanted = resolve(subject, [config.datasets])
        held = next(predictions.holding(config.predictions, wanted, Forms(()), config.datasets))
        assert isinstance(held, Held)
        assert (held.rows, held.stored) == (expected, {"scored": len(expected)})
    predictions.erase(held, FACTS, ())
    assert set(hours(folder)["row"]) == set(range(1, 21)) - {4, 6}


def test_any_column_of_the_source_identifies_the_rows_of_a_dataset(config: Settings, of_version: ModelRef) -> None:
    rows = rentals(8)
    version = published(config.datasets, rows)
    names = {"instant": "source_instant", "label": "source_label", "temp": "temp", "row": "row", None: "key"}
    stored = {name: batches.of_version(config.datasets, version, name).key_column for name in names}
    assert stored == names
    kept = ("cnt", "label", "instant", "temp")
    of_all = batches.of_version(config.datasets, version, "instant", "all")
    folder = scored(config, of_version, kept, **of_all._asdict())
    assert hours(folder)["input_key"].tolist() == rows["instant"].tolist()
    assert hours(folder)["source.cnt"].astype(float).tolist() == rows["cnt"].tolist()
    assert hours(folder)["source.label"].tolist() == rows["season"].tolist()


def test_a_key_says_nothing_of_a_table_that_has_none(config: Settings, model: ModelRef, tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    rentals(8).to_csv(path, index=False)
    folder = scored(config, model, input=Source(uri=str(path)))

    def held(subject: Subject) -> list[Any]:
        return list(predictions.holding(config.predictions, Wanted.of(subject), Forms(subject.texts), config.datasets))

    assert held(Subject(keys=("0" * 64,))) == [(folder, f"rows of its input {path} are not told by a key")]
    assert held(Subject(texts=("a letter to the editor",))) == []
    assert held(Subject(id_column="instant", ids=("h100",))) == []


def test_an_id_that_a_table_holds_as_a_number_is_found_as_it_is_written() -> None:
    rows = pd.DataFrame({"customer": [7.0, 7.5, float("nan")], "key": ["a", "b", None]})
    for written, expected in (("7", [True, False, False]), ("7.5", [False, True, False])):
        wanted = Wanted.of(Subject(id_column="customer", ids=(written,)))
        assert wanted.among(rows, ids_in="customer").tolist() == expected
    assert (spelled("007"), spelled(7), spelled(float("inf"))) == ("007", "7", "inf")


def test_nothing_is_remembered_of_a_row_of_a_table_but_its_column(config: Settings) -> None:
    published(config.datasets, rentals(8))
    erased = resolve(Subject(id_column="instant", ids=("h3",)), [config.datasets])
    assert (erased.texts, len(erased.keys)) == (frozenset(), 1)
    tombstones.add(config.datasets, {tombstones.TEXT: erased.texts, "instant": erased.ids})
    gone = tombstones.load(config.datasets).among(rentals(8), ())
    assert gone.tolist() == [number == 3 for number in range(8)]
