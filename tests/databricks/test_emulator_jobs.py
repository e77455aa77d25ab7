"""The emulated Jobs API as its official clients see it: what it keeps, executes, reports and refuses."""

import asyncio
import gc
import json
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import InvalidParameterValue, InvalidState, OperationFailed, ResourceDoesNotExist
from databricks.sdk.service import jobs as sdk
from prefect_databricks import DatabricksCredentials, jobs
from prefect_databricks.flows import (
    DatabricksJobInternalError,
    jobs_runs_submit_by_id_and_wait_for_completion,
)
from prefect_databricks.rest import HTTPMethod, execute_endpoint

from databricks_emulator import Emulator, running
from databricks_emulator.jobs import Jobs
from databricks_emulator.rules import Rules
from tests.conftest import exhaustive
from tests.databricks.conftest import TAGS, Scripts

left_to_the_collector = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""For flows of prefect-databricks, which do not close all their sockets."""

SERVERLESS = [{"environment_key": "default", "spec": {"environment_version": "4"}}]
Fields = dict[str, Any]


def file_task(path: str, key: str = "main", *, after: str = "", **more: Any) -> Fields:
    """A task that runs a Python file, after others if they are named."""
    before = [{"task_key": other} for other in after.split()]
    script = {"python_file": path, "parameters": more.pop("parameters", [])}
    task = {"task_key": key, "environment_key": "default", "spark_python_task": script}
    return task | ({"depends_on": before} if before else {}) | more


def notebook_task(path: str, key: str = "main", **parameters: str) -> Fields:
    return {"task_key": key, "notebook_task": {"notebook_path": path, "base_parameters": parameters}}


def post(client: WorkspaceClient, path: str, **body: Any) -> Fields:
    return client.api_client.do("POST", f"/api/2.2/jobs/{path}", body=body)


def fetch(client: WorkspaceClient, path: str, release: str = "2.2", **query: Any) -> Fields:
    return client.api_client.do("GET", f"/api/{release}/jobs/{path}", query=query)


def create(client: WorkspaceClient, *tasks: Fields, name: str = "job", **more: Any) -> int:
    settings = {"environments": SERVERLESS, "tags": TAGS, **more}
    return post(client, "create", name=name, tasks=list(tasks), **settings)["job_id"]


def start(client: WorkspaceClient, job_id: int, **more: Any) -> int:
    return post(client, "run-now", job_id=job_id, **more)["run_id"]


def submit(client: WorkspaceClient, *tasks: Fields, **more: Any) -> int:
    return post(client, "runs/submit", tasks=list(tasks), **{"environments": SERVERLESS, **more})["run_id"]


def until(found: Callable[[], Any], seconds: float = 300) -> Any:
    """What is found, as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < deadline
        time.sleep(0.03)
    return result


def ended(client: WorkspaceClient, run_id: int) -> Fields:
    """A run when it has ended."""

    def find() -> Fields | None:
        run = fetch(client, "runs/get", run_id=run_id, include_history="true")
        return run if run["status"]["state"] == "TERMINATED" else None

    return until(find, patience(client))


def patience(client: WorkspaceClient) -> float:
    """Seconds that a run may take; a real workspace has to find a machine first."""
    return 300 if "//127.0.0.1:" in client.config.host else 900


def running_(client: WorkspaceClient, run_id: int) -> Fields:
    """A run when its first task has begun."""

    def find() -> Fields | None:
        run = fetch(client, "runs/get", run_id=run_id)
        return run if run["tasks"][0]["state"]["life_cycle_state"] == "RUNNING" else None

    return until(find, patience(client))


def task_of(run: Fields, key: str = "main") -> Fields:
    """The last attempt at a task."""
    return [task for task in run["tasks"] if task["task_key"] == key][-1]


def output(client: WorkspaceClient, run: Fields, key: str = "main") -> Fields:
    return fetch(client, "runs/get-output", run_id=task_of(run, key)["run_id"])


def triple(run: Fields) -> tuple[str, str, str]:
    """How a run ended: life cycle, result, reason."""
    state, details = run["state"], run["status"]["termination_details"]
    return state["life_cycle_state"], state["result_state"], details["code"]


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False


# ---- definitions


def test_settings_come_back_as_they_were_given(client: WorkspaceClient) -> None:
    given = {
        "name": "train",
        "max_concurrent_runs": 1,
        "queue": {"enabled": True},
        "timeout_seconds": 7200,
        "tags": {"team": "mlops"},
        "parameters": [{"name": "request", "default": ""}],
        "tasks": [
            {
                "task_key": "train",
                "environment_key": "default",
                "max_retries": 1,
                "timeout_seconds": 3600,
                "run_if": "ALL_DONE",
                "python_wheel_task": {
                    "package_name": "mlops_lifecycle",
                    "entry_point": "mlops-step",
                    "parameters": ["train", "{{job.parameters.request}}"],
                },
            },
            {
                "task_key": "big",
                "job_cluster_key": "main",
                "depends_on": [{"task_key": "train"}],
                "libraries": [{"whl": "/Volumes/dev/ml/wheels/a.whl"}],
                "notebook_task": {"notebook_path": "/Shared/a", "base_parameters": {"a": "b"}},
            },
        ],
        "job_clusters": [
            {
                "job_cluster_key": "main",
                "new_cluster": {"spark_version": "16.4.x-scala2.12", "node_type_id": "i3.xlarge", "num_workers": 2},
            }
        ],
        "environments": [
            {"environment_key": "default", "spec": {"environment_version": "4", "dependencies": ["a.whl"]}}
        ],
        "run_as": {"service_principal_name": "sp"},
    }
    found = client.jobs.get(post(client, "create", **given)["job_id"]).settings.as_dict()
    tasks = found.pop("tasks")
    assert found == {**found, **{name: value for name, value in given.items() if name != "tasks"}}
    for mine, theirs in zip(given["tasks"], tasks, strict=True):
        assert theirs == {**theirs, **mine}


