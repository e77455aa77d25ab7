"""The application that the parts make, and the loop that serves it on loopback."""

import os
import socket
import sys
import threading
from pathlib import Path

import uvicorn
from mlflow.exceptions import MlflowException
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from tests.databricks_emulator.auth import Authentication, BearerRequired, Credentials
from tests.databricks_emulator.errors import not_emulated, respond
from tests.databricks_emulator.faults import FaultInjection, Faults
from tests.databricks_emulator.unity_catalog import UnityCatalog

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


def application(root: Path) -> Starlette:
    """The emulated workspace over one root directory."""
    root.mkdir(parents=True, exist_ok=True)
    authentication, faults, catalog = Authentication(Credentials.of(root)), Faults(), UnityCatalog(root)
    parts = (authentication, faults, catalog, catalog.files)
    return Starlette(
        routes=[
            *(route for part in parts for route in part.routes),
            Route("/{path:path}", not_emulated, methods=METHODS),
        ],
        middleware=[
            Middleware(FaultInjection, faults=faults),
            Middleware(BearerRequired, authentication=authentication),
        ],
        exception_handlers={MlflowException: respond, Exception: respond},
    )


def serve(root: Path, port: int, *, with_parent: bool) -> None:
    """Serve on 127.0.0.1 until SIGTERM; print the URL as soon as a connection would be accepted."""
    app = application(root)
    config = uvicorn.Config(app, log_level="warning", timeout_keep_alive=60, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", port), backlog=128) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio does so only for its own sockets
        if with_parent:
            threading.Thread(target=_end_with_parent, args=(server,), daemon=True).start()
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)  # noqa: T201
        server.run(sockets=[listener])


def _end_with_parent(server: uvicorn.Server) -> None:
    """Wait until whoever started us closes our standard input, which its death does as well."""
    os.read(sys.stdin.fileno(), 1)
    server.should_exit = True
