"""Heavy steps as Databricks runs: started once, followed to the end, cancelled when the one who waits goes away.

A run is started under a token that flow run, step, request and attempt give. The same token never starts a second run,
so a connection that breaks, a retry and a flow that is run again after a kill all come back to the same one. The
attempt counts up only past runs that have ended without success or were deleted; nothing is stored for that. A flow
that asks for the same as one that was killed goes on with its run.
"""

import hashlib
import itertools
import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from prefect import runtime
from prefect.artifacts import create_link_artifact
from prefect.client.orchestration import get_client
from prefect.context import TaskRunContext
from pydantic import Field

from lifecycle.core import progress, secrets
from lifecycle.core.errors import ConfigError, MlopsError, TransientError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import StepName
from lifecycle.databricks import payload as payloads
from lifecycle.databricks import run_states as runs
from lifecycle.databricks.run_states import Finished, Run
from lifecycle.settings import Settings
from lifecycle.settings.rules import DatabricksRules
from lifecycle.storage import volumes
from tasks.databricks_calls import DeletedRunError, Workspace
from tasks.policies import on_registry
from tasks.waiters import wait, waiter_of, waits_here

logger = logging.getLogger("lifecycle.databricks")  # the name under which commands and Prefect show what steps say

Start = Callable[[str, float], int]
"""Start a run under a token, at most until a moment, and return its id; the same token gives the same run."""
Seen = Callable[[Run], None]
"""What is done with each look at a run."""

PAGES = 4
"""How far back a failed run of the same flow run is looked for: 100 runs."""
CANCEL_SECONDS, SEEN_SECONDS = 20.0, 0.5
LONGEST_PAUSE = 12
"""Looks at a run for which the next attempt waits at most, where others leave no room for it."""
OUTPUT_SECONDS = 30.0
REQUEST_BYTES = 8000
"""The parameters of a run may have 10,000 bytes as JSON, in which each quote of a request counts as two and more; a
larger request travels as a file on the volume."""
FLOW_RUN = "prefect_flow_run_id"
"""The parameter by which the run of a killed flow is found again."""
_UNFIT = re.compile(r"[^a-z0-9]+")
"""What the key of an artifact must not hold."""


def run_step(step: StepName, request: Frozen, config: Settings) -> None:
    """Run a step as the job that the settings name, or as the user's own notebook.

    Raises:
        ConfigError: The request refers to a secret that only this process was given.
        MlopsError: The error that the step raised, or the one that the end of the run means.
    """
    body = json.dumps(request.model_dump(mode="json"))
    _require_shared(body, step)
    workspace, flow_run = Workspace(config.mlflow_uri), str(runtime.flow_run.id or uuid4())
    name = config.databricks.job(config.env, step)
    parameters = {"request": _portable(body, config), "env": str(config.env), FLOW_RUN: flow_run}
    of_the_same: dict[str, Any] = {"run_type": "SUBMIT_RUN", "expand_tasks": "true"}
    with _saying_what_may_go_on():
        if notebook := config.databricks.notebooks.get(step):
            start = _notebook(workspace, name, step, notebook, parameters)
        else:
            of_the_same = {"job_id": workspace.job_id(name)}
            start = of_job(workspace, of_the_same["job_id"], parameters)
        listed = list(workspace.runs(pages=PAGES, **of_the_same))
    earlier = Earlier(runs=frozenset(run["run_id"] for run in listed), left=_taken_over(listed, name, parameters))
    run = complete(workspace, start, config.databricks, shown(name), key=f"{flow_run}:{step}:{body}", earlier=earlier)
    raise_for(workspace, run, name)


@contextmanager
def _saying_what_may_go_on() -> Iterator[None]:
    """The last error is what a person reads: an earlier attempt may have left a run that this one could not look up."""
    try:
        yield
    except MlopsError as error:
        if (context := TaskRunContext.get()) and context.task_run.run_count > 1:
            what = f"{error.what} Whether an earlier attempt left a run is not known."
            raise type(error)(what, f"{error.fix} Later: mlops databricks reconcile") from None
        raise


