"""What a task runs in: an interpreter with its dependencies, variables, and the files that its paths mean."""

import asyncio
import hashlib
import os
import re
import shlex
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from databricks_emulator.jobs_runs import Attempt, JobRun
from databricks_emulator.jobs_states import Outcome, failed
from databricks_emulator.rules import Rules
from databricks_emulator.workspace import HEADER

REPOSITORY = Path(__file__).parents[1]
OURS = ("DATABRICKS_", "MLFLOW_", "MLOPS_", "PREFECT_", "PYTEST_", "COV_", "VIRTUAL_ENV")
QUIETLY = ("--quiet", "--disable-pip-version-check")
TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
SPARK = {
    "spark.databricks.mlflow.nfs.enabled": "false",  # else MLflow makes /local_disk0, the disk of a cluster
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}
"""How the session of a task differs from that of a cluster: it is made on this machine, for this task alone."""


class TaskError(Exception):
    """A task that cannot begin; it carries how the task ends."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


class Environments:
    """Makes the environments of tasks.

    `fast` runs a task in this very environment, in which this checkout is installed; `wheel` makes a virtual
    environment of the dependencies that the task declares, once for each set of them.
    """

    def __init__(self, root: Path, mode: str, place: Callable[[str], Path], rules: Rules) -> None:
        self._root, self._rules = root, rules
        self._folder = root / "environments"
        self._home = root / "home"
        self._mode = mode
        self._place = place
        self._made: dict[str, asyncio.Lock] = {}

    async def interpreter(self, run: JobRun, attempt: Attempt) -> str:
        """The Python that a task runs with; dependencies that are not there are an installation error."""
        requirements = [self._requirement(text) for text in _dependencies(run, attempt.task)]
        if self._mode == "fast":
            return sys.executable
        return str(await self._virtual(requirements))

    def target(self, task: dict[str, str]) -> str | None:
        """What an entry point of this checkout means, where the checkout itself stands for its wheel."""
        with (REPOSITORY / "pyproject.toml").open("rb") as file:
            project = tomllib.load(file)["project"]
        if self._mode != "fast" or _normal(task["package_name"]) != _normal(project["name"]):
            return None
        found: str | None = project.get("scripts", {}).get(task["entry_point"])
        return found

    def file(self, path: str, source: str | None, *, notebook: bool) -> Path:
        """Where the file of a task lies: in the workspace, on a volume, or in the repository."""
        place = self._in_repository(path, notebook=notebook) if source == "GIT" else self._located(path)
        if place is None or not place.is_file():
            raise TaskError(failed("RESOURCE_NOT_FOUND", f"Unable to access {path}: it does not exist"))
        if notebook and not place.read_bytes().startswith(HEADER.encode()):
            raise TaskError(failed("RESOURCE_NOT_FOUND", f"{path} is not a notebook"))
        return place

    def _in_repository(self, path: str, *, notebook: bool) -> Path | None:
        """A file of this checkout, which stands for whatever repository the settings name."""
        place = (REPOSITORY / (f"{path.removesuffix('.py')}.py" if notebook else path)).resolve()
        return place if place.is_relative_to(REPOSITORY) else None

    def _located(self, path: str) -> Path | None:
        try:
            return self._place(path.removeprefix("dbfs:"))
        except MlflowException:
            return None

    def variables(self, run: JobRun, attempt: Attempt) -> dict[str, str]:
        """The variables of a task's process: none of ours, and as on Databricks neither host nor token."""
        self._home.mkdir(exist_ok=True)
        cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
        return {
            **{name: value for name, value in kept.items() if name not in {"PYTHONPATH", *TRUST}},
            **({"PYTHONPATH": path} if self._mode == "fast" else {}),
            "HOME": str(self._home),
            "XDG_CACHE_HOME": cache,
            "PYTHONUNBUFFERED": "1",
            "DATABRICKS_RUNTIME_VERSION": _runtime(run, attempt.task),
            "MLFLOW_TRACKING_URI": "databricks",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PYSPARK_SUBMIT_ARGS": " ".join(
                [*(f"--conf {key}={value}" for key, value in SPARK.items()), "pyspark-shell"]
            ),
            **dict.fromkeys(TRUST, str(self._root / "ca.pem")),
            **_declared(run, attempt.task),
        }

    def is_offline(self, run: JobRun, attempt: Attempt) -> bool:
        """Whether a task reaches its workspace and nothing else: one without a cluster, where the rules say so."""
        return self._rules.offline and _runtime(run, attempt.task).startswith("client.")

    def _requirement(self, text: str) -> str:
        """A line of dependencies with the places on disk of the files that it names."""
        words = shlex.split(text)
        return shlex.join(self._installed(word) if _is_file(word) else word for word in words)

    def _installed(self, path: str) -> str:
        place = self._located(path)
        if place is None or not place.is_file():
            raise TaskError(failed("LIBRARY_INSTALLATION_ERROR", f"Library installation failed: {path} is not there"))
        return str(place)

    async def _virtual(self, requirements: list[str]) -> Path:
        key = _digest(requirements)
        python = self._folder / key / "bin" / "python"
        async with self._made.setdefault(key, asyncio.Lock()):
            if not (self._folder / key / "complete").exists():
                await _run(sys.executable, "-m", "venv", "--clear", str(self._folder / key))
                if requirements:
                    words = [word for text in requirements for word in shlex.split(text)]
                    await _run(str(python), "-m", "pip", "install", *QUIETLY, *words)
                (self._folder / key / "complete").touch()
        return python


