"""`mlops up`, `down` and `status` with real servers: from nothing to healthy, and every way back to nothing.

Promise: An active schedule starts runs by itself, and a server that does not schedule is told.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from mlflow import MlflowClient
from prefect.client.orchestration import get_client
from prefect.events import Event
from prefect.events.clients import PrefectEventsClient, PrefectEventSubscriber
from prefect.events.filters import EventFilter, EventNameFilter
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from cli.operations import connection, processes, state
from cli.operations import stack as services
from cli.operations.stack import Plan
from cli.operations.state import POOL, Process, Service, Stack
from lifecycle.core import guard
from lifecycle.core.errors import ConfigError, ConflictError, TransientError
from tests.conftest import OFTEN, ROOT, exhaustive, some

pytestmark = pytest.mark.timeout(600)

HEAVY = {"prefect", "mlflow", "sklearn", "pandas", "great_expectations", "numpy", "pyarrow", "scipy", "httpx"}


@dataclass(frozen=True)
class Place:
    """A state directory with two free ports of its own, and the commands that were started there."""

    home: Path
    port: int
    mlflow_port: int
    commands: list[subprocess.Popen[str]] = field(default_factory=list, repr=False, compare=False)

    @property
    def up(self) -> list[str]:
        return ["up", "--no-deploy", "--port", str(self.port), "--mlflow-port", str(self.mlflow_port)]

    @property
    def prefect(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def mlflow(self) -> str:
        return f"http://127.0.0.1:{self.mlflow_port}"

    def start(self, *arguments: str, folder: Path = ROOT, **variables: str) -> subprocess.Popen[str]:
        outside = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_API", "PREFECT_HOME", "MLOPS_"))}
        environment = {**outside, "MLOPS_HOME": str(self.home), "PYTHONPATH": str(ROOT), **variables}
        command = [sys.executable, "-m", "cli.main", *arguments]
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.commands.append(process)
        return process

    def end(self) -> None:
        """End what a failed test has left; else Python would find it open in the middle of a test that is innocent."""
        for process in processes.members(self.home):
            process.kill()
        for command in self.commands:
            with command:
                command.kill()

    def run(self, *arguments: str, folder: Path = ROOT, **variables: str) -> tuple[int, str, str]:
        process = self.start(*arguments, folder=folder, **variables)
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
    found.end()


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, migrated: Path
) -> Iterator[tuple[Place, list[tuple[int, str, str]]]]:
    """A stack in the background, started by two commands at once, and what each of them said."""
    place = a_place(tmp_path_factory.mktemp("stack"), migrated)
    commands = [place.start(*place.up, "--detach", **OFTEN) for _ in range(2)]
    said = [command.communicate(timeout=400) for command in commands]
    yield place, [(command.returncode, *texts) for command, texts in zip(commands, said, strict=True)]
    place.end()


def test_of_two_at_once_one_starts_and_both_say_where(stack: Any) -> None:
    place, ends = stack
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert sorted("is up already" in output for _, output, _ in ends) == [False, True]
    assert all(f"{place.prefect}/?ticket=" in output for _, output, _ in ends)
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
    assert (code, json.loads(output)["prefect"]) == (0, place.prefect)
    assert place.status() == before


def test_commands_find_the_servers(stack: Any) -> None:
    place, _ = stack
    assert state.api_url(place.home) == f"{place.prefect}/api"
    assert state.mlflow_url(place.home) == place.mlflow


def test_a_flow_runs_on_that_server_however_it_was_named(stack: Any) -> None:
    """A login of another server in the environment does not keep the command out of ours."""
    place, _ = stack
    another = {"PREFECT_API_AUTH_STRING": "admin:of another server"}
    for variables in (another, another | {"PREFECT_API_URL": f"http://localhost:{place.port}/api/"}):
        code, _, errors = place.run("rollback", "--model-name", "nobody", "--env", "prod", **variables)
        assert (code, "prod.ml.nobody has no champion" in errors) == (2, True), errors
    with closing(sqlite3.connect(place.home / "prefect" / "prefect.db")) as connection:
        found = connection.execute("SELECT name, state_name FROM flow_run").fetchall()
    assert found == [("roll back nobody in prod", "Failed")] * 2
    assert not (place.home / "prefect" / "server.log").exists(), "the command had a server of its own"


def test_operating_commands_get_in_too(stack: Any) -> None:
    place, _ = stack
    for variables in ({}, {"PREFECT_API_URL": f"{place.prefect}/api", "PREFECT_API_AUTH_STRING": "admin:another's"}):
        code, _, errors = place.run("trigger", "train/dev", **variables)
        assert (code, "There is no deployment 'train/dev'" in errors) == (2, True), errors


EVIL = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
STRANGERS: dict[str, tuple[int, str, str, dict[str, str]]] = {
    "another user": (401, "POST", "/api/flows/", {}),
    "another user's look at MLflow": (401, "GET", "/ajax-api/2.0/mlflow/experiments/search?max_results=1", {}),
    "a guess": (401, "GET", "/api/health", guard.authorization("mlops:guess")),
    "health": (401, "GET", "/health", {}),
    "the page": (401, "GET", "/", {}),
    "a foreign page": (403, "POST", "/api/flows/", EVIL),
    "a foreign page that may not read": (403, "POST", "/api/flows/", {**EVIL, "Content-Type": "text/plain"}),
    "its preflight": (403, "OPTIONS", "/api/flows/", {**EVIL, "Access-Control-Request-Method": "POST"}),
    "its look at artifacts": (403, "GET", "/get-artifact?path=model/MLmodel", {"Sec-Fetch-Site": "cross-site"}),
    "a page of another port": (403, "POST", "/api/flows/", {"Origin": "http://localhost:8888"}),
    "a page of no origin": (403, "POST", "/graphql", {"Origin": "null"}),
    "a name that was bound here": (403, "GET", "/", {"Host": "evil.example"}),
}


@pytest.mark.parametrize("case", STRANGERS.values(), ids=STRANGERS)
@pytest.mark.parametrize("service", ["prefect", "mlflow"])
def test_strangers_and_foreign_pages_reach_no_server(stack: Any, service: str, case: Any) -> None:
    place, _ = stack
    status, method, path, headers = case
    answer = requests.request(
        method, getattr(place, service) + path, headers=headers, data=b"{}", timeout=240, allow_redirects=False
    )
    assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (status, False)
    shown = guard.authorization(state.credential(place.home)) if status == 403 else {}
    again = requests.request(
        method, getattr(place, service) + path, headers=shown | headers, data=b"{}", timeout=240, allow_redirects=False
    )
    assert again.status_code == status


def test_a_link_opens_both_uis(stack: Any) -> None:
    """Whoever has followed one is in the other too: reports in Prefect's UI link to runs in MLflow's."""
    place, _ = stack
    _, said, _ = place.run("status")
    links = re.findall(r"http://\S+ticket=\S+", said)
    assert [link.partition("/?")[0] for link in links] == [place.prefect, place.mlflow]
    for link in links:
        browser = requests.Session()
        page = browser.get(link, timeout=240)
        assert (page.status_code, "<html" in page.text) == (200, True)
        ours = {"Origin": place.prefect, "Sec-Fetch-Site": "same-origin"}
        flows = browser.post(f"{place.prefect}/api/flows/filter", json={}, headers=ours, timeout=240)
        assert (flows.status_code, isinstance(flows.json(), list)) == (200, True)
        experiments = browser.get(f"{place.mlflow}/ajax-api/2.0/mlflow/experiments/search?max_results=9", timeout=240)
        assert experiments.json()["experiments"]
        assert requests.get(link, timeout=240).status_code == 401


def test_the_ui_asks_the_server_that_it_came_from_and_for_no_password(stack: Any) -> None:
    place, _ = stack
    shown = guard.authorization(state.credential(place.home))
    settings = requests.get(f"{place.prefect}/ui-settings", headers=shown, timeout=240).json()
    assert (settings["api_url"], settings["auth"]) == ("/api", None)


def test_plain_clients_get_in_with_the_credential(stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place, _ = stack
    user, _, password = state.credential(place.home).partition(":")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    assert MlflowClient(place.mlflow).search_experiments()
    with temporary_settings({PREFECT_API_URL: f"{place.prefect}/api", PREFECT_API_AUTH_STRING: f"{user}:{password}"}):
        assert asyncio.run(is_heard(Event(event="mlops.test", resource={"prefect.resource.id": "mlops.test"})))


async def is_heard(event: Event) -> bool:
    """Whether a subscriber hears an event: both are websockets of Prefect's client."""
    chosen = EventFilter(event=EventNameFilter(name=[event.event]))
    async with PrefectEventSubscriber(filter=chosen) as heard, PrefectEventsClient() as client:
        await client.emit(event)
        async for each in heard:
            return each.id == event.id
    return False


