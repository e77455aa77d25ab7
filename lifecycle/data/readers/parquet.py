"""Parquet, and whatever else comes as Arrow's batches."""

from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING

from lifecycle.data.readers import Row
from lifecycle.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from lifecycle.data.ingest import Source


def rows(source: "Source", file: IO[bytes]) -> Iterator[Row]:
    """Read Parquet."""
    import pyarrow.parquet as pq

    parquet = pq.ParquetFile(file)
    header = parquet.schema_arrow.names
    yield 0, 0, header
    yield from of_batches(source, header, parquet.iter_batches(batch_size=20_000))


def of_batches(source: "Source", header: list[str], batches: "Iterable[pa.RecordBatch]") -> Iterator[Row]:
    """Turn batches into rows of texts."""
    import pyarrow as pa

    number = 0
    for batch in batches:
        columns = []
        for name, column in zip(header, batch.columns, strict=True):
            try:
                columns.append(["" if cell is None else cell for cell in column.cast(pa.string()).to_pylist()])
            except (pa.ArrowNotImplementedError, pa.ArrowInvalid, UnicodeDecodeError):
                where = f"{source.name}, rows {number + 1} to {number + len(column)}, column {name!r}"
                raise DataError(f"{where}: {column.type} cannot be read as text.", "Write it as a string.") from None
        for cells in zip(*columns, strict=True):
            number += 1
            yield number, 0, list(cells)
