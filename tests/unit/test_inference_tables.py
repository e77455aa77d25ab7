"""A batch of any problem: a model's inputs from the columns of a table, its predictions, the rows it cannot score."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lifecycle.core.errors import ConfigError, DataError
from lifecycle.core.references import ModelRef
from lifecycle.data.source import Source
from lifecycle.inference import batch, tables
from lifecycle.inference import manifest as batches
from lifecycle.inference.manifest import BatchManifest, BatchRequest
from lifecycle.inference.predictions import Tally
from lifecycle.models import loading
from lifecycle.settings.rules import InferenceRules
from tests.tabular import CLASSIFICATION, KINDS, REGRESSION, logged, rentals


@pytest.fixture(scope="module")
def store(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tracking server of these tests."""
    return f"sqlite:///{shutil.copy(migrated, tmp_path_factory.mktemp('tables') / 'mlflow.db')}"


@pytest.fixture(scope="module")
def regression(store: str) -> ModelRef:
    return logged(store, REGRESSION)


@pytest.fixture(scope="module")
def classification(store: str) -> ModelRef:
    return logged(store, CLASSIFICATION)


def requested(model: ModelRef, source: Path, output: Path, *, rows_per_part: int = 15, **changes: Any) -> BatchRequest:
    inference = InferenceRules(rows_per_part=rows_per_part, workers=1, **changes.pop("rules", {}))
    return BatchRequest(model=model, input=Source(uri=str(source)), output_root=output, inference=inference, **changes)


def scored(request: BatchRequest) -> tuple[pd.DataFrame, BatchManifest]:
    """Run a batch and read what it published."""
    batch.infer(request)
    folder, _ = batches.locate(request)
    manifest = batches.verify(folder, request)
    parts = [pd.read_parquet(folder / name) for name in sorted(manifest.parts) if name != batches.REJECTED]
    return pd.concat(parts, ignore_index=True), manifest


def rejected(request: BatchRequest) -> list[tuple[int, str, str, str]]:
    rows = pd.read_parquet(batches.locate(request)[0] / batches.REJECTED)
    return list(rows[["row", "input_key", "reason", "text"]].itertuples(index=False, name=None))


def written(folder: Path, rows: pd.DataFrame, name: str = "in.csv") -> Path:
    path = folder / name
    rows.to_csv(path, index=False) if path.suffix == ".csv" else rows.to_parquet(path, index=False)
    return path


def test_numbers_are_predicted_row_by_row_and_told_in_the_manifest(regression: ModelRef, tmp_path: Path) -> None:
    rows = rentals()
    request = requested(regression, written(tmp_path, rows), tmp_path / "out", key_column="instant")
    predictions, manifest = scored(request)
    assert [*predictions] == ["row", "input_key", "prediction", "model_name", "model_version", "run_id"]
    assert predictions["input_key"].tolist() == rows["instant"].tolist()
    assert predictions["prediction"].to_numpy() == pytest.approx(rows["cnt"].to_numpy(), abs=1e-6)
    assert (manifest.problem, manifest.labels, manifest.columns) == (REGRESSION, {}, {name: name for name in KINDS})
    assert manifest.numbers is not None
    told = predictions["prediction"].agg(["min", "mean", "max"]).to_dict()
    assert manifest.numbers.model_dump() == pytest.approx(told)
    assert manifest.answers == {name: f"{value:,.6g}" for name, value in told.items()}


def test_classes_are_predicted_and_counted(classification: ModelRef, tmp_path: Path) -> None:
    rows = rentals()
    predictions, manifest = scored(requested(classification, written(tmp_path, rows), tmp_path / "out"))
    assert [*predictions] == ["row", "input_key", "label", "score", "model_name", "model_version", "run_id"]
    assert (predictions["label"] == rows["busy"]).mean() > 0.9
    assert manifest.labels == predictions["label"].value_counts().to_dict()
    assert (manifest.problem, manifest.numbers) == (CLASSIFICATION, None)


