"""`mlops up`, `down` and `status` with real servers: from nothing to healthy, and every way back to nothing."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from cli.operations import processes, services, state
from cli.operations.services import Plan
from cli.operations.state import Process, Service, Stack
from lifecycle.errors import ConfigError
from tests.conftest import ROOT

pytestmark = pytest.mark.timeout(600)

HEAVY = {"prefect", "mlflow", "sklearn", "pandas", "great_expectations", "numpy", "pyarrow", "scipy", "httpx"}


@dataclass(frozen=True)
class Place:
    """A state directory with two free ports of its own."""

    home: Path
    port: int
    mlflow_port: int

    @property
    def up(self) -> list[str]:
        return ["up", "--no-deploy", "--port", str(self.port), "--mlflow-port", str(self.mlflow_port)]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        outside = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_API", "PREFECT_HOME", "MLOPS_"))}
        environment = {**outside, "MLOPS_HOME": str(self.home), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "cli.main", *arguments]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=400)
        return process.returncode, output, errors

    def status(self) -> dict[str, dict[str, Any]]:
        return {row["service"]: row for row in json.loads(self.run("status", "--json")[1])["services"]}

    def is_listened_to(self) -> bool:
        return any(answers(port) for port in (self.port, self.mlflow_port))


def runs(process: psutil.Process) -> bool:
    """Not one that has ended and that its parent, or this container's first process, has not noticed yet."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def a_place(folder: Path, migrated: Path) -> Place:
    """The ports are held together, so that they differ."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        home = folder / "state"
        home.mkdir()
        shutil.copy(migrated, home / "mlflow.db")
        return Place(home, one.getsockname()[1], other.getsockname()[1])


def until(reached: Callable[[], Any], seconds: float = 300) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := reached()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
    return found


def recorded(place: Place, name: str) -> Service | None:
    stack = state.read(place.home)
    return stack.service(name) if stack else None


@pytest.fixture
def place(tmp_path: Path, migrated: Path) -> Iterator[Place]:
    """An empty place; whatever a failed test leaves in it is ended."""
    found = a_place(tmp_path, migrated)
    yield found
    for process in processes.members(found.home):
        process.kill()


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, migrated: Path
) -> Iterator[tuple[Place, list[tuple[int, str, str]]]]:
    """A stack in the background, started by two commands at once, and what each of them said."""
    place = a_place(tmp_path_factory.mktemp("stack"), migrated)
    commands = [place.start(*place.up, "--detach") for _ in range(2)]
    said = [command.communicate(timeout=400) for command in commands]
    yield place, [(command.returncode, *texts) for command, texts in zip(commands, said, strict=True)]
    for process in processes.members(place.home):
        process.kill()


def test_of_two_at_once_one_starts_and_both_say_where(stack: Any) -> None:
    place, ends = stack
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert sorted("is up already" in output for _, output, _ in ends) == [False, True]
    assert all(f"http://127.0.0.1:{place.port}\n" in output for _, output, _ in ends)
    assert all("prefect is healthy" in errors for _, _, errors in ends)
    assert (state.folder(place.home) / "supervisor.log").read_text().count("Bringing up") == 1


def test_everything_is_healthy_and_listens_on_loopback_only(stack: Any) -> None:
    place, _ = stack
    code, output, _ = place.run("status")
    assert (code, output.count("healthy")) == (0, 4), output
    for process in processes.members(place.home):
        addresses = {c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
        assert addresses <= {"127.0.0.1"}, process


def test_a_later_up_changes_nothing(stack: Any) -> None:
    place, _ = stack
    before = place.status()
    code, output, _ = place.run("up", "--port", "1", "--json")
    assert (code, json.loads(output)["prefect"]) == (0, f"http://127.0.0.1:{place.port}")
    assert place.status() == before


def test_commands_find_the_servers(stack: Any) -> None:
    place, _ = stack
    assert state.api_url(place.home) == f"http://127.0.0.1:{place.port}/api"
    assert state.mlflow_url(place.home) == f"http://127.0.0.1:{place.mlflow_port}"


def test_a_flow_runs_on_that_server(stack: Any) -> None:
    place, _ = stack
    code, _, errors = place.run("rollback", "--model-name", "nobody", "--env", "prod")
    assert (code, "prod.ml.nobody has no champion" in errors) == (2, True), errors
    with closing(sqlite3.connect(place.home / "prefect" / "prefect.db")) as connection:
        found = connection.execute("SELECT name, state_name FROM flow_run").fetchall()
    assert found == [("roll back nobody in prod", "Failed")]
    assert not (place.home / "prefect" / "server.log").exists(), "the command had a server of its own"


def test_down_leaves_no_process_and_no_port(stack: Any) -> None:
    place, _ = stack
    group = [psutil.Process(row["pid"]) for row in place.status().values()]
    group += [child for process in group for child in process.children(recursive=True)]
    assert len({process.pid for process in group}) >= 5  # MLflow is two
    assert place.run("down")[:2] == (0, "Stopped.\n")
    assert [process for process in group if runs(process)] == []
    assert not place.is_listened_to()
    assert place.run("down")[:2] == (0, "Nothing is up.\n")
    code, output, _ = place.run("status", "--json")
    assert (code, json.loads(output)["phase"]) == (6, "down")


def test_a_port_in_use_starts_nothing(place: Place) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", place.mlflow_port))
        listener.listen()
        for detach in ([], ["--detach"]):
            code, _, errors = place.run(*place.up, *detach)
            assert code == 2, errors
            assert f"Port {place.mlflow_port} cannot be used: it is in use." in errors
            assert "--mlflow-port" in errors
    assert not (state.folder(place.home) / "prefect.log").exists()
    assert place.run("status")[0] == 6


def test_one_port_for_both_is_refused(place: Place) -> None:
    code, _, errors = place.run("up", "--port", "4300", "--mlflow-port", "4300")
    assert (code, "named twice" in errors) == (2, True), errors


def test_ctrl_c_while_starting_stops_what_was_started(place: Place) -> None:
    command = place.start(*place.up)
    until(lambda: recorded(place, "mlflow"))
    assert len(processes.members(place.home)) >= 2
    command.send_signal(signal.SIGINT)
    _, errors = command.communicate(timeout=100)
    assert (command.returncode, "Traceback" in errors) == (0, False), errors
    assert (processes.members(place.home), state.read(place.home)) == ([], None)


def test_down_stops_what_a_killed_supervisor_left(place: Place) -> None:
    killed_while_starting(place)
    code, output, _ = place.run("status")
    assert (code, "dead" in output) == (6, True), output
    assert place.run("down")[:2] == (0, "Stopped.\n")
    assert (processes.members(place.home), state.read(place.home)) == ([], None)
    assert not place.is_listened_to()


def test_a_service_that_ends_stops_the_others(place: Place) -> None:
    """On the ports of a killed supervisor's services, which are stopped first."""
    killed_while_starting(place)
    until(lambda: answers(place.port))
    command = place.start(*place.up)
    assert command.stdout is not None
    assert command.stdout.readline() == "Everything is up.\n"
    worker = recorded(place, "worker")
    assert worker is not None
    os.kill(worker.pid, signal.SIGKILL)
    _, errors = command.communicate(timeout=100)
    assert command.returncode == 6, errors
    assert "Error: worker was killed by SIGKILL. Its last lines:\n  Worker 'mlops-up' started!" in errors
    assert processes.members(place.home) == []
    assert not place.is_listened_to()


