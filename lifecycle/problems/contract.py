"""What a problem is: the kind of its inputs, of its truth and of its predictions, as the other rooms ask for it.

A new problem is one folder and one entry in `lifecycle.problems.known`. Three parts answer to three groups of rooms:

`table`      what the rows of a dataset are: roles of the source's columns, identity, what cannot be used
`learning`   what can be trained on them, and how a trained model is stored
`judging`    what is measured of two models on the same rows
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from lifecycle.core.frozen import Frozen

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from lifecycle.problems.tabular.proposal import Proposal

Kind = Literal["text", "numeric", "categorical", "boolean", "datetime"]
"""What the cells of an input are."""
DROP = "drop"
"""In place of a kind: the column is no input."""
WHOLE = 1e15
"""From here on not every whole number is a float."""
RESERVED = frozenset({"row", "key", "text", "label", "target", "split", "reason", "kept_row"})
"""What the columns of a dataset are called that every later step reads."""


TEXT: Kind = "text"
EXAMPLE: dict[Kind, Any] = {
    "text": "profit rose",
    "numeric": 0.5,
    "categorical": "other",
    "boolean": True,
    "datetime": "2000-01-01 00:00:00",
}
"""A cell of each kind, of nobody's row."""


class Column(Frozen):
    """One input of a model, by the name that the source and the model call it."""

    name: str
    kind: Kind

    @property
    def is_text(self) -> bool:
        """Whether it holds texts, as people write them."""
        return self.kind == TEXT

    @property
    def stored(self) -> str:
        """What it is called in the files of a dataset version."""
        return f"source_{self.name}" if self.name in RESERVED and self.kind != "text" else self.name


Columns = tuple[Column, ...]
TEXT_COLUMNS: Columns = (Column(name="text", kind="text"),)
CLASS, NUMBER = {"label": "string", "score": "double"}, {"prediction": "double"}
ANSWER = {"answer": "string", "sources": "string", "score": "double"}
REFUSAL = "That is not in the documents."
"""The answer that is none."""
"""The columns of what a model predicts, and MLflow's types of them."""


class TableRequest(Protocol):
    """What a request for a dataset version says of its source's columns."""

    @property
    def target(self) -> str:
        """What is to be predicted."""

    @property
    def columns(self) -> dict[str, str]:
        """Kinds that are declared, or `drop`."""

    @property
    def key(self) -> str | None:
        """What identifies a row."""

    @property
    def group_column(self) -> str | None:
        """What decides on the split: no value of it is on two."""

    @property
    def time_column(self) -> str | None:
        """What decides on the split: the newest rows are held out."""


class Canonical(NamedTuple):
    """A source as every later step reads it.

    Attributes:
        frame: By row number, the truth, the inputs as they are stored, and the other columns as `source_<name>`.
        inputs: What a model is given.
        unusable: Row number to the reason why it cannot be used.
        said: A sentence about the first of these.
        trimmed: Cells of text and target with blanks around them, which were removed.
    """

    frame: "pd.DataFrame"
    inputs: Columns
    unusable: dict[int, str]
    said: str
    trimmed: int


class Before(NamedTuple):
    """What the parent of a dataset version settled of its rows: the classes, and the inputs with their kinds."""

    classes: tuple[str, ...] = ()
    inputs: Columns = ()


class Folder(NamedTuple):
    """What a problem learns from beside its table: a folder.

    Attributes:
        holds: Whether a folder is one.
        propose: What a table whose cells are texts seems to be beside it; a target that is named is that.
        needed: For who has no table: how it is written.
    """

    holds: "Callable[[Path], bool]"
    propose: "Callable[[pd.DataFrame, str | None, Path], Proposal]"
    needed: "Callable[[Path], str]"


