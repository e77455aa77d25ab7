"""A heavy step as a remote run: what it is given, how its end comes back, who cancels it, and who comes back to it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from databricks.sdk import WorkspaceClient
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.settings import PREFECT_API_URL
from prefect.states import Crashed, Scheduled

from databricks_emulator import Emulator
from lifecycle import settings
from lifecycle.core.errors import ConfigError, ConflictError, DataError, MlopsError, NotFoundError, TransientError
from lifecycle.databricks.run_states import succeeded
from lifecycle.settings import Settings
from tasks import compute, databricks, databricks_calls
from tasks import reconcile as orphans
from tasks.databricks_calls import Workspace
from tests.conftest import ROOT, exhaustive
from tests.databricks.conftest import Scripts
from tests.databricks.one_step import one_step
from tests.databricks.remote import QUICK, Request, active, create_job, endless, is_alive, python_task, until

pytestmark = pytest.mark.usefixtures("server", "databricks_env")

Remote = Callable[..., Settings]


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A job of this test alone."""
    return f"{request.node.name[:60]}-{uuid4().hex[:6]}"


@pytest.fixture
def remote(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Remote:
    """The settings of the platform, with the test's job as that of the step `train`."""
    monkeypatch.setenv("MLOPS_PLATFORM", "databricks")
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "state"))

    def make(**rules: Any) -> Settings:
        given = {"jobs": {"train": name}, "poll_seconds": 0.1, "timeout_seconds": 30, **rules}
        return settings.load("dev", databricks=given)

    return make


@pytest.fixture
def flow_run_id(monkeypatch: pytest.MonkeyPatch) -> str:
    """A flow run that the process seems to be in."""
    made = str(uuid4())
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", made)
    return made


def given(run: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in run["job_parameters"]}


def test_the_job_gets_request_environment_and_flow_run(
    client: WorkspaceClient, script: Scripts, remote: Remote, name: str, workspace: Emulator, flow_run_id: str
) -> None:
    create_job(client, name, python_task(script("print('done')")))
    databricks.run_step("train", Request(text="Grüße {{job.id}} }} '\""), remote())
    (run,) = workspace.runs()[:1]
    assert given(run)["env"] == "dev"
    assert given(run)["prefect_flow_run_id"] == flow_run_id
    assert given(run)["request"].isascii()
    assert Request.model_validate_json(given(run)["request"]).text == "Grüße {{job.id}} }} '\""


@pytest.mark.parametrize("text", ["x" * 20_000, '\\d"' * 1200], ids=["long", "quotes, of which JSON makes more"])
def test_a_large_request_travels_as_a_file(
    client: WorkspaceClient, script: Scripts, remote: Remote, name: str, workspace: Emulator, text: str
) -> None:
    create_job(client, name, python_task(script("print('done')")))
    request = Request(text=text)
    for _ in range(2):  # the same file again
        databricks.run_step("train", request, remote())
    path = given(workspace.runs()[0])["request"]
    assert path.startswith("@/Volumes/dev/ml/mlops/requests/")
    content = client.files.download(path[1:]).contents.read()
    assert Request.model_validate_json(content) == request


def test_an_error_of_ours_comes_back_with_its_exit_code_its_log_and_its_page(
    client: WorkspaceClient, script: Scripts, remote: Remote, name: str
) -> None:
    source = (
        "from lifecycle.core.errors import DataError\n"
        "print('reading')\nraise DataError('row 3 has no label', 'Mend it.')"
    )
    create_job(client, name, python_task(script(source)))
    with pytest.raises(DataError) as raised:
        databricks.run_step("train", Request(), remote())
    assert raised.value.exit_code == 3
    said = str(raised.value)
    assert "row 3 has no label" in said
    assert "main: reading" in said
    assert "https://" in said
    assert "Traceback" not in said