def _is_file(word: str) -> bool:
    return word.startswith(("/", "dbfs:/")) or word.endswith(".whl")


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    written, _ = await process.communicate()
    if process.returncode:
        tail = written.decode(errors="replace").strip()[-2000:]
        raise TaskError(failed("LIBRARY_INSTALLATION_ERROR", f"Library installation failed: {tail}"))


def _digest(requirements: list[str]) -> str:
    """What the environment of these requirements is called: other content of a file makes another one."""
    made = hashlib.sha256()
    for word in (word for text in requirements for word in shlex.split(text)):
        made.update(word.encode() + b"\0")
        if word.startswith("/"):
            made.update(Path(word).read_bytes())
    return made.hexdigest()[:16]


def _dependencies(run: JobRun, task: dict[str, Any]) -> list[str]:
    """What a task declares to need: in its environment, or as libraries of its cluster."""
    environment = _entry(run.settings.get("environments"), "environment_key", task.get("environment_key"))
    needed = list(environment.get("spec", {}).get("dependencies", []))
    for library in task.get("libraries", []):
        needed += [library["whl"]] if "whl" in library else []
        needed += [library["pypi"]["package"]] if "pypi" in library else []
        needed += [f"-r {library['requirements']}"] if "requirements" in library else []
    return needed


def _declared(run: JobRun, task: dict[str, Any]) -> dict[str, str]:
    """The variables that the settings set: of the cluster, or the entry that the task refers to."""
    key = task.get("environment_variables_key")
    entry = _entry(run.settings.get("environment_variables"), "environment_variables_key", key)
    return {**_cluster(run, task).get("spark_env_vars", {}), **entry.get("spec", {}).get("variables", {})}


def _runtime(run: JobRun, task: dict[str, Any]) -> str:
    """The version of the runtime: of the cluster that is asked for, or of a serverless environment."""
    if version := _cluster(run, task).get("spark_version"):
        return ".".join(re.findall(r"\d+", version)[:2])
    environment = _entry(run.settings.get("environments"), "environment_key", task.get("environment_key"))
    return f"client.{environment.get('spec', {}).get('environment_version', '4')}.0"


def _cluster(run: JobRun, task: dict[str, Any]) -> dict[str, Any]:
    shared = _entry(run.settings.get("job_clusters"), "job_cluster_key", task.get("job_cluster_key"))
    cluster: dict[str, Any] = task.get("new_cluster") or shared.get("new_cluster") or {}
    return cluster


def _entry(entries: list[dict[str, Any]] | None, name: str, key: str | None) -> dict[str, Any]:
    return next((entry for entry in entries or [] if key is not None and entry.get(name) == key), {})


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
