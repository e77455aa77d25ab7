"""What is planted for classifiers of texts: made-up texts whose words tell their class, the same on every machine.

Each desk that writes has words of its own, and some labels are wrong.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer

from lifecycle.problems.contract import TEXT_COLUMNS
from lifecycle.problems.planted import CHANGES_OF_CLASSES, DESK, OF_CLASSES, Material, next_class, slowed, vocabulary
from lifecycle.problems.text_classification import estimators, model
from lifecycle.problems.text_classification.identity import text_key
from lifecycle.problems.text_classification.model import TextModel

CLASSES = {"falling": 0.32, "rising": 0.32, "steady": 0.36}
"""How often each class is said."""
DESKS = {"flash": (0.25, (1, 5)), "wire": (0.5, (6, 12)), "report": (0.25, (16, 24))}
"""Who writes, how often, and how long the stock phrase is: the longest quarter of the texts are the reports."""
WORDS_OF_A_CLASS = 50
"""Words that a desk has for a class."""
WRONG_LABELS = 0.1
STRETCHES = 40


def _fitted(rows: pd.DataFrame) -> Any:
    return estimators.fit("logistic_regression", {}, 0, rows[["text"]], rows["label"])


def _stored(pipeline: Any, folder: Path) -> None:
    model.store(pipeline, folder / "pipeline.skops")


def _rows(rng: np.random.Generator, count: int) -> pd.DataFrame:
    """Texts of a stock phrase of the desk, three words that tell the class and one that may tell another."""
    shares, lengths = zip(*DESKS.values(), strict=True)
    telling, phrases = vocabulary(rng, (len(CLASSES), WORDS_OF_A_CLASS), [longest for _, longest in lengths])
    desks = rng.choice(len(DESKS), count, p=shares)
    said = rng.choice(len(CLASSES), count, p=list(CLASSES.values()))
    texts = []
    for desk, label in zip(desks, said, strict=True):
        own, any_class = telling[desk][label], telling[desk][rng.integers(len(CLASSES))]
        words = rng.permutation([*rng.choice(own, 3), rng.choice(any_class)])
        texts.append(" ".join([*phrases[desk][: rng.integers(*lengths[desk])], *(f"{word} na" for word in words)]))
    wrong = rng.random(count) < WRONG_LABELS
    labels = np.where(wrong, (said + rng.integers(1, len(CLASSES), count)) % len(CLASSES), said)
    frame = pd.DataFrame({"text": texts, "label": np.array(list(CLASSES))[labels], DESK: np.array(list(DESKS))[desks]})
    frame["key"] = frame["text"].map(text_key)
    return frame.astype("str").assign(row=range(count))


def _slowed(pipeline: Any, rows: pd.DataFrame) -> Any:
    """The same predictions, but each text is also taken apart into all its stretches, which then count for nothing."""
    stretches = CountVectorizer(analyzer="char", ngram_range=(1, STRETCHES), vocabulary=["#"])
    idle = ColumnTransformer([("stretches", stretches, "text")]).fit(rows[["text"]].head(2))
    return slowed(pipeline, idle, 1)


TEXTS = Material(
    target="label",
    inputs=TEXT_COLUMNS,
    rows=_rows,
    fit=_fitted,
    model=TextModel,
    store=_stored,
    wrong=lambda rows: next_class(rows["label"], list(CLASSES)),
    changes={**CHANGES_OF_CLASSES, "slow": _slowed},
    **OF_CLASSES,
)
