"""Runs of killed flows: cancelled once their flow run has ended, left while somebody may come back to them."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from databricks.sdk import WorkspaceClient
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Cancelled, Completed, Crashed, Failed, Pending, Running, Scheduled, State

from databricks_emulator import Emulator
from flows.reconcile import reconcile
from lifecycle import settings
from tasks import reconcile as orphans
from tests.conftest import exhaustive
from tests.databricks.conftest import Scripts
from tests.databricks.remote import active, create_job, python_task, until

pytestmark = pytest.mark.usefixtures("server", "databricks_env")


@pytest.fixture(autouse=True)
def _platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_PLATFORM", "databricks")
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "state"))


@flow
def killed() -> None:
    """A flow that started a run and was killed."""


def flow_run(state: "State[Any]") -> str:
    """A flow run that is in a state."""
    with get_client(sync_client=True) as client:
        made = client.create_flow_run(killed)
        client.set_flow_run_state(made.id, state, force=True)
    return str(made.id)


@pytest.fixture
def job_id(client: WorkspaceClient, script: Scripts) -> int:
    return create_job(
        client, f"orphan-{uuid4().hex[:6]}", python_task(script("import time; time.sleep(120)")), max_concurrent_runs=20
    )


def start(client: WorkspaceClient, job_id: int, flow_run_id: str, env: str = "dev") -> int:
    parameters = {"request": "{}", "env": env, "prefect_flow_run_id": flow_run_id}
    return int(client.jobs.run_now(job_id, job_parameters=parameters).run_id)


def test_each_run_gets_what_the_state_of_its_flow_run_means(
    client: WorkspaceClient, job_id: int, workspace: Emulator
) -> None:
    over = [Crashed(), Failed(), Cancelled(), Completed()]
    going = [Running(), Pending(), Scheduled(name="AwaitingRetry")]
    cancelled = {start(client, job_id, flow_run(state)) for state in over}
    left = {start(client, job_id, flow_run(state)) for state in going}
    left |= {start(client, job_id, str(uuid4())), start(client, job_id, "not one of ours")}
    others = {start(client, job_id, flow_run(Crashed()), env="prod"), start(client, job_id, "")}

    config = settings.load("dev")
    planned = orphans.reconcile.fn(config, dry_run=True)
    assert {orphan.run_id for orphan in planned if orphan.outcome == "to cancel"} == cancelled
    assert set(active(workspace)) == cancelled | left | others

    found = reconcile("dev")
    assert {orphan.run_id: orphan.outcome for orphan in found} == {
        **dict.fromkeys(cancelled, "cancelled"),
        **dict.fromkeys(left, "left"),
    }
    assert until(lambda: set(active(workspace)) == left | others)
    assert all(orphan.page.startswith("https://") and orphan.name for orphan in found)
    assert reconcile("dev") == [orphan for orphan in found if orphan.outcome == "left"]


def test_the_run_of_a_notebook_is_found_too(client: WorkspaceClient, script: Scripts, workspace: Emulator) -> None:
    path = script("# Databricks notebook source\nimport time; time.sleep(120)\n", "mine.py")
    notebook = {
        "notebook_path": path.removesuffix(".py"),
        "base_parameters": {"env": "dev", "prefect_flow_run_id": flow_run(Crashed())},
    }
    body = {"run_name": "mine", "tasks": [{"task_key": "train", "notebook_task": notebook}]}
    run_id = client.api_client.do("POST", "/api/2.2/jobs/runs/submit", body=body)["run_id"]
    assert [orphan.run_id for orphan in reconcile("dev")] == [run_id]
    assert until(lambda: not active(workspace))


@exhaustive  # what becomes of each is proven in the tests around
def test_more_runs_than_a_page_holds(client: WorkspaceClient, job_id: int, workspace: Emulator) -> None:
    gone = flow_run(Crashed())
    client.jobs.update(job_id, new_settings=_one_at_a_time())
    started = {start(client, job_id, gone) for _ in range(30)}
    found = reconcile("dev")
    assert {orphan.run_id for orphan in found} == started
    assert until(lambda: not active(workspace))


def _one_at_a_time() -> Any:
    from databricks.sdk.service.jobs import JobSettings, QueueSettings

    return JobSettings(max_concurrent_runs=1, queue=QueueSettings(enabled=True))


def test_nobody_waits_for_a_run_that_is_older_than_two_deadlines(
    client: WorkspaceClient, job_id: int, workspace: Emulator
) -> None:
    forgotten = {start(client, job_id, flow_run(Running())), start(client, job_id, str(uuid4()))}
    config, cancelled = settings.load("dev", databricks={"timeout_seconds": 0.5}), set[int]()

    def all_are_cancelled() -> bool:
        cancelled.update(run.run_id for run in orphans.reconcile.fn(config) if run.outcome == "cancelled")
        return cancelled == forgotten

    assert until(all_are_cancelled)
    assert until(lambda: not active(workspace))


def test_elsewhere_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_PLATFORM", "local")
    monkeypatch.setenv("DATABRICKS_HOST", "https://127.0.0.1:1")
    assert reconcile("dev") == []


def test_what_it_answers_is_plain(client: WorkspaceClient, job_id: int) -> None:
    start(client, job_id, flow_run(Crashed()))
    (orphan,) = reconcile("dev", dry_run=True)
    assert set(json.loads(orphan.model_dump_json())) == {
        "run_id", "name", "flow_run_id", "flow_state", "outcome", "page",
    }  # fmt: skip
    assert orphan.flow_state == "Crashed"