@pytest.mark.live
def test_a_reset_replaces_and_an_update_merges(client: WorkspaceClient) -> None:
    job_id = create(client, file_task("/a.py"), name="first", description="old")
    post(client, "update", job_id=job_id, new_settings={"tasks": [file_task("/b.py", "other")], "name": "second"})
    settings = client.jobs.get(job_id).settings
    assert ([task.task_key for task in settings.tasks], settings.name) == (["main", "other"], "second")
    post(client, "update", job_id=job_id, fields_to_remove=["description", "tasks/main"])
    settings = client.jobs.get(job_id).settings
    assert ([task.task_key for task in settings.tasks], settings.description) == (["other"], None)
    new = {"name": "third", "tasks": [file_task("/c.py")], "environments": SERVERLESS, "tags": TAGS}
    post(client, "reset", job_id=job_id, new_settings=new)
    settings = client.jobs.get(job_id).settings
    assert ([task.task_key for task in settings.tasks], settings.name) == (["main"], "third")


def test_jobs_are_listed_newest_first_in_pages_and_by_name(client: WorkspaceClient) -> None:
    made = [create(client, file_task("/a.py"), name=f"listed {number}") for number in range(23)]
    listed = [job for job in client.jobs.list() if job.settings.name.startswith("listed")]
    assert [job.job_id for job in listed] == made[::-1]
    assert not listed[0].settings.tasks
    (found,) = client.jobs.list(name="LISTED 7", expand_tasks=True)
    assert (found.job_id, found.settings.tasks[0].task_key) == (made[7], "main")
    with pytest.raises(InvalidParameterValue, match="limit must be between 1 and 100"):
        fetch(client, "list", limit=101)


@pytest.mark.live
def test_what_is_deleted_or_was_never_there_does_not_exist(client: WorkspaceClient) -> None:
    job_id = create(client, file_task("/a.py"))
    client.jobs.delete(job_id)
    with pytest.raises(ResourceDoesNotExist, match=f"Job {job_id} does not exist"):
        client.jobs.get(job_id)
    with pytest.raises(InvalidParameterValue, match=f"Job {job_id} does not exist"):
        client.jobs.run_now(job_id)
    with pytest.raises(ResourceDoesNotExist, match="Run 9 does not exist"):
        client.jobs.get_run(9)
    with pytest.raises(InvalidParameterValue, match="Run 9 does not exist"):
        client.jobs.cancel_run(9)


def test_jobs_are_there_after_a_restart(tmp_path: Path) -> None:
    before = Jobs(tmp_path, engine=None, host="https://127.0.0.1", rules=Rules())
    job_id = before.create({"name": "kept", "tasks": [file_task("/a.py")], "environments": SERVERLESS}, single=False)
    before.delete(before.create({"name": "deleted"}, single=False))
    after = Jobs(tmp_path, engine=None, host="https://127.0.0.1", rules=Rules())
    assert [job["settings"]["name"] for job in after.list({})["jobs"]] == ["kept"]
    assert after.get(job_id, paged=True) == before.get(job_id, paged=True)


def test_more_than_a_hundred_tasks_come_in_pages_since_2_2(client: WorkspaceClient) -> None:
    job_id = create(client, *(file_task("/a.py", f"t{number}") for number in range(101)))
    assert len(fetch(client, "get", job_id=job_id)["settings"]["tasks"]) == 100
    assert len(fetch(client, "get", "2.1", job_id=job_id)["settings"]["tasks"]) == 101
    assert len(client.jobs.get(job_id).settings.tasks) == 101


WHEEL = {"package_name": "p", "entry_point": "e"}
REFUSED = {
    "An environment is required for serverless task main": {
        "tasks": [{"task_key": "main", "spark_python_task": {"python_file": "/a.py"}}]
    },
    "environment_key 'default' is not defined": {"environments": []},
    "job_cluster_key 'main' is not defined": {
        "tasks": [{"task_key": "main", "job_cluster_key": "main", "python_wheel_task": WHEEL}]
    },
    "exactly one type, it has 0": {"tasks": [{"task_key": "main", "environment_key": "default"}]},
    "exactly one type, it has 2": {"tasks": [file_task("/a.py") | notebook_task("/a")]},
    "a sql_task is not emulated": {"tasks": [{"task_key": "main", "sql_task": {"warehouse_id": "w"}}]},
    "has more than one of": {"tasks": [file_task("/a.py") | {"existing_cluster_id": "a", "new_cluster": {}}]},
    "only one of parameters and named_parameters": {
        "tasks": [
            {
                "task_key": "main",
                "environment_key": "default",
                "python_wheel_task": {**WHEEL, "parameters": ["a"], "named_parameters": {"a": "b"}},
            }
        ]
    },
    "package_name and entry_point are required": {
        "tasks": [{"task_key": "main", "environment_key": "default", "python_wheel_task": {"package_name": "p"}}]
    },
    "Libraries field is not supported": {"tasks": [file_task("/a.py", libraries=[{"whl": "/a.whl"}])]},
    "only absolute paths are supported": {"tasks": [notebook_task("notebooks/train")]},
    "must be strings": {"tasks": [notebook_task("/a", holdout=True)]},
    "depends on unknown task nobody": {"tasks": [file_task("/a.py", after="nobody")]},
    "must not form a cycle": {"tasks": [file_task("/a.py", "a", after="b"), file_task("/a.py", "b", after="a")]},
    "Duplicate keys in tasks: main": {"tasks": [file_task("/a.py"), file_task("/b.py")]},
    "task key 'a b' is invalid": {"tasks": [file_task("/a.py", "a b")]},
    "'SOMETIMES' is no valid run_if": {"tasks": [file_task("/a.py", run_if="SOMETIMES")]},
    "Could not parse request object": {"tasks": ["main"]},
    "at most 25 tags": {"tags": {str(number): "" for number in range(26)}},
    "at most 4096 bytes": {"name": "ä" * 2049},
    "between 0 and 1000": {"max_concurrent_runs": 1001},
}


