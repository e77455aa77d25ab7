"""Read a table strictly: every cell as text, every malformed row an error that says where.

`Source`     what to read: a path or URL and its declared form
`stream`     the rows in chunks, structure checked: the memory of one chunk
`read`       the whole table with every declared text checked as well
`unreadable` why one cell cannot be used

pandas' own readers guess: a row with a field too many shifts all columns, `NA` becomes missing, `007` becomes 7.
So fields are counted here, and encoding and delimiter are declared.
"""

import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from pydantic import Field

from lifecycle import volumes
from lifecycle.data import delta
from lifecycle.data.opening import check_scheme, open_bytes
from lifecycle.data.readers import Row, csv, jsonl, parquet, text
from lifecycle.errors import ConfigError, DataError
from lifecycle.frozen import Frozen
from lifecycle.parameters import Format
from lifecycle.settings import DataRules

if TYPE_CHECKING:
    import pandas as pd

UNUSABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters other than tab and line ends, and halves of surrogate pairs."""

SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
"""The formats by the suffix of a file; any other one is CSV."""


class Source(Frozen):
    """A table and its declared form. Nothing about it is guessed but the format and compression, from the suffix."""

    uri: str = Field(description="A path, a URL of an allowed scheme, or catalog.schema.table.")
    format: Format | None = Field(None, description="Default: from the suffix, else csv; delta for a name of three.")
    encoding: str = Field("utf-8", description="Of CSV and JSON Lines.")
    delimiter: str = Field(",", pattern=r"^[^\"\r\n\x00]$", description="Of CSV: one character.")
    sha256: str | None = Field(None, description="Expected digest of the file; another one is an error.")

    @property
    def name(self) -> str:
        """The last part of the path: what messages call the file."""
        path = self.uri.split("?", 1)[0] if "://" in self.uri else self.uri
        return path.rstrip("/").rsplit("/", 1)[-1]

    @property
    def public_uri(self) -> str:
        """The URI without query and user: signed URLs and passwords must not reach a manifest."""
        parts = urlsplit(self.uri)
        if "://" not in self.uri:
            return self.uri
        return f"{parts.scheme}://{parts.netloc.rsplit('@', 1)[-1]}{parts.path}"

    @property
    def kind(self) -> str:
        """The format: declared, else by the suffix (under `.gz`), else CSV, unless it is the name of a table."""
        suffix = Path(self.name.removesuffix(".gz")).suffix.lower()
        by_name: Format = "delta" if self._has_name_of_table and not self.name.endswith(".gz") else "csv"
        return self.format or SUFFIXES.get(suffix, by_name)

    @property
    def is_in_catalog(self) -> bool:
        """Whether it is a table of a catalog, which only a Spark session can read."""
        return self.kind == "delta" and self._has_name_of_table

    @property
    def is_path(self) -> bool:
        """Whether it is a file or folder, of this machine or of a volume."""
        return "://" not in self.uri and not self.is_in_catalog

    @property
    def _has_name_of_table(self) -> bool:
        return delta.is_name(delta.divided(self.uri)[0]) and not Path(self.uri).exists()

    def absolute(self) -> "Source":
        """The same table, whatever the working directory is."""
        return self.model_copy(update={"uri": str(Path(self.uri).absolute())}) if self.is_path else self


def read(source: Source, rules: DataRules, columns: Iterable[str]) -> "pd.DataFrame":
    """Read a whole table into string columns; its index is the row number, from 1.

    `columns` must be in it, and every cell of the table must be readable text within `rules.max_cell_bytes`.

    Raises:
        ConfigError: The source does not exist, or its scheme is not allowed.
        DataError: The file, a row or a cell is malformed; the message names file, row, line and column.
    """
    import pandas as pd

    frames = list(stream(source, rules, columns, rows_per_chunk=100_000))
    if not frames:
        raise DataError(f"{source.name}: no data rows after the header.", "Check that the export finished.")
    frame = pd.concat(frames)
    for column in frame.columns:
        for row, cell in frame[column].items():
            if problem := unreadable(cell, rules):
                is_c1 = "U+008" in problem or "U+009" in problem  # where latin-1 has controls, cp1252 has quotes
                fix = "If the file is cp1252, declare --encoding cp1252." if is_c1 else "Correct the row."
                raise DataError(f"{source.name}, row {row}, column {column!r}: {problem}.", fix)
    return frame.astype("str")


def stream(
    source: Source, rules: DataRules, columns: Iterable[str], *, rows_per_chunk: int
) -> Iterator["pd.DataFrame"]:
    """Yield the table in chunks of object columns (str cells), indexed by row number, from 1.

    Structure is checked as it streams (header, field counts, encoding, quotes); cells are not: see `unreadable`.
    """
    import pandas as pd

    with _translating(source), closing(_records(source, rules)) as records:
        header = next(records)[2]
        _check_header(source, header, columns)
        while chunk := list(islice(records, rows_per_chunk)):
            index = pd.Index([row for row, _, _ in chunk], name="row")
            yield pd.DataFrame([cells for _, _, cells in chunk], columns=header, index=index, dtype=object)


def unreadable(cell: str, rules: DataRules) -> str | None:
    """Say why a cell cannot be used as text, or return None."""
    if found := UNUSABLE.search(cell):
        return f"unusable character U+{ord(found.group()):04X} at position {found.start() + 1}"
    if len(cell) * 4 > rules.max_cell_bytes and (size := len(cell.encode())) > rules.max_cell_bytes:
        return f"{size:,} bytes are more than {rules.max_cell_bytes:,} (data.max_cell_bytes)"
    return None


def brought(source: Source, folder: Path, rules: DataRules) -> Source:
    """The same table where those who read `folder` can read it: if that is on a volume, a file is copied there.

    A Delta table gets the version that is to be read, except by those who alone can ask for it, on a cluster.

    Raises:
        ConfigError: It is not there, or is a Delta table of this machine, which cannot be copied.
    """
    remotely = volumes.on_volume(folder)
    if source.is_in_catalog and remotely and not delta.has_session():
        return source
    if source.kind == "delta":
        if remotely and source.is_path and not volumes.on_volume(Path(source.uri).absolute()):
            what = f"{source.uri}: a Delta table of this machine cannot be brought to {folder}."
            raise ConfigError(what, "Name a table of the catalog, a URL, a table on a volume, or a Parquet file.")
        return pinned(source, rules)
    if not (remotely and source.is_path):
        return source
    require(source, rules)
    return source.model_copy(update={"uri": str(volumes.bring(Path(source.uri).absolute(), folder))})


def pinned(source: Source, rules: DataRules) -> Source:
    """The same table, of Delta in the version that it has now; a file has no versions.

    Raises:
        ConfigError: There is no such table or version, or it cannot be reached from here.
    """
    if source.kind != "delta":
        return source
    check_scheme(source, rules)
    return source.model_copy(update={"uri": delta.pinned(source.uri)})


def require(source: Source, rules: DataRules) -> None:
    """Refuse a table that is not there, before anything is done about it.

    Raises:
        ConfigError: It is not there, or its scheme is not allowed.
    """
    if source.kind == "delta":
        pinned(source, rules)
        return
    with open_bytes(source, rules):
        pass


def digest(source: Source, rules: DataRules) -> str:
    """The sha256 of the file's bytes; of a Delta table, that of its identity and version; of a view, of its rows."""
    if source.kind == "delta":
        check_scheme(source, rules)
        known = delta.identity(source.uri)
        content = [known] if known else (cells for _, _, cells in _delta_rows(source))
        total = hashlib.sha256()
        for part in content:
            total.update(json.dumps(part).encode() + b"\n")
        return total.hexdigest()
    with open_bytes(source, rules, decompress=False) as file:
        return hashlib.file_digest(cast(io.BufferedReader, file), "sha256").hexdigest()


