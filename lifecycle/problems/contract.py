"""What a problem is: the kind of its inputs, of its truth and of its predictions, as the other rooms ask for it.

A new problem is one folder and one entry in `lifecycle.problems.PROBLEMS`. Three parts answer to three groups of rooms:

`table`      what the rows of a dataset are: roles of the source's columns, identity, what cannot be used
`learning`   what can be trained on them, and how a trained model is stored
`judging`    what is measured of two models on the same rows
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lifecycle.core.frozen import Frozen

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["text", "numeric", "categorical", "boolean", "datetime"]
"""What the cells of an input are."""
DROP = "drop"
"""In place of a kind: the column is no input."""
RESERVED = frozenset({"row", "key", "text", "label", "target", "split", "reason", "kept_row"})
"""What the columns of a dataset are called that every later step reads."""


class Column(Frozen):
    """One input of a model, by the name that the source and the model call it."""

    name: str
    kind: Kind

    @property
    def stored(self) -> str:
        """What it is called in the files of a dataset version."""
        return f"source_{self.name}" if self.name in RESERVED and self.kind != "text" else self.name


Columns = tuple[Column, ...]
TEXT_COLUMNS: Columns = (Column(name="text", kind="text"),)


class Estimator(NamedTuple):
    """One algorithm: what makes it, where its defaults differ from the library's, and what its files hold besides.

    Attributes:
        make: Parameters by name to an unfitted estimator.
        defaults: In which ours differ from the library's.
        trusted_types: What a stored one is made of beyond what skops trusts by itself.
    """

    make: Callable[..., Any]
    defaults: Mapping[str, Any] = {}
    trusted_types: tuple[str, ...] = ()


def inputs_of(rows: "pd.DataFrame", columns: Iterable[Column]) -> "pd.DataFrame":
    """The inputs of a model from the rows of a dataset, under the names that the model calls them."""
    names = {column.stored: column.name for column in columns}
    return rows[[*names]].rename(columns=names)


def described(row: "pd.Series[Any]", columns: Iterable[Column], most: int = 200) -> str:
    """One row of a dataset for people: a single text as it is, else each input with its value."""
    shown = [(column, row[column.stored]) for column in columns]
    if len(shown) == 1 and shown[0][0].kind == "text":
        return str(shown[0][1])[:most]
    return ", ".join(f"{column.name}={_plain(value)}" for column, value in shown)[:most]


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
