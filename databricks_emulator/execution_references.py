"""Dynamic values in a task's parameters: `{{job.parameters.X}}` and its like."""

import json
import re
from datetime import UTC, datetime
from typing import Any

from databricks_emulator.auth import WORKSPACE_ID
from databricks_emulator.jobs_runs import Attempt, JobRun

REFERENCE = re.compile(r"\{\{\s*([^{}\s]+)\s*\}\}")
NAMESPACES = {"job", "task", "tasks", "workspace"}


class UnresolvableError(Exception):
    """A reference into a known namespace that names nothing there."""


def resolve(value: Any, known: dict[str, str]) -> Any:
    """A value with its references replaced, once: what comes out of one is not looked at again."""
    if isinstance(value, dict):
        return {key: resolve(inner, known) for key, inner in value.items()}
    if isinstance(value, list):
        return [resolve(inner, known) for inner in value]
    return REFERENCE.sub(lambda found: _replacement(found, known), value) if isinstance(value, str) else value


def _replacement(found: re.Match[str], known: dict[str, str]) -> str:
    name = found.group(1)
    if name in known:
        return known[name]
    if name.partition(".")[0] in NAMESPACES and "." in name:
        raise UnresolvableError(f"The reference {found.group(0)} cannot be resolved.")
    return found.group(0)


def known_to(run: JobRun, attempt: Attempt, host: str) -> dict[str, str]:
    """Everything that the parameters of a task can refer to."""
    facts = _of_job(run) | _of_task(run, attempt) | {"workspace.id": WORKSPACE_ID, "workspace.url": host}
    for key, other in run.latest.items():
        facts |= _of_other(key, other)
    defaults = {name: resolve(given.get("default", ""), facts) for name, given in run.parameters.items()}
    values = {name: given.get("value", defaults[name]) for name, given in run.parameters.items()}
    return facts | {f"job.parameters.{name}": value for name, value in values.items()}


def _of_job(run: JobRun) -> dict[str, str]:
    start = datetime.fromtimestamp(run.started / 1000, UTC)
    facts = {
        "job.id": run.job_id,
        "job.name": run.name,
        "job.run_id": run.run_id,
        "job.repair_count": len(run.repairs),
        "job.trigger.type": "manual",
        "job.start_time.iso_date": f"{start:%Y-%m-%d}",
        "job.start_time.iso_datetime": f"{start:%Y-%m-%dT%H:%M:%SZ}",
        "job.start_time.timestamp_ms": run.started,
        "job_id": run.job_id,
        "parent_run_id": run.run_id,
        "start_date": f"{start:%Y-%m-%d}",
        "start_time": run.started,
    }
    return {name: str(value) for name, value in facts.items()}


def _of_task(run: JobRun, attempt: Attempt) -> dict[str, str]:
    tries = sum(other.key == attempt.key for other in run.attempts)
    facts = {
        "task.name": attempt.key,
        "task.run_id": attempt.run_id,
        "task.execution_count": tries,
        "task.notebook_path": attempt.task.get("notebook_task", {}).get("notebook_path", ""),
        "run_id": attempt.run_id,
        "task_key": attempt.key,
        "task_retry_count": attempt.number,
    }
    return {name: str(value) for name, value in facts.items()}


def _of_other(key: str, attempt: Attempt) -> dict[str, str]:
    facts = {f"tasks.{key}.run_id": str(attempt.run_id)}
    if (end := attempt.progress.outcome) is not None:
        facts |= {f"tasks.{key}.result_state": end.result_state.lower(), f"tasks.{key}.error_code": end.code}
    for name, value in attempt.values.items():
        facts[f"tasks.{key}.values.{name}"] = value if isinstance(value, str) else json.dumps(value)
    return facts
