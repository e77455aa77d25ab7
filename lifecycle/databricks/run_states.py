"""How a Databricks run ended, and which of our errors that is. Plain values in, plain values out.

A failed task makes a job run `INTERNAL_ERROR` with result `FAILED`: so the life cycle only says whether a run has
ended, the result and the termination details say how. What is not known to be a success is none.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field

from lifecycle.core import errors
from lifecycle.core.errors import ConfigError, ConflictError, MlopsError, TransientError
from lifecycle.core.frozen import Frozen

Run = Mapping[str, Any]
"""A run, or one task of it, as the Jobs API answers."""

ENDED = {"TERMINATED", "SKIPPED", "INTERNAL_ERROR"}
ENDING = "TERMINATING"
UNREAD = {"SKIPPED", "UPSTREAM_FAILED", "UPSTREAM_CANCELED", "EXCLUDED", "DISABLED"}
"""Outcomes of tasks that never ran."""
CURABLE = {
    *("DRIVER_ERROR", "CLUSTER_ERROR", "CLOUD_FAILURE", "INTERNAL_ERROR", "STORAGE_ACCESS_ERROR"),
    *("CLUSTER_REQUEST_LIMIT_EXCEEDED", "WORKSPACE_RUN_LIMIT_EXCEEDED", "MAX_CONCURRENT_RUNS_EXCEEDED"),
    *("MAX_JOB_QUEUE_SIZE_EXCEEDED", "MAX_SPARK_CONTEXTS_EXCEEDED", "MAXIMUM_CONCURRENT_RUNS_REACHED"),
}
NO_ROOM = {"MAXIMUM_CONCURRENT_RUNS_REACHED", "MAX_CONCURRENT_RUNS_EXCEEDED"}
CURABLE_TYPES = {"CLOUD_FAILURE", "INTERNAL_ERROR"}
OF_THE_SETUP = {
    *("UNAUTHORIZED_ERROR", "LIBRARY_INSTALLATION_ERROR", "INVALID_CLUSTER_REQUEST", "INVALID_RUN_CONFIGURATION"),
    *("REPOSITORY_CHECKOUT_FAILED", "FEATURE_DISABLED", "RESOURCE_NOT_FOUND", "BUDGET_POLICY_LIMIT_EXCEEDED"),
    *("DISABLED", "BREAKING_CHANGE"),
}
CANCELLED = {"CANCELED", "USER_CANCELED"}
OF_THE_CODE = "RUN_EXECUTION_ERROR"
LOG_LINES = 10

_RAISED = re.compile(r"\A(?:lifecycle\.(?:core\.)?errors\.)?(?P<name>[A-Za-z]+Error): (?P<what>.*)", re.DOTALL)


class Orphan(Frozen):
    """An active run, the flow run that started it, and what was done about it."""

    run_id: int
    name: str
    flow_run_id: str
    flow_state: str
    outcome: Literal["cancelled", "to cancel", "left"]
    page: str


class Finished(Frozen):
    """A run that succeeded."""

    run_id: int
    name: str
    page: str
    results: dict[str, Any] = Field({}, description="What each notebook exited with, by the key of its task.")


def has_ended(run: Run) -> bool:
    """Tell whether a run, or a task, has come to its end."""
    return _state(run, "life_cycle_state") in ENDED or _status(run).get("state") == "TERMINATED"


def is_ending(run: Run) -> bool:
    """Tell whether a run is being cancelled: what it does now does not count any more."""
    return _state(run, "life_cycle_state") == ENDING


def found_no_room(run: Run) -> bool:
    """Tell whether a run was skipped because others of its job, which has no queue, were active."""
    return bool({_state(run, "result_state"), _details(run).get("code", "")} & NO_ROOM)


def succeeded(run: Run) -> bool:
    """Tell whether a run is known to have done all that it should.

    `SUCCESS_WITH_FAILURES` is not that: a cleaning-up task that ran after the failure of the real one ends so too.
    """
    code = _details(run).get("code", "SUCCESS")
    return has_ended(run) and _state(run, "result_state") == "SUCCESS" and code == "SUCCESS"


def parameter(run: Run, name: str) -> str:
    """A parameter that a run was started with, of the job or of a notebook; empty if it has none."""
    for each in run.get("job_parameters", ()):
        if each.get("name") == name:
            return str(each.get("value", each.get("default", "")))
    for task in tasks(run):
        given = task.get("notebook_task", {}).get("base_parameters", {})
        if name in given:
            return str(given[name])
    return ""


def tasks(run: Run) -> list[Run]:
    """The tasks of a run, each in its last attempt."""
    last: dict[str, Run] = {}
    for task in run.get("tasks", ()):
        known = last.get(task["task_key"])
        if known is None or task.get("attempt_number", 0) >= known.get("attempt_number", 0):
            last[task["task_key"]] = task
    return list(last.values())


def failed_tasks(run: Run) -> list[Run]:
    """The tasks that ran and did not succeed: they have an output worth reading."""
    return [task for task in tasks(run) if not succeeded(task) and not _never_ran(task)]


def _never_ran(task: Run) -> bool:
    return bool({_state(task, "life_cycle_state"), _state(task, "result_state")} & UNREAD)


def words(run: Run) -> str:
    """The state of a run in a few words: `RUNNING`, `TERMINATED SUCCESS`."""
    return " ".join(part for part in (_state(run, "life_cycle_state"), _state(run, "result_state")) if part)


def error_of(run: Run, name: str, outputs: Mapping[str, Run]) -> MlopsError:
    """The error that a run ended with; `outputs` holds what its failed tasks wrote, by task key.

    An error of ours that a step raised comes back as itself, so that it has the same exit code and the same retries
    as in this process.
    """
    raised = next((found for output in outputs.values() if (found := _ours(output.get("error", "")))), None)
    where = f"Its page: {run['run_page_url']}" if run.get("run_page_url") else ""
    if raised:
        return type(raised)(f"{raised.what}{_logs(outputs)}", where)
    kind, fix = _kind(run)
    reasons = "; ".join(_reasons(run, outputs)) or "no reason given"
    what = f"{name} ended as {words(run) or 'unknown'}: {reasons.rstrip('.')}.{_logs(outputs)}"
    return kind(what, f"{fix} {where}".strip())


def _ours(error: str) -> MlopsError | None:
    """An error of ours from the line that a traceback ends with; some runtimes leave out the module."""
    match = _RAISED.match(error)
    found = getattr(errors, match["name"], None) if match else None
    if match and isinstance(found, type) and issubclass(found, MlopsError):
        return found(match["what"].strip())
    return None


def _kind(run: Run) -> tuple[type[MlopsError], str]:
    """Which kind of error an unsuccessful end is, and what to do: the tasks know it better than the run."""
    parts = failed_tasks(run) or [run]
    codes = {_details(part).get("code", "") for part in parts}
    types = {_details(part).get("type", "") for part in parts}
    results = {_state(part, "result_state") for part in (run, *parts)}
    if "TIMEDOUT" in results:
        return ConfigError, "Raise the timeout of the job, or give it larger compute."
    if codes & CANCELLED or results & CANCELLED:
        return ConflictError, "Somebody cancelled it; start the flow again."
    if OF_THE_CODE in codes:
        return MlopsError, ""
    if codes & OF_THE_SETUP:
        return ConfigError, "Correct the job or the grants."
    if (codes | results) & CURABLE or types & CURABLE_TYPES:
        return TransientError, "Try again."
    return MlopsError, ""


def _reasons(run: Run, outputs: Mapping[str, Run]) -> Iterator[str]:
    for task in failed_tasks(run):
        said = outputs.get(task["task_key"], {}).get("error") or _details(task).get("message") or _message(task)
        yield f"task {task['task_key']}: {said or words(task)}"
    if not failed_tasks(run) and (said := _details(run).get("message") or _message(run)):
        yield said


def _logs(outputs: Mapping[str, Run]) -> str:
    """The last lines that the failed tasks wrote, without the traceback that says the same as the error."""
    lines = []
    for key, output in outputs.items():
        written = output.get("logs", "").partition("Traceback (most recent call last)")[0].strip().splitlines()
        lines += [f"  {key}: {line}" for line in written[-LOG_LINES:]]
        if output.get("logs_truncated"):
            lines.append(f"  {key}: … (the rest is on its page)")
    return "\n" + "\n".join(lines) + "\n" if lines else ""


def _state(run: Run, name: str) -> str:
    return str((run.get("state") or {}).get(name) or "")


def _message(run: Run) -> str:
    return _state(run, "state_message")


def _status(run: Run) -> Mapping[str, Any]:
    return run.get("status") or {}


def _details(run: Run) -> Mapping[str, str]:
    return _status(run).get("termination_details") or {}