def test_the_credential_is_its_users_and_stands_nowhere_else(stack: Any) -> None:
    place, _ = stack
    path, secret = state.credential_file(place.home), state.credential(place.home)
    assert (path.stat().st_mode & 0o777, len(secret) > 40) == (0o600, True)
    word = secret.partition(":")[2].encode()
    assert [file for file in place.home.rglob("*") if file.is_file() and word in file.read_bytes()] == [path]
    for process in processes.members(place.home):
        assert word.decode() not in " ".join(process.cmdline())


OFTEN_DUE = """
name: own
pull: [{prefect.deployments.steps.set_working_directory: {directory: "{{ $PROJECT_DIR }}"}}]
deployments:
  - name: dev
    entrypoint: flows/reconcile.py:reconcile
    tags: [mlops, "env:dev"]
    work_pool: {name: local-process}
    parameters: {env: dev}
    schedules: [{slug: often, interval: 15, active: "{{ $SCHEDULES_DEV }}"}]
"""
BREAK = """
CREATE TRIGGER broken BEFORE INSERT ON flow_run WHEN NEW.auto_scheduled BEGIN SELECT RAISE(ABORT, 'broken'); END;
DELETE FROM flow_run WHERE auto_scheduled AND state_type = 'SCHEDULED';
"""


