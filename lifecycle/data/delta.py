"""Delta tables as input: one version of a table, its rows in an order that never changes, in the memory of a chunk.

A path or URL    read by the package `deltalake`: file by file in the order they were entered, rows as they lie in them
A name of three  a table or view of the catalog, read by the Spark session that the process is offered, in the order of
                 its cells, since nothing else about it is fixed

`@v12` at the end names the version. `pinned` adds the latest one, so that whoever comes later reads the same.
"""

import re
from collections.abc import Iterator
from datetime import UTC
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from lifecycle.core import secrets, spark
from lifecycle.core.errors import CHECK_PLACE, ConfigError, DataError
from lifecycle.storage import volumes

if TYPE_CHECKING:
    import deltalake
    import pyarrow as pa
    from pyspark.sql import DataFrame

NAME = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
PINNED = re.compile(r"(?P<table>.+)@v(?P<version>\d{1,18})", re.DOTALL)
READABLE = {"deletionVectors", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck", "variantType"}
"""What a table may demand of its readers. A column that Arrow cannot turn into text is an error of its own."""

ROWS_PER_BATCH = 20_000


def is_name(table: str) -> bool:
    """Whether it is a table of a catalog, rather than a path or URL."""
    return NAME.fullmatch(table) is not None


def divided(table: str) -> tuple[str, int | None]:
    """A table without its version, and the version."""
    found = PINNED.fullmatch(table)
    return (found["table"], int(found["version"])) if found else (table, None)


def has_session() -> bool:
    """Whether a Spark session is offered to this process, which alone reaches a table of a catalog."""
    return spark.on_cluster()


def require_session(table: str) -> None:
    """Refuse a table of a catalog where no session can reach it.

    Raises:
        ConfigError: No Spark session is offered to this process.
    """
    if not has_session():
        fix = "Run the step as a Databricks job, or name a path."
        raise ConfigError(f"{table} is a table of a catalog, and no Spark session is offered here.", fix)


def require_version(table: str) -> None:
    """Refuse a table of a catalog without its version where nobody can ask for it: its batch could not be found.

    Raises:
        ConfigError: No version is named, and no Spark session is offered to this process.
    """
    name, version = divided(table)
    if is_name(name) and version is None and not has_session():
        fix = f"Name one: {name}@v12. DESCRIBE HISTORY {name} tells which there are."
        raise ConfigError(f"{name} names no version, and no Spark session is offered here that knows the latest.", fix)


def require_package() -> None:
    """Refuse a table at a path or URL where nothing can read or write it.

    Raises:
        ConfigError: The package that does is missing.
    """
    try:
        import deltalake  # noqa: F401
    except ImportError:
        raise ConfigError(
            "A Delta table needs the package deltalake.", "pip install 'mlops-lifecycle[delta]'"
        ) from None


def pinned(table: str) -> str:
    """The table with the version that it has now; a view, which has none, stays as it is.

    Raises:
        ConfigError: There is no such table or version, or it cannot be reached from here.
    """
    name, version = divided(table)
    version = _frame_version(name, version) if is_name(name) else _opened(table).version()
    return name if version is None else f"{name}@v{version}"


def identity(table: str) -> list[Any] | None:
    """What names the content of a pinned table, here and on every machine; None for what has no version."""
    name, version = divided(table)
    if not is_name(name):
        opened = _opened(table)
        return [str(opened.metadata().id), opened.version()]
    require_version(table)
    if version is None:
        version = _frame_version(name, None)
    return None if version is None else [name, version]  # not its id: who plans and reads results has no session


def count(table: str) -> int:
    """How many rows there are, or a few more: deleted ones count as long as their file is there."""
    name, version = divided(table)
    if is_name(name):
        return int(table_of(name, version).count())
    return sum(file.count_rows() for file in _files(_opened(table))[1].values())


def schema(table: str) -> "pa.Schema":
    """The columns with their types, in their order."""
    name, version = divided(table)
    return table_of(name, version).limit(0).toArrow().schema if is_name(name) else _files(_opened(table))[0]


def batches(table: str, columns: list[str]) -> Iterator["pa.RecordBatch"]:
    """Some columns of all rows in their order.

    Raises:
        DataError: A file of the version is gone.
    """
    name, version = divided(table)
    if is_name(name):
        yield from _of_frame(table_of(name, version), columns)
        return
    try:
        yield from _of_files(_opened(table), columns)
    except FileNotFoundError as error:
        what = f"{table}: a file of this version is gone: {_plain(error)}."
        raise DataError(what, "Was the table vacuumed? Name a later version.") from None


def _opened(table: str) -> "deltalake.DeltaTable":
    """A table at a path or URL, in its version."""
    require_package()
    import deltalake
    from deltalake.exceptions import DeltaError, TableNotFoundError

    name, version = divided(table)
    place = secrets.revealed(name)
    place = place if "://" in place else str(volumes.local(Path(place).absolute()))
    try:
        return deltalake.DeltaTable(place, version=version)
    except TableNotFoundError as error:
        what = f"{name} is no Delta table, or is not there: {_plain(error)}"
        raise ConfigError(what, CHECK_PLACE) from None
    except DeltaError as error:
        if version is not None and (latest := _opened(name).version()) < version:
            what = f"{name} has no version {version}: the latest is {latest}."
            raise ConfigError(what, "Name one of its versions, or none for the latest.") from None
        what = f"{table} is not readable as a Delta table: {_plain(error)}"
        raise ConfigError(what, "Name a later version if its log was cleaned up.") from None
    except OSError as error:
        raise ConfigError(f"{name} cannot be reached: {_plain(error)}", "Check its credentials.") from None


def _plain(error: Exception) -> str:
    """What an error says, in one line and without colours."""
    return " ".join(re.sub(r"\x1b\[\d*m", "", str(error)).split())[:300]


def _files(opened: "deltalake.DeltaTable") -> tuple["pa.Schema", dict[str, Any]]:
    """The columns of a version and its files by URL, in the order of the time in the log: what is appended comes last.

    Arrow reads the files itself, because deltalake's own way to it knows no deletion vectors, and calls Python from
    threads that outlive it.
    """
    import pyarrow as pa
    from pyarrow import dataset, fs

    _check_features(opened)
    schema, log = pa.schema(opened.schema().to_arrow()), pa.table(opened.get_add_actions(flatten=True)).to_pylist()
    try:
        system, root = fs.FileSystem.from_uri(opened.table_uri.rstrip("/"))
    except pa.ArrowInvalid as error:
        raise ConfigError(f"{opened.table_uri}: {_plain(error)}", "Name a URL that Arrow reads.") from None
    below, form, files = fs.SubTreeFileSystem(root, system), dataset.ParquetFileFormat(), dict[str, Any]()
    for entry in sorted(log, key=lambda entry: (entry["modification_time"], entry["path"])):
        fragment = form.make_fragment(unquote(entry["path"]), below, _partition(opened, entry, schema))
        files[opened.table_uri + entry["path"]] = fragment
    return schema, files


def _check_features(opened: "deltalake.DeltaTable") -> None:
    mapping = opened.metadata().configuration.get("delta.columnMapping.mode", "none")
    unknown = set(opened.protocol().reader_features or ()) - READABLE
    if mapping != "none" or unknown:
        needed = ", ".join(sorted(unknown)) or "columnMapping"
        what = f"{opened.table_uri} needs {needed}, which is not supported here."
        raise ConfigError(what, "Read it by its name in the catalog, or write a plain copy.")


def _partition(opened: "deltalake.DeltaTable", entry: dict[str, Any], schema: "pa.Schema") -> Any:
    """What holds for the rows of a file by its entry in the log: the columns that are not in the file."""
    import pyarrow as pa
    import pyarrow.compute as pc

    holds = pc.scalar(True)
    for name in opened.metadata().partition_columns:
        value = pa.scalar(entry[f"partition.{name}"]).cast(schema.field(name).type)
        holds &= pc.field(name) == value if value.is_valid else pc.field(name).is_null()
    return holds


def _of_files(opened: "deltalake.DeltaTable", columns: list[str]) -> Iterator["pa.RecordBatch"]:
    """The rows of each file but the deleted ones, whose file stays as it is until it is written anew."""
    import pyarrow as pa

    schema, files = _files(opened)
    marked = pa.table(opened.deletion_vectors().read_all())
    kept = {url.as_py(): mask for url, mask in zip(*marked.columns, strict=True)}
    for url, file in files.items():
        mask, start = kept.get(url), 0
        batches = file.to_batches(
            schema=schema, columns=columns, batch_size=ROWS_PER_BATCH, batch_readahead=1, use_threads=False
        )
        for batch in batches:
            end = start + len(batch)
            yield batch if mask is None else batch.filter(mask.values[start:end])
            start = end


def table_of(name: str, version: int | None) -> "DataFrame":
    """A table or view of the catalog, in its version."""
    from pyspark.errors import AnalysisException

    require_session(name)
    try:
        if version is None:
            found = spark.session().table(_quoted(name))
        else:
            found = spark.session().sql(f"SELECT * FROM {_quoted(name)} VERSION AS OF {version}")  # noqa: S608
        _ = found.schema  # over Spark Connect nothing is looked up before it is asked for
    except AnalysisException as error:
        said = " ".join(str(error).partition("\n")[0].split())
        table = name if version is None else f"{name}@v{version}"
        raise ConfigError(f"{table}: {said:.300}", "Check its name, its version and the grants on it.") from None
    return found


def _frame_version(name: str, version: int | None) -> int | None:
    """The version that is asked for, else the latest, else None: what is no Delta table has no history."""
    from pyspark.errors import AnalysisException

    table_of(name, version)
    if version is not None:
        return version
    try:
        return int(spark.session().sql(f"DESCRIBE HISTORY {_quoted(name)} LIMIT 1").collect()[0]["version"])
    except AnalysisException:
        return None


def _quoted(name: str) -> str:
    return ".".join(f"`{part}`" for part in name.split("."))


def _of_frame(frame: "DataFrame", columns: list[str]) -> Iterator["pa.RecordBatch"]:
    """The rows in their order; the driver holds one partition of them at a time."""
    import pyarrow as pa

    chosen = [frame[f"`{name}`"] for name in columns]
    schema = pa.schema([(field.name, _in_utc(field.type)) for field in frame.limit(0).select(*chosen).toArrow().schema])
    rows = _ordered(frame).select(*chosen).toLocalIterator()
    while chunk := list(islice(rows, ROWS_PER_BATCH)):
        cells = zip(schema, zip(*chunk, strict=True), strict=True)
        yield pa.RecordBatch.from_arrays([_array(field.type, each) for field, each in cells], schema=schema)


def _ordered(frame: "DataFrame") -> "DataFrame":
    """Sorted by all cells that can be asked for: rows that compare equal are equal in what is read of them.

    Lists and objects cannot, and are often the most of a table: an embedding is not even read.
    """
    nested = ("array", "map", "struct", "variant")
    names = [name for name, kind in frame.dtypes if not kind.startswith(nested)]
    return frame.orderBy(*(frame[f"`{name}`"].cast("string") for name in names))


def _in_utc(kind: "pa.DataType") -> "pa.DataType":
    """The type; moments in UTC, as in a file, rather than in the zone of the session."""
    import pyarrow as pa

    return kind if getattr(kind, "tz", None) is None else pa.timestamp(kind.unit, "UTC")


def _array(kind: "pa.DataType", cells: tuple[Any, ...]) -> "pa.Array":
    """What Arrow makes of Spark's cells, which hold moments in the zone of this machine, without saying so."""
    import pyarrow as pa

    if getattr(kind, "tz", None) is None:
        return pa.array(cells, kind)
    return pa.array([cell and cell.astimezone(UTC) for cell in cells], kind)