@pytest.mark.parametrize("message", REFUSED)
def test_settings_that_the_service_refuses(client: WorkspaceClient, message: str) -> None:
    body = {"name": "bad", "tasks": [file_task("/a.py")], "environments": SERVERLESS, **REFUSED[message]}
    status = {"a sql_task is not emulated": 501}.get(message, 400)
    reply = requests.post(
        f"{client.config.host}/api/2.2/jobs/create", json=body, headers=client.config.authenticate(), timeout=240
    )
    assert (reply.status_code, message in reply.json()["message"]) == (status, True), reply.json()
    assert reply.json()["error_code"] in {"INVALID_PARAMETER_VALUE", "MALFORMED_REQUEST", "NOT_IMPLEMENTED"}


def test_a_call_of_the_api_that_is_not_there_is_refused(client: WorkspaceClient) -> None:
    url = f"{client.config.host}/api/2.1/jobs/runs/export"
    reply = requests.get(url, {"run_id": 1}, headers=client.config.authenticate(), timeout=240)
    assert (reply.status_code, reply.json()["error_code"]) == (501, "NOT_IMPLEMENTED")


def test_release_2_0_knows_one_task_without_a_key(client: WorkspaceClient, script: Scripts) -> None:
    path = script("print('single')")
    body = {"name": "old", "existing_cluster_id": "c", "spark_python_task": {"python_file": path}}
    job_id = client.api_client.do("POST", "/api/2.0/jobs/create", body=body)["job_id"]
    run = ended(client, client.api_client.do("POST", "/api/2.0/jobs/run-now", body={"job_id": job_id})["run_id"])
    assert fetch(client, "runs/get-output", "2.0", run_id=run["run_id"])["logs"] == "single\n"
    with pytest.raises(InvalidParameterValue):
        post(client, "runs/submit", **body)


# ---- parameters

ARGUMENTS = "import sys\nprint(*sys.argv[1:], sep='|')"


def credentials(client: WorkspaceClient) -> DatabricksCredentials:
    """The same way into the same workspace for Prefect."""
    host, header = client.config.host.removeprefix("https://"), client.config.authenticate()["Authorization"]
    return DatabricksCredentials(
        databricks_instance=host, token=header.removeprefix("Bearer "), client_kwargs={"timeout": 60}
    )


@pytest.mark.live
def test_a_run_takes_the_parameters_that_it_is_given(client: WorkspaceClient, script: Scripts) -> None:
    task = file_task(script(ARGUMENTS), parameters=["{{job.parameters.env}}", "{{ job.parameters.data }}"])
    parameters = [{"name": "env", "default": "dev"}, {"name": "data", "default": "news"}]
    job_id = create(client, task, parameters=parameters, max_concurrent_runs=2)
    by_sdk = client.jobs.run_now(job_id, job_parameters={"env": "prod"}).run_id
    started = jobs.jobs_run_now.fn(credentials(client), job_id=job_id, job_parameters={"env": "staging"})
    by_prefect = asyncio.run(started)["run_id"]
    assert output(client, ended(client, by_sdk))["logs"] == "prod|news\n"
    run = ended(client, by_prefect)
    assert output(client, run)["logs"] == "staging|news\n"
    assert run["job_parameters"] == [
        {"name": "env", "default": "dev", "value": "staging"},
        {"name": "data", "default": "news"},
    ]


def test_references_are_resolved_once_and_unknown_ones_fail_the_run(client: WorkspaceClient, script: Scripts) -> None:
    words = ["{{job.id}}", "{{job.run_id}}", "{{task.name}}", "{{tasks.first.result_state}}", "{{workspace.id}}"]
    words += ["{{job.parameters.text}}", "{{elsewhere}}", "{{job.start_time.iso_date}}"]
    path = script(ARGUMENTS)
    job_id = create(
        client,
        file_task(path, "first"),
        file_task(path, after="first", parameters=words),
        file_task(path, "wrong", parameters=["{{job.nonsense}}"]),
        parameters=[{"name": "text", "default": ""}],
    )
    run = ended(client, start(client, job_id, job_parameters={"text": "{{job.id}}"}))
    found = output(client, run)["logs"].strip().split("|")
    assert found[:7] == [
        str(job_id),
        str(run["run_id"]),
        "main",
        "success",
        "1234567890",
        "{{job.id}}",
        "{{elsewhere}}",
    ]
    assert len(found[7]) == len("2026-01-01")
    assert triple(task_of(run, "wrong")) == ("INTERNAL_ERROR", "FAILED", "INVALID_RUN_CONFIGURATION")
    assert "{{job.nonsense}}" in output(client, run, "wrong")["error"]


def test_parameters_for_tasks_are_taken_as_before_there_were_those_of_jobs(
    client: WorkspaceClient, script: Scripts
) -> None:
    job_id = create(client, file_task(script(ARGUMENTS), parameters=["a"]))
    run = ended(client, start(client, job_id, python_params=["b", "c"]))
    assert output(client, run)["logs"] == "b|c\n"
    for bad in ({"python_params": ["ä"]}, {"python_params": ["a" * 10_000]}, {"job_parameters": {"a": "b" * 10_000}}):
        with pytest.raises(InvalidParameterValue):
            start(client, job_id, **bad)


@pytest.mark.live
def test_only_some_tasks_of_a_job_run(client: WorkspaceClient, script: Scripts) -> None:
    path = script("")
    tasks = [file_task(path, "a"), file_task(path, "b", after="a"), file_task(path, "c", after="b")]
    job_id = create(client, *tasks)
    for only, expected in ((["b"], "b"), (["+b"], "ab"), (["b+"], "bc"), (["+b+"], "abc")):
        run = ended(client, start(client, job_id, only=only, idempotency_token=f"only {only} of {job_id}"))
        assert "".join(task["task_key"] for task in run["tasks"]) == expected
        assert triple(run)[1] == "SUCCESS"


