"""Which cells can be used as texts, and how the others are written down."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lifecycle.core import letters
from lifecycle.data.readers import Block, Cells, NotText, Problems, Wanted
from lifecycle.settings.rules import DataRules

if TYPE_CHECKING:
    import pyarrow as pa

UNUSABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters other than tab and line ends, and halves of surrogate pairs."""

CONTROLS = bytes({*range(32), 127} - set(b"\t\n\r"))
C1 = re.compile(b"\xc2[\x80-\x9f]")
"""The same in UTF-8, which has no halves."""

UNUSABLE_CHARACTER, LONG_TEXT, NOT_TEXT = "unusable_character", "long_text", "not_text"


def all_usable(cells: Cells, rules: DataRules) -> bool:
    """Whether every cell is a text that can be used, as in nearly all tables; the others are looked at cell by cell.

    Most tables have printable letters only, which Python tells three times as fast as the pattern.
    """
    if not isinstance(cells, list):
        held, places = letters.letters(cells), letters.ends(cells)
        is_short = not len(cells) or int((places[1:] - places[:-1]).max()) <= rules.max_cell_bytes
        return is_short and len(held.translate(None, CONTROLS)) == len(held) and not C1.search(held)
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
        if all_usable(block.cells[column], rules):
            continue
        for row, cell in zip(block.rows, block.listed(column), strict=True):
            if found := unusable(cell, rules):
                reason, what = found
                place = f"row {row}, column {column!r}: {what}"
                if reason == LONG_TEXT:
                    problems.add(LONG_TEXT, row, place, "Correct the row.")
                else:
                    yield row, reason, f"{place[0].upper()}{place[1:]}."


def are_mixed(cells: Cells) -> bool:
    """Whether a cell holds something that is no text."""
    return isinstance(cells, list) and NotText in {*map(type, cells)}


def storable(cells: Cells) -> "pa.LargeStringArray":
    """The cells as they can stand in a file: halves of surrogate pairs, which cannot, in their written form."""
    import pyarrow as pa

    if not isinstance(cells, list):
        return cells
    try:
        "".join(cells).encode()
    except (TypeError, UnicodeEncodeError):
        cells = [str(cell).encode("utf-8", "backslashreplace").decode() for cell in cells]
    return pa.array(cells, pa.large_string())
