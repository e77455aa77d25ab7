"""Prefect's API for the time of one command.

It is a process that is started first, comes up while this one imports, and ends with it. Run as a module it is that
process: it takes the socket that the command listens with, on loopback only and on a port of the system's choice.
While a flow runs it is watched: once it has ended or answers no more, so does the flow, with one error that says why.
"""

import http.client
import importlib
import itertools
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from cli import environment, guarded, history
from lifecycle.core import children, guard
from lifecycle.core.errors import TransientError
from mlops_lifecycle import start

logger = logging.getLogger("lifecycle.server")  # shown by `runner.progress`

START_SECONDS = 300
SAID_SECONDS = 20
"""How long it is waited for without a word."""
LOOK_SECONDS = 5
"""How often a server that runs is asked whether it still answers."""
ANSWER_SECONDS = 40
"""For how long it may not; busy machines have kept one silent for half of it."""
STOP_SECONDS = 10
BLOCKS = "PREFECT_SERVER_REGISTER_BLOCKS_ON_START"
"""Not every block type of Prefect is entered into a new history: whoever saves a block enters its type."""
FIRST = "scipy.special"
"""Imported before what brings thousands of modules: skops looks for each of its functions in all that came before."""
WAKE = signal.SIGUSR1
"""Ends what the main thread waits for, or computes, in vain."""
WAKE_SECONDS = 0.2


class Server(NamedTuple):
    """The server of a command: how to wait until it answers, and what to run a flow in."""

    wait: Callable[[], None]
    run: Callable[[], AbstractContextManager[object]]


@contextmanager
def own_server(home: Path) -> Iterator[Server]:
    """Start a server with its history in `<home>/prefect`, unless the environment names one or `mlops up` runs one.

    Prefect is imported here, and must not be before: it reads the address from the environment then.

    Raises:
        ConfigError: Prefect's settings in the environment are not valid, or the history cannot be used.
        ConflictError: The history is of another release of Prefect.
        TransientError: The server does not start, ends or does not answer.
    """
    from cli.operations.connection import require, translated
    from cli.operations.state import LOGIN, login  # its psutil comes with the extra, which is there by now

    folder = environment.history_folder(home)
    if api := lasting(home):
        folder.mkdir(parents=True, exist_ok=True)
        also = login(home, api) | ({} if environment.chosen_server() else _links(home))
        with environment.server_in_use(api, folder, also=also):
            _import_prefect(folder)
            yield Server(wait=lambda: require(api), run=lambda: translated(api))
        return
    folder.mkdir(parents=True, exist_ok=True)
    history.prepare(folder)
    with (
        _started(folder) as server,
        environment.server_in_use(server.api, folder, own=True, also={LOGIN: server.credential, guard.FLEETING: "1"}),
    ):
        _import_prefect(folder)
        yield Server(wait=server.wait, run=server.watched)


def lasting(home: Path) -> str:
    """The address of a server that is there before and after a command; empty if there is none.

    Raises:
        ConfigError: What the environment says of one is not valid.
    """
    from cli.operations.state import api_url

    return environment.chosen_server() or api_url(home) or ""


def _import_prefect(folder: Path) -> None:
    importlib.import_module(FIRST)
    environment.import_prefect(folder)


def _links(home: Path) -> dict[str, str]:
    """Where people look at the runs, unless the settings say so."""
    from cli.operations.state import mlflow_url

    found = None if "MLOPS_MLFLOW_UI" in os.environ else mlflow_url(home)
    return {"MLOPS_MLFLOW_UI": found} if found else {}


@contextmanager
def _started(folder: Path) -> Iterator["_OwnServer"]:
    """A process that serves the history in a folder until the block ends; what it says is in `server.log` there."""
    log, credential = folder / "server.log", guard.new_credential()
    with ExitStack() as stack:
        said = stack.enter_context(log.open("w"))
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=128))
        process = subprocess.Popen(  # noqa: S603  our own interpreter and module
            start.command("cli.server", str(listener.fileno()), str(os.getpid())),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env={BLOCKS: "false"} | environment.for_own_server(folder) | {guard.VARIABLE: credential},
            pass_fds=[listener.fileno()],
            start_new_session=True,  # Ctrl-C is for the command, which then still reports its end
        )
        port = listener.getsockname()[1]
    server = _OwnServer(process, f"http://127.0.0.1:{port}/api", credential, log)
    try:
        yield server
    finally:
        server.stop()


