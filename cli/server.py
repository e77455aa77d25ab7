"""Prefect's API for the time of one command.

It is a process that is started first, comes up while this one imports, and ends with it. Run as a module it is that
process: it listens on loopback only, on a port of the system's choice, and ends when its standard input closes, also
when the command is killed.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple

from lifecycle import guard, migrated
from lifecycle.errors import TransientError
from mlops_lifecycle import start

START_SECONDS = 180
CHOSEN_BY_THE_USER = {"PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILE"}
DATABASES = {"PREFECT_API_DATABASE_CONNECTION_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL"}
"""Variables by which a person puts Prefect's history elsewhere, for example into Postgres."""
BLOCKS = "PREFECT_SERVER_REGISTER_BLOCKS_ON_START"
"""Not every block type of Prefect is entered into a new history: whoever saves a block enters its type."""


class Server(NamedTuple):
    """The server of a command: how to wait until it answers, and what to run a flow in."""

    wait: Callable[[], None]
    run: Callable[[], AbstractContextManager[object]]


@contextmanager
def own_server(home: Path) -> Iterator[Server]:
    """Start a server with its history in `<home>/prefect`, unless the environment names one.

    Prefect must not be imported before: it reads the address from the environment then.
    """
    from cli.operations.state import LOGIN, api_url, login  # its psutil comes with the extra, which is there by now

    if CHOSEN_BY_THE_USER & os.environ.keys():
        with _set(login(home, os.environ.get("PREFECT_API_URL", ""))):
            yield Server(wait=lambda: None, run=nullcontext)
        return
    folder = home / "prefect"
    if api := api_url(home):
        with _set({**_at(folder, api), **login(home, api), **_links(home)}):
            yield Server(wait=lambda: None, run=nullcontext)
        return
    folder.mkdir(parents=True, exist_ok=True)
    credential = guard.new_credential()
    environment = {BLOCKS: "false", **os.environ, "PREFECT_HOME": str(folder), guard.VARIABLE: credential}
    command = start.command("cli.server")
    with (
        (folder / "server.log").open("w") as log,
        subprocess.Popen(  # noqa: S603  our own interpreter and module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            text=True,
            start_new_session=True,  # Ctrl-C is for the command, which then still reports its end
        ) as process,
    ):
        port = process.stdout.readline().strip() if process.stdout else ""
        api = f"http://127.0.0.1:{port}/api"
        try:
            with _set({**_at(folder, api), LOGIN: credential}):
                yield Server(wait=lambda: _wait(api, credential, folder / "server.log"), run=_alone)
        finally:
            if "prefect" in sys.modules:
                _drain()
            process.terminate()


def _at(folder: Path, api: str) -> dict[str, str]:
    """The variables by which Prefect finds a server when it is imported."""
    return {"PREFECT_HOME": str(folder), "PREFECT_API_URL": api}


@contextmanager
def _set(variables: dict[str, str]) -> Iterator[None]:
    """Set variables of the environment for a while; then they are what they were."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _links(home: Path) -> dict[str, str]:
    """Where people look at the runs, unless the settings say so."""
    from cli.operations.state import mlflow_url

    found = None if "MLOPS_MLFLOW_UI" in os.environ else mlflow_url(home)
    return {"MLOPS_MLFLOW_UI": found} if found else {}


def _wait(api: str, credential: str, log: Path) -> None:
    """Return once the server answers: it listens from the start, so one request waits for it."""
    request = urllib.request.Request(f"{api}/health", headers=guard.authorization(credential))  # noqa: S310  our own
    try:
        urllib.request.urlopen(request, timeout=START_SECONDS).close()  # noqa: S310  our own address
    except OSError as error:
        what = f"Prefect's server did not start: {error}. See {log}."
        raise TransientError(what, "Try again, or start one: prefect server start") from None


@contextmanager
def _alone() -> Iterator[None]:
    """Run flows as the only user of a server that ends with the command.

    Nobody watches for a heartbeat, and to stop it takes a second; a slot of a limit that a killed command held would
    never come back.
    """
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from tasks import limits

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}), limits.alone():
        yield


def _drain() -> None:
    """Send what is queued while the server is there; Prefect's own exit would wait for it in vain."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=10)
    EventsWorker.drain_all(timeout=10)


def serve() -> None:
    """Listen, tell the port, then import and run the server."""
    import gc
    import socket

    gc.set_threshold(100_000, 50, 50)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    threading.Thread(target=_end_with_the_command, daemon=True).start()

    _migrate(Path(os.environ["PREFECT_HOME"]) / "prefect.db")
    from cli import guarded

    with guarded.prefect(ephemeral=True) as app:
        guarded.run(app, listener, "error")


def _migrate(database: Path) -> None:
    """Begin a new history as a copy of an empty one, or make the tables now and keep them for the next one.

    Whatever is missing then, or where the settings name another database, the server makes the tables as it starts.
    """
    from filelock import FileLock

    if database.exists() or DATABASES & os.environ.keys():
        return
    with FileLock(database.with_name(f".{database.name}.lock")):
        if database.exists() or migrated.copy("prefect", database):
            return
        with suppress(ImportError, AttributeError):  # names that Prefect does not promise: they may be gone one day
            from prefect.server.database import provide_database_interface

            asyncio.run(provide_database_interface().create_db())
            migrated.keep("prefect", database)


def _end_with_the_command() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    serve()