# ---- types of tasks


@pytest.mark.live
def test_a_notebook_gets_widgets_passes_values_on_and_returns_a_result(
    client: WorkspaceClient, script: Scripts
) -> None:
    first = script(
        "# Databricks notebook source\n# MAGIC %md A title\n\n# COMMAND ----------\n\nx = 1\n\n# COMMAND ----------\n\n"
        "dbutils.widgets.text('c', 'from the notebook')\ndbutils.jobs.taskValues.set('x', x + 1)\n"
        "dbutils.notebook.exit('|'.join(dbutils.widgets.get(name) for name in 'abc'))\n",
        "first",
    )
    second = script(
        "# Databricks notebook source\n"
        "value = dbutils.jobs.taskValues.get(taskKey='first', key='x')\n"
        "dbutils.notebook.exit(f\"{value} {dbutils.widgets.get('given')}\")\n",
        "second",
    )
    job_id = create(
        client,
        notebook_task(first, "first", a="base", b="base"),
        notebook_task(second, given="{{tasks.first.values.x}}") | {"depends_on": [{"task_key": "first"}]},
        parameters=[{"name": "b", "default": "of the job"}],
    )
    run = ended(client, start(client, job_id))
    found = output(client, run, "first")
    assert found["notebook_output"] == {"result": "base|of the job|from the notebook", "truncated": False}
    assert "logs" not in found
    assert output(client, run)["notebook_output"]["result"] == "2 2"


VALUE = """
from dbruntime import UserNamespaceInitializer
dbutils = UserNamespaceInitializer.getOrCreate().get_namespace_globals()["dbutils"]
dbutils.jobs.taskValues.set("number", 7)
"""


def test_a_python_file_finds_the_runtime_where_the_sdk_looks_for_it(client: WorkspaceClient, script: Scripts) -> None:
    reader = file_task(script(ARGUMENTS), after="setter", parameters=["{{tasks.setter.values.number}}"])
    run = ended(client, submit(client, file_task(script(VALUE), "setter"), reader))
    assert output(client, run)["logs"] == "7\n"


def test_what_is_no_notebook_or_not_there_is_not_found(client: WorkspaceClient, script: Scripts) -> None:
    plain, wrong = script("print(1)"), script("# Databricks notebook source\ndbutils.widgets.get('absent')", "wrong")
    run = ended(
        client,
        submit(client, notebook_task(plain), notebook_task("/Shared/none", "none"), notebook_task(wrong, "wrong")),
    )
    not_found = ("INTERNAL_ERROR", "FAILED", "RESOURCE_NOT_FOUND")
    assert [triple(task_of(run, key)) for key in ("main", "none")] == [not_found, not_found]
    assert "No input widget named absent" in output(client, run, "wrong")["error"]


def test_a_wheel_task_calls_an_entry_point_and_ignores_what_it_returns(
    client: WorkspaceClient, script: Scripts, workspace: Emulator
) -> None:
    folder = workspace.root / "files" / script.folder.lstrip("/")
    (folder / "shown.py").write_text("import sys\ndef main():\n    print(sys.argv)\n    return 1\n", encoding="utf-8")
    wheel = {"package_name": "shown", "entry_point": "main"}
    shared = {"environment_key": "default", "environment_variables_key": "path"}
    mine = {"package_name": "mlops-lifecycle", "entry_point": "mlops", "parameters": ["--version"]}
    run_id = submit(
        client,
        {"task_key": "named", "python_wheel_task": {**wheel, "named_parameters": {"a": "b"}}, **shared},
        {"task_key": "listed", "python_wheel_task": {**wheel, "parameters": ["a", "b"]}, **shared},
        {"task_key": "ours", "python_wheel_task": mine, "environment_key": "default"},
        {"task_key": "none", "python_wheel_task": {**wheel, "entry_point": "absent"}, **shared},
        environment_variables=[
            {"environment_variables_key": "path", "spec": {"variables": {"PYTHONPATH": str(folder)}}}
        ],
    )
    run = ended(client, run_id)
    assert output(client, run, "named")["logs"] == "['shown', '--a=b']\n"
    assert output(client, run, "listed")["logs"] == "['shown', 'a', 'b']\n"
    assert version("mlops-lifecycle") in output(client, run, "ours")["logs"]
    assert [triple(task_of(run, key))[1] for key in ("named", "ours", "none")] == ["SUCCESS", "SUCCESS", "FAILED"]
    assert "has no attribute 'absent'" in output(client, run, "none")["error"]


ASK = """
import os
from databricks.sdk import WorkspaceClient
print(WorkspaceClient().current_user.me().user_name, {"DATABRICKS_HOST", "DATABRICKS_TOKEN"} & os.environ.keys())
print(os.environ["DATABRICKS_RUNTIME_VERSION"], os.environ["MINE"], "MLOPS_PLATFORM" in os.environ)
"""


def test_a_task_reaches_its_workspace_by_its_runtime_alone(client: WorkspaceClient, script: Scripts) -> None:
    cluster = {"spark_version": "16.4.x-scala2.12", "num_workers": 1, "spark_env_vars": {"MINE": "yes"}}
    task = {"task_key": "main", "new_cluster": cluster, "spark_python_task": {"python_file": script(ASK)}}
    run = ended(client, submit(client, task, environments=[]))
    assert output(client, run)["logs"] == "someone@example.com set()\n16.4 yes False\n"


