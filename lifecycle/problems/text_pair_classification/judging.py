"""What the gate asks about classifiers of pairs: as of any, also by how many words both texts share, and by length."""

import pandas as pd

from lifecycle.problems.classification.judging import JUDGING as ANY_CLASSIFIER
from lifecycle.problems.classification.judging import inapplicable_to_texts
from lifecycle.problems.contract import Columns
from lifecycle.problems.text_pair_classification.model import Words, compared


def _overlap(inputs: Columns, rows: pd.DataFrame) -> pd.Series:
    """The share of their words that both texts have: where it is large, a model is tempted to say that they agree."""
    one, other = ([Words.of(text) for text in rows[column.stored]] for column in inputs)
    shares = [compared(*pair)["overlap"] for pair in zip(one, other, strict=True)]
    return pd.Series(shares, index=rows.index, dtype="float64").round(2)


def _length(inputs: Columns, rows: pd.DataFrame) -> pd.Series:
    """The letters of both texts together."""
    return sum((rows[column.stored].str.len() for column in inputs), start=pd.Series(0, index=rows.index))


JUDGING = ANY_CLASSIFIER._replace(
    slices={**ANY_CLASSIFIER.slices, "word_overlap": _overlap, "text_length": _length},
    usual_slices=("label", "word_overlap", "text_length"),
    inapplicable=inapplicable_to_texts,
)