class Table(Protocol):
    """What the rows of a dataset are."""

    @property
    def target(self) -> str:
        """What the truth is called in the files of a dataset."""

    @property
    def has_classes(self) -> bool:
        """Whether the truth is one of some classes."""

    @property
    def texts(self) -> int:
        """How many columns of texts are its inputs, where these alone are; else 0."""

    @property
    def folder(self) -> "Folder | None":
        """What it learns from beside its rows."""

    @property
    def kinds(self) -> frozenset[str]:
        """What the columns of a source may be declared to be."""

    def check(self, request: TableRequest) -> None:
        """Refuse, with a ValueError, columns that cannot be asked for together."""

    def options(self, request: TableRequest) -> dict[str, str]:
        """The source columns that must be there, each with the option that names it."""

    def parameters(self, request: TableRequest) -> dict[str, Any]:
        """What the content of a version depends on, of what is asked for about its columns."""

    def rows_digest(self, raw: "pd.DataFrame") -> str:
        """The sha256 of a source's rows."""

    def names(self, request: TableRequest, inputs: Columns) -> dict[str, str]:
        """What those columns of a source are called in a dataset that are not `source_<name>` there."""

    def canonical(self, raw: "pd.DataFrame", request: TableRequest, before: Before) -> Canonical:
        """A source as every later step reads it, whose cells are texts, and which of its rows cannot be used."""

    def keys(self, frame: "pd.DataFrame", inputs: Columns, request: TableRequest) -> "pd.Series[str]":
        """The key of each row of a canonical frame: of two rows with one key the second is a repeat."""

    def flaw(self, rows: "pd.DataFrame") -> str:
        """What the rows of a stored version cannot be, such as the same twice; empty if there is nothing."""

    def suite(self, inputs: Columns) -> tuple[dict[str, Any], ...]:
        """The expectations of a dataset for which `config/expectations` has none."""


class OverHttp(NamedTuple):
    """How models of a problem are asked and answer over HTTP, where that is not a table of inputs and one of answers.

    Attributes:
        query: Inputs to the rows of a query.
        asked: The rows of a query to inputs, as far as it tells them; a ValueError where it asks nothing.
        told: One answer to those columns of a prediction that it tells.
        tells: These columns.
    """

    query: "Callable[[pd.DataFrame], pd.DataFrame]"
    asked: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
    told: Callable[[Any], dict[str, Any]]
    tells: tuple[str, ...]


class Estimator(NamedTuple):
    """One algorithm: what makes it, where its defaults differ from the library's, and what its files hold besides.

    Attributes:
        make: Parameters by name to an unfitted estimator.
        defaults: In which ours differ from the library's.
        trusted_types: What a stored one is made of beyond what skops trusts by itself.
        base: The parameter that names the model it begins with, if it begins with one.
        reads: The parameters that name files or folders, the base among them.
        fetched: Of that parameter, what is neither a folder nor a URI of MLflow, with all parameters, to a folder.
        packages: What it depends on beyond what all do.
        sources: The files of `lifecycle` that decide what becomes of rows, beyond those of its problem.
        space: What `mlops tune` tries by default: parameters by name to values.
        out_of_core: Whether it is fitted part by part, so that no training holds all rows.
    """

    make: Callable[..., Any]
    defaults: Mapping[str, Any] = {}
    trusted_types: tuple[str, ...] = ()
    base: str = ""
    reads: tuple[str, ...] = ()
    fetched: Callable[[str, Mapping[str, Any]], "Path"] | None = None
    packages: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    space: Mapping[str, Sequence[Any]] = {}
    out_of_core: bool = False


def inputs_of(rows: "pd.DataFrame", columns: Iterable[Column]) -> "pd.DataFrame":
    """The inputs of a model from the rows of a dataset, under the names that the model calls them."""
    names = {column.stored: column.name for column in columns}
    return rows[[*names]].rename(columns=names)


def described(row: "pd.Series[Any]", columns: Iterable[Column], most: int = 200) -> str:
    """One row of a dataset for people: a single text as it is, else each input with its value."""
    shown = [(column, row[column.stored]) for column in columns]
    if len(shown) == 1 and shown[0][0].kind == "text":
        return str(shown[0][1])[:most]
    return ", ".join(f"{column.name}={plain(value)}" for column, value in shown)[:most]


def plain(value: Any) -> str:
    """A cell for people: whole numbers are stored as floats and shown without decimals."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if value.is_integer() and abs(value) < WHOLE else f"{value:g}"


def columns_of(model: Any) -> Columns:
    """The inputs of a loaded model with their kinds; one that reads a text names none."""
    kinds = getattr(model, "columns", None)
    return TEXT_COLUMNS if kinds is None else tuple(Column(name=name, kind=kind) for name, kind in kinds)
