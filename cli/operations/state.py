"""What is up for a state directory: `<home>/services/services.json`, which `mlops up` writes.

Beside it lies the credential of this start, which only its user can read. Every command asks here whether a server is
there, so this module imports only what costs milliseconds.
"""

import hashlib
import http.client
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from lifecycle.core import guard
from lifecycle.core.errors import ConfigError, ConflictError
from lifecycle.storage.files import write_json

POOL = "local-process"
WORKER_NAME = "mlops-up"
ANSWER_SECONDS = 0.5
HEALTH = {"prefect": "/api/health", "mlflow": "/health"}
LOGIN = "PREFECT_API_AUTH_STRING"
"""The variable that says what Prefect's client shows to its server."""


class Process(BaseModel):
    """A process, told by its time of creation from a later one that was given the same number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> "Process":
        """The process that has this number now."""
        return cls(pid=pid, created=psutil.Process(pid).create_time())

    @property
    def alive(self) -> bool:
        """Whether it is this process that runs; two seconds are what a corrected clock may move its creation."""
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.created) < 2 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


class Service(Process):
    """One service: its first process, where it answers and where it writes its log."""

    name: str
    address: str
    log: Path


class Stack(BaseModel):
    """All that one `mlops up` runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    supervisor: Process
    home: Path
    """Where the state directory was: the services know it by that name, wherever it has been moved since."""
    folder: str
    """Which folder that was: a copy of it has no services."""
    env: str
    phase: Literal["starting", "up", "stopping"]
    prefect: str
    mlflow: str
    services: tuple[Service, ...] = ()

    def service(self, name: str) -> Service | None:
        """The service of this name, if it was started."""
        return next((each for each in self.services if each.name == name), None)


def folder(home: Path) -> Path:
    """Where the state file, the lock and the logs lie."""
    return home / "services"


def read(home: Path) -> Stack | None:
    """The stack that was written last; None if there is none, or if it is another release's or another folder's."""
    try:
        stack = Stack.model_validate_json(_file(home).read_bytes())
        return stack if stack.folder == identity(home) else None
    except (OSError, ValidationError):
        return None


def identity(home: Path) -> str:
    """What a folder keeps when it is renamed, and what a copy of it does not have."""
    found = home.stat()
    return f"{found.st_dev}:{found.st_ino}"


def started_as(home: Path) -> Path:
    """The path by which the services of this folder know it."""
    stack = read(home)
    return stack.home if stack else home.resolve()


def write(home: Path, stack: Stack) -> None:
    """Replace the state file in one step."""
    write_json(_file(home), stack.model_dump(mode="json"))


def forget(home: Path) -> None:
    """Remove the state file and the credential: nothing is up."""
    _file(home).unlink(missing_ok=True)
    credential_file(home).unlink(missing_ok=True)


def credential_file(home: Path) -> Path:
    """Where the credential of the servers that are up is kept."""
    return folder(home) / "credential"


def new_credential(home: Path) -> str:
    """Make the credential of a start, which ends that of the start before."""
    made = guard.new_credential(f"mlops-{hashlib.sha256(str(home).encode()).hexdigest()[:8]}")
    path = credential_file(home)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(made, encoding="ascii")
    return made


def credential(home: Path) -> str:
    """What lets programs into the servers of this home; empty if they ask for nothing or none is up.

    Raises:
        ConfigError: They are another user's.
    """
    try:
        return credential_file(home).read_text(encoding="ascii").strip()
    except PermissionError:
        what = f"The servers of {home} are another user's: {credential_file(home)} cannot be read."
        fix = "Use a state directory of your own (MLOPS_HOME), or name a server: export PREFECT_API_URL=…"
        raise ConfigError(what, fix) from None
    except OSError:
        return ""


def links(home: Path) -> dict[str, str]:
    """Addresses that open the UIs of this home in a browser, each once; empty where nothing is up."""
    stack, found = read(home), credential(home)
    if not stack or not found:
        return {}
    ours = [each for each in stack.services if each.name in HEALTH]
    return {each.name: guard.link(found, each.address) for each in ours}


def api_url(home: Path) -> str | None:
    """The API of this home's own Prefect server, if it is up and answers.

    Raises:
        ConflictError: The directory was moved while it was up.
    """
    address = _answering(home, "prefect")
    return f"{address}/api" if address else None


def mlflow_url(home: Path) -> str | None:
    """The address of this home's own MLflow UI, if it is up and answers.

    Raises:
        ConflictError: The directory was moved while it was up.
    """
    return _answering(home, "mlflow")


def login(home: Path, api: str) -> dict[str, str]:
    """The variable by which Prefect's client gets into the server of this home; empty for any other server.

    What stands in the environment may be another server's, so for ours it does not count.
    """
    stack = read(home)
    service = stack.service("prefect") if stack else None
    ours = service is not None and service.alive and _place(api) == _place(f"{service.address}/api")
    found = credential(home) if ours else ""
    return {LOGIN: found} if found else {}


def is_healthy(home: Path, stack: Stack, service: Service) -> bool:
    """Tell whether a service runs and answers; a worker's answer is its heartbeat at the server."""
    if not service.alive:
        return False
    if service.name == "worker":
        return _is_polling(home, stack, service)
    return _answer(home, service.address, "GET", HEALTH[service.name]) is not None


def ask(home: Path, stack: Stack, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
    """What the API of this home's server answers; None if it does not."""
    text = _answer(home, stack.prefect, method, f"/api{path}", None if body is None else json.dumps(body))
    return json.loads(text or "null")


def _file(home: Path) -> Path:
    return folder(home) / "services.json"


def _place(api: str) -> tuple[str, int | None, str]:
    """Where an address leads, whichever name of this machine it uses; nowhere if it is none."""
    try:
        parts = urlsplit(api)
        name, port = parts.hostname or "", parts.port
    except ValueError:
        return "", None, ""
    return "localhost" if name in {guard.LOOPBACK, "::1"} else name, port, parts.path.rstrip("/")


def _answering(home: Path, name: str) -> str | None:
    stack = read(home)
    service = stack.service(name) if stack else None
    if stack and service and service.alive and stack.home != home.resolve():
        what = f"The services that are up know this state directory as {stack.home}, from where it was moved."
        raise ConflictError(what, "Stop them: mlops down")
    return service.address if stack and service and is_healthy(home, stack, service) else None


def _is_polling(home: Path, stack: Stack, worker: Service) -> bool:
    """Whether the server has had a heartbeat of this worker, not only of one before it."""
    workers = ask(home, stack, "POST", f"/work_pools/{POOL}/workers/filter", {}) or ()
    found = [each for each in workers if each["name"] == WORKER_NAME]
    return any(
        each["status"] == "ONLINE" and datetime.fromisoformat(each["last_heartbeat_time"]).timestamp() > worker.created
        for each in found
    )


def _answer(home: Path, address: str, method: str, path: str, body: str | None = None) -> str | None:
    """The body of a good answer, else None. `http.client` asks no proxy for what is on this machine."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=ANSWER_SECONDS)
    headers = {"Content-Type": "application/json", **guard.authorization(credential(home))}
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.read().decode() if answer.status == http.client.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
