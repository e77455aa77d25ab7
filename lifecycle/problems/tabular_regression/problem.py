"""The columns of a row to a number."""

from lifecycle.problems.known import Problem
from lifecycle.problems.regression.judging import JUDGING
from lifecycle.problems.regression.summary import PREDICTION
from lifecycle.problems.tabular.learning import REGRESSION as LEARNING
from lifecycle.problems.tabular.table import REGRESSION as TABLE

PROBLEM = Problem("tabular-regression", "regressor", "target", PREDICTION, TABLE, LEARNING, JUDGING)
