"""The example of docs/own-code.md, as it stands there: its files are written, its commands run, its model travels."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lifecycle.core import own_code
from lifecycle.settings.definitions import ModelDefinition
from tests.conftest import ROOT, exhaustive

PAGE = (ROOT / "docs/own-code.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```(?:yaml|python)\n# (\S+\.(?:yaml|py))\n(.*?)```", PAGE, re.S))
COMMANDS = re.findall(r"^mlops .*$", "\n".join(re.findall(r"```console\n(.*?)```", PAGE, re.S)), re.M)
(PROGRAM,) = re.findall(r"```python\n(import mlflow\n.*?)```", PAGE, re.S)
MLOPS = Path(sys.executable).with_name("mlops")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    lines = ["rooms,area,district,built,price"]
    for n in range(600):
        rooms, district, year = 1 + n % 6, ("north", "South", "east")[n % 7 % 3], 1950 + n * 13 % 71
        area = "" if n % 50 == 0 else f"{rooms * 22 + n % 17 - 8.5}"
        price = 1000 * (rooms * 22 + n % 17) * (1.4 if district == "South" else 1) + (year - 1950) * 300
        lines.append(f"{rooms},{area},{district},{year}-05-01,{price:.0f}")
    (tmp_path / "flats.csv").write_text("\n".join([*lines, ""]), encoding="utf-8")
    return tmp_path


def outside() -> dict[str, str]:
    """The environment of somebody who has set nothing."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "MLOPS_", "MLFLOW_", "PREFECT_"))
    }


def run(project: Path, command: str, code: int = 0) -> str:
    """A command as a process of its own; a server that is up serves them all."""
    environment = outside() | {"PREFECT_API_URL": os.environ["PREFECT_API_URL"]}
    done = subprocess.run(
        [MLOPS, *shlex.split(command)[1:]], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


@exhaustive  # a page a night: what it goes through has tests of its own
def test_the_example_goes_all_the_way(project: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", server)
    assert ModelDefinition.model_validate(yaml.safe_load(FILES["config/models/flats.yaml"]))
    trust = project / "config/platforms/local.yaml"
    trust.unlink()
    assert "ours.cleaning is not trusted in this environment" in run(project, COMMANDS[0], 2)
    assert not (project / ".mlops/data").exists()
    trust.write_text(FILES["config/platforms/local.yaml"])
    released, scored, explained = (run(project, command) for command in COMMANDS)
    assert "cleaned_away 12" in released
    assert "600 scored + 0 rejected" in scored
    assert "predictions repeated by MLflow's scoring server" in explained
    assert "far_off" in explained
    files = {"ours/__init__.py": b"", "ours/metrics.py": FILES["ours/metrics.py"].encode()}
    assert own_code.digest_of(files) in run(project, "mlops gate explain --env prod --json")
    _without_the_package(project)


def _without_the_package(project: Path) -> None:
    """Plain MLflow, in an environment that has no `ours`, with the registry's address alone."""
    shutil.move(project / "ours", project / "away")
    environment = outside() | {"MLFLOW_TRACKING_URI": f"sqlite:///{project / '.mlops/mlflow.db'}"}
    command = [sys.executable, "-P", "-c", PROGRAM]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "prediction" in done.stdout
    assert "as published" in run(project, "mlops doctor")
    again = run(project, "mlops infer --input flats.csv --output again")  # the code comes with the model
    assert "600 scored + 0 rejected" in again
