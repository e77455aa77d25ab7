"""What lies beside a run is read from the run alone, as plain MLflow reads it."""

from pathlib import Path

import mlflow.artifacts
import pytest

from lifecycle.core.errors import IntegrityError
from lifecycle.settings import Settings
from lifecycle.tracking import artifacts
from lifecycle.tracking import client as tracking


@pytest.fixture
def run_id(config: Settings, tmp_path: Path) -> str:
    """A run with a file in a folder."""
    mlflow_client = tracking.client(config.mlflow_uri)
    run = mlflow_client.create_run(tracking.experiment(config.mlflow_uri, "one")).info.run_id
    (tmp_path / "a b.json").write_text("{}", encoding="utf-8")
    mlflow_client.log_artifact(run, str(tmp_path / "a b.json"), "evaluations")
    return str(run)


def test_names_and_contents_are_those_that_mlflow_tells(config: Settings, run_id: str) -> None:
    found = artifacts.names(config.mlflow_uri, run_id, "evaluations")
    assert found == [file.path for file in mlflow.artifacts.list_artifacts(run_id=run_id, artifact_path="evaluations")]
    assert [artifacts.read(config.mlflow_uri, run_id, path) for path in found] == [b"{}"]
    assert artifacts.names(config.mlflow_uri, run_id, "verdicts") == []


def test_what_is_not_there_is_said_with_its_place(config: Settings, run_id: str) -> None:
    with pytest.raises(IntegrityError, match=f"runs:/{run_id}/evaluations/b.json: its artifacts cannot be read"):
        artifacts.read(config.mlflow_uri, run_id, "evaluations/b.json")


def test_a_link_in_its_place_is_not_followed(config: Settings, run_id: str, tmp_path: Path) -> None:
    place = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="evaluations/a b.json")
    Path(place).with_name("c.json").symlink_to(tmp_path / "a b.json")
    with pytest.raises(IntegrityError, match=r"c\.json"):
        artifacts.read(config.mlflow_uri, run_id, "evaluations/c.json")
