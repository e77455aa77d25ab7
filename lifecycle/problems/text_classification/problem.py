"""A text to a class."""

from lifecycle.problems.classification.summary import PREDICTION
from lifecycle.problems.known import Problem
from lifecycle.problems.planted import Material
from lifecycle.problems.text_classification.judging import JUDGING
from lifecycle.problems.text_classification.learning import LEARNING
from lifecycle.problems.text_classification.table import TABLE


def planted() -> Material:
    """What the gate's selftest plants; to import it imports the libraries that fit."""
    from lifecycle.problems.text_classification.planted import TEXTS

    return TEXTS


PROBLEM = Problem("text-classification", "classifier", "label", PREDICTION, TABLE, LEARNING, JUDGING, planted)
