"""The way of a release in a workspace, looked at without writing first: `pytest -m live` begins with this.

All that it makes bears one prefix, and is taken away whatever happens; what is left then fails the test.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import mlflow
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import DatabricksError, NotFound
from mlflow.exceptions import RestException

from databricks_emulator import Emulator
from lifecycle.bundle import definition, publish
from lifecycle.core.names import StepName
from tests.conftest import ROOT, exhaustive
from tests.databricks.test_deploy import bundle_called

MLOPS = Path(sys.executable).with_name("mlops")
PREFIX = "mlops_live_"
RELEASE = (
    *("release", "--source", str(ROOT / "examples/financial_news.csv"), "--text-column", "Sentence"),
    *("--label-column", "Sentiment", "--data-name", "financial_news", "--data-version", "1.0.0", "--to", "dev"),
)


@pytest.mark.live
def test_the_workspace_lets_us_in_and_holds_what_the_others_need(client: WorkspaceClient) -> None:
    schema, volume = definition.read(ROOT, "dev").places
    try:
        assert client.current_user.me().user_name
        assert client.schemas.get(schema.name).full_name == schema.name
        assert client.volumes.read(volume.name).full_name == volume.name
        next(iter(client.jobs.list(limit=1)), None)
    except DatabricksError as error:
        pytest.exit(f"Nothing was written: the workspace lacks what the tests need: {error}", returncode=1)


class Ours:
    """What one test makes in the workspace: a schema, jobs, notebooks and an experiment of one name."""

    def __init__(self, client: WorkspaceClient, folder: Path) -> None:
        self.client, self.name = client, f"{PREFIX}{uuid4().hex[:8]}"
        self.project = bundle_called(self.name, folder / "project")
        shutil.copy(ROOT / "prefect.yaml", self.project)  # by which the command finds the project
        self.bundle = definition.read(self.project, "dev", {"schema": self.name})
        schema, _ = self.bundle.places
        self.schema, self.model = schema.name, f"{schema.name}.{self.name}"
        self.experiment = f"/Shared/{self.name}-dev"
        jobs = "".join(f"    {step}: dev-{self.name}-{step}\n" for step in StepName.__args__)
        (folder / "project/config/platforms/databricks.yaml").write_text(
            "platform: databricks\ntracking_uri: databricks\nregistry_uri: databricks-uc\n"
            f"catalog: {schema.name.partition('.')[0]}\nschema_name: {self.name}\ndatabricks:\n  jobs:\n{jobs}",
            encoding="utf-8",
        )

    def mlops(self, *words: str) -> str:
        """Run a command in the project; what it printed."""
        ours = {"MLOPS_PLATFORM": "databricks", "MLOPS_HOME": str(self.project / "state")}
        ours |= {"MLOPS_CONFIG_DIR": str(self.project / "config"), "PYTHONWARNINGS": "ignore"}
        command = [str(MLOPS), *words]
        done = subprocess.run(
            command, cwd=self.project, env=os.environ | ours, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout

    def left(self) -> list[str]:
        """What is there of it now."""
        found = [str(job.settings.name) for job in self.client.jobs.list() if self.name in str(job.settings.name)]
        looks: dict[str, Callable[[], object]] = {
            self.schema: lambda: self.client.schemas.get(self.schema),
            self.bundle.file_path: lambda: self.client.workspace.get_status(self.bundle.file_path),
            self.model: lambda: self.mlflow.get_registered_model(self.model),
        }
        for name, look in looks.items():
            with suppress(NotFound, RestException):
                look()
                found.append(name)
        experiment = self.mlflow.get_experiment_by_name(self.experiment)
        return [*found, *([self.experiment] if experiment and experiment.lifecycle_stage == "active" else [])]

    def remove(self) -> None:
        """Take it all away, also where only a part of it was made."""
        for job in [job for job in self.client.jobs.list() if self.name in str(job.settings.name)]:
            self.client.jobs.cancel_all_runs(job_id=job.job_id)
            self.client.jobs.delete(job.job_id)
        if experiment := self.mlflow.get_experiment_by_name(self.experiment):
            self.mlflow.delete_experiment(experiment.experiment_id)
        with suppress(RestException):
            self.mlflow.delete_registered_model(self.model)
        with suppress(NotFound):
            self.client.schemas.delete(self.schema, force=True)  # and the volume in it
        with suppress(NotFound):
            self.client.workspace.delete(self.bundle.file_path.partition("/dev/")[0], recursive=True)

    @property
    def mlflow(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient("databricks", "databricks-uc")


@pytest.fixture
def ours(client: WorkspaceClient, tmp_path: Path) -> Iterator[Ours]:
    made = Ours(client, tmp_path)
    try:
        yield made
    finally:
        made.remove()
    assert made.left() == []


@pytest.mark.timeout(3600)  # a workspace has to find a machine for each step
@pytest.mark.live(alone=True)
def test_a_release_goes_all_the_way_and_leaves_nothing(ours: Ours, tmp_path: Path) -> None:
    wheel = publish.build_wheel(ROOT, tmp_path)
    ours.mlops("databricks", "deploy", "--target", "dev", "--var", f"schema={ours.name}", "--wheel", str(wheel))
    ours.mlops(*RELEASE, "--model-name", ours.name)
    assert ours.mlflow.get_model_version_by_alias(ours.model, "champion").version == "1"
    assert len(ours.left()) > 4


@pytest.mark.timeout(3600)
@exhaustive
def test_what_is_run_in_a_workspace_runs_in_the_emulated_one(databricks_env: Emulator) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-m", "live", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "2 passed" in done.stdout, done.stdout[-6000:]
    assert databricks_env.runs(active_only="true") == []
