"""Who says on which rows a model was fitted: tags of runs, of earlier releases too, and keys that are bound to them.

Promise: A model from outside that has seen the rows it is judged on is doubted where its answers show it (also
`tests/unit/test_doubt.py`).
"""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.errors import IntegrityError, NotFoundError
from lifecycle.core.names import Side
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset
from lifecycle.data.source import Source
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.evaluation.evaluate import EvaluateRequest
from lifecycle.models import loading
from lifecycle.models.external.conversion import Converted
from lifecycle.models.external.external import TrainedOn, log_external
from lifecycle.settings import Settings
from lifecycle.storage.files import sha256_of
from lifecycle.tracking import claims, runs
from lifecycle.tracking.artifacts import download
from lifecycle.tracking.client import client
from tests.conftest import make_dataset, train_model, write_news

MODEL = ModelRef(tracking_uri="sqlite:///none", uri="models:/m-1", run_id="1", artifact_sha256="a" * 64)
ARTIFACT = {"mlops.artifact_sha256": "a" * 64}
EXTERNAL = {"mlflow.source.name": "mlops model register-external", "mlops.origin": "external"}
DATA = {"mlops.data_name": "news", "mlops.data_version": "1"}


@pytest.mark.parametrize(
    ("tags", "origin", "words"),
    [
        ({claims.TRAINED_ON: "recorded", **ARTIFACT}, "recorded", "recorded when it was trained"),
        ({claims.TRAINED_ON: "declared: all; by ada", **DATA}, "declared", "trained on all of news 1, as ada says"),
        ({"mlflow.source.name": "mlops train", **ARTIFACT}, "recorded", "recorded when it was trained"),
        ({"mlflow.source.name": "mlops model register-vader", **ARTIFACT}, "recorded", "recorded when it was trained"),
        ({**EXTERNAL, **ARTIFACT, **DATA}, "declared", "trained on train of news 1, as whoever registered it says"),
        ({claims.TRAINED_ON: "recorded"}, "declared", "its run recorded the training of another model"),
        ({"mlflow.source.name": "mlops train"}, "declared", "its run recorded the training of another model"),
        ({"mlflow.source.name": "notebook.ipynb"}, "declared", "nobody says who put them there"),
        ({}, "declared", "nobody says who put them there"),
    ],
)
def test_a_run_says_from_whom_it_is_known_also_one_of_an_earlier_release(
    tags: dict[str, str], origin: str, words: str
) -> None:
    found = claims.of(MODEL, tags, has_keys=True)
    assert found.origin == origin
    assert words in found.words
    assert claims.of(MODEL, tags, has_keys=False).origin == "none"


@given(st.sets(st.sampled_from(list(Side)), min_size=1))
def test_what_is_declared_is_read_back(sides: set[Side]) -> None:
    tag = claims.declared([side for side in Side if side in sides])
    found = claims.of(MODEL, {claims.TRAINED_ON: tag, **DATA}, has_keys=True)
    told = "all" if len(sides) == 3 else ", ".join(side for side in Side if side in sides)
    assert found.words.startswith(f"trained on {told} of news 1, as ")


def copied(model: ModelRef, other: ModelRef, folder: Path) -> None:
    """Put the keys of one model's run into another's."""
    path = download(model.tracking_uri, f"runs:/{model.run_id}/{runs.TRAINED_KEYS}", folder)
    client(other.tracking_uri).log_artifact(other.run_id, str(path), "training")


def test_keys_that_were_copied_into_a_run_are_not_its_own(news: Settings, tmp_path: Path) -> None:
    model = train_model(news)
    assert evaluation.claim(model).origin == "recorded"
    mlflow = client(news.mlflow_uri)
    run = mlflow.get_run(model.run_id)
    tags = {key: value for key, value in run.data.tags.items() if key != claims.TRAINED_ON}
    for kept, refused in ((run.data.tags, True), (tags, True), ({claims.TRAINED_ON: "recorded"}, True), ({}, False)):
        other = mlflow.create_run(run.info.experiment_id, tags=kept).info.run_id
        forged = model.model_copy(update={"run_id": other})
        copied(model, forged, tmp_path)
        if refused:
            with pytest.raises(IntegrityError, match="not those that were recorded with its model"):
                evaluation.trained_keys(forged)
        else:
            assert evaluation.claim(forged).origin == "declared"
            assert len(evaluation.trained_keys(forged))


def test_a_model_that_borrows_the_run_of_another_is_only_said_to_be_trained_there(news: Settings) -> None:
    borrowed = train_model(news).model_copy(update={"artifact_sha256": "b" * 64})
    assert evaluation.claim(borrowed).origin == "declared"


