"""The vocabulary of a stored pipeline is one array, whatever its terms hold, and earlier files are still read."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline

from lifecycle.core.errors import IntegrityError
from lifecycle.core.references import ModelRef
from lifecycle.models import loading
from lifecycle.problems.text_classification import estimators
from lifecycle.problems.text_classification import model as text_model
from lifecycle.settings import Settings
from tests.conftest import train_model

TEXTS = [
    "profit rose\nagain",
    "sales fell",
    "cafe\u0301 \u0301met",
    "orders\0grew",
    "loss \ud83d widened",
    "नमस्ते 👍🏽",
] * 3
LABELS = ["positive", "negative", "neutral"] * 6
TABLE = pd.DataFrame({"text": pd.Series(TEXTS, dtype=object)})
NEW = [*TEXTS[:6], "fell\nand grew", "\ud83d", "\u0301", "", "unseen"]


def chars(**params: Any) -> CountVectorizer:
    return CountVectorizer(analyzer="char", ngram_range=(1, 3), **params)


def on_texts(features: Any) -> Any:
    return make_pipeline(features, LogisticRegression()).fit(TEXTS, LABELS)


def nested() -> Any:
    """Vocabularies at several depths, one of them pruned, so that its places are numbers of numpy's."""
    inner = Pipeline([("union", FeatureUnion([("a", TfidfVectorizer(max_features=9)), ("b", chars())]))])
    columns = ColumnTransformer([("one", inner, "text"), ("two", TfidfVectorizer(min_df=2), "text")])
    return make_pipeline(columns, LogisticRegression()).fit(TABLE, LABELS)


PIPELINES: dict[str, Callable[[], Any]] = {
    "words": lambda: on_texts(TfidfVectorizer()),
    "characters": lambda: on_texts(chars()),
    "nested": nested,
    "a vocabulary that is given": lambda: on_texts(CountVectorizer(vocabulary=["fell", "rose", "met", "grew"])),
    "places that are given": lambda: on_texts(CountVectorizer(vocabulary={"fell": 2, "rose": 0, "met": 1})),
    "stop words": lambda: on_texts(TfidfVectorizer(stop_words=["fell"])),
    "one of each class": lambda: OneVsRestClassifier(make_pipeline(chars(), LogisticRegression())).fit(TEXTS, LABELS),
}


def probabilities(pipeline: Any) -> Any:
    return text_model.TextModel(pipeline).probabilities(pd.DataFrame({"text": NEW}, dtype=object))


def vocabularies(pipeline: Any) -> list[dict[str, int]]:
    found = (text_model.vars_of(part).get("vocabulary_") for part in text_model.parts(pipeline))
    return [vocabulary for vocabulary in found if vocabulary is not None]


def files(path: Path) -> list[zipfile.ZipInfo]:
    with zipfile.ZipFile(path) as archive:
        return archive.infolist()


@pytest.mark.parametrize("name", PIPELINES)
def test_what_is_read_predicts_the_same_to_the_last_bit(name: str, tmp_path: Path) -> None:
    pipeline = PIPELINES[name]()
    held, expected = vocabularies(pipeline), probabilities(pipeline)
    text_model.store(pipeline, tmp_path / "pipeline.skops")
    assert all(one is two for one, two in zip(vocabularies(pipeline), held, strict=True)), "it stays as it is"
    again = text_model.read(tmp_path / "pipeline.skops")
    assert (probabilities(again) == expected).all()
    assert vocabularies(again) == held
    as_stored = vocabularies(skops.io.load(tmp_path / "pipeline.skops", trusted=text_model.TRUSTED_TYPES))
    assert {type(vocabulary) for vocabulary in as_stored} == {np.ndarray}


@pytest.mark.parametrize("name", PIPELINES)
def test_a_file_of_an_earlier_release_is_read(name: str, tmp_path: Path) -> None:
    pipeline = PIPELINES[name]()
    skops.io.dump(pipeline, tmp_path / "pipeline.skops")
    again = text_model.read(tmp_path / "pipeline.skops")
    assert (probabilities(again) == probabilities(pipeline)).all()


