"""Keys of many rows, compared by what they begin with, as numbers: hashes are told apart by that, or else in full."""

from typing import TYPE_CHECKING, Any

from lifecycle.core import letters

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

DIGITS = 16
"""Of a hash in hex as many as fill a number."""


def repeated(keys: "pd.Series[str]") -> "pd.Series[bool]":
    """Which rows have a key that another one has too."""
    import numpy as np
    import pandas as pd

    numbers = _numbers(keys)
    if numbers is None:
        return keys.duplicated(keep=False)
    order = np.argsort(numbers, kind="stable")
    same = numbers[order[1:]] == numbers[order[:-1]]
    alike = np.zeros(len(keys), dtype=bool)
    alike[order[1:][same]] = alike[order[:-1][same]] = True
    if alike.any():
        alike[alike] = keys[alike].duplicated(keep=False).to_numpy()
    return pd.Series(alike, index=keys.index, dtype=bool)


def in_order(keys: "pd.Series[str]") -> "npt.NDArray[np.intp]":
    """The positions of keys, none of which is missing, the least one first."""
    import numpy as np

    numbers = _numbers(keys)
    if numbers is not None:
        order = np.argsort(numbers, kind="stable")
        if not (numbers[order[1:]] == numbers[order[:-1]]).any():
            return order
    return keys.reset_index(drop=True).sort_values().index.to_numpy()


def _numbers(keys: "pd.Series[str]") -> "npt.NDArray[np.uint64] | None":
    """What the keys begin with; None if they are no hashes in hex."""
    import numpy as np

    numbers = list[Any]()
    for part in letters.in_parts(keys):
        held, places = letters.letters(part), letters.ends(part)
        width = len(held) // max(1, len(part))
        if width < DIGITS or (np.diff(places) != width).any():
            return None
        begins = np.frombuffer(held, np.uint8).reshape(-1, width)[:, :DIGITS].tobytes()
        try:
            numbers.append(np.frombuffer(bytes.fromhex(begins.decode()), ">u8").astype(np.uint64))
        except ValueError:
            return None
    return np.concatenate(numbers) if numbers else None
