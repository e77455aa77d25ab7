"""The wheel: whole, alone, and with every import declared.

Promise: In the wheel all lies under one name.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.conftest import ROOT

FLOORS = ("cli", "flows", "tasks", "lifecycle")
NAME = "mlops_lifecycle"
IN_MODELS = {"mlops_columns", "mlops_messages"}
"""Modules of ours that lie in models from elsewhere, beside what imports them."""
EXTRA_OF = {
    "predictions.py": "delta",
    "vader.py": "vader",
    "external.py": "vader",
    "documents.py": "chat",
    "endpoint.py": "chat",
    "index.py": "chat",
    "model.py": "chat embeddings transformers",
    "base.py": "transformers",
    "estimator.py": "transformers",
    "files.py": "transformers",
    "finetuning.py": "transformers",
    "definition.py": "databricks",
    "databricks.py": "databricks",
    "databricks_calls.py": "databricks",
    "delta.py": "delta spark",
    "spark.py": "spark",
    "tables.py": "delta spark",
}
"""The files that import, within functions, what only extras bring."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_it_carries_the_floors_the_settings_and_the_sample(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for floor in FLOORS:
        for path in (ROOT / floor).rglob("*.py"):
            assert f"{NAME}/{path.relative_to(ROOT).as_posix()}" in names
    assert {f"{NAME}/start.py", f"{NAME}/children/sitecustomize.py"} <= names
    assert {f"{NAME}/config/prod.yaml", f"{NAME}/config/expectations/default.json"} <= names
    assert {f"{NAME}/config/behaviour/{path.name}" for path in (ROOT / "config/behaviour").iterdir()} <= names
    assert {f"{NAME}/examples/financial_news.csv", f"{NAME}/lifecycle/templates/dataset.html"} <= names
    assert f"{NAME}/lifecycle/templates/model_card.md.j2" in names
    assert {f"{NAME}/prefect.yaml", f"{NAME}/automations.yaml"} <= names


def test_no_other_distribution_has_a_file_of_the_same_name(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top.partition("-")[0] for top in tops} == {NAME}


def test_it_runs_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """Only the wheel is installed; its dependencies come from the present environment, the checkout does not."""
    venv.create(tmp_path / "env", with_pip=False)
    site = next((tmp_path / "env" / "lib").glob("python*")) / "site-packages"
    zipfile.ZipFile(wheel).extractall(site)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (site / "cli").mkdir()  # another distribution's
    (site / "cli" / "__init__.py").write_text("raise ImportError('not the one you want')")
    python = tmp_path / "env" / "bin" / "python"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLOPS_")}

    def mlops(*arguments: str, cwd: Path = tmp_path) -> str:
        program = "import sys; sys.argv[0] = 'mlops'; from mlops_lifecycle.start import main; main()"
        command = [str(python), "-c", program, *arguments]
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = subprocess.run(
        [str(python), "-c", "import mlops_lifecycle, cli; print(cli.__file__)"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert where.stdout.startswith(str(site / NAME))
    points = next(site.glob("mlops_lifecycle-*.dist-info")).joinpath("entry_points.txt").read_text()
    assert "mlops-step = mlops_lifecycle.start:step" in points
    assert "release" in mlops("--help")
    assert "floors" in mlops("config", "show", "--env", "prod")
    mlops("data", "list")
    (tmp_path / "config" / "models").mkdir(parents=True)
    (tmp_path / "config" / "models" / "mood.yaml").write_text("data: {name: news}")
    assert "mood" in mlops("config", "show")
    listed = subprocess.run([str(python), "-c", DEPLOYMENTS], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "train mood-dev" in listed.stdout.splitlines()
    shutil.rmtree(tmp_path / "config")  # a project is looked for upwards
    _a_table_goes_all_the_way(tmp_path / "empty", mlops)


def _a_table_goes_all_the_way(folder: Path, mlops: Callable[..., str]) -> None:
    """An empty folder, a table, two commands."""
    folder.mkdir()
    rows = ["months,bill,left"]
    for n in range(600):
        leaves = (n % 40 < 12) != (n % 13 == 0)  # some do not do what is expected of them
        rows.append(f"{n % 40},{20 + n * 37 % 997 / 10:.1f},{'yes' if leaves else 'no'}")
    (folder / "my.csv").write_text("\n".join([*rows, ""]), encoding="utf-8")
    mlops("init", "my.csv", "--target", "left", "--yes", cwd=folder)
    released = mlops("release", cwd=folder)
    assert "prod.ml.my v1" in released
    assert "600 rows" in released
    assert "v1" in mlops("history", cwd=folder)
    assert sorted(path.name for path in folder.iterdir()) == [".mlops", "config", "my.csv"]


DEPLOYMENTS = """
import mlops_lifecycle
from cli.operations import project
from prefect.flows import load_flow_from_entrypoint
project.read(project.AUTOMATIONS)
for entry in project.deployments():
    print(load_flow_from_entrypoint(entry["entrypoint"]).name, entry["name"])
"""


def test_every_import_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    base, prefect = _names(project["dependencies"]), _names(extras["prefect"])
    owners = packages_distributions()
    for floor in FLOORS:
        for path in (ROOT / floor).rglob("*.py"):
            allowed = base | (prefect if floor in {"flows", "tasks", "cli"} else set())
            for extra in EXTRA_OF.get(path.name, "").split():
                allowed |= _names(extras[extra])
            for module in _imports(path) - {*FLOORS, *IN_MODELS, NAME} - sys.stdlib_module_names:
                dist = {name.lower().replace("_", "-") for name in owners[module]}
                assert dist & allowed, (
                    f"{path.relative_to(ROOT)} imports {module}, which pyproject.toml does not declare"
                )


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~ ]", requirement)[0].lower() for requirement in requirements}


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found