@pytest.mark.parametrize("name", ["in.csv", "in.parquet"])
def test_beside_a_prediction_stand_its_probabilities_and_the_columns_to_keep(
    classification: ModelRef, tmp_path: Path, name: str
) -> None:
    rows = rentals(20).astype(object)
    rows["label"], rows.loc[3, "season"] = "of ours", None
    plain = requested(classification, written(tmp_path, rows, name), tmp_path / "out")
    beside = {"probabilities": True, "keep": ("season", "label")}
    request = requested(classification, Path(plain.input.uri), tmp_path / "out", rules=beside)
    predictions, manifest = scored(request)
    assert batches.locate(plain)[0] != batches.locate(request)[0]
    model = loading.load(classification)
    classes = [f"probability.{each}" for each in model.pipeline.classes_]
    kept = ["source.season", "source.label"]
    assert [*predictions][2:4] + [*predictions][4:6] + [*predictions][-2:] == ["label", "score", *classes, *kept]
    assert manifest.beside == dict.fromkeys(classes, "double") | dict.fromkeys(kept, "string")
    inputs = pd.read_csv(plain.input.uri, dtype=str) if name == "in.csv" else rows
    assert predictions[classes].to_numpy().tolist() == model.probabilities(inputs).tolist()
    pd.testing.assert_frame_equal(predictions[["label", "score"]], scored(plain)[0][["label", "score"]])
    assert predictions["source.season"].tolist() == rows["season"].fillna("").tolist()
    assert set(predictions["source.label"]) == {"of ours"}


def test_a_column_to_keep_that_is_not_there_is_named_with_its_setting(regression: ModelRef, tmp_path: Path) -> None:
    path = written(tmp_path, rentals())
    with pytest.raises(DataError, match="no column 'region'") as missing:
        batch.infer(requested(regression, path, tmp_path / "out", rules={"keep": ("region",)}))
    assert "inference.keep" in str(missing.value.fix)
    assert not list((tmp_path / "out").rglob("*.parquet"))
    with pytest.raises(ValueError, match="one twice"):
        InferenceRules(keep=("season", "season"))
    told = requested(regression, path, tmp_path / "out", rules={"probabilities": True})
    assert scored(told)[1].beside == {}, "a regressor tells none"


@pytest.mark.parametrize("name", ["in.csv", "in.parquet"])
def test_a_cell_of_another_kind_is_rejected_and_a_missing_one_is_scored(
    regression: ModelRef, tmp_path: Path, name: str
) -> None:
    rows = rentals(8).astype(object)
    rows.loc[1, "temp"], rows.loc[2, "temp"], rows.loc[3, "season"] = "warm", None, None
    rows.loc[4, "holiday"], rows.loc[5, "season"], rows.loc[6, "holiday"] = "perhaps", "a\x07bell", None
    rows["temp"] = rows["temp"].map(lambda cell: None if cell is None else str(cell))
    request = requested(regression, written(tmp_path, rows, name), tmp_path / "out", key_column="instant")
    predictions, manifest = scored(request)
    assert predictions["row"].tolist() == [1, 3, 4, 7, 8]
    assert np.isfinite(predictions["prediction"]).all()
    assert rejected(request) == [
        (2, "h1", "not_a_number", "temp: warm"),
        (5, "h4", "not_a_truth_value", "holiday: perhaps"),
        (6, "h5", "unusable_character", "season: a\x07bell"),
    ]
    assert manifest.rejected == {"not_a_number": 1, "not_a_truth_value": 1, "unusable_character": 1}
    assert manifest.rows_in == manifest.scored + sum(manifest.rejected.values())