@given(st.lists(st.text(st.characters(exclude_categories=())), unique=True), st.randoms())
def test_any_terms_in_any_order_come_back(terms: list[str], rng: Any) -> None:
    places = list(enumerate(terms))
    rng.shuffle(places)
    vocabulary = {term: place for place, term in places}
    assert text_model.is_list(vocabulary)
    array = text_model.packed(vocabulary)
    assert text_model.unpacked(array) == vocabulary
    assert (array == text_model.packed(dict(sorted(vocabulary.items())))).all(), "the same bytes for the same places"


@pytest.mark.parametrize(
    "vocabulary", [None, {"a": 1}, {"a": 0, "b": 0}, {("a", "b"): 0}, {np.str_("a"): 0}, ["a"], {"a": 0, 1: 1}]
)
def test_what_is_more_than_a_list_of_texts_is_left_to_skops(vocabulary: Any) -> None:
    assert not text_model.is_list(vocabulary)


@pytest.mark.parametrize("pruned", [{}, {"tfidf__max_features": 1500}])
def test_a_large_vocabulary_costs_no_node_and_no_file_per_term(pruned: dict[str, int], tmp_path: Path) -> None:
    members = []
    for texts in (TEXTS, [f"w{number} w{number + 1} w{number + 2}" for number in range(900)] * 2):
        table = pd.DataFrame({"text": pd.Series(texts, dtype=object)})
        pipeline = estimators.fit("naive_bayes", pruned, 0, table, ["a", "b"] * (len(texts) // 2))
        text_model.store(pipeline, tmp_path / "pipeline.skops")
        members.append({each.filename: each.file_size for each in files(tmp_path / "pipeline.skops")})
    few, many = members
    assert len(*vocabularies(pipeline)) >= 1500
    assert len(few) == len(many)
    assert many["schema.json"] < 1.1 * few["schema.json"]


def test_what_fails_to_be_stored_leaves_the_pipeline_as_it_was(tmp_path: Path) -> None:
    pipeline = on_texts(TfidfVectorizer())
    (held,) = vocabularies(pipeline)
    with pytest.raises(FileNotFoundError):
        text_model.store(pipeline, tmp_path / "nowhere" / "pipeline.skops")
    assert vocabularies(pipeline)[0] is held


def test_plain_mlflow_reads_a_trained_model(news: Settings) -> None:
    ref = train_model(news)
    table = pd.DataFrame({"text": ["profit rose to a record", "loss widened"]})
    mlflow.set_tracking_uri(news.mlflow_uri)
    plain = mlflow.pyfunc.load_model(ref.uri).predict(table)
    pd.testing.assert_frame_equal(plain, loading.load(ref).predict(None, table), check_exact=True)


@pytest.mark.parametrize("content", ["{}", '["a", "a"]', '["a", 1]', "[" * 100_000, "1", "", '["\udc80'])
def test_an_array_that_is_no_vocabulary_is_refused_in_one_line(content: str, tmp_path: Path) -> None:
    pipeline = on_texts(TfidfVectorizer())
    pipeline[0].vocabulary_ = np.frombuffer(content.encode("utf-8", "surrogateescape"), dtype=np.uint8)
    (tmp_path / "artifacts").mkdir()
    skops.io.dump(pipeline, tmp_path / "artifacts" / "pipeline.skops")
    flavour = {"flavors": {"python_function": {"loader_module": loading.LOADER}}}
    (tmp_path / "MLmodel").write_text(json.dumps(flavour))
    ref = ModelRef(tracking_uri="", uri="", run_id="planted", artifact_sha256=f"no vocabulary {content:.20}")
    with pytest.raises(IntegrityError, match="is not a pipeline stored with skops") as refused:
        loading.load_verified(tmp_path, ref)
    assert "\n" not in str(refused.value)
