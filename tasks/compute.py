"""Run a heavy step where the settings say. The platform `local` runs it in this process."""

from lifecycle import steps
from lifecycle.settings import Frozen
from tasks.policies import on_data


def _run_step(step: str, request: Frozen) -> None:
    """Run one heavy step by name; its result lies where the request says."""
    steps.STEPS[step].run(request)


run_step = on_data(_run_step).with_options(name="run-step", task_run_name="{step}")
