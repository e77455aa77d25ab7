"""The files of a dataset version, written some rows at a time.

What no decision needs, such as texts, stays in the mapped table and is only taken from there when it is written.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

AT_ONCE = 1 << 20
"""Rows in a group of Parquet, as many as pandas writes into one."""


def write(rows: "pd.DataFrame", table: "pd.DataFrame", names: Sequence[str], path: Path) -> None:
    """Write columns of some rows, which say by `row` where in the table they lie, as pandas would."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = pa.Table.from_pandas(whole(rows.iloc[:AT_ONCE], table, names), preserve_index=False)
    schema = first.schema
    for place, field in enumerate(schema if len(rows) > AT_ONCE else ()):
        if pa.types.is_null(field.type):  # of missing texts so far
            schema = schema.set(place, field.with_type(pa.string()))
    with pq.ParquetWriter(path, schema) as writer:
        writer.write_table(first.cast(schema).combine_chunks())
        del first
        for start in range(AT_ONCE, len(rows), AT_ONCE):
            part = whole(rows.iloc[start : start + AT_ONCE], table, names)
            writer.write_table(pa.Table.from_pandas(part, schema, preserve_index=False).combine_chunks())


def whole(rows: "pd.DataFrame", table: "pd.DataFrame", names: Sequence[str]) -> "pd.DataFrame":
    """Rows, in the order of their numbers, with what the table has of them."""
    import pandas as pd

    beside = [name for name in names if name not in rows]
    if not beside:
        return rows[[*names]]
    near = table[beside][:0]
    if not rows.empty:
        places = table.index.get_indexer(pd.Index(rows["row"]))
        near = table[beside].iloc[places[0] : places[-1] + 1]
        near = near if len(near) == len(rows) else near.take(places - places[0])
    cells = {name: (rows[name] if name in rows else near[name]).array for name in names}
    return pd.DataFrame(cells, index=rows.index)  # to add thousands of columns one by one takes minutes
