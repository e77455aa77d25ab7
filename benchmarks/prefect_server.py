"""A Prefect server that is already running, and a worker with a deployment of the reference job: for `run.py`."""

import json
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired, run
from typing import Any

ROOT = Path(__file__).parents[1]
DEPLOYMENT = "reference-job/bench"
DEPLOY = """
from prefect import flow
flow.from_source({root!r}, "benchmarks/flows/reference_job.py:reference_job").deploy(
    "bench", work_pool_name="bench", build=False, push=False, print_next_steps=False
)
"""


@contextmanager
def running(home: Path, *, worker: bool) -> Iterator[str]:
    """Start a server, and if asked a worker, and end them with the block; yields the address of the API."""
    home.mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    api = f"http://127.0.0.1:{port}/api"
    environment = {**os.environ, "PREFECT_HOME": str(home), "PREFECT_API_URL": api, "PYTHONPATH": str(ROOT)}
    environment |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    prefect = [sys.executable, "-m", "prefect", "--no-prompt"]
    with ExitStack() as stack:
        start(stack, [*prefect, "server", "start", "--port", str(port), "--no-ui"], environment, home / "server.log")
        _until_healthy(api)
        if worker:
            run(
                [*prefect, "work-pool", "create", "bench", "--type", "process"],
                env=environment,
                check=True,
                stdout=DEVNULL,
            )
            run([sys.executable, "-c", DEPLOY.format(root=str(ROOT))], env=environment, check=True, stdout=DEVNULL)
            start(stack, [*prefect, "worker", "start", "--pool", "bench"], environment, home / "worker.log")
        yield api


def run_deployment(api: str, home: Path, table: Path, version: str, params: Mapping[str, Any]) -> float:
    """Run the job by the worker; returns the seconds from asking for it to its end."""
    deployment = call(f"{api}/deployments/name/{DEPLOYMENT}")["id"]
    parameters = {"source": str(table), "data_version": version, "model_params": params}
    asked = time.time()
    flow_run = call(
        f"{api}/deployments/{deployment}/create_flow_run",
        {
            "parameters": parameters,
            "state": {"type": "SCHEDULED"},
            "job_variables": {"env": {"MLOPS_HOME": str(home)}, "working_dir": str(ROOT)},
        },
    )
    while flow_run["state"]["type"] in {"SCHEDULED", "PENDING", "RUNNING"}:
        time.sleep(0.1)
        flow_run = call(f"{api}/flow_runs/{flow_run['id']}")
    if flow_run["state"]["type"] != "COMPLETED":
        sys.exit(f"The worker's run ended as {flow_run['state']['name']}: {flow_run['state']['message']}")
    return time.time() - asked


def start(stack: ExitStack, command: list[str], environment: Mapping[str, str], log: Path) -> None:
    """Start a process that ends with the stack."""
    process = stack.enter_context(
        Popen(command, env=dict(environment), stdout=log.open("w"), stderr=log.open("a"), stdin=PIPE)
    )
    stack.callback(_end, process)


def _end(process: Popen[bytes]) -> None:
    """A worker sometimes answers SIGTERM only with a line in its log."""
    process.terminate()
    try:
        process.wait(15)
    except TimeoutExpired:
        process.kill()


def _until_healthy(api: str) -> None:
    for _ in range(3000):  # a busy machine takes its time
        try:
            urllib.request.urlopen(f"{api}/health", timeout=5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    sys.exit("The server did not start.")


def call(url: str, body: Mapping[str, Any] | None = None, method: str | None = None) -> Any:
    """What the server answers, which is nothing to some requests; one that is busy is asked again."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"}, method=method)
    for seconds in (0.5, 1, 2, 4, 8, 0):
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            if error.code != 503 or not seconds:
                raise
            time.sleep(seconds)
    raise AssertionError("the last attempt answers or raises")
