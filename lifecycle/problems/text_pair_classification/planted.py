"""What is planted for classifiers of pairs: made-up texts of which only both together tell the class.

The second text has most words of the first. Which word it has instead of another one tells the class, and the same
words stand in both texts where they tell nothing; each desk that writes has words of its own. So who reads one text
alone, or takes one for the other, cannot be better than who reads both.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer

from lifecycle.problems.contract import TEXT, Column, Columns, inputs_of
from lifecycle.problems.learning import Spec
from lifecycle.problems.planted import CHANGES_OF_CLASSES, DESK, OF_CLASSES, Material, next_class, slowed, vocabulary
from lifecycle.problems.text_pair_classification.estimators import READS
from lifecycle.problems.text_pair_classification.identity import pair_key
from lifecycle.problems.text_pair_classification.learning import LEARNING
from lifecycle.problems.text_pair_classification.model import FIRST, SECOND, PairModel

ONE, OTHER = "said", "asked"
INPUTS: Columns = (Column(name=ONE, kind=TEXT), Column(name=OTHER, kind=TEXT))
CLASSES = {"contradicted": 0.32, "follows": 0.32, "open": 0.36}
"""How often each class is said."""
DESKS = {"flash": (0.25, (1, 4)), "wire": (0.5, (5, 9)), "report": (0.25, (14, 20))}
"""Who writes, how often, and how long the stock phrase is: the longest quarter of the pairs are the reports."""
WORDS_OF_A_CLASS, MOST_SHARED = 20, 4
"""Words that a desk has for a class, and fewer of these than the other stand in both texts and tell nothing."""
WRONG_LABELS = 0.08
STRETCHES, TIMES = 60, 2
"""How long a stretch of letters may be, and how often each text is taken apart: the features of pairs take time too."""
SURE = 3.0
"""So little regularised an honest model is as sure of itself as it is right."""


def _fitted(rows: pd.DataFrame) -> Any:
    return _learnt(rows, {})


def _learnt(rows: pd.DataFrame, params: dict[str, Any]) -> Any:
    spec = Spec("logistic_regression", {"C": SURE, **params}, 0, INPUTS)
    return LEARNING.fit(spec, inputs_of(rows, INPUTS), rows[LEARNING.target])


def _of_one_text(reads: str, rows: pd.DataFrame) -> Any:
    """What one text alone tells: a model that never looks at the other, or has lost it on the way."""
    return _learnt(rows, {READS: reads})


def _exchanged(rows: pd.DataFrame) -> Any:
    """Each text was taken for the other one."""
    return _fitted(rows.assign(**{ONE: rows[OTHER], OTHER: rows[ONE]}))


def _model(pipeline: Any) -> PairModel:
    return PairModel(pipeline, [(column.name, column.kind) for column in INPUTS], "text-pair-classification")


def _stored(pipeline: Any, folder: Path) -> None:
    LEARNING.store(pipeline, INPUTS, folder)


def _rows(rng: np.random.Generator, count: int) -> pd.DataFrame:
    """Pairs that share a stock phrase of the desk and some words of each class, and differ in one word."""
    shares, lengths = zip(*DESKS.values(), strict=True)
    telling, phrases = vocabulary(rng, (len(CLASSES), WORDS_OF_A_CLASS), [longest for _, longest in lengths])
    desks = rng.choice(len(DESKS), count, p=shares)
    told = rng.choice(len(CLASSES), count, p=list(CLASSES.values()))
    texts = []
    for desk, label in zip(desks, told, strict=True):
        shared = list(phrases[desk][: rng.integers(*lengths[desk])])
        for words in telling[desk]:
            shared += list(rng.choice(words, rng.integers(MOST_SHARED), replace=False))
        said, instead = (  # lost, a word of one class tells the next one: not the same as where it is added
            rng.choice([word for word in telling[desk][place] if word not in shared]) for place in (label - 1, label)
        )
        texts.append([" ".join(rng.permutation([*shared, word])) for word in (said, instead)])
    wrong = rng.random(count) < WRONG_LABELS
    labels = np.where(wrong, (told + rng.integers(1, len(CLASSES), count)) % len(CLASSES), told)
    known = {"label": np.array(list(CLASSES))[labels], DESK: np.array(list(DESKS))[desks]}
    frame = pd.DataFrame(texts, columns=[ONE, OTHER]).assign(**known)
    frame["key"] = [pair_key(*pair) for pair in zip(frame[ONE], frame[OTHER], strict=True)]
    return frame.astype("str").assign(row=range(count))


def _slowed(pipeline: Any, rows: pd.DataFrame) -> Any:
    """The same predictions, but each text is also taken apart into all its stretches, which then count for nothing."""
    stretches = CountVectorizer(analyzer="char", ngram_range=(1, STRETCHES), vocabulary=["#"])
    features = _model(pipeline).features(rows.head(2))
    taken = [(f"{text}{time}", stretches, text) for text in (FIRST, SECOND) for time in range(TIMES)]
    idle = ColumnTransformer(taken).fit(features)
    return slowed(pipeline, idle, len(taken))


PAIRS = Material(
    target=LEARNING.target,
    inputs=INPUTS,
    rows=_rows,
    fit=_fitted,
    model=_model,
    store=_stored,
    wrong=lambda rows: next_class(rows["label"], list(CLASSES)),
    changes={**CHANGES_OF_CLASSES, "slow": _slowed},
    own={
        "first text alone": partial(_of_one_text, FIRST),
        "second text alone": partial(_of_one_text, SECOND),
        "texts exchanged": _exchanged,
    },
    **OF_CLASSES,
)
