"""Read a table strictly: every cell as text, every malformed row an error that says where.

`stream`   the columns that are asked for in chunks, structure checked: the memory of one chunk
`read`     the whole table, and which rows have a cell that cannot be used

pandas' own readers guess: a row with a field too many shifts all columns, `NA` becomes missing, `007` becomes 7.
So fields are counted here, and encoding and delimiter are declared. What lies in a column that nobody asked for is
nobody's problem.
"""

import codecs
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lifecycle.core.errors import DataError
from lifecycle.data import cells
from lifecycle.data.readers import ROWS_PER_BLOCK, Block, Problems, Wanted, header
from lifecycle.data.readers.delta_tables import DeltaTable
from lifecycle.data.readers.files import FileTable
from lifecycle.data.source import Source
from lifecycle.settings.rules import DataRules
from lifecycle.storage.spilled import Spilled

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

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


def read(
    source: Source, rules: DataRules, columns: Columns, *, most: int | None = None, beside: Path | None = None
) -> Table:
    """Read a whole table, or its first rows: the columns that are asked for and, as far as they hold texts, all others.

    It lies on the disk, in a file without a name `beside` a folder, and is mapped: memory holds what is looked at.

    Raises:
        ConfigError: The source does not exist, or its scheme is not allowed.
        ConflictError: It changed while it was read.
        DataError: The file or a row is malformed; the message names row, line and column for each kind of problem.
    """
    wanted, problems = Wanted(_options(columns), others=True), Problems(source.name)
    numbers, no_texts, unusable, said = list[Sequence[int]](), set[str](), dict[int, str](), ""
    with Spilled(beside) as kept, _table(source, rules).reading(wanted, ROWS_PER_BLOCK, problems, None) as reading:
        for block in filter(lambda block: block.rows, reading.blocks):
            for row, reason, place in cells.unusable_rows(block, wanted, rules, problems):
                unusable.setdefault(row, reason)
                said = said or place
            no_texts |= {
                name for name in block.cells.keys() - wanted.columns.keys() if cells.are_mixed(block.cells[name])
            }
            texts = {name: cells.storable(block.cells[name]) for name in block.cells if name not in no_texts}
            kept.add(texts, len(block.rows))
            numbers.append(block.rows)
            if most is not None and kept.rows >= most:
                break
        held = kept.columns() if numbers else {}
    if not numbers:
        raise DataError(f"{source.name}: no data rows after the header.", "Check that the export finished.")
    if no_texts:
        header.tell_left_out(source.name, sorted(no_texts), header.NESTED)
    held = {name: column for name, column in held.items() if name not in no_texts}
    return Table(_frame(held, numbers)[:most], unusable, f"{said}{_latin_hint(source, said)}", reading.sha256)


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
    with _table(source, rules).reading(wanted, rows_per_chunk, problems, sha256) as reading:
        for frame in _in_chunks(reading.blocks, {*wanted.columns, *also}, rows_per_chunk):
            if not problems:  # from the first problem on it is read only to tell all of them
                yield frame


def brought(source: Source, folder: Path, rules: DataRules) -> Source:
    """The same table where those who read `folder` can read it: if that is on a volume, a file is copied there.

    A Delta table gets the version that is to be read, except by those who alone can ask for it, on a cluster.

    Raises:
        ConfigError: It is not there, or is a Delta table of this machine, which cannot be copied.
    """
    return _table(source, rules).brought(folder)


def pinned(source: Source, rules: DataRules) -> Source:
    """The same table, of Delta in the version that it has now; a file has no versions.

    Raises:
        ConfigError: There is no such table or version, or it cannot be reached from here.
    """
    return _table(source, rules).pinned()


def require(source: Source, rules: DataRules) -> None:
    """Refuse a table that is not there, before anything is done about it.

    Raises:
        ConfigError: It is not there, or its scheme is not allowed.
    """
    _table(source, rules).require()


def digest(source: Source, rules: DataRules) -> str:
    """The sha256 of the file's bytes; of a Delta table, that of its identity and version; of a view, of its rows."""
    return _table(source, rules).digest()


def line_count(source: Source, rules: DataRules) -> int:
    """Rows of a Parquet or Delta table, lines of a text: never less than its rows, and read in a moment."""
    return _table(source, rules).count()


def _table(source: Source, rules: DataRules) -> FileTable | DeltaTable:
    """A table as it is read: the one place that asks whether it is a file."""
    return DeltaTable(source, rules) if source.kind == "delta" else FileTable(source, rules)


def _in_chunks(blocks: Iterable[Block], columns: Collection[str], size: int) -> Iterator["pd.DataFrame"]:
    """The blocks as frames of equal size, but the last one."""
    import pandas as pd

    waiting = list["pd.DataFrame"]()
    for block in chain(blocks, [None]):
        if block:
            kept = {name: block.listed(name) for name in block.cells if name in columns}
            waiting.append(pd.DataFrame(kept, index=pd.Index(block.rows, name="row"), dtype=object))
        while waiting and (sum(map(len, waiting)) >= size or not block):
            whole = pd.concat(waiting) if len(waiting) > 1 else waiting[0]
            yield whole.iloc[:size]
            waiting = [whole.iloc[size:]] if len(whole) > size else []


def _frame(columns: "Mapping[str, pa.ChunkedArray]", numbers: Sequence[Sequence[int]]) -> "pd.DataFrame":
    """Columns of texts by the numbers of their rows, without a copy of them."""
    import pandas as pd

    count = sum(map(len, numbers))
    is_whole = numbers[0][0] == 1 and numbers[-1][-1] == count
    rows = pd.RangeIndex(1, count + 1) if is_whole else pd.Index([*chain.from_iterable(numbers)])
    texts = {name: pd.array(column, dtype="str") for name, column in columns.items()}
    return pd.DataFrame(texts, index=rows.rename("row"), copy=False)


def _options(columns: Columns) -> dict[str, str]:
    return dict(columns) if isinstance(columns, Mapping) else dict.fromkeys(columns, "")


def _latin_hint(source: Source, said: str) -> str:
    """Where latin-1 has controls, cp1252 has quotes."""
    is_latin = source.kind != "parquet" and codecs.lookup(source.encoding).name == "iso8859-1"
    is_quote = re.search("U\\+00(8[0234-9A-CE]|9[1-9A-CEF])", said)
    return " If the file is cp1252, declare --encoding cp1252." if is_latin and is_quote else ""
