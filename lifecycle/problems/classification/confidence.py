"""Confidence-based performance estimation (CBPE): how often labels are right follows from how sure the model is.

The method is that of NannyML ("How it works: Estimation of Performance of the Monitored Model"): with calibrated
confidence the expected confusion matrix can be told, and from it every metric of labels. Calibrated is by isotonic
regression, of each class, on the rows that the version was judged on; it is kept as counts by bins of the score. What
a wrong label should have been is known from the same rows. A kept batch has the score of its label alone, so that is
what is calibrated; of two classes this is the whole of the published method.
"""

from collections.abc import Iterable
from typing import Self

import numpy as np
import pandas as pd
from sklearn.isotonic import isotonic_regression

from lifecycle.core.class_names import canonical, canonicals
from lifecycle.core.frozen import Frozen
from lifecycle.problems.estimating import REPLICATES, Likely
from lifecycle.problems.metric import Floats

MOST_BINS, ROWS_PER_BIN = 50, 40
ANY = ""
"""In place of a class: labels of every class, for one that has too few rows of its own."""


class Reliability(Frozen):
    """How often a label is right by how sure the model is: bins of about as many rows each."""

    label: str
    scores: tuple[float, ...]
    """The mean of each bin, increasing."""
    rows: tuple[int, ...]
    right: tuple[int, ...]

    @classmethod
    def of(cls, label: str, score: "pd.Series[float]", right: "pd.Series[bool]") -> Self:
        """That of some rows which have the label."""
        bins = max(1, min(MOST_BINS, len(score) // ROWS_PER_BIN))
        place = pd.qcut(score, bins, labels=False, duplicates="drop").fillna(0)  # all scores may be the same
        found = pd.DataFrame({"score": score, "right": right}).groupby(place)
        counts = found["right"].agg(["size", "sum"])
        return cls(
            label=label, scores=tuple(found["score"].mean()), rows=tuple(counts["size"]), right=tuple(counts["sum"])
        )

    @property
    def calibrated(self) -> Floats:
        """The share of right labels by bin, which does not fall with the score."""
        rows = np.array(self.rows, float)
        return np.asarray(isotonic_regression(np.array(self.right) / rows, sample_weight=rows, y_min=0, y_max=1))

    def mass(self, score: Floats) -> Floats:
        """Rows by bin: each is divided between the two whose means its score lies between."""
        size = len(self.scores)
        place = np.interp(score, self.scores, np.arange(size))
        low = place.astype(int)
        share = place - low
        below = np.bincount(low, 1 - share, size).astype(float)
        return below + np.bincount(np.minimum(low + 1, size - 1), share, size)


class Confidence(Frozen):
    """What is known of the labels of a version."""

    reliability: tuple[Reliability, ...]
    confused: dict[str, dict[str, int]]
    """By label the truths of the rows that it was wrong for."""
    truths: dict[str, int]

    @classmethod
    def learnt(cls, features: pd.DataFrame, answers: pd.DataFrame) -> Self:
        """That of answers beside their truth."""
        _ = features
        rows = pd.DataFrame({name: canonicals(answers[name]) for name in ("truth", "label")})
        rows["score"], rows["right"] = answers["score"].astype(float), rows["truth"] == rows["label"]
        groups = [(ANY, rows), *((str(label), group) for label, group in rows.groupby("label"))]
        wrong = rows[~rows["right"]].groupby("label")["truth"]
        return cls(
            reliability=tuple(
                Reliability.of(label, group["score"], group["right"])
                for label, group in groups
                if label == ANY or len(group) >= ROWS_PER_BIN
            ),
            confused={str(label): _counts(truths) for label, truths in wrong},
            truths=_counts(rows["truth"]),
        )

    def likely(self, features: pd.DataFrame, answers: Iterable[pd.DataFrame]) -> Likely:
        """The truths that labels are likely to have: a row for each label and truth."""
        _ = features
        known = {each.label: each for each in self.reliability}
        mass: dict[str, Floats] = {}
        for part in answers:
            for label, rows in part.groupby("label", sort=False)["score"]:
                name = canonical(str(label))
                mass[name] = mass.get(name, 0.0) + known.get(name, known[ANY]).mass(rows.to_numpy(float))
        rng = np.random.default_rng(0)
        found = [self._of_label(label, known.get(label, known[ANY]), mass[label], rng) for label in sorted(mass)]
        truth = pd.Series([truth for each in found for truth in each.truth], dtype=object)
        labels = [label for label, each in zip(sorted(mass), found, strict=True) for _ in each.truth]
        return Likely(
            truth,
            pd.DataFrame({"label": labels, "score": 1.0}),
            np.concatenate([each.weights for each in found]),
            np.concatenate([each.replicates for each in found], axis=1),
        )

    def _of_label(self, label: str, known: Reliability, mass: Floats, rng: np.random.Generator) -> Likely:
        """The truths of the rows that have one label."""
        shares, rows = known.calibrated, np.array(known.rows)
        total = round(float(mass.sum()))
        unsure = rng.beta(shares * rows + 0.5, (1 - shares) * rows + 0.5, (REPLICATES, len(rows)))
        right = np.minimum(rng.binomial(np.rint(mass).astype(int), unsure).sum(axis=1), total)
        others = self.confused.get(label) or {name: count for name, count in self.truths.items() if name != label}
        if not others:  # the only class there is
            others = {label: 1}
        counts = np.array([*others.values()], float)
        wrong = rng.multinomial(total - right, rng.dirichlet(counts, REPLICATES))
        expected = float(mass @ shares)
        return Likely(
            pd.Series([label, *others], dtype=object),
            pd.DataFrame(),
            np.array([expected, *((total - expected) * counts / counts.sum())]),
            np.column_stack([right, wrong]).astype(float),
        )


def _counts(values: "pd.Series[str]") -> dict[str, int]:
    return {str(name): int(count) for name, count in values.value_counts().sort_index().items()}
