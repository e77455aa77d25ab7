"""Without a server in the environment a command has one of its own, and leaves none behind."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from lifecycle.settings import Settings
from tests.conftest import ROOT


def start(home: Path, *arguments: str) -> subprocess.Popen[str]:
    outside = {
        k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_API", "PREFECT_HOME", "PREFECT_PROFILE"))
    }
    environment = {
        **outside,
        "MLOPS_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    command = [sys.executable, "-m", "cli.main", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def servers_of(home: Path) -> list[int]:
    """The processes whose environment names this state directory and that are an API server."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:
            continue
        if b"cli.server" in command and str(home).encode() in environment:
            found.append(int(process.name))
    return found


def test_the_history_is_kept_and_no_process_is_left(news: Settings) -> None:
    command = start(news.state, "rollback", "--model-name", "nobody", "--env", "prod")
    _, errors = command.communicate(timeout=200)
    assert (command.returncode, errors.count("Traceback")) == (2, 0), errors
    assert "prod.ml.nobody has no champion" in errors
    with sqlite3.connect(news.state / "prefect" / "prefect.db") as connection:
        assert connection.execute("SELECT name, state_name FROM flow_run").fetchall() == [
            ("roll back nobody in prod", "Failed")
        ]
    connection.close()
    assert servers_of(news.state) == []


def test_a_killed_command_takes_its_server_with_it(news: Settings) -> None:
    command = start(news.state, "rollback", "--model-name", "nobody", "--env", "prod")
    deadline = time.monotonic() + 60
    while not servers_of(news.state) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(servers_of(news.state)) == 1
    command.send_signal(signal.SIGKILL)
    command.communicate()
    while servers_of(news.state) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert servers_of(news.state) == []
