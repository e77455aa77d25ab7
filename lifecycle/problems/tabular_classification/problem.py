"""The columns of a row to a class."""

from lifecycle.problems.classification.judging import JUDGING
from lifecycle.problems.classification.summary import PREDICTION
from lifecycle.problems.known import Problem
from lifecycle.problems.tabular.learning import CLASSIFICATION as LEARNING
from lifecycle.problems.tabular.table import CLASSIFICATION as TABLE

PROBLEM = Problem("tabular-classification", "classifier", "label", PREDICTION, TABLE, LEARNING, JUDGING)