def test_columns_of_other_names_are_named(regression: ModelRef, tmp_path: Path) -> None:
    rows = rentals().rename(columns={"temp": "Temp", "season": "text"})
    path, columns = written(tmp_path, rows), {"Temp": "temp", "text": "season"}
    with pytest.raises(DataError, match=r"no columns 'temp', 'season'; there are .*'Temp'") as missing:
        batch.infer(requested(regression, path, tmp_path / "none"))
    assert missing.value.fix == "Did you mean 'Temp'? Declare --columns \"{'Temp': 'temp'}\"."
    predictions, manifest = scored(requested(regression, path, tmp_path / "out", columns=columns))
    assert predictions["prediction"].to_numpy() == pytest.approx(rows["cnt"].to_numpy(), abs=1e-6)
    assert manifest.columns == columns | {"holiday": "holiday"}
    with pytest.raises(ConfigError, match="reads temp, season, holiday, not warmth"):
        batch.infer(requested(regression, path, tmp_path / "none", columns={"Temp": "warmth"}))
    with pytest.raises(ValueError, match="two of them are the same input"):
        requested(regression, path, tmp_path / "none", columns={"Temp": "temp", "cnt": "temp"})
    with pytest.raises(ConfigError, match="reads temp, season, holiday, each from a column of its own"):
        batch.infer(requested(regression, path, tmp_path / "none", columns={"holiday": "season"}))
    assert not list((tmp_path / "none").rglob("*.parquet"))


def test_a_column_that_is_read_under_its_own_name_is_named_or_not(regression: ModelRef, tmp_path: Path) -> None:
    path = written(tmp_path, rentals())
    plain = requested(regression, path, tmp_path / "out")
    places = [
        batches.locate(plain.model_copy(update={"columns": columns}))[0].name
        for columns in ({}, {"temp": "temp"}, {"cnt": "temp"}, {"cnt": "temp", "busy": "season"}, {"busy": "temp"})
    ]
    assert places[0] == places[1]
    assert len({*places}) == 4


def test_a_batch_of_texts_lies_where_the_first_releases_put_it(tmp_path: Path) -> None:
    path = tmp_path / "news.csv"
    path.write_text("Sentence\nProfit rose.\n", encoding="utf-8")
    model = ModelRef(tracking_uri="", uri="", run_id="1", artifact_sha256="a", name="dev.ml.sentiment", version=2)
    by_text = BatchRequest.model_validate(
        {"model": model, "input": Source(uri=str(path)), "text_column": "Sentence", "output_root": tmp_path}
    )
    assert by_text.columns == {"Sentence": "text"}
    content = [batches.pinned(by_text).input_sha256, "csv", "utf-8", ",", "Sentence", None, 1]
    assert batches.locate(by_text)[1] == batches.hashlib.sha256(json.dumps(content).encode()).hexdigest()


def test_the_manifest_of_an_earlier_release_is_one_of_texts() -> None:
    values = {
        "model_name": "dev.ml.sentiment",
        "model_version": 1,
        "run_id": "1",
        "artifact_sha256": "a",
        "input": "news.csv",
        "input_digest": "b",
        "text_column": "Sentence",
        "key_column": None,
        "rows_in": 1,
        "scored": 1,
        "rejected": {},
        "labels": {"good": 1},
        "parts": {},
        "code_version": "0.1.0",
    }
    manifest = BatchManifest.model_validate(values)
    assert (manifest.problem, manifest.columns) == ("text-classification", {"Sentence": "text"})
    assert (manifest.text_columns, manifest.numbers) == (("Sentence",), None)
    assert BatchManifest.model_validate_json(manifest.model_dump_json()) == manifest


def steep(pipeline: Any) -> None:
    """Its predictions are beyond every number."""
    pipeline[-1].intercept_ *= np.inf


def short(pipeline: Any) -> None:
    """It was fitted on other columns."""
    pipeline[-1].coef_ = pipeline[-1].coef_[:-1]
    pipeline[-1].n_features_in_ -= 1


