"""Fitting by `partial_fit`, whatever the number of rows: features on the disk, one shard of them in memory at a time.

What features learn (categories, medians, scales) they learn from a sample. Then each part of the rows is turned into
features once, and its rows are dealt at random to shards in a temporary folder: a shard is a random part of all rows,
in whatever order they came. An epoch takes the shards, and the rows within each, in an order of its own.
"""

import logging
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lifecycle.core.names import Side
from lifecycle.core.progress import Pace
from lifecycle.problems import fitting
from lifecycle.problems.learning import Beside

logger = logging.getLogger(__name__)

SHARD_ROWS, MOST_SHARDS = 50_000, 64
"""Rows of a shard, and shards; of more rows than both say, a shard is larger."""
SOURCES = ("problems/out_of_core.py",)
"""The files that decide what becomes of the rows of such an algorithm, beside those of all."""
STOPPING = {"max_iter": 30, "n_iter_no_change": 2, "tol": 1e-4, "early_stopping": True}
CLASSIFIER = {"loss": "log_loss", "alpha": 1e-5, **STOPPING}
REGRESSOR = {"alpha": 1e-5, **STOPPING}
"""The defaults of the algorithm `sgd`."""
Part = tuple[Any, "pd.Series[Any]"]


class Rows(NamedTuple):
    """The rows of a training in parts, as features are given them.

    Attributes:
        parts: Of a split.
        total: How many rows are fitted on.
    """

    parts: Callable[[Side], Iterator[Part]]
    total: int


def rows_of(
    inputs: pd.DataFrame, target: "pd.Series[Any]", beside: Beside, features: Callable[[pd.DataFrame], Any]
) -> Rows:
    """What comes in parts, or in their place the rows that are in memory."""
    if beside.parts is not None:
        read, counts = beside.parts
        return Rows(lambda split: ((features(part), truth) for part, truth in read(split)), counts[Side.TRAIN])
    whole = {Side.TRAIN: [(inputs, target)]}
    if beside.inputs is not None and beside.target is not None:
        whole[Side.TEST] = [(beside.inputs, beside.target)]
    return Rows(lambda split: ((features(part), truth) for part, truth in whole.get(split, [])), len(inputs))


class Shards:
    """Features and truths on the disk, each shard a random part of all rows."""

    def __init__(self, folder: Path, count: int, width: int) -> None:
        self.folder, self.count, self.width, self.rows = folder, count, width, 0
        folder.mkdir()

    def deal(self, read: Any, truth: Any, chance: np.random.Generator) -> None:
        """Add rows: each to a shard that chance chooses."""
        read = sparse.csr_matrix(read)
        shard_of = chance.integers(self.count, size=read.shape[0])
        for number in range(self.count):
            rows = read[shard_of == number]
            self._append(number, "values", rows.data.astype("float32"))
            self._append(number, "places", rows.indices.astype("int32"))
            self._append(number, "lengths", np.diff(rows.indptr).astype("int32"))
            self._append(number, "truth", truth[shard_of == number])
        self.rows += read.shape[0]

    def truth(self, number: int) -> Any:
        """The truths of a shard."""
        return np.fromfile(self.folder / f"{number}.truth", "float64")

    def load(self, number: int) -> tuple[Any, Any]:
        """A shard: features and truths."""
        values = np.fromfile(self.folder / f"{number}.values", "float32").astype("float64")
        places, lengths = (np.fromfile(self.folder / f"{number}.{name}", "int32") for name in ("places", "lengths"))
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype("int32")
        return sparse.csr_matrix((values, places, starts), shape=(len(lengths), self.width)), self.truth(number)

    def _append(self, number: int, name: str, array: Any) -> None:
        with (self.folder / f"{number}.{name}").open("ab") as file:
            array.tofile(file)


def fit(
    algorithm: str, pipeline: Any, sample: Any, rows: Rows, params: tuple[dict[str, Any], dict[str, Any]], noun: str
) -> None:
    """Fit features on the sample, and the estimator on all rows, epoch by epoch, until the held out loss falls no more.

    The loss is that on test; where there is no test on a shard of train. The weights of the best epoch are kept.

    Raises:
        ConfigError: The parameters do not fit together, or not to these rows.
        DataError: No parameters were given, and the rows are not fit to learn from.
    """
    features, estimator = (step for _, step in pipeline.steps)
    of_features, own = params
    with threadpool_limits(1), tempfile.TemporaryDirectory(prefix="mlops-rows-") as name:
        with fitting.refused(f"{algorithm}, reading the {noun}: ", of_features):
            first = features.fit(sample).transform(sample[:100])
        learner = _Learner(algorithm, estimator, own)
        chance = np.random.default_rng(estimator.random_state or 0)
        count = min(MOST_SHARDS, math.ceil(rows.total / SHARD_ROWS))
        dealt = {split: Shards(Path(name) / split, count, first.shape[1]) for split in (Side.TRAIN, Side.TEST)}
        for split, shards in dealt.items():
            for part, truth in rows.parts(split):
                with fitting.refused(f"{algorithm}, reading the {noun}: ", of_features):
                    read = features.transform(part)
                shards.deal(read, learner.coded(truth, split), chance)
        if count > 1:
            logger.info("%s rows are features now, in %s shards", f"{dealt[Side.TRAIN].rows:,}", count)
        with fitting.warnings_logged():
            learner.learn(dealt[Side.TRAIN], dealt[Side.TEST], chance)
        with fitting.refused(f"{algorithm}: ", own):
            fitting.check_answers(estimator, first)


