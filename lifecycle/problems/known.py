"""The table of problems. A new one is one folder and one entry here."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from lifecycle.core.names import ProblemName
from lifecycle.problems.contract import ANSWER, CLASS, NUMBER, REFUSAL

if TYPE_CHECKING:
    from lifecycle.problems.contract import OverHttp, Table
    from lifecycle.problems.judging import Judging
    from lifecycle.problems.learning import Learning
    from lifecycle.problems.planted import Material


@dataclass(frozen=True)
class Problem:
    """One kind of models. Its parts are imported when they are asked for: who reads a table trains nothing.

    Attributes:
        name: The field's name of the task.
        model_type: MLflow's name of what answers it.
        target: What the truth is called in the files of a dataset version.
        prediction: The columns of a prediction, each with its type as Spark names it.
        parts: The modules and names of its table, learning, judging, planted and model.
        refusal: The answer that is none, if its models may give that.
        served: The module and name of how its models are asked over HTTP, if not by tables.
    """

    name: ProblemName
    model_type: Literal["classifier", "regressor", "question-answering"]
    target: str
    prediction: Mapping[str, str]
    parts: tuple[str, str, str, str, str]
    refusal: str = ""
    served: str = ""

    @cached_property
    def table(self) -> "Table":
        """What the data room asks of it."""
        part: Table = _imported(self.parts[0])
        return part

    @cached_property
    def learning(self) -> "Learning":
        """What training asks of it."""
        part: Learning = _imported(self.parts[1])
        return part

    @cached_property
    def judging(self) -> "Judging":
        """What evaluation and gate ask of it."""
        part: Judging = _imported(self.parts[2])
        return part

    @cached_property
    def planted(self) -> "Material":
        """What challengers with a known fate are made of, for the selftest of the gate."""
        part: Material = _imported(self.parts[3])
        return part

    @cached_property
    def over_http(self) -> "OverHttp | None":
        """How its models are asked over HTTP; None: with their inputs, and they answer with predictions."""
        part: OverHttp | None = _imported(self.served) if self.served else None
        return part

    @cached_property
    def model(self) -> Any:
        """The class of its models, once they are loaded: of a pipeline, its columns and the name of the problem."""
        return _imported(self.parts[4])


PROBLEMS: dict[ProblemName, Problem] = {
    problem.name: problem
    for problem in (
        Problem(
            "text-classification",
            "classifier",
            "label",
            CLASS,
            (
                "text_classification.table.TABLE",
                "text_classification.learning.LEARNING",
                "text_classification.judging.JUDGING",
                "text_classification.planted.TEXTS",
                "text_classification.model.TextModel",
            ),
        ),
        Problem(
            "text-pair-classification",
            "classifier",
            "label",
            CLASS,
            (
                "text_pair_classification.table.TABLE",
                "text_pair_classification.learning.LEARNING",
                "text_pair_classification.judging.JUDGING",
                "text_pair_classification.planted.PAIRS",
                "text_pair_classification.model.PairModel",
            ),
        ),
        Problem(
            "tabular-classification",
            "classifier",
            "label",
            CLASS,
            (
                "tabular.table.CLASSIFICATION",
                "tabular.learning.CLASSIFICATION",
                "classification.judging.JUDGING",
                "tabular.planted.OF_CLASSES",
                "tabular.model.TabularModel",
            ),
        ),
        Problem(
            "tabular-regression",
            "regressor",
            "target",
            NUMBER,
            (
                "tabular.table.REGRESSION",
                "tabular.learning.REGRESSION",
                "regression.judging.JUDGING",
                "tabular.planted.OF_NUMBERS",
                "tabular.model.TabularModel",
            ),
        ),
        Problem(
            "chat",
            "question-answering",
            "target",
            ANSWER,
            (
                "chat.table.TABLE",
                "chat.learning.LEARNING",
                "chat.judging.JUDGING",
                "chat.planted.QUESTIONS",
                "chat.model.ChatModel",
            ),
            REFUSAL,
            "chat.over_http.OVER_HTTP",
        ),
    )
}


PACKAGES = ("bm25s", "onnxruntime", "safetensors", "tokenizers", "torch", "transformers")
"""What the models of some algorithms depend on beyond what all do: named here as well, since to import the tables of
all algorithms takes a second."""


def named(name: ProblemName) -> Problem:
    """The problem of a name."""
    return PROBLEMS[name]


def _imported(part: str) -> Any:
    module, _, name = part.rpartition(".")
    return getattr(import_module(f"lifecycle.problems.{module}"), name)
