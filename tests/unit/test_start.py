"""The start: nobody else's modules and no variable meant for others reach the command, nor whoever is below it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_lifecycle import start
from tests.conftest import ROOT, some

NAMES = (
    *("cli", "flows", "tasks", "lifecycle", "config", "utils"),
    *("random", "queue", "secrets", "calendar", "typing", "json", "logging", "pathlib", "tempfile", "dataclasses"),
    *("yaml", "click", "typer", "pydantic", "rich", "mlflow"),
)
"""What a file or package of somebody's own may well be called: as ours, as Python's, as a library."""
REFUSES = "from pathlib import Path\nPath({ran!r}).touch()\nraise ImportError('not the one you want')\n"
BELOW = (
    "import random, sys, flows, tasks, lifecycle.core.errors; "
    "print(random.__file__, flows.__file__, *sys.path, sep='\\n')"
)


@pytest.fixture
def somebodys(tmp_path: Path) -> Path:
    """A folder full of files and packages with common names, each of which leaves a mark and breaks."""
    folder = tmp_path / "somebodys"
    for name in NAMES:
        (folder / "packages" / name).mkdir(parents=True)
        for path in (folder / f"{name}.py", folder / "packages" / name / "__init__.py"):
            path.write_text(REFUSES.format(ran=str(tmp_path / "ran")))
    return folder


def mlops(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from mlops_lifecycle.start import main; main()"
    script = cwd / "bin" / "mlops"
    script.parent.mkdir(exist_ok=True)
    script.write_text(program)
    environment = {"PATH": os.defpath, "MLOPS_HOME": str(cwd / "state"), **variables}
    return subprocess.run(
        [sys.executable, str(script), *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_somebodys_files_in_the_working_directory_and_on_the_path_are_not_imported(
    somebodys: Path, tmp_path: Path
) -> None:
    path = os.pathsep.join(["", ".", str(somebodys), str(somebodys / "packages")])
    done = mlops("config", "show", "--json", cwd=somebodys, PYTHONPATH=path)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "ran").exists()


def test_neither_are_they_below_the_command_whoever_starts_a_process(somebodys: Path, tmp_path: Path) -> None:
    """A child by our own command line, one by a library's, and a grandchild: as a worker's flow runs."""
    program = f"""
import subprocess, sys
sys.path.insert(0, {str(ROOT)!r})
from mlops_lifecycle import start
start.protect()
run = lambda command: subprocess.run(command, check=True, capture_output=True, text=True).stdout
below = {BELOW!r}
print(run([sys.executable, "-c", below]), end="")
again = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {{below!r}}], check=True)"
print(run([sys.executable, "-c", again]), end="")
subprocess.run([sys.executable, "-m", "uvicorn", "no.such:app"], capture_output=True)
print(run(start.command("lifecycle.core.provenance")), run(start.command("json.tool", "--help"))[:6], sep="")
"""
    path = os.pathsep.join([str(somebodys), str(somebodys / "packages")])
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=somebodys,
        env={"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = done.stdout.splitlines()
    for seen in (found[: len(found) // 2], found[len(found) // 2 : -1]):
        assert seen[0].startswith(str(Path(os.__file__).parent))
        assert seen[1] == str(ROOT / "flows" / "__init__.py")
        assert seen[-2:] == [str(somebodys), str(somebodys / "packages")], "searched last"
        assert start.CHILDREN not in seen
    assert found[-1] == "usage:"
    assert not (tmp_path / "ran").exists()


def test_a_module_of_ones_own_on_the_path_is_found_below_the_command(tmp_path: Path) -> None:
    (tmp_path / "reviews").mkdir()
    (tmp_path / "reviews" / "metrics.py").write_text("caught = 1\n")
    program = f"""
import subprocess, sys
sys.path.insert(0, {str(ROOT)!r})
from mlops_lifecycle import start
start.protect()
import reviews.metrics
subprocess.run([sys.executable, "-c", "import reviews.metrics, sys; print(reviews.metrics.caught)"], check=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd="/",
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


@pytest.mark.parametrize(
    "variables",
    some(
        {"PYTHONWARNINGS": "error"},
        {"PYTHONOPTIMIZE": "1", "PYTHONWARNINGS": "always", "PYTHONINSPECT": "1"},
        {"PYTHONSTARTUP": "/no/such/file.py"},
        {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"},
        {"LC_ALL": "xx_XX.no-such-locale"},
        {"PYTHONPATH": os.pathsep * 3},
        {"COLUMNS": "wide", "LINES": "-3"},
        {"TERMINAL_WIDTH": "wide"},
        {"TZ": "No/Such_Zone"},
        {"PYTHONWARNINGS": "error::DeprecationWarning,default"},
        {"PYTHONOPTIMIZE": "2"},
        {"PYTHONINSPECT": "1"},
        {"PYTHONDONTWRITEBYTECODE": "1"},
        {"PYTHONHASHSEED": "7"},
        {"PYTHONSAFEPATH": "1"},
        {"PYTHONNOUSERSITE": "1"},
        {"PYTHONUNBUFFERED": "1"},
        {"LANG": "C", "LC_ALL": "POSIX"},
        {"PYTHONIOENCODING": "ascii:strict"},
        {"PYTHONIOENCODING": "cp1252"},
        {"PYTHONPATH": "no/such/folder"},
        {"TERM": "dumb"},
        {"FORCE_COLOR": "1", "NO_COLOR": "1"},
        {"COLUMNS": "0"},
        {"COLUMNS": "1"},
        {"TERMINAL_WIDTH": "0"},
        always=9,
    ),
    ids=str,
)
def test_variables_for_other_programs_change_nothing(tmp_path: Path, variables: dict[str, str]) -> None:
    done = mlops("data", "list", "--help", cwd=tmp_path, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert "List all dataset versions." in done.stdout or {"COLUMNS", "TERMINAL_WIDTH"} & variables.keys()


def test_all_that_we_start_by_module_goes_through_the_start() -> None:
    for floor in start.PACKAGES:
        for path in (ROOT / floor).rglob("*.py"):
            assert '"-m", ' not in path.read_text(encoding="utf-8"), f"{path} should ask start.command"


def test_every_python_below_a_command_is_spared_the_collector() -> None:
    """What Prefect's worker starts too, which knows nothing of us."""
    program = "import gc; print(gc.get_threshold()[0])"
    environment = {"PATH": os.defpath, "PYTHONPATH": start.CHILDREN}
    below = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert int(below.stdout) >= 10_000


def test_what_reads_models_loads_no_torch_and_who_has_it_finds_the_way_from_scikit_learn() -> None:
    program = """
import sys
import skops.io
assert len(skops.io._trusted_types.SKLEARN_ESTIMATOR_TYPE_NAMES) > 200
assert not {"torch", "dask", "cupy"} & {*sys.modules}
import torch
import sklearn.externals.array_api_compat.torch
"""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from mlops_lifecycle import start; start.find(){program}"
    subprocess.run([sys.executable, "-c", code], check=True)