class _Learner:
    """An estimator that is fitted shard by shard: of classes, or of a number, which it learns on the scale of 1."""

    def __init__(self, algorithm: str, estimator: Any, own: dict[str, Any]) -> None:
        self.algorithm, self.estimator, self.own = algorithm, estimator, own
        self.is_classifier = hasattr(estimator, "class_weight")
        self.codes: dict[Any, int] = {}
        self.counts = Counter[int]()
        self.options: dict[str, Any] = {}
        self.mean, self.scale = 0.0, 1.0

    def coded(self, truth: "pd.Series[Any]", split: Side) -> Any:
        """Truths as numbers: of a class its place in the order in which they come; -1 of one that train has not."""
        if not self.is_classifier:
            return truth.to_numpy("float64")
        if split is Side.TRAIN:
            for label, rows in truth.value_counts().items():
                self.counts[self.codes.setdefault(label, len(self.codes))] += int(rows)
        return truth.map(self.codes).fillna(-1).to_numpy("float64")

    def learn(self, train: Shards, test: Shards, chance: np.random.Generator) -> None:
        """Epoch after epoch; the estimator's own `early_stopping` is one within a single part, so it is done here."""
        estimator, best, since = self.estimator, math.inf, 0
        self._prepare(train)
        early = {"early_stopping": estimator.early_stopping}
        held = test if test.rows and estimator.early_stopping else train
        watched = range(held.count if held is test else 1)
        estimator.set_params(early_stopping=False)
        pace, kept = Pace(), (None, None)
        for epoch in range(estimator.max_iter):
            for number in chance.permutation(train.count):
                self._part(*train.load(number), chance)
            loss = self._loss(held, watched)
            if pace.is_due():
                logger.info("Epoch %s: %s loss %.5f", epoch + 1, "test" if held is test else "train", loss)
            since = 0 if loss < best - (estimator.tol or 0) or not math.isfinite(best) else since + 1
            if loss < best:
                best, kept = loss, (estimator.coef_.copy(), estimator.intercept_.copy())
            if estimator.tol is not None and since >= estimator.n_iter_no_change:
                break
        estimator.coef_, estimator.intercept_ = kept if kept[0] is not None else (estimator.coef_, estimator.intercept_)
        estimator.n_iter_ = epoch + 1
        if not self.is_classifier:
            estimator.coef_ = estimator.coef_ * self.scale
            estimator.intercept_ = estimator.intercept_ * self.scale + self.mean
        estimator.set_params(**early)

    def _prepare(self, train: Shards) -> None:
        """Classes and their weights, which one part cannot tell; or where the numbers lie."""
        if self.is_classifier:
            names = sorted(self.codes)
            self.places = np.array([names.index(name) for name in self.codes])
            self.options = {"classes": np.array(names, dtype=object)}
            if self.estimator.class_weight == "balanced":
                total = sum(self.counts.values())
                weights = {name: total / (len(names) * self.counts[code]) for name, code in self.codes.items()}
                self.estimator.set_params(class_weight=weights)
            return
        sums = [(values.sum(), len(values)) for values in map(train.truth, range(train.count))]
        self.mean = float(sum(total for total, _ in sums) / train.rows)
        squares = sum(((train.truth(number) - self.mean) ** 2).sum() for number in range(train.count))
        self.scale = math.sqrt(squares / train.rows) or 1.0

    def _part(self, read: Any, truth: Any, chance: np.random.Generator) -> None:
        order = chance.permutation(read.shape[0])
        if not len(order):
            return
        with fitting.refused(f"{self.algorithm}: ", self.own):
            self.estimator.partial_fit(read[order], self._named(truth[order]), **self.options)

    def _named(self, truth: Any) -> Any:
        if not self.is_classifier:
            return (truth - self.mean) / self.scale
        return self.options["classes"][self.places[truth.astype("int64")]]

    def _loss(self, held: Shards, watched: range) -> float:
        """The log loss, or the mean squared error on the scale of 1."""
        total, rows = 0.0, 0
        for read, truth in map(held.load, watched):
            known = truth >= 0 if self.is_classifier else np.isfinite(truth)
            if known.any():
                total += self._lost(read[known], truth[known])
                rows += int(known.sum())
        return total / rows if rows else math.inf

    def _lost(self, read: Any, truth: Any) -> float:
        with fitting.refused(f"{self.algorithm}: ", self.own):
            if not self.is_classifier:
                return float(((self.estimator.predict(read) - self._named(truth)) ** 2).sum())
            likely = self.estimator.predict_proba(read)
        right = likely[np.arange(len(truth)), self.places[truth.astype("int64")]]
        return float(-np.log(np.clip(right, 1e-15, 1)).sum())
