"""A batch that lies on a volume is entered in a Delta table like any other; a table that lies there is a source."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, QueryBuilder, write_deltalake

from lifecycle.data import ingest
from lifecycle.data.source import Source
from lifecycle.inference import manifest as batches
from lifecycle.inference import tables
from lifecycle.inference.manifest import BatchManifest
from lifecycle.settings.rules import DataRules
from lifecycle.storage import volumes
from lifecycle.storage.files import sha256_of, write_json

ROWS = {
    "row": [1, 3],
    "input_key": ["a", "c"],
    "label": ["positive", "negative"],
    "score": [0.75, 0.5],
    "model_name": ["dev.ml.sentiment"] * 2,
    "model_version": [4] * 2,
    "run_id": ["0a1b"] * 2,
}


def published(folder: Path, staged: Path) -> Path:
    """A batch of two predictions, published in a folder of a volume."""
    part = staged / "part-00000.parquet"
    staged.mkdir()
    pq.write_table(pa.table(ROWS), part)
    manifest = BatchManifest(
        model_name="dev.ml.sentiment",
        model_version=4,
        run_id="0a1b",
        artifact_sha256="0" * 64,
        input="news.csv",
        input_digest="1" * 64,
        text_column="text",
        key_column="id",
        rows_in=2,
        scored=2,
        rejected={},
        labels={"negative": 1, "positive": 1},
        parts={part.name: sha256_of(part)},
        code_version="test",
    )
    write_json(staged / batches.MANIFEST, manifest.model_dump(mode="json"))
    volumes.publish(staged, folder)
    return folder


@pytest.mark.usefixtures("databricks_env")
def test_the_table_names_the_batch_by_its_folder_on_the_volume(tmp_path: Path) -> None:
    name = f"2026-11-20-{tmp_path.name}"
    folder = published(Path("/Volumes/dev/ml/mlops/predictions/dev.ml.sentiment/4", name), tmp_path / "staged")
    table = str(tmp_path / "lake")
    tables.write(folder, table)
    tables.write(folder, table)
    found = QueryBuilder().register("found", DeltaTable(table)).execute("SELECT * FROM found ORDER BY row").read_all()
    assert pa.table(found).to_pydict() == ROWS | {"logical_date": [None] * 2, "batch": [name] * 2}
    assert DeltaTable(table).version() == 0


def carried(table: Path, folder: Path) -> None:
    """Copy a table to a volume, its files before the log that names them."""
    for file in sorted(table.rglob("*.*"), key=lambda path: path.suffix == ".json"):
        volumes.upload(file, folder / file.relative_to(table))


@pytest.mark.usefixtures("databricks_env")
def test_a_table_on_a_volume_is_read_in_the_version_that_was_planned(tmp_path: Path) -> None:
    folder, table = Path("/Volumes/dev/ml/mlops/lake", tmp_path.name), tmp_path / "lake"
    write_deltalake(str(table), pa.table({"text": ["a", "b"], "day": ["x y", "z"]}), partition_by=["day"])
    carried(table, folder)
    found = Source(uri=str(folder), format="delta")
    planned = ingest.brought(found, Path("/Volumes/dev/ml/mlops/data"), DataRules())
    assert planned.uri == f"{folder}@v0"
    write_deltalake(str(table), pa.table({"text": ["c"], "day": ["z"]}), mode="append")
    carried(table, folder)
    assert sorted(ingest.read(planned, DataRules(), ["text"]).rows["text"]) == ["a", "b"]
    assert sorted(ingest.read(found, DataRules(), ["text"]).rows["text"]) == ["a", "b", "c"]
