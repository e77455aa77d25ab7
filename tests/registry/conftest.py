"""Trained and evaluated models, made once for each tracking server; every test gets a fresh registry of its own.

`state` and `backend` lie in a sqlite database; marked `everywhere`, `backend` is the same three times: in sqlite, on a
real `mlflow server`, and with the registry under the rules of Unity Catalog.
"""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import pytest
import requests

from databricks_emulator import Emulator, running
from lifecycle import settings
from lifecycle.core.names import CHAMPION, Environment
from lifecycle.core.references import ModelRef
from lifecycle.databricks import credentials
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.models import loading
from lifecycle.registry import promotion, store, tag_names, transfer
from lifecycle.registry.promotion import Intent, Promotion
from lifecycle.registry.store import Target
from lifecycle.settings import Settings
from lifecycle.tracking import client as tracking
from tests.conftest import Once, exhaustive, train_model

LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("datasets", "dataset_source"),
    ("model_versions", "storage_location"),
)


everywhere = pytest.mark.parametrize("backend", ["sqlite", "server", "unity-catalog"], indirect=True)
"""For what differs from one kind of registry to another; in one file, since each worker has servers of its own."""
elsewhere_too = pytest.mark.parametrize(
    "backend", ["sqlite", pytest.param("server", marks=exhaustive), "unity-catalog"], indirect=True
)
"""For what a server does as sqlite does."""
on_server_too = pytest.mark.parametrize("backend", ["sqlite", pytest.param("server", marks=exhaustive)], indirect=True)
"""For what there is not in Unity Catalog."""
to_server_too = pytest.mark.parametrize(
    "elsewhere", ["sqlite", pytest.param("server", marks=exhaustive)], indirect=True
)

SetStatus = Callable[[int, str], None]


class State(NamedTuple):
    """Dataset `news` 1.0.0 and three models that were evaluated on its holdout; `weak` never says `negative`."""

    config: Settings
    bayes: ModelRef
    regression: ModelRef
    weak: ModelRef

    @property
    def target(self) -> Target:
        return store.target_of(self.config, "sentiment")

    @property
    def in_unity_catalog(self) -> bool:
        return credentials.is_databricks(self.config.registry_uri or "")

    def folder(self, model: ModelRef) -> Path:
        """Where the files of a trained model lie."""
        artifacts, model_id = self.config.state / "artifacts", model.uri.removeprefix("models:/")
        return next(artifacts.glob(f"*/models/{model_id}"), artifacts / "models" / model_id) / "artifacts"

    def moved(self, folder: Path) -> "State":
        """The same state in another directory, down to the locations in the MLflow database."""
        shutil.copytree(self.config.state, folder)
        _relocate(folder / "mlflow.db", str(self.config.state), str(folder))
        config = settings.load("dev", home=folder)
        models = (model.model_copy(update={"tracking_uri": config.mlflow_uri}) for model in self[1:])
        return State(config, *models)


@pytest.fixture(autouse=True)
def _no_memory_of_moved_runs() -> None:
    """MLflow remembers where a run's artifacts lie by the run's id alone, which copies of a state share."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()


@pytest.fixture(scope="session")
def original(once: Once, prepared: Path) -> State:
    """Trained by one worker for all of them."""

    def make(folder: Path) -> None:
        shutil.copytree(prepared, folder / "state")
        models = _trained(settings.load("dev", home=folder / "state"))[1:]
        (folder / "models.json").write_text(json.dumps([model.model_dump(mode="json") for model in models]))

    folder = once("original", make)
    models = map(ModelRef.model_validate, json.loads((folder / "models.json").read_text()))
    return State(settings.load("dev", home=folder / "state"), *models)


@pytest.fixture
def in_sqlite(original: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    """A state directory of the test's own with three trained models and nothing registered."""
    found = original.moved(tmp_path / "state")
    monkeypatch.setenv("MLOPS_HOME", str(found.config.state))
    return found


@pytest.fixture
def state(in_sqlite: State) -> State:
    """What a test works on that is about no other registry than sqlite."""
    return in_sqlite


