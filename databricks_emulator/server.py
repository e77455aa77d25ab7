"""The application that the parts make, and the loop that serves it on loopback, plainly and over TLS."""

import asyncio
import os
import shlex
import socket
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import trustme
import uvicorn
from mlflow.exceptions import MlflowException
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from databricks_emulator.artifact_urls import ArtifactUrls
from databricks_emulator.auth import Authentication, BearerRequired, Credentials
from databricks_emulator.errors import not_emulated, respond
from databricks_emulator.execution import Engine
from databricks_emulator.execution_attempts import Attempts
from databricks_emulator.execution_environment import Environments
from databricks_emulator.faults import ABORT, CallLog, Calls, FaultInjection, Faults
from databricks_emulator.files import Files
from databricks_emulator.jobs import Jobs
from databricks_emulator.places import Places
from databricks_emulator.rules import Rules
from databricks_emulator.secret_scopes import SecretScopes
from databricks_emulator.serving import Serving
from databricks_emulator.storage import Storage
from databricks_emulator.tracking import Tracking
from databricks_emulator.unity_catalog import UnityCatalog
from databricks_emulator.workspace import Workspace

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


def application(root: Path, https_url: str, mode: str) -> Starlette:
    """The emulated workspace over one root directory; tasks reach it at `https_url`."""
    root.mkdir(parents=True, exist_ok=True)
    authentication, faults, calls, rules = Authentication(Credentials.of(root)), Faults(), Calls(), Rules()
    catalog = UnityCatalog(root, rules)
    workspace = Workspace(catalog.files)
    engine = _engine(root, https_url, mode, faults, rules, catalog.files, workspace)
    jobs = Jobs(root, engine, https_url, rules)
    catalog.link(jobs)
    storage, tracking = Storage(root, catalog.files, rules), Tracking(root)
    parts = (
        authentication,
        faults,
        calls,
        rules,
        catalog,
        catalog.files,
        storage,
        workspace,
        ArtifactUrls(catalog.files, storage, tracking),
        tracking,
        Serving(catalog),
        Places(rules),
        SecretScopes(),
        jobs,
    )
    return Starlette(
        routes=[
            *(route for part in parts for route in part.routes),
            Route("/{path:path}", not_emulated, methods=METHODS),
        ],
        middleware=[
            Middleware(CallLog, calls=calls),
            Middleware(FaultInjection, faults=faults),
            Middleware(BearerRequired, authentication=authentication),
        ],
        exception_handlers={MlflowException: respond, Exception: respond},
        lifespan=_closing(engine),
    )


def _engine(
    root: Path, https_url: str, mode: str, faults: Faults, rules: Rules, files: Files, workspace: Workspace
) -> Engine:
    """What executes tasks, which find files on volumes and in the workspace's tree."""

    def place(path: str) -> Path:
        return files.place(PurePosixPath(path)) if path.startswith("/Volumes/") else workspace.place(path)

    workspace_of_tasks = {"host": https_url, "token": Credentials.of(root).token}
    attempts = Attempts(root, Environments(root, mode, place, rules), faults, workspace_of_tasks)
    return Engine(attempts, faults, rules, https_url)


def _way_in(root: Path, https_url: str) -> dict[str, str]:
    """The variables with which a process reaches the workspace over TLS."""
    ca_file = str(root / "ca.pem")
    trust = {"SSL_CERT_FILE": ca_file, "REQUESTS_CA_BUNDLE": ca_file}
    return {"DATABRICKS_HOST": https_url, "DATABRICKS_TOKEN": Credentials.of(root).token, **trust}


def _write_environment(root: Path, https_url: str) -> None:
    """Leave those variables to a shell, readable by nobody else."""
    path = root / "environment"
    path.touch(mode=0o600)
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in _way_in(root, https_url).items()]
    path.write_text("".join(lines), encoding="utf-8")


def _closing(engine: Engine) -> Any:
    """Let no task outlive the server."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        engine.close()

    return lifespan


def serve(root: Path, port: int, *, with_parent: bool, mode: str) -> None:
    """Serve on 127.0.0.1 until SIGTERM; print both URLs as soon as connections would be accepted."""
    root = root.resolve()
    root.mkdir(parents=True, exist_ok=True)
    with _listener(port) as plain, _listener(0) as tls:
        url, https_url = (f"{scheme}://127.0.0.1:{_port(end)}" for scheme, end in (("http", plain), ("https", tls)))
        app = _abortable(application(root, https_url, mode))
        servers = [_server(app, lifespan="on"), _server(app, lifespan="off", **_certificate(root))]
        _write_environment(root, https_url)
        if with_parent:
            threading.Thread(target=_end_with_parent, args=(servers,), daemon=True).start()
        print(url, https_url, sep="\n", flush=True)  # noqa: T201
        asyncio.run(_serve(servers, [plain, tls]))


async def _serve(servers: list[uvicorn.Server], listeners: list[socket.socket]) -> None:
    """Serve in one loop. A signal ends the last server, and with it, as uvicorn passes it on, the one before."""
    await asyncio.gather(*(server.serve([end]) for server, end in zip(servers, listeners, strict=True)))


def _server(app: ASGIApp, **options: Any) -> uvicorn.Server:
    """A server that hands an application its calls as they come, without anything between."""
    quiet = {"log_level": "critical", "timeout_keep_alive": 60, "timeout_graceful_shutdown": 1, "proxy_headers": False}
    return uvicorn.Server(uvicorn.Config(app, ws="none", **quiet, **options))


def _abortable(app: ASGIApp) -> ASGIApp:
    """Give a call the means to cut its own connection, for which the protocol has no message."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope[ABORT] = send.__self__.transport.abort  # uvicorn's request cycle
        await app(scope, receive, send)

    return call


def _listener(port: int) -> socket.socket:
    listener = socket.create_server(("127.0.0.1", port), backlog=128)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio does so only for its own sockets
    return listener


def _port(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def _certificate(root: Path) -> dict[str, str]:
    """The files with which the TLS listener proves who it is, made once for a root directory."""
    files = {"ssl_certfile": root / "server.pem", "ssl_keyfile": root / "server.key"}
    if not (root / "ca.pem").exists():
        authority = trustme.CA(organization_name="Databricks emulator")
        server = authority.issue_cert("127.0.0.1", "localhost")
        server.private_key_pem.write_to_path(files["ssl_keyfile"])
        files["ssl_keyfile"].chmod(0o600)
        for part in server.cert_chain_pems:
            part.write_to_path(files["ssl_certfile"], append=True)
        authority.cert_pem.write_to_path(root / "ca.pem")
    return {name: str(path) for name, path in files.items()}


def _end_with_parent(servers: list[uvicorn.Server]) -> None:
    """Wait until whoever started us closes our standard input, which its death does as well."""
    os.read(sys.stdin.fileno(), 1)
    for server in servers:
        server.should_exit = True
