"""The part of each problem that the data room asks."""

from lifecycle.core.names import ProblemName
from lifecycle.problems.contract import Table
from lifecycle.problems.tabular.table import CLASSIFICATION, REGRESSION
from lifecycle.problems.text_classification.table import TABLE

TABLES: dict[ProblemName, Table] = {
    "text-classification": TABLE,
    "tabular-classification": CLASSIFICATION,
    "tabular-regression": REGRESSION,
}