def test_a_bug_comes_back_with_its_trace_in_the_log(
    client: WorkspaceClient, script: Scripts, remote: Remote, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    create_job(client, name, python_task(script("def inner():\n    raise ValueError('boom')\ninner()")))
    with caplog.at_level("INFO", "lifecycle.databricks"), pytest.raises(MlopsError, match="ValueError: boom") as raised:
        databricks.run_step("train", Request(), remote())
    assert type(raised.value) is MlopsError
    assert "in inner" in caplog.text
    states = [line for line in caplog.messages if f"{name}: run" in line]
    assert len(states) == len(set(states)) > 1  # each change of its state once


@pytest.mark.parametrize(
    ("outcome", "kind", "exit_code"),
    [("CLUSTER_ERROR", "TransientError", 6), ("TIMEDOUT", "ConfigError", 2), ("CANCELED", "ConflictError", 5)],
)
def test_the_end_that_the_platform_makes_has_its_own_meaning(
    client: WorkspaceClient,
    script: Scripts,
    remote: Remote,
    name: str,
    workspace: Emulator,
    outcome: str,
    kind: str,
    exit_code: int,
) -> None:
    create_job(client, name, python_task(script("import time; time.sleep(60)")))
    workspace.end_run(name, outcome)
    with pytest.raises(MlopsError) as raised:
        databricks.run_step("train", Request(), remote())
    assert (type(raised.value).__name__, raised.value.exit_code) == (kind, exit_code)


def test_a_run_that_misses_the_deadline_is_cancelled(
    client: WorkspaceClient, script: Scripts, remote: Remote, name: str, workspace: Emulator, tmp_path: Path
) -> None:
    create_job(client, name, python_task(script(endless(tmp_path / "pid"))))
    with pytest.raises(ConfigError, match="timeout_seconds"):
        databricks.run_step("train", Request(), remote(timeout_seconds=1.5))
    assert until(lambda: not active(workspace))
    assert workspace.runs()[0]["state"]["result_state"] == "CANCELED"
    assert not is_alive(tmp_path / "pid")


def test_a_job_that_is_not_there_or_there_twice_starts_nothing(
    client: WorkspaceClient, script: Scripts, remote: Remote, name: str, workspace: Emulator
) -> None:
    with pytest.raises(NotFoundError, match="mlops databricks deploy"):
        databricks.run_step("train", Request(), remote())
    path = script("print('done')")
    ids = [create_job(client, name, python_task(path)) for _ in range(2)]
    with pytest.raises(ConfigError, match=f"{ids[0]}, {ids[1]}"):
        databricks.run_step("train", Request(), remote())
    assert workspace.calls("POST */run-now") == []


def test_who_may_not_start_a_job_is_told_who_gives_the_right(
    client: WorkspaceClient, script: Scripts, remote: Remote, name: str, workspace: Emulator
) -> None:
    create_job(client, name, python_task(script("print('done')")))
    workspace.restrict(missing=["CAN MANAGE RUN"])
    try:
        with pytest.raises(ConfigError, match="CAN MANAGE RUN") as refused:
            databricks.run_step("train", Request(), remote())
    finally:
        workspace.restrict()
    assert "Permissions, Can Manage Run" in refused.value.fix
    assert active(workspace) == []


def test_a_notebook_of_ones_own_stands_in_for_a_step(
    client: WorkspaceClient, remote: Remote, workspace: Emulator, flow_run_id: str
) -> None:
    import base64

    folder = f"/Workspace/Shared/{uuid4().hex}"
    source = "# Databricks notebook source\nprint(dbutils.widgets.get('request'), dbutils.widgets.get('env'))\n"
    client.workspace.mkdirs(folder)
    content = base64.b64encode(source.encode()).decode()
    body = {"path": f"{folder}/mine", "format": "SOURCE", "language": "PYTHON", "content": content}
    client.api_client.do("POST", "/api/2.0/workspace/import", body=body)
    databricks.run_step("train", Request(), remote(notebooks={"train": f"{folder}/mine"}))
    (run,) = workspace.runs()[:1]
    assert run["run_type"] == "SUBMIT_RUN"
    parameters = run["tasks"][0]["notebook_task"]["base_parameters"]
    assert parameters == {"request": '{"text": "hello"}', "env": "dev", "prefect_flow_run_id": flow_run_id}


@pytest.mark.usefixtures("flow_run_id")
class TestComingBack:
    """The same flow run, step and request again, as after a retry or a restart."""

    def test_to_a_success_starts_nothing(
        self, client: WorkspaceClient, script: Scripts, remote: Remote, name: str, workspace: Emulator
    ) -> None:
        job_id = create_job(client, name, python_task(script("print('done')")))
        for _ in range(3):
            databricks.run_step("train", Request(), remote())
        assert len(workspace.runs(job_id=job_id)) == 1
        databricks.run_step("train", Request(text="another"), remote())
        assert len(workspace.runs(job_id=job_id)) == 2

    def test_to_a_failure_starts_the_next_attempt_and_only_that(
        self, client: WorkspaceClient, script: Scripts, remote: Remote, name: str, workspace: Emulator, tmp_path: Path
    ) -> None:
        flag = tmp_path / "mended"
        source = f"import pathlib\nassert pathlib.Path({str(flag)!r}).exists(), 'not yet'"
        job_id = create_job(client, name, python_task(script(source)))
        for attempts in (1, 2, 3):
            with pytest.raises(MlopsError, match="not yet"):
                databricks.run_step("train", Request(), remote())
            assert len(workspace.runs(job_id=job_id)) == attempts
        flag.touch()
        for _ in range(2):
            databricks.run_step("train", Request(), remote())
        assert len(workspace.runs(job_id=job_id)) == 4

    def test_to_a_failure_that_somebody_deleted_starts_the_next_attempt(
        self, client: WorkspaceClient, script: Scripts, remote: Remote, name: str, workspace: Emulator
    ) -> None:
        job_id = create_job(client, name, python_task(script("raise ValueError('boom')")))
        for _ in range(2):
            with pytest.raises(MlopsError, match="boom"):
                databricks.run_step("train", Request(), remote())
            (run,) = workspace.runs(job_id=job_id)
            client.jobs.delete_run(run["run_id"])

    def test_to_a_run_that_is_being_cancelled_waits_for_its_end(
        self, client: WorkspaceClient, script: Scripts, remote: Remote, name: str, workspace: Emulator, tmp_path: Path
    ) -> None:
        flag = tmp_path / "second"
        source = f"import pathlib, time\np = pathlib.Path({str(flag)!r})\nif not p.exists(): time.sleep(60)"
        job_id = create_job(client, name, python_task(script(source)))
        with pytest.raises(ConfigError):
            databricks.run_step("train", Request(), remote(timeout_seconds=0.5))
        flag.touch()
        databricks.run_step("train", Request(), remote())
        results = [run["state"]["result_state"] for run in workspace.runs(job_id=job_id)]
        assert results == ["SUCCESS", "CANCELED"]

    def test_to_a_job_of_several_tasks_repairs_what_failed(
        self, client: WorkspaceClient, script: Scripts, remote: Remote, name: str, workspace: Emulator, tmp_path: Path
    ) -> None:
        flag, count = tmp_path / "mended", tmp_path / "count"
        first = script(f"open({str(count)!r}, 'a').write('x')")
        second = script(f"import pathlib\nassert pathlib.Path({str(flag)!r}).exists(), 'not yet'")
        tasks = (python_task(first, "first"), python_task(second, "second", depends_on=[{"task_key": "first"}]))
        job_id = create_job(client, name, *tasks)
        for _ in range(3):  # the second repair must name the first
            with pytest.raises(MlopsError, match="task second: AssertionError: not yet"):
                databricks.run_step("train", Request(), remote())
        flag.touch()
        workspace.inject("POST /api/*/jobs/runs/repair", drop=True, after=True)
        databricks.run_step("train", Request(), remote())
        (run,) = workspace.runs(job_id=job_id)
        assert run["state"]["result_state"] == "SUCCESS"
        assert count.read_text() == "x"


def test_a_job_without_a_queue_is_waited_for_while_others_leave_no_room(
    client: WorkspaceClient, script: Scripts, remote: Remote, name: str, workspace: Emulator
) -> None:
    path = script("import sys, time; time.sleep(0 if 'hello' in sys.argv[1] else 1.5)")
    job_id = create_job(client, name, python_task(path), max_concurrent_runs=1, queue={"enabled": False})
    client.jobs.run_now(job_id)
    databricks.run_step("train", Request(), remote())
    results = [run["state"]["result_state"] for run in workspace.runs(job_id=job_id)]
    assert (results[0], results[-1]) == ("SUCCESS", "SUCCESS")
    assert "MAXIMUM_CONCURRENT_RUNS_REACHED" in results[1:-1]


def test_what_somebody_cancels_while_it_is_watched_is_a_conflict(client: WorkspaceClient, script: Scripts) -> None:
    job_id = create_job(client, "cancelled", python_task(script("import time; time.sleep(60)")))
    remote = Workspace("databricks")

    def cancel(run: Any) -> None:
        if run["state"]["life_cycle_state"] == "RUNNING":
            client.jobs.cancel_run(run["run_id"])

    parameters = {"request": "", "env": "dev", "prefect_flow_run_id": ""}
    run = databricks.complete(remote, databricks.of_job(remote, job_id, parameters), QUICK, cancel, key=uuid4().hex)
    assert not succeeded(run)
    with pytest.raises(ConflictError):
        databricks.raise_for(remote, run, "cancelled")


def test_the_ui_shows_a_link_and_progress_and_only_what_may_be_cured_is_retried(
    client: WorkspaceClient, script: Scripts, remote: Remote, name: str, workspace: Emulator
) -> None:
    job_id = create_job(client, name, python_task(script("print('done')")))
    workspace.end_run(name, "CLUSTER_ERROR")
    config = remote()

    @flow
    def one() -> None:
        compute.run_step.with_options(retry_delay_seconds=0)("train", Request(), config)

    one()
    results = [run["state"]["result_state"] for run in workspace.runs(job_id=job_id)]
    assert results == ["SUCCESS", "FAILED"]
    with get_client(sync_client=True) as prefect:
        key = ArtifactFilterKey(like_="databricks-%")
        links = prefect.read_artifacts(artifact_filter=ArtifactFilter(key=key))
    pages = {run["run_page_url"] for run in workspace.runs(job_id=job_id)}
    assert all(any(page in str(link.data) for link in links) for page in pages)


def test_the_last_attempt_says_that_an_earlier_one_may_have_left_a_run(
    client: WorkspaceClient,
    script: Scripts,
    remote: Remote,
    name: str,
    workspace: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create_job(client, name, python_task(script("import time; time.sleep(60)")))
    monkeypatch.setattr(databricks_calls, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(databricks, "CANCEL_SECONDS", 0.3)
    for call, skip in (("GET */jobs/runs/get", 0), ("POST */jobs/runs/cancel", 0), ("GET */jobs/list", 1)):
        workspace.inject(call, status=503, times=1000, skip=skip)
    config = remote()

    @flow
    def one() -> None:
        compute.run_step.with_options(retries=1, retry_delay_seconds=0)("train", Request(), config)

    with pytest.raises(TransientError, match=r"an earlier attempt left a run.*mlops databricks reconcile"):
        one()
    assert len(active(workspace)) == 1
    workspace.clear()


class Process:
    """A flow run in a process of its own, which a test may kill and start again."""

    def __init__(self, job: str, home: Path) -> None:
        with get_client(sync_client=True) as client:
            self.id = client.create_flow_run(one_step, parameters={"job": job}).id
        self.job, self.home = job, home
        self.process = self.start()

    def start(self) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "tests.databricks.one_step", str(self.id), self.job]
        environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value()), "MLOPS_HOME": str(self.home)}
        return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)

    def kill(self, number: int) -> str:
        self.process.send_signal(number)
        try:
            return self.process.communicate(timeout=240)[1]
        except subprocess.TimeoutExpired:
            self.process.kill()  # it would be a load on all tests after this one
            raise AssertionError(f"signal {number} did not end it: {self.process.communicate()[1]}") from None

    def again(self) -> None:
        """What Prefect does with a run that has crashed, once a person or an automation asks for it."""
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(self.id, Crashed(), force=True)
            client.set_flow_run_state(self.id, Scheduled(name="AwaitingRetry"), force=True)
        self.process = self.start()


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=exhaustive)])
def test_a_signal_cancels_the_remote_run(
    client: WorkspaceClient,
    script: Scripts,
    remote: Remote,
    name: str,
    workspace: Emulator,
    tmp_path: Path,
    number: int,
) -> None:
    pid_file = tmp_path / "pid"
    remote()
    create_job(client, name, python_task(script(endless(pid_file))))
    process = Process(name, tmp_path / "state")
    until(pid_file.exists, 240)
    process.kill(number)
    assert process.process.returncode != 0
    assert until(lambda: not active(workspace))
    assert workspace.runs()[0]["state"]["result_state"] == "CANCELED"
    assert not is_alive(pid_file)


