"""What a library refuses because of what the user gave is an error of ours with its sentence, and never a bug.

Promise: What a library refuses of parameters, texts or labels is exit code 2 or 3 with its sentence.
"""

import logging
import warnings
from typing import Any

import pandas as pd
import pytest

from lifecycle.core.errors import ConfigError, ConflictError, DataError
from lifecycle.core.refusals import refused_by_the_library
from lifecycle.problems.text_classification import estimators
from lifecycle.settings import Settings
from lifecycle.tracking import client as tracking
from lifecycle.tracking import runs
from lifecycle.training import train as training

TEXTS = pd.DataFrame({"text": ["not up 5 %", "loss up", "flat day", "up 10 %", "loss of 5", "flat again"] * 4})
LABELS = ["good", "bad", "none"] * 8
LOGISTIC, FOREST, BAYES = "logistic_regression", "random_forest", "naive_bayes"


@pytest.mark.parametrize(
    ("algorithm", "params", "words"),
    [
        (LOGISTIC, {"solver": "lbfgs", "penalty": "l1"}, "l1"),
        (LOGISTIC, {"solver": "liblinear"}, "liblinear"),
        (LOGISTIC, {"solver": "newton"}, "solver"),
        (LOGISTIC, {"class_weight": {"nobody": 2.0}}, "nobody|class"),
        (LOGISTIC, {"class_weight": {"good": {"a": 1}}}, "."),
        (LOGISTIC, {"class_weight": {1: 2.0}}, "1 is no text"),
        (LOGISTIC, {"C": -1}, "C"),
        (LOGISTIC, {"C": "10"}, "C"),
        (LOGISTIC, {"C": {"a": {"b": 1}}}, "C"),
        (LOGISTIC, {"C": float("nan")}, "finite"),
        (LOGISTIC, {"C": float("inf")}, "finite"),
        (LOGISTIC, {"max_iter": 10**30}, "too large"),
        (LOGISTIC, {"tol": [10**30]}, "too large"),
        (LOGISTIC, {"max_iter": {1, 2}}, "a set is no number"),
        (LOGISTIC, {"max_iter": b"5"}, "a bytes is no number"),
        (LOGISTIC, {"max_itre": 5}, "max_itre.*valid are .*max_iter"),
        (LOGISTIC, {1: 2}, "has no parameter 1"),
        (LOGISTIC, {"tfidf__input": "filename"}, "no parameter 'tfidf__input'"),
        (LOGISTIC, {"ngram_range": [1, 2]}, "valid are .*tfidf__ngram_range"),
        (BAYES, {"class_prior": [0.5, 0.5]}, "[Pp]riors"),
        (BAYES, {"class_prior": "even"}, "class_prior"),
        (BAYES, {"alpha": "much"}, "alpha"),
        (BAYES, {"alpha": [0.1, 0.2]}, "alpha"),
        (FOREST, {"bootstrap": False, "oob_score": True}, "[Oo]ut of bag|bootstrap"),
        (FOREST, {"n_jobs": 0}, "n_jobs"),
        (FOREST, {"n_jobs": 10**6}, "at most 1,000"),
        (FOREST, {"n_estimators": 10**9}, "at most 10,000"),
        (FOREST, {"n_estimators": 2.5}, "n_estimators"),
        (FOREST, {"max_depth": 10**18, "n_estimators": 0}, "n_estimators"),
        (FOREST, {"n_estimators": 1, "max_leaf_nodes": 2**60}, "."),
        (FOREST, {"max_samples": -1.0}, "max_samples"),
        (FOREST, {"random_state": -1}, "random_state"),
        (FOREST, {"criterion": "guess"}, "criterion"),
        (BAYES, {"tfidf__ngram_range": [3, 1]}, "ngram_range|boundary"),
        (BAYES, {"tfidf__ngram_range": [1, 10**4]}, "at most 10"),
        (BAYES, {"tfidf__ngram_range": 2}, "ngram_range"),
        (BAYES, {"tfidf__max_features": 0}, "max_features"),
        (BAYES, {"tfidf__min_df": 999}, "min_df|terms|corresponds"),
        (BAYES, {"tfidf__min_df": 20, "tfidf__max_df": 2}, "max_df"),
        (BAYES, {"tfidf__stop_words": "klingon"}, "stop_words|stop list|klingon"),
        (BAYES, {"tfidf__stop_words": ["not", ["up"]]}, "."),
        (BAYES, {"tfidf__token_pattern": "("}, "missing|unterminated"),
        (BAYES, {"tfidf__token_pattern": "(a)(b)"}, "group"),
        (BAYES, {"tfidf__token_pattern": "nothing like it"}, "empty vocabulary"),
        (BAYES, {"tfidf__analyzer": "sentences"}, "analyzer"),
        (BAYES, {"tfidf__norm": "l9"}, "norm"),
    ],
)
def test_parameters_that_cannot_be_are_the_users_to_change(algorithm: str, params: dict[Any, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){words}") as caught:
        estimators.fit(algorithm, params, 0, TEXTS, LABELS)
    assert caught.value.fix == "Correct --params."
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1500


def test_a_number_of_cores_that_only_looks_odd_is_taken() -> None:
    params = {"n_jobs": -1000, "n_estimators": 3}
    assert estimators.fit(FOREST, params, 0, TEXTS, LABELS).predict(TEXTS).tolist()


@pytest.mark.parametrize("seed", [-1, 2**32, 10**30])
@pytest.mark.parametrize("algorithm", list(estimators.ESTIMATORS))
def test_a_seed_that_is_none_is_refused_whatever_the_model(algorithm: str, seed: int) -> None:
    with pytest.raises(ConfigError, match="is no seed"):
        estimators.build(algorithm, {}, seed)


@pytest.mark.parametrize(
    ("texts", "labels", "words"),
    [
        ([""] * 4, ["a", "b"] * 2, "reading the texts: empty vocabulary"),
        (["one", "two", "three", "four"], ["a"] * 4, "class"),
        (["one", "two", "three", "four"], ["a", None, "b", None], "."),
    ],
)
def test_texts_and_labels_that_nothing_can_be_learnt_from_are_bad_data(
    texts: list[Any], labels: list[Any], words: str
) -> None:
    frame = pd.DataFrame({"text": pd.Series(texts, dtype=object)})
    with pytest.raises(DataError, match=words):
        estimators.fit(LOGISTIC, {}, 0, frame, labels)


@pytest.mark.parametrize(
    "raised", [ValueError("x"), KeyError("x"), MemoryError(), RecursionError(), OverflowError("y")]
)
def test_the_librarys_sentence_is_kept(raised: Exception) -> None:
    with pytest.raises(DataError) as caught, refused_by_the_library("Here: ", DataError, "Do that."):
        raise raised
    assert str(caught.value).startswith("Here: ")
    assert str(caught.value).endswith(". Do that.")
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize("ours", [ConflictError("ours"), ConfigError("ours"), KeyboardInterrupt(), SystemExit(1)])
def test_what_is_ours_or_the_users_passes(ours: BaseException) -> None:
    with pytest.raises(type(ours)) as caught, refused_by_the_library("", DataError, ""):
        raise ours
    assert caught.value is ours


def test_a_warning_is_told_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING, "lifecycle"):
        warnings.simplefilter("error")
        estimators.fit(LOGISTIC, {"max_iter": 1}, 0, TEXTS, LABELS)
    assert "converge" in caplog.text


