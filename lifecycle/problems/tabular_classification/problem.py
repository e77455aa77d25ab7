"""The columns of a row to a class."""

from lifecycle.problems.classification.judging import JUDGING
from lifecycle.problems.classification.summary import PREDICTION
from lifecycle.problems.known import Problem
from lifecycle.problems.planted import Material
from lifecycle.problems.tabular.learning import CLASSIFICATION as LEARNING
from lifecycle.problems.tabular.table import CLASSIFICATION as TABLE


def planted() -> Material:
    """What the gate's selftest plants; to import it imports the libraries that fit."""
    from lifecycle.problems.tabular.planted import OF_CLASSES

    return OF_CLASSES


PROBLEM = Problem("tabular-classification", "classifier", "label", PREDICTION, TABLE, LEARNING, JUDGING, planted)
