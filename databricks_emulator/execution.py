"""Executes runs: which task when and how often, and what the ends of the tasks make of the whole.

One event loop does it all. Each run and each attempt at a task has a `Stop`, which ends it from outside.
"""

import asyncio
import itertools
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from databricks_emulator.execution_attempts import Attempts, Stop
from databricks_emulator.faults import Faults
from databricks_emulator.jobs_runs import Attempt, JobRun, page_url
from databricks_emulator.jobs_states import (
    CANCELED,
    DISABLED,
    EXCLUDED,
    TIMEDOUT,
    TOO_MANY_RUNS,
    UPSTREAM_CANCELED,
    UPSTREAM_FAILED,
    Outcome,
    Progress,
    demanded,
    failed,
    now,
    of_run,
)
from databricks_emulator.rules import Rules
from databricks_emulator.rules_list import MOST_TASKS_AT_ONCE

GLANCE = 0.02
"""Seconds between two looks at what no event tells of: room in a queue, a fault that holds no longer."""

Ends = dict[str, "asyncio.Future[Outcome]"]


class Engine:
    """Starts, stops and finishes runs."""

    def __init__(self, attempts: Attempts, faults: Faults, rules: Rules, host: str) -> None:
        self._attempts = attempts
        self._faults = faults
        self._rules = rules
        self._host = host
        self._ids = itertools.count(now() * 100, 17)
        self._active: dict[int, JobRun] = {}
        self._waiting: list[JobRun] = []
        self._stops: dict[int, Stop] = {}
        self._workers: set[asyncio.Task[None]] = set()

    def new_id(self) -> int:
        """An id that no other run has, nor one of an earlier start; as in a workspace, larger than 32 bits."""
        return next(self._ids)

    def start(self, run: JobRun, tasks: list[dict[str, Any]], *, limit: int | None, queued: bool) -> list[Attempt]:
        """Execute some tasks of a run, at once or when fewer than `limit` runs of its job are active."""
        ends = {key: _ended(attempt.progress.outcome) for key, attempt in run.latest.items()}
        attempts = [self._new_attempt(run, task) for task in tasks]
        ends |= {attempt.key: asyncio.get_running_loop().create_future() for attempt in attempts}
        full = self._is_full(run.job_id, limit)
        stop = self._stops[run.run_id] = Stop()
        if full and not queued:
            stop.end(TOO_MANY_RUNS)
        elif full or self._faults.holds({run.name}, "QUEUED"):
            run.progress.enter("QUEUED")
            self._waiting.append(run)
        self._active[run.run_id] = run
        worker = asyncio.create_task(self._run(run, attempts, ends, limit))
        self._workers.add(worker)
        worker.add_done_callback(self._workers.discard)
        return attempts

    def cancel(self, run_id: int) -> None:
        """Let a run or an attempt at a task end; nothing happens to one that has ended."""
        if run_id in self._stops:
            self._stops[run_id].end(CANCELED)

    def close(self) -> None:
        """Leave no process behind."""
        self._attempts.close()

    def _is_full(self, job_id: int, limit: int | None) -> bool:
        """Whether as many runs of a job, or of the workspace, are active as may be; those in the queue not counted."""
        going = [run for run in self._active.values() if run not in self._waiting]
        at_once = sum(len(run.latest) for run in going)
        of_workspace = self._rules.serverless_only and at_once >= MOST_TASKS_AT_ONCE
        return of_workspace or (limit is not None and sum(run.job_id == job_id for run in going) >= limit)

    def _new_attempt(self, run: JobRun, task: dict[str, Any], number: int = 0, phase: str | None = None) -> Attempt:
        """An attempt in the list of the run, where everybody sees it before it begins."""
        run_id = self.new_id()
        phase = phase or ("BLOCKED" if task.get("depends_on") else "PENDING")
        attempt = Attempt(run_id, task, number, page_url(self._host, run.job_id, run_id), Progress(phase))
        run.attempts.append(attempt)
        return attempt

    async def _run(self, run: JobRun, attempts: list[Attempt], ends: Ends, limit: int | None) -> None:
        """A run from its admission to its end."""
        stop = self._stops[run.run_id]
        await self._admission(run, stop, limit)
        if stop.outcome is None:
            run.progress.enter("RUNNING")
            stop.then(lambda _: run.progress.enter("TERMINATING"))
            self._set_timers(run, stop)
        await asyncio.gather(*(self._task(run, attempt, ends) for attempt in attempts))
        outcome = stop.outcome or _outcome(run)
        stop.close()
        run.progress.end(outcome)
        del self._stops[run.run_id], self._active[run.run_id]

    async def _admission(self, run: JobRun, stop: Stop, limit: int | None) -> None:
        """Wait in the queue of the job, first come, first served."""
        while run in self._waiting and stop.outcome is None:
            earlier = next(other for other in self._waiting if other.job_id == run.job_id) is not run
            full = self._is_full(run.job_id, limit)
            if not (earlier or full or self._faults.holds({run.name}, "QUEUED")):
                break
            await asyncio.sleep(GLANCE)
        if run in self._waiting:
            self._waiting.remove(run)
            run.progress.enter("PENDING")

    def _set_timers(self, run: JobRun, stop: Stop) -> None:
        """What ends the whole run by itself: its time limit, and a fault that is planned for it."""
        if seconds := int(run.settings.get("timeout_seconds") or 0):
            stop.end_after(seconds, TIMEDOUT)
        fault = self._faults.of_run({run.name})
        if fault is not None:
            stop.end_after(fault.after_s, demanded(str(fault.outcome)))

    async def _task(self, run: JobRun, attempt: Attempt, ends: Ends) -> None:
        """A task with all attempts at it; whatever happens, those that wait for it learn its end."""
        try:
            outcome = await self._outcome_of(run, attempt, ends)
        except Exception as error:  # a defect of ours must not leave a run that never ends
            traceback.print_exc(file=sys.stderr)
            outcome = failed("INTERNAL_ERROR", f"{type(error).__name__}: {error}")
        run.latest[attempt.key].progress.end(outcome)
        ends[attempt.key].set_result(outcome)

    async def _outcome_of(self, run: JobRun, attempt: Attempt, ends: Ends) -> Outcome:
        upstream = [await ends[key] for key in _upstream(attempt.task) if key in ends]
        stop = self._stops[run.run_id]
        outcome = stop.outcome or _kept_from_running(attempt.task, upstream)
        while outcome is None:
            mine = self._stops[attempt.run_id] = Stop()
            stop.then(mine.end)
            outcome = await self._attempts.execute(run, attempt, mine)
            mine.close()
            del self._stops[attempt.run_id]
            if stop.outcome is None and _is_retried(attempt, outcome):
                attempt.progress.end(outcome)
                attempt = self._new_attempt(run, attempt.task, attempt.number + 1, "WAITING_FOR_RETRY")
                outcome = await stop.within(int(attempt.task.get("min_retry_interval_millis") or 0) / 1000)
        return outcome


