"""CSV: fields are counted in every row, and a quote must be closed.

Where tabs part the fields many writers know no quotes. So a file with tabs that cannot be read by quotes, but has the
same number of fields on every line without them, is read without.
"""

import csv
from collections.abc import Iterator
from functools import cache
from itertools import dropwhile, islice
from operator import itemgetter
from typing import IO, Any, BinaryIO, cast

from lifecycle.core.errors import DataError
from lifecycle.data.opening import BLOCK, Content
from lifecycle.data.readers import UNDECODABLE, Block, Problems, Wanted, csv_by_arrow, header, text
from lifecycle.data.source import Source

FIELD_LIMIT = 16_000_000
"""Characters after which a field is taken for an unclosed quote instead of being read to the end of the file."""

Line = tuple[int, int, list[str]]
"""Number of the row, from 0 for the header; number of its first line in the file, from 1; and its fields."""


def blocks(source: Source, content: Content, wanted: Wanted, size: int, problems: Problems) -> Iterator[Block]:
    """Read CSV, by Arrow as far as its rows are beyond doubt; what is wrong with rows is noted in `problems`.

    Raises:
        DataError: It is empty, no text, or lacks a column.
    """
    quoting = csv.QUOTE_MINIMAL if source.delimiter != "\t" or _has_quotes(source, content) else csv.QUOTE_NONE
    read = 0

    @cache  # what is to be told of a header is told once
    def choose(names: tuple[str, ...]) -> dict[str, int]:
        _require_decoded(source, content, names, wanted)
        return header.columns(source.name, names, wanted, delimiter=source.delimiter)

    with text.decoded(source, content.stream()) as file:
        try:
            for block in csv_by_arrow.blocks(
                source, cast(BinaryIO, file.buffer), choose, quoted=quoting != csv.QUOTE_NONE
            ):
                yield block
                read = block.rows[-1]
        except csv_by_arrow.UnclearError:
            pass
        else:
            return
    with text.decoded(source, content.stream()) as file:
        for block, begins in _row_by_row(_lines(source, file, quoting, problems), choose, size, problems, after=read):
            text.note_undecodable(block, begins, wanted, problems)
            yield block


def _require_decoded(source: Source, content: Content, names: tuple[str, ...], wanted: Wanted) -> None:
    """Refuse a header of another encoding where all columns are asked for, or one of them is not there.

    Raises:
        DataError: It is one.
    """
    is_asked_for = not wanted.columns or not {*wanted.columns} <= {*names}
    if is_asked_for and any(map(UNDECODABLE.search, names)):
        place, hint = text.undecodable(source, content)
        raise DataError(f"{source.name}, {place}.", hint)


def _row_by_row(
    lines: Iterator[Line], choose: csv_by_arrow.Chosen, size: int, problems: Problems, *, after: int
) -> Iterator[tuple[Block, list[int]]]:
    """The rows after some number, with the lines that they begin on."""
    _, _, names = next(lines)
    names[0] = names[0].removeprefix(header.BYTE_ORDER_MARK)
    columns = choose(tuple(names))
    pick = itemgetter(*columns.values(), 0)  # the last one, so that there are always two
    new = dropwhile(lambda line: line[0] <= after, lines)
    rows = ((row, line, pick(cells)) for row, line, cells in new if _is_whole(row, line, cells, names, problems))
    while chunk := list(islice(rows, size)):
        numbers, begins, picked = zip(*chunk, strict=True)
        cells = dict(zip(columns, map(list, zip(*picked, strict=True)), strict=False))
        yield Block(list(numbers), cells), list(begins)


def _lines(source: Source, file: IO[str], quoting: Any, problems: Problems) -> Iterator[Line]:
    csv.field_size_limit(FIELD_LIMIT)
    reader, number = csv.reader(file, delimiter=source.delimiter, strict=True, quoting=quoting), 0
    while not (problems.kinds and problems.are_too_many):
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            is_unclosed = "end of data" in str(error) or "limit" in str(error)
            problems.add("quote", number, f"row {number}, line {line}: {error}", "Is a quote unclosed?" * is_unclosed)
            if is_unclosed or not number:
                break  # what comes next may stand inside the quotes
            number += 1
            continue
        if cells:  # an empty line holds no row
            yield number, line, cells
            number += 1
    if not number:
        raise (
            problems.error()
            if problems
            else DataError(f"{source.name}: the file is empty.", "Check that the export finished.")
        )


def _is_whole(row: int, line: int, cells: list[str], names: list[str], problems: Problems) -> bool:
    if len(cells) == len(names):
        return True
    where = (
        f"column {names[len(cells)]!r} is missing" if len(cells) < len(names) else f"extra {cells[len(names)]!r:.60}"
    )
    what = f"row {row}, line {line}: {len(cells)} fields instead of {len(names)} ({where})"
    problems.add("fields", row, what, "Is a comma or quote missing there?")
    return False


def _has_quotes(source: Source, content: Content) -> bool:
    """Whether a file with tabs is to be read by quotes: unless only reading without them makes sense."""
    file = content.stream()
    if not any(b'"' in block for block in iter(lambda: file.read(BLOCK), b"")):
        return True
    by_quotes, plain = (_shape(source, content, quoting) for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE))
    if by_quotes is None:
        return plain is None
    return by_quotes == plain or plain is None or plain[0] < 2


def _shape(source: Source, content: Content, quoting: Any) -> tuple[int, int] | None:
    """The number of columns and of rows; None if not every row has every column."""
    problems, rows, columns = Problems(source.name), 0, 0
    with text.decoded(source, content.stream()) as file:
        for _, _, cells in _lines(source, file, quoting, problems):
            columns, rows = columns or len(cells), rows + 1
            if problems or len(cells) != columns:
                return None
    return None if problems else (columns, rows)
