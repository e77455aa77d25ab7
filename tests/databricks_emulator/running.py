"""Start the emulator in a process of its own and wait until it answers."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import requests

from tests.databricks_emulator.auth import Credentials

REPOSITORY = Path(__file__).parents[2]


class Emulator(NamedTuple):
    """A running emulator: where it listens and what it accepts."""

    url: str
    token: str
    client_id: str
    client_secret: str
    pid: int

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a client reaches it by access token, and gives up soon when it may not."""
        return self._common | {"DATABRICKS_TOKEN": self.token}

    @property
    def service_principal(self) -> dict[str, str]:
        """The variables with which a client reaches it as a service principal (OAuth M2M)."""
        return self._common | {"DATABRICKS_CLIENT_ID": self.client_id, "DATABRICKS_CLIENT_SECRET": self.client_secret}

    @property
    def _common(self) -> dict[str, str]:
        return {
            "DATABRICKS_HOST": self.url,
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
        }

    def fail(self, path: str, status: int = 503, *, times: int = 1, after: bool = False) -> None:
        """Let the next calls whose path ends with `path` fail, before or after they had their effect."""
        fault = {"path": path, "status": status, "times": times, "after": after}
        requests.post(f"{self.url}/emulator/faults", json=fault, timeout=10).raise_for_status()


@contextmanager
def running(root: Path, port: int = 0) -> Iterator[Emulator]:
    """Run the emulator on a directory, which keeps models, files and credentials from one start to the next."""
    process = subprocess.Popen(
        [sys.executable, "-m", __package__, f"--root={root}", f"--port={port}", "--with-parent"],
        cwd=REPOSITORY,
        env=_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            url = process.stdout.readline().strip()
            if not url:
                raise RuntimeError(f"the Databricks emulator ended with {process.wait()} before it listened")
            requests.get(f"{url}/.well-known/databricks-config", timeout=60).raise_for_status()
            yield Emulator(url, *Credentials.of(root), process.pid)
        finally:
            process.terminate()


def _environment() -> dict[str, str]:
    """Our variables without those that address a registry: the emulator is one, and uses none."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("DATABRICKS_", "MLFLOW_"))}
    return ours | {"MLFLOW_LOGGING_LEVEL": "WARNING", "MLFLOW_DISABLE_TELEMETRY": "true"}
