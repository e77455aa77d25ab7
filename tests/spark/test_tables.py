"""A Delta table holds each published batch once, however often and by however many it is entered."""

import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder, write_deltalake

from cli.main import main
from flows.batch_inference import _rules
from lifecycle import settings
from lifecycle.core.errors import ConfigError, TransientError
from lifecycle.core.references import ModelRef
from lifecycle.inference import batch, tables
from lifecycle.inference import manifest as batches
from lifecycle.inference.manifest import BatchRequest
from lifecycle.settings.rules import InferenceRules
from tests.conftest import tree
from tests.spark.conftest import TEXTS, requested, write_table

Infer = Callable[..., BatchRequest]


@pytest.fixture
def table(tmp_path: Path) -> str:
    return str(tmp_path / "lake" / "predictions")


@pytest.fixture
def infer(champion: ModelRef, tmp_path: Path, table: str) -> Infer:
    """Score texts and enter them in the table."""

    def run(texts: tuple[str, ...] = TEXTS, model: ModelRef = champion, **changes: object) -> BatchRequest:
        source = write_table(tmp_path / "in.csv", texts)
        request = requested(model, source, tmp_path / "out", table=table).model_copy(update=changes)
        batch.infer(request)
        return request

    return run


def content(table: str) -> pd.DataFrame:
    """All rows. deltalake's own way to pyarrow aborts many a process at its end."""
    found = QueryBuilder().register("found", DeltaTable(table)).execute("SELECT * FROM found").read_all()
    return pa.table(found).to_pandas()


def rows(table: str) -> pd.DataFrame:
    found = content(table)
    return found.sort_values(["model_version", "batch", "row"], ignore_index=True)


def version(table: str) -> int:
    return DeltaTable(table).version()


def published(request: BatchRequest) -> pd.DataFrame:
    folder = batches.locate(request)[0]
    parts = [pd.read_parquet(path) for path in sorted(folder.glob("part-*.parquet"))]
    return pd.concat(parts, ignore_index=True)


def test_a_table_holds_the_rows_of_the_parts_with_day_and_batch(infer: Infer, table: str) -> None:
    day = date(2026, 11, 20)
    request = infer((*TEXTS, "  ", *TEXTS), logical_date=day)
    found = rows(table)
    pd.testing.assert_frame_equal(found[list(published(request).columns)], published(request), check_dtype=False)
    assert set(found["logical_date"]) == {day}
    assert set(found["batch"]) == {batches.locate(request)[0].name}
    kinds = {field.name: field.type.type for field in DeltaTable(table).schema().fields}
    assert kinds == {
        name: {"bigint": "long"}.get(kind, kind) for name, kind in tables.columns_of("text-classification").items()
    }


def test_the_same_batch_again_writes_nothing(infer: Infer, table: str) -> None:
    infer()
    before = tree(Path(table))
    infer()
    assert tree(Path(table)) == before


def test_batches_and_versions_lie_side_by_side(infer: Infer, champion: ModelRef, table: str) -> None:
    infer()
    infer(TEXTS[:3])
    infer(model=champion.model_copy(update={"version": 2}))
    infer(model=champion.model_copy(update={"version": None, "name": None}))
    assert len(rows(table)) == 4 + 3 + 4 + 4
    before = version(table)
    infer(model=champion.model_copy(update={"version": None, "name": None}))
    assert version(table) == before
    infer(logical_date=date(2026, 11, 20))
    assert len(rows(table)) == 19


def test_a_batch_of_which_rows_were_lost_is_entered_whole_again(infer: Infer, table: str) -> None:
    infer()
    infer(TEXTS[:2])
    expected = rows(table)
    DeltaTable(table).delete("row = 2")
    assert len(rows(table)) == 4
    infer(TEXTS[:2])
    assert len(rows(table)) == 5  # the other batch is not its own
    infer()
    pd.testing.assert_frame_equal(rows(table), expected)


