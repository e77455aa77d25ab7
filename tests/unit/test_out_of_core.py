"""What is fitted part by part: the same rows, once each, in whatever order they come; a model like any other."""

import tempfile
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.errors import ConfigError
from lifecycle.core.names import Side
from lifecycle.data import dataset
from lifecycle.problems import out_of_core
from lifecycle.problems.contract import TEXT_COLUMNS, inputs_of
from lifecycle.problems.known import named
from lifecycle.problems.learning import Beside, Spec
from lifecycle.settings import Settings
from lifecycle.tracking import client as tracking
from lifecycle.training import rows as of_training
from tests.conftest import train_model
from tests.tables import sales, train_table, write_version

TEXTS = named("text-classification").learning


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in (
        (of_training, "PART", 37),
        (of_training, "SAMPLE", 60),
        (out_of_core, "SHARD_ROWS", 30),
    ):
        monkeypatch.setattr(module, name, value)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 5), st.integers(0, 9))
def test_each_row_is_on_one_shard_once(sizes: list[int], count: int, seed: int) -> None:
    chance, number = np.random.default_rng(seed), 0
    with tempfile.TemporaryDirectory() as folder:
        shards = out_of_core.Shards(Path(folder) / "shards", count, 3)
        for size in sizes:
            truth = np.arange(number, number + size, dtype="float64")
            shards.deal(np.stack([truth + 1, 0 * truth, truth % 2], axis=1), truth, chance)
            number += size
        read, truths = zip(*map(shards.load, range(count)), strict=True)
    truth = np.concatenate(truths)
    assert sorted(truth) == list(range(number))
    assert shards.rows == number
    features = np.concatenate([part.toarray() for part in read])
    assert (features == np.stack([truth + 1, 0 * truth, truth % 2], axis=1)).all()


@pytest.mark.usefixtures("small_parts")
def test_texts_in_parts_make_a_model_like_any_other(news: Settings) -> None:
    ref = train_model(news, "sgd")
    run = tracking.client(news.mlflow_uri).get_run(ref.run_id)
    assert run.data.metrics["test.accuracy"] > 0.95
    assert run.data.metrics["train.accuracy"] > 0.95
    assert run.data.params["hashing.n_features"] == str(2**18)
    assert {each.dataset.name for each in run.inputs.dataset_inputs} == {"news-1.0.0-train", "news-1.0.0-test"}
    rows = dataset.load_rows(news.datasets, "news", "1.0.0", Side.HOLDOUT)
    answers = mlflow.pyfunc.load_model(ref.uri).predict(rows[["text"]])
    assert (answers["label"].to_numpy() == rows["label"].to_numpy()).mean() > 0.95


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(("problem", "metric"), [("tabular-classification", "accuracy"), ("tabular-regression", "r2")])
def test_tables_in_parts_and_in_any_order(config: Settings, problem: Any, metric: str) -> None:
    manifest = write_version(config, problem, sales(600).sort_values("price", ignore_index=True))
    ref = train_table(config, "sgd")
    found = tracking.client(config.mlflow_uri).get_run(ref.run_id).data.metrics
    assert found[f"test.{metric}"] > 0.85
    rows = dataset.load_rows(config.datasets, "sales", "1.0.0", Side.HOLDOUT)
    answers = mlflow.pyfunc.load_model(ref.uri).predict(inputs_of(rows, manifest.inputs))
    target = named(problem).learning.target
    if metric == "r2":
        assert 1 - ((answers["prediction"] - rows[target]) ** 2).mean() / rows[target].var() > 0.85
    else:
        assert (answers["label"].to_numpy() == rows[target].to_numpy()).mean() > 0.85


def _fitted(news: Settings, seed: int = 0, **params: Any) -> Any:
    train, test = (dataset.load_rows(news.datasets, "news", "1.0.0", split) for split in (Side.TRAIN, Side.TEST))
    train = train[(train["label"] != "negative") | (train["row"] % 2 == 0)].reset_index(drop=True)
    beside = Beside(inputs=test[["text"]], target=test["label"])
    return TEXTS.fit(Spec("sgd", params, seed, TEXT_COLUMNS), train[["text"]], train["label"], beside), train


def test_the_same_seed_gives_the_same_weights_and_classes_are_weighed(news: Settings) -> None:
    first, again, other = (_fitted(news, seed)[0][-1] for seed in (3, 3, 4))
    assert (first.coef_ == again.coef_).all()
    assert (first.coef_ != other.coef_).any()
    balanced, train = _fitted(news, class_weight="balanced")
    counts = train["label"].value_counts()
    weights = {label: len(train) / (3 * rows) for label, rows in counts.items()}
    assert balanced[-1].class_weight == pytest.approx(weights)
    assert (balanced[-1].coef_ == _fitted(news, class_weight=weights)[0][-1].coef_).all()


def test_a_model_of_margins_alone_is_refused(news: Settings) -> None:
    with pytest.raises(ConfigError, match="loss='hinge' it has no predict_proba"):
        _fitted(news, loss="hinge")


def test_pairs_are_fitted_out_of_core_too() -> None:
    pairs = pd.DataFrame({"premise": ["a man sleeps", "a dog runs"] * 40, "hypothesis": ["he sleeps", "it rests"] * 40})
    labels = pd.Series(["same", "other"] * 40, name="label")
    problem = named("text-pair-classification")
    columns = tuple(TEXT_COLUMNS[0].model_copy(update={"name": name}) for name in pairs)
    pipeline = problem.learning.fit(Spec("sgd", {}, 0, columns), pairs, labels)
    assert (problem.learning.answers(pipeline, pairs, columns)["label"].to_numpy() == labels.to_numpy()).all()