def _taken_over(listed: Sequence[Run], name: str, parameters: dict[str, str]) -> int | None:
    """The active run of the same request whose flow was killed: this one waits for it now."""
    mine = parameters[FLOW_RUN]
    waits_here(mine)
    with get_client(sync_client=True) as client:
        for run in listed:
            theirs = runs.parameter(run, FLOW_RUN)
            same = all(runs.parameter(run, each) == parameters[each] for each in ("request", "env"))
            over = run.get("run_name") != name or runs.has_ended(run) or runs.is_ending(run)
            if same and not over and theirs not in {"", mine} and waiter_of(client, theirs).gone:
                logger.info("Run %s was left by a flow that was killed: going on with it", run["run_id"])
                waits_here(mine, in_place_of=theirs)
                return int(run["run_id"])
    return None


def _require_shared(body: str, step: StepName) -> None:
    """A secret that was given here is not sent: what a job is sent stays readable in the workspace."""
    if names := secrets.given_here(body):
        what = f"The job of {step} would have to be sent the secret in the address: {', '.join(names)}."
        fix = "Write the address with the variable, in single quotes: '…?${MLOPS_SECRET_…}', and set it for the job."
        raise ConfigError(what, fix)


def _submit(file: Path, config: Settings) -> Finished:
    """Run a one-time run, or a job, just as its JSON says, and follow it to its end; each call is a run of its own.

    Raises:
        MlopsError: The file does not hold a payload, or the run did not succeed.
    """
    payload = payloads.read(file)
    workspace, name = Workspace(config.mlflow_uri), str(payload.get("run_name", file.stem))
    start = _of_payload(workspace, payload)
    key = payload.get("idempotency_token") or uuid4()
    run = complete(workspace, start, config.databricks, shown(name), key=str(key))
    raise_for(workspace, run, name)
    page, results = run.get("run_page_url", ""), _results(workspace, run)
    return Finished(run_id=run["run_id"], name=name, page=page, results=results)


def shown(name: str) -> Seen:
    """Show a run: a link to its page, a log line for each change of its state, the share of its tasks that ended."""
    told: dict[int, str] = {}

    def seen(run: Run) -> None:
        number, page, state, parts = run["run_id"], run.get("run_page_url", ""), runs.words(run), runs.tasks(run)
        if page and number not in told and TaskRunContext.get():  # an artifact belongs to a task run
            key = f"databricks-{_UNFIT.sub('-', name.lower())}".strip("-")
            create_link_artifact(page, link_text=f"Run {number} in Databricks", key=key, description=name)
        if told.get(number) != state:
            logger.info("%s: run %s is %s %s", name, number, state, "" if number in told else page)
            told[number] = state
        progress.report(sum(map(runs.has_ended, parts)), len(parts))

    return seen


def of_job(workspace: Workspace, job_id: int, parameters: dict[str, str]) -> Start:
    """A run of a job that is defined in the workspace."""
    from prefect_databricks.jobs import jobs_run_now

    def start(token: str, until: float) -> int:
        given = {"job_id": job_id, "job_parameters": parameters, "idempotency_token": token}
        return int(workspace.call(jobs_run_now.fn, until=until, needs="run_id", **given)["run_id"])

    return start


def _notebook(workspace: Workspace, name: str, step: StepName, notebook: str, parameters: dict[str, str]) -> Start:
    task = {"notebook_path": notebook, "base_parameters": parameters}
    payload = {"run_name": name, "tasks": [{"task_key": step.replace("-", "_"), "notebook_task": task}]}
    return _of_payload(workspace, payload)


def _of_payload(workspace: Workspace, payload: dict[str, Any]) -> Start:
    """A run just as its payload says; prefect-databricks' own task for a one-time run knows no environments.

    The task of older payloads of one-time runs stands in the payload itself.
    """
    path = "/2.2/jobs/run-now" if "job_id" in payload else "/2.2/jobs/runs/submit"
    if not payload.keys() & {"job_id", "tasks"}:
        path = "/2.0/jobs/runs/submit"

    def start(token: str, until: float) -> int:
        given = {"idempotency_token": token} | payload
        return int(workspace.post(path, given, until=until, needs="run_id")["run_id"])

    return start


