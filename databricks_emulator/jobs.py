"""The Jobs API, releases 2.0 to 2.2: definitions of jobs, and the runs of jobs and of one-time tasks."""

import itertools
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from databricks_emulator import jobs_settings
from databricks_emulator.auth import USER
from databricks_emulator.errors import refusal
from databricks_emulator.execution import Engine
from databricks_emulator.jobs_runs import Attempt, JobRun, Repair, page_url
from databricks_emulator.jobs_states import now
from databricks_emulator.rules import Rules

PAGE, MOST_JOBS, MOST_RUNS, USUAL = 100, 100, 25, 20

Fields = dict[str, Any]
Answer = Callable[[Fields], Fields]


class Jobs:
    """Jobs and runs; one event loop uses them, so that each call is a step that others see whole.

    Jobs are kept from one start to the next, runs are not.
    """

    def __init__(self, root: Path, engine: Engine, host: str, rules: Rules) -> None:
        self._kept = root / "jobs.json"
        self._engine, self._host, self._rules = engine, host, rules
        self._ids = itertools.count(now() * 10, 13)
        kept = json.loads(self._kept.read_text(encoding="utf-8")) if self._kept.exists() else {}
        self._jobs: dict[int, Fields] = {int(job_id): job for job_id, job in kept.items()}
        self._runs: dict[int, JobRun] = {}
        self._tokens: dict[str, int] = {}

    @property
    def routes(self) -> list[Route]:
        """One route for each call in each release; 2.2 gives long lists of tasks in pages, as no other does."""
        calls = [
            Route(f"/api/{release}/jobs/{name}", _endpoint(answer), methods=[method])
            for release in ("2.0", "2.1", "2.2")
            for (method, name), answer in self._answers(release).items()
        ]
        permissions = "/api/2.0/permissions/jobs/{job_id:int}"
        return [*calls, Route(permissions, self._permission, methods=["GET", "PUT", "PATCH"])]

    def _answers(self, release: str) -> dict[tuple[str, str], Answer]:
        paged, single = release == "2.2", release == "2.0"
        return {
            ("POST", "create"): partial(self.create, single=single),
            ("POST", "reset"): partial(self.reset, single=single),
            ("POST", "update"): self.update,
            ("POST", "delete"): self.delete,
            ("GET", "get"): partial(self.get, paged=paged),
            ("GET", "list"): self.list,
            ("POST", "run-now"): self.run_now,
            ("POST", "runs/submit"): partial(self.submit, single=single),
            ("GET", "runs/get"): partial(self.get_run, paged=paged),
            ("GET", "runs/get-output"): self.get_output,
            ("GET", "runs/list"): self.list_runs,
            ("POST", "runs/cancel"): self.cancel,
            ("POST", "runs/cancel-all"): self.cancel_all,
            ("POST", "runs/delete"): self.delete_run,
            ("POST", "runs/repair"): self.repair,
        }

    def create(self, asked: Fields, *, single: bool) -> Fields:
        settings = jobs_settings.of_job(jobs_settings.as_tasks(asked) if single else asked)
        self._rules.require_compute(settings)
        job_id = next(self._ids)
        permissions = asked.get("access_control_list", [])
        self._jobs[job_id] = {"created_time": now(), "settings": settings, "permissions": permissions}
        self._keep()
        return {"job_id": job_id}

    def reset(self, asked: Fields, *, single: bool) -> Fields:
        given = asked.get("new_settings", {})
        settings = jobs_settings.of_job(jobs_settings.as_tasks(given) if single else given)
        self._rules.require_compute(settings)
        self._job(asked)["settings"] = settings
        self._keep()
        return {}

    def update(self, asked: Fields) -> Fields:
        """Replace some settings; lists whose entries have keys are merged by them."""
        job, given = self._job(asked), asked.get("new_settings", {})
        settings = {**job["settings"], **given}
        for name, key in (("tasks", "task_key"), ("job_clusters", "job_cluster_key")):
            if name in given:
                merged = {entry[key]: entry for entry in (*job["settings"].get(name, []), *given[name])}
                settings[name] = list(merged.values())
        for name in asked.get("fields_to_remove", []):
            jobs_settings.remove(settings, name)
        settings = jobs_settings.of_job(settings)
        self._rules.require_compute(settings)
        job["settings"] = settings
        self._keep()
        return {}

    def delete(self, asked: Fields) -> Fields:
        self._job(asked)
        del self._jobs[_integer(asked, "job_id")]
        self._keep()
        return {}

    def _keep(self) -> None:
        self._kept.write_text(json.dumps(self._jobs), encoding="utf-8")

    def get(self, asked: Fields, *, paged: bool) -> Fields:
        job = self._job(asked)
        about = self._described(_integer(asked, "job_id"), job["settings"]) | {"run_as_user_name": USER}
        return _page_of(about, about["settings"], asked) if paged else about

    def list(self, asked: Fields) -> Fields:
        """Jobs, the newest first, without their tasks unless they are asked for."""
        name = asked.get("name")
        found = [
            self._described(job_id, job["settings"], tasks=_flag(asked, "expand_tasks"))
            for job_id, job in reversed(self._jobs.items())
            if name is None or job["settings"]["name"].lower() == name.lower()
        ]
        return _pages("jobs", found, asked, MOST_JOBS)

    def _described(self, job_id: int, settings: Fields, *, tasks: bool = True) -> Fields:
        shown = {name: value for name, value in settings.items() if tasks or name not in {"tasks", "job_clusters"}}
        about = {"job_id": job_id, "creator_user_name": USER}
        return about | {"created_time": self._jobs[job_id]["created_time"], "settings": shown}

    def run_now(self, asked: Fields) -> Fields:
        job, job_id = self._job(asked), _integer(asked, "job_id")
        self._rules.require(("CAN MANAGE RUN",), f"job {job_id}")
        if (known := self._of_token(asked)) is not None:
            return _started(known)
        settings = job["settings"]
        tasks = jobs_settings.selected(settings.get("tasks", []), asked.get("only"))
        if not tasks:
            raise refusal("INVALID_PARAMETER_VALUE", f"Job {job_id} has no tasks to run.")
        run = self._new_run(job_id, settings, asked, submitted=False)
        queue = asked.get("queue", settings.get("queue", {}))
        limit = int(settings["max_concurrent_runs"])
        self._engine.start(run, tasks, limit=limit, queued=bool(queue.get("enabled")))
        return _started(run)

    def submit(self, asked: Fields, *, single: bool) -> Fields:
        if (known := self._of_token(asked)) is not None:
            return {"run_id": known.run_id}
        settings = jobs_settings.of_one_time_run(jobs_settings.as_tasks(asked) if single else asked)
        self._rules.require_compute(settings)
        run = self._new_run(next(self._ids), settings, asked, submitted=True)
        self._engine.start(run, settings["tasks"], limit=None, queued=False)
        return {"run_id": run.run_id}

    def parameters_of(self, job_id: str) -> set[str] | None:
        """The names of the parameters that a job takes; None if there is no such job."""
        job = self._jobs.get(int(job_id)) if job_id.isdigit() else None
        return job and {each["name"] for each in job["settings"].get("parameters", [])}

    def _new_run(self, job_id: int, settings: Fields, asked: Fields, *, submitted: bool) -> JobRun:
        parameters = jobs_settings.parameters_of(settings, asked.get("job_parameters", {}))
        overrides = jobs_settings.overrides_of(asked)
        run_id = self._engine.new_id()
        url = page_url(self._host, job_id, run_id)
        run = JobRun(run_id, job_id, settings["name"], submitted, settings, parameters, overrides, url)
        self._runs[run_id] = run
        if token := asked.get("idempotency_token"):
            self._tokens[token] = run_id
        return run

    def _of_token(self, asked: Fields) -> JobRun | None:
        """The run that was started with the same idempotency token, if there is one."""
        token = asked.get("idempotency_token", "")
        if len(token) > jobs_settings.MOST_TOKEN:
            raise refusal("INVALID_PARAMETER_VALUE", "The idempotency token has more than 64 characters.")
        if token not in self._tokens:
            return None
        if self._tokens[token] not in self._runs:
            raise refusal("INVALID_PARAMETER_VALUE", f"The run with idempotency token {token} has been deleted.")
        return self._runs[self._tokens[token]]

    def get_run(self, asked: Fields, *, paged: bool) -> Fields:
        run, attempt = self._run(asked)
        if attempt is not None:
            return run.describe_attempt(attempt)
        history, resolved = _flag(asked, "include_history"), _flag(asked, "include_resolved_values")
        about = run.describe(history=history, resolved=resolved)
        return _page_of(about, about, asked) if paged else about

    def get_output(self, asked: Fields) -> Fields:
        """What a task has left; a job run has no output of its own unless it has but one task."""
        run, attempt = self._run(asked)
        if attempt is None:
            if len(run.latest) != 1:
                message = "Retrieving the output of runs with multiple tasks is not supported. "
                raise refusal("INVALID_PARAMETER_VALUE", message + "Retrieve the output of each task run instead.")
            attempt = next(iter(run.latest.values()))
        return {"metadata": run.describe_attempt(attempt), **_output(attempt)}

    def list_runs(self, asked: Fields) -> Fields:
        active, completed = _flag(asked, "active_only"), _flag(asked, "completed_only")
        if active and completed:
            raise refusal("INVALID_PARAMETER_VALUE", "Only one of active_only and completed_only can be true.")
        job_id = _integer(asked, "job_id") if "job_id" in asked else None
        first, last = (int(asked.get(f"start_time_{end}", default)) for end, default in (("from", 0), ("to", 2**62)))
        found = [
            run.describe(tasks=_flag(asked, "expand_tasks"))
            for run in reversed(self._runs.values())
            if (job_id is None or run.job_id == job_id)
            and (run.progress.active if active else not (completed and run.progress.active))
            and first <= run.started <= last
            and asked.get("run_type", "SUBMIT_RUN" if run.submitted else "JOB_RUN")
            == ("SUBMIT_RUN" if run.submitted else "JOB_RUN")
        ]
        return _pages("runs", found, asked, MOST_RUNS)

    def cancel(self, asked: Fields) -> Fields:
        """Ask a run or a task's run to end; one that has ended stays as it is."""
        self._rules.require(("CAN MANAGE RUN",), "a run")
        run, attempt = self._run(asked)
        self._engine.cancel((attempt or run).run_id)
        return {}

    def cancel_all(self, asked: Fields) -> Fields:
        queued = str(asked.get("all_queued_runs", "false")).lower() == "true"
        if not queued:
            self._job(asked)
        job_id = _integer(asked, "job_id") if "job_id" in asked else None
        for run in self._runs.values():
            if job_id in {None, run.job_id} and (not queued or run.progress.phase == "QUEUED"):
                self._engine.cancel(run.run_id)
        return {}

    def delete_run(self, asked: Fields) -> Fields:
        run, _ = self._run(asked)
        _check_ended(run)
        del self._runs[run.run_id]
        return {}

    def repair(self, asked: Fields) -> Fields:
        """Run tasks of a run again, as part of it."""
        run, attempt = self._run(asked)
        if attempt is not None:
            raise refusal("INVALID_PARAMETER_VALUE", f"Run {attempt.run_id} is the run of a task.")
        _check_ended(run)
        _check_latest(run, asked)
        keys = _to_repair(run, asked)
        if "job_parameters" in asked:
            given = {name: entry["value"] for name, entry in run.parameters.items() if "value" in entry}
            run.parameters = jobs_settings.parameters_of(run.settings, given | asked["job_parameters"])
        run.overrides |= jobs_settings.overrides_of(asked)
        repair = Repair(self._engine.new_id())
        run.begin_repair(repair)
        tasks = [attempt.task for attempt in run.latest.values() if attempt.key in keys]
        repair.attempts = [attempt.run_id for attempt in self._engine.start(run, tasks, limit=None, queued=False)]
        return {"repair_id": repair.id}

    def _job(self, asked: Fields) -> Fields:
        job_id = _integer(asked, "job_id")
        if job_id not in self._jobs:
            raise refusal("INVALID_PARAMETER_VALUE", f"Job {job_id} does not exist.")
        return self._jobs[job_id]

    def _run(self, asked: Fields) -> tuple[JobRun, Attempt | None]:
        """A run by its id, or by the id of a task's run in it."""
        run_id = _integer(asked, "run_id")
        if run_id in self._runs:
            return self._runs[run_id], None
        for run in self._runs.values():
            if (attempt := run.attempt(run_id)) is not None:
                return run, attempt
        raise refusal("INVALID_PARAMETER_VALUE", f"Run {run_id} does not exist.")

    async def _permission(self, request: Request) -> JSONResponse:
        """Who may do what with a job: PUT replaces, PATCH adds."""
        job_id = request.path_params["job_id"]
        if job_id not in self._jobs:
            raise refusal("RESOURCE_DOES_NOT_EXIST", f"Job {job_id} does not exist.")
        if request.method != "GET":
            given = (await request.json()).get("access_control_list", [])
            before = self._jobs[job_id]["permissions"] if request.method == "PATCH" else []
            self._jobs[job_id]["permissions"] = before + given
            self._keep()
        entries = [permission_entry(entry) for entry in self._jobs[job_id]["permissions"]]
        reply = {"object_id": f"/jobs/{job_id}", "object_type": "job", "access_control_list": entries}
        return JSONResponse(reply)


