"""How well a model answers rows of which no truth is known yet: what an estimate is made of.

A problem learns, of the rows that a version was judged on, how likely its answers are to be right or how far off they
are. Of other rows it then says what their truths are likely to be, and any metric is measured on these.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

import pandas as pd

from lifecycle.problems.metric import Floats, Metric

REPLICATES = 100


class Likely(NamedTuple):
    """Truths that some rows are likely to have, beside what was answered.

    Attributes:
        truth: A possible truth.
        answers: The answer that it stands beside.
        weights: How many rows are to be expected of it.
        replicates: The same as it may turn out, by chance and for what is known of too few rows; (replicates, n).
    """

    truth: pd.Series
    answers: pd.DataFrame
    weights: Floats
    replicates: Floats


class Estimator(Protocol):
    """What was learnt of a version."""

    def likely(self, features: pd.DataFrame, answers: Iterable[pd.DataFrame]) -> Likely:
        """The truths that rows are likely to have.

        Args:
            features: What can be counted of some of the rows, by `part name`.
            answers: The predictions of all rows, part by part.
        """


class Estimating(NamedTuple):
    """How a problem estimates.

    Attributes:
        learnt: What can be counted of rows, and the answers to them beside their `truth`, to what is learnt of these.
        tells: Whether likely truths tell a metric.
    """

    learnt: Callable[[pd.DataFrame, pd.DataFrame], Estimator]
    tells: Callable[[Metric], bool]
