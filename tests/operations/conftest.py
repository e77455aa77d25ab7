"""One real Prefect server for the tests of this folder, with the project deployed to it, and workers on demand."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from mlops_lifecycle import start
from tests.conftest import OFTEN, ROOT, free_port
from tests.operations import commands
from tests.zygote import Zygote, zygote

PATIENCE = 240


@dataclass
class Site:
    """A place where the project is operated: a state directory and the server that knows its deployments."""

    home: Path
    api: str
    environment: dict[str, str] = field(repr=False)
    zygote: Zygote = field(repr=False)

    def run(self, *arguments: str, folder: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the `mlops` command to its end."""
        return self._command("cli.main", arguments, folder, variables)

    def prefect(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Prefect's own command to its end."""
        return self._command("prefect", arguments, ROOT, {})

    def _command(
        self, module: str, arguments: Sequence[str], folder: Path, variables: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a child of the zygote, which has imported all that commands import."""
        said = self.home / "output", self.home / "errors"
        given = str(folder), {**self.environment, **variables}, [str(path) for path in said]
        code = self.zygote.run(commands.run, module, arguments, *given)
        return subprocess.CompletedProcess(
            [module, *arguments], code, *(path.read_text(encoding="utf-8") for path in said)
        )

    @contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        with temporary_settings({PREFECT_API_URL: self.api}), get_client(sync_client=True) as client:
            yield client

    def flow_run(self, run_id: Any) -> FlowRun:
        with self.client() as client:
            return client.read_flow_run(run_id)

    def wait(self, run_id: Any, *states: str) -> FlowRun:
        """Wait until a run is in one of these states."""
        return until(lambda: self.flow_run(run_id), lambda run: run.state_name in states)

    def task_states(self, run_id: Any) -> dict[str, list[str]]:
        """The states in which each task of a run ended, in the order of their starts."""
        chosen = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
        with self.client() as client:
            found = client.read_task_runs(flow_run_filter=chosen, limit=200)
        states: dict[str, list[str]] = {}
        for each in sorted(found, key=lambda run: run.start_time or run.expected_start_time):
            states.setdefault(each.name.rsplit("-", 1)[0], []).append(str(each.state_name))
        return states

    def start(self, deployment: str, **parameters: Any) -> FlowRun:
        """Start a run of a deployment without following it."""
        with self.client() as client:
            found = client.read_deployment_by_name(deployment)
            return client.create_flow_run_from_deployment(found.id, parameters=parameters)

    @contextmanager
    def worker(self) -> Iterator[psutil.Process]:
        """A worker of the pool; whatever it runs is killed with it at the end."""
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "local-process"]
        with (self.home / "worker.log").open("a") as log:
            process = subprocess.Popen(command, env=self.environment, cwd=ROOT, stdout=log, stderr=log)
        try:
            yield psutil.Process(process.pid)
        finally:
            kill(psutil.Process(process.pid))
            process.wait()


def kill(process: psutil.Process) -> None:
    """SIGKILL a process with everything below it."""
    for each in [process, *process.children(recursive=True)]:
        each.kill()


def until(read: Callable[[], Any], good: Callable[[Any], bool], seconds: float = PATIENCE) -> Any:
    """Read again and again until what is read is good."""
    deadline = time.monotonic() + seconds
    while not good(found := read()):
        assert time.monotonic() < deadline, f"still {found}"
        time.sleep(0.5)
    return found


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server, set up and deployed to, without a worker."""
    home = tmp_path_factory.mktemp("site")
    port = free_port()
    outside = {key: value for key, value in os.environ.items() if not key.startswith(("MLOPS_", "PREFECT_"))}
    environment = {
        **outside,
        "MLOPS_HOME": str(home),
        "MLOPS_MLFLOW_UI": "http://mlflow.example.com",
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        **OFTEN,
        "DO_NOT_TRACK": "1",
        "PYTHONPATH": os.pathsep.join((start.CHILDREN, str(ROOT))),  # a flow run starts as below `mlops up`
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (home / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        with zygote(environment=environment) as process:
            site = Site(home=home, api=environment["PREFECT_API_URL"], environment=environment, zygote=process)
            assert process.run(commands.prepare, here=True) == 0
            until(lambda: server.poll() is not None or _answers(site.api), bool)
            for arguments in (["setup"], ["deploy"]):
                done = site.run(*arguments)
                assert done.returncode == 0, done.stderr
            yield site
    finally:
        with server:
            kill(psutil.Process(server.pid))


def _answers(api: str) -> bool:
    try:
        urllib.request.urlopen(f"{api}/health", timeout=5).close()  # noqa: S310  our own address
    except OSError:
        return False
    return True