def test_what_was_published_without_a_table_is_entered_later(champion: ModelRef, tmp_path: Path, table: str) -> None:
    source = write_table(tmp_path / "in.csv", TEXTS)
    batch.infer(requested(champion, source, tmp_path / "out"))
    assert not Path(table).exists()
    batch.infer(requested(champion, source, tmp_path / "out", table=table))
    assert len(rows(table)) == 4


def test_a_batch_without_predictions_makes_an_empty_table(infer: Infer, table: str) -> None:
    infer(("  ", ""))
    assert rows(table).empty
    infer()
    assert len(rows(table)) == 4


def test_of_racing_writers_each_enters_its_batch_once(champion: ModelRef, tmp_path: Path, table: str) -> None:
    folders = []
    for number in range(3):
        source = write_table(tmp_path / f"{number}.csv", TEXTS[: number + 1])
        request = requested(champion, source, tmp_path / "out")
        batch.infer(request)
        folders.append(batches.locate(request)[0])

    def enter(folder: Path) -> int:
        for lost in range(50):
            try:
                tables.write(folder, table)
            except TransientError:
                continue
            return lost
        raise AssertionError(folder)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(enter, folders * 4))
    assert rows(table)["batch"].value_counts().to_dict() == {folder.name: n + 1 for n, folder in enumerate(folders)}


def test_a_table_of_something_else_is_left_alone(infer: Infer, table: str, tmp_path: Path) -> None:
    write_deltalake(table, pa.table({"customer": ["a"]}))
    with pytest.raises(ConfigError, match="must have the columns row, input_key"):
        infer()
    assert content(table).to_dict("list") == {"customer": ["a"]}
    assert len(list((tmp_path / "out").rglob(batches.MANIFEST))) == 1  # the predictions are published all the same


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("prod.ml.predictions", "no Spark session is offered here"),
        ("/Volumes/prod/ml/mlops/predictions", "cannot hold a Delta table"),
    ],
)
def test_a_table_out_of_reach_is_refused_before_anything_is_scored(
    champion: ModelRef, tmp_path: Path, name: str, words: str
) -> None:
    source = write_table(tmp_path / "in.csv", TEXTS)
    with pytest.raises(ConfigError, match=words):
        batch.infer(requested(champion, source, tmp_path / "out", table=name))
    assert not (tmp_path / "out").exists()


def test_missing_deltalake_is_named_with_its_extra(
    champion: ModelRef, tmp_path: Path, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "deltalake", None)
    source = write_table(tmp_path / "in.csv", TEXTS)
    with pytest.raises(ConfigError, match=r"pip install 'mlops-lifecycle\[delta\]'"):
        batch.infer(requested(champion, source, tmp_path / "out", table=table))
    assert not (tmp_path / "out").exists()


def test_only_three_levels_without_a_slash_are_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert tables.absolute("prod.ml.predictions") == "prod.ml.predictions"
    assert tables.absolute("abfss://lake@account/predictions") == "abfss://lake@account/predictions"
    assert tables.absolute("lake/my.own.table") == str(tmp_path / "lake" / "my.own.table")


def test_the_caller_chooses_before_the_environment_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = settings.load("dev", inference=InferenceRules(engine="spark", table="own", rows_per_part=7))
    assert _rules(config, None, None) == InferenceRules(engine="spark", table=str(tmp_path / "own"), rows_per_part=7)
    chosen = _rules(config, "local", "prod.ml.predictions")
    assert chosen == InferenceRules(engine="local", table="prod.ml.predictions", rows_per_part=7)
    assert _rules(settings.load("dev"), None, None) == InferenceRules()


def test_the_command_scores_with_spark_and_fills_a_table(
    server: str, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(state, tmp_path / ".mlops")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_API_URL", server)
    write_table(tmp_path / "in.csv", [*TEXTS, "  "])
    command = "mlops infer --model-name sentiment --env dev --input in.csv --engine spark --table lake"
    monkeypatch.setattr(sys, "argv", command.split())
    with pytest.raises(SystemExit) as end:
        sys.exit(main())
    assert not end.value.code, capsys.readouterr().err[-3000:]
    assert len(rows(str(tmp_path / "lake"))) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mlops", "in.csv", "lake"]
