"""One classifier on the comparable rows: codes of classes, how sure it is, and how it compares with another one."""

from collections.abc import Callable, Hashable, Mapping
from functools import cached_property
from typing import Any, NamedTuple, Self, TypeVar, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lifecycle.core.class_names import canonical, canonicals
from lifecycle.problems import shares
from lifecycle.problems.classification.summary import PROBABILITY
from lifecycle.problems.findings import Interval
from lifecycle.problems.metric import Codes, Flips, Floats, Mask

T = TypeVar("T")

ROUNDING = 1e-6
"""How far the probabilities of a row may be from adding up to 1."""


class _Fields(NamedTuple):
    classes: tuple[str, ...]
    truth: Codes
    label: Codes
    score: Floats
    probabilities: Floats | None


class ClassScores(_Fields):
    """One model's labels, scores and probabilities beside the truth.

    Attributes:
        classes: Sorted union of the truth, both models' labels and their probability columns.
        truth: Codes into `classes`, (n,).
        label: Codes into `classes`, (n,).
        score: Confidence of the label, in [0, 1], (n,).
        probabilities: (n, len(classes)), each row sums to 1; None if the model gives none.
    """

    @cached_property
    def _known(self) -> dict[Hashable, Any]:
        return {}

    @property
    def right(self) -> Mask:
        """The rows whose label is the truth."""
        return np.asarray(self.label == self.truth)

    @property
    def without_model(self) -> tuple[str, int]:
        """The class of most rows."""
        return "the most frequent class", int(np.bincount(self.truth).max())

    def once(self, what: Hashable, find: Callable[[], T]) -> T:
        """What depends on the rows alone and not on how often each is drawn: it is found once for all resamples."""
        if what not in self._known:
            self._known[what] = find()
        return cast(T, self._known[what])

    def take(self, rows: Codes) -> Self:
        """These rows alone, in this order."""
        probabilities = None if self.probabilities is None else self.probabilities[rows]
        return type(self)(self.classes, self.truth[rows], self.label[rows], self.score[rows], probabilities)

    def interleave(self, other: Self) -> Self:
        """Each row twice: first as this model answers, then as the other does."""

        def both(one: NDArray[Any] | None, two: NDArray[Any] | None) -> Any:
            return None if one is None or two is None else np.stack([one, two], axis=1).reshape(-1, *one.shape[1:])

        return type(self)(self.classes, *map(both, self[1:], other[1:]))

    def alike(self, *others: Self) -> tuple[Codes, Codes]:
        """Rows with the same truth and labels: the first of each group, and the group of each row."""
        codes = [self.truth, self.label, *(other.label for other in others)]
        cells = np.ravel_multi_index(codes, [len(self.classes)] * len(codes))
        _, first, group = np.unique(cells, return_index=True, return_inverse=True)
        return first, group

    def flips(self, champion: Self) -> Flips:
        """The rows that one of the two gets right and the other wrong."""
        return Flips(champion.right & ~self.right, self.right & ~champion.right, "McNemar")

    def severity(self, other: Self) -> Floats:
        """A mistake is as bad as the model is sure of it, whatever the other model says."""
        _ = other
        return self.score

    def certainty(self, row: int) -> float:
        """Its confidence."""
        return float(self.score[row])

    def said(self, row: int) -> tuple[str, str]:
        """The true class of a row, and the label."""
        return self.classes[self.truth[row]], self.classes[self.label[row]]

    def quality(self, mask: Mask, confidence: float) -> Interval:
        """The accuracy on a part of the rows."""
        return shares.wilson(int(self.right[mask].sum()), int(mask.sum()), confidence)

    def slice_loss(self, champion: Self, mask: Mask) -> tuple[float, float]:
        """The accuracy that is lost, and the one-sided exact p of McNemar's test."""
        new, old = self.right[mask], champion.right[mask]
        lost = float(old.mean() - new.mean()) if mask.any() else 0.0
        return lost, shares.sign_p(int((old & ~new).sum()), int((new & ~old).sum()))

    def changed(self, champion: Self) -> int:
        """Rows whose label is another one."""
        return int((self.label != champion.label).sum())

    def confusion(self) -> tuple[tuple[int, ...], ...]:
        """Rows by truth and label."""
        size = len(self.classes)
        cells = np.bincount(self.truth * size + self.label, minlength=size * size).reshape(size, size)
        return tuple(tuple(int(count) for count in row) for row in cells)


def scores_of(truth: pd.Series, answers: Mapping[str, pd.DataFrame]) -> dict[str, ClassScores]:
    """The scores of models by their role, from what was stored of each; codes mean the same for all of them.

    Args:
        truth: The labels of the rows.
        answers: Of each model, for the same rows in the same order.
    """
    named = canonicals(truth)
    frames = {role: frame.assign(label=canonicals(frame["label"])) for role, frame in answers.items()}
    known = {*named}.union(*({*frame["label"], *told_classes(frame).values()} for frame in frames.values()))
    classes = tuple(sorted(map(str, known)))
    return {role: _coded(named, frame, classes) for role, frame in frames.items()}


def told_classes(answers: pd.DataFrame) -> dict[str, str]:
    """The columns of probabilities with their classes, named as in new dataset versions: older ones have both forms."""
    columns = [str(name) for name in answers.columns if str(name).startswith(PROBABILITY)]
    return {name: canonical(name.removeprefix(PROBABILITY)) for name in columns}


def _coded(truth: pd.Series, answers: pd.DataFrame, classes: tuple[str, ...]) -> ClassScores:
    """Labels as numbers that mean the same for both models; a class that a model does not know has probability 0."""
    known, told = np.array(classes, dtype=object), told_classes(answers)
    probabilities = np.zeros((len(truth), len(classes))) if told else None
    if probabilities is not None:
        for column, name in told.items():
            probabilities[:, classes.index(name)] += answers[column].to_numpy(np.float64)
    return ClassScores(
        classes=classes,
        truth=np.searchsorted(known, truth.to_numpy(object)).astype(np.int64),
        label=np.searchsorted(known, answers["label"].to_numpy(object)).astype(np.int64),
        score=answers["score"].to_numpy(np.float64),
        probabilities=probabilities,
    )


def problems_of(answers: pd.DataFrame) -> list[str]:
    """What makes stored answers unusable, in words."""
    columns = [str(name) for name in answers.columns]
    numbers = ["score", *(name for name in columns if name.startswith(PROBABILITY))]
    if wrong := [name for name in dict.fromkeys(("label", *numbers)) if columns.count(name) != 1]:
        return [f"lacks or repeats the columns {', '.join(wrong)}"]
    labels = answers["label"].dropna()
    if not labels.map(lambda label: isinstance(label, str)).all():
        return ["has a label that is no text"]
    if not all(dtype.kind in "fiu" for dtype in answers[numbers].dtypes):
        return ["has scores that are no numbers"]
    probabilities = answers[numbers[1:]].to_numpy(np.float64)
    unusual = probabilities.size > 0 and not (
        (probabilities >= 0).all() and (np.abs(probabilities.sum(axis=1) - 1) <= ROUNDING).all()
    )
    broken = {
        "has an empty label": answers["label"].isna().any() or (answers["label"] == "").any(),
        "has a score outside [0, 1]": not answers["score"].between(0, 1).all(),
        "has probabilities that do not add up to 1": unusual,
    }
    return [problem for problem, there in broken.items() if there]
