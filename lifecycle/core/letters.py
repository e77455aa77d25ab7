"""Columns of texts as Arrow holds them: all letters of many cells in one piece, where Python goes from cell to cell."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    import pyarrow as pa

AT_ONCE = 50_000
"""Cells that are looked at together: some megabytes of letters."""


def in_parts(cells: "pd.Series[str]", size: int = AT_ONCE) -> "Iterator[pa.LargeStringArray]":
    """The cells of a column, none of which is missing, some at a time."""
    for start in range(0, len(cells), size):
        yield column(cells.iloc[start : start + size])


def column(cells: "pd.Series[str]") -> "pa.LargeStringArray":
    """Cells in one piece."""
    import pyarrow as pa

    held = pa.array(cells, pa.large_string())
    return pa.concat_arrays(held.chunks) if isinstance(held, pa.ChunkedArray) else held


def ends(cells: "pa.StringArray | pa.LargeStringArray") -> "npt.NDArray[np.int64]":
    """Where each cell begins in the letters of all, in bytes, and at last where the last one ends."""
    import numpy as np
    import pyarrow as pa

    if not len(cells):
        return np.zeros(1, np.int64)
    kind = np.int64 if pa.types.is_large_string(cells.type) or pa.types.is_large_binary(cells.type) else np.int32
    return np.frombuffer(cells.buffers()[1], kind)[cells.offset : cells.offset + len(cells) + 1].astype(np.int64)


def letters(cells: "pa.StringArray | pa.LargeStringArray") -> bytes:
    """The letters of all cells, one after another, in UTF-8."""
    places, held = ends(cells), cells.buffers()[2]
    return bytes(memoryview(held)[places[0] : places[-1]]) if held else b""


def of_width(content: bytes, width: int) -> "pa.LargeStringArray":
    """Cells of so many bytes each."""
    import numpy as np
    import pyarrow as pa

    places = np.arange(0, len(content) + 1, width, dtype=np.int64)
    return pa.LargeStringArray.from_buffers(len(places) - 1, pa.py_buffer(places), pa.py_buffer(content))


def series(parts: "list[pa.LargeStringArray]", like: "pd.Series[str]", name: str | None) -> "pd.Series[str]":
    """A column of these cells for the rows of another one; nothing is copied."""
    import pandas as pd
    import pyarrow as pa

    held = pa.chunked_array(parts, pa.large_string())
    return pd.Series(pd.array(held, dtype="str"), index=like.index, name=name)
