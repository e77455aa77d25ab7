"""The kinds of models: one folder each, and one entry in the table below.

`contract`              what the other rooms ask a problem for
`metric`, `findings`    measures of weighted rows, and what is found by them
`classification`        what all problems share whose answer is a class
`regression`            what all problems share whose answer is a number
`tabular`               what all problems share whose inputs are the columns of a table
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lifecycle.core.names import ProblemName, Side
from lifecycle.problems.classification import judging as classes
from lifecycle.problems.judging import Judging
from lifecycle.problems.regression import judging as numbers
from lifecycle.problems.text_classification import judging as texts

if TYPE_CHECKING:
    import pandas as pd


class Problem(NamedTuple):
    """One kind of models.

    Attributes:
        name: The field's name of the task.
        model_type: MLflow's name of what answers it.
        target: What the truth is called in the files of a dataset version.
        prediction: The columns of a prediction, each with its type as Spark names it.
        summary: What is logged of one split: the truth and the answers to it.
        judging: What evaluation and gate ask of it.
    """

    name: ProblemName
    model_type: Literal["classifier", "regressor"]
    target: str
    prediction: Mapping[str, str]
    summary: Callable[[str, Any, "pd.DataFrame"], Any]
    judging: Judging


def classified(split: str, truth: Any, answers: "pd.DataFrame") -> Any:
    """A stand-in."""
    from types import SimpleNamespace

    from lifecycle.tracking import class_metrics

    classes = class_metrics.by_class(truth, answers["label"])
    return SimpleNamespace(metrics=class_metrics.metrics(Side(split), classes), table=classes)


LABEL = {"label": "string", "score": "double"}
PROBLEMS: dict[ProblemName, Problem] = {
    problem.name: problem
    for problem in (
        Problem("text-classification", "classifier", "label", LABEL, classified, texts.JUDGING),
        Problem("tabular-classification", "classifier", "label", LABEL, classified, classes.JUDGING),
        Problem("tabular-regression", "regressor", "target", {"prediction": "double"}, classified, numbers.JUDGING),
    )
}


def named(name: ProblemName) -> Problem:
    """The problem of a name."""
    return PROBLEMS[name]