def _endpoint(answer: Answer) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> JSONResponse:
        body = await request.body()
        try:
            given = json.loads(body) if body else {}
        except ValueError as error:
            raise refusal("MALFORMED_REQUEST", f"Invalid JSON given in the body of the request: {error}") from error
        if not isinstance(given, dict):
            raise refusal("MALFORMED_REQUEST", "The body of the request is no JSON object.")
        return JSONResponse(answer(jobs_settings.without_nulls(dict(request.query_params) | given)))

    return endpoint


def _integer(asked: Fields, name: str) -> int:
    try:
        return int(asked[name])
    except KeyError:
        raise refusal("INVALID_PARAMETER_VALUE", f"Missing required field: {name}") from None
    except (TypeError, ValueError):
        raise refusal("INVALID_PARAMETER_VALUE", f"{name} is no number: {asked[name]!r}") from None


def _flag(asked: Fields, name: str) -> bool:
    return str(asked.get(name, "false")).lower() == "true"


def _started(run: JobRun) -> Fields:
    return {"run_id": run.run_id, "number_in_job": run.run_id}


def _pages(name: str, found: list[Fields], asked: Fields, most: int) -> Fields:
    """One page of a list, and the token of the next."""
    limit = _integer(asked, "limit") if "limit" in asked else USUAL
    if not 0 <= limit <= most or (limit == 0 and name == "jobs"):
        raise refusal("INVALID_PARAMETER_VALUE", f"limit must be between 1 and {most}, not {limit}.")
    start = _integer({"page_token": asked.get("page_token") or asked.get("offset") or 0}, "page_token")
    page, more = found[start : start + (limit or most)], len(found) > start + (limit or most)
    reply: Fields = {name: page} if page else {}
    return reply | {"has_more": more} | ({"next_page_token": str(start + len(page))} if more else {})


