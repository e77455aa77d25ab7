"""Prefect's server and MLflow's UI behind the guard, as processes that a command starts and tells a listening socket.

The credential comes by the environment and is taken out of it.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cli import environment, history
from lifecycle.core import guard
from lifecycle.core.guard import App, Guard
from lifecycle.storage import database_templates

SCHEMES = ("http", "https")


def main(kind: str, fd: str, names: str, *place: str) -> None:
    """Serve `prefect`, or `mlflow` with its database and artifacts, until SIGTERM."""
    listener, hosts = socket.socket(fileno=int(fd)), [name for name in names.split(",") if name]
    if kind == "prefect":
        with prefect(hosts) as app:
            run(app, listener)
    else:
        run(mlflow(hosts, *place), listener)


def run(app: App, listener: socket.socket, log_level: str = "warning") -> None:
    """Serve on a socket that listens already. A log of each request would hold the links that let people in."""
    import uvicorn

    config = uvicorn.Config(app, log_level=log_level, access_log=False, lifespan="on")
    uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def prefect(hosts: Sequence[str] = (), ephemeral: bool = False) -> Iterator[App]:
    """Prefect's application. Who asks, and from where, is the guard's question alone, also with a login of its own."""
    folder = Path(os.environ[environment.HOME])
    folder.mkdir(parents=True, exist_ok=True)
    environment.import_prefect(folder)
    _make_tables(folder / history.NAME)
    from prefect.logging.configuration import setup_logging
    from prefect.server.api.server import create_app
    from prefect.settings import (
        PREFECT_SERVER_API_AUTH_STRING,
        PREFECT_SERVER_CORS_ALLOWED_ORIGINS,
        temporary_settings,
    )

    setup_logging(incremental=False)  # at its import stderr was not the log of this process yet
    login = PREFECT_SERVER_API_AUTH_STRING.value()
    credentials = [os.environ.pop(guard.VARIABLE), *([str(login)] if login else [])]
    with temporary_settings(
        {PREFECT_SERVER_CORS_ALLOWED_ORIGINS: ""}, restore_defaults={PREFECT_SERVER_API_AUTH_STRING}
    ):
        app = create_app(ephemeral=ephemeral, final=True)
        yield Guard(app, credentials=credentials, hosts=hosts, pages=lambda path: not path.startswith("/api"))


def _make_tables(database: Path) -> None:
    """Begin a new history as a copy of an empty one, or make the tables now and keep them for the next one.

    Whatever is missing then, or where the settings name another database, the server makes the tables as it starts.
    """
    from filelock import FileLock

    if database.exists() or history.is_elsewhere():
        return
    with FileLock(database.with_name(f".{database.name}.lock")):
        if database.exists() or database_templates.copy("prefect", database):
            return
        with suppress(ImportError, AttributeError):  # names that Prefect does not promise: they may be gone one day
            from prefect.server.database import provide_database_interface

            asyncio.run(provide_database_interface().create_db())
            database_templates.keep("prefect", database)


def mlflow(hosts: Sequence[str], database: str, artifacts: str) -> App:
    """MLflow's application over a database, as `mlflow server` makes it. Its own checks let in more than the guard."""
    import uvicorn  # noqa: F401  by it MLflow knows that it is served
    from mlflow.server import constants, handlers

    root = "mlflow-artifacts:/"
    os.environ |= {
        constants.BACKEND_STORE_URI_ENV_VAR: database,
        constants.REGISTRY_STORE_URI_ENV_VAR: database,
        constants.ARTIFACT_ROOT_ENV_VAR: root,
        constants.SERVE_ARTIFACTS_ENV_VAR: "true",
        constants.ARTIFACTS_DESTINATION_ENV_VAR: artifacts,
        "MLFLOW_SERVER_ALLOWED_HOSTS": "*",
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(f"{scheme}://{name}" for name in hosts for scheme in SCHEMES),
    }
    handlers.initialize_backend_stores(database, database, root)
    from mlflow.server.fastapi_app import app

    return Guard(app, credentials=[os.environ.pop(guard.VARIABLE)], hosts=hosts, pages=lambda path: path == "/")


if __name__ == "__main__":
    main(*sys.argv[1:])
