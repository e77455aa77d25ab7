"""Start the emulator in a process of its own, wait until it answers, and steer it while it runs."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import requests

from databricks_emulator.auth import Credentials

REPOSITORY = Path(__file__).parents[1]


class Emulator(NamedTuple):
    """A running emulator: where it listens and what it accepts."""

    url: str
    https_host: str
    root: Path
    credentials: Credentials
    pid: int

    @property
    def token(self) -> str:
        return self.credentials.token

    @property
    def client_id(self) -> str:
        return self.credentials.client_id

    @property
    def client_secret(self) -> str:
        return self.credentials.client_secret

    @property
    def https_url(self) -> str:
        """The address under which clients that speak only TLS reach the same workspace."""
        return f"https://{self.https_host}"

    @property
    def ca_file(self) -> Path:
        """The certificate of the authority that vouches for the TLS listener."""
        return self.root / "ca.pem"

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a client reaches it by access token, and gives up soon when it may not."""
        return self._common | {"DATABRICKS_TOKEN": self.token}

    @property
    def service_principal(self) -> dict[str, str]:
        """The variables with which a client reaches it as a service principal (OAuth M2M)."""
        return self._common | {"DATABRICKS_CLIENT_ID": self.client_id, "DATABRICKS_CLIENT_SECRET": self.client_secret}

    @property
    def trust(self) -> dict[str, str]:
        """The variables that make httpx and requests trust the TLS listener."""
        return {"SSL_CERT_FILE": str(self.ca_file), "REQUESTS_CA_BUNDLE": str(self.ca_file)}

    @property
    def _common(self) -> dict[str, str]:
        return {
            "DATABRICKS_HOST": self.url,
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
        }

    def fail(self, path: str, status: int = 503, *, times: int = 1, after: bool = False) -> None:
        """Let the next calls whose path ends with `path` fail, before or after they had their effect.

        It takes the place of an earlier fault for the same path; `times=0` only clears that.
        """
        self._plan(path=path, status=status, times=times, after=after)

    def inject(self, match: str, **what: Any) -> None:
        """Let a fault wait behind those that do: `match` is `METHOD path` with `*`, `what` are `CallFault`'s fields."""
        self._plan(match=match, **what)

    def expire_token(self, times: int = 1) -> None:
        """Refuse the next calls as if the access token had expired."""
        self.inject(
            "* /api/*", status=403, error_code="PERMISSION_DENIED", message="Invalid access token.", times=times
        )

    def end_run(self, name: str, outcome: str, *, after_s: float = 0, times: int = 1) -> None:
        """Kill the next run of a job or task of this name and let it end as `CLUSTER_ERROR`, `TIMEDOUT` and so on."""
        self._plan(**{"run": name, "as": outcome, "after_s": after_s, "times": times})

    def hold(self, name: str, phase: str = "QUEUED") -> None:
        """Keep runs of a job (QUEUED) or task (PENDING, TERMINATING) in a phase until the faults are cleared."""
        self._plan(run=name, hold=phase)

    def truncate_output(self, name: str, times: int = 1) -> None:
        """Cut what the next runs of a task write."""
        self._plan(run=name, output_truncated=True, times=times)

    def restrict(self, *switches: str, missing: Sequence[str] = (), absent: Sequence[str] = ()) -> None:
        """Switch on what this workspace refuses, in place of what was on; without arguments nothing more than usual.

        Switches are `serverless_only`, `signed_urls_only` and `offline`.
        """
        asked = {**dict.fromkeys(switches, True), "missing": list(missing), "absent": list(absent)}
        requests.put(f"{self.url}/emulator/rules", json=asked, timeout=10).raise_for_status()

    def _plan(self, **fault: Any) -> None:
        requests.post(f"{self.url}/emulator/faults", json=fault, timeout=10).raise_for_status()

    def waiting(self) -> list[dict[str, Any]]:
        """The faults that nothing has met yet."""
        return requests.get(f"{self.url}/emulator/faults", timeout=10).json()

    def clear(self) -> None:
        """Forget all faults, let go what they hold, and refuse no more than usual."""
        self.restrict()
        requests.delete(f"{self.url}/emulator/faults", timeout=10).raise_for_status()

    def calls(self, match: str = "*") -> list[dict[str, Any]]:
        """The calls that were made so far and match `METHOD path`: `method, path, query, status, body, at`."""
        made = requests.get(f"{self.url}/emulator/calls", timeout=10).json()
        return [call for call in made if fnmatchcase(f"{call['method']} {call['path']}", match)]

    def forget_calls(self) -> None:
        requests.delete(f"{self.url}/emulator/calls", timeout=10).raise_for_status()

    def runs(self, **filters: Any) -> list[dict[str, Any]]:
        """All runs with their tasks, newest first, as `runs/list` describes them."""
        found, token = [], ""
        headers = {"Authorization": f"Bearer {self.token}"}
        while token is not None:
            query = filters | {"expand_tasks": "true", "page_token": token}
            reply = requests.get(f"{self.url}/api/2.2/jobs/runs/list", query, headers=headers, timeout=30)
            reply.raise_for_status()
            found += reply.json().get("runs", [])
            token = reply.json().get("next_page_token")
        return found

    def cancel_all(self) -> None:
        """Cancel whatever runs."""
        headers = {"Authorization": f"Bearer {self.token}"}
        for run in self.runs(active_only="true"):
            url, body = f"{self.url}/api/2.2/jobs/runs/cancel", {"run_id": run["run_id"]}
            requests.post(url, json=body, headers=headers, timeout=30).raise_for_status()


@contextmanager
def running(root: Path, port: int = 0, *, mode: str = "fast") -> Iterator[Emulator]:
    """Run the emulator on a directory, which keeps all but runs from one start to the next."""
    process = subprocess.Popen(
        [sys.executable, "-m", __package__, f"--root={root}", f"--port={port}", f"--mode={mode}", "--with-parent"],
        cwd=REPOSITORY,
        env=_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            url, https_url = process.stdout.readline().strip(), process.stdout.readline().strip()
            if not https_url:
                raise RuntimeError(f"the Databricks emulator ended with {process.wait()} before it listened")
            requests.get(f"{url}/.well-known/databricks-config", timeout=60).raise_for_status()
            yield Emulator(url, https_url.removeprefix("https://"), root, Credentials.of(root), process.pid)
        finally:
            process.terminate()


def _environment() -> dict[str, str]:
    """Our variables without those that address a registry: the emulator is one, and uses none."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("DATABRICKS_", "MLFLOW_"))}
    return ours | {"MLFLOW_LOGGING_LEVEL": "WARNING", "MLFLOW_DISABLE_TELEMETRY": "true"}