def _page_of(about: Fields, holder: Fields, asked: Fields) -> Fields:
    """A job or a run of which at most so many tasks are shown; other lists stand on the first page only."""
    start = _integer({"page_token": asked.get("page_token") or 0}, "page_token")
    tasks = holder.get("tasks", [])
    if len(tasks) <= PAGE:
        return about
    holder["tasks"] = tasks[start : start + PAGE]
    if start:
        for name in ("job_clusters", "parameters", "environments", "job_parameters", "repair_history"):
            holder.pop(name, None)
    more = len(tasks) > start + PAGE
    return about | {"has_more": more} | ({"next_page_token": str(start + PAGE)} if more else {})


def _output(attempt: Attempt) -> Fields:
    output, end = attempt.output, attempt.progress.outcome
    shown: Fields = {}
    if attempt.kind == "notebook_task":
        result = {} if output.result is None else {"result": output.result}
        shown["notebook_output"] = result | {"truncated": output.result_truncated}
    else:
        shown |= {"logs": output.logs, "logs_truncated": output.logs_truncated}
    error = output.error or (end.message if end and not end.succeeded else None)
    shown |= {} if error is None else {"error": error}
    return shown | ({} if output.error_trace is None else {"error_trace": output.error_trace})


def _check_ended(run: JobRun) -> None:
    if run.progress.active:
        raise refusal("INVALID_STATE", f"Run {run.run_id} is still active.")


