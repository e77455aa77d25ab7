"""Faults on demand: the emulator fails as a workspace and the way to it can, as often and as late as it is told."""

import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import DeadlineExceeded, InternalError, PermissionDenied
from databricks.sdk.service.jobs import RunLifeCycleState

from databricks_emulator import Emulator
from tests.databricks.conftest import Scripts

RUN_NOW, POLL, OUTPUT = "POST /api/*/jobs/run-now", "GET /api/*/jobs/runs/get", "GET /api/*/jobs/runs/get-output"
CANCEL = "POST /api/*/jobs/runs/cancel"
SLEEP = "import os, pathlib, time\npathlib.Path({0!r}).write_text(str(os.getpid()))\ntime.sleep(300)\n"


@pytest.fixture
def job_id(client: WorkspaceClient, script: Scripts) -> int:
    """A job `nightly` whose task `train` ends at once."""
    return create(client, script("print('0123456789')"))


def create(client: WorkspaceClient, path: str, **more: Any) -> int:
    task = {"task_key": "train", "environment_key": "default", "spark_python_task": {"python_file": path}, **more}
    environments = [{"environment_key": "default", "spec": {"environment_version": "4"}}]
    body = {"name": "nightly", "tasks": [task], "environments": environments, "max_concurrent_runs": 9}
    return int(client.api_client.do("POST", "/api/2.2/jobs/create", body=body)["job_id"])


