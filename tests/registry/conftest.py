"""A state directory with trained and evaluated models, made once; `state` gives each test a copy of its own."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from lifecycle import evaluation, settings
from lifecycle.models.loading import ModelRef
from lifecycle.registry.store import Target
from lifecycle.settings import Settings
from tests.conftest import train_model

LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("datasets", "dataset_source"),
    ("model_versions", "storage_location"),
)


class State(NamedTuple):
    """Dataset `news` 1.0.0 and three models that were evaluated on its holdout; `weak` never says `negative`."""

    config: Settings
    bayes: ModelRef
    regression: ModelRef
    weak: ModelRef

    @property
    def target(self) -> Target:
        return Target(tracking_uri=self.config.mlflow_uri, name=self.config.registered_name("sentiment"))

    def folder(self, model: ModelRef) -> Path:
        """Where the files of a trained model lie."""
        return self.config.state / "artifacts" / "models" / model.uri.removeprefix("models:/") / "artifacts"

    def moved(self, folder: Path) -> "State":
        """The same state in another directory, down to the locations in the MLflow database."""
        shutil.copytree(self.config.state, folder)
        with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
            for table, column in LOCATIONS:
                change = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"  # noqa: S608
                database.execute(change, (str(self.config.state), str(folder)))
        config = settings.load("dev", home=folder)
        models = (model.model_copy(update={"tracking_uri": config.mlflow_uri}) for model in self[1:])
        return State(config, *models)


@pytest.fixture(autouse=True)
def _no_memory_of_moved_runs() -> None:
    """MLflow remembers where a run's artifacts lie by the run's id alone, which copies of a state share."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> State:
    folder = tmp_path_factory.mktemp("original") / "state"
    shutil.copytree(prepared, folder)
    config = settings.load("dev", home=folder)
    models = (
        train_model(config, "naive_bayes"),
        train_model(config, "logistic_regression"),
        train_model(config, "random_forest", max_depth=1, n_estimators=1),
    )
    for model in models:
        evaluation.evaluate(evaluation.request_for(model, config.datasets, "news", "1.0.0"))
    return State(config, *models)


@pytest.fixture
def state(original: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    """A state directory of the test's own with three trained models and nothing registered."""
    found = original.moved(tmp_path / "state")
    monkeypatch.setenv("MLOPS_HOME", str(found.config.state))
    return found
