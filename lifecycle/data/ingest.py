"""Read a table strictly: every cell as text, every malformed row an error that says where.

`stream`   the columns that are asked for in chunks, structure checked: the memory of one chunk
`read`     the whole table, and which rows have a cell that cannot be used

pandas' own readers guess: a row with a field too many shifts all columns, `NA` becomes missing, `007` becomes 7.
So fields are counted here, and encoding and delimiter are declared. What lies in a column that nobody asked for is
nobody's problem.
"""

import codecs
import gzip
import hashlib
import json
import logging
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lifecycle.core.errors import ConfigError, DataError
from lifecycle.data import cells, delta
from lifecycle.data.opening import Content, changed, check_scheme, opened
from lifecycle.data.readers import ROWS_PER_BLOCK, Block, Problems, Wanted, csv, header, jsonl, parquet, text
from lifecycle.data.source import Source
from lifecycle.settings.rules import DataRules
from lifecycle.storage import volumes

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

Columns = Mapping[str, str] | Iterable[str]
"""Columns that are asked for; as a mapping, each with the option that names it."""


class Table(NamedTuple):
    """A table that was read: its rows as strings, by number from 1, and the sha256 of what was read.

    `unusable` has the reason of each row with a cell that cannot be used, and `said` one sentence about the first.
    """

    rows: "pd.DataFrame"
    unusable: dict[int, str]
    said: str
    sha256: str


def read(source: Source, rules: DataRules, columns: Columns, *, most: int | None = None) -> Table:
    """Read a whole table, or its first rows: the columns that are asked for and, as far as they hold texts, all others.

    Raises:
        ConfigError: The source does not exist, or its scheme is not allowed.
        ConflictError: It changed while it was read.
        DataError: The file or a row is malformed; the message names row, line and column for each kind of problem.
    """
    import pandas as pd

    wanted, problems = Wanted(_options(columns), others=True), Problems(source.name)
    frames, no_texts, unusable, said = list["pd.DataFrame"](), set[str](), dict[int, str](), ""
    with _reading(source, rules, wanted, ROWS_PER_BLOCK, problems) as reading:
        for block in reading.blocks:
            for row, reason, place in cells.unusable_rows(block, wanted, rules, problems):
                unusable.setdefault(row, reason)
                said = said or place
            no_texts |= {
                name for name in block.cells.keys() - wanted.columns.keys() if cells.are_mixed(block.cells[name])
            }
            kept = {name: cells.storable(block.cells[name]) for name in block.cells if name not in no_texts}
            frames.append(pd.DataFrame(kept, index=block.rows, dtype=object))
            if most is not None and sum(map(len, frames)) >= most:
                break
    if not frames:
        raise DataError(f"{source.name}: no data rows after the header.", "Check that the export finished.")
    if no_texts:
        header.tell_left_out(source.name, sorted(no_texts), header.NESTED)
    whole = pd.concat(frames).rename_axis("row").drop(columns=[*no_texts], errors="ignore").fillna("")[:most]
    return Table(whole.astype("str"), unusable, f"{said}{_latin_hint(source, said)}", reading.sha256)


def stream(
    source: Source,
    rules: DataRules,
    columns: Columns,
    *,
    rows_per_chunk: int,
    sha256: str | None = None,
    also: Collection[str] = (),
) -> Iterator["pd.DataFrame"]:
    """Yield the columns that are asked for in chunks of object columns, indexed by row number, from 1.

    With them come those of `also` that are there. Structure is checked as it streams; cells are not
    (`cells.unusable`). With `sha256` any other content is a change.

    Raises:
        ConflictError: It changed while it was read, which shows after the last chunk.
    """
    wanted, problems = Wanted(_options(columns), others=bool(also)), Problems(source.name)
    with _reading(source, rules, wanted, rows_per_chunk, problems, sha256) as reading:
        for frame in _in_chunks(reading.blocks, {*wanted.columns, *also}, rows_per_chunk):
            if not problems:  # from the first problem on it is read only to tell all of them
                yield frame


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
    with opened(source, rules):
        pass


def digest(source: Source, rules: DataRules) -> str:
    """The sha256 of the file's bytes; of a Delta table, that of its identity and version; of a view, of its rows."""
    if source.kind == "delta":
        with _of_delta(source, rules, Wanted({}, others=True)) as reading:
            for _ in reading.blocks if not reading.sha256 else ():
                pass
        return reading.sha256
    with opened(source, rules) as content:
        content.whole()
        return content.settle()


def line_count(source: Source, rules: DataRules) -> int:
    """Rows of a Parquet table, lines of a text: never less than its rows, and read in a moment."""
    import pyarrow.parquet as pq

    if source.kind == "delta":
        return delta.count(source.uri)
    with opened(source, rules) as content:
        if source.kind == "parquet":
            return int(pq.ParquetFile(content.whole()).metadata.num_rows)
        file = content.stream()
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


