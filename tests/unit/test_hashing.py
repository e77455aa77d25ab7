"""Texts are hashed quickly; what a model reads and answers is what it is by plain scikit-learn, to the last bit."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.feature_extraction.text import HashingVectorizer

from lifecycle.problems.text_classification import estimators, hashing, model, tokens

WORDS = st.sampled_from(["up", "down", "Profit", "10", "%", "-", "İ", "Σ", "é", "利", "🚀", "\u00a0", " ", "\n", ""])
TEXTS = st.lists(st.lists(WORDS, max_size=9).map(" ".join), min_size=1, max_size=9)
OPTIONS = st.fixed_dictionaries(
    {
        "token_pattern": st.sampled_from([tokens.WORDS, r"\S+", r"(?u)[\w ]+", r"(\w)\w*"]),
        "ngram_range": st.sampled_from([(1, 1), (1, 2), (2, 2), (1, 3), (2, 3)]),
        "n_features": st.sampled_from([3, 1000, 2**18]),
        "alternate_sign": st.booleans(),
        "binary": st.booleans(),
        "lowercase": st.booleans(),
        "norm": st.sampled_from(["l1", "l2", None]),
        "strip_accents": st.sampled_from([None, "unicode"]),
        "dtype": st.sampled_from([np.float32, np.float64]),
    }
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=TEXTS, options=OPTIONS, block=st.sampled_from([1, 2, 20_000]))
def test_texts_are_hashed_as_scikit_learn_hashes_them(
    asked: list[str], options: dict, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "BLOCK", block)
    plain = HashingVectorizer(**options)
    expected = plain.transform(asked)
    with hashing.quickly(plain):
        assert type(plain) is hashing.Hashing
        found = plain.transform(asked)
    assert (type(plain), type(found)) == (HashingVectorizer, type(expected))
    for part in ("data", "indices", "indptr", "shape"):
        one, other = (np.asarray(getattr(matrix, part)) for matrix in (found, expected))
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes(), part


def test_a_model_is_trained_and_stored_as_by_plain_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = ("rose", "fell", "stayed")
    texts = pd.DataFrame({"text": [f"Sales {kinds[n % 3]} by {n} % in {n % 7}" for n in range(90)]}, dtype=object)
    labels = pd.Series([f"kind {n % 3}" for n in range(90)])
    quick = estimators.fit("sgd", {}, 0, texts, labels)
    vectorisers = [part for part in model.parts(quick) if isinstance(part, HashingVectorizer)]
    assert {type(part) for part in vectorisers} == {HashingVectorizer}
    monkeypatch.setattr(hashing, "quicken", lambda _: None)
    plain = estimators.fit("sgd", {}, 0, texts, labels)
    answers = [model.TextModel(pipeline).predict(None, texts) for pipeline in (quick, plain)]
    pd.testing.assert_frame_equal(*answers, check_exact=True)


def test_what_is_more_than_words_in_a_row_is_left_to_scikit_learn() -> None:
    class Own(HashingVectorizer):
        pass

    for vectoriser in (HashingVectorizer(analyzer="char"), HashingVectorizer(stop_words=["up"]), Own()):
        found = clone(vectoriser)
        hashing.quicken(found)
        assert type(found) is type(vectoriser)
