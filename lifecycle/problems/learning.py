"""What training asks of a problem: what can be fitted, how it is stored, and what is said of a fitted model."""
# ruff: noqa: ARG002  what a problem does not need of its arguments, another one does

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lifecycle.core import own_code
from lifecycle.core.names import Side
from lifecycle.problems.contract import Columns, Estimator
from lifecycle.problems.own import OwnAlgorithm

if TYPE_CHECKING:
    import pandas as pd


class Summary(NamedTuple):
    """How well a model does on one split: metrics by their names in MLflow, and a table where classes have rows."""

    metrics: dict[str, float]
    table: "pd.DataFrame | None" = None


class Parts(NamedTuple):
    """Rows that are not held together in memory.

    Attributes:
        read: The inputs and truths of a split, part by part; as often as it is called.
        counts: Rows by split.
    """

    read: "Callable[[Side], Iterator[tuple[pd.DataFrame, pd.Series[Any]]]]"
    counts: Mapping[Side, int]


class Beside(NamedTuple):
    """What a training may make use of beside its rows.

    Attributes:
        inputs: Those of the test split, on which it may decide when to end.
        target: Theirs.
        base: The folder of the model that it begins with.
        checkpoints: The folder in which it may keep how far it has come, until its model is logged.
        parts: For what is fitted out of core all rows; what else it is given is then a sample of train.
        vectors: The folder in which trainings keep what an encoder made of texts, for later ones.
    """

    inputs: "pd.DataFrame | None" = None
    target: "pd.Series[Any] | None" = None
    base: Path | None = None
    checkpoints: Path | None = None
    parts: Parts | None = None
    vectors: Path | None = None


NOTHING = Beside()


class StoredModel(NamedTuple):
    """A model as files, and what MLflow is told of it.

    Attributes:
        code: The file whose class reads the others; it travels with them.
        artifacts: Files by the names that the class knows them by.
        inputs: Column to MLflow's type, by its name or as it is, or `any`.
        outputs: Column to MLflow's type, likewise.
        example: Rows of nobody: a model is kept for years, and its digest would speak for a row that had to be erased.
        own: The code of a team's own that it is made of; it travels with them too.
        trusted_types: Beyond our own list, what it is made of.
        packages: What it needs beyond the libraries of all models.
    """

    code: Path
    artifacts: Mapping[str, Path]
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    example: "pd.DataFrame"
    own: own_code.Sources = MappingProxyType({})
    trusted_types: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


class Spec(NamedTuple):
    """What is to be fitted: an algorithm, by default the first, with parameters and seed, and the columns it reads."""

    algorithm: str | OwnAlgorithm | None
    params: Mapping[str, Any]
    seed: int
    columns: Columns


class Learning(Protocol):
    """What can be trained of one problem. A pipeline has two steps, of which the last is the estimator.

    Attributes:
        target: What the truth is called in the files of a dataset.
        estimators: The algorithms; the first is the default.
        sources: The files of `lifecycle` that decide what becomes of rows and parameters.
    """

    target: str
    estimators: Mapping[str, Estimator]
    sources: tuple[str, ...]

    def build(self, spec: Spec) -> Any:
        """An unfitted pipeline; what is wrong with a parameter by itself is found here."""

    def fit(self, spec: Spec, inputs: "pd.DataFrame", target: "pd.Series[Any]", beside: Beside = NOTHING) -> Any:
        """The same, fitted; an algorithm, parameters or rows that cannot be are an error of ours."""

    def parameters(self, pipeline: Any) -> dict[str, Any]:
        """What a run is to say of a pipeline."""

    def answers(self, pipeline: Any, inputs: "pd.DataFrame", columns: Columns) -> "pd.DataFrame":
        """The predictions of a fitted pipeline as an evaluation keeps them."""

    def store(self, pipeline: Any, columns: Columns, folder: Path) -> StoredModel:
        """Write a fitted pipeline into a folder."""

    def summary(self, split: str, truth: "pd.Series[Any]", answers: "pd.DataFrame") -> Summary:
        """What is logged of one split."""

    def draw(self, truth: "pd.Series[Any]", answers: "pd.DataFrame", folder: Path) -> None:
        """Plot what a model does on one split."""

    def explain(
        self, pipeline: Any, inputs: "pd.DataFrame", truth: "pd.Series[Any]", columns: Columns, folder: Path
    ) -> None:
        """Write down what the predictions depend on; not every problem can tell."""
        return
