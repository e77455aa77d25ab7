"""Texts are counted quickly for scoring; what a model answers is what plain scikit-learn answers, to the last bit."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from lifecycle.problems.text_classification import counting, estimators, model, tokens

WORDS = st.sampled_from(["up", "down", "Profit", "10", "%", "-", "İ", "Σ", "é", "利", "🚀", "\u00a0", " ", "\n", ""])
TEXTS = st.lists(st.lists(WORDS, max_size=9).map(" ".join), min_size=1, max_size=6)
OPTIONS = st.fixed_dictionaries(
    {
        "token_pattern": st.sampled_from([*sorted(counting.WITHOUT_BLANKS), r"(?u)[\w ]+", r"(\w)\w*"]),
        "ngram_range": st.sampled_from([(1, 1), (1, 2), (2, 2), (1, 3), (2, 3)]),
        "binary": st.booleans(),
        "lowercase": st.booleans(),
        "sublinear_tf": st.booleans(),
        "use_idf": st.booleans(),
        "norm": st.sampled_from(["l1", "l2", None]),
        "max_features": st.sampled_from([None, 3]),
        "strip_accents": st.sampled_from([None, "unicode"]),
        "stop_words": st.sampled_from([None, ["up"]]),
        "dtype": st.sampled_from([np.float32, np.float64]),
    }
)


@given(TEXTS, TEXTS, OPTIONS)
def test_texts_are_counted_as_scikit_learn_counts_them(learnt: list[str], asked: list[str], options: dict) -> None:
    plain = TfidfVectorizer(**options)
    try:
        plain.fit(learnt)
    except ValueError:  # no terms are left
        return
    expected = plain.transform(asked)
    counting.quicken(plain)
    found = plain.transform(asked)
    assert type(found) is type(expected)
    for part in ("data", "indices", "indptr", "shape"):
        one, other = (np.asarray(getattr(matrix, part)) for matrix in (found, expected))
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes(), part


@pytest.fixture(scope="module")
def texts() -> pd.DataFrame:
    kinds = ("rose", "fell", "stayed")
    return pd.DataFrame({"text": [f"Sales {kinds[n % 3]} by {n} % in {n % 7}" for n in range(90)]}, dtype=object)


def test_a_model_that_is_read_is_quick_and_answers_the_same(texts: pd.DataFrame) -> None:
    labels = [f"kind {n % 3}" for n in range(len(texts))]
    for algorithm in ("logistic_regression", "naive_bayes"):
        pipeline = estimators.fit(algorithm, {}, 0, texts, labels)
        plain = model.TextModel(pipeline).predict(None, texts)
        counting.quicken(pipeline)
        quick = model.TextModel(pipeline)
        assert type(pipeline[0].transformers_[0][1]) is counting.Tfidf
        pd.testing.assert_frame_equal(quick.predict(None, texts), plain, check_exact=True)
        assert quick.predict(None, texts.iloc[:0]).empty


def test_what_is_more_than_words_in_a_row_is_left_to_scikit_learn(texts: pd.DataFrame) -> None:
    class Own(TfidfVectorizer):
        pass

    labels = np.arange(len(texts)) % 3
    of_own = TfidfVectorizer(tokenizer=str.split, token_pattern=None)
    for vectoriser in (TfidfVectorizer(analyzer="char"), of_own, Own()):
        pipeline = make_pipeline(clone(vectoriser), LogisticRegression()).fit(texts["text"], labels)
        counting.quicken(pipeline)
        assert type(pipeline[0]) is type(vectoriser)


def test_one_text_alone_is_refused_as_by_scikit_learn(texts: pd.DataFrame) -> None:
    quick = TfidfVectorizer(token_pattern=tokens.WORDS).fit(texts["text"])
    counting.quicken(quick)
    with pytest.raises(ValueError, match="string object received"):
        quick.transform("Sales rose")