def test_after_a_kill_the_rerun_comes_back_to_the_same_run(
    client: WorkspaceClient, script: Scripts, remote: Remote, name: str, workspace: Emulator, tmp_path: Path
) -> None:
    flag, begun = tmp_path / "go", tmp_path / "begun"
    wait = f"while not pathlib.Path({str(flag)!r}).exists(): time.sleep(0.1)"
    remote()
    job_id = create_job(
        client, name, python_task(script(f"import pathlib, time\npathlib.Path({str(begun)!r}).touch()\n{wait}"))
    )
    process = Process(name, tmp_path / "state")
    until(begun.exists, 240)
    process.kill(signal.SIGKILL)
    assert len(active(workspace)) == 1
    process.again()
    until(lambda: len(workspace.calls("POST */run-now")) == 2, 240)
    flag.touch()
    _, said = process.process.communicate(timeout=240)
    assert process.process.returncode == 0, said
    (run,) = workspace.runs(job_id=job_id)
    assert run["state"]["result_state"] == "SUCCESS"


def test_after_a_kill_the_same_request_goes_on_with_the_same_run(
    client: WorkspaceClient, script: Scripts, remote: Remote, name: str, workspace: Emulator, tmp_path: Path
) -> None:
    """Of another flow run, as when a person gives a command again; reconcile then knows that it is waited for."""
    flag, begun = tmp_path / "go", tmp_path / "begun"
    wait = f"while not pathlib.Path({str(flag)!r}).exists(): time.sleep(0.1)"
    config = remote()
    source = f"import pathlib, time\npathlib.Path({str(begun)!r}).touch()\n{wait}"
    job_id = create_job(client, name, python_task(script(source)))
    process = Process(name, tmp_path / "state")
    until(begun.exists, 240)
    assert [orphan.outcome for orphan in orphans.reconcile.fn(config, dry_run=True)] == ["left"]
    process.kill(signal.SIGKILL)
    assert [orphan.outcome for orphan in orphans.reconcile.fn(config, dry_run=True)] == ["to cancel"]
    outcomes = []

    @flow
    def again() -> None:
        compute.run_step("train", Request(), config)

    def watch() -> None:
        until(lambda: len(workspace.calls("GET */runs/get")) > looks + 3)
        outcomes.extend(orphans.reconcile.fn(config))
        flag.touch()

    looks = len(workspace.calls("GET */runs/get"))
    with ThreadPoolExecutor(1) as pool:
        watched = pool.submit(watch)
        again()
        watched.result()
    assert [orphan.outcome for orphan in outcomes] == ["left"]
    (run,) = workspace.runs(job_id=job_id)
    assert run["state"]["result_state"] == "SUCCESS"