def _kept_from_running(task: dict[str, Any], upstream: list[Outcome]) -> Outcome | None:
    """How a task ends that does not run, because it is disabled or because of the tasks before it."""
    if task.get("disabled"):
        return DISABLED
    condition = task.get("run_if", "ALL_SUCCESS")
    bad = [end for end in upstream if end.result_state not in {"SUCCESS", "EXCLUDED", "DISABLED"}]
    if not upstream or _allows(condition, upstream, len(bad)):
        return None
    if not bad or condition in {"AT_LEAST_ONE_FAILED", "ALL_FAILED"}:
        return EXCLUDED
    canceled = all(end.result_state in {"CANCELED", "UPSTREAM_CANCELED"} for end in bad)
    return UPSTREAM_CANCELED if canceled else UPSTREAM_FAILED


def _allows(condition: str, upstream: list[Outcome], bad: int) -> bool:
    """What `run_if` makes of the ends of the tasks before."""
    good = sum(end.succeeded for end in upstream)
    allowed = {
        "ALL_SUCCESS": bad == 0 and EXCLUDED not in upstream,
        "ALL_DONE": True,
        "AT_LEAST_ONE_SUCCESS": good > 0,
        "AT_LEAST_ONE_FAILED": bad > 0,
        "NONE_FAILED": bad == 0 and good > 0,
        "ALL_FAILED": bad == len(upstream),
    }
    return allowed[condition]


def _is_retried(attempt: Attempt, outcome: Outcome) -> bool:
    """Whether the policy of the task lets it be tried again after such an end."""
    most = int(attempt.task.get("max_retries") or 0)
    if outcome.result_state == "TIMEDOUT":
        again = bool(attempt.task.get("retry_on_timeout"))
    else:
        again = outcome.result_state == "FAILED"
    return again and (most < 0 or attempt.number < most)


def _outcome(run: JobRun) -> Outcome:
    """The end that the ends of the tasks make of a run."""
    ends = {key: attempt.progress.outcome for key, attempt in run.latest.items()}
    inner = {key for attempt in run.latest.values() for key in _upstream(attempt.task)}
    leaves = {key: end for key, end in ends.items() if key not in inner}
    return of_run(leaves, {key: end for key, end in ends.items() if key in inner})


def _upstream(task: dict[str, Any]) -> Iterator[str]:
    return (dependency["task_key"] for dependency in task.get("depends_on", []))


def _ended(outcome: Outcome | None) -> "asyncio.Future[Outcome]":
    """The end of a task that an earlier execution of the run has seen."""
    end: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    end.set_result(outcome or EXCLUDED)
    return end
