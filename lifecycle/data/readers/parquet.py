"""Parquet, and whatever else comes as Arrow's batches: each type as the text that CSV and JSON have for it."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from lifecycle.core.errors import DataError
from lifecycle.data.opening import Content
from lifecycle.data.readers import ROWS_PER_BLOCK, Block, Cells, Problems, Wanted, header
from lifecycle.data.source import Source

if TYPE_CHECKING:
    import pyarrow as pa


def blocks(source: Source, content: Content, wanted: Wanted, size: int, problems: Problems) -> Iterator[Block]:
    """Read Parquet.

    Raises:
        DataError: It lacks a column, or one that is asked for holds no texts.
    """
    import pyarrow.parquet as pq

    _ = problems  # rows cannot be wrong: it is the columns that have a type
    file = pq.ParquetFile(content.whole())
    columns = chosen(source.name, file.schema_arrow, wanted)
    yield from of_batches(columns, file.iter_batches(min(size, ROWS_PER_BLOCK), columns=columns))


def count(content: Content) -> int:
    """How many rows there are, by what the file says at its end."""
    import pyarrow.parquet as pq

    return int(pq.ParquetFile(content.whole()).metadata.num_rows)


def chosen(name: str, schema: "pa.Schema", wanted: Wanted) -> list[str]:
    """The columns to read, in their order.

    Raises:
        DataError: One that is asked for is not there, stands twice, or holds no texts; all such are named.
    """
    columns = header.columns(name, schema.names, wanted)
    kinds = {column: schema.field(position).type for column, position in columns.items()}
    nested = [column for column, kind in kinds.items() if not _is_text(kind)]
    if asked := [f"column {column!r}: {kinds[column]!s:.60}" for column in nested if column in wanted.columns]:
        raise DataError(f"{name}, {', '.join(asked)} cannot be read as text.", "Write it as a string.")
    if nested:
        header.tell_left_out(name, nested, header.NESTED)
    return [column for column in columns if column not in nested]


def of_batches(columns: list[str], batches: "Iterable[pa.RecordBatch]") -> Iterator[Block]:
    """Turn batches into blocks of texts."""
    number = 1
    for batch in batches:
        cells = {name: _texts(batch.column(name)) for name in columns}
        yield Block(range(number, number + len(batch)), cells)
        number += len(batch)


def _is_text(kind: "pa.DataType") -> bool:
    """Whether Arrow turns values of a type into texts."""
    import pyarrow as pa

    try:
        _plain(pa.array([None], kind))
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return False
    return True


def _texts(column: "pa.Array") -> Cells:
    """The cells as texts; null and NaN are missing values, as an empty cell of CSV and null of JSON are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    plain = _plain(column)
    try:
        plain.validate(full=True)
    except pa.ArrowInvalid:
        raw = plain.cast(pa.large_binary()).to_pylist()
        return ["" if cell is None else cell.decode("utf-8", "surrogateescape") for cell in raw]
    texts = plain.cast(pa.large_string()).fill_null("")
    if pa.types.is_floating(_value_type(column)):
        return pc.if_else(pc.equal(texts, "nan"), "", texts)
    return texts


def _plain(column: "pa.Array") -> "pa.Array":
    """The cells as strings, or as bytes that are meant to be strings."""
    import pyarrow as pa

    if isinstance(column, pa.UuidArray):
        return pa.array([each and str(each) for each in column.to_pylist()], pa.string())
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
    if any(is_binary(column.type) for is_binary in kinds):
        return column.cast(pa.large_binary()).view(pa.large_string())
    return column.cast(pa.string())


def _value_type(column: "pa.Array") -> "pa.DataType":
    import pyarrow as pa

    return column.type.value_type if pa.types.is_dictionary(column.type) else column.type
