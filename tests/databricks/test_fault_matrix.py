"""Faults of the network and the service: whatever happens, one run at most, none left, and an end in time."""

import itertools
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from databricks.sdk import WorkspaceClient
from prefect_databricks.jobs import jobs_run_now

from databricks_emulator import Emulator
from lifecycle.core.errors import ConfigError, MlopsError, TransientError
from lifecycle.databricks.run_states import succeeded
from lifecycle.settings.rules import DatabricksRules
from tasks import databricks, databricks_calls
from tasks.databricks_calls import Workspace
from tests.databricks.remote import QUICK, active, create_job, endless, is_alive, python_task, until

pytestmark = pytest.mark.usefixtures("databricks_env")

OPERATIONS = {
    "run-now": "POST /api/*/jobs/run-now",
    "poll": "GET /api/*/jobs/runs/get",
    "output": "GET /api/*/jobs/runs/get-output",
    "cancel": "POST /api/*/jobs/runs/cancel",
}
LOGIN = "<!DOCTYPE html><html><title>Databricks - Sign In</title></html>"
SCRIPTS: dict[str, dict[str, Any]] = {
    "429, Retry-After 1": {"status": 429, "headers": {"Retry-After": "1"}},
    "429 without": {"status": 429},
    "500": {"status": 500},
    "503 twice": {"status": 503, "times": 2},
    "503 after the effect": {"status": 503, "after": True},
    "a login page": {"text": LOGIN},
    "a login page after the effect": {"text": LOGIN, "after": True},
    "half an answer after the effect": {"text": '{"run_id": 12', "after": True},
    "redirected to a login": {"status": 302, "headers": {"Location": "/login.html"}},
    "dropped before": {"drop": True},
    "dropped after the effect": {"drop": True, "after": True},
    "slow": {"delay": 0.8},
    "expired token": {"status": 403, "error_code": "PERMISSION_DENIED", "message": "Invalid access token."},
}
HASTE = DatabricksRules(timeout_seconds=0.6, poll_seconds=0.1)
"""A deadline that a task without end misses."""


class Jobs(NamedTuple):
    """A job that succeeds, one that fails, and one that does not end."""

    quick: int
    failing: int
    endless: int
    pid_file: Path


