"""Which cells can be used as texts, and how the others are written down."""

import re
from collections.abc import Iterator
from typing import Any

from lifecycle.data.readers import Block, NotText, Problems, Wanted
from lifecycle.settings.rules import DataRules

UNUSABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters other than tab and line ends, and halves of surrogate pairs."""

UNUSABLE_CHARACTER, LONG_TEXT, NOT_TEXT = "unusable_character", "long_text", "not_text"


def all_usable(cells: list[Any], rules: DataRules) -> bool:
    """Whether every cell is a text that can be used, as in nearly all tables; the others are looked at cell by cell.

    Most tables have printable letters only, which Python tells three times as fast as the pattern.
    """
    try:
        whole = "".join(cells)
    except TypeError:
        return False
    is_short = max(map(len, cells), default=0) * 4 <= rules.max_cell_bytes
    return is_short and (whole.isprintable() or not UNUSABLE.search(whole))


def unusable(cell: Any, rules: DataRules) -> tuple[str, str] | None:
    """Why a cell cannot be used as text: the reason and what there is; None if it can."""
    if not isinstance(cell, str):
        return NOT_TEXT, f"{cell!s:.60} is no text"
    if found := UNUSABLE.search(cell):
        return UNUSABLE_CHARACTER, f"unusable character U+{ord(found.group()):04X} at position {found.start() + 1}"
    if len(cell) * 4 > rules.max_cell_bytes and (size := len(cell.encode())) > rules.max_cell_bytes:
        return LONG_TEXT, f"{size:,} bytes are more than {rules.max_cell_bytes:,} (data.max_cell_bytes)"
    return None


def unusable_rows(block: Block, wanted: Wanted, rules: DataRules, problems: Problems) -> Iterator[tuple[int, str, str]]:
    """The rows of a block with a cell that cannot be used, with reason and place; one that is too long is a problem."""
    for column in wanted.columns:
        cells = block.cells[column]
        if all_usable(cells, rules):
            continue
        for row, cell in zip(block.rows, cells, strict=True):
            if found := unusable(cell, rules):
                reason, what = found
                place = f"row {row}, column {column!r}: {what}"
                if reason == LONG_TEXT:
                    problems.add(LONG_TEXT, row, place, "Correct the row.")
                else:
                    yield row, reason, f"{place[0].upper()}{place[1:]}."


def are_mixed(cells: list[Any]) -> bool:
    """Whether a cell holds something that is no text."""
    return NotText in {*map(type, cells)}


def storable(cells: list[Any]) -> list[str]:
    """The cells as they can stand in a file: halves of surrogate pairs, which cannot, in their written form."""
    try:
        "".join(cells).encode()
    except (TypeError, UnicodeEncodeError):
        return [str(cell).encode("utf-8", "backslashreplace").decode() for cell in cells]
    return cells