def test_a_repository_in_the_settings_is_this_checkout(client: WorkspaceClient) -> None:
    source = {"git_url": "https://example.com/a", "git_provider": "gitHub", "git_branch": "main"}
    inside, outside = file_task("lifecycle/core/names.py"), file_task("../secret.py", "outside")
    here = file_task("lifecycle/core/names.py", "here")
    here["spark_python_task"]["source"] = "WORKSPACE"
    run = ended(client, submit(client, inside, outside, here, git_source=source))
    assert [triple(task_of(run, key))[2] for key in ("main", "outside", "here")] == [
        "SUCCESS",
        "RESOURCE_NOT_FOUND",
        "RESOURCE_NOT_FOUND",
    ]


# ---- ends


@pytest.mark.live
@left_to_the_collector
def test_a_failing_task_makes_the_run_an_internal_error(client: WorkspaceClient, script: Scripts, server: str) -> None:
    assert server
    job_id = create(client, file_task(script("print('so far')\nraise ValueError('boom')"), "train"))
    run = ended(client, start(client, job_id))
    message = "Task train failed with message: Workload failed, see run output for details."
    assert triple(run) == ("INTERNAL_ERROR", "FAILED", "RUN_EXECUTION_ERROR")
    assert run["state"]["state_message"] == message
    assert triple(task_of(run, "train")) == ("TERMINATED", "FAILED", "RUN_EXECUTION_ERROR")
    assert run["status"]["termination_details"]["type"] == "CLIENT_ERROR"
    found = output(client, run, "train")
    assert found["error"] == "ValueError: boom"
    assert found["error_trace"].startswith("Traceback")
    assert found["logs"].startswith("so far\n")
    with pytest.raises(OperationFailed, match="INTERNAL_ERROR"):
        client.jobs.run_now(job_id).result()
    flow = jobs_runs_submit_by_id_and_wait_for_completion(credentials(client), job_id, poll_frequency_seconds=1)
    with pytest.raises(DatabricksJobInternalError, match="Task train failed"):
        asyncio.run(flow)
    gc.collect()


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import sys; sys.exit('no data')", "SystemExit: no data"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import os; os._exit(4)", "Fatal error: The Python process exited with code 4."),
        ("import os; os.kill(os.getpid(), 9)", "Fatal error: The Python process was killed by SIGKILL."),
        ("raise SystemExit", None),
    ],
)
def test_a_process_that_leaves_early(client: WorkspaceClient, script: Scripts, source: str, error: str | None) -> None:
    run = ended(client, submit(client, file_task(script(source))))
    assert triple(run)[1] == ("FAILED" if error else "SUCCESS")
    assert output(client, run).get("error") == error


@pytest.mark.live
def test_a_run_with_several_tasks_has_no_output_of_its_own(client: WorkspaceClient, script: Scripts) -> None:
    run = ended(client, submit(client, file_task(script("print(1)")), file_task(script("print(2)"), "other")))
    with pytest.raises(InvalidParameterValue, match="multiple tasks is not supported"):
        client.jobs.get_run_output(run["run_id"])
    assert client.jobs.get_run_output(task_of(run, "other")["run_id"]).logs == "2\n"


@pytest.mark.live
def test_the_same_token_starts_one_run(client: WorkspaceClient, script: Scripts) -> None:
    job_id = create(client, file_task(script("")), max_concurrent_runs=5)
    token = f"token of {job_id}"
    first = client.jobs.run_now(job_id, idempotency_token=token).run_id
    assert client.jobs.run_now(job_id, idempotency_token=token).run_id == first
    assert client.jobs.run_now(job_id, idempotency_token=f"{token}'").run_id != first
    with pytest.raises(InvalidParameterValue, match="more than 64 characters"):
        client.jobs.run_now(job_id, idempotency_token="a" * 65)
    task = file_task(script(""))
    assert submit(client, task, idempotency_token=f"{token}''") == submit(client, task, idempotency_token=f"{token}''")
    ended(client, first)
    client.jobs.delete_run(first)
    with pytest.raises(InvalidParameterValue, match="has been deleted"):
        client.jobs.run_now(job_id, idempotency_token=token)


@pytest.mark.live
def test_dependencies_and_conditions_decide_which_task_runs(client: WorkspaceClient, script: Scripts) -> None:
    good, bad = script(""), script("raise ValueError")
    conditions = ("ALL_SUCCESS", "ALL_DONE", "AT_LEAST_ONE_SUCCESS", "AT_LEAST_ONE_FAILED", "NONE_FAILED", "ALL_FAILED")
    mixed = [file_task(good, name, after="good bad", run_if=name) for name in conditions]
    tasks = [file_task(good, "good"), file_task(bad, "bad"), *mixed]
    tasks += [
        file_task(good, "fixed", after="bad", run_if="ALL_FAILED"),
        file_task(good, "second", after="ALL_SUCCESS"),
        file_task(good, "no_need", after="good", run_if="AT_LEAST_ONE_FAILED"),
        file_task(good, "after_no_need", after="no_need"),
        file_task(good, "off", disabled=True),
        file_task(good, "after_off", after="off"),
    ]
    run = ended(client, submit(client, *tasks))
    assert {task["task_key"]: task["state"]["result_state"] for task in run["tasks"]} == {
        "good": "SUCCESS",
        "bad": "FAILED",
        "ALL_SUCCESS": "UPSTREAM_FAILED",
        "ALL_DONE": "SUCCESS",
        "AT_LEAST_ONE_SUCCESS": "SUCCESS",
        "AT_LEAST_ONE_FAILED": "SUCCESS",
        "NONE_FAILED": "UPSTREAM_FAILED",
        "ALL_FAILED": "EXCLUDED",
        "fixed": "SUCCESS",
        "second": "UPSTREAM_FAILED",
        "no_need": "EXCLUDED",
        "after_no_need": "EXCLUDED",
        "off": "DISABLED",
        "after_off": "SUCCESS",
    }
    assert triple(run) == ("INTERNAL_ERROR", "FAILED", "RUN_EXECUTION_ERROR")
    assert "Task bad failed" in run["state"]["state_message"]


