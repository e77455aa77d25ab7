"""Without a server in the environment a command has one of its own, and leaves none behind."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import requests

from lifecycle.core import guard
from lifecycle.settings import Settings
from lifecycle.storage import database_templates
from tests.conftest import ROOT, exhaustive, write_news

NOBODY = ("infer", "--model-name", "nobody", "--env", "prod", "--data-name", "news")
"""A flow that ends as soon as it has begun."""


def start(home: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    outside = {
        k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_API", "PREFECT_HOME", "PREFECT_PROFILE"))
    }
    environment = {
        **outside,
        "MLOPS_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        **variables,
    }
    command = [sys.executable, "-m", "cli.main", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def processes_of(home: Path, module: str = "cli.server") -> list[int]:
    """The processes whose environment names this state directory and that run a module."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:
            continue
        if module.encode() in command and str(home).encode() in environment:
            found.append(int(process.name))
    return found


def rows(home: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(home / "prefect" / "prefect.db")) as connection:
        return connection.execute(query).fetchall()


def test_the_history_is_kept_and_no_process_is_left(news: Settings) -> None:
    command = start(news.state, *NOBODY)
    _, errors = command.communicate(timeout=200)
    assert (command.returncode, errors.count("Traceback")) == (2, 0), errors
    assert rows(news.state, "SELECT name FROM concurrency_limit_v2") == []  # no slot that a killed command would keep
    assert "prod.ml.nobody has no champion" in errors
    assert rows(news.state, "SELECT name, state_name FROM flow_run") == [("infer nobody in prod", "Failed")]
    assert processes_of(news.state) == []


def test_all_that_happened_reaches_the_server_but_a_heartbeat_that_nobody_watches(
    news: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_GATE__MIN_ROWS", "20")
    names = ("--data-name", "news", "--data-version", "1.0.0", "--model-name", "sentiment")
    command = start(news.state, "train", *names)
    _, errors = command.communicate(timeout=280)
    assert command.returncode == 0, errors
    assert "in a fresh process" in errors
    states = rows(news.state, "SELECT DISTINCT state_type FROM task_run UNION SELECT state_type FROM flow_run")
    assert states == [("COMPLETED",)]
    ((tags,),) = rows(news.state, "SELECT tags FROM flow_run")
    assert sorted(json.loads(str(tags))) == ["env:dev", "mlops"]
    assert rows(news.state, "SELECT DISTINCT tags FROM task_run") == [("[]",)]  # each tag costs a question about limits
    tasks = rows(news.state, "SELECT count(*) FROM task_run WHERE name LIKE 'judge%' OR name LIKE '%promotion%'")
    assert tasks[0][0] >= 2
    logged = {str(message) for (message,) in rows(news.state, "SELECT message FROM log")}
    assert any(message.startswith("Promoted dev.ml.sentiment v1") for message in logged)
    assert any("Finished in state" in message for message in logged)
    events = {str(event) for (event,) in rows(news.state, "SELECT event FROM events")}
    assert {"mlops.model.promoted", "prefect.flow-run.Completed", "prefect.task-run.Completed"} <= events
    assert "prefect.flow-run.heartbeat" not in events
    artifacts = {str(key) for (key,) in rows(news.state, "SELECT key FROM artifact")}
    assert {"verdict-dev-ml-sentiment", "champion-dev-ml-sentiment"} <= artifacts
    assert processes_of(news.state) + processes_of(news.state, "lifecycle.gate.proof.replay") == []


WAITING = """
import json, os, sys
from pathlib import Path
from cli.server import own_server
names = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING")
with own_server(Path(sys.argv[1])) as server:
    server.wait()
    print(json.dumps([os.environ[name] for name in names]), flush=True)
    sys.stdin.read()
print(json.dumps([os.environ.get(name) for name in names]))
"""
EVIL = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}