def test_a_schedule_starts_runs_and_status_and_doctor_say_when_it_cannot(stack: Any, tmp_path: Path) -> None:
    """Of the server that `mlops up` has started; its database refuses what the scheduler inserts, for a while."""
    place, _ = stack
    (tmp_path / "prefect.yaml").write_text(OFTEN_DUE, encoding="utf-8")
    (tmp_path / "flows").symlink_to(ROOT / "flows")
    deployed = place.run("deploy", folder=tmp_path, MLOPS_SCHEDULES="true")
    assert deployed[0] == 0, deployed
    assert until(lambda: _ended_by_schedule(place), 240) == ["Completed"]
    assert (place.status()["prefect"]["state"], _schedules(place)["state"]) == ("healthy", "ok")

    _database(place, BREAK)
    failing = f"The scheduler of {place.prefect} is failing: reconcile/dev should run"

    def told() -> Any:  # by a server that has the time to answer each question of it
        found = place.run("status")
        return found if "IntegrityError" in found[2] and failing in found[2] else None

    code, said, errors = until(told, 240)
    assert (code, "not scheduling" in said, "Traceback" in errors) == (6, True, False)
    assert "mlops down, mlops up --detach" in errors
    finding = _schedules(place)
    assert (finding["state"], "reconcile/dev" in finding["message"]) == ("problem", True)

    _database(place, "DROP TRIGGER broken")
    until(lambda: place.run("status")[0] == 0, 240)
    assert _schedules(place)["state"] == "ok"
    _database(place, "UPDATE deployment_schedule SET active = 0; DELETE FROM flow_run WHERE state_type = 'SCHEDULED';")


def _ended_by_schedule(place: Place) -> list[str]:
    """The states of runs that nobody but the server has started, and that are over; the first is enough."""
    with closing(sqlite3.connect(place.home / "prefect" / "prefect.db")) as opened:
        chosen = "auto_scheduled AND state_type NOT IN ('SCHEDULED', 'PENDING', 'RUNNING')"
        return [row[0] for row in opened.execute(f"SELECT state_name FROM flow_run WHERE {chosen}")][:1]  # noqa: S608


def _database(place: Place, script: str) -> None:
    with closing(sqlite3.connect(place.home / "prefect" / "prefect.db", timeout=240)) as opened:
        opened.executescript(script)


def _schedules(place: Place, **variables: str) -> dict[str, str]:
    """What the doctor says about schedules; its exit code is that of a problem, or of none."""
    code, output, errors = place.run("doctor", "--json", **variables)
    (finding,) = [each for each in json.loads(output) if each["what"] == "schedules"]
    assert code == (7 if finding["state"] == "problem" else 0), output + errors
    return dict(finding)


