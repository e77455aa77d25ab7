"""Executes one attempt at a task: what its process is told, how long it may run, and what it leaves."""

import asyncio
import json
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from databricks_emulator.execution_environment import Environments, TaskError
from databricks_emulator.execution_process import ProcessTree
from databricks_emulator.execution_references import UnresolvableError, known_to, resolve
from databricks_emulator.faults import Faults
from databricks_emulator.jobs_runs import Attempt, JobRun, Output
from databricks_emulator.jobs_states import SUCCESS, TIMEDOUT, WORKLOAD_FAILED, Outcome, demanded, failed

LAUNCHER = Path(__file__).with_name("execution_launcher.py")
MOST_OUTPUT = 5 * 1024 * 1024
GLANCE = 0.02
"""Seconds between two looks at what no event tells of: a fault that holds no longer."""


class Stop:
    """Ends a run, or an attempt at a task, from outside, with the outcome that it then has."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self._set = asyncio.Event()
        self._listeners: list[Callable[[Outcome], None]] = []
        self._timers: list[asyncio.TimerHandle] = []

    def end(self, outcome: Outcome) -> None:
        """Let it end with an outcome; the first to say so is heard."""
        if self.outcome is None:
            self.outcome = outcome
            self._set.set()
            for listener in self._listeners:
                listener(outcome)

    def end_after(self, seconds: float, outcome: Outcome) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(seconds, self.end, outcome))

    def then(self, listener: Callable[[Outcome], None]) -> None:
        """Call a function when it ends, at once if it has ended."""
        if self.outcome is not None:
            listener(self.outcome)
        self._listeners.append(listener)

    async def within(self, seconds: float) -> Outcome | None:
        """Wait so long, and no longer than until the end."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._set.wait(), seconds)
        return self.outcome

    async def wait(self) -> None:
        await self._set.wait()

    def close(self) -> None:
        """Nothing ends it any more: it has ended by itself."""
        for timer in self._timers:
            timer.cancel()


