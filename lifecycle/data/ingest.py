"""Read a table strictly: every cell as text, every malformed row an error that says where.

`Source`     what to read: a path or URL and its declared form
`stream`     the rows in chunks, structure checked: the memory of one chunk
`read`       the whole table with every declared text checked as well
`unreadable` why one cell cannot be used

pandas' own readers guess: a row with a field too many shifts all columns, `NA` becomes missing, `007` becomes 7.
So fields are counted here, and encoding and delimiter are declared.
"""

import csv
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
from typing import IO, TYPE_CHECKING, Annotated, Any, cast
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from lifecycle import secrets, volumes
from lifecycle.data import delta
from lifecycle.errors import ConfigError, DataError, TransientError
from lifecycle.frozen import Frozen
from lifecycle.parameters import Format
from lifecycle.settings import DataRules

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

FIELD_LIMIT = 16_000_000
"""Characters after which a CSV field is taken for an unclosed quote instead of being read to the end of the file."""

UNUSABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters other than tab and line ends, and halves of surrogate pairs."""

NOT_FOUND, BUSY = 404, {408, 425, 429}
"""Answers of a server that waiting may cure, beside its own failures."""

SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
"""The formats by the suffix of a file; any other one is CSV."""

Row = tuple[int, int, list[str]]
"""Number of the data row from 1, number of its first line in the file from 1, and its cells."""


class Source(Frozen):
    """A table and its declared form. Nothing about it is guessed but the format and compression, from the suffix."""

    uri: Annotated[str, AfterValidator(secrets.sealed)] = Field(
        description="A path, a URL of an allowed scheme, or catalog.schema.table; its secrets are held by reference."
    )
    format: Format | None = Field(None, description="Default: from the suffix, else csv; delta for a name of three.")
    encoding: str = Field("utf-8", description="Of CSV and JSON Lines.")
    delimiter: str = Field(",", pattern=r"^[^\"\r\n\x00]$", description="Of CSV: one character.")
    sha256: str | None = Field(None, description="Expected digest of the file; another one is an error.")

    @property
    def name(self) -> str:
        """The last part of the path: what messages call the file."""
        return self.public_uri.rstrip("/").rsplit("/", 1)[-1]

    @property
    def public_uri(self) -> str:
        """The URI without query and user: signed URLs and passwords must not reach a manifest."""
        return secrets.public(self.uri)

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
        return "://" not in self.uri and self.public_uri == self.uri and not self.is_in_catalog

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
    _check_scheme(source, rules)
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
        _check_scheme(source, rules)
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


@contextmanager
def open_bytes(source: Source, rules: DataRules, *, decompress: bool = True) -> Iterator[IO[bytes]]:
    """Open a path or an allowed URL for reading; gzip is unpacked when the name ends in `.gz`."""
    import fsspec

    _check_scheme(source, rules)
    uri = secrets.revealed(source.uri)
    uri = uri if "://" in uri else str(volumes.local(Path(uri)))
    try:
        file = fsspec.open(uri, "rb").open()
    except (ConnectionError, TimeoutError):
        raise  # waiting may cure it
    except OSError as error:
        if refusal := _refusal(source, error):
            raise refusal from None
        reasons = {FileNotFoundError: "does not exist", IsADirectoryError: "is a folder"}
        reason = reasons.get(type(error), f"is not readable ({error.strerror or type(error).__name__})")
        raise ConfigError(f"{source.public_uri} {reason}.", "Check --source or --input.") from None
    except (ImportError, TypeError) as error:  # TypeError: a scheme's file system that lacks its credentials
        raise ConfigError(f"{source.public_uri}: {error}", "Install the package that serves this scheme.") from None
    except Exception as error:
        if refusal := _refusal(source, error):
            raise refusal from None
        raise
    with file:
        packed = decompress and source.name.endswith(".gz")
        yield cast(IO[bytes], gzip.GzipFile(fileobj=file)) if packed else file


def _refusal(source: Source, error: Exception) -> ConfigError | TransientError | None:
    """What a server's answer means to us, if it is one: the libraries of the schemes have its status in common."""
    status = getattr(error, "status", None) or getattr(error.__cause__, "status", None)
    if not isinstance(status, int) or status == NOT_FOUND:
        return None
    what = f"{source.public_uri}: its server answers {status}."
    if status in BUSY or status >= 500:
        return TransientError(what, "Try again.")
    return ConfigError(what, "Check the user and the signature in the address.")


def _check_scheme(source: Source, rules: DataRules) -> None:
    scheme = urlsplit(source.public_uri).scheme if "://" in source.public_uri else "file"
    if scheme not in rules.allowed_schemes and not source.is_in_catalog:
        allowed = ", ".join(rules.allowed_schemes)
        raise ConfigError(f"{source.public_uri}: scheme {scheme!r} is not allowed (data.allowed_schemes: {allowed}).")


def _records(source: Source, rules: DataRules) -> Generator[Row]:
    """Yield the header as row 0, then the data rows; the digest is checked before the first one."""
    if source.sha256 and (found := digest(source, rules)) != source.sha256:
        raise DataError(f"{source.name}: sha256 is {found}, expected {source.sha256}.", "Fetch the file again.")
    if source.kind == "delta":
        _check_scheme(source, rules)
        yield from _delta_rows(source)
        return
    read_rows = {"csv": _csv_rows, "jsonl": _jsonl_rows, "parquet": _parquet_rows}[source.kind]
    with open_bytes(source, rules) as file:
        yield from read_rows(source, file)


