"""Run a heavy step where the settings say. The platform `local` runs it in this process."""

import time
from typing import Any

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from lifecycle import progress, steps
from lifecycle.progress import Listener
from lifecycle.settings import Frozen
from tasks.policies import on_data

SECONDS_BETWEEN = 1


def _run_step(step: str, request: Frozen) -> None:
    """Run one heavy step by name; its result lies where the request says."""
    with progress.heard_by(_bar(step)):
        steps.STEPS[step].run(request)


def _bar(step: str) -> Listener:
    """A progress bar in Prefect's UI, drawn at the first report and again each second."""
    drawn: dict[str, Any] = {}

    def draw(fraction: float) -> None:
        if not drawn:
            drawn["id"] = create_progress_artifact(100 * fraction, key=f"progress-{step}", description=step)
        elif fraction == 1 or time.monotonic() - drawn["at"] >= SECONDS_BETWEEN:
            update_progress_artifact(drawn["id"], 100 * fraction)
        else:
            return
        drawn["at"] = time.monotonic()

    return draw


run_step = on_data(_run_step).with_options(name="run a step", task_run_name="{step}")
