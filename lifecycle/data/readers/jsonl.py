"""JSON Lines: one object per line, numbers as they are written."""

import json
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from lifecycle.data.readers import Row, text
from lifecycle.errors import DataError

if TYPE_CHECKING:
    from lifecycle.data.ingest import Source


def rows(source: "Source", file: IO[bytes]) -> Iterator[Row]:
    """Read JSON Lines."""
    number, header = 0, list[str]()
    with text.decoded(source, file) as lines:
        for line, content in enumerate(lines, 1):
            if not content.strip():
                continue
            number += 1
            where = f"{source.name}, row {number}, line {line}"
            record = _json_object(content, where)
            if not header:
                header = list(record)
                yield 0, line, header
            if odd := sorted(record.keys() ^ set(header)):
                state = "missing" if odd[0] in header else "not in the first row"
                raise DataError(f"{where}: column {odd[0]!r} is {state}.", "Give every row the same keys.")
            yield number, line, [_json_cell(record[column], f"{where}, column {column!r}") for column in header]
    if not number:
        raise DataError(f"{source.name}: the file is empty.", "Check that the export finished.")


def _json_object(content: str, where: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise DataError(f"{where}: a key stands twice.", "Correct the row.")
        return dict(pairs)

    def constant(name: str) -> None:
        raise DataError(f"{where}: {name} is not JSON.", "Write null or a string.")

    try:
        value = json.loads(content, object_pairs_hook=unique, parse_int=str, parse_float=str, parse_constant=constant)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{where}: {error}.", "Each line must hold one JSON object.") from None
    if not isinstance(value, dict) or not value:
        raise DataError(f"{where}: {content.strip()!r:.60} is not a JSON object with keys.", "Correct the row.")
    return value


def _json_cell(value: Any, where: str) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool):
        return json.dumps(value)
    raise DataError(f"{where}: a {type(value).__name__} is not a cell.", "Write a string, a number, a boolean or null.")