class Attempts:
    """Executes attempts, each as a process tree in a folder of its own."""

    def __init__(self, root: Path, environments: Environments, faults: Faults, workspace: dict[str, str]) -> None:
        """`workspace` is where tasks find it, with which token: their runtime tells them, no variable does."""
        self._root = root / "runs"
        self._environments = environments
        self._faults = faults
        self._workspace = workspace
        self._processes: set[ProcessTree] = set()

    def close(self) -> None:
        """Leave no process behind."""
        for process in self._processes:
            process.kill()

    async def execute(self, run: JobRun, attempt: Attempt, stop: Stop) -> Outcome:
        """Execute an attempt to its end, or to the end that `stop` or the task's own time limit makes."""
        attempt.progress.enter("PENDING")
        if seconds := int(attempt.task.get("timeout_seconds") or 0):
            stop.end_after(seconds, TIMEDOUT)
        if (fault := self._faults.of_run({attempt.key})) is not None:
            stop.end_after(fault.after_s, demanded(str(fault.outcome)))
        await self._held(attempt, "PENDING", stop)
        if stop.outcome is not None:
            return stop.outcome
        try:
            process = await self._start(run, attempt)
        except TaskError as error:
            attempt.output.error = str(error)
            return error.outcome
        return await self._follow(process, run, attempt, stop)

    async def _held(self, attempt: Attempt, phase: str, stop: Stop | None = None) -> None:
        """Stay in a phase while a fault wants it so."""
        while self._faults.holds({attempt.key}, phase) and (stop is None or stop.outcome is None):
            await asyncio.sleep(GLANCE)

    async def _follow(self, process: ProcessTree, run: JobRun, attempt: Attempt, stop: Stop) -> Outcome:
        attempt.progress.enter("RUNNING")
        stop.then(lambda _: attempt.progress.enter("TERMINATING"))
        self._processes.add(process)
        exited, stopped = asyncio.ensure_future(process.wait()), asyncio.ensure_future(stop.wait())
        await asyncio.wait({exited, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        by_itself = exited.done()
        if not by_itself and stop.outcome is not None:
            await self._held(attempt, "TERMINATING")
            await process.end(at_once=not stop.outcome.was_stopped)
        code = await exited
        self._processes.discard(process)
        self._read(run, attempt, code)
        if not by_itself and stop.outcome is not None:
            return stop.outcome
        return WORKLOAD_FAILED if attempt.output.error is not None else SUCCESS

    async def _start(self, run: JobRun, attempt: Attempt) -> ProcessTree:
        folder = self._folder(run, attempt)
        (folder / "work").mkdir(parents=True)
        order = self._order(run, attempt) | {"report": str(folder / "report.json")}
        order["offline"] = self._environments.is_offline(run, attempt)
        (folder / "order.json").write_text(json.dumps(order), encoding="utf-8")
        python = await self._environments.interpreter(run, attempt)
        command = [python, "-P", str(LAUNCHER), str(folder / "order.json")]
        # its token is for the launcher alone, which takes this variable away; in a file it would stay
        job = {"jobId": str(run.job_id), "idInJob": str(run.run_id), "jobType": "NORMAL"}
        workspace = {"EMULATED_WORKSPACE": json.dumps({**self._workspace, "job": job})}
        variables = self._environments.variables(run, attempt) | workspace
        return await ProcessTree.start(command, folder / "work", variables, folder / "log")

    def _folder(self, run: JobRun, attempt: Attempt) -> Path:
        return self._root / str(run.run_id) / str(attempt.run_id)

    def _order(self, run: JobRun, attempt: Attempt) -> dict[str, Any]:
        """What the launcher is told: the task with all references resolved and all parameters in their places."""
        known = known_to(run, attempt, self._workspace["host"])
        try:
            task = resolve(_parametrised(run, attempt), known)
        except UnresolvableError as error:
            raise TaskError(failed("INVALID_RUN_CONFIGURATION", str(error))) from error
        attempt.resolved = task
        named = [f"--{name}={value}" for name, value in task.get("named_parameters", {}).items()]
        order = {
            "kind": attempt.kind,
            "arguments": [*task.get("parameters", []), *named],
            "widgets": task.get("base_parameters", {}),
            "values": {key: other.values for key, other in run.latest.items()},
        }
        if attempt.kind == "python_wheel_task":
            names = {"package_name": task["package_name"], "entry_point": task["entry_point"]}
            return order | names | {"target": self._environments.target(task)}
        return order | {"path": str(self._file(run, attempt, task))}

    def _file(self, run: JobRun, attempt: Attempt, task: dict[str, Any]) -> Path:
        """The file to run, from the repository if the settings name one and the task says nothing else."""
        source = task.get("source", "GIT" if "git_source" in run.settings else None)
        path = task.get("python_file") or task["notebook_path"]
        return self._environments.file(path, source, notebook=attempt.kind == "notebook_task")

    def _read(self, run: JobRun, attempt: Attempt, code: int) -> None:
        """Keep what the process has written and reported."""
        folder, output = self._folder(run, attempt), attempt.output
        written = (folder / "log").read_bytes()
        report_file = folder / "report.json"
        report = json.loads(report_file.read_text(encoding="utf-8")) if report_file.exists() else {}
        output.logs, output.logs_truncated = written[-MOST_OUTPUT:].decode(errors="replace"), len(written) > MOST_OUTPUT
        output.result, output.error_trace = report.get("result"), report.get("error_trace")
        output.error = report.get("error") or (_death(code) if code else None)
        attempt.values |= report.get("values", {})
        if output.result is not None and len(output.result) > MOST_OUTPUT:
            output.result, output.result_truncated = output.result[:MOST_OUTPUT], True
        if self._faults.truncates({attempt.key}):
            _truncate(output)


def _parametrised(run: JobRun, attempt: Attempt) -> dict[str, Any]:
    """A task with the parameters of its run: those of the job are pushed down to what takes parameters by name."""
    task, given = dict(attempt.task[attempt.kind]), run.overrides
    if attempt.kind == "notebook_task":
        task["base_parameters"] = task.get("base_parameters", {}) | given.get("notebook_params", {}) | run.values
        return task
    if "named_parameters" in task or "python_named_params" in given:
        named = task.get("named_parameters", {}) | given.get("python_named_params", {})
        return task | {"named_parameters": named | run.values}
    return task | {"parameters": given.get("python_params", task.get("parameters", []))}


def _death(code: int) -> str:
    """What is known of a process that could not report."""
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
    return f"Fatal error: The Python process {how}."


def _truncate(output: Output) -> None:
    output.logs, output.logs_truncated = output.logs[len(output.logs) // 2 :], True
    if output.result is not None:
        output.result, output.result_truncated = output.result[: len(output.result) // 2], True
