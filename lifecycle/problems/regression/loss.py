"""Direct loss estimation (DLE): how far off a prediction is follows from where its row lies.

The method is that of NannyML ("How it works: Estimation of Performance of the Monitored Model"): a second model learns,
of the rows that the version was judged on, the error from the inputs and the prediction; its mean over other rows
estimates theirs. Here it is a regression tree, so that what is kept are a few thresholds and, of each leaf, how far
off the rows in it were: no row, nothing that must be unpickled, and a known uncertainty.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.tree import DecisionTreeRegressor

from lifecycle.core.frozen import Frozen
from lifecycle.problems.estimating import Likely
from lifecycle.problems.metric import Codes, Floats

PREDICTION = "prediction prediction"
"""What the features call the prediction."""
MOST_LEAVES, ROWS_PER_LEAF, ROWS_PER_BIN, MOST_LEVELS = 16, 40, 5, 50
REPLICATES = 50
ENDS = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)
"""Of the bins of errors, as shares of the rows of a leaf."""


class Node(Frozen):
    """A node of the tree, and in a leaf how far its rows are from the truth."""

    feature: int
    """Of the features; negative in a leaf."""
    threshold: float
    left: int
    right: int
    missing_left: bool
    rows: tuple[int, ...] = ()
    """By bin of truth - prediction."""
    errors: tuple[float, ...] = ()
    """In each bin their mean."""
    deviations: tuple[float, ...] = ()
    """In each bin how far they deviate from that."""


class LearntLoss(Frozen):
    """What is known of the errors of a version."""

    features: tuple[str, ...]
    levels: dict[str, tuple[str, ...]]
    """Of features that are no numbers, in the order of their errors."""
    nodes: tuple[Node, ...]

    @classmethod
    def learnt(cls, features: pd.DataFrame, answers: pd.DataFrame) -> Self:
        """That of answers beside their truth, and of what can be counted of the same rows."""
        error = answers["truth"].to_numpy(float) - answers["prediction"].to_numpy(float)
        shape = cls(features=tuple(features), levels=_levels(features, np.abs(error)), nodes=())
        least = max(1, min(ROWS_PER_LEAF, len(error) // 2))
        tree = DecisionTreeRegressor(max_leaf_nodes=MOST_LEAVES, min_samples_leaf=least, random_state=0)
        cells = shape._cells(features)
        grown = tree.fit(cells, np.abs(error)).tree_
        path = tree.decision_path(cells).tocsc()
        nodes = (_node(grown, place, error[path[:, [place]].indices]) for place in range(grown.node_count))
        return cls(features=shape.features, levels=shape.levels, nodes=tuple(nodes))

    def likely(self, features: pd.DataFrame, answers: Iterable[pd.DataFrame]) -> Likely:
        """The truths that rows are likely to have: as far off as the rows of their leaf were, for each bin of these."""
        _ = answers
        prediction, places = features[PREDICTION].to_numpy(float), self._leaves(self._cells(features))
        bins = max(len(node.rows) for node in self.nodes)
        errors, rows = np.zeros((2, len(self.nodes), 2 * bins))  # two truths for each bin: they keep mean and square
        for place, node in enumerate(self.nodes):
            mean, deviation = np.array(node.errors), np.array(node.deviations)
            errors[place, : 2 * len(mean)] = np.concatenate([mean - deviation, mean + deviation])
            rows[place, : 2 * len(mean)] = np.tile(node.rows, 2) / 2
        shares = np.divide(rows, rows.sum(axis=1, keepdims=True), out=np.zeros_like(rows), where=rows > 0)
        return Likely(
            pd.Series((prediction[:, None] + errors[places]).ravel()),
            pd.DataFrame({"prediction": np.repeat(prediction, 2 * bins)}),
            shares[places].ravel(),
            _drawn(places, rows),
        )

    def _cells(self, features: pd.DataFrame) -> Floats:
        """Features as numbers: those of levels by their place, new ones beyond the last."""
        columns = []
        for name in self.features:
            values = features[name]
            if name in self.levels:
                known = {level: place for place, level in enumerate(self.levels[name])}
                values = values.map(lambda level, known=known: known.get(str(level), len(known)), na_action="ignore")
            columns.append(values.to_numpy(float))
        return np.column_stack(columns)

    def _leaves(self, cells: Floats) -> Codes:
        """The leaf that each row falls into."""
        places = np.zeros(len(cells), np.int64)
        feature, threshold, left, right, missing = (
            np.array([getattr(node, name) for node in self.nodes])
            for name in ("feature", "threshold", "left", "right", "missing_left")
        )
        while (inner := feature[places] >= 0).any():
            at = places[inner]
            value = cells[inner, feature[at]].astype(np.float32)  # as the tree was grown
            goes_left = np.where(np.isnan(value), missing[at], value <= threshold[at])
            places[inner] = np.where(goes_left, left[at], right[at])
        return places


def _levels(features: pd.DataFrame, errors: Floats) -> dict[str, tuple[str, ...]]:
    """The levels of each feature that has some, those of small errors first; rare ones have no name."""
    found = {}
    for name in features:
        values = features[name]
        if values.dtype.kind != "f":
            groups = pd.Series(errors, index=values.index).groupby(values.map(str, na_action="ignore"))
            frequent = groups.agg(["size", "mean"]).query("size >= 5").nlargest(MOST_LEVELS, "size")
            found[str(name)] = tuple(map(str, frequent.sort_values("mean").index))
    return found


def _node(tree: Any, place: int, errors: Floats) -> Node:
    """A node as it is kept, with the errors of the rows in it."""
    feature = int(tree.feature[place])
    bins = [] if feature >= 0 else _bins(np.sort(errors))
    return Node(
        feature=feature,
        threshold=float(tree.threshold[place]),
        left=int(tree.children_left[place]),
        right=int(tree.children_right[place]),
        missing_left=bool(tree.missing_go_to_left[place]),
        rows=tuple(len(each) for each in bins),
        errors=tuple(float(each.mean()) for each in bins),
        deviations=tuple(float(each.std()) for each in bins),
    )


def _bins(errors: Floats) -> list[Floats]:
    """Sorted errors in bins that are narrow where errors are large, since squares make much of these."""
    ends = np.unique(np.rint(np.array(ENDS) * len(errors)).astype(int))
    wide = [0, *(end for end in ends if ROWS_PER_BIN <= end <= len(errors) - ROWS_PER_BIN), len(errors)]
    return [errors[low:high] for low, high in pairwise(wide)]


def _drawn(places: Codes, rows: Floats) -> Floats:
    """One truth for each row, as often as its leaf says, which itself is not known for certain."""
    rng = np.random.default_rng(0)
    unsure = rng.standard_gamma(rows, (REPLICATES, *rows.shape)).cumsum(axis=2)  # a Dirichlet before it is normed
    chance = rng.random((REPLICATES, len(places), 1)) * unsure[:, places, -1:]
    below = (chance < unsure[:, places]).astype(float)
    drawn: Floats = np.diff(below, axis=2, prepend=0.0).reshape(REPLICATES, -1)
    return drawn
