"""CSV by Arrow: as long as every row is beyond doubt, ten times as fast as row by row.

Of a file that is malformed, or written in a way that two readers may understand differently, Arrow tells no place, and
is more lenient than we are. So it is given whole rows whose quotes were checked, and from the first doubt on
`UnclearError` asks for the reader that looks at every row (`csv`), which finds the place or finds nothing wrong.
"""

import codecs
import csv
import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from lifecycle.data.readers import Block
from lifecycle.data.readers.header import BYTE_ORDER_MARK
from lifecycle.data.source import Source

if TYPE_CHECKING:
    import pyarrow as pa

AT_ONCE = 1 << 22
"""Bytes that are parsed at a time."""
LONGEST = 1 << 24
"""Bytes without the end of a row, after which there is a doubt."""
ENCODINGS = frozenset({"utf-8", "ascii", "cp1252", "iso8859-1", "iso8859-15"})
"""In which a row ends, and a quote stands, where it does in ASCII."""
QUOTE, ROW_END = b'"', b"\n"

Chosen = Callable[[tuple[str, ...]], dict[str, int]]
"""The columns to read of a header, each with its position."""


class UnclearError(Exception):
    """From here on the rows have to be looked at one by one."""


def blocks(source: Source, file: BinaryIO, choose: Chosen, *, quoted: bool) -> Iterator[Block]:
    """The rows of a file that begins with its header, as far as they are beyond doubt.

    Raises:
        UnclearError: They are not.
    """
    if _codec(source) not in ENCODINGS or not source.delimiter.isascii():
        raise UnclearError
    number, width, columns = 1, 0, dict[str, int]()
    for part in _parts(source, file, quoted=quoted):
        rows = part
        if not width:
            head, rows = _after(part, _first_end(part, quoted=quoted))
            names = _names(head, source.delimiter, quoted=quoted)
            width, columns = len(names), choose(tuple(names))
        if rows.strip(b"\r\n"):
            batch = _parsed(rows, source.delimiter, width, columns, quoted=quoted)
            cells = {name: batch[str(position)].combine_chunks() for name, position in columns.items()}
            yield Block(range(number, number + len(batch)), cells)
            number += len(batch)
    if not width:
        raise UnclearError


def _parts(source: Source, file: BinaryIO, *, quoted: bool) -> Iterator[bytes]:
    """The file in parts of whole rows, as UTF-8."""
    waiting, mark = b"", codecs.BOM_UTF8
    while True:
        read = file.read(AT_ONCE)
        waiting += read
        rows, waiting = _after(waiting, _last_end(waiting, quoted=quoted)) if read else (waiting, b"")
        if len(waiting) > LONGEST:
            raise UnclearError
        if rows:
            part = _as_utf8(rows, source).removeprefix(mark)
            if quoted and QUOTE in part and not _is_beyond_doubt(part, source.delimiter):
                raise UnclearError
            yield part
            mark = b""
        if not read:
            return


def _names(head: bytes, delimiter: str, *, quoted: bool) -> list[str]:
    """The names of the columns.

    Raises:
        UnclearError: There is more than one line that ends, or none that begins.
    """
    try:
        line = head.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UnclearError from None
    if "\r" in line or not line:
        raise UnclearError
    quoting: Any = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    names = next(csv.reader(io.StringIO(line, newline=""), delimiter=delimiter, strict=True, quoting=quoting))
    return [names[0].removeprefix(BYTE_ORDER_MARK), *names[1:]]


def _after(rows: bytes, end: int) -> tuple[bytes, bytes]:
    return rows[: end + 1], rows[end + 1 :]


def _first_end(rows: bytes, *, quoted: bool) -> int:
    """Where the first row ends."""
    end = rows.find(ROW_END)
    while end >= 0 and quoted and rows.count(QUOTE, 0, end) % 2:
        end = rows.find(ROW_END, end + 1)
    return end if end >= 0 else len(rows)


def _last_end(rows: bytes, *, quoted: bool) -> int:
    """Where the last row ends that has an end, which stands outside of quotes; -1 if none has."""
    end = rows.rfind(ROW_END)
    if end < 0 or not quoted or rows.count(QUOTE, 0, end) % 2 == 0:
        return end
    import numpy as np

    signs = np.frombuffer(rows, np.uint8)
    ends = np.flatnonzero(signs == ord(ROW_END))
    outside = ends[np.searchsorted(np.flatnonzero(signs == ord(QUOTE)), ends) % 2 == 0]
    return int(outside[-1]) if len(outside) else -1


def _codec(source: Source) -> str:
    return codecs.lookup(source.encoding).name


def _as_utf8(rows: bytes, source: Source) -> bytes:
    """Arrow looks at the letters of UTF-8 itself, but not at those of columns that nobody wants."""
    if _codec(source) == "utf-8":
        return rows
    try:
        return rows.decode(source.encoding).encode()
    except UnicodeDecodeError:
        raise UnclearError from None


def _is_beyond_doubt(rows: bytes, delimiter: str) -> bool:
    """Whether every quote opens a field, closes one, or is doubled within one.

    Then they open and close by turns, since a doubled one closes and opens.
    """
    import numpy as np

    signs = np.frombuffer(rows, np.uint8)
    places = np.flatnonzero(signs == ord(QUOTE))
    if len(places) % 2:
        return False
    may_touch = np.zeros(256, dtype=bool)
    may_touch[[ord(QUOTE), ord(ROW_END), ord("\r"), ord(delimiter)]] = True
    opening, closing = places[0::2], places[1::2]
    before, after = opening[opening > 0] - 1, closing[closing < len(signs) - 1] + 1
    return bool(may_touch[signs[before]].all() and may_touch[signs[after]].all())


def _parsed(rows: bytes, delimiter: str, width: int, columns: dict[str, int], *, quoted: bool) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.csv as pc

    names = [str(position) for position in range(width)]
    wanted = [str(position) for position in columns.values()] or names[:1]  # of none there would be no rows
    try:
        return pc.read_csv(
            pa.BufferReader(rows),
            pc.ReadOptions(column_names=names, block_size=len(rows) + 1, use_threads=False),
            pc.ParseOptions(
                delimiter=delimiter, quote_char=QUOTE.decode() if quoted else False, newlines_in_values=quoted
            ),
            pc.ConvertOptions(
                include_columns=wanted, column_types=dict.fromkeys(wanted, pa.large_string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        raise UnclearError from None