@pytest.mark.parametrize("change", ["fewer", "none", "another model"])
def test_keys_of_our_training_may_not_change(news: Settings, tmp_path: Path, change: str) -> None:
    model = train_model(news)
    mlflow, keys = client(news.mlflow_uri), evaluation.trained_keys(model)
    if change == "another model":
        mlflow.set_tag(model.run_id, "mlops.artifact_sha256", "b" * 64)
    else:
        path = tmp_path / "keys.parquet"
        pd.DataFrame({"key": keys[: len(keys) // 2 if change == "fewer" else 0]}).to_parquet(path, index=False)
        mlflow.log_artifact(model.run_id, str(path), "training")
    with pytest.raises(IntegrityError, match="mlops train"):
        evaluation.trained_keys(model)


def test_a_run_of_an_earlier_release_is_read_as_before(news: Settings) -> None:
    model = train_model(news)
    for tag in (claims.TRAINED_ON, claims.SEAL):
        client(news.mlflow_uri).delete_tag(model.run_id, tag)
    assert evaluation.claim(model).origin == "recorded"
    assert len(evaluation.trained_keys(model))


def on_test(model: ModelRef, config: Settings, data_name: str = "news") -> EvaluateRequest:
    return evaluation.request_for(model, config.datasets, data_name, "1.0.0", Side.TEST)


def said(config: Settings, sides: str, folder: Path) -> ModelRef:
    """A model from outside, made of one that was trained here, and what it is said to have seen."""
    original = train_model(config)
    [path] = download(original.tracking_uri, original.uri, folder).rglob("pipeline.skops")
    converted = Converted(path=path, sha256=sha256_of(path), source_sha256="0" * 64, classes=("negative", "positive"))
    data = TrainedOn(data_root=config.datasets, data_name="news", data_version="1.0.0", sides=sides)
    return log_external(config.mlflow_uri, "outside-dev", "outside", converted, trained_on=data)


def test_of_a_training_here_the_test_side_is_known_whatever_else_is_evaluated_later(
    news: Settings, tmp_path: Path
) -> None:
    model, rows = train_model(news), dataset.load_rows(news.datasets, "news", "1.0.0", Side.TEST)
    right = int((evaluation.predicted(loading.load(model), rows)["label"] == rows["label"]).sum())
    assert evaluation.hits(on_test(model, news)) == (right, len(rows))
    texts = pd.read_csv(write_news(tmp_path / "other.csv", start=900))
    texts.assign(label=texts["label"].iloc[::-1].to_numpy()).to_csv(tmp_path / "other.csv", index=False)
    make_dataset(news, tmp_path / "other.csv", "other")
    assert evaluation.hits(on_test(model, news, "other")) is None
    evaluation.evaluate(on_test(model, news, "other"))
    others = evaluation.hits(on_test(model, news, "other"))
    assert others
    assert others[0] / others[1] < right / len(rows)
    assert evaluation.hits(on_test(model, news)) == (right, len(rows))
    evaluation.evaluate(on_test(model, news))
    assert evaluation.hits(on_test(model, news)) == (right, len(rows))
    assert evaluation.hits(evaluation.request_for(model, news.datasets, "news", "1.0.0")) is None


def test_of_a_declared_model_the_test_side_is_asked_for_and_counted_without_what_it_saw(
    news: Settings, tmp_path: Path
) -> None:
    rows = dataset.load_rows(news.datasets, "news", "1.0.0", Side.TEST)
    for sides, expected in (("train", len(rows)), ("train,test", None), ("all", None)):
        model = said(news, sides, tmp_path / sides)
        assert evaluation.hits(on_test(model, news)) is None
        [request] = evaluation.further_requests(model, news.datasets, "news", "1.0.0")
        assert request == on_test(model, news)
        evaluation.evaluate(request)
        found = evaluation.hits(request)
        assert (found and found[1]) == expected
    assert evaluation.further_requests(train_model(news), news.datasets, "news", "1.0.0") == ()


def test_where_test_is_judged_on_nothing_else_is_asked_for(news: Settings, tmp_path: Path) -> None:
    source = Source(uri=str(write_news(tmp_path / "whole.csv")))
    dataset.create(dataset.plan(news, source, data_name="whole", data_version="1.0.0", holdout=False))
    model = said(news, "train", tmp_path / "said")
    assert evaluation.further_requests(model, news.datasets, "whole", "1.0.0") == ()
    with pytest.raises(NotFoundError, match=r"whole 1\.0\.0 has no holdout split"):
        evaluation.request_for(model, news.datasets, "whole", "1.0.0", Side.HOLDOUT)
