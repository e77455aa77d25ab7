"""What a command imports: the list of commands none of them, a light command only the libraries that it needs."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from cli.main import Root, app
from lifecycle.storage import embedded
from tests.conftest import ROOT

HEAVY = {"pandas", "numpy", "sklearn", "mlflow", "prefect", "great_expectations", "scipy", "matplotlib", "pyarrow"}
HEAVY |= {"skops", "sqlalchemy"}
REGISTRY = {"mlflow", "sqlalchemy", "numpy", "pandas", "pyarrow", "scipy"}
"""What MLflow's client brings along; of a database of a known release, who only looks does not ask it."""
LIGHT: dict[str, set[str]] = {
    "--help": set(),
    "--version": set(),
    "train --help": set(),
    "data create --help": set(),
    "config show": set(),
    "config schema": set(),
    "data list": set(),
    "data show --data-name news --data-version 1.0.0": set(),
    "status": set(),
    "model list": set(),
    "model show --model-name sentiment": REGISTRY,
    "history --model-name sentiment --env dev": set(),
    "runs --model-name sentiment": REGISTRY,
    "doctor": REGISTRY | {"sklearn", "skops"},
}
PROGRAM = """
import json, sys
sys.argv = ["mlops", *sys.argv[1:]]
try:
    import cli.main
    cli.main.main()
except SystemExit:
    pass
names = {name.partition(".")[0] for name in sys.modules}
own = [name for name in sys.modules if name.startswith("cli.")]
sys.__stderr__.write("\\n" + json.dumps([sorted(names), own]))
"""


def imported(line: str) -> tuple[set[str], set[str]]:
    """The top-level packages that a command has imported at its end, and the modules of commands."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *line.split()], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert "Error" not in done.stderr
    packages, own = json.loads(done.stderr.rpartition("\n")[2])
    return set(packages), set(own)


@pytest.fixture
def lived_in(tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001  keeps a template
    """A state directory with models, champions and verdicts, taken over from an earlier release."""
    with tarfile.open(ROOT / "tests" / "earlier" / "state-0.1.0.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "state"))
    embedded.prepare(tmp_path / "state" / "mlflow.db")


@pytest.mark.parametrize("line", LIGHT)
@pytest.mark.usefixtures("lived_in")
def test_a_light_command_imports_only_what_it_needs(line: str) -> None:
    packages, own = imported(line)
    assert packages & HEAVY <= LIGHT[line]
    assert line.startswith("train") or "cli.steps" not in own, "who only looks imports none of the steps"
    assert "cli.model_register" not in own, "nor what registers"


@pytest.mark.usefixtures("home")
def test_the_list_of_commands_imports_none_of_them() -> None:
    _, own = imported("--help")
    assert own & {place.module for place in Root.places.values()} == set()


@pytest.mark.parametrize("name", Root.places)
def test_the_line_of_a_command_is_the_first_sentence_of_its_help(name: str) -> None:
    commands: Any = get_command(app)
    assert commands.commands[name].help.startswith(Root.places[name].line)
    assert commands.list_commands(None) == [*Root.places]
