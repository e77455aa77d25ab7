"""Direct loss estimation (DLE): how far off a prediction is follows from where its row lies.

The method is that of NannyML ("How it works: Estimation of Performance of the Monitored Model"): a second model learns,
of the rows that the version was judged on, the error from the inputs and the prediction; its mean over other rows
estimates theirs. Here it is a regression tree, so that what is kept are a few thresholds and, of each leaf, the moments
of the errors in it: no row, nothing that must be unpickled, and a known uncertainty.
"""

from collections.abc import Iterable
from typing import Self

import numpy as np
import pandas as pd
from sklearn.tree import DecisionTreeRegressor

from lifecycle.core.frozen import Frozen
from lifecycle.problems.estimating import REPLICATES, Likely
from lifecycle.problems.metric import Codes, Floats

PREDICTION = "prediction prediction"
"""What the features call the prediction."""
MOST_LEAVES, ROWS_PER_LEAF, MOST_LEVELS = 32, 40, 50


class Node(Frozen):
    """A node of the tree, and of the rows in it the moments of truth - prediction."""

    feature: int
    """Of the features; negative in a leaf."""
    threshold: float
    left: int
    right: int
    missing_left: bool
    rows: int
    mean: float
    absolute: float
    square: float
    spread: float
    """The standard error of `square`, as a share of it."""


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
        """Three truths for each row: as far off as its leaf says, to either side, or not at all.

        Their mean, absolute and squared errors are those of the leaf.
        """
        _ = answers
        prediction, places = features[PREDICTION].to_numpy(float), self._leaves(self._cells(features))
        leaves = [self.nodes[place] for place in places]
        mean, absolute, square, spread = (
            np.array([getattr(leaf, name) for leaf in leaves]) for name in ("mean", "absolute", "square", "spread")
        )
        far = np.divide(square, absolute, out=np.zeros_like(square), where=absolute > 0)
        off = np.divide(absolute, far, out=np.zeros_like(far), where=far > 0)
        above = 0.5 + 0.5 * np.divide(mean, absolute, out=np.zeros_like(mean), where=absolute > 0)
        truth = np.concatenate([prediction + far, prediction - far, prediction])
        return Likely(
            pd.Series(truth),
            pd.DataFrame({"prediction": np.tile(prediction, 3)}),
            np.concatenate([off * above, off * (1 - above), 1 - off]),
            _drawn(places, off, above, spread),
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


def _node(tree: object, place: int, errors: Floats) -> Node:
    """A node as it is kept, with the errors of the rows in it."""
    squares = errors**2
    square = float(squares.mean())
    fields = {
        name: getattr(tree, f"{source}")[place].item()
        for name, source in (
            ("feature", "feature"),
            ("threshold", "threshold"),
            ("left", "children_left"),
            ("right", "children_right"),
            ("missing_left", "missing_go_to_left"),
        )
    }
    return Node(
        **fields,
        rows=len(errors),
        mean=float(errors.mean()),
        absolute=float(np.abs(errors).mean()),
        square=square,
        spread=float(squares.std() / square / np.sqrt(len(errors))) if square else 0.0,
    )


def _drawn(places: Codes, off: Floats, above: Floats, spread: Floats) -> Floats:
    """One truth of three for each row, as often as its leaf says, which itself is not known for certain."""
    rng = np.random.default_rng(0)
    by_leaf = rng.normal(size=(REPLICATES, int(places.max(initial=0)) + 1))
    share = off * (1 + spread * by_leaf[:, places]).clip(0)
    share = share.clip(0, 1)
    chance = rng.random(share.shape)
    up, down = chance < share * above, (chance >= share * above) & (chance < share)
    return np.concatenate([up, down, ~up & ~down], axis=1).astype(float)
