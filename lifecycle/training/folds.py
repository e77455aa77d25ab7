"""Cross-validation within the train split of a dataset version, by the rule that divided the version itself."""

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold, TimeSeriesSplit

from lifecycle.core.errors import ConfigError
from lifecycle.core.refusals import refused_by_the_library
from lifecycle.data import columns, division
from lifecycle.data.manifest import Manifest
from lifecycle.problems.known import named

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class Folds(NamedTuple):
    """How rows are divided again and again into those that are fitted on and those that are measured.

    Attributes:
        manifest: Of the dataset version.
        times: How often.
        seed: Of the shuffling, where there is one.
    """

    manifest: Manifest
    times: int
    seed: int

    @property
    def kind(self) -> str:
        """By what they are divided, for people."""
        parameters = self.manifest.parameters
        if time := parameters.get("time_column"):
            return f"by {time}, each measured on later rows"
        if group := parameters.get("group_column"):
            return f"no {group} on both sides"
        return "no text on both sides" if parameters.get("group_texts") else "shuffled"

    @property
    def least(self) -> int:
        """Fewer rows than this tell nothing: two of each class to measure on, as in scikit-learn's halving."""
        return 2 * self.times * max(1, len(self.manifest.classes))

    def of(self, rows: "pd.DataFrame") -> "list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]":
        """The positions of rows that are fitted on, and of those that are measured, for each fold.

        Raises:
            ConfigError: There are too few rows, groups or classes for so many.
        """
        problem, parameters = named(self.manifest.problem), self.manifest.parameters
        target, shuffled = rows[problem.learning.target], {"shuffle": True, "random_state": self.seed}
        if time := parameters.get("time_column"):
            order = columns.in_order(rows[f"source_{time}"])
            with refused_by_the_library("Cross-validation: ", ConfigError, "Ask for fewer --folds."):
                return [(order[fit], order[measure]) for fit, measure in TimeSeriesSplit(self.times).split(order)]
        groups = division.groups_of(self.manifest, rows)
        if groups is None and (identities := division.identities(rows["key"])).duplicated().any():
            groups = identities  # equal rows, which the version keeps on one split
        if groups is not None:
            by = StratifiedGroupKFold if problem.table.has_classes else GroupKFold
        else:
            by = StratifiedKFold if problem.table.has_classes else KFold
        with warnings.catch_warnings(), refused_by_the_library("Cross-validation: ", ConfigError, "Fewer --folds."):
            warnings.simplefilter("ignore", UserWarning)  # a class with fewer rows than folds: it is in some of them
            return list(by(self.times, **shuffled).split(rows, target, groups))

    def some(self, rows: "pd.DataFrame", count: int) -> "pd.DataFrame":
        """A part of the rows, of each class as large a share, in their order; chosen by their keys, so at random."""
        if count >= len(rows):
            return rows
        problem = named(self.manifest.problem)
        classes = rows[problem.learning.target] if problem.table.has_classes else rows["split"]
        of_class = rows["key"].groupby(classes)
        wanted = of_class.transform("size") * (count / len(rows))
        return rows[of_class.rank() <= wanted.clip(lower=1).round()].reset_index(drop=True)
