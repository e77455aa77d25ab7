"""The readers of a table, one per format: each yields blocks of the columns that are asked for, every cell a text.

`Wanted`    which columns are asked for, and whether the others come along
`Block`     some rows of them
`Reading`   all of them, one after another
`Problems`  what is wrong with a table: all of it in one error, rather than one per try
`NotText`   what stands where a cell holds a list, a structure or bytes
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Union

from lifecycle.core.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

Cells = Union[list[Any], "pa.LargeStringArray"]
"""Some cells of a column; as Arrow has them where each is a text that can be stored."""

ROWS_PER_BLOCK = 20_000
TOO_MANY = 1_000
"""Problems after which a table is read no further."""
UNDECODABLE = re.compile("[\udc80-\udcff]")
"""What stands for a byte that does not decode, so that it stops a table only where somebody asked for it."""


class Wanted(NamedTuple):
    """The columns to read, each with the option that names it, and whether all others that hold texts come along."""

    columns: Mapping[str, str]
    others: bool


class NotText(NamedTuple):
    """A cell that is no text, no number and no truth value."""

    value: Any

    def __str__(self) -> str:
        return json.dumps(self.value, ensure_ascii=False, default=str)


class Block(NamedTuple):
    """The numbers of some rows, from 1, and their cells by column."""

    rows: Sequence[int]
    cells: "dict[str, Cells]"

    def listed(self, column: str) -> list[Any]:
        """The cells of a column one by one."""
        cells = self.cells[column]
        return cells if isinstance(cells, list) else cells.to_pylist()


class Reading:
    """A table that is being read; its digest is known at the end."""

    def __init__(self, blocks: Iterable[Block], sha256: str = "") -> None:
        self.blocks, self.sha256 = blocks, sha256


class Problem(NamedTuple):
    """A kind of problem: the first one with its place, the way out, its line, and the rows that have it."""

    what: str
    fix: str
    line: int
    rows: list[int]


class Problems:
    """What makes a table unreadable: each kind is counted, and its first place named."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.kinds: dict[str, Problem] = {}

    def __bool__(self) -> bool:
        return bool(self.kinds)

    @property
    def are_too_many(self) -> bool:
        """Whether reading on would tell nobody more."""
        return sum(len(kind.rows) for kind in self.kinds.values()) >= TOO_MANY

    def add(self, kind: str, row: int, what: str, fix: str = "", *, line: int = 0) -> None:
        """Note one; `what` begins with its place."""
        self.kinds.setdefault(kind, Problem(what, fix, line, [])).rows.append(row)

    def error(self) -> DataError:
        """All of them as one error."""
        told, least = [], "at least " if self.are_too_many else ""
        for what, _, _, rows in self.kinds.values():
            others = ", ".join(map(str, rows[1:6])) + (", …" if len(rows) > 6 else "")
            told.append(what + (f", also rows {others} ({least}{len(rows)} in all)" if others else ""))
        fixes = dict.fromkeys(kind.fix for kind in self.kinds.values() if kind.fix)
        return DataError(f"{self.name}, {'; '.join(told)}.", " ".join(fixes))