class _OwnServer:
    """The process, and what is known of its end."""

    def __init__(self, process: "subprocess.Popen[bytes]", api: str, credential: str, log: Path) -> None:
        self.process, self.api, self.credential, self.log = process, api, credential, log
        self._problem = ""
        self._over = threading.Event()
        self._woken = False
        self._waking = threading.Lock()

    def wait(self) -> None:
        """Return once it answers: it listens from the start, so one request waits for it.

        Raises:
            TransientError: It has ended, or does not answer in time.
        """
        if self._answers(SAID_SECONDS):
            return
        if self.process.poll() is None:
            logger.info("Waiting for Prefect's server, up to %d s more; it writes %s", START_SECONDS, self.log)
            if self._answers(START_SECONDS):
                return
        with suppress(subprocess.TimeoutExpired):  # its connections are gone a moment before
            self.process.wait(1)
        if self.process.poll() is None:
            self._problem = f"did not answer within {START_SECONDS} s"
        raise self._error()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Run a block as the only user of the server, and end it when the server has ended.

        Nobody watches for a heartbeat, so none is sent; a slot of a limit that a killed command held would never come
        back, so none is taken.

        Raises:
            TransientError: The server ended, or did not answer any more, whatever the block made of that.
        """
        from cli.operations.connection import translated
        from tasks import limits

        try:
            with translated(self.api, self.log), _without_heartbeat(), limits.alone(), self._watch():
                yield
        except BaseException:
            if self._has_ended():
                raise self._error() from None
            raise

    def stop(self) -> None:
        """Send what is queued while it is there, then end it; Prefect's own exit would wait for it in vain."""
        if self.process.poll() is not None or self._problem:
            _forget_what_is_queued()
        elif "prefect.events" in sys.modules:
            _drain()
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @contextmanager
    def _watch(self) -> Iterator[None]:
        """Let the end of the server interrupt a block of the main thread; in another one Prefect's client will tell."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before, hook = signal.signal(WAKE, self._interrupt), sys.unraisablehook
        sys.unraisablehook = partial(self._dropped, hook)
        threading.Thread(target=self._look, name="server watch", daemon=True).start()
        try:
            yield
        finally:
            with self._waking:
                self._over.set()
            with suppress(KeyboardInterrupt):  # one that is on its way ends nothing any more
                signal.signal(WAKE, signal.SIG_IGN)
            signal.signal(WAKE, before)
            sys.unraisablehook = hook

    def _look(self) -> None:
        """Wait for its end, and ask now and then whether it answers; one that does not is ended."""
        while self.process.poll() is None and not self._over.is_set():
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(LOOK_SECONDS)
                break
            if not self._answers(ANSWER_SECONDS) and self.process.poll() is None and not self._over.is_set():
                self._problem = f"did not answer for {ANSWER_SECONDS} s"
                self.process.kill()
                self.process.wait()
        if not self._over.is_set():
            _forget_what_is_queued()
            self._wake()

    def _wake(self) -> None:
        """Interrupt the main thread; again, because a signal just before it begins to wait does not end the wait."""
        while True:
            with self._waking:
                if self._over.is_set():
                    return
                if not self._woken:
                    signal.pthread_kill(threading.main_thread().ident or 0, WAKE)
            time.sleep(WAKE_SECONDS)

    def _interrupt(self, *_: object) -> None:
        if not self._woken:
            self._woken = True
            raise KeyboardInterrupt

    def _dropped(self, otherwise: Callable[[Any], object], what: Any) -> None:
        """Wake it once more where the interruption came within a finaliser: Python drops it there, and goes on."""
        if isinstance(what.exc_value, KeyboardInterrupt) and self._woken:
            self._woken = False
        else:
            otherwise(what)

    def _answers(self, seconds: float) -> bool:
        connection = http.client.HTTPConnection(urlsplit(self.api).netloc, timeout=seconds)
        try:
            connection.request("GET", "/api/health", headers=guard.authorization(self.credential))
            return connection.getresponse().status < http.client.INTERNAL_SERVER_ERROR
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _has_ended(self) -> bool:
        return bool(self._problem) or self.process.poll() is not None

    def _error(self) -> TransientError:
        code = self.process.poll()
        how = self._problem or (children.ended(code) if code is not None else "ended")
        if not self._problem and code == -signal.SIGKILL:
            how += ", as the system does when memory is short"
        elif code is not None and code >= 0:
            how += f" ({_last_line(self.log)})"
        what = f"Prefect's server, which this command runs for itself, {how}. See {self.log}."
        return TransientError(what, f"Give the command again: {_command()}")


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""


def _command() -> str:
    """What was called, without its options, which may hold what is not to be shown."""
    words = itertools.takewhile(re.compile("[a-z][a-z-]*").fullmatch, sys.argv[1:])
    return " ".join(["mlops", *words, "…"])


@contextmanager
def _without_heartbeat() -> Iterator[None]:
    """Send none within the block: to stop it takes a second.

    By hand, because Prefect's `temporary_settings` reads the files of the working directory once more.
    """
    from prefect.settings import get_current_settings

    flows = get_current_settings().flows
    before, flows.heartbeat_frequency = flows.heartbeat_frequency, None
    try:
        yield
    finally:
        flows.heartbeat_frequency = before


def _drain() -> None:
    """Send what is queued."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=10)
    EventsWorker.drain_all(timeout=10)


def _forget_what_is_queued() -> None:
    """Let Prefect's client give up at once, and its threads say nothing about what they cannot send any more."""
    logging.raiseExceptions = False
    logging.getLogger("prefect").setLevel(logging.CRITICAL + 1)
    if "prefect.settings" in sys.modules:
        from prefect.settings import get_current_settings

        get_current_settings().client.max_retries = 0


def serve(listener: socket.socket) -> None:
    """Answer on a socket that is listened with."""
    with guarded.prefect(ephemeral=True) as app:
        guarded.run(app, listener, "error")


if __name__ == "__main__":
    children.end_with(int(sys.argv[2]))
    with socket.socket(fileno=int(sys.argv[1])) as inherited:
        serve(inherited)
