"""Whether Prefect's server schedules runs with the SQLAlchemy of this Python: `python -m benchmarks.scheduled`.

A bare server, and a deployment that is due every minute: the exit code is 0 if the server has scheduled runs of it
within a minute and a half, 3 if it has none, and 1 if nothing was measured. It needs Prefect and nothing of this
project, so any environment can be measured.
"""

import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from benchmarks.prefect_server import call, running

PATIENCE = 90
NONE = 3


def scheduled_runs(api: str, seconds: float) -> int:
    """The runs that a server has scheduled of a new deployment, as soon as there are some."""
    flow = call(f"{api}/flows/", {"name": "scheduled"})["id"]
    schedules = [{"active": True, "schedule": {"cron": "* * * * *"}}]
    deployment = call(f"{api}/deployments/", {"name": "each-minute", "flow_id": flow, "schedules": schedules})["id"]
    try:
        deadline, runs = time.monotonic() + seconds, []
        while not runs and time.monotonic() < deadline:
            time.sleep(0.5)
            runs = call(f"{api}/flow_runs/filter", {"deployments": {"id": {"any_": [deployment]}}})
        return len(runs)
    finally:
        call(f"{api}/deployments/{deployment}", method="DELETE")


def main() -> None:
    """Start a server, ask it, and say what came of it."""
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "prefect", worker=False) as api:
        runs = scheduled_runs(api, PATIENCE)
    versions = f"Prefect {version('prefect')} with SQLAlchemy {version('sqlalchemy')}"
    print(f"{versions}: {runs} runs were scheduled within {PATIENCE} seconds")
    sys.exit(0 if runs else NONE)


if __name__ == "__main__":
    main()