@pytest.mark.live
def test_failures_that_lead_to_no_failed_leaf_are_a_success_with_failures(
    client: WorkspaceClient, script: Scripts
) -> None:
    bad, good = file_task(script("raise ValueError"), "bad"), file_task(script(""), after="bad", run_if="ALL_DONE")
    run = ended(client, submit(client, bad, good))
    assert triple(run) == ("TERMINATED", "SUCCESS_WITH_FAILURES", "SUCCESS_WITH_FAILURES")


SLEEP = """
import os, subprocess, time, pathlib
child = subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 300 & wait; sleep 300"])
pathlib.Path({0!r}).write_text(f"{{os.getpid()}} {{child.pid}}")
time.sleep(300)
"""


def pids(path: Path) -> list[int]:
    return [int(word) for word in until(lambda: path.exists() and path.read_text(encoding="utf-8").split())]


@pytest.mark.parametrize("of", ["task", "job"])
def test_a_time_limit_ends_the_whole_process_tree(
    client: WorkspaceClient, script: Scripts, tmp_path: Path, of: str
) -> None:
    task = file_task(script(SLEEP.format(str(tmp_path / "pids"))))
    limit = {"timeout_seconds": 1}
    run_id = submit(client, task | (limit if of == "task" else {}), **(limit if of == "job" else {}))
    processes = pids(tmp_path / "pids")
    run = ended(client, run_id)
    assert triple(run) == triple(task_of(run)) == ("TERMINATED", "TIMEDOUT", "CANCELED")
    assert run["state"]["user_cancelled_or_timedout"]
    until(lambda: not any(alive(pid) for pid in processes))  # the system ends what was killed a moment later


@pytest.mark.parametrize("whole", [True, False])
def test_a_cancelled_run_leaves_no_process(
    client: WorkspaceClient, script: Scripts, tmp_path: Path, whole: bool
) -> None:
    later = file_task(script(""), "later", after="main")
    run_id = submit(client, file_task(script(SLEEP.format(str(tmp_path / "pids")))), later)
    processes = pids(tmp_path / "pids")
    assert all(alive(pid) for pid in processes)
    run = fetch(client, "runs/get", run_id=run_id)
    assert [task["state"]["life_cycle_state"] for task in run["tasks"]] == ["RUNNING", "BLOCKED"]
    client.jobs.cancel_run(run_id if whole else task_of(run)["run_id"])
    at_once = fetch(client, "runs/get", run_id=task_of(run)["run_id"])["status"]["state"]
    assert at_once in {"TERMINATING", "TERMINATED"}  # a process may end before the question comes
    run = ended(client, run_id)
    assert triple(run) == triple(task_of(run)) == ("TERMINATED", "CANCELED", "USER_CANCELED")
    assert task_of(run, "later")["state"]["result_state"] == ("CANCELED" if whole else "UPSTREAM_CANCELED")
    until(lambda: not any(alive(pid) for pid in processes))
    client.jobs.cancel_run(run_id)  # nothing happens to a run that has ended
    assert triple(fetch(client, "runs/get", run_id=run_id)) == triple(run)


@pytest.mark.live
def test_a_run_is_cancelled(client: WorkspaceClient, script: Scripts) -> None:
    run_id = submit(client, file_task(script("import time; time.sleep(3000)")))
    running_(client, run_id)
    client.jobs.cancel_run(run_id)
    assert triple(ended(client, run_id)) == ("TERMINATED", "CANCELED", "USER_CANCELED")


COUNT = """
import pathlib, sys
path = pathlib.Path({0!r})
path.write_text(path.read_text() + "x" if path.exists() else "x")
if len(path.read_text()) < 3: raise ValueError("again")
"""


def test_a_task_is_tried_again_as_often_as_it_may(client: WorkspaceClient, script: Scripts, tmp_path: Path) -> None:
    source = COUNT.format(str(tmp_path / "count"))
    task = file_task(script(source), max_retries=5, min_retry_interval_millis=300)
    run_id = submit(client, task, file_task(script("raise ValueError"), "never", max_retries=1))

    def phases() -> set[str]:
        found = fetch(client, "runs/get", run_id=run_id)
        return {item["status"]["state"] for item in found["tasks"]}

    until(lambda: "WAITING" in phases())
    run = ended(client, run_id)
    tries = [
        (item["attempt_number"], item["state"]["result_state"]) for item in run["tasks"] if item["max_retries"] == 5
    ]
    assert tries == [(0, "FAILED"), (1, "FAILED"), (2, "SUCCESS")]
    assert [item["attempt_number"] for item in run["tasks"] if item["task_key"] == "never"] == [0, 1]
    assert len({item["run_id"] for item in run["tasks"]}) == 5


def test_runs_beyond_the_limit_wait_in_order_or_are_skipped(
    client: WorkspaceClient, script: Scripts, tmp_path: Path
) -> None:
    task = file_task(script(SLEEP.format(str(tmp_path / "pids"))))
    job_id = create(client, task, queue={"enabled": True})
    first, second, third = (start(client, job_id) for _ in range(3))
    skipped = ended(client, start(client, job_id, queue={"enabled": False}))
    expected = ("SKIPPED", "MAXIMUM_CONCURRENT_RUNS_REACHED", "MAX_CONCURRENT_RUNS_EXCEEDED")
    assert triple(skipped) == expected
    for waiting in (second, third):
        run = fetch(client, "runs/get", run_id=waiting)
        assert run["state"]["life_cycle_state"] == "QUEUED"
        assert run["status"]["queue_details"]["code"] == "MAX_CONCURRENT_RUNS_REACHED"
    running_(client, first)
    client.jobs.cancel_run(first)
    running_(client, second)
    assert fetch(client, "runs/get", run_id=third)["state"]["life_cycle_state"] == "QUEUED"
    client.jobs.cancel_all_runs(job_id=job_id)
    assert [triple(ended(client, run))[1] for run in (first, second, third)] == ["CANCELED"] * 3
    assert list(client.jobs.list_runs(job_id=job_id, active_only=True)) == []


