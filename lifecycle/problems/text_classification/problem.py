"""A text to a class."""

from lifecycle.problems.classification.summary import PREDICTION
from lifecycle.problems.known import Problem
from lifecycle.problems.text_classification.judging import JUDGING
from lifecycle.problems.text_classification.learning import LEARNING
from lifecycle.problems.text_classification.table import TABLE

PROBLEM = Problem("text-classification", "classifier", "label", PREDICTION, TABLE, LEARNING, JUDGING)
