"""What is up for a state directory: `<home>/services/services.json`, which `mlops up` writes.

Every command asks here whether a server is there, so this module imports only what costs milliseconds.
"""

import base64
import http.client
import json
import os
from datetime import datetime
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from lifecycle.files import write_json

POOL = "local-process"
WORKER_NAME = "mlops-up"
ANSWER_SECONDS = 0.5
HEALTH = {"prefect": "/api/health", "mlflow": "/health"}


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
    """The stack that was written last; None if there is none, or if it is another release's."""
    try:
        return Stack.model_validate_json(_file(home).read_bytes())
    except (OSError, ValidationError):
        return None


def write(home: Path, stack: Stack) -> None:
    """Replace the state file in one step."""
    write_json(_file(home), stack.model_dump(mode="json"))


def forget(home: Path) -> None:
    """Remove the state file: nothing is up."""
    _file(home).unlink(missing_ok=True)


def api_url(home: Path) -> str | None:
    """The API of this home's own Prefect server, if it is up and answers."""
    address = _answering(home, "prefect")
    return f"{address}/api" if address else None


def mlflow_url(home: Path) -> str | None:
    """The address of this home's own MLflow UI, if it is up and answers."""
    return _answering(home, "mlflow")


def is_healthy(stack: Stack, service: Service) -> bool:
    """Tell whether a service runs and answers; a worker's answer is its heartbeat at the server."""
    if not service.alive:
        return False
    if service.name == "worker":
        return _is_polling(stack, service)
    return _answer(service.address, "GET", HEALTH[service.name]) is not None


def _file(home: Path) -> Path:
    return folder(home) / "services.json"


def _answering(home: Path, name: str) -> str | None:
    stack = read(home)
    service = stack.service(name) if stack else None
    return service.address if stack and service and is_healthy(stack, service) else None


def _is_polling(stack: Stack, worker: Service) -> bool:
    """Whether the server has had a heartbeat of this worker, not only of one before it."""
    text = _answer(stack.prefect, "POST", f"/api/work_pools/{POOL}/workers/filter", "{}")
    found = [each for each in json.loads(text or "[]") if each["name"] == WORKER_NAME]
    return any(
        each["status"] == "ONLINE" and datetime.fromisoformat(each["last_heartbeat_time"]).timestamp() > worker.created
        for each in found
    )


def _answer(address: str, method: str, path: str, body: str | None = None) -> str | None:
    """The body of a good answer, else None. `http.client` asks no proxy for what is on this machine."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=ANSWER_SECONDS)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json", **_authorization()})
        answer = connection.getresponse()
        return answer.read().decode() if answer.status == http.client.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _authorization() -> dict[str, str]:
    """The header for a server that asks for a login, as Prefect's own client sends it."""
    names = ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING")
    secret = next((os.environ[name] for name in names if os.environ.get(name)), "")
    return {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"} if secret else {}
