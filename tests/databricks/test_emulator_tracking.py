"""MLflow's own client with tracking and registry in the workspace: the way of a model from a run to another catalog."""

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

from databricks_emulator import Emulator

pytestmark = pytest.mark.filterwarnings("ignore:.*input example:UserWarning")

CODE = """
import mlflow
import pandas as pd

class Shout(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None):
        return [text.upper() for text in model_input["text"]]

mlflow.models.set_model(Shout())
"""
SIGNATURE = ModelSignature(Schema([ColSpec("string", "text")]), Schema([ColSpec("string")]))


@pytest.fixture
def mlflow_client(databricks_env: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:  # noqa: ARG001
    """MLflow's client as it is in a job: everything is in the workspace, and nobody says where the registry is."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    mlflow.set_tracking_uri("databricks")
    mlflow.set_registry_uri("")
    yield MlflowClient()
    mlflow.end_run()


@pytest.mark.parametrize("uploads", ["files-api", "signed-urls"])
def test_a_model_goes_from_a_run_to_another_catalog(
    mlflow_client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uploads: str
) -> None:
    monkeypatch.setenv("MLFLOW_USE_DATABRICKS_SDK_MODEL_ARTIFACTS_REPO_FOR_UC", str(uploads == "files-api"))
    code = tmp_path / "shout.py"
    code.write_text(CODE, encoding="utf-8")
    name = f"dev.ml.shout_{uploads.replace('-', '_')}"
    assert mlflow.get_registry_uri() == "databricks-uc"
    mlflow.set_experiment(f"/Shared/{uploads}")
    with mlflow.start_run() as run:
        mlflow.log_params({"alpha": 1})
        mlflow.log_metric("f1", 0.5, step=3)
        mlflow.log_dict({"a": [1]}, "about/run.json")
        mlflow.pyfunc.log_model(
            name="model",
            python_model=str(code),
            signature=SIGNATURE,
            pip_requirements=["mlflow"],
            registered_model_name=name,
        )
    found = mlflow_client.search_runs([run.info.experiment_id], "metrics.f1 > 0.4")
    assert [each.info.run_id for each in found] == [run.info.run_id]
    assert mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/about/run.json") == {"a": [1]}
    version = mlflow_client.get_model_version(name, "1")
    assert (version.status, version.run_id) == ("READY", run.info.run_id)
    mlflow_client.set_registered_model_alias(name, "champion", "1")
    mlflow_client.set_model_version_tag(name, "1", "gate", "passed")
    target = name.replace("dev.", "prod.")
    copied = mlflow_client.copy_model_version(f"models:/{name}@champion", target)
    assert (copied.name, copied.version, copied.run_id) == (target, "1", run.info.run_id)
    mlflow_client.set_registered_model_alias(target, "champion", "1")
    model = mlflow.pyfunc.load_model(f"models:/{target}@champion")
    assert model.predict(pd.DataFrame({"text": ["profit rose"]})) == ["PROFIT ROSE"]


def test_a_name_of_an_experiment_is_a_path(mlflow_client: MlflowClient) -> None:
    with pytest.raises(MlflowException, match="must be an absolute path") as refused:
        mlflow_client.create_experiment("sentiment-dev")
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
    made = mlflow_client.create_experiment("/Shared/sentiment-dev")
    location = mlflow_client.get_experiment(made).artifact_location
    assert location == f"dbfs:/databricks/mlflow-tracking/{made}"
    with pytest.raises(MlflowException) as again:
        mlflow_client.create_experiment("/Shared/sentiment-dev")
    assert again.value.error_code == "RESOURCE_ALREADY_EXISTS"


def test_mlflow_says_what_is_missing(mlflow_client: MlflowClient) -> None:
    with pytest.raises(MlflowException) as missing:
        mlflow_client.get_run("0" * 32)
    assert missing.value.error_code == "RESOURCE_DOES_NOT_EXIST"


@pytest.mark.parametrize("path", ["2.0/mlflow/registered-models/search", "2.0/mlflow/no/such", "3.0/mlflow/no/such"])
def test_what_a_workspace_does_not_have_is_not_emulated(workspace: Emulator, path: str) -> None:
    """The registry of the workspace itself, which new workspaces lack, and paths that MLflow's server does not know."""
    headers = {"Authorization": f"Bearer {workspace.token}"}
    reply = requests.get(f"{workspace.url}/api/{path}", headers=headers, timeout=240)
    assert (reply.status_code, reply.json()["error_code"]) == (501, "NOT_IMPLEMENTED")


def test_the_files_of_runs_lie_in_the_workspace(mlflow_client: MlflowClient, workspace: Emulator) -> None:
    experiment = mlflow_client.create_experiment("/Shared/files")
    run = mlflow_client.create_run(experiment)
    mlflow_client.log_text(run.info.run_id, "kept", "notes/a.txt")
    path = f"files/WorkspaceInternal/Mlflow/Artifacts/{experiment}/Runs/{run.info.run_id}/artifacts/notes/a.txt"
    assert (workspace.root / path).read_text() == "kept"
    assert [file.path for file in mlflow_client.list_artifacts(run.info.run_id, "notes")] == ["notes/a.txt"]


def test_where_the_files_api_is_closed_the_files_of_runs_and_models_go_by_signed_urls(
    mlflow_client: MlflowClient, workspace: Emulator, tmp_path: Path
) -> None:
    workspace.restrict("signed_urls_only")
    mlflow.set_experiment("/Shared/signed")
    (tmp_path / "shout.py").write_text(CODE, encoding="utf-8")
    with mlflow.start_run() as run:
        mlflow.log_text("kept", "notes/a.txt")
        made = mlflow.pyfunc.log_model(name="shout", python_model=str(tmp_path / "shout.py"), signature=SIGNATURE)
    assert [file.path for file in mlflow_client.list_artifacts(run.info.run_id, "notes")] == ["notes/a.txt"]
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/notes/a.txt") == "kept"
    assert mlflow.pyfunc.load_model(made.model_uri).predict(pd.DataFrame({"text": ["a"]})) == ["A"]
    paths = {call["path"].rpartition("/")[2] for call in workspace.calls("POST *credentials-for-*")}
    assert paths == {f"credentials-for-{each}" for each in ("read", "write", "upload", "download")}