def get(emulator: Emulator, path: str, **query: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {emulator.token}"}
    return requests.get(f"{emulator.url}/api/2.2/jobs/{path}", query, headers=headers, timeout=240)


def post(emulator: Emulator, path: str, **body: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {emulator.token}"}
    return requests.post(f"{emulator.url}/api/2.2/jobs/{path}", json=body, headers=headers, timeout=240)


def ended(emulator: Emulator, run_id: int) -> dict[str, Any]:
    deadline = time.monotonic() + 240
    while (run := get(emulator, "runs/get", run_id=run_id).json())["status"]["state"] != "TERMINATED":
        assert time.monotonic() < deadline
        time.sleep(0.03)
    return run


def phase(emulator: Emulator, run_id: int) -> str:
    return get(emulator, "runs/get", run_id=run_id).json()["state"]["life_cycle_state"]


def pid_of(path: Path) -> int:
    deadline = time.monotonic() + 240
    while not (path.exists() and path.read_text(encoding="utf-8")):
        assert time.monotonic() < deadline
        time.sleep(0.03)
    return int(path.read_text(encoding="utf-8"))


def test_a_reply_that_is_lost_makes_the_sdk_start_two_runs_unless_it_sends_a_token(
    client: WorkspaceClient, databricks_env: Emulator, job_id: int
) -> None:
    for token, runs in ((None, 2), (f"lost {job_id}", 1)):
        before = len(databricks_env.runs(job_id=job_id))
        databricks_env.inject(RUN_NOW, drop=True, after=True)
        client.jobs.run_now(job_id, idempotency_token=token)
        assert len(databricks_env.runs(job_id=job_id)) == before + runs


def test_a_request_that_is_lost_has_no_effect(client: WorkspaceClient, databricks_env: Emulator, job_id: int) -> None:
    databricks_env.inject(RUN_NOW, drop=True)
    client.jobs.run_now(job_id)
    assert len(databricks_env.runs(job_id=job_id)) == 1
    calls = databricks_env.calls(RUN_NOW)
    assert [call.get("status") for call in calls] == [None, 200]
    assert calls[0]["body"] == {"job_id": job_id}


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_dropped_connection_gives_no_reply_at_all(databricks_env: Emulator, scheme: str) -> None:
    url = {"http": databricks_env.url, "https": databricks_env.https_url}[scheme]
    databricks_env.inject("GET /api/2.2/jobs/list", drop=True)
    headers = {"Authorization": f"Bearer {databricks_env.token}"}
    with httpx.Client() as http:
        with pytest.raises(httpx.TransportError):
            http.get(f"{url}/api/2.2/jobs/list", headers=headers)
        assert http.get(f"{url}/api/2.2/jobs/list", headers=headers).is_success


def test_the_sdk_waits_as_long_as_it_is_told(client: WorkspaceClient, databricks_env: Emulator, job_id: int) -> None:
    databricks_env.inject(RUN_NOW, status=429, headers={"Retry-After": "2"})
    began = time.monotonic()
    client.jobs.run_now(job_id)
    assert time.monotonic() - began >= 2
    assert len(databricks_env.runs(job_id=job_id)) == 1


@pytest.mark.parametrize(("status", "error"), [(500, InternalError), (504, DeadlineExceeded)])
def test_the_sdk_gives_up_at_once_on_what_may_have_had_an_effect(
    client: WorkspaceClient, databricks_env: Emulator, job_id: int, status: int, error: type[Exception]
) -> None:
    databricks_env.inject(RUN_NOW, status=status, after=True)
    with pytest.raises(error, match="injected fault"):
        client.jobs.run_now(job_id)
    assert len(databricks_env.runs(job_id=job_id)) == 1


@pytest.mark.parametrize("status", [429, 500, 503, 504])
def test_each_call_of_a_step_can_fail(databricks_env: Emulator, job_id: int, status: int) -> None:
    run_id = post(databricks_env, "run-now", job_id=job_id).json()["run_id"]
    task = ended(databricks_env, run_id)["tasks"][0]["run_id"]
    calls = {
        RUN_NOW: lambda: post(databricks_env, "run-now", job_id=job_id),
        POLL: lambda: get(databricks_env, "runs/get", run_id=run_id),
        OUTPUT: lambda: get(databricks_env, "runs/get-output", run_id=task),
        CANCEL: lambda: post(databricks_env, "runs/cancel", run_id=run_id),
    }
    for match, call in calls.items():
        databricks_env.inject(match, status=status, skip=1, times=2)
        replies = [call() for _ in range(4)]
        assert [reply.status_code for reply in replies] == [200, status, status, 200]
        assert replies[1].json()["message"] == f"injected fault on {match}"


def test_faults_of_the_same_calls_come_one_after_the_other(databricks_env: Emulator) -> None:
    databricks_env.inject("GET */jobs/list", status=503)
    databricks_env.inject("GET */jobs/list", status=429, headers={"Retry-After": "7"}, error_code="RESOURCE_EXHAUSTED")
    first, second, third = (get(databricks_env, "list") for _ in range(3))
    assert (first.status_code, second.status_code, third.status_code) == (503, 429, 200)
    assert (second.headers["Retry-After"], second.json()["error_code"]) == ("7", "RESOURCE_EXHAUSTED")


@pytest.mark.parametrize("after", [False, True])
def test_a_slow_reply_has_its_effect_before_or_after_the_wait(
    databricks_env: Emulator, job_id: int, after: bool
) -> None:
    databricks_env.inject(RUN_NOW, delay=1, after=after)
    headers = {"Authorization": f"Bearer {databricks_env.token}"}
    with pytest.raises(requests.ReadTimeout):
        requests.post(
            f"{databricks_env.url}/api/2.1/jobs/run-now", json={"job_id": job_id}, headers=headers, timeout=0.5
        )
    assert len(databricks_env.runs(job_id=job_id)) == int(after)
    deadline = time.monotonic() + 240
    while len(databricks_env.runs(job_id=job_id)) != 1:
        assert time.monotonic() < deadline


def test_an_expired_token_is_refused(client: WorkspaceClient, databricks_env: Emulator) -> None:
    databricks_env.expire_token()
    with pytest.raises(PermissionDenied, match="Invalid access token"):
        list(client.jobs.list())
    list(client.jobs.list())


OUTCOMES = {
    "INTERNAL_ERROR": ("INTERNAL_ERROR", "FAILED", "INTERNAL_ERROR", "INTERNAL_ERROR"),
    "CLUSTER_ERROR": ("INTERNAL_ERROR", "FAILED", "CLUSTER_ERROR", "CLOUD_FAILURE"),
    "DRIVER_ERROR": ("INTERNAL_ERROR", "FAILED", "DRIVER_ERROR", "INTERNAL_ERROR"),
    "TIMEDOUT": ("TERMINATED", "TIMEDOUT", "CANCELED", "CLIENT_ERROR"),
    "CANCELED": ("TERMINATED", "CANCELED", "USER_CANCELED", "CLIENT_ERROR"),
    "NEW_IN_2030": ("TERMINATED", "NEW_IN_2030", "NEW_IN_2030", "NEW_IN_2030"),
}


@pytest.mark.parametrize("name", ["nightly", "train"])
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_run_ends_as_it_is_told_and_its_process_with_it(
    client: WorkspaceClient, databricks_env: Emulator, script: Scripts, tmp_path: Path, outcome: str, name: str
) -> None:
    endless = create(client, script(SLEEP.format(str(tmp_path / "pid"))))
    databricks_env.end_run(name, outcome, after_s=0.5)
    run = ended(databricks_env, post(databricks_env, "run-now", job_id=endless).json()["run_id"])
    state, details = run["state"], run["status"]["termination_details"]
    found = (state["life_cycle_state"], state["result_state"], details["code"], details["type"])
    assert found == OUTCOMES[outcome]
    pid = tmp_path / "pid"  # on a busy machine a task may end before its first line
    process = pid.read_text(encoding="utf-8") if pid.exists() else ""
    assert not process or not Path(f"/proc/{process}").exists()


def test_the_end_of_one_attempt_leaves_the_next_to_succeed(
    client: WorkspaceClient, databricks_env: Emulator, script: Scripts
) -> None:
    retried = create(client, script(""), max_retries=1)
    databricks_env.end_run("train", "CLUSTER_ERROR")
    run = ended(databricks_env, post(databricks_env, "run-now", job_id=retried).json()["run_id"])
    assert [task["state"]["result_state"] for task in run["tasks"]] == ["FAILED", "SUCCESS"]
    assert run["state"]["result_state"] == "SUCCESS"


def test_a_run_stays_in_the_queue_until_it_is_let_go(databricks_env: Emulator, job_id: int) -> None:
    databricks_env.hold("nightly")
    held, cancelled = (post(databricks_env, "run-now", job_id=job_id).json()["run_id"] for _ in range(2))
    time.sleep(0.3)
    assert phase(databricks_env, held) == phase(databricks_env, cancelled) == RunLifeCycleState.QUEUED.value
    post(databricks_env, "runs/cancel", run_id=cancelled)
    assert ended(databricks_env, cancelled)["state"]["result_state"] == "CANCELED"
    assert databricks_env.waiting() == []
    databricks_env.clear()
    assert ended(databricks_env, held)["state"]["result_state"] == "SUCCESS"


def test_a_cluster_that_does_not_come_and_one_that_does_not_go(
    client: WorkspaceClient, databricks_env: Emulator, script: Scripts, tmp_path: Path
) -> None:
    endless = create(client, script(SLEEP.format(str(tmp_path / "pid"))))
    databricks_env.hold("train", "PENDING")
    run_id = post(databricks_env, "run-now", job_id=endless).json()["run_id"]
    time.sleep(0.3)
    assert get(databricks_env, "runs/get", run_id=run_id).json()["tasks"][0]["status"]["state"] == "PENDING"
    assert not (tmp_path / "pid").exists()
    databricks_env.clear()
    process = pid_of(tmp_path / "pid")
    databricks_env.hold("train", "TERMINATING")
    post(databricks_env, "runs/cancel", run_id=run_id)
    time.sleep(0.3)
    assert phase(databricks_env, run_id) == "TERMINATING"
    assert Path(f"/proc/{process}").exists()
    databricks_env.clear()
    assert ended(databricks_env, run_id)["state"]["result_state"] == "CANCELED"


def test_output_is_cut_on_demand(databricks_env: Emulator, job_id: int) -> None:
    databricks_env.truncate_output("train")
    run = ended(databricks_env, post(databricks_env, "run-now", job_id=job_id).json()["run_id"])
    found = get(databricks_env, "runs/get-output", run_id=run["tasks"][0]["run_id"]).json()
    assert (found["logs"], found["logs_truncated"]) == ("56789\n", True)


def test_faults_that_nothing_met_are_known_and_a_fault_must_do_something(databricks_env: Emulator) -> None:
    databricks_env.inject("POST /never", status=503)
    databricks_env.end_run("nobody", "TIMEDOUT")
    assert [fault.get("match", fault.get("run")) for fault in databricks_env.waiting()] == ["POST /never", "nobody"]
    databricks_env.clear()
    assert databricks_env.waiting() == []
    for nothing in ({}, {"stat": 503}):
        with pytest.raises(requests.HTTPError, match="400"):
            databricks_env.inject("POST /never", **nothing)


def test_the_log_of_calls_holds_no_token(databricks_env: Emulator, job_id: int) -> None:
    post(databricks_env, "run-now", job_id=job_id, idempotency_token=f"logged {job_id}")
    (call,) = databricks_env.calls(RUN_NOW)
    assert call["body"]["idempotency_token"] == f"logged {job_id}"
    assert databricks_env.token not in str(databricks_env.calls())
    databricks_env.forget_calls()
    assert databricks_env.calls() == []