@pytest.fixture(scope="module")
def jobs(workspace: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Jobs:
    client = WorkspaceClient(host=workspace.url, token=workspace.token)
    pid_file = tmp_path_factory.mktemp("endless") / "pid"
    folder = workspace.root / "files" / "Workspace" / "Shared" / "matrix"
    folder.mkdir(parents=True)
    sources = {"quick": "print('done')", "failing": "raise ValueError('boom')", "endless": endless(pid_file)}
    ids = {}
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
        ids[name] = create_job(client, f"matrix-{name}", python_task(f"/Workspace/Shared/matrix/{name}.py"))
    return Jobs(**ids, pid_file=pid_file)


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A client that does not rest long."""
    monkeypatch.setattr(databricks_calls, "PAUSE_SECONDS", 0.05)
    return Workspace("databricks")


_keys = itertools.count()


def complete(remote: Workspace, job_id: int, rules: DatabricksRules) -> None:
    """What a step does: one run to its end, or the error that it means."""
    start = databricks.of_job(remote, job_id, {"request": "{}", "env": "dev", "prefect_flow_run_id": ""})
    run = databricks.complete(remote, start, rules, lambda _: None, key=f"matrix-{next(_keys)}")
    databricks.raise_for(remote, run, "matrix")
    assert succeeded(run)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_one_run_at_most_and_none_left(
    workspace: Emulator, remote: Workspace, jobs: Jobs, operation: str, script: str
) -> None:
    job_id = {"output": jobs.failing, "cancel": jobs.endless}.get(operation, jobs.quick)
    before = len(workspace.runs(job_id=job_id))
    workspace.inject(OPERATIONS[operation], **SCRIPTS[script])
    began = time.monotonic()
    if operation == "output":
        with pytest.raises(MlopsError, match="ValueError: boom"):
            complete(remote, job_id, QUICK)
    elif operation == "cancel":
        with pytest.raises(ConfigError, match=r"has not ended within 0\.6 s.*was cancelled"):
            complete(remote, job_id, HASTE)
    else:
        complete(remote, job_id, QUICK)
    took = time.monotonic() - began
    assert len(workspace.runs(job_id=job_id)) == before + 1
    assert until(lambda: not active(workspace))
    assert took >= (1 if "Retry-After" in script else 0)
    if operation == "cancel":
        assert took < HASTE.timeout_seconds + HASTE.poll_seconds + 60  # the calls themselves, on a busy machine
        assert workspace.runs(job_id=job_id)[0]["state"]["result_state"] == "CANCELED"
        assert not jobs.pid_file.exists() or not is_alive(jobs.pid_file)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databricks_calls, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(databricks, "CANCEL_SECONDS", 0.5)


@pytest.mark.usefixtures("impatient")
def test_a_workspace_that_stays_away_ends_in_an_error_that_is_worth_a_retry(
    workspace: Emulator, remote: Workspace, jobs: Jobs
) -> None:
    workspace.inject("POST /api/*/jobs/run-now", status=503, times=1000)
    with pytest.raises(TransientError, match=r"503.* not known.*mlops databricks reconcile"):
        complete(remote, jobs.quick, QUICK)
    workspace.clear()


@pytest.mark.usefixtures("impatient")
def test_a_run_whose_start_was_answered_by_silence_is_cancelled_all_the_same(
    workspace: Emulator, remote: Workspace, jobs: Jobs
) -> None:
    lost = len(workspace.runs(job_id=jobs.endless))
    workspace.inject("POST /api/*/jobs/run-now", status=503, after=True, times=4)
    with pytest.raises(TransientError, match="503"):
        complete(remote, jobs.endless, QUICK)
    workspace.clear()
    assert len(workspace.runs(job_id=jobs.endless)) == lost + 1
    assert until(lambda: not active(workspace))


@pytest.mark.usefixtures("impatient")
def test_while_nobody_answers_the_poll_the_run_is_cancelled_and_the_error_worth_a_retry(
    workspace: Emulator, remote: Workspace, jobs: Jobs
) -> None:
    workspace.inject("GET /api/*/jobs/runs/get", status=503, times=1000)
    with pytest.raises(TransientError, match="503"):
        complete(remote, jobs.endless, QUICK)
    workspace.clear()
    assert until(lambda: not active(workspace))


def test_a_run_goes_on_while_the_service_asks_to_look_later(workspace: Emulator, remote: Workspace, jobs: Jobs) -> None:
    """It is looked at once more at the deadline, and only what has not ended by then is cancelled."""
    before = len(workspace.runs(job_id=jobs.quick))
    workspace.inject("GET /api/*/jobs/runs/get", status=429, headers={"Retry-After": "600"})
    complete(remote, jobs.quick, DatabricksRules(timeout_seconds=10, poll_seconds=0.1))
    assert len(workspace.runs(job_id=jobs.quick)) == before + 1
    workspace.inject("GET /api/*/jobs/runs/get", status=429, headers={"Retry-After": "600"})
    with pytest.raises(ConfigError, match="timeout_seconds"):
        complete(remote, jobs.endless, HASTE)
    assert until(lambda: not active(workspace))


@pytest.mark.usefixtures("impatient")
def test_what_is_not_known_to_be_cancelled_is_not_said_to_be(
    workspace: Emulator, remote: Workspace, jobs: Jobs
) -> None:
    workspace.inject("POST /api/*/jobs/runs/cancel", status=500, times=1000)
    with pytest.raises(ConfigError, match=r"may go on.*mlops databricks reconcile"):
        complete(remote, jobs.endless, HASTE)
    assert active(workspace)
    workspace.clear()


def test_an_answer_in_json_that_is_not_the_workspace_s_is_none(
    workspace: Emulator, remote: Workspace, jobs: Jobs
) -> None:
    before = len(workspace.runs(job_id=jobs.quick))
    for call in ("POST /api/*/jobs/run-now", "GET /api/*/jobs/runs/get"):
        workspace.inject(call, text='{"message": "please sign in"}')
    complete(remote, jobs.quick, QUICK)
    assert len(workspace.runs(job_id=jobs.quick)) == before + 1


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "INVALID_PARAMETER_VALUE", ConfigError),
        (403, "PERMISSION_DENIED", ConfigError),
        (404, "NOT_FOUND", ConfigError),
    ],
)
def test_a_refusal_is_not_repeated(
    workspace: Emulator, remote: Workspace, jobs: Jobs, status: int, code: str, kind: type[MlopsError]
) -> None:
    refused = 2 if status == 403 else 1  # the token is renewed once
    workspace.inject("POST /api/*/jobs/run-now", status=status, error_code=code, message="Not so", times=refused)
    with pytest.raises(kind, match="Not so"):
        complete(remote, jobs.quick, QUICK)
    assert len(workspace.calls("POST /api/*/jobs/run-now")) == refused


def test_the_same_token_is_sent_with_every_attempt(workspace: Emulator, remote: Workspace, jobs: Jobs) -> None:
    workspace.inject("POST /api/*/jobs/run-now", drop=True, after=True, times=2)
    complete(remote, jobs.quick, QUICK)
    bodies = [call["body"] for call in workspace.calls("POST /api/*/jobs/run-now")]
    assert len(bodies) == 3
    assert len({body["idempotency_token"] for body in bodies}) == 1
    assert len(bodies[0]["idempotency_token"]) == 64


def test_without_a_token_the_integration_itself_starts_a_second_run(
    workspace: Emulator, remote: Workspace, jobs: Jobs
) -> None:
    """Why the token is there: the same call, the same fault."""
    before = len(workspace.runs(job_id=jobs.quick))
    workspace.inject("POST /api/*/jobs/run-now", drop=True, after=True)
    remote.call(jobs_run_now.fn, job_id=jobs.quick)
    assert len(workspace.runs(job_id=jobs.quick)) == before + 2
    until(lambda: not active(workspace))
