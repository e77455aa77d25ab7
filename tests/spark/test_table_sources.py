"""A table as a source: one version of it, in an order that never changes, by the rules of every other format."""

import json
import shutil
import struct
import sys
from base64 import b85encode
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from cli.data import check_source
from cli.steps import _check_input
from flows.flow_requests import DatasetRequest, InferenceRequest
from lifecycle import settings
from lifecycle.core import spark
from lifecycle.core.errors import ConfigError, ConflictError, DataError
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset, delta, ingest
from lifecycle.data.source import Source
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.inference import batch
from lifecycle.inference import manifest as batches
from lifecycle.jobs import steps
from lifecycle.monitoring import store
from lifecycle.monitoring.served import Requests
from lifecycle.registry.store import Target
from lifecycle.settings import Settings
from lifecycle.settings.rules import DataRules, MonitoringRules, ServedRules
from tests.conftest import tree, write_news
from tests.spark.conftest import TEXTS, requested, write_table

KINDS = {
    "text": pa.array(["b", None, "ä\n"]),
    "whole": pa.array([1, 2, None]),
    "real": pa.array([1.0, 2.5, None]),
    "exact": pa.array([Decimal("1.50"), None, Decimal("2.00")], pa.decimal128(6, 2)),
    "flag": pa.array([True, None, False]),
    "day": pa.array([date(2026, 11, 20), None, date(1970, 1, 1)]),
    "moment": pa.array([datetime(2026, 7, 1, 12, tzinfo=UTC), None, datetime(2026, 1, 1, tzinfo=UTC)]),
}
"""A column of each kind that is text in the end."""
NESTED = {
    "embedding": pa.array([[0.1, 0.2], None, []]),
    "meta": pa.array([{"page": 1, "tags": ["a"]}, None, {"page": 2, "tags": []}]),
    "counts": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int8())),
    "image": pa.array([b"\x89PNG\xff", None, b""]),
}
"""Columns as tables of a catalog have them, which nobody names."""


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """A table of two versions: three rows, and one more."""
    folder = tmp_path / "lake" / "news"
    write(folder, id=["k0", "k1", "k2"], text=list(TEXTS[:3]))
    write(folder, id=["k3"], text=[TEXTS[3]])
    return folder


def write(folder: Path, mode: str = "append", /, partition_by: list[str] | None = None, **columns: Any) -> None:
    write_deltalake(str(folder), pa.table(columns), mode=mode, schema_mode="merge", partition_by=partition_by)


def source(table: object, **more: Any) -> Source:
    return Source(uri=str(table), format="delta", **more)