class Reading:
    """A table that is being read; its digest is known at the end."""

    def __init__(self, blocks: Iterable[Block], sha256: str = "") -> None:
        self.blocks, self.sha256 = blocks, sha256


@contextmanager
def _reading(
    source: Source, rules: DataRules, wanted: Wanted, size: int, problems: Problems, sha256: str | None = None
) -> Iterator[Reading]:
    """Open a table; at the end it must have been one content, and what is wrong with its rows is raised."""
    if source.kind == "delta":
        with _of_delta(source, rules, wanted, sha256) as reading:
            yield reading
            if problems:
                raise problems.error()
        return
    readers = {"csv": csv.blocks, "jsonl": jsonl.blocks, "parquet": parquet.blocks}
    with opened(source, rules, sha256) as content:
        reading = Reading(readers[source.kind](source, content, wanted, size, problems))
        with _translating(source, content):
            yield reading
        if problems:
            raise _explained(source, content, problems)
        reading.sha256 = content.settle()


@contextmanager
def _of_delta(source: Source, rules: DataRules, wanted: Wanted, sha256: str | None = None) -> Iterator[Reading]:
    """Open a Delta table, whose version is its digest; a view has none, so all its rows are digested as they pass."""
    check_scheme(source, rules)
    known = delta.identity(source.uri)
    total = hashlib.sha256()
    if known:
        total.update(json.dumps(known).encode() + b"\n")
        reading = Reading(_delta_blocks(source, wanted), total.hexdigest())
        _require_expected(source, reading.sha256, sha256)
        yield reading
        return
    reading = Reading(_digested(_delta_blocks(source, wanted._replace(others=True)), total))
    yield reading
    reading.sha256 = total.hexdigest()
    _require_expected(source, reading.sha256, sha256)


def _require_expected(source: Source, found: str, sha256: str | None) -> None:
    if sha256 not in (None, found):
        raise changed(source)
    if source.sha256 not in (None, found):
        raise DataError(f"{source.name}: sha256 is {found}, expected {source.sha256}.", "Fetch the file again.")


def _delta_blocks(source: Source, wanted: Wanted) -> Iterator[Block]:
    names = parquet.chosen(source.name, delta.schema(source.uri), wanted)
    yield from parquet.of_batches(names, delta.batches(source.uri, names))


def _digested(blocks: Iterable[Block], total: Any) -> Iterator[Block]:
    for block in blocks:
        for row in zip(*block.cells.values(), strict=True):
            total.update(json.dumps(row).encode() + b"\n")
        yield block


def _in_chunks(blocks: Iterable[Block], columns: Collection[str], size: int) -> Iterator["pd.DataFrame"]:
    """The blocks as frames of equal size, but the last one."""
    import pandas as pd

    waiting = list["pd.DataFrame"]()
    for block in chain(blocks, [None]):
        if block:
            kept = {name: cells for name, cells in block.cells.items() if name in columns}
            waiting.append(pd.DataFrame(kept, index=pd.Index(block.rows, name="row"), dtype=object))
        while waiting and (sum(map(len, waiting)) >= size or not block):
            whole = pd.concat(waiting) if len(waiting) > 1 else waiting[0]
            yield whole.iloc[:size]
            waiting = [whole.iloc[size:]] if len(whole) > size else []


def _options(columns: Columns) -> dict[str, str]:
    return dict(columns) if isinstance(columns, Mapping) else dict.fromkeys(columns, "")


def _latin_hint(source: Source, said: str) -> str:
    """Where latin-1 has controls, cp1252 has quotes."""
    is_latin = source.kind != "parquet" and codecs.lookup(source.encoding).name == "iso8859-1"
    is_quote = re.search("U\\+00(8[0234-9A-CE]|9[1-9A-CEF])", said)
    return " If the file is cp1252, declare --encoding cp1252." if is_latin and is_quote else ""


def _explained(source: Source, content: Content, problems: Problems) -> DataError:
    """All problems as one error; of bytes that do not decode the place and the way out."""
    if found := problems.kinds.get(text.ENCODING):
        what, fix = text.undecodable(source, content, found.line)
        problems.kinds[text.ENCODING] = found._replace(what=what, fix=fix)
    return problems.error()


@contextmanager
def _translating(source: Source, content: Content) -> Iterator[None]:
    """Turn the libraries' errors about the content of a file into ours."""
    import pyarrow as pa

    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{source.name}: damaged gzip: {error}.", "Fetch the file again.") from None
    except (UnicodeError, OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and (type(error) is not OSError or error.errno or source.kind != "parquet"):
            raise  # the disk or the network; Arrow raises a bare OSError for damaged content
        if isinstance(error, UnicodeError) and source.kind != "parquet":
            what, fix = text.undecodable(source, content)
            raise DataError(f"{source.name}, {what}.", fix) from None
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{source.name}: damaged Parquet: {reason}.", "Fetch the file again.") from None
