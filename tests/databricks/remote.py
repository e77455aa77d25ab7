"""What the tests of remote steps share: small jobs that run a Python file, and short deadlines."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from databricks.sdk import WorkspaceClient

from databricks_emulator import Emulator
from lifecycle.core.frozen import Frozen
from lifecycle.settings.rules import DatabricksRules

PARAMETERS = ("request", "env", "prefect_flow_run_id")
QUICK = DatabricksRules(timeout_seconds=240, poll_seconds=0.1)
"""A deadline that nothing meets which goes as it should."""


class Request(Frozen):
    """A request as small as can be."""

    text: str = "hello"


def python_task(path: str, key: str = "main", **more: Any) -> dict[str, Any]:
    """A task that runs a Python file with the parameters of its job."""
    given = [f"{{{{job.parameters.{name}}}}}" for name in PARAMETERS]
    script = {"python_file": path, "parameters": given}
    return {"task_key": key, "environment_key": "default", "spark_python_task": script, **more}


def create_job(client: WorkspaceClient, name: str, *tasks: dict[str, Any], **more: Any) -> int:
    """A job as `resources/*.yml` has them, of other tasks."""
    body = {
        "name": name,
        "tasks": list(tasks),
        "parameters": [{"name": each, "default": ""} for each in PARAMETERS],
        "environments": [{"environment_key": "default", "spec": {"environment_version": "4"}}],
        **more,
    }
    return int(client.api_client.do("POST", "/api/2.2/jobs/create", body=body)["job_id"])


def endless(pid_file: Path) -> str:
    """The source of a task that says who it is and does not end by itself."""
    return f"import os, time, pathlib\npathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))\ntime.sleep(300)\n"


def until(read: Callable[[], Any], seconds: float = 300) -> Any:
    """What is read as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (found := read()):
        assert time.monotonic() < deadline, f"still {found}"
        time.sleep(0.05)
    return found


def active(workspace: Emulator) -> list[int]:
    return [run["run_id"] for run in workspace.runs(active_only="true")]


def is_alive(pid_file: Path) -> bool:
    return Path(f"/proc/{pid_file.read_text()}").exists()