def _portable(body: str, config: Settings) -> str:
    """A request as a parameter: itself, or the name of a file on the volume that holds it."""
    if len(json.dumps(body)) <= REQUEST_BYTES:
        return body
    path = config.volume / "requests" / f"{hashlib.sha256(body.encode()).hexdigest()}.json"
    volumes.write(path, body.encode())
    return f"@{path}"


class Earlier(Frozen):
    """The runs of a job that were there before: one of them that has failed is not what a call is about."""

    runs: frozenset[int] = frozenset()
    left: int | None = Field(None, description="One that is active, and is taken over.")


def complete(
    workspace: Workspace, start: Start, rules: DatabricksRules, seen: Seen, *, key: str, earlier: Earlier = Earlier()
) -> Run:
    """Start a run, or come back to the one that was started under the same key, and follow it to its end.

    Args:
        workspace: Where.
        start: How.
        rules: The deadline, and how often to look.
        seen: Told of each look at the run.
        key: What gives the tokens.
        earlier: The runs that were there already.
    """
    until, left = time.monotonic() + rules.timeout_seconds, earlier.left
    for attempt in itertools.count(1):
        try:
            run_id = left or _started(workspace, start, hashlib.sha256(f"{key}:{attempt}".encode()).hexdigest(), until)
        except DeletedRunError:
            continue
        left = None
        with _cancelled_on_exit(workspace, run_id):
            first = look(workspace, run_id, until)
            past = run_id in earlier.runs and (runs.has_ended(first) or runs.is_ending(first))
            run = _followed(workspace, run_id, rules, seen, until)
            pause = rules.poll_seconds * min(attempt, LONGEST_PAUSE)
            if runs.found_no_room(run) and time.monotonic() + pause < until:
                wait(pause)
                continue
            if not past or runs.succeeded(run):
                return run
            if len(runs.tasks(run)) > 1:
                _repair(workspace, run_id, until)
                return _followed(workspace, run_id, rules, seen, until)
    raise AssertionError


def _started(workspace: Workspace, start: Start, token: str, until: float) -> int:
    """Start a run. If that is interrupted, or its answer is lost, the token still tells which run to cancel."""
    try:
        return start(token, until)
    except BaseException as error:
        if isinstance(error, TransientError) or not isinstance(error, Exception):
            try:
                cancel(workspace, start(token, time.monotonic() + CANCEL_SECONDS))
            except MlopsError as failure:
                logger.error("Whether a run was started is not known: %s Later: mlops databricks reconcile", failure)
                if isinstance(error, MlopsError):
                    what = f"{error.what} Whether a run was started is not known."
                    raise type(error)(what, f"{error.fix} Later: mlops databricks reconcile") from None
        raise


@contextmanager
def _cancelled_on_exit(workspace: Workspace, run_id: int) -> Iterator[None]:
    """Cancel the run whatever ends the wait for it: the deadline, a lost connection, SIGTERM, Ctrl-C."""
    try:
        yield
    except BaseException as error:
        try:
            cancel(workspace, run_id)
        except MlopsError as failure:
            logger.error("Run %d may go on: %s Later: mlops databricks reconcile", run_id, failure)
            if isinstance(error, MlopsError):
                what = f"{error.what} Run {run_id} may go on: it is not known to be cancelled."
                raise type(error)(what, f"{error.fix} To end it: mlops databricks reconcile") from None
        else:
            if isinstance(error, MlopsError):
                raise type(error)(f"{error.what} Run {run_id} was cancelled.", error.fix) from None
        raise


def cancel(workspace: Workspace, run_id: int) -> None:
    """End a run; one that has ended stays as it is.

    Raises:
        MlopsError: The workspace did not take it, or the run is not seen to end.
    """
    from prefect_databricks.jobs import jobs_runs_cancel

    until = time.monotonic() + CANCEL_SECONDS
    workspace.call(jobs_runs_cancel.fn, run_id=run_id, until=until)
    while not (runs.has_ended(run := look(workspace, run_id, until)) or runs.is_ending(run)):
        if time.monotonic() + SEEN_SECONDS >= until:
            raise TransientError(f"Run {run_id} was told to end and is still {runs.words(run)}.", "Try again.")
        time.sleep(SEEN_SECONDS)
    logger.info("Cancelled run %d", run_id)