def test_the_server_of_a_command_answers_this_command_alone(tmp_path: Path) -> None:
    """Its credential stands in the environment of the two, and nowhere else."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = {**outside, "PYTHONPATH": str(ROOT), "PREFECT_API_AUTH_STRING": "admin:of another server"}
    with subprocess.Popen(
        [sys.executable, "-c", WAITING, str(tmp_path)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as command:
        assert command.stdout is not None
        api, credential = json.loads(command.stdout.readline())
        shown = guard.authorization(credential)
        asked = [
            shown,
            {},
            guard.authorization("admin:of another server"),
            shown | EVIL,
            shown | {"Host": "evil.example"},
        ]
        answers = [requests.post(f"{api}/flows/filter", json={}, headers=each, timeout=240) for each in asked]
        preflight = {**EVIL, "Access-Control-Request-Method": "POST"}
        answers.append(requests.options(f"{api}/flows/", headers=preflight, timeout=240))
        commands = b"".join(Path(f"/proc/{number}/cmdline").read_bytes() for number in processes_of(tmp_path))
        after = command.communicate("")[0]
    assert [answer.status_code for answer in answers] == [200, 401, 401, 403, 403, 403]
    assert not any("access-control-allow-origin" in answer.headers for answer in answers)
    assert json.loads(after) == [None, "admin:of another server"]
    word = credential.partition(":")[2].encode()
    assert (b"cli.server" in commands, word in commands) == (True, False)
    assert [file for file in tmp_path.rglob("*") if file.is_file() and word in file.read_bytes()] == []


def test_a_killed_command_takes_its_server_with_it(news: Settings) -> None:
    command = start(news.state, *NOBODY)
    kill_once_there(command, news.state, "cli.server")


def test_a_killed_training_takes_the_process_that_waits_for_its_model_with_it(news: Settings) -> None:
    """It waits before there is a run: it comes up while the command imports."""
    names = ("--data-name", "news", "--data-version", "1.0.0", "--model-name", "sentiment")
    command = start(news.state, "train", *names)
    kill_once_there(command, news.state, "lifecycle.gate.proof.replay")
    assert processes_of(news.state) == []
    with closing(sqlite3.connect(news.state / "mlflow.db")) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)


@pytest.mark.parametrize(
    "when",
    [
        pytest.param("", id="as it starts", marks=pytest.mark.exhaustive),
        pytest.param("Reading", id="while the flow runs"),
    ],
)
def test_a_server_that_was_killed_ends_the_command_and_the_same_again_completes(tmp_path: Path, when: str) -> None:
    table, home = write_news(tmp_path / "news.csv"), tmp_path / "state"
    arguments = ("data", "create", "--source", str(table), "--data-name", "news", "--data-version", "1")
    command = start(home, *arguments)
    assert command.stderr
    said = ""
    while when not in said:
        said += command.stderr.readline()
    while not (servers := processes_of(home)):
        assert command.poll() is None
    os.kill(servers[0], signal.SIGKILL)
    _, errors = command.communicate(timeout=200)
    *_, last = errors.splitlines()
    assert command.returncode == 6, errors
    assert "Traceback" not in errors
    assert last.startswith("Error: Prefect's server, which this command runs for itself, was killed by SIGKILL")
    assert f"See {home / 'prefect' / 'server.log'}." in last
    assert list(home.rglob(".tmp-*")) == []
    again = start(home, *arguments)
    _, errors = again.communicate(timeout=200)
    assert again.returncode == 0, errors
    assert processes_of(home) == []


@pytest.mark.exhaustive  # what a damaged history becomes is proven without a command: tests/unit/test_history.py
def test_a_history_folder_of_ones_own_and_a_damaged_history(tmp_path: Path) -> None:
    """`PREFECT_HOME` moves the history and chooses no other kind of server; what cannot be read there is kept."""
    table, home, elsewhere = write_news(tmp_path / "news.csv"), tmp_path / "state", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "prefect.db").write_text("no database" * 500)
    with pytest.MonkeyPatch.context() as outside:
        outside.setenv("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "1")
        command = start(
            home,
            *("data", "create", "--source", str(table), "--data-name", "news", "--data-version", "1"),
            PREFECT_HOME=str(elsewhere),
        )
        _, errors = command.communicate(timeout=200)
    assert command.returncode == 0, errors
    assert "Prefect's history was damaged" in errors
    with closing(sqlite3.connect(elsewhere / "prefect.db")) as connection:
        assert connection.execute("SELECT state_name FROM flow_run").fetchall() == [("Completed",)]
    assert not (home / "prefect").exists()
    assert len(list(elsewhere.glob("prefect.db.damaged-*"))) == 1


def kill_once_there(command: subprocess.Popen[str], home: Path, module: str) -> None:
    deadline = time.monotonic() + 240
    while not processes_of(home, module) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(processes_of(home, module)) == 1
    command.send_signal(signal.SIGKILL)
    command.communicate()
    while processes_of(home, module) + processes_of(home) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(home, module) == []


@exhaustive  # that a damaged template is none: tests/unit/test_embedded.py
def test_a_damaged_template_costs_only_time_and_is_replaced(news: Settings, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as outside:
        outside.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        kept = database_templates.template("prefect")
        kept.parent.mkdir(parents=True)
        kept.write_bytes(b"no database")
        command = start(news.state, *NOBODY)
        _, errors = command.communicate(timeout=200)
    assert (command.returncode, errors.count("Traceback")) == (2, 0), errors
    assert len(rows(news.state, "SELECT name FROM flow_run")) == 1
    assert kept.read_bytes().startswith(b"SQLite format 3")
    with closing(sqlite3.connect(kept)) as connection:
        assert connection.execute("SELECT count(*) FROM flow_run").fetchone() == (0,)
