"""Whatever becomes of the server of a command: the command ends with one line that says it, and waits for nothing.

Promise: A command whose own Prefect server is killed, hangs or does not start ends soon, with exit code 6; the same
again completes (also `tests/flows/test_own_server.py`).
"""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from cli import server
from cli.operations.connection import translated
from lifecycle.core.errors import ConfigError, TransientError
from tests.conftest import free_port, some

SERVER = """
import sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        {do}
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
{first}
server = HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer)
print("up", flush=True)
server.serve_forever()
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(server, "ANSWER_SECONDS", 1)
    monkeypatch.setattr(server, "STOP_SECONDS", 1)
    monkeypatch.setattr(server, "_drain", lambda: None)
    monkeypatch.setattr(server, "_forget_what_is_queued", lambda: None)  # it is for good, and this process goes on


@contextmanager
def running(folder: Path, do: str = "pass", first: str = "", *, is_up: bool = True) -> Iterator[server._OwnServer]:
    """A process that stands for Prefect's: what is watched is its end and its answers."""
    port, log = free_port(), folder / "server.log"
    with log.open("w") as said:
        command = [sys.executable, "-c", SERVER.format(do=do, first=first), str(port)]
        process = subprocess.Popen(command, stdout=said, stderr=said)
    while is_up and "up" not in log.read_text():
        assert process.poll() is None, log.read_text()
    own = server._OwnServer(process, f"http://127.0.0.1:{port}/api", "somebody:word", log)
    try:
        yield own
    finally:
        own.stop()
        assert process.poll() is not None


DEATHS: dict[str, tuple[Callable[["subprocess.Popen[bytes]"], None], str]] = {
    name: (lambda process, number=signal.Signals[name]: process.send_signal(number), f"was killed by {name}")
    for name in ("SIGKILL", "SIGTERM", "SIGSEGV", "SIGABRT", "SIGHUP", "SIGBUS", "SIGQUIT")
} | {"SIGSTOP": (lambda process: process.send_signal(signal.SIGSTOP), "did not answer for 1 s")}


class Finalised:
    def __del__(self) -> None:
        time.sleep(600)


def finalise() -> None:
    Finalised()  # at once, for nobody holds it: Python drops what interrupts it there
    time.sleep(600)


BLOCKS: dict[str, Callable[[], object]] = {
    "within a finaliser": finalise,
    "waiting": lambda: time.sleep(600),
    "computing": lambda: all(True for _ in iter(int, 1)),
    "in a lock": lambda: threading.Event().wait(),
}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
@pytest.mark.parametrize("death", some("SIGKILL", "SIGSTOP", *sorted(DEATHS.keys() - {"SIGKILL", "SIGSTOP"}), always=2))
def test_its_death_ends_what_runs(tmp_path: Path, death: str, block: Callable[[], object]) -> None:
    die, said = DEATHS[death]
    handler = signal.getsignal(server.WAKE)
    with running(tmp_path) as own:
        own.wait()

        def run() -> None:
            with own.watched():
                die(own.process)
                block()

        with pytest.raises(TransientError, match=said) as raised:
            run()
    told = str(raised.value)
    assert "\n" not in told
    assert f"See {tmp_path / 'server.log'}." in told
    assert "give the command again: mlops" in told.lower()
    assert raised.value.__suppress_context__
    assert signal.getsignal(server.WAKE) is handler


def test_its_log_tells_what_the_machine_refused(tmp_path: Path) -> None:
    log, failed = tmp_path / "server.log", httpx.Response(500, request=httpx.Request("GET", "http://127.0.0.1/api"))
    log.write_text("sqlite3.OperationalError: attempt to write a readonly database\n")
    told = pytest.raises(ConfigError, match=r"cannot be written: attempt to write .* Give this user the right")
    with told, translated("http://127.0.0.1/api", log):
        failed.raise_for_status()
    log.write_text("something else\n")
    with pytest.raises(TransientError, match=r"failed \(500\)"), translated("http://127.0.0.1/api", log):
        failed.raise_for_status()


def test_an_error_that_comes_of_its_death_is_its_death(tmp_path: Path) -> None:
    def run(own: server._OwnServer) -> None:
        with own.watched():
            own.process.kill()
            own.process.wait()
            raise ConnectionError("cannot connect")

    with running(tmp_path) as own, pytest.raises(TransientError, match="SIGKILL"):
        run(own)


def test_another_error_stays_what_it_is(tmp_path: Path) -> None:
    with running(tmp_path) as own, pytest.raises(ZeroDivisionError), own.watched():
        raise ZeroDivisionError


def test_what_was_done_before_its_death_is_done(tmp_path: Path) -> None:
    with running(tmp_path) as own:
        with own.watched():
            done = True
        own.process.kill()
        own.process.wait()
        time.sleep(0.5)  # nobody is interrupted any more
    assert done


def test_a_slow_answer_is_waited_for(tmp_path: Path) -> None:
    with running(tmp_path, do="time.sleep(0.7)") as own, own.watched():
        time.sleep(3)


STARTS: dict[str, tuple[str, str]] = {
    "an exit": (
        "sys.exit('the port of the database is closed')",
        r"exit code 1 \(the port of the database is closed\)",
    ),
    "an error": ("raise OSError('no database')", r"exit code 1 \(OSError: no database\)"),
    "another code": ("sys.exit(3)", "exit code 3"),
    "a kill": ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL, as the system does when memory is short"),
    "a crash": ("import os; os.abort()", "killed by SIGABRT"),
}


@pytest.mark.parametrize(("first", "said"), STARTS.values(), ids=STARTS)
def test_a_start_that_fails_says_why(tmp_path: Path, first: str, said: str) -> None:
    with running(tmp_path, first=first, is_up=False) as own:
        own.process.wait()
        with pytest.raises(TransientError, match=said) as raised:
            own.wait()
    assert "\n" not in str(raised.value)


def test_a_start_that_takes_too_long_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SAID_SECONDS", 1)
    monkeypatch.setattr(server, "START_SECONDS", 1)
    with (
        running(tmp_path, do="time.sleep(600)") as own,
        pytest.raises(TransientError, match="did not answer within 1 s"),
    ):
        own.wait()


def test_the_command_is_named_without_what_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["mlops", "data", "create", "--source", "https://example.org/t?sig=secret"])
    assert server._command() == "mlops data create …"
