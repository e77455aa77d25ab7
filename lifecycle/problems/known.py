"""The table of problems. A new one is one folder and one entry here."""

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Literal, NamedTuple

from lifecycle.core.names import ProblemName

if TYPE_CHECKING:
    from lifecycle.problems.contract import Table
    from lifecycle.problems.judging import Judging
    from lifecycle.problems.learning import Learning
    from lifecycle.problems.planted import Material


class Problem(NamedTuple):
    """One kind of models.

    Attributes:
        name: The field's name of the task.
        model_type: MLflow's name of what answers it.
        target: What the truth is called in the files of a dataset version.
        prediction: The columns of a prediction, each with its type as Spark names it.
        table: What the data room asks of it.
        learning: What training asks of it.
        judging: What evaluation and gate ask of it.
        planted: What challengers with a known fate are made of, for the selftest of the gate.
    """

    name: ProblemName
    model_type: Literal["classifier", "regressor"]
    target: str
    prediction: Mapping[str, str]
    table: "Table"
    learning: "Learning"
    judging: "Judging"
    planted: "Callable[[], Material]"


MODULES: dict[ProblemName, str] = {
    "text-classification": "lifecycle.problems.text_classification.problem",
    "tabular-classification": "lifecycle.problems.tabular_classification.problem",
    "tabular-regression": "lifecycle.problems.tabular_regression.problem",
}
"""The module of each problem, which holds it as `PROBLEM`; it is imported when the problem is asked for."""


@cache
def named(name: ProblemName) -> Problem:
    """The problem of a name."""
    problem: Problem = import_module(MODULES[name]).PROBLEM
    return problem
