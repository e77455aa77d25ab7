"""The first section of docs/databricks.md, as it stands there, in a workspace with no more than the Free Edition."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from databricks.sdk import WorkspaceClient
from typer.testing import CliRunner

from cli import main
from databricks_emulator import Emulator, demo
from lifecycle import settings
from lifecycle.bundle import publish
from lifecycle.core.errors import ConfigError
from tests.conftest import ROOT, exhaustive

PAGE = (ROOT / "docs/databricks.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Databricks Free Edition in ten minutes")[2].partition("\n## ")[0]
COMMANDS = [shlex.split(line)[1:] for line in re.sub(r"\\\n *", "", SECTION).splitlines() if line.startswith("mlops ")]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings as the page has them."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    (tmp_path / "config/platforms/databricks.yaml").write_text(demo.settings_of_the_page(), encoding="utf-8")
    monkeypatch.setenv("MLOPS_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("MLOPS_PLATFORM", "databricks")
    return tmp_path / "config"


@pytest.mark.usefixtures("config")
def test_the_environments_are_schemas_of_one_catalog_and_share_data_and_jobs() -> None:
    for env in ("dev", "staging", "prod"):
        found = settings.load(env)
        assert found.registered_name("sentiment") == f"workspace.{env}.sentiment"
        assert f"CREATE VOLUME IF NOT EXISTS workspace.{env}.mlops;" in SECTION
        assert str(found.volume) == f"/Volumes/workspace/{env}/mlops"
        assert str(found.datasets) == "/Volumes/workspace/dev/mlops/data"
        assert found.databricks.job(env, "train") == "dev-mlops-train"


@pytest.mark.usefixtures("config")
def test_what_is_deployed_is_taken_and_the_rest_says_what_to_leave_out(
    client: WorkspaceClient, workspace: Emulator, tmp_path: Path
) -> None:
    workspace.restrict("serverless_only", absent=["dev", "staging", "prod"])
    wheel = publish.build_wheel(ROOT, tmp_path)
    words = [*COMMANDS[0], "--wheel", str(wheel)]
    done = CliRunner().invoke(main.app, words)
    assert done.exit_code == 0, done.output
    assert tuple(COMMANDS[0][2:]) == demo.DEPLOY_FREE[0]
    mine = [job for job in client.jobs.list() if job.settings.name.startswith("dev-mlops-")]
    assert sorted(job.settings.name for job in mine) == [
        f"dev-mlops-{s}" for s in ("create-data", "evaluate", "gate", "infer", "monitor", "train", "tune")
    ]
    assert all(client.jobs.get(job.job_id).settings.queue.enabled for job in mine)
    done = CliRunner().invoke(main.app, [word.replace("clusters=false", "clusters=true") for word in words])
    assert isinstance(done.exception, ConfigError)
    assert "--var clusters=false" in done.exception.fix
    for job in mine:
        client.jobs.delete(job.job_id)


@exhaustive
def test_the_release_of_the_page_goes_all_the_way_there(tmp_path: Path) -> None:
    assert tuple(COMMANDS[1]) == demo.RELEASE
    command = [sys.executable, "-m", "databricks_emulator.demo", "--free-edition"]
    home = {"MLOPS_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "identical predictions" in done.stdout