FLAKY = "import pathlib, sys\nprint('ran')\nif not pathlib.Path({0!r}).exists(): raise ValueError('not yet')"


def test_a_repair_runs_only_what_failed_within_the_same_run(
    client: WorkspaceClient, script: Scripts, tmp_path: Path
) -> None:
    flaky = file_task(script(FLAKY.format(str(tmp_path / "there"))), "flaky", after="good")
    tasks = [file_task(script(""), "good"), flaky, file_task(script(""), "last", after="flaky")]
    job_id = create(client, *tasks, parameters=[{"name": "a", "default": "b"}])
    run = ended(client, start(client, job_id))
    repair_id = post(client, "runs/repair", run_id=run["run_id"], rerun_all_failed_tasks=True)["repair_id"]
    with pytest.raises(InvalidState, match="still active"):
        post(client, "runs/repair", run_id=run["run_id"], rerun_all_failed_tasks=True)
    assert triple(ended(client, run["run_id"]))[1] == "FAILED"
    (tmp_path / "there").touch()
    with pytest.raises(InvalidParameterValue, match=f"latest repair of run {run['run_id']} is {repair_id}"):
        post(client, "runs/repair", run_id=run["run_id"], rerun_all_failed_tasks=True)
    again = {"rerun_all_failed_tasks": True, "latest_repair_id": repair_id, "job_parameters": {"a": "c"}}
    second = post(client, "runs/repair", run_id=run["run_id"], **again)["repair_id"]
    run = ended(client, run["run_id"])
    assert triple(run)[1] == "SUCCESS"
    assert [task["task_key"] for task in run["tasks"]] == ["good", "flaky", "last", "flaky", "last", "flaky", "last"]
    history = [(item["type"], item.get("id"), len(item["task_run_ids"])) for item in run["repair_history"]]
    assert history == [("ORIGINAL", None, 3), ("REPAIR", repair_id, 2), ("REPAIR", second, 2)]
    assert [item["state"]["result_state"] for item in run["repair_history"]] == ["FAILED", "FAILED", "SUCCESS"]
    assert run["job_parameters"] == [{"name": "a", "default": "b", "value": "c"}]
    third = {"rerun_tasks": ["flaky"], "rerun_dependent_tasks": True, "latest_repair_id": second}
    post(client, "runs/repair", run_id=run["run_id"], **third)
    assert [task["task_key"] for task in ended(client, run["run_id"])["tasks"]][7:] == ["flaky", "last"]


def test_a_repair_has_to_be_of_something(client: WorkspaceClient, script: Scripts) -> None:
    run = ended(client, submit(client, file_task(script(""))))
    for body, message in (
        ({"rerun_all_failed_tasks": True}, "has no failed tasks"),
        ({"rerun_tasks": ["nobody"]}, "has no task nobody"),
        ({}, "Exactly one of rerun_tasks and rerun_all_failed_tasks"),
    ):
        with pytest.raises(InvalidParameterValue, match=message):
            post(client, "runs/repair", run_id=run["run_id"], **body)


def test_runs_are_listed_newest_first_in_pages(client: WorkspaceClient, script: Scripts) -> None:
    job_id = create(client, file_task(script("")), max_concurrent_runs=30)
    made = [start(client, job_id) for _ in range(3)]
    for run_id in made:
        ended(client, run_id)
    listed = list(client.jobs.list_runs(job_id=job_id, limit=2, expand_tasks=True))
    assert [run.run_id for run in listed] == made[::-1]
    assert [run.tasks[0].task_key for run in listed] == ["main"] * 3
    assert len(list(client.jobs.list_runs(job_id=job_id, completed_only=True))) == 3
    assert list(client.jobs.list_runs(job_id=job_id, run_type=sdk.RunType.SUBMIT_RUN)) == []
    for bad in ({"active_only": "true", "completed_only": "true"}, {"limit": 26}):
        with pytest.raises(InvalidParameterValue):
            fetch(client, "runs/list", **bad)


def test_an_active_run_is_not_deleted(client: WorkspaceClient, script: Scripts, tmp_path: Path) -> None:
    run_id = submit(client, file_task(script(SLEEP.format(str(tmp_path / "pids")))))
    with pytest.raises(InvalidState, match="still active"):
        client.jobs.delete_run(run_id)
    client.jobs.cancel_run(run_id)
    ended(client, run_id)
    client.jobs.delete_run(run_id)
    with pytest.raises(ResourceDoesNotExist):
        client.jobs.get_run(run_id)


@pytest.mark.live
def test_a_one_time_run_needs_an_environment_and_prefect_sends_it_by_its_generic_call(
    client: WorkspaceClient, script: Scripts
) -> None:
    task = file_task(script("print('once')"))
    body = {"run_name": "once", "tasks": [{**task, "new_cluster": None}], "environments": SERVERLESS}
    call = execute_endpoint.fn("/2.2/jobs/runs/submit", credentials(client), HTTPMethod.POST, json=body)
    run = ended(client, asyncio.run(call).json()["run_id"])
    assert (run["run_type"], run["run_name"], output(client, run)["logs"]) == ("SUBMIT_RUN", "once", "once\n")
    without = jobs.jobs_runs_submit.fn(credentials(client), tasks=[task], run_name="without")
    with pytest.raises(Exception, match="environment_key 'default' is not defined"):
        asyncio.run(without)


