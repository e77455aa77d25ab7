"""Model types, their parameters, and what is stored of a training."""

import socket
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits

from lifecycle.core.errors import ConfigError, ConflictError
from lifecycle.core.names import Side
from lifecycle.data import dataset, lock
from lifecycle.data.source import Source
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.models import loading
from lifecycle.problems import known
from lifecycle.problems.contract import Estimator
from lifecycle.problems.text_classification import estimators
from lifecycle.settings import Settings
from lifecycle.tracking import artifacts, champions
from lifecycle.tracking import client as tracking
from lifecycle.training import train as training
from tests.conftest import train_model, tree, write_news


@pytest.mark.parametrize("algorithm", list(estimators.ESTIMATORS))
def test_every_type_answers_the_contract(news: Settings, algorithm: str) -> None:
    ref = train_model(news, algorithm)
    texts = pd.DataFrame({"text": ["profit rose to a record", "loss widened", "profit rose to a record"]})
    predicted = loading.load(ref).predict(None, texts)
    assert list(predicted.columns) == ["label", "score"]
    assert predicted["label"].tolist() == ["positive", "negative", "positive"]
    assert predicted["score"].between(0, 1).all()


def test_a_training_that_an_interrupted_erasure_refuses_leaves_no_open_run(news: Settings) -> None:
    wanted = training.Training(data_name="news", data_version="1.0.0", model_name="sentiment", algorithm="naive_bayes")
    request = training.plan(news, wanted)
    mark = news.datasets / lock.MARK
    mark.write_text('{"erasure": "x"}')
    with pytest.raises(ConflictError, match="erasure"):
        training.train(request)
    assert tracking.client(news.mlflow_uri).get_run(request.run_id).info.status == "FAILED"
    mark.unlink()
    training.train(request)
    assert training.is_trained(request)


def test_what_some_algorithms_depend_on_is_what_a_proof_is_kept_by() -> None:
    tables = (problem.learning.estimators for problem in known.PROBLEMS.values())
    assert {name for table in tables for entry in table.values() for name in entry.packages} == {*known.PACKAGES}


TEXTS = pd.DataFrame({"text": ["not up 5 %", "loss up", "flat day", "up 10 %", "loss of 5", "flat again"]})
LABELS = ["good", "bad", "none", "good", "bad", "none"]


def test_words_that_carry_direction_are_kept() -> None:
    """No stop words are removed, digits and signs stay: in finance they are the message."""
    vocabulary = estimators.fit("naive_bayes", {}, 0, TEXTS, LABELS)[0].named_transformers_["tfidf"].vocabulary_
    assert {"not", "up", "%", "10", "5 %"} <= set(vocabulary)


def test_nothing_is_learnt_from_outside_the_train_side(news: Settings) -> None:
    """The vocabulary is that of the train rows alone."""
    model = loading.load(train_model(news))
    rows = dataset.load_rows(news.datasets, "news", "1.0.0")
    words = {
        side: set(" ".join(rows.loc[rows["split"] == side, "text"]).split()) for side in ("train", "test", "holdout")
    }
    vocabulary = set(model.pipeline[0].named_transformers_["tfidf"].vocabulary_)
    unseen = (words["test"] | words["holdout"]) - words["train"]
    assert unseen
    assert not unseen & vocabulary


@pytest.mark.parametrize("algorithm", list(estimators.ESTIMATORS))
def test_the_same_seed_gives_the_same_predictions(news: Settings, algorithm: str) -> None:
    rows = dataset.load_rows(news.datasets, "news", "1.0.0", Side.TRAIN)
    first, second = (estimators.fit(algorithm, {}, 3, rows[["text"]], rows["label"]) for _ in range(2))
    assert (first.predict_proba(rows[["text"]]) == second.predict_proba(rows[["text"]])).all()


def test_parameters_reach_the_estimator_and_unknown_ones_name_the_valid() -> None:
    assert estimators.build("random_forest", {"max_depth": 3}, 7)[-1].max_depth == 3
    assert estimators.build("random_forest", {}, 7)[-1].random_state == 7
    with pytest.raises(ConfigError, match=r"max_dept.*valid are .*max_depth"):
        estimators.build("random_forest", {"max_dept": 3}, 7)
    with pytest.raises(ConfigError, match="alpha"):
        estimators.fit("naive_bayes", {"alpha": "much"}, 0, TEXTS, LABELS)


@pytest.mark.parametrize("prior", [[0.5, 0.5], [], [0.1] * 4, [0.2, -0.3, 0.1], ["a", "b", "c"]])
def test_a_prior_of_other_classes_than_the_data_has_is_refused_before_a_run_is_opened(
    news: Settings, prior: list[Any]
) -> None:
    """A job file that was written for other data."""
    before = tree(news.state)
    says = rf"naive_bayes: class_prior has {len(prior)} values.* has 3 classes.* 'negative', 'neutral', 'positive'\."
    with pytest.raises(ConfigError, match=says) as refused:
        _plan(news, {"class_prior": prior})
    assert refused.value.exit_code == 2
    assert tree(news.state) == before
    assert _plan(news, {"class_prior": [0.2, 0.3, 0.5]}).params == {"class_prior": [0.2, 0.3, 0.5]}


