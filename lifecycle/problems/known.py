"""The table of problems. A new one is one folder and one entry here."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from lifecycle.core.names import ProblemName
from lifecycle.problems.classification import judging as classes
from lifecycle.problems.classification.summary import PREDICTION as A_CLASS
from lifecycle.problems.judging import Judging
from lifecycle.problems.learning import Learning
from lifecycle.problems.regression import judging as numbers
from lifecycle.problems.regression.summary import PREDICTION as A_NUMBER
from lifecycle.problems.tabular import learning as tables
from lifecycle.problems.text_classification import judging as judging_of_texts
from lifecycle.problems.text_classification import learning as texts


class Problem(NamedTuple):
    """One kind of models.

    Attributes:
        name: The field's name of the task.
        model_type: MLflow's name of what answers it.
        target: What the truth is called in the files of a dataset version.
        prediction: The columns of a prediction, each with its type as Spark names it.
        learning: What training asks of it.
        judging: What evaluation and gate ask of it.
    """

    name: ProblemName
    model_type: Literal["classifier", "regressor"]
    target: str
    prediction: Mapping[str, str]
    learning: Learning
    judging: Judging


PROBLEMS: dict[ProblemName, Problem] = {
    problem.name: problem
    for problem in (
        Problem("text-classification", "classifier", "label", A_CLASS, texts.LEARNING, judging_of_texts.JUDGING),
        Problem("tabular-classification", "classifier", "label", A_CLASS, tables.CLASSIFICATION, classes.JUDGING),
        Problem("tabular-regression", "regressor", "target", A_NUMBER, tables.REGRESSION, numbers.JUDGING),
    )
}


def named(name: ProblemName) -> Problem:
    """The problem of a name."""
    return PROBLEMS[name]
