"""The columns of a row to a number."""

from lifecycle.problems.known import Problem
from lifecycle.problems.planted import Material
from lifecycle.problems.regression.judging import JUDGING
from lifecycle.problems.regression.summary import PREDICTION
from lifecycle.problems.tabular.learning import REGRESSION as LEARNING
from lifecycle.problems.tabular.table import REGRESSION as TABLE


def planted() -> Material:
    """What the gate's selftest plants; to import it imports the libraries that fit."""
    from lifecycle.problems.tabular.planted import OF_NUMBERS

    return OF_NUMBERS


PROBLEM = Problem("tabular-regression", "regressor", "target", PREDICTION, TABLE, LEARNING, JUDGING, planted)
