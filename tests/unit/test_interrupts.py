"""Whoever ends a command gets the exit code that shells expect, no traceback, and a place as clean as before."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

COMMAND = """
import os, signal, sys, threading, time
from contextlib import contextmanager
from pathlib import Path
from cli import interrupts
from lifecycle.storage import files
place = Path(sys.argv[1])

def wait():
    (place / "ready").touch()
    for _ in range(6000):
        time.sleep(0.1)  # one that comes right before a sleep is heard after it

class Finalised:
    def __del__(self):
        wait()

with interrupts.orderly():
    with files.publish_folder(place / "result"):
{body}
"""

BODIES = {
    "it waits": "wait()",
    "it computes": "(place / 'ready').touch(); all(True for _ in iter(int, 1))",
    "a thread is waited for": "t = threading.Thread(target=wait, daemon=True); t.start(); t.join()",
    "an error comes of it": """
try:
    wait()
except KeyboardInterrupt:
    raise ConnectionError("the server could not be told")
""",
    "an exit code comes of it": """
try:
    wait()
except KeyboardInterrupt:
    sys.exit(1)
""",
    "it comes within a finaliser": "Finalised(); time.sleep(600)",
}


started: list["subprocess.Popen[str]"] = []


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    """A command that does not end is a failure, not a load on the machine."""
    yield
    for process in started:
        process.kill()
        process.wait()
    started.clear()


def run(body: str, place: Path) -> "subprocess.Popen[str]":
    indented = "\n".join(f"        {line}" for line in body.strip().splitlines())
    command = [sys.executable, "-c", COMMAND.format(body=indented), str(place)]
    with (place / "said").open("w") as said:
        process = subprocess.Popen(command, cwd=ROOT, stderr=said, text=True)
    started.append(process)
    while not (place / "ready").exists() and process.poll() is None:
        pass
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_signal_ends_it_in_order(tmp_path: Path, body: str, number: signal.Signals) -> None:
    process = run(body, tmp_path)
    process.send_signal(number)
    assert process.wait(120) == 128 + number
    assert (tmp_path / "said").read_text().strip() == f"Ended by {number.name}."
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ready", "said"]


def test_it_ends_also_where_prefect_hears_the_signal_within_a_finaliser(tmp_path: Path) -> None:
    body = """
from prefect.utilities.engine import capture_sigterm
with capture_sigterm():
    Finalised()
    time.sleep(600)
"""
    process = run(body, tmp_path)
    process.send_signal(signal.SIGTERM)
    assert process.wait(240) == 128 + signal.SIGTERM
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ready", "said"]


def test_whoever_ends_it_is_told_what_is_kept_and_how_to_go_on(tmp_path: Path) -> None:
    body = """
from cli import runner
with runner.progress("Done", "Never said."):
    pass
with runner.progress("Working", "The parts stay. Again goes on."):
    wait()
"""
    process = run(body, tmp_path)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 128 + signal.SIGINT
    lines = (tmp_path / "said").read_text().splitlines()
    assert lines[-1] == "Ended by SIGINT. The parts stay. Again goes on."


def test_the_second_one_ends_what_does_not_end(tmp_path: Path) -> None:
    body = """
try:
    wait()
finally:
    (place / "ending").touch()
    time.sleep(600)
"""
    process = run(body, tmp_path)
    process.send_signal(signal.SIGTERM)
    while not (tmp_path / "ending").exists():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 128 + signal.SIGINT


def test_what_the_caller_ignores_is_ignored(tmp_path: Path) -> None:
    """As after `nohup`, or where a shell has put it into the background."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = run("(place / 'ready').touch(); time.sleep(1); sys.exit(5)", tmp_path)
    finally:
        signal.signal(signal.SIGHUP, before)
    process.send_signal(signal.SIGHUP)
    assert process.wait(120) == 5


@pytest.mark.parametrize(("body", "code"), [("pass", 0), ("sys.exit(4)", 4), ("raise SystemExit", 0)])
def test_without_a_signal_nothing_changes(tmp_path: Path, body: str, code: int) -> None:
    process = run(body, tmp_path)
    assert process.wait(120) == code


def test_an_early_one_shows_no_traceback_of_the_imports(tmp_path: Path) -> None:
    """`cli` is imported first, so the command is interrupted once it is, while it imports the rest."""
    (tmp_path / "typer.py").write_text("import time; print('importing', flush=True); time.sleep(600)")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "cli.main", "--help"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=240)
    assert (process.returncode, errors) == (-signal.SIGINT, "")