@pytest.mark.parametrize(
    ("change", "words"),
    [(steep, "predicts (nan|inf|-inf) as the prediction of row 1"), (short, "cannot score these rows")],
)
def test_what_is_no_prediction_is_never_written(
    store: str, tmp_path: Path, change: Callable[[Any], None], words: str
) -> None:
    model = logged(store, REGRESSION, change)
    with pytest.raises(DataError, match=words):
        batch.infer(requested(model, written(tmp_path, rentals()), tmp_path / "out"))
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_an_interrupted_batch_goes_on_with_the_parts_that_it_has(regression: ModelRef, tmp_path: Path) -> None:
    path = written(tmp_path, rentals())
    whole, manifest = scored(requested(regression, path, tmp_path / "out"))
    again = requested(regression, path, tmp_path / "again")
    final, _ = batches.locate(again)
    partial = final.with_name(f".partial-{final.name}-15")
    shutil.copytree(batches.locate(requested(regression, path, tmp_path / "out"))[0], partial)
    for name in ("manifest.json", "part-00001.parquet", "rejected.parquet"):
        (partial / name).unlink()
    kept = (partial / "part-00000.parquet").stat().st_ino
    rows, continued = scored(again)
    assert (final / "part-00000.parquet").stat().st_ino == kept
    pd.testing.assert_frame_equal(rows, whole)
    assert (continued.parts, continued.numbers) == (manifest.parts, manifest.numbers)


def test_an_input_of_any_name_is_read(store: str, tmp_path: Path) -> None:
    model = logged(store, REGRESSION, temp="row", season="label", holiday="a `b`.c")
    rows = rentals().rename(columns={"temp": "row", "season": "label", "holiday": "a `b`.c"})
    predictions, _ = scored(requested(model, written(tmp_path, rows), tmp_path / "out"))
    assert predictions["prediction"].to_numpy() == pytest.approx(rows["cnt"].to_numpy(), abs=1e-6)
    assert predictions["row"].tolist() == list(range(1, 41))


def test_predicted_numbers_are_entered_in_a_delta_table(
    regression: ModelRef, classification: ModelRef, tmp_path: Path
) -> None:
    deltalake = pytest.importorskip("deltalake")
    table, path = str(tmp_path / "table"), written(tmp_path, rentals())
    request = requested(regression, path, tmp_path / "out", rules={"table": table}, key_column="instant")
    predictions, _ = scored(request)
    batch.infer(request)
    entered = pa.table(deltalake.DeltaTable(table).to_pyarrow_table()).sort_by("row").to_pandas()
    assert [*entered] == [*tables.columns_of(REGRESSION)]
    assert entered["prediction"].tolist() == predictions["prediction"].tolist()
    with pytest.raises(ConfigError, match="label, score"):
        batch.infer(requested(classification, path, tmp_path / "out", rules={"table": table}))
    beside = {"table": str(tmp_path / "beside"), "probabilities": True, "keep": ("instant",)}
    predictions, manifest = scored(requested(classification, path, tmp_path / "out", rules=beside))
    entered = pa.table(deltalake.DeltaTable(beside["table"]).to_pyarrow_table()).sort_by("row").to_pandas()
    assert [*entered] == [*tables.columns_of(CLASSIFICATION, manifest.beside)]
    assert [*manifest.beside] == ["probability.no", "probability.yes", "source.instant"]
    pd.testing.assert_frame_equal(entered[[*manifest.beside]], predictions[[*manifest.beside]])


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.lists(finite, max_size=5), min_size=1, max_size=6), st.randoms())
@example([[sys.float_info.max] * 3, [sys.float_info.max]], Random(0))
def test_how_far_numbers_reach_is_the_same_in_whatever_order_their_parts_come(
    parts: list[list[float]], random: Any
) -> None:
    tallies = [Tally.of(pa.table({"prediction": pa.array(part, pa.float64())}), REGRESSION) for part in parts]
    merged = Tally.merged(tallies)
    random.shuffle(tallies)
    assert Tally.merged(tallies) == merged
    every = [number for part in parts for number in part]
    assert merged.rows == len(every)
    if every:
        assert merged.numbers is not None
        assert (merged.numbers.min, merged.numbers.max) == (min(every), max(every))
        half = sum(number / len(every) / 2 for number in every)
        assert merged.numbers.mean / 2 == pytest.approx(half, abs=1e-9 * max(map(abs, every)))
        assert min(every) <= merged.numbers.mean <= max(every)
    else:
        assert merged.numbers is None


def test_what_is_read_is_what_the_model_says(regression: ModelRef) -> None:
    model = loading.load(regression)
    assert (model.problem, model.inputs) == (REGRESSION, tuple(KINDS))
