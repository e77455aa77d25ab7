"""Columns of texts on the disk rather than in memory: written block by block, then mapped.

What is mapped costs no memory that the machine could not take back. The file has no name, so that nothing of it stays,
not even after a kill.
"""

import mmap
import os
import tempfile
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import pyarrow as pa


class Spilled:
    """Blocks of columns, in the order in which they are added; a block may lack some columns."""

    def __init__(self, beside: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=_place(beside))  # noqa: SIM115  it is closed with this object
        self._sizes: list[int] = []
        self._ends: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()  # what is mapped stays

    @property
    def rows(self) -> int:
        """How many have been added."""
        return sum(self._sizes)

    def add(self, columns: "Mapping[str, pa.LargeStringArray]", rows: int) -> None:
        """Write a block."""
        import pyarrow as pa

        batch = pa.RecordBatch.from_arrays([*columns.values()], names=[*columns])
        with pa.ipc.new_stream(self._file, batch.schema) as stream:
            stream.write_batch(batch)
        self._sizes.append(rows)
        self._ends.append(self._file.tell())

    def columns(self) -> "dict[str, pa.ChunkedArray]":
        """All columns, each whole; where a block lacks one its cells are empty."""
        import pyarrow as pa

        self._file.flush()
        whole = pa.py_buffer(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ))
        blocks = [
            pa.ipc.open_stream(whole.slice(start, end - start)).read_next_batch()
            for start, end in zip([0, *self._ends], self._ends, strict=False)
        ]
        there = [dict(zip(block.schema.names, block.columns, strict=True)) for block in blocks]
        empty = pa.scalar("", pa.large_string())
        return {
            name: pa.chunked_array(
                [
                    part[name] if name in part else pa.repeat(empty, rows)
                    for part, rows in zip(there, self._sizes, strict=True)
                ],
                pa.large_string(),
            )
            for name in dict.fromkeys(chain.from_iterable(there))
        }


def _place(beside: Path | None) -> Path | None:
    """The folder itself, or the one that it will be made in; elsewhere where nothing can be written there."""
    found = next((folder for folder in (beside, *beside.parents) if folder.is_dir()), None) if beside else None
    return found if found and os.access(found, os.W_OK) else None