def look(workspace: Workspace, run_id: int, until: float, *, history: bool = False) -> dict[str, Any]:
    """The run as it is now."""
    from prefect_databricks.jobs import jobs_runs_get

    given = {"run_id": run_id, "include_history": history}
    return workspace.call(jobs_runs_get.fn, until=until, needs="state", **given)


def _followed(workspace: Workspace, run_id: int, rules: DatabricksRules, seen: Seen, until: float) -> Run:
    """Look at a run until it has ended."""
    try:
        while True:
            run = look(workspace, run_id, until)
            seen(run)
            if runs.has_ended(run):
                return run
            left = until - time.monotonic()
            if left <= 0:
                break
            wait(min(rules.poll_seconds, left))
    except TransientError:
        if time.monotonic() + rules.poll_seconds < until:
            raise
    what = f"Run {run_id} has not ended within {rules.timeout_seconds:g} s."
    raise ConfigError(what, "Raise databricks.timeout_seconds, or give the job larger compute.")


def _repair(workspace: Workspace, run_id: int, until: float) -> None:
    """Run the failed tasks of a run again. A repair has no token, but names the one before, so none comes twice."""
    from prefect_databricks.jobs import jobs_runs_repair

    before = _last_repair(workspace, run_id, until)
    given: dict[str, Any] = {"run_id": run_id, "rerun_all_failed_tasks": True, "latest_repair_id": before}
    try:
        workspace.call(jobs_runs_repair.fn, until=until, **given)
    except ConfigError:
        if _last_repair(workspace, run_id, until) == before:
            raise  # otherwise the answer to the first call was lost, and the second was refused
    logger.info("Run %d: its failed tasks run again", run_id)


def _last_repair(workspace: Workspace, run_id: int, until: float) -> int | None:
    history = look(workspace, run_id, until, history=True).get("repair_history", ())
    repairs: list[int] = [each["id"] for each in history if each.get("id")]
    return repairs[-1] if repairs else None


def raise_for(workspace: Workspace, run: Run, name: str) -> None:
    """Return if a run succeeded.

    Raises:
        MlopsError: What it ended with, with the error and the last words of each failed task.
    """
    if runs.succeeded(run):
        return
    outputs = {task["task_key"]: _output(workspace, task["run_id"]) for task in runs.failed_tasks(run)}
    error = runs.error_of(run, name, outputs)
    for key, output in outputs.items():
        if type(error) is MlopsError and output.get("error_trace"):  # of no use where the error says what to do
            logger.error("%s, task %s:\n%s", name, key, output["error_trace"])
    raise error


def _output(workspace: Workspace, task_run_id: int) -> Run:
    """What a task wrote; that it cannot be read must not hide how it ended."""
    from prefect_databricks.jobs import jobs_runs_get_output

    until = time.monotonic() + OUTPUT_SECONDS
    try:
        found: Run = workspace.call(jobs_runs_get_output.fn, run_id=task_run_id, until=until)
    except MlopsError as failure:
        return {"logs": f"(its output cannot be read: {failure})"}
    return found


def _results(workspace: Workspace, run: Run) -> dict[str, Any]:
    """What each notebook of a run exited with, by its task: the value, if it is JSON, else the text."""
    results = {}
    for task in runs.tasks(run):
        output = _output(workspace, task["run_id"]) if "notebook_task" in task else {}
        if text := (output.get("notebook_output") or {}).get("result"):
            logger.info("%s exited with %s", task["task_key"], text)
            with suppress(ValueError):
                text = json.loads(text)
            results[task["task_key"]] = text
    return results


submit = on_registry(_submit).with_options(name="run a one-time run", task_run_name="{file.name}", retries=0)