def test_a_training_that_the_library_refuses_leaves_no_open_run(news: Settings) -> None:
    what = {"data_name": "news", "data_version": "1.0.0", "model_name": "sentiment", "algorithm": BAYES}
    request = training.plan(news, training.Training(**what, params={"tfidf__min_df": 10_000}))
    with pytest.raises(ConfigError, match="min_df"):
        training.train(request)
    assert tracking.client(news.mlflow_uri).get_run(request.run_id).info.status == "FAILED"


@pytest.mark.parametrize(
    ("ended_by", "status"),
    [(ValueError("a bug"), "FAILED"), (ConflictError("ours"), "FAILED"), (SystemExit(), "KILLED")],
)
def test_no_end_of_a_training_leaves_an_open_run(news: Settings, ended_by: BaseException, status: str) -> None:
    what = {"data_name": "news", "data_version": "1.0.0", "model_name": "sentiment", "algorithm": BAYES}
    run_id = training.plan(news, training.Training(**what, params={"alpha": 0.5})).run_id
    opened = tracking.client(news.mlflow_uri).get_experiment_by_name("sentiment-dev")
    assert opened.tags["mlflow.experimentKind"] == "custom_model_development"  # or the UI asks what it is about
    with pytest.raises(type(ended_by)), runs.closed_on_failure(news.mlflow_uri, run_id):
        raise ended_by
    assert tracking.client(news.mlflow_uri).get_run(run_id).info.status == status