def killed_while_starting(place: Place) -> None:
    command = place.start(*place.up)
    until(lambda: recorded(place, "mlflow"))
    command.kill()
    command.communicate()
    assert {process.pid for process in processes.members(place.home)} >= {recorded(place, "prefect").pid}  # type: ignore[union-attr]


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of ours."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        yield process
        process.kill()


def written(place: Place, process: Process) -> Stack:
    """A state file that takes this process for the supervisor and for Prefect's server."""
    address, log = f"http://127.0.0.1:{place.port}", place.home / "prefect.log"
    service = Service(name="prefect", address=address, log=log, **process.model_dump())
    found = Stack(supervisor=process, env="dev", phase="up", prefect=address, mlflow="", services=(service,))
    state.folder(place.home).mkdir(exist_ok=True)
    state.write(place.home, found)
    return found


@pytest.mark.parametrize("later", [0, 60])
def test_a_process_that_has_the_number_now_is_left_alone(
    place: Place, stranger: subprocess.Popen[bytes], later: int
) -> None:
    now = Process.of(stranger.pid)
    stack = written(place, Process(pid=now.pid, created=now.created - later))
    assert stack.supervisor.alive == (later == 0)
    assert place.run("down")[:2] == (0, "Nothing is up.\n")
    assert stranger.poll() is None
    assert state.read(place.home) is None


def test_a_server_is_named_only_if_its_own_process_answers(place: Place) -> None:
    assert state.api_url(place.home) is None
    own = Process.of(os.getpid())
    written(place, own)
    assert state.api_url(place.home) is None  # nobody listens
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", place.port))
        silent.listen()
        start = time.monotonic()
        assert state.api_url(place.home) is None  # never answers
        assert 0.4 < time.monotonic() - start < 5
    with serving(place.port):
        assert state.api_url(place.home) == f"http://127.0.0.1:{place.port}/api"
        written(place, Process(pid=own.pid, created=own.created - 60))
        assert state.api_url(place.home) is None  # it answers, but is another's
    (state.folder(place.home) / "services.json").write_text("{")
    assert state.api_url(place.home) is None