@pytest.fixture(scope="session")
def tracking_server(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Iterator[State]:
    """A real `mlflow server` with the three models, trained there, and beside its folder a copy of all it holds."""
    folder = tmp_path_factory.mktemp("server") / "state"
    shutil.copytree(prepared, folder)
    with serving(folder) as url:
        found = _trained(settings.load("dev", home=folder, tracking_uri=url))
        shutil.copytree(folder, _pristine(folder))
        yield found


@pytest.fixture
def on_server(tracking_server: State) -> State:
    """The state of the server as it was when the models had been trained."""
    folder = tracking_server.config.state
    _reset(folder / "mlflow.db", _pristine(folder) / "mlflow.db")
    shutil.copytree(_pristine(folder) / "artifacts", folder / "artifacts", dirs_exist_ok=True)
    return tracking_server


@pytest.fixture(scope="session")
def workspace_root(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Path:
    """Where the emulated Unity Catalog keeps everything."""
    root = tmp_path_factory.mktemp("workspace")
    shutil.copy(migrated, root / "uc.db")
    return root


@pytest.fixture(scope="session")
def running_emulator(workspace_root: Path) -> Iterator[Emulator]:
    with running(workspace_root) as found:
        yield found


@pytest.fixture
def emulator(
    running_emulator: Emulator, workspace_root: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Emulator]:
    """The emulated Unity Catalog without any model, reached by access token."""
    _reset(workspace_root / "uc.db", migrated)
    shutil.rmtree(workspace_root / "files" / "Models", ignore_errors=True)
    for name in [name for name in os.environ if name.startswith("DATABRICKS_")]:
        monkeypatch.delenv(name)
    for name, value in running_emulator.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("MLFLOW_ENABLE_DB_SDK", "false")  # otherwise MLflow's client asks twice for every answer
    monkeypatch.setenv("DATABRICKS_CONFIG_PROFILE", "")  # a test that names one in a URI leaves it to the process
    before = mlflow.get_tracking_uri()
    yield running_emulator
    mlflow.set_tracking_uri(before)
    mlflow.set_registry_uri("")


@pytest.fixture
def in_unity_catalog(original: State, tmp_path: Path, emulator: Emulator) -> State:  # noqa: ARG001
    """The models in a sqlite database and the registry in Unity Catalog."""
    moved = original.moved(tmp_path / "state")
    return moved._replace(config=settings.load("dev", home=moved.config.state, registry_uri="databricks-uc"))


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> State:
    """The three trained models and an empty registry: in sqlite, on a server, under the rules of Unity Catalog."""
    fixture = {"sqlite": "in_sqlite", "server": "on_server", "unity-catalog": "in_unity_catalog"}[request.param]
    return request.getfixturevalue(fixture)


@pytest.fixture
def target(backend: State) -> Target:
    return backend.target


@pytest.fixture
def registry_database(backend: State, workspace_root: Path) -> Path:
    """The database behind the registry, whoever serves it."""
    return workspace_root / "uc.db" if backend.in_unity_catalog else backend.config.state / "mlflow.db"


@pytest.fixture(scope="session")
def crowned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where `three` keeps what it made in each kind of registry."""
    return {kind: tmp_path_factory.mktemp("crowned") for kind in ("sqlite", "server", "unity-catalog")}


@pytest.fixture
def three(
    request: pytest.FixtureRequest,
    backend: State,
    registry_database: Path,
    workspace_root: Path,
    crowned: dict[str, Path],
) -> Target:
    """Three champions in a row: v1 weak, v2 bayes, v3 regression. Made once in each kind of registry, then copied."""
    kept, files, state = (
        crowned[request.node.callspec.params["backend"]],
        workspace_root / "files",
        backend.config.state,
    )
    if not (kept / "state").exists():
        for model in (backend.weak, backend.bayes, backend.regression):
            promote(backend.target, model)
        _reset(kept / "registry.db", registry_database)
        if backend.in_unity_catalog:
            shutil.copytree(files, kept / "files")
        (kept / "state").write_text(str(state), encoding="utf-8")
        return backend.target
    _reset(registry_database, kept / "registry.db")
    _relocate(registry_database, (kept / "state").read_text(encoding="utf-8"), str(state))
    if backend.in_unity_catalog:
        shutil.copytree(kept / "files", files, dirs_exist_ok=True)
    return backend.target


@pytest.fixture
def set_status(backend: State, registry_database: Path) -> Callable[[int, str], None]:
    """A function that sets the status of a version in the registry's own database, as no client can."""

    def run(number: int, status: str) -> None:
        with closing(sqlite3.connect(registry_database, timeout=240)) as database, database:
            change = "UPDATE model_versions SET status = ? WHERE name = ? AND version = ?"
            assert database.execute(change, (status, backend.target.name, number)).rowcount == 1

    return run


@pytest.fixture
def dead() -> str:
    """The owner tag of a process that has just ended: in the course of a session its number is given again."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return f"{socket.gethostname()}:{process.pid}"


@pytest.fixture
def staged(backend: State) -> State:
    """A model of former times: v1 archived, v2 in production, v3 in staging, v4 in no stage."""
    source = backend.target.named("sentiment")
    for model, stage in ((backend.weak, "Archived"), (backend.bayes, "Production"), (backend.regression, "Staging")):
        move(source, enter_by_hand(backend, model, source), stage)
    enter_by_hand(backend, backend.weak, source)
    return backend


@pytest.fixture(params=["sqlite"])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path, migrated: Path) -> Target:
    """A production registry on another tracking server."""
    if request.param == "server":
        uri = request.getfixturevalue("on_server").config.mlflow_uri
    else:
        (tmp_path / "prod").mkdir()
        uri = f"sqlite:///{tmp_path / 'prod' / 'mlflow.db'}"
        (tmp_path / "prod" / "mlflow.db").write_bytes(migrated.read_bytes())
    return Target(tracking_uri=uri, name="prod.ml.sentiment")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No credentials from outside; the path of the profile file."""
    for name in [name for name in os.environ if name.startswith("DATABRICKS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "databrickscfg"))
    return tmp_path / "databrickscfg"


class Killed(BaseException):
    """The process ends here."""


def killed(*_: Any) -> None:
    raise Killed


def move(source: Target, version: int, stage: str) -> None:
    store.mlflow_of(source).transition_model_version_stage(source.name, str(version), stage)


def environments(source: Target) -> dict[Environment, Target]:
    return {env: source.named(f"{env}.ml.sentiment") for env in Environment}


def numbers(target: Target) -> list[int]:
    return [version.version for version in store.versions(target)]


def standing(target: Target) -> tuple[int | None, int | None, tuple[int, ...]]:
    """The champion by the alias and by the log, and the line a rollback walks back."""
    now = promotion.read_log(target)
    return store.alias_version(target), now.champion, now.line


def runs_of(target: Target, model: ModelRef) -> list[Any]:
    """The copies of a model's run at a target."""
    mlflow = tracking.client(target.tracking_uri)
    found = mlflow.search_runs([e.experiment_id for e in mlflow.search_experiments()])
    return [run for run in found if run.data.tags.get(transfer.COPIED_FROM, "").endswith(model.run_id)]


def roll_back(target: Target, to_version: int | None = None) -> Promotion:
    intent = promotion.intend_rollback(target, to_version, "it was worse")
    assert isinstance(intent, Intent)
    return promotion.promote(intent)


def promote(target: Target, model: ModelRef, reason: str = "better") -> Promotion:
    """Promote a model over the present champion."""
    return promotion.promote(promotion.intend(target, model, promotion.champion(target), reason=reason))


def set_by_hand(target: Target, version: int | str, alias: str = CHAMPION) -> None:
    """Set an alias past this project."""
    store.mlflow_of(target).set_registered_model_alias(target.name, alias, str(version))


def enter_by_hand(state: State, model: ModelRef, target: Target | None = None, **tags: str) -> int:
    """Make a version past this project, and the model if it is not there."""
    target = target or state.target
    tags = tag_names.write(tags) if target.in_unity_catalog else tags
    store.create_model(target)
    client = store.mlflow_of(target)
    if not state.in_unity_catalog:
        model_id = model.uri.removeprefix("models:/")
        return int(client.create_model_version(target.name, model.uri, model.run_id, tags, model_id=model_id).version)
    with loading.private_copy(model) as folder:  # Unity Catalog uploads, and removes what it uploaded from
        return int(client.create_model_version(target.name, str(folder), model.run_id, tags).version)


def _trained(config: Settings) -> State:
    models = (
        train_model(config, "naive_bayes"),
        train_model(config, "logistic_regression"),
        train_model(config, "random_forest", max_depth=1, n_estimators=1),
    )
    for model in models:
        evaluation.evaluate(evaluation.request_for(model, config.datasets, "news", "1.0.0"))
    return State(config, *models)


def _relocate(path: Path, before: str, after: str) -> None:
    """Let an MLflow database say that its files lie in another directory."""
    with closing(sqlite3.connect(path, timeout=240)) as database, database:
        for table, column in LOCATIONS:
            change = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"  # noqa: S608
            database.execute(change, (before, after))


def _pristine(folder: Path) -> Path:
    return folder.with_name("pristine")


def _reset(database: Path, pristine: Path) -> None:
    """Bring a database that a server has open to the content of another one, in one transaction."""
    with closing(sqlite3.connect(pristine)) as source, closing(sqlite3.connect(database, timeout=240)) as live:
        source.backup(live)


@contextmanager
def serving(folder: Path, environment: Mapping[str, str] | None = None, **options: str) -> Iterator[str]:
    """Run `mlflow server` on the database and the artifacts of a folder until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    arguments = {
        "backend-store-uri": f"sqlite:///{folder / 'mlflow.db'}",
        "artifacts-destination": str(folder / "artifacts"),
        "host": "127.0.0.1",
        "port": str(port),
        "workers": "1",
        **{name.replace("_", "-"): value for name, value in options.items()},
    }
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("DATABRICKS_", "MLFLOW_"))}
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *(f"--{name}={value}" for name, value in arguments.items())],
            cwd=folder,
            env=ours | quiet | dict(environment or {}),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while not _answers(f"{url}/health"):
            assert process.poll() is None, (folder / "server.log").read_text()
            time.sleep(0.1)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.ConnectionError:
        return False
