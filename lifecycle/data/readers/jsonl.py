"""JSON Lines: one object per line, numbers as they are written; a key that is missing is a missing value."""

import json
import shlex
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import IO, Any

from lifecycle.core.errors import DataError
from lifecycle.data.opening import Content
from lifecycle.data.readers import UNDECODABLE, Block, NotText, Problems, Wanted, header, text
from lifecycle.data.source import Source

MOST_KEYS = 10_000
"""Keys that are remembered of a table, to name them."""

CONSTANTS = {"NaN": None, "Infinity": "inf", "-Infinity": "-inf"}
"""What is no JSON, but what Python writes."""


class _Record(dict[str, Any]):
    """A JSON object, and the keys that stand in it twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        keys = [key for key, _ in pairs]
        self.twice = {key for key in keys if keys.count(key) > 1} if len(self) < len(pairs) else set()


def blocks(source: Source, content: Content, wanted: Wanted, size: int, problems: Problems) -> Iterator[Block]:
    """Read JSON Lines; what is wrong with rows is noted in `problems`.

    Raises:
        DataError: It is empty, no text, or no row has a key that is asked for.
    """
    keys, missing = dict[str, None](), set(wanted.columns)
    with text.decoded(source, content.stream()) as file:
        records = _records(source, file, wanted, problems)
        while chunk := list(islice(records, size)):
            for _, _, record in chunk:
                missing -= record.keys()
                if len(keys) < MOST_KEYS:
                    keys |= dict.fromkeys(record)
            block = Block([row for row, _, _ in chunk], _cells([record for _, _, record in chunk], wanted))
            text.note_undecodable(block, [line for _, line, _ in chunk], wanted, problems)
            yield block
    if not (keys or problems):
        raise DataError(f"{source.name}: the file is empty.", "Check that the export finished.")
    if missing and not problems:
        header.require(source.name, [key for key in keys if key not in missing], wanted)


def _records(source: Source, file: IO[str], wanted: Wanted, problems: Problems) -> Iterator[tuple[int, int, _Record]]:
    """The objects with their numbers; the number of the line too where a byte of it does not decode, else 0."""
    row = 0
    for line, content in enumerate(file, 1):
        if problems.are_too_many:
            return
        if content.isspace():
            continue
        row += 1
        try:
            record = _record(content, wanted)
        except (ValueError, RecursionError) as error:
            problems.add("json", row, f"row {row}, line {line}: {error!s:.200}", _advice(source, row, content))
            continue
        yield row, 0 if content.isascii() or not UNDECODABLE.search(content) else line, record


def _record(content: str, wanted: Wanted) -> _Record:
    """An object, in which every key that is asked for stands at most once.

    Raises:
        ValueError: It is none; the message says why.
    """
    value = json.loads(
        content, object_pairs_hook=_Record, parse_int=str, parse_float=str, parse_constant=CONSTANTS.__getitem__
    )
    if not isinstance(value, _Record) or not value:
        raise ValueError(f"{content.strip()!r:.60} is not a JSON object with keys")
    if twice := value.twice & wanted.columns.keys():
        raise ValueError(f"the key {min(twice)!r} stands twice")
    return value


def _advice(source: Source, row: int, content: str) -> str:
    start = content.lstrip(header.BYTE_ORDER_MARK + " \t")[:1]
    if row == 1 and start == "[":
        here, lines = shlex.quote(source.uri), shlex.quote(_free(source.uri.removesuffix(".json")))
        program = "import json, sys; [print(json.dumps(row)) for row in json.load(sys.stdin)]"
        return f"A JSON array is not JSON Lines; make them: python3 -c {shlex.quote(program)} < {here} > {lines}"
    if row == 1 and start != "{":
        return "Each line must hold one JSON object; of CSV declare --format csv."
    return "Each line must hold one JSON object."


def _free(stem: str) -> str:
    """The path of a file of lines that is not there yet."""
    names = (f"{stem}{number or ''}.jsonl" for number in count())
    return next(name for name in names if not Path(name).exists())


def _cells(records: list[_Record], wanted: Wanted) -> dict[str, list[Any]]:
    """The records by column; of the keys that nobody asked for, those whose names can be stored come along."""
    names = dict.fromkeys(wanted.columns)
    if wanted.others:
        in_order = dict.fromkeys(key for record in records for key in record)
        names = {key: None for key in in_order if key in names or (key.strip() and header.is_storable(key))} | names
    return {name: [_cell(record.get(name)) for record in records] for name in names}


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value) if isinstance(value, bool) else NotText(value)