def line_count(source: Source, rules: DataRules) -> int:
    """Rows of a Parquet table, lines of a text: never less than its rows, and read in a moment."""
    import pyarrow.parquet as pq

    if source.kind == "delta":
        return delta.count(source.uri)
    with open_bytes(source, rules) as file:
        if source.kind == "parquet":
            return int(pq.ParquetFile(file).metadata.num_rows)
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def _records(source: Source, rules: DataRules) -> Generator[Row]:
    """Yield the header as row 0, then the data rows; the digest is checked before the first one."""
    if source.sha256 and (found := digest(source, rules)) != source.sha256:
        raise DataError(f"{source.name}: sha256 is {found}, expected {source.sha256}.", "Fetch the file again.")
    if source.kind == "delta":
        check_scheme(source, rules)
        yield from _delta_rows(source)
        return
    read_rows = {"csv": csv.rows, "jsonl": jsonl.rows, "parquet": parquet.rows}[source.kind]
    with open_bytes(source, rules) as file:
        yield from read_rows(source, file)


def _delta_rows(source: Source) -> Iterator[Row]:
    header = delta.columns(source.uri)
    yield 0, 0, header
    yield from parquet.of_batches(source, header, delta.batches(source.uri))


def _check_header(source: Source, header: list[str], columns: Iterable[str]) -> None:
    for position, column in enumerate(header, 1):
        if found := UNUSABLE.search(column):
            what = f"{source.name}, line 1: the name of column {position} has character U+{ord(found.group()):04X}."
            raise DataError(what, "Correct the header.")
        if not column.strip():
            raise DataError(f"{source.name}, line 1: the name of column {position} is empty.", "Name every column.")
        if column != column.strip():
            raise DataError(f"{source.name}, line 1: column {column!r} has blanks around its name.", "Remove them.")
        if column in header[: position - 1]:
            raise DataError(f"{source.name}, line 1: column {column!r} stands twice.", "Rename one of them.")
    for column in columns:
        if column not in header:
            names = ", ".join(repr(name)[:40] for name in header[:20])
            raise DataError(f"{source.name}, line 1: no column {column!r}; there are {names}.", _hint(header, column))


def _hint(header: list[str], column: str) -> str:
    close = [name for name in header if name.lower() == column.lower()]
    if close:
        return f"Did you mean {close[0]!r}?"
    if header[0].lstrip().lower().startswith(("<!doctype", "<html")):
        return "This is a web page, not a table: was the download an error page?"
    if len(header) == 1 and (found := [sign for sign in ";\t|" if sign in header[0]]):
        return f"Declare --delimiter {found[0]!r}."
    return "Does the file have a header row? Name the columns with --text-column and --label-column."


@contextmanager
def _translating(source: Source) -> Iterator[None]:
    """Turn the libraries' errors about the content of a file into ours."""
    import pyarrow as pa

    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{source.name}: damaged gzip: {error}.", "Fetch the file again.") from None
    except (UnicodeError, OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and (
            type(error) is not OSError or error.errno or source.kind not in {"parquet", "delta"}
        ):
            raise  # the disk or the network; Arrow raises a bare OSError for damaged content
        if isinstance(error, UnicodeError) and source.kind not in {"parquet", "delta"}:
            raise text.undecodable(source, error) from None
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{source.name}: damaged Parquet: {reason}.", "Fetch the file again.") from None
