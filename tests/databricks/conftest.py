"""One emulated workspace for the whole session, reached over TLS as a real one is.

`databricks_env` lets the process of a test, and what it starts, reach the workspace. After a test no run is left and no
fault: one that nothing has met means that the test has not tested what it says.

`pytest -m live` runs the tests with that mark against the workspace that `DATABRICKS_HOST` names, and none without it:
one that passed here would be taken for a proof. Without the option they meet the emulated one like all others.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import mlflow
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.service.workspace import ImportFormat, Language

from databricks_emulator import Emulator, running

TAGS = {"purpose": "mlops-tests"}
"""What marks a job as one of a test."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is to meet a real workspace where none is named; where one is, look at it before anything else."""
    if config.getoption("markexpr") == "live" and not os.environ.get("DATABRICKS_HOST"):
        config.hook.pytest_deselected(items=[*items])
        items.clear()
    if not is_live(config):  # what is alone live is proven here by a test that runs it so
        items[:] = [item for item in items if not getattr(item.get_closest_marker("live"), "kwargs", {}).get("alone")]
    items.sort(key=lambda item: item.path.name != "test_live.py" if is_live(config) else 0)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Emulator]:
    """The running emulator; its databases are copies of the migrated one, which saves it seconds."""
    root = tmp_path_factory.mktemp("databricks")
    for name in ("uc.db", "mlflow.db"):
        shutil.copy(migrated, root / name)
    with running(root) as found:
        yield found


def is_live(config: pytest.Config) -> bool:
    """Whether the tests marked `live` are to meet the workspace of the environment instead of the emulated one."""
    return config.getoption("markexpr") == "live" and "DATABRICKS_HOST" in os.environ


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """End a test that used the emulated workspace with no faults waiting and no runs active."""
    used = {"workspace", "client"} & set(request.fixturenames) and not is_live(request.config)
    emulator = request.getfixturevalue("workspace") if used else None
    yield
    if emulator is not None:
        unmet = emulator.waiting()
        emulator.clear()
        emulator.cancel_all()
        emulator.forget_calls()
        assert not unmet, f"faults that nothing has met: {unmet}"


@pytest.fixture
def databricks_env(workspace: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """The variables of a process that reaches the workspace by access token, and by no other credentials."""
    for name in [name for name in os.environ if name.startswith("DATABRICKS_")]:
        monkeypatch.delenv(name)
    for name, value in {**workspace.environment, **workspace.trust}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATABRICKS_HOST", workspace.https_url)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setattr(mlflow.tracking.fluent, "_active_experiment_id", None)  # what the test sets is put back
    before = mlflow.get_tracking_uri()
    yield workspace
    mlflow.set_tracking_uri(before)
    mlflow.set_registry_uri("")


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Iterator[WorkspaceClient]:
    """The SDK's client of the workspace; in a real one, what a test has made there is removed."""
    if not is_live(request.config):
        emulator: Emulator = request.getfixturevalue("databricks_env")
        yield WorkspaceClient(host=emulator.https_url, token=emulator.token)
        return
    found = WorkspaceClient()
    yield found
    for job in list(found.jobs.list()):
        if job.settings.tags == TAGS:
            found.jobs.cancel_all_runs(job_id=job.job_id)
            found.jobs.delete(job.job_id)


@pytest.fixture
def script(client: WorkspaceClient) -> Iterator["Scripts"]:
    """Puts Python files where tasks find them: `script("print(1)")` is the path for a `python_file`."""
    scripts = Scripts(client)
    yield scripts
    client.workspace.delete(scripts.folder, recursive=True)


class Scripts:
    """Python files and notebooks of one test in the workspace's own tree."""

    def __init__(self, client: WorkspaceClient) -> None:
        self._client = client
        self.folder = f"/Workspace/Shared/mlops-tests/{uuid4().hex}"
        client.workspace.mkdirs(self.folder)

    def __call__(self, source: str, name: str | None = None) -> str:
        """The path of a file; one whose name has no suffix is a notebook."""
        path = f"{self.folder}/{name or f'script_{uuid4().hex}.py'}"
        kind = ImportFormat.AUTO if path.endswith(".py") else ImportFormat.SOURCE
        language = None if kind is ImportFormat.AUTO else Language.PYTHON
        self._client.workspace.upload(path, source.encode(), format=kind, language=language, overwrite=True)
        return path