def _check_latest(run: JobRun, asked: Fields) -> None:
    """A second repair has to name the one before it, so that two callers do not repair the same run."""
    latest = run.repairs[-1].id if run.repairs else None
    given = _integer(asked, "latest_repair_id") if "latest_repair_id" in asked else None
    if given != latest:
        raise refusal("INVALID_PARAMETER_VALUE", f"The latest repair of run {run.run_id} is {latest}, not {given}.")


def _to_repair(run: JobRun, asked: Fields) -> set[str]:
    """The keys of the tasks that a repair runs."""
    named, failed = set(asked.get("rerun_tasks", [])), _flag(asked, "rerun_all_failed_tasks")
    if bool(named) == failed:
        message = "Exactly one of rerun_tasks and rerun_all_failed_tasks must be specified."
        raise refusal("INVALID_PARAMETER_VALUE", message)
    if unknown := named - run.latest.keys():
        raise refusal("INVALID_PARAMETER_VALUE", f"Run {run.run_id} has no task {sorted(unknown)[0]}.")
    keys = named or {key for key, attempt in run.latest.items() if not _went_well(attempt)}
    if not keys:
        raise refusal("INVALID_PARAMETER_VALUE", f"Run {run.run_id} has no failed tasks.")
    if _flag(asked, "rerun_dependent_tasks"):
        keys |= jobs_settings.downstream([attempt.task for attempt in run.latest.values()], keys)
    return keys


def _went_well(attempt: Attempt) -> bool:
    end = attempt.progress.outcome
    return end is not None and end.result_state in {"SUCCESS", "EXCLUDED", "DISABLED"}


def permission_entry(entry: Fields) -> Fields:
    """Who may do what, in the form in which it is read."""
    who = {name: value for name, value in entry.items() if name != "permission_level"}
    return who | {"all_permissions": [{"permission_level": entry["permission_level"], "inherited": False}]}