def test_a_run_records_what_it_was_made_of(news: Settings) -> None:
    ref = train_model(news, alpha=0.5)
    client = tracking.client(news.mlflow_uri)
    run = client.get_run(ref.run_id)
    assert (run.data.params["model.alpha"], run.data.params["seed"], run.info.status) == ("0.5", "0", "FINISHED")
    assert {"train.f1_macro", "test.f1_macro", "test.recall.negative", "test.accuracy"} <= set(run.data.metrics)
    manifest = dataset.load(news.datasets, "news", "1.0.0")
    assert run.data.tags["mlops.dataset_digest"] == manifest.digest
    inputs = {(i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs}
    assert inputs == {(f"news-1.0.0-{side}", manifest.digest[:32]) for side in ("train", "test")}
    plots = {file.path for file in client.list_artifacts(ref.run_id, "plots")}
    assert plots == {"plots/confusion_matrix.png", "plots/pr_roc.png"}


def test_the_same_training_again_finds_its_run(news: Settings) -> None:
    first, second = train_model(news), train_model(news)
    other = train_model(news, seed=1)
    assert first == second
    assert other.run_id != first.run_id


def test_a_run_left_open_by_a_dead_process_is_closed(news: Settings) -> None:
    client = tracking.client(news.mlflow_uri)
    request = _plan(news)
    client.set_tag(request.run_id, training.OWNER, f"{socket.gethostname()}:4194304")
    again = _plan(news)
    assert again.run_id != request.run_id
    assert client.get_run(request.run_id).info.status == "KILLED"
    assert client.get_run(again.run_id).info.status == "RUNNING"


def test_where_a_job_trains_the_run_of_a_dead_command_is_gone_on_with(news: Settings) -> None:
    """The same request comes of it, so the command waits for the job that is still at work."""
    client = tracking.client(news.mlflow_uri)
    remote = news.model_copy(update={"platform": "databricks", "data_root": news.datasets})
    request = _plan(remote)
    assert _plan(remote).run_id != request.run_id  # the one who opened it lives
    client.set_tag(request.run_id, training.OWNER, f"{socket.gethostname()}:4194304")
    assert _plan(remote) == request
    assert client.get_run(request.run_id).data.tags[training.OWNER] == training.owner()


def test_a_note_that_several_make_at_once_is_made(news: Settings) -> None:
    """Readers settle a promotion as its maker does: none of them may fail for the others."""
    run_id = _plan(news).run_id
    with ThreadPoolExecutor(8) as pool:
        for number in range(10):
            barrier, name = Barrier(8), f"dev.ml.model{number}"

            def note(_: int, name: str = name, barrier: Barrier = barrier) -> None:
                barrier.wait()
                champions.record(news.mlflow_uri, run_id, name, "2")

            list(pool.map(note, range(8)))
            assert champions.notes(news.mlflow_uri, name) == {run_id: "2"}


def _plan(config: Settings, params: dict[str, Any] | None = None) -> training.TrainRequest:
    wanted = training.Training(
        data_name="news", data_version="1.0.0", model_name="sentiment", algorithm="naive_bayes", params=params or {}
    )
    return training.plan(config, wanted, {"prefect.flow_run_id": "abc"})


def test_the_gate_judges_on_test_where_there_is_no_holdout(home: Path, config: Settings) -> None:
    source = Source(uri=str(write_news(home / "news.csv")))
    dataset.create(dataset.plan(config, source, data_name="news", data_version="1.0.0", holdout="false"))
    request = evaluation.request_for(train_model(config), config.datasets, "news", "1.0.0")
    assert request.side is Side.TEST
    evaluation.evaluate(request)
    assert len(evaluation.stored(request)) == 48


def test_linear_algebra_keeps_to_one_thread_while_fitting(monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them cost ten times the CPU, and their number changes the last bits of a score."""
    seen: list[int] = []

    class Watched(LogisticRegression):
        def fit(self, *arguments: Any) -> Any:
            seen.extend(each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas")
            return super().fit(*arguments)

    monkeypatch.setitem(estimators.ESTIMATORS, "logistic_regression", Estimator(Watched))
    with threadpool_limits(2):
        estimators.fit("logistic_regression", {}, 0, TEXTS, LABELS)
    assert set(seen) == {1}


def test_a_stored_pipeline_is_compressed(news: Settings, tmp_path: Path) -> None:
    """Uncompressed, a vocabulary is ten times the size, and every step copies and digests it."""
    ref = train_model(news)
    folder = artifacts.download(news.mlflow_uri, ref.uri, tmp_path)
    entries = zipfile.ZipFile(folder / "artifacts" / "pipeline.skops").infolist()
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_DEFLATED}
