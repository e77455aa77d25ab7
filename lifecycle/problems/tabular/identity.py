"""When two rows of a table are the same: by their key, or by all their inputs.

A key of a row has 64 hex digits, the first sixteen of which are its identity. Rows of equal inputs share it, since two
customers may be equal, and differ in the digits after it.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

IDENTITY = 16


def of_cells(cells: "pd.Series[str]") -> "pd.Series[str]":
    """The sha256 of each cell, without blanks around it."""
    stripped = cells.str.strip()
    digests = [hashlib.sha256(cell.encode()).hexdigest() for cell in stripped.tolist()]
    return pd.Series(digests, index=cells.index, name=cells.name, dtype="str")


def of_rows(columns: Sequence[pd.Series]) -> "pd.Series[str]":
    """The sha256 of each row: of the bytes of its numbers and times and of the digests of its texts.

    It depends on neither the machine nor the release of a library, since later versions compare it.
    """
    content: npt.NDArray[np.int64] = np.column_stack([_bytes(column) for column in columns])
    width, whole = content.shape[1] * 8, content.tobytes()
    digests = [hashlib.sha256(whole[at : at + width]).hexdigest() for at in range(0, len(whole), width)]
    return pd.Series(digests, index=columns[0].index, dtype="str")


def _bytes(column: pd.Series) -> npt.NDArray[np.int64]:
    """Eight bytes for each cell."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return column.astype("datetime64[us]").to_numpy().astype("<i8")
    if pd.api.types.is_float_dtype(column):
        numbers = column.to_numpy("<f8") + 0.0  # minus zero is zero
        return np.where(np.isnan(numbers), np.nan, numbers).astype("<f8").view("<i8")  # one NaN of the many
    codes, values = pd.factorize(column)  # missing is -1
    digests = [int.from_bytes(hashlib.sha256(value.encode()).digest()[:8], "little", signed=True) for value in values]
    return np.array([*digests, -1], dtype="<i8")[codes]


def numbered(identities: "pd.Series[str]", order: pd.Series) -> "pd.Series[str]":
    """A key per row: that of its identity or, of a further row of the same, one that begins like it.

    Rows of one identity are numbered in the `order` of their truth, so that the order of the source does not matter.
    """
    shared = identities[identities.duplicated(keep=False)]
    ordered = shared[order[shared.index].sort_values(kind="stable").index]
    places = ordered.groupby(ordered).cumcount()
    further = places[places > 0]
    renamed = [
        identity[:IDENTITY] + hashlib.sha256(f"{identity} {place}".encode()).hexdigest()[IDENTITY:]
        for identity, place in zip(ordered[further.index], further, strict=True)
    ]
    return identities.mask(identities.index.isin(further.index), pd.Series(renamed, further.index, dtype="str"))
