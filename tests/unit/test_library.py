"""What programs may import: that it is what is said, and what it answers where there is nothing."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from inspect import signature
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.tracking import fluent

import mlops_lifecycle
from lifecycle import library
from lifecycle.core.errors import NotFoundError
from lifecycle.core.references import ModelRef
from lifecycle.registry import promotion
from lifecycle.registry.store import target_of
from lifecycle.settings import Settings
from lifecycle.tracking import client as tracking
from tests.conftest import ROOT, train_model


def test_the_functions_are_those_of_the_page_with_their_arguments() -> None:
    page = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8")
    said = dict(re.findall(r"^\| `(\w+)\((.*?)\)` \|", page, re.M))
    assert set(said) == {name for name in library.__all__ if name.islower()}
    for name, arguments in said.items():
        named = [word.partition("=")[0].lstrip("*") for word in arguments.split(", ") if word != "*"]
        assert named == list(signature(getattr(library, name)).parameters)


def test_they_are_had_from_the_name_that_is_installed_and_nothing_else_is() -> None:
    assert mlops_lifecycle.load_model is library.load_model
    with pytest.raises(AttributeError, match="no attribute 'store'"):
        _ = mlops_lifecycle.store


def test_names_that_libraries_ask_every_module_for_import_nothing() -> None:
    program = "import sys, mlops_lifecycle as m; print(getattr(m, 'expit', None), 'lifecycle.library' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "False"]
    assert mlops_lifecycle.__all__ == library.__all__


def test_rows_are_those_of_the_splits_that_are_named(news: Settings) -> None:
    assert len(library.rows("news")) == 240
    assert set(library.rows("news", "1.0.0", "test", "holdout")["split"]) == {"test", "holdout"}
    assert news.datasets.is_dir()


@pytest.mark.usefixtures("news")
def test_what_is_not_there_is_said() -> None:
    with pytest.raises(NotFoundError, match=r"Nothing is published of prod.ml.sentiment for 2026-11-28"):
        library.predictions("sentiment", date(2026, 11, 28))
    with pytest.raises(NotFoundError):
        library.champion("sentiment")


@pytest.fixture
def theirs(tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """The active run of a program that logs what it does in an experiment and a database of its own."""
    monkeypatch.setattr(mlflow.tracking.fluent, "_active_experiment_id", None)
    shutil.copy(migrated, tmp_path / "theirs.db")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'theirs.db'}")
    mlflow.create_experiment("another")
    mlflow.set_experiment("notebook")
    with mlflow.start_run() as run:
        yield run
        mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'theirs.db'}")


def test_who_logs_runs_of_their_own_trains_as_if_there_were_none(news: Settings, theirs: Run) -> None:
    model = train_model(news, "naive_bayes")
    assert mlflow.active_run().info.run_id == theirs.info.run_id
    assert fluent._get_experiment_id() == theirs.info.experiment_id
    run = tracking.client(news.mlflow_uri).get_run(model.run_id)
    assert run.info.status == "FINISHED"
    assert "mlflow.parentRunId" not in run.data.tags


@pytest.fixture
def champion(news: Settings) -> ModelRef:
    """A model that is read by who asks for `sentiment` in dev."""
    target, model = target_of(news, "sentiment"), train_model(news)
    promotion.promote(promotion.intend(target, model, promotion.champion(target), reason="the first"))
    return model


def test_what_is_read_leaves_a_program_its_own_tracking_server(champion: ModelRef, theirs: Run) -> None:
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri(), os.environ.get("MLFLOW_REGISTRY_URI")
    assert library.champion("sentiment", "dev").run_id == champion.run_id
    assert library.load_model("sentiment", "dev").predict(pd.DataFrame({"text": ["profit rose"]})).shape[0] == 1
    assert library.history("sentiment", "dev")
    assert (mlflow.get_tracking_uri(), mlflow.get_registry_uri(), os.environ.get("MLFLOW_REGISTRY_URI")) == before
    mlflow.log_metric("mine", 1)
    assert mlflow.MlflowClient().get_run(theirs.info.run_id).data.metrics == {"mine": 1}


def test_autologging_of_a_program_makes_no_runs_among_ours(news: Settings) -> None:
    mlflow.sklearn.autolog(silent=True)
    try:
        model = train_model(news, "logistic_regression")
    finally:
        mlflow.sklearn.autolog(disable=True)
    ours = tracking.client(news.mlflow_uri)
    experiments = [each.experiment_id for each in ours.search_experiments()]
    assert [run.info.run_id for run in ours.search_runs(experiments)] == [model.run_id]
