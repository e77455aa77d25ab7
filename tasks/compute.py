"""Run a heavy step where the settings say: in this process, or as a Databricks job with the same request."""

import json
import time
from collections.abc import Sequence
from typing import Any

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from lifecycle import settings
from lifecycle.core import progress
from lifecycle.core.errors import ConfigError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import Environment, StepName
from lifecycle.core.progress import Listener
from lifecycle.jobs import steps
from lifecycle.settings import Settings
from tasks import databricks, databricks_calls, waiters
from tasks.policies import on_data

SECONDS_BETWEEN = 1


def settings_of(env: Environment, model_name: str | None = None) -> Settings:
    """The settings of an environment; the process is signed in to its workspace if they name a block for that."""
    config = settings.load(env, model_name=model_name)
    if config.databricks.credentials:
        databricks_calls.sign_in(config.databricks.credentials)
    return config


def request_of(step: StepName, body: str) -> Frozen:
    """The request of a step from its JSON.

    Raises:
        ConfigError: It is not one.
    """
    try:
        fields = dict(json.loads(body))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"The request of {step} is no JSON object: {error}.", "See --help.") from None
    return settings.checked(steps.of(step).request, **fields)


def _run_step(step: StepName, request: Frozen, config: Settings) -> None:
    """Run one heavy step by name; its result lies where the request says."""
    with progress.heard_by(_bar(step)):
        if config.platform == "databricks":
            databricks.run_step(step, request, config)
        else:
            steps.of(step).run(request)


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


def run_at_once(step: StepName, requests: Sequence[Frozen], config: Settings) -> list[Exception]:
    """Run a step for each of several requests at the same time; the errors of those that failed, once all are over."""
    with waiters.together():
        futures = [
            run_step.with_options(task_run_name=f"{step} {number}").submit(step, request, config)
            for number, request in enumerate(requests, 1)
        ]
        ends: list[Any] = [future.result(raise_on_failure=False) for future in futures]
    return [end for end in ends if isinstance(end, Exception)]