def test_no_field_and_no_state_is_unknown_to_the_sdk(client: WorkspaceClient, script: Scripts) -> None:
    tasks = [
        file_task(script("raise ValueError"), "bad", max_retries=1),
        file_task(script(""), after="bad", parameters=["{{job.parameters.a}}"]),
        file_task(script("print(1)"), "good", parameters=["{{job.parameters.a}}"]),
        notebook_task(script("# Databricks notebook source\ndbutils.notebook.exit(1)", "book"), "book", a="b"),
    ]
    job_id = create(client, *tasks, parameters=[{"name": "a", "default": "b"}], queue={"enabled": True})
    run_id = start(client, job_id, notebook_params={"c": "d"})
    seen = [fetch(client, "runs/get", run_id=run_id)]
    waiting = start(client, job_id)
    seen.append(fetch(client, "runs/get", run_id=waiting))
    client.jobs.cancel_run(waiting)
    run = ended(client, run_id)
    seen += [run, ended(client, waiting)]
    seen.append(fetch(client, "runs/get", run_id=run_id, include_resolved_values="true"))
    seen += [fetch(client, "runs/get", run_id=task["run_id"]) for task in run["tasks"]]
    for found in seen:
        assert sdk.Run.from_dict(found).as_dict() == found
    for task in run["tasks"]:
        found = fetch(client, "runs/get-output", run_id=task["run_id"])
        assert sdk.RunOutput.from_dict(found).as_dict() == found
    for found in (fetch(client, "runs/list", job_id=job_id, expand_tasks="true"), fetch(client, "runs/list")):
        assert sdk.ListRunsResponse.from_dict(found).as_dict() == found
    found = fetch(client, "list", expand_tasks="true")
    assert sdk.ListJobsResponse.from_dict(found).as_dict() == found
    found = fetch(client, "get", job_id=job_id)
    assert sdk.Job.from_dict(found).as_dict() == found


def test_permissions_of_a_job_are_replaced_and_added_to(client: WorkspaceClient) -> None:
    job_id = create(
        client,
        file_task("/a.py"),
        access_control_list=[{"group_name": "users", "permission_level": "CAN_VIEW"}],
    )
    more = [sdk.JobAccessControlRequest(group_name="admins", permission_level=sdk.JobPermissionLevel.CAN_MANAGE)]
    client.jobs.update_permissions(str(job_id), access_control_list=more)
    found = client.jobs.get_permissions(str(job_id)).access_control_list
    assert [entry.group_name for entry in found] == ["users", "admins"]
    client.jobs.set_permissions(str(job_id), access_control_list=more)
    (entry,) = client.jobs.get_permissions(str(job_id)).access_control_list
    assert entry.all_permissions[0].permission_level is sdk.JobPermissionLevel.CAN_MANAGE


# ---- environments of their own


@pytest.fixture(scope="module")
def with_wheels(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Emulator]:
    """An emulator whose tasks run in virtual environments of what they declare."""
    root = tmp_path_factory.mktemp("wheels")
    (root / "uc.db").write_bytes(migrated.read_bytes())
    with running(root, mode="wheel") as found:
        yield found


def write_wheel(path: Path, body: str) -> None:
    """A wheel `tiny` with a module, and an entry point `go` that calls its `main`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    info = "tiny-1.0.dist-info"
    files = {
        "tiny.py": body,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\ngo = tiny:main\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


TINY = """
import importlib.util, sys
def main():
    print(sys.argv, importlib.util.find_spec("mlflow"), importlib.util.find_spec("lifecycle"))
"""


@exhaustive  # of the emulator alone; the wheel: tests/docs/test_wheel.py
def test_a_wheel_runs_in_an_environment_of_its_own_and_nothing_outlives_the_emulator(
    with_wheels: Emulator, tmp_path: Path
) -> None:
    client = WorkspaceClient(host=with_wheels.url, token=with_wheels.token)
    wheel = "/Volumes/dev/ml/wheels/tiny-1.0-py3-none-any.whl"
    write_wheel(with_wheels.root / "files" / wheel.lstrip("/"), TINY)
    task = {"python_wheel_task": {"package_name": "tiny", "entry_point": "go", "parameters": ["a"]}}
    specs = {"there": wheel, "absent": "/Volumes/dev/ml/wheels/none-1.0-py3-none-any.whl", "broken": "../dist/*.whl"}
    environments = [
        {"environment_key": key, "spec": {"environment_version": "4", "dependencies": [path]}}
        for key, path in specs.items()
    ]
    tasks = [{"task_key": key, "environment_key": key, **task} for key in specs]
    run = ended(client, submit(client, *tasks, environments=environments))
    assert output(client, run, "there")["logs"] == "['tiny', 'a'] None None\n"
    for key in ("absent", "broken"):
        assert triple(task_of(run, key)) == ("INTERNAL_ERROR", "FAILED", "LIBRARY_INSTALLATION_ERROR")

    sleep = with_wheels.root / "files" / "Workspace" / "Shared" / "sleep.py"
    sleep.write_text(SLEEP.format(str(tmp_path / "pids")), encoding="utf-8")
    submit(client, file_task("/Shared/sleep.py"))
    processes = pids(tmp_path / "pids")
    os.kill(with_wheels.pid, 9)
    until(lambda: not any(alive(pid) for pid in processes))


def test_the_environment_of_a_shell_is_left_to_nobody_else(workspace: Emulator) -> None:
    path = workspace.root / "environment"
    assert path.stat().st_mode & 0o777 == 0o600
    lines = dict(line.split("=", 1) for line in path.read_text(encoding="utf-8").splitlines())
    assert lines["DATABRICKS_HOST"] == workspace.https_url
    reply = requests.get(
        f"{lines['DATABRICKS_HOST']}/api/2.1/jobs/list",
        headers={"Authorization": f"Bearer {lines['DATABRICKS_TOKEN']}"},
        verify=lines["REQUESTS_CA_BUNDLE"],
        timeout=240,
    )
    assert reply.ok
    assert "has_more" in json.loads(reply.text)
