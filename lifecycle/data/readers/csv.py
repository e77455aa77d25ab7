"""CSV: fields are counted in every row, and a quote must be closed."""

import csv
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from lifecycle.data.readers import Row, text
from lifecycle.errors import DataError

if TYPE_CHECKING:
    from lifecycle.data.ingest import Source

FIELD_LIMIT = 16_000_000
"""Characters after which a CSV field is taken for an unclosed quote instead of being read to the end of the file."""


def rows(source: "Source", file: IO[bytes]) -> Iterator[Row]:
    """Read CSV."""
    csv.field_size_limit(FIELD_LIMIT)
    number, header = 0, list[str]()
    with text.decoded(source, file) as lines:
        reader = csv.reader(lines, delimiter=source.delimiter, strict=True)
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


def _miscounted(source: "Source", row: int, line: int, cells: list[str], header: list[str]) -> str:
    where = (
        f"column {header[len(cells)]!r} is missing" if len(cells) < len(header) else f"extra {cells[len(header)]!r:.60}"
    )
    return f"{source.name}, row {row}, line {line}: {len(cells)} fields instead of {len(header)} ({where})."
