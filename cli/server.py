"""Prefect's API for the time of one command.

It is a process that is started first, comes up while this one imports, and ends with it. Run as a module it is that
process: it listens on loopback only, on a port of the system's choice, and ends when its standard input closes, also
when the command is killed.
"""

import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lifecycle.errors import TransientError

START_SECONDS = 180
CHOSEN_BY_THE_USER = {"PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILE"}


@contextmanager
def own_server(home: Path) -> Iterator[Callable[[], None]]:
    """Start a server with its history in `<home>/prefect`, unless the environment names one; yield how to wait for it.

    Prefect must not be imported before: it reads the address from the environment then.
    """
    if CHOSEN_BY_THE_USER & os.environ.keys():
        yield lambda: None
        return
    folder = home / "prefect"
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PREFECT_HOME": str(folder)}
    command = [sys.executable, "-m", "cli.server"]
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
        os.environ.update(PREFECT_HOME=str(folder), PREFECT_API_URL=api)
        try:
            yield lambda: _wait(api, folder / "server.log")
        finally:
            if "prefect" in sys.modules:
                _drain()
            for name in ("PREFECT_HOME", "PREFECT_API_URL"):
                os.environ.pop(name, None)
            process.terminate()


def _wait(api: str, log: Path) -> None:
    """Return once the server answers: it listens from the start, so one request waits for it."""
    try:
        urllib.request.urlopen(f"{api}/health", timeout=START_SECONDS).close()  # noqa: S310  our own address
    except OSError as error:
        what = f"Prefect's server did not start: {error}. See {log}."
        raise TransientError(what, "Try again, or start one: prefect server start") from None


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

    import uvicorn
    from prefect.server.api.server import create_app

    app = create_app(ephemeral=True, final=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on")).run(sockets=[listener])


def _end_with_the_command() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    serve()
