"""Predictions in a Delta table, beside the published files: each batch once, however often it is entered.

A batch is replaced whole, in one transaction, by the predicate that names its model, version and batch. The published
folder stays the record: a table can be filled from it again at any time.

A path or URL    written by the package `deltalake`, without Spark
A name of three  a table of Unity Catalog, written by the Spark session of the cluster that the step runs on
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from lifecycle.core import secrets, spark
from lifecycle.core.errors import ConfigError, TransientError
from lifecycle.core.names import ProblemName
from lifecycle.data import delta
from lifecycle.data.delta import is_name
from lifecycle.inference import manifest as batches
from lifecycle.inference.manifest import BatchManifest
from lifecycle.problems.known import named
from lifecycle.storage import volumes

logger = logging.getLogger(__name__)


def columns_of(problem: ProblemName, beside: Mapping[str, str] | None = None) -> dict[str, str]:
    """The columns of the parts, also those beside the prediction, then what the folder says, each with its type."""
    made_by = {"model_name": "string", "model_version": "bigint", "run_id": "string"}
    of_parts = {"row": "bigint", "input_key": "string", **named(problem).prediction, **made_by}
    return of_parts | {"logical_date": "date", "batch": "string"} | dict(beside or {})


def absolute(table: str) -> str:
    """The table, wherever the step runs: a path is made absolute, and secrets are held by reference."""
    table = secrets.sealed(table)
    return table if is_name(table) or "://" in table else str(Path(table).expanduser().absolute())


def require(table: str) -> None:
    """Refuse a table that cannot be written from here, before a row is scored.

    Raises:
        ConfigError: The package or the session that writes it is missing, or a volume is meant to hold it.
    """
    if is_name(table):
        delta.require_session(table)
        return
    if table.startswith("/Volumes/"):
        raise ConfigError(f"{table}: a volume cannot hold a Delta table.", "Name a table: catalog.schema.table")
    delta.require_package()


def write(folder: Path, table: str, instead_of: Path | None = None) -> None:
    """Enter a published batch, unless it is there already: by the number of its rows, since a model never changes.

    The rows of a batch that it takes the place of go in the same transaction.

    Raises:
        ConfigError: The table has other columns, or cannot be reached.
        TransientError: Another writer was faster; both can try again.
    """
    manifest = batches.load(folder)
    own = gone = predicate(folder, manifest)
    if instead_of:
        gone = f"({own}) OR ({predicate(instead_of, batches.load(instead_of))})"
    written = (_by_spark if is_name(table) else _by_deltalake)(Entry(folder, manifest, own, gone), table)
    state = "Entered" if written else "In place:"
    logger.info("%s %s predictions in the table %s", state, f"{manifest.scored:,}", table)


class Entry(NamedTuple):
    """A published batch, with the conditions of its own rows and of all that it takes the place of."""

    folder: Path
    manifest: BatchManifest
    own: str
    gone: str

    def is_in(self, count: Callable[[str], int]) -> bool:
        """Whether a table, whose rows are counted by a condition, holds all of it and nothing that is to be gone."""
        return count(self.own) == count(self.gone) == self.manifest.scored


def predicate(folder: Path, manifest: BatchManifest) -> str:
    """The SQL condition that holds for the rows of one batch, and for no others."""
    version = (
        f"model_name = '{manifest.model_name}' AND model_version = {manifest.model_version}"
        if manifest.model_version
        else f"model_version IS NULL AND run_id = '{manifest.run_id}'"
    )
    return f"{version} AND batch = '{folder.name}'"


def _parts(folder: Path, manifest: BatchManifest) -> list[Path]:
    """The files with predictions, where this machine, or its cluster, reads them."""
    there = volumes.local(folder)
    return [there / name for name in sorted(manifest.parts) if name != batches.REJECTED]


def _by_deltalake(entry: Entry, table: str) -> bool:
    import deltalake
    from deltalake.exceptions import CommitFailedError, DeltaError, SchemaMismatchError

    place, (folder, manifest) = secrets.revealed(table), entry[:2]
    try:
        if deltalake.DeltaTable.is_deltatable(place):
            there = deltalake.DeltaTable(place)
            if entry.is_in(lambda rows: _count(there, rows)):
                return False
        deltalake.write_deltalake(place, _stream(folder, manifest), mode="overwrite", predicate=entry.gone)
    except CommitFailedError as error:
        raise TransientError(f"{table}: another writer was faster: {error}.", "Run it again.") from None
    except (SchemaMismatchError, DeltaError) as error:
        raise ConfigError(
            f"{table}: {error!s:.300}",
            f"It must have the columns {', '.join(columns_of(manifest.problem, manifest.beside))}.",
        ) from None
    return True


def _count(table: object, rows: str) -> int:
    from deltalake import QueryBuilder

    found = QueryBuilder().register("predictions", table).execute(f"SELECT count(*) FROM predictions WHERE {rows}")  # noqa: S608
    return int(found.read_all().column(0)[0].as_py())


def _stream(folder: Path, manifest: BatchManifest) -> pa.RecordBatchReader:
    """The rows of a batch in the memory of a few chunks.

    Arrow reads them without Python: deltalake waits for a Python iterator and for its own locks at once, and may do so
    for ever when two threads write.
    """
    kinds = {"bigint": pa.int64(), "string": pa.string(), "double": pa.float64(), "date": pa.date32()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns_of(manifest.problem, manifest.beside).items()])
    columns = {name: pc.field(name) for name in schema.names}
    columns["logical_date"] = pc.scalar(pa.scalar(manifest.logical_date, pa.date32()))
    columns["batch"] = pc.scalar(folder.name)
    paths = [str(path) for path in _parts(folder, manifest)]
    if not paths:
        return schema.empty_table().to_reader()
    return ds.dataset(paths, schema=schema, format="parquet").scanner(columns=columns, batch_size=10_000).to_reader()


def _by_spark(entry: Entry, table: str) -> bool:
    """Replace the rows of the batch in a table of the catalog, which is made if it is not there."""
    from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
    from pyspark.errors import PySparkException
    from pyspark.sql.functions import lit

    session, (folder, manifest) = spark.session(), entry[:2]
    try:
        if session.catalog.tableExists(table) and entry.is_in(lambda rows: session.table(table).where(rows).count()):
            return False
        paths = [str(path) for path in _parts(folder, manifest)]
        columns = columns_of(manifest.problem, manifest.beside)
        parts = session.read.parquet(*paths) if paths else session.createDataFrame([], _schema(columns))
        day = lit(manifest.logical_date).cast("date")
        frame = parts.withColumn("logical_date", day).withColumn("batch", lit(folder.name)).select(*columns)
        frame.limit(0).write.format("delta").mode("ignore").saveAsTable(table)
        frame.write.format("delta").mode("overwrite").option("replaceWhere", entry.gone).saveAsTable(table)
    except (PySparkException, Py4JJavaError) as error:
        raise _ours(table, error) from None
    return True


def _ours(table: str, error: Exception) -> Exception:
    """Our error for one of Spark's about a table: it names the condition in brackets; another one is left as it is."""
    from pyspark.errors import AnalysisException

    said = " ".join(str(error).partition("\n\tat ")[0].split())
    if "CONCURRENT" in said:
        return TransientError(f"{table}: another writer was faster: {said:.300}", "Run it again.")
    if isinstance(error, AnalysisException) or "_NOT_FOUND]" in said:
        return ConfigError(f"{table}: {said:.300}", "Check its columns, and the grants on its schema.")
    return error


def _schema(columns: Mapping[str, str]) -> str:
    return ", ".join(f"`{name}` {kind}" for name, kind in columns.items())