class serving:  # noqa: N801  reads as the statement it is
    """An HTTP server that answers 200 to everything."""

    def __init__(self, port: int) -> None:
        program = (
            "import sys, http.server as h\n"
            "class A(h.BaseHTTPRequestHandler):\n"
            "    def do_GET(self):\n"
            "        self.send_response(200); self.end_headers(); self.wfile.write(b'true')\n"
            "h.HTTPServer(('127.0.0.1', int(sys.argv[1])), A).serve_forever()\n"
        )
        self.port = port
        self.process = subprocess.Popen([sys.executable, "-c", program, str(port)], stderr=subprocess.DEVNULL)

    def __enter__(self) -> None:
        until(lambda: answers(self.port), 30)

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def test_asking_for_the_server_imports_nothing_heavy() -> None:
    program = "import cli.operations.state, sys, json; print(json.dumps([m.split('.')[0] for m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert HEAVY & set(json.loads(done.stdout)) == set()


WORKER = """
import os, signal, subprocess, sys, time
run = "import signal, sys, time\\n"
run += "signal.signal(signal.SIGTERM, lambda *_: (open(sys.argv[1], 'w').write('crashed'), sys.exit()))\\n"
run += "open(sys.argv[1], 'w').write('running'); time.sleep(float(sys.argv[2])); open(sys.argv[1], 'w').write('ended')"
child = subprocess.Popen([sys.executable, "-c", run, *sys.argv[1:]], start_new_session=True)
def end(*_):
    child.kill()
    sys.exit()
signal.signal(signal.SIGTERM, end)
while True:
    time.sleep(0.05); child.poll()
"""


@pytest.mark.parametrize(("seconds", "how"), [("1", "ended"), ("600", "crashed")])
def test_flow_runs_may_end_and_are_asked_before_their_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: str, how: str
) -> None:
    """As Prefect's worker does, this one kills its run, a session of its own, as soon as it is asked to end."""
    monkeypatch.setattr(processes, "STOP_ORDER", {"worker": 3})
    said, environment = tmp_path / "said", os.environ | processes.marked(tmp_path, "worker")
    with subprocess.Popen([sys.executable, "-c", WORKER, str(said), seconds], env=environment):
        until(lambda: said.exists() and said.read_text() == "running", 30)
        assert len(processes.members(tmp_path)) == 2
        processes.stop(tmp_path)
    assert said.read_text() == how
    assert processes.members(tmp_path) == []


def test_what_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.5)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    environment = os.environ | processes.marked(tmp_path, "prefect")
    with subprocess.Popen([sys.executable, "-c", deaf], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            processes.stop(tmp_path)
        finally:
            ended = process.poll()
            process.kill()
    assert ended == -signal.SIGKILL


def test_down_finds_what_runs_for_a_directory_that_is_gone(tmp_path: Path) -> None:
    home = tmp_path / "removed"
    with subprocess.Popen(["sleep", "600"], env={**os.environ, **processes.marked(home, "mlflow")}) as child:
        assert services.down(home)
        assert child.wait(10) == -signal.SIGTERM
    assert not services.down(home)
    assert not home.exists()


def test_services_see_absolute_paths_and_no_other_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLOPS_CONFIG_DIR", "conf")
    monkeypatch.setenv("PREFECT_API_KEY", "secret")
    monkeypatch.setenv("PREFECT_API_URL", "https://example.org/api")
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "admin:word")
    plan = Plan(home=tmp_path / "state", env="dev", tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", port=4321)
    seen = services._environment(plan, "worker")
    assert seen["MLOPS_CONFIG_DIR"] == str(tmp_path / "conf")
    assert seen["PREFECT_API_URL"] == "http://127.0.0.1:4321/api"
    assert seen["PREFECT_HOME"] == str(tmp_path / "state" / "prefect")
    assert (seen["PREFECT_API_AUTH_STRING"], seen["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]) == ("admin:word", "30")
    assert (seen["PREFECT_SERVER_ANALYTICS_ENABLED"], seen["MLFLOW_DISABLE_TELEMETRY"]) == ("false", "true")
    assert "PREFECT_API_KEY" not in seen
    assert seen["PATH"].startswith(str(Path(sys.executable).parent))


def test_an_mlflow_that_is_elsewhere_is_shown_not_started(tmp_path: Path) -> None:
    plan = Plan(home=tmp_path, env="dev", tracking_uri="http://mlflow.example:5000", mlflow_port=1)
    assert (plan.own_mlflow, plan.mlflow) == (False, "http://mlflow.example:5000")
    own = Plan(home=tmp_path, env="dev", tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", port=5000)
    assert (own.own_mlflow, own.mlflow) == (True, "http://127.0.0.1:5000")
    with pytest.raises(ConfigError, match="named twice"):
        services._require_free_ports(own)
