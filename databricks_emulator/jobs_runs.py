"""What the service remembers of a run: the job run, the attempts at its tasks, its repairs."""

from dataclasses import dataclass, field
from typing import Any

from databricks_emulator.auth import USER, WORKSPACE_ID
from databricks_emulator.jobs_states import Progress, now

TASK_TYPES = ("python_wheel_task", "spark_python_task", "notebook_task")
"""What can be executed here."""


@dataclass(eq=False)
class Output:
    """What an attempt has left: all it wrote, and what its process reported."""

    logs: str = ""
    logs_truncated: bool = False
    error: str | None = None
    error_trace: str | None = None
    result: str | None = None
    result_truncated: bool = False


@dataclass(eq=False)
class Attempt:
    """One attempt at a task, which has a run id of its own."""

    run_id: int
    task: dict[str, Any]
    number: int
    url: str
    progress: Progress
    output: Output = field(default_factory=Output)
    values: dict[str, Any] = field(default_factory=dict)
    resolved: dict[str, Any] | None = None

    @property
    def key(self) -> str:
        return str(self.task["task_key"])

    @property
    def kind(self) -> str:
        """Which type of task it is."""
        return next(kind for kind in TASK_TYPES if kind in self.task)

    def describe(self, *, resolved: bool = False) -> dict[str, Any]:
        """The attempt as an element of a run's `tasks`."""
        about = {"run_id": self.run_id, "attempt_number": self.number, "run_page_url": self.url}
        if resolved and self.resolved is not None:
            keys = ("parameters", "named_parameters", "base_parameters")
            values = {key: self.resolved[key] for key in keys if self.resolved.get(key)}
            about["resolved_values"] = {self.kind: values}
        return {**self.task, **about, **self.progress.describe()}


@dataclass(eq=False)
class Repair:
    """A repair of a job run: the attempts it made."""

    id: int
    progress: Progress = field(default_factory=Progress)
    attempts: list[int] = field(default_factory=list)


@dataclass(eq=False)
class JobRun:
    """A run of a job, or a one-time run, with the settings that the job had when it was asked for."""

    run_id: int
    job_id: int
    name: str
    submitted: bool
    settings: dict[str, Any]
    parameters: dict[str, dict[str, str]]
    overrides: dict[str, Any]
    url: str
    progress: Progress = field(default_factory=Progress)
    attempts: list[Attempt] = field(default_factory=list)
    repairs: list[Repair] = field(default_factory=list)
    started: int = field(default_factory=now)
    original: Progress | None = None

    @property
    def latest(self) -> dict[str, Attempt]:
        """The last attempt at each task."""
        return {attempt.key: attempt for attempt in self.attempts}

    @property
    def values(self) -> dict[str, str]:
        """The values of the job's parameters in this run."""
        return {name: given.get("value", given.get("default", "")) for name, given in self.parameters.items()}

    def attempt(self, run_id: int) -> Attempt | None:
        return next((attempt for attempt in self.attempts if attempt.run_id == run_id), None)

    def describe(self, *, tasks: bool = True, history: bool = False, resolved: bool = False) -> dict[str, Any]:
        """The run as `runs/get` and `runs/list` show it."""
        about = self._about() | self.progress.describe() | {"start_time": self.started}
        about["run_duration"] = (self.progress.ended or now()) - self.started
        if self.parameters:
            about["job_parameters"] = list(self.parameters.values())
        if self.overrides:
            about["overriding_parameters"] = self.overrides
        if self.settings.get("job_clusters"):
            about["job_clusters"] = self.settings["job_clusters"]
        if tasks and self.attempts:
            about["tasks"] = [attempt.describe(resolved=resolved) for attempt in self.attempts]
        if history:
            about["repair_history"] = self._history()
        return about

    def describe_attempt(self, attempt: Attempt) -> dict[str, Any]:
        """A task's run for who asks for it by its own id."""
        about = self._about() | {"run_id": attempt.run_id, "job_run_id": self.run_id, "run_page_url": attempt.url}
        about |= {"run_name": attempt.key, "attempt_number": attempt.number}
        return about | {"original_attempt_run_id": self._first(attempt).run_id} | attempt.progress.describe()

    def _about(self) -> dict[str, Any]:
        return {
            "job_id": self.job_id,
            "run_id": self.run_id,
            "number_in_job": self.run_id,
            "original_attempt_run_id": self.run_id,
            "job_run_id": self.run_id,
            "creator_user_name": USER,
            "run_name": self.name,
            "run_page_url": self.url,
            "run_type": "SUBMIT_RUN" if self.submitted else "JOB_RUN",
            "trigger": "ONE_TIME",
            "attempt_number": 0,
        }

    def _first(self, attempt: Attempt) -> Attempt:
        return next(first for first in self.attempts if first.key == attempt.key)

    def _history(self) -> list[dict[str, Any]]:
        """The original and each repair, with the runs of tasks that belong to it."""
        repaired = {run_id for repair in self.repairs for run_id in repair.attempts}
        first = [attempt.run_id for attempt in self.attempts if attempt.run_id not in repaired]
        items = [_item("REPAIR", repair.progress, repair.attempts) | {"id": repair.id} for repair in self.repairs]
        return [_item("ORIGINAL", self.original or self.progress, first), *items]

    def begin_repair(self, repair: Repair) -> None:
        """Run again: what the run was before stays in its history."""
        self.original = self.original or self.progress
        self.progress = repair.progress
        self.repairs.append(repair)


def _item(kind: str, progress: Progress, runs: list[int]) -> dict[str, Any]:
    times = {"start_time": progress.asked, "end_time": progress.ended}
    return {"type": kind, "task_run_ids": runs} | times | progress.standing()


def page_url(base: str, job_id: int, run_id: int) -> str:
    """Where a person looks at a run."""
    return f"{base}/?o={WORKSPACE_ID}#job/{job_id}/run/{run_id}"