def test_the_doctor_asks_the_server_that_the_environment_names(stack: Any) -> None:
    place, _ = stack
    finding = _schedules(place, PREFECT_API_URL="http://127.0.0.1:9/api")
    assert (finding["state"], "127.0.0.1:9/api does not answer" in finding["message"]) == ("problem", True), finding


SLOW = """
import time
from prefect import flow

@flow
def slow():
    time.sleep(600)
"""


def _slow_run(place: Place, folder: Path) -> str:
    """A flow run of the stack's worker that goes on for ten minutes: its id, once it runs."""
    (folder / "slow.py").write_text(SLOW, encoding="utf-8")
    pull = [{"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}]
    access = {PREFECT_API_URL: f"{place.prefect}/api", PREFECT_API_AUTH_STRING: state.credential(place.home)}
    with temporary_settings(access), get_client(sync_client=True) as client:
        made = client.create_deployment(
            client.create_flow_from_name("slow"),
            "slow",
            entrypoint="slow.py:slow",
            work_pool_name=POOL,
            pull_steps=pull,
        )
        run = client.create_flow_run_from_deployment(made)
        until(lambda: client.read_flow_run(run.id).state_name == "Running", 240)
    return str(run.id)


def test_down_leaves_no_process_and_no_port_and_a_run_reads_crashed(stack: Any, tmp_path: Path) -> None:
    place, _ = stack
    run_id = _slow_run(place, tmp_path)
    group = [psutil.Process(row["pid"]) for row in place.status().values()]
    group += [child for process in group for child in process.children(recursive=True)]
    assert len({process.pid for process in group}) >= 4
    before = state.credential(place.home)
    assert place.run("down")[:2] == (0, "Stopped.\n")
    assert [process for process in group if runs(process)] == []
    assert not place.is_listened_to()
    with closing(sqlite3.connect(place.home / "prefect" / "prefect.db")) as opened:
        assert opened.execute("SELECT state_name FROM flow_run WHERE id = ?", [run_id]).fetchall() == [("Crashed",)]
    assert place.run("down")[:2] == (0, "Nothing is up.\n")
    code, output, _ = place.run("status", "--json")
    assert (code, json.loads(output)["phase"]) == (6, "down")
    assert (bool(before), state.credential(place.home), state.links(place.home)) == (True, "", {})


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


@pytest.mark.parametrize("name", ["https://mlops.example.com", "a b", "mlops.example.com/x", "*", ""])
def test_a_name_that_is_none_is_refused(place: Place, name: str) -> None:
    code, _, errors = place.run("up", "--allowed-host", name)
    assert (code, "is no name" in errors) == (2, True), errors
    assert not state.folder(place.home).exists()


def test_one_port_for_both_is_refused(place: Place) -> None:
    code, _, errors = place.run("up", "--port", "4300", "--mlflow-port", "4300")
    assert (code, "named twice" in errors) == (2, True), errors


def test_ctrl_c_while_starting_stops_what_was_started(place: Place) -> None:
    command = place.start(*place.up)
    until(lambda: recorded(place, "mlflow"))
    assert len(processes.members(place.home)) >= 2
    command.send_signal(signal.SIGINT)
    _, errors = command.communicate(timeout=240)
    assert (command.returncode, "Traceback" in errors) == (0, False), errors
    assert (processes.members(place.home), state.read(place.home)) == ([], None)


@pytest.mark.parametrize("moved", some(True, False, always=1))
def test_down_stops_what_a_killed_supervisor_left(place: Place, moved: bool) -> None:
    killed_while_starting(place)
    copied = replace(place, home=place.home.with_name("copied"))
    shutil.copytree(place.home, copied.home)
    assert copied.run("down")[:2] == (0, "Nothing is up.\n"), "a copy has no services"
    now = replace(place, home=place.home.with_name("moved"))
    if moved:
        place.home.rename(now.home)
    else:
        now = place
    code, output, _ = now.run("status")
    assert (code, "dead" in output) == (6, True), output
    assert processes.members(place.home)
    assert now.run("down")[:2] == (0, "Stopped.\n")
    assert (processes.members(place.home), state.read(now.home)) == ([], None)
    assert not place.is_listened_to()


@exhaustive  # what a killed one left is stopped in the test before
def test_a_running_supervisor_is_stopped_by_the_name_that_its_directory_has_now(place: Place) -> None:
    command = place.start(*place.up)
    assert command.stdout is not None
    assert command.stdout.readline() == "Everything is up.\n"  # until then it stops by itself: it cannot write there
    now = replace(place, home=place.home.with_name("moved"))
    place.home.rename(now.home)
    done = now.run("down")
    said = command.communicate()
    assert done[:2] == (0, "Stopped.\n"), said
    assert (processes.members(place.home), now.is_listened_to()) == ([], False)


def test_services_whose_directory_is_removed_are_stopped_and_those_of_a_renamed_one_go_on(place: Place) -> None:
    with services._held(place.home) as is_removed:
        assert not is_removed()
        moved = place.home.rename(place.home.with_name("moved"))
        assert not is_removed()
        shutil.rmtree(moved)
        state.folder(place.home).mkdir(parents=True)  # another one
        assert is_removed()
    plan = Plan(place.home, "dev", f"sqlite:///{place.home}/mlflow.db", place.port, place.mlflow_port)
    supervisor = services.Supervisor(plan)
    with subprocess.Popen(["sleep", "600"], env=os.environ | processes.marked(place.home, "worker")) as child:
        supervisor.children["worker"] = child
        threading.Timer(0.5, shutil.rmtree, [place.home]).start()
        with pytest.raises(TransientError, match="was removed while services were up for it"):
            supervisor.watch(None)
        supervisor.stop()
    for listener in supervisor.listeners.values():
        listener.close()
    assert (child.returncode, place.home.exists()) == (-signal.SIGTERM, False)


def test_a_folder_that_is_renamed_right_when_all_is_up_costs_its_logs_alone(place: Place) -> None:
    stack = written(place, Process.of(os.getpid()))
    with services._opened(stack.services) as logs:
        assert logs == {}


def test_a_service_that_ends_stops_the_others(place: Place) -> None:
    """On the ports of a killed supervisor's services, which are stopped first."""
    killed_while_starting(place)
    until(lambda: answers(place.port))
    command = place.start(*place.up)
    assert command.stdout is not None
    assert command.stdout.readline() == "Everything is up.\n", command.communicate()
    worker = recorded(place, "worker")
    assert worker is not None
    until(lambda: "started!" in worker.log.read_text())  # it has shown its heartbeat before
    os.kill(worker.pid, signal.SIGKILL)
    _, errors = command.communicate(timeout=240)
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
    state.folder(place.home).mkdir(exist_ok=True)
    found = Stack(
        supervisor=process,
        home=place.home.resolve(),
        folder=state.identity(place.home),
        env="dev",
        phase="up",
        prefect=address,
        mlflow="",
        services=(service,),
    )
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
        assert 0.4 < time.monotonic() - start < 60
    with serving(place.port):
        assert state.api_url(place.home) == f"http://127.0.0.1:{place.port}/api"
        written(place, Process(pid=own.pid, created=own.created - 60))
        assert state.api_url(place.home) is None  # it answers, but is another's
        written(place, own)
        copied, moved = place.home.with_name("copied"), place.home.with_name("moved")
        shutil.copytree(place.home, copied)
        assert (state.read(copied), state.api_url(copied), state.links(copied)) == (None, None, {})
        place.home.rename(moved)
        with pytest.raises(ConflictError, match=r"know this state directory as .*Stop them: mlops down"):
            state.api_url(moved)
        moved.rename(place.home)
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
        until(lambda: answers(self.port), 240)

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
        until(lambda: said.exists() and said.read_text() == "running", 240)
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
            ended = process.wait(60)  # killed, it lets go of its environment a moment before it has ended
        finally:
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
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:of another server")
    plan = Plan(home=tmp_path / "state", env="dev", tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", port=4321)
    seen = services._environment(plan, "worker", "mlops:word")
    assert seen["MLOPS_CONFIG_DIR"] == str(tmp_path / "conf")
    assert seen["PREFECT_API_URL"] == "http://127.0.0.1:4321/api"
    assert seen["PREFECT_HOME"] == str(tmp_path / "state" / "prefect")
    assert (seen["PREFECT_API_AUTH_STRING"], seen["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]) == ("mlops:word", "30")
    assert (seen["PREFECT_SERVER_ANALYTICS_ENABLED"], seen["MLFLOW_DISABLE_TELEMETRY"]) == ("false", "true")
    assert "PREFECT_API_KEY" not in seen
    assert seen["PATH"].startswith(str(Path(sys.executable).parent))


def test_an_mlflow_that_is_elsewhere_is_shown_not_started(tmp_path: Path) -> None:
    plan = Plan(home=tmp_path, env="dev", tracking_uri="http://mlflow.example:5000", mlflow_port=1)
    assert (plan.own_mlflow, plan.mlflow) == (False, "http://mlflow.example:5000")
    own = Plan(home=tmp_path, env="dev", tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", port=5000)
    assert (own.own_mlflow, own.mlflow) == (True, "http://127.0.0.1:5000")
    with pytest.raises(ConfigError, match="named twice"):
        services._listeners(own)


HERE = "http://127.0.0.1:4321/api"
ADDRESSES: dict[str, tuple[str, bool]] = {
    "ours": (HERE, True),
    "by name": ("http://localhost:4321/api", True),
    "by IPv6": ("http://[::1]:4321/api", True),
    "with a slash": (f"{HERE}/", True),
    "another port": ("http://127.0.0.1:4322/api", False),
    "HTTP's port": ("http://127.0.0.1/api", False),
    "another machine": ("http://192.168.0.7:4321/api", False),
    "another name": ("http://evil.example:4321/api", False),
    "a user of our name": ("http://127.0.0.1:4321@evil.example/api", False),
    "a name like ours": ("http://127.0.0.1.evil.example:4321/api", False),
    "Prefect Cloud": ("https://api.prefect.cloud/api/accounts/1/workspaces/2", False),
    "another path": ("http://127.0.0.1:4321/other", False),
    "no port": ("http://127.0.0.1:port/api", False),
    "nothing": ("", False),
    "no address": ("http://[", False),
}
UNFIT = ("http://127.0.0.1:port/api", "http://[")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The environment is afterwards what it was."""
    before = dict(os.environ)
    yield monkeypatch
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize(("address", "ours"), ADDRESSES.values(), ids=ADDRESSES)
def test_the_credential_is_shown_to_our_server_alone(
    tmp_path: Path, environment: pytest.MonkeyPatch, address: str, ours: bool
) -> None:
    """Whatever the environment says of another server stays as it is."""
    place = Place(tmp_path, 4321, 5321)
    written(place, Process.of(os.getpid()))
    secret = state.new_credential(tmp_path)
    assert state.login(tmp_path, address) == ({state.LOGIN: secret} if ours else {})
    if not address:
        return
    environment.setenv("PREFECT_API_URL", address)
    environment.setenv(state.LOGIN, "admin:of another server")
    if address in UNFIT:
        with pytest.raises(ConfigError, match="no address of a Prefect server"):
            connection.connect(tmp_path)
        return
    assert connection.connect(tmp_path) == address
    assert os.environ[state.LOGIN] == (secret if ours else "admin:of another server")


def test_a_server_that_has_ended_is_shown_nothing(tmp_path: Path) -> None:
    """Another program may listen on its port now."""
    own = Process.of(os.getpid())
    written(Place(tmp_path, 4321, 5321), Process(pid=own.pid, created=own.created - 60))
    state.new_credential(tmp_path)
    assert state.login(tmp_path, HERE) == {}


def test_a_credential_is_new_at_each_start_whatever_lies_there(tmp_path: Path) -> None:
    state.folder(tmp_path).mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("kept")
    state.credential_file(tmp_path).symlink_to(elsewhere)
    made = {state.new_credential(tmp_path) for _ in range(3)}
    assert (len(made), len({each.partition(":")[0] for each in made})) == (3, 1)
    assert state.credential(tmp_path) in made
    assert (elsewhere.read_text(), state.credential_file(tmp_path).is_symlink()) == ("kept", False)


def test_servers_of_another_user_are_named(tmp_path: Path) -> None:
    """Root may read everything, so it becomes somebody else for the moment."""
    state.folder(tmp_path).mkdir()
    state.new_credential(tmp_path)
    state.credential_file(tmp_path).chmod(0)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        with pytest.raises(ConfigError, match="another user's"):
            state.credential(tmp_path)
    finally:
        if root:
            os.seteuid(0)