def _csv_rows(source: Source, file: IO[bytes]) -> Iterator[Row]:
    csv.field_size_limit(FIELD_LIMIT)
    number, header = 0, list[str]()
    with _text(source, file) as text:
        reader = csv.reader(text, delimiter=source.delimiter, strict=True)
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                hint = "Is a quote unclosed?" if "end of data" in str(error) or "limit" in str(error) else ""
                raise DataError(f"{source.name}, row {number}, line {line}: {error}.", hint) from None
            if not cells:
                continue  # an empty line holds no row
            if number and len(cells) != len(header):
                raise DataError(_miscounted(source, number, line, cells, header), "Is a comma or quote missing there?")
            header = header or cells
            yield number, line, cells
            number += 1
    if not number:
        raise DataError(f"{source.name}: the file is empty.", "Check that the export finished.")


def _miscounted(source: Source, row: int, line: int, cells: list[str], header: list[str]) -> str:
    where = (
        f"column {header[len(cells)]!r} is missing" if len(cells) < len(header) else f"extra {cells[len(header)]!r:.60}"
    )
    return f"{source.name}, row {row}, line {line}: {len(cells)} fields instead of {len(header)} ({where})."


def _jsonl_rows(source: Source, file: IO[bytes]) -> Iterator[Row]:
    number, header = 0, list[str]()
    with _text(source, file) as lines:
        for line, text in enumerate(lines, 1):
            if not text.strip():
                continue
            number += 1
            where = f"{source.name}, row {number}, line {line}"
            record = _json_object(text, where)
            if not header:
                header = list(record)
                yield 0, line, header
            if odd := sorted(record.keys() ^ set(header)):
                state = "missing" if odd[0] in header else "not in the first row"
                raise DataError(f"{where}: column {odd[0]!r} is {state}.", "Give every row the same keys.")
            yield number, line, [_json_cell(record[column], f"{where}, column {column!r}") for column in header]
    if not number:
        raise DataError(f"{source.name}: the file is empty.", "Check that the export finished.")


def _json_object(text: str, where: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise DataError(f"{where}: a key stands twice.", "Correct the row.")
        return dict(pairs)

    def constant(name: str) -> None:
        raise DataError(f"{where}: {name} is not JSON.", "Write null or a string.")

    try:
        value = json.loads(text, object_pairs_hook=unique, parse_int=str, parse_float=str, parse_constant=constant)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{where}: {error}.", "Each line must hold one JSON object.") from None
    if not isinstance(value, dict) or not value:
        raise DataError(f"{where}: {text.strip()!r:.60} is not a JSON object with keys.", "Correct the row.")
    return value


def _json_cell(value: Any, where: str) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool):
        return json.dumps(value)
    raise DataError(f"{where}: a {type(value).__name__} is not a cell.", "Write a string, a number, a boolean or null.")


def _parquet_rows(source: Source, file: IO[bytes]) -> Iterator[Row]:
    import pyarrow.parquet as pq

    parquet = pq.ParquetFile(file)
    header = parquet.schema_arrow.names
    yield 0, 0, header
    yield from _arrow_rows(source, header, parquet.iter_batches(batch_size=20_000))


def _delta_rows(source: Source) -> Iterator[Row]:
    header = delta.columns(source.uri)
    yield 0, 0, header
    yield from _arrow_rows(source, header, delta.batches(source.uri))


def _arrow_rows(source: Source, header: list[str], batches: "Iterable[pa.RecordBatch]") -> Iterator[Row]:
    import pyarrow as pa

    number = 0
    for batch in batches:
        columns = []
        for name, column in zip(header, batch.columns, strict=True):
            try:
                columns.append(["" if cell is None else cell for cell in column.cast(pa.string()).to_pylist()])
            except (pa.ArrowNotImplementedError, pa.ArrowInvalid, UnicodeDecodeError):
                where = f"{source.name}, rows {number + 1} to {number + len(column)}, column {name!r}"
                raise DataError(f"{where}: {column.type} cannot be read as text.", "Write it as a string.") from None
        for cells in zip(*columns, strict=True):
            number += 1
            yield number, 0, list(cells)


def _text(source: Source, file: IO[bytes]) -> IO[str]:
    encoding = "utf-8-sig" if source.encoding.lower().replace("_", "-") in {"utf-8", "utf8"} else source.encoding
    try:
        return io.TextIOWrapper(file, encoding=encoding, errors="strict", newline="")
    except (LookupError, ValueError):
        raise ConfigError(f"--encoding {source.encoding!r} is not known to Python.", "Try utf-8 or cp1252.") from None


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
            raise _undecodable(source, error) from None
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{source.name}: damaged Parquet: {reason}.", "Fetch the file again.") from None


def _undecodable(source: Source, error: UnicodeError) -> DataError:
    """Find the place again in the whole file: the error itself counts from the start of a buffer."""
    with open_bytes(source, DataRules(allowed_schemes=(urlsplit(source.uri).scheme or "file",))) as file:
        raw = file.read()
    try:
        raw.decode(source.encoding)
    except UnicodeDecodeError as whole:
        line = raw[: whole.start].count(b"\n") + 1
        byte = raw[whole.start : whole.start + 1].hex()
        where = f"{source.name}, line {line}, byte offset {whole.start} (0x{byte})"
        return DataError(f"{where}: not {source.encoding}: {whole.reason}.", _encoding_hint(raw))
    except UnicodeError as whole:
        return DataError(f"{source.name}: not {source.encoding}: {whole}.", _encoding_hint(raw))
    return DataError(f"{source.name}: not {source.encoding}: {error}.", _encoding_hint(raw))


def _encoding_hint(raw: bytes) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "Declare --encoding utf-16."
    if raw.startswith(b"\x1f\x8b"):
        return "The file is gzip: name it with .gz."
    return "Declare the encoding it was written in, for example --encoding cp1252."