def read(table: object, *columns: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = ingest.read(source(table), DataRules(), columns).rows.to_dict("list")
    return found


def test_cells_are_those_of_the_same_rows_in_parquet(tmp_path: Path) -> None:
    write(tmp_path / "lake", **KINDS)
    pq.write_table(pa.table(KINDS), tmp_path / "in.parquet")
    expected = ingest.read(Source(uri=str(tmp_path / "in.parquet")), DataRules(), ["text"]).rows.to_dict("list")
    assert read(tmp_path / "lake") == expected


def test_a_dataset_is_that_of_the_same_rows_in_a_file(config: Settings, tmp_path: Path) -> None:
    news = write_news(tmp_path / "news.csv")
    rows = ingest.read(Source(uri=str(news)), DataRules(), ["text", "label"]).rows
    write(tmp_path / "lake", text=rows["text"].to_list(), label=rows["label"].to_list())
    made = []
    for table in (Source(uri=str(news)), source(tmp_path / "lake")):
        request = dataset.plan(config, table, data_name=f"news-{table.kind}", data_version="1.0.0")
        dataset.create(request)
        made.append(dataset.verify(config.datasets, request.data_name, "1.0.0"))
    assert made[0].digest == made[1].digest
    assert made[1].source == f"{tmp_path / 'lake'}@v0"
    assert made[1].source_sha256 == ingest.digest(source(f"{tmp_path / 'lake'}@v0"), DataRules())


def test_what_was_planned_is_read_even_if_the_table_has_grown(config: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    write(folder, text=[f"text {n}" for n in range(30)], label=["good", "bad", "ugly"] * 10)
    request = dataset.plan(config, source(folder), data_name="news", data_version="1.0.0")
    write(folder, text=["one more"], label=["good"])
    dataset.create(request)
    assert dataset.load(config.datasets, "news", "1.0.0").rows_in == 30
    dataset.create(request)
    with pytest.raises(ConflictError, match="other content"):
        dataset.create(dataset.plan(config, source(folder), data_name="news", data_version="1.0.0"))


def test_a_batch_is_that_of_one_version_and_the_next_version_is_another(
    champion: ModelRef, lake: Path, tmp_path: Path
) -> None:
    def inferred(table: object) -> Path:
        request = requested(champion, tmp_path / "-", tmp_path / "out").model_copy(update={"input": source(table)})
        batch.infer(request)
        return batches.locate(request)[0]

    latest = inferred(lake)
    assert batches.load(latest).input == f"{lake}@v1"
    assert inferred(f"{lake}@v1") == latest
    write(lake, id=["k4"], text=["profit"])
    assert inferred(lake) != latest
    assert inferred(f"{lake}@v1") == latest
    request = requested(champion, write_table(tmp_path / "in.csv", TEXTS), tmp_path / "csv")
    batch.infer(request)
    parts = [{k: v for k, v in tree(f).items() if k != "manifest.json"} for f in (latest, batches.locate(request)[0])]
    assert parts[0] == parts[1]


def test_rows_stand_in_the_order_of_their_commits_and_old_versions_stay(lake: Path) -> None:
    assert read(lake)["id"] == ["k0", "k1", "k2", "k3"]
    write(lake, id=["k4"], text=["new"], extra=[7])
    assert read(lake) == {"id": [f"k{n}" for n in range(5)], "text": [*TEXTS, "new"], "extra": ["", "", "", "", "7"]}
    assert read(f"{lake}@v0")["id"] == ["k0", "k1", "k2"]


def test_a_table_travels_in_chunks(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "ROWS_PER_BATCH", 2)
    assert [len(batch) for batch in delta.batches(str(lake), ["text"])] == [2, 1, 1]
    chunks = list(ingest.stream(source(lake), DataRules(), ["text"], rows_per_chunk=3))
    assert [list(chunk.index) for chunk in chunks] == [[1, 2, 3], [4]]
    assert ingest.line_count(source(lake), DataRules()) == 4


def test_columns_that_are_folders_are_read_too(tmp_path: Path) -> None:
    days = [date(2026, 1, 1), None, date(2026, 1, 2)]
    write(tmp_path / "lake", partition_by=["day", "kind"], text=["a", "b", "c"], day=days, kind=["x y", "ä/%", None])
    found = read(tmp_path / "lake")
    assert sorted(zip(*found.values(), strict=True)) == [
        ("a", "2026-01-01", "x y"),
        ("b", "", "ä/%"),
        ("c", "2026-01-02", ""),
    ]


def mark_deleted(folder: Path, row: int) -> None:
    """Delete a row of the only file by a deletion vector, as Databricks does and deltalake does not."""
    entries = [json.loads(line) for line in (folder / "_delta_log" / f"{0:020}.json").read_text().splitlines()]
    (file,) = [entry["add"] for entry in entries if "add" in entry]
    roaring = struct.pack("<IIHHIH", 12346, 1, 0, 0, 16, row)  # one container with one row
    vector = struct.pack("<IQI", 1681511377, 1, 0) + roaring
    ours = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
    z85 = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    inline = b85encode(vector.ljust(-(-len(vector) // 4) * 4, b"\0")).translate(bytes.maketrans(ours, z85)).decode()
    mark = {"storageType": "i", "pathOrInlineDv": inline, "sizeInBytes": len(vector), "cardinality": 1}
    gone = {"path": file["path"], "deletionTimestamp": 1, "dataChange": True}
    lines = [{"remove": gone}, {"add": {**file, "deletionVector": mark}}]
    (folder / "_delta_log" / f"{1:020}.json").write_text("\n".join(json.dumps(line) for line in lines))


def test_rows_that_are_only_marked_as_deleted_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"text": ["a", "b", "c", "d"]})
    write_deltalake(str(tmp_path / "lake"), table, configuration={"delta.enableDeletionVectors": "true"})
    mark_deleted(tmp_path / "lake", 2)
    monkeypatch.setattr(delta, "ROWS_PER_BATCH", 2)
    assert read(tmp_path / "lake") == {"text": ["a", "b", "d"]}
    assert read(f"{tmp_path / 'lake'}@v0") == {"text": ["a", "b", "c", "d"]}


def test_a_table_that_needs_what_is_not_known_here_is_refused(lake: Path) -> None:
    log = lake / "_delta_log" / f"{2:020}.json"
    for features, name in (({"minReaderVersion": 2, "minWriterVersion": 5}, "name"), ({}, "none")):
        protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["columnMapping"]} | features
        if protocol["minReaderVersion"] == 2:
            del protocol["readerFeatures"]
        else:
            protocol["writerFeatures"] = ["columnMapping"]
        meta = next(
            entry["metaData"]
            for entry in map(json.loads, (lake / "_delta_log" / f"{0:020}.json").read_text().splitlines())
            if "metaData" in entry
        )
        meta["configuration"] = {"delta.columnMapping.mode": name}
        log.write_text("\n".join(json.dumps(line) for line in ({"protocol": protocol}, {"metaData": meta})))
        with pytest.raises(ConfigError, match="columnMapping"):
            read(lake)


def test_what_is_not_there_is_named(lake: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{tmp_path}/none is no Delta table, or is not there"):
        read(tmp_path / "none")
    with pytest.raises(ConfigError, match=f"{lake} has no version 7: the latest is 1"):
        read(f"{lake}@v7")
    with pytest.raises(ConfigError, match=r"ftp://host/lake: scheme 'ftp' is not allowed \(data.allowed_schemes"):
        ingest.digest(source("ftp://host/lake"), DataRules())
    with pytest.raises(ConfigError, match="'file' is not allowed"):
        ingest.pinned(source(lake), DataRules(allowed_schemes=("s3",)))
    with pytest.raises(DataError, match=r"news, line 1: no column 'label'; there are 'id', 'text'"):
        read(lake, "label")
    (file,) = DeltaTable(str(lake), version=0).file_uris()
    Path(file).unlink()
    with pytest.raises(DataError, match="a file of this version is gone"):
        read(lake)


def test_a_column_that_is_no_text_is_named(tmp_path: Path) -> None:
    write(tmp_path / "lake", text=["a"], tags=[["x", "y"]])
    assert read(tmp_path / "lake") == {"text": ["a"]}
    with pytest.raises(DataError, match=r"lake, column 'tags': list<.*> cannot be read as text"):
        read(tmp_path / "lake", "tags")


def test_columns_that_nobody_named_may_hold_anything(
    champion: ModelRef, session: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dataset is read, and rows are scored, of Parquet, of a Delta table, and of a table of the catalog."""
    columns = {"id": ["k2", "k0", "k1"], "text": [*TEXTS[:3]], "label": ["good", "bad", "good"], **NESTED}
    file, name = tmp_path / "in.parquet", "spark_catalog.default.wide"
    pq.write_table(pa.table(columns), file)
    write(tmp_path / "lake", **columns)
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    session.read.parquet(str(file)).write.option("path", str(tmp_path / "t")).saveAsTable(name)
    tables = (Source(uri=str(file)), source(tmp_path / "lake"), source(name))
    try:
        for number, table in enumerate(tables):
            rows = ingest.read(table, DataRules(), ["text", "label"]).rows
            assert sorted(rows["text"]) == sorted(columns["text"])
            request = requested(champion, tmp_path, tmp_path / str(number)).model_copy(update={"input": table})
            batch.infer(request)
            assert batches.load(batches.locate(request)[0]).scored == 3
    finally:
        session.sql(f"DROP TABLE {name}")


def test_a_catalog_sorts_by_nothing_that_is_no_text(
    session: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An embedding is not read for the order of the rows either."""
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    pq.write_table(pa.table({"text": ["a", "b", "c"], **NESTED}), tmp_path / "in.parquet")
    frame = session.read.parquet(str(tmp_path / "in.parquet"))
    plan = delta._ordered(frame).select("text")._jdf.queryExecution().executedPlan().toString()
    (read_of_it,) = (line for line in plan.splitlines() if "FileScan" in line)
    assert "text" in read_of_it
    assert not [name for name in ("embedding", "meta", "counts") if name in read_of_it]


def test_the_digest_of_a_version_may_be_expected(lake: Path) -> None:
    expected = ingest.digest(source(lake), DataRules())
    assert ingest.digest(source(f"{lake}@v1"), DataRules()) == expected
    shutil.copytree(lake, lake.with_name("copy"))
    assert ingest.digest(source(lake.with_name("copy")), DataRules()) == expected
    write(lake, id=["k4"], text=["new"])
    with pytest.raises(DataError, match=f"expected {expected}"):
        ingest.read(source(lake, sha256=expected), DataRules(), ["text"])


def test_missing_deltalake_is_named_with_its_extra(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deltalake", None)
    with pytest.raises(ConfigError, match=r"needs the package deltalake. pip install 'mlops-lifecycle\[delta\]'"):
        read(lake)


def test_a_table_of_this_machine_cannot_be_brought_to_a_volume(lake: Path) -> None:
    volume = Path("/Volumes/dev/ml/mlops/data")
    with pytest.raises(ConfigError, match="of this machine cannot be brought to /Volumes/dev"):
        ingest.brought(source(lake), volume, DataRules())
    by_url = source(lake.as_uri())
    assert ingest.brought(by_url, volume, DataRules()).uri == f"{lake.as_uri()}@v1"
    named = Source(uri="dev.ml.news")
    assert ingest.brought(named, volume, DataRules()) == named  # the job asks for the version
    with pytest.raises(ConfigError, match=r"dev.ml.news is a table of a catalog, and no Spark session"):
        ingest.brought(named, lake, DataRules())
    with pytest.raises(ConfigError, match=r"dev.ml.news names no version, .* Name one: dev.ml.news@v12"):
        ingest.digest(named, DataRules())
    assert len(ingest.digest(Source(uri="dev.ml.news@v3"), DataRules())) == 64


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("dev.ml.news", "delta"),
        ("dev.ml.news@v12", "delta"),
        ("news.2026.csv", "csv"),
        ("news.2026.jsonl", "jsonl"),
        ("news.2026.txt", "csv"),
        ("news.2026.gz", "csv"),
        ("lake/dev.ml.news", "csv"),
        ("./dev.ml.news", "csv"),
        ("s3://dev.ml.news", "csv"),
        ("dev.news", "csv"),
    ],
)
def test_a_name_of_three_is_told_by_its_form(uri: str, kind: str) -> None:
    assert Source(uri=uri).kind == kind
    assert Source(uri=uri).is_in_catalog == (kind == "delta")
    assert Source(uri=uri).absolute().uri == (uri if kind == "delta" or "://" in uri else str(Path(uri).absolute()))


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dev.ml.news").write_text("text\na\n")
    assert Source(uri="dev.ml.news").kind == "csv"


def test_the_commands_look_at_a_table_before_anything_is_started(
    config: Settings, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"{lake}@v3"
    asked = DatasetRequest(source=address, source_format="delta", data_name="news", data_version="1.0.0")
    with pytest.raises(ConfigError, match="no version 3"):
        check_source(config, asked)
    _check_input(config, InferenceRequest(input=str(lake), source_format="delta"))
    with pytest.raises(ConfigError, match="no version 3"):
        _check_input(config, InferenceRequest(input=address, source_format="delta"))
    with pytest.raises(ConfigError, match="no Spark session"):
        _check_input(config, InferenceRequest(input="dev.ml.news"))
    monkeypatch.setenv("MLOPS_PLATFORM", "databricks")
    remote = settings.load("dev")
    _check_input(remote, InferenceRequest(input="dev.ml.news"))  # its job has a session
    check_source(remote, asked.model_copy(update={"source": "dev.ml.news", "source_format": None}))


@pytest.fixture(scope="module")
def session() -> Iterator[SparkSession]:
    """A session on this machine; it has no tables of Delta, so those of its catalog here have no versions."""
    made = spark.session(2)
    yield made
    made.stop()


@pytest.fixture
def catalogued(session: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A Parquet table in the session's catalog, its rows in several files, reached as on a cluster."""
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    name = "spark_catalog.default.news"
    pq.write_table(pa.table({"id": ["k3", "k1"], "text": [TEXTS[3], TEXTS[1]]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"id": ["k0", "k2"], "text": [TEXTS[0], TEXTS[2]]}), tmp_path / "b.parquet")
    frame = session.read.parquet(str(tmp_path / "*.parquet"))
    frame.repartition(3).write.option("path", str(tmp_path / "table")).mode("overwrite").saveAsTable(name)
    yield name
    session.sql(f"DROP TABLE {name}")


def test_a_table_of_the_catalog_is_read_in_the_order_of_its_cells(
    champion: ModelRef, catalogued: str, tmp_path: Path
) -> None:
    assert read(catalogued) == {"id": ["k0", "k1", "k2", "k3"], "text": list(TEXTS)}
    request = requested(champion, tmp_path / "-", tmp_path / "out").model_copy(update={"input": Source(uri=catalogued)})
    batch.infer(request)
    expected = requested(champion, write_table(tmp_path / "in.csv", TEXTS), tmp_path / "csv")
    batch.infer(expected)
    made, wanted = (tree(batches.locate(each)[0]) for each in (request, expected))
    assert made.pop("manifest.json") != wanted.pop("manifest.json")
    assert made == wanted


def test_the_digest_of_what_has_no_version_is_that_of_its_rows(session: SparkSession, catalogued: str) -> None:
    before = ingest.digest(Source(uri=catalogued), DataRules())
    session.sql(f"INSERT INTO {catalogued} VALUES ('k4', 'new')")  # noqa: S608
    after = ingest.digest(Source(uri=catalogued), DataRules())
    assert after != before
    assert ingest.digest(Source(uri=catalogued), DataRules()) == after
    assert ingest.pinned(Source(uri=catalogued), DataRules()).uri == catalogued
    assert ingest.line_count(Source(uri=catalogued), DataRules()) == 5


@pytest.mark.usefixtures("catalogued")
def test_what_the_catalog_does_not_know_is_named() -> None:
    with pytest.raises(ConfigError, match=r"spark_catalog.default.none: .*TABLE_OR_VIEW_NOT_FOUND"):
        read("spark_catalog.default.none")
    with pytest.raises(ConfigError, match=r"spark_catalog.default.news@v3: .*[Tt]ime travel"):
        read("spark_catalog.default.news@v3")


def test_an_inference_table_of_the_catalog_is_measured_by_hour(
    session: SparkSession, champion: ModelRef, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    hour, name = datetime.now(UTC).replace(minute=0, second=0, microsecond=0), "spark_catalog.default.payload"
    answer = '{"predictions": [{"label": "neutral", "score": 0.9}]}'
    rows = [
        {
            "timestamp_ms": int((hour - timedelta(hours=back)).timestamp() * 1000) + number,
            "execution_time_ms": 12,
            "status_code": 200,
            "request": json.dumps({"dataframe_records": [{"text": f"{TEXTS[number % 4]} {number}"}]}),
            "response": answer,
            "request_metadata": {"model_name": "sentiment", "model_version": "1"},
        }
        for back in (0, 4)
        for number in range(60)
    ]
    table = session.createDataFrame(rows)
    table.write.option("path", str(tmp_path / "payload")).mode("overwrite").saveAsTable(name)
    config = settings.load("dev", home=state)
    evaluation.evaluate(evaluation.request_for(champion, config.datasets, "news", "1.0.0"))
    asked = Requests(
        target=Target(tracking_uri=config.mlflow_uri, name="dev.ml.sentiment"),
        table=name,
        champion=1,
        since=hour,
        rules=MonitoringRules(served=ServedRules(window="hour", table=name)),
        root=tmp_path / "measured",
        data_root=config.datasets,
    )
    try:
        steps.run("monitor", asked.model_dump_json())
    finally:
        session.sql(f"DROP TABLE {name}")
    (found,) = store.every(tmp_path / "measured", "dev.ml.sentiment", "drift")
    assert (found.version, found.scored, found.batch) == (1, 60, f"served-{hour - timedelta(hours=4):%Y-%m-%dT%H}")
    assert {line.value for line in found.lines if line.part == "latency"} == {12.0}


def test_cells_of_the_catalog_are_those_of_parquet(
    session: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    session.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
    pq.write_table(pa.table(KINDS), tmp_path / "in.parquet")
    expected = ingest.read(Source(uri=str(tmp_path / "in.parquet")), DataRules(), ["text"]).rows
    name = "spark_catalog.default.kinds"
    session.read.parquet(str(tmp_path / "in.parquet")).write.option("path", str(tmp_path / "t")).saveAsTable(name)
    try:
        found = read(name)
    finally:
        session.sql(f"DROP TABLE {name}")
        session.conf.unset("spark.sql.session.timeZone")
    assert sorted(zip(*found.values(), strict=True)) == sorted(expected.itertuples(index=False, name=None))
