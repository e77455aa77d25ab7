"""`mlops databricks …`: payloads of one-time runs as they are, and single steps by hand."""

import base64
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from databricks.sdk import WorkspaceClient
from prefect import flow
from prefect.settings import PREFECT_API_URL

from databricks_emulator import Emulator
from flows.run_step import run_step
from lifecycle import settings
from lifecycle.core.errors import ConfigError, DataError
from lifecycle.databricks.run_states import Finished
from lifecycle.settings import Settings
from tasks import databricks
from tests.conftest import ROOT
from tests.databricks.conftest import Scripts
from tests.databricks.remote import active, create_job, endless, is_alive, python_task, until

pytestmark = pytest.mark.usefixtures("server", "databricks_env")

ENVIRONMENTS = [{"environment_key": "default", "spec": {"environment_version": "4"}}]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("MLOPS_PLATFORM", "databricks")
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "state"))
    return settings.load("dev", databricks={"poll_seconds": 0.1, "timeout_seconds": 30})


def submit(config: Settings, folder: Path, payload: Any) -> Finished:
    file = folder / "payload.json"
    file.write_text(payload if isinstance(payload, str) else json.dumps(payload), encoding="utf-8")
    return databricks.submit.fn(file, config)


def notebook(client: WorkspaceClient, source: str) -> str:
    path = f"/Workspace/Shared/{uuid4().hex}"
    content = base64.b64encode(f"# Databricks notebook source\n{source}\n".encode()).decode()
    body = {"path": path, "format": "SOURCE", "language": "PYTHON", "content": content}
    client.api_client.do("POST", "/api/2.0/workspace/import", body=body)
    return path


def test_a_payload_of_an_older_set_up_runs_as_it_is(
    client: WorkspaceClient, config: Settings, tmp_path: Path, workspace: Emulator
) -> None:
    given = {"data_name": "fsa", "data_version": "1.0.0", "holdout": "False", "stratify": "['Sentiment']"}
    path = notebook(client, "dbutils.notebook.exit(dbutils.widgets.get('stratify'))")
    task = {"task_key": "create_data", "notebook_task": {"notebook_path": path, "base_parameters": given}}
    payload = {"run_name": "create data", "tasks": [task]}
    done = submit(config, tmp_path, payload)
    (run,) = workspace.runs()[:1]
    assert (done.run_id, done.name, done.page) == (run["run_id"], "create data", run["run_page_url"])
    assert run["tasks"][0]["notebook_task"]["base_parameters"] == given
    assert done.results == {"create_data": "['Sentiment']"}
    sent = workspace.calls("POST */runs/submit")[-1]["body"]
    assert {name: sent[name] for name in payload} == payload


def test_values_that_are_no_texts_are_sent_as_the_texts_that_mean_them(
    client: WorkspaceClient, config: Settings, tmp_path: Path, workspace: Emulator
) -> None:
    """As other set-ups write them; a text that a person wrote stays as it is, and null is a widget's own default."""
    path = notebook(client, "import json\ndbutils.notebook.exit(json.dumps(dict(dbutils.widgets.getAll())))")
    parameters = """{"data_version": 1.10, "test_size": 0.2, "holdout": true, "stratify": ["Sentiment", "region"],
        "model_params": {"alpha": 0.5}, "seed": 7, "time_column": null, "source": "0.50"}"""
    task = f'{{"task_key": "t", "timeout_seconds": 60, "notebook_task": {{"notebook_path": "{path}", "base_parameters":'
    done = submit(config, tmp_path, f'{{"run_name": "typed", "tasks": [{task} {parameters}}}}}]}}')
    assert done.results["t"] == {
        "data_version": "1.10", "test_size": "0.2", "holdout": "true", "stratify": '["Sentiment", "region"]',
        "model_params": '{"alpha": 0.5}', "seed": "7", "source": "0.50",
    }  # fmt: skip
    assert workspace.calls("POST */runs/submit")[-1]["body"]["tasks"][0]["timeout_seconds"] == 60


def test_a_job_is_run_by_the_payload_of_run_now(
    client: WorkspaceClient, config: Settings, tmp_path: Path, workspace: Emulator
) -> None:
    path = notebook(client, "dbutils.notebook.exit(dbutils.widgets.get('test_size'))")
    task = {"task_key": "t", "notebook_task": {"notebook_path": path, "base_parameters": {"test_size": "0.3"}}}
    job_id = create_job(client, f"of-a-file-{uuid4().hex[:8]}", task)
    payload = {"job_id": job_id, "notebook_params": {"test_size": 0.1}}
    assert submit(config, tmp_path, payload).results == {"t": 0.1}
    submit(config, tmp_path, {"job_id": job_id, "job_parameters": {"test_size": 0.25, "stratify": False}})
    sent = workspace.calls("POST */run-now")[-1]["body"]["job_parameters"]
    assert sent == {"test_size": "0.25", "stratify": "false"}


def test_a_serverless_file_task_keeps_its_environments(config: Settings, script: Scripts, tmp_path: Path) -> None:
    file = {"python_file": script("import sys; assert sys.argv[1:] == ['a b']"), "parameters": ["a b"]}
    task = {"task_key": "t", "environment_key": "default", "spark_python_task": file}
    submit(config, tmp_path, {"run_name": "file", "tasks": [task], "environments": ENVIRONMENTS})


def test_every_call_is_a_run_of_its_own_even_if_its_answer_is_lost(
    config: Settings, script: Scripts, tmp_path: Path, workspace: Emulator
) -> None:
    task = {"task_key": "t", "environment_key": "default", "spark_python_task": {"python_file": script("print()")}}
    payload = {"run_name": f"one {uuid4()}", "tasks": [task], "environments": ENVIRONMENTS}
    for _ in range(2):
        workspace.inject("POST */runs/submit", drop=True, after=True)
        submit(config, tmp_path, payload)
    assert len([run for run in workspace.runs() if run["run_name"] == payload["run_name"]]) == 2


def test_a_token_of_the_payload_is_kept(config: Settings, script: Scripts, tmp_path: Path, workspace: Emulator) -> None:
    task = {"task_key": "t", "environment_key": "default", "spark_python_task": {"python_file": script("print()")}}
    payload = {"run_name": "mine", "tasks": [task], "environments": ENVIRONMENTS, "idempotency_token": uuid4().hex}
    assert submit(config, tmp_path, payload) == submit(config, tmp_path, payload)
    assert {call["body"]["idempotency_token"] for call in workspace.calls("POST */runs/submit")} == {
        payload["idempotency_token"]
    }


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        ("{", "cannot be read as JSON"),
        ("[1]", "no JSON object"),
        ({"run_name": "x", "tasks": []}, "refused"),
        (
            {"tasks": [{"notebook_task": {"base_parameters": ["a"]}}]},
            r"base_parameters holds \[\"a\"\], not parameters",
        ),
        ({"tasks": [{"notebook_task": {"base_parameters": "a=1"}}]}, "not parameters by their names"),
        ({"job_id": 1, "job_parameters": {"test_size": float("nan")}}, "test_size: NaN cannot be a parameter"),
        ({"job_id": 1, "python_params": ["a", None]}, r"python_params\[1\]: null cannot be a parameter"),
    ],
)
def test_what_is_no_payload_starts_nothing(
    config: Settings, tmp_path: Path, workspace: Emulator, payload: Any, why: str
) -> None:
    before = len(workspace.runs())
    with pytest.raises(ConfigError, match=why):
        submit(config, tmp_path, payload)
    assert len(workspace.runs()) == before


def test_a_failed_notebook_ends_with_its_error(client: WorkspaceClient, config: Settings, tmp_path: Path) -> None:
    path = notebook(client, "from lifecycle.core.errors import DataError\nraise DataError('row 3 has no label')")
    task = {"task_key": "t", "notebook_task": {"notebook_path": path}}
    with pytest.raises(DataError, match="row 3 has no label"):
        submit(config, tmp_path, {"run_name": "failing", "tasks": [task]})


@pytest.mark.usefixtures("config")
def test_the_command_prints_the_run_and_ends_with_the_exit_code_of_its_error(
    client: WorkspaceClient, tmp_path: Path
) -> None:
    path = notebook(client, "from lifecycle.core.errors import DataError\nraise DataError('row 3 has no label')")
    task = {"task_key": "t", "notebook_task": {"notebook_path": path}}
    file = tmp_path / "failing.json"
    file.write_text(json.dumps({"run_name": "failing", "tasks": [task]}), encoding="utf-8")
    command = [sys.executable, "-m", "cli.main", "databricks", "submit", "--json", str(file)]
    environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert "row 3 has no label" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_step_is_run_alone_from_the_json_of_its_request(
    client: WorkspaceClient, script: Scripts, workspace: Emulator, monkeypatch: pytest.MonkeyPatch, config: Settings
) -> None:
    name = f"alone-{uuid4().hex[:8]}"
    create_job(client, name, python_task(script("print('done')")))
    monkeypatch.setenv("MLOPS_DATABRICKS__JOBS", json.dumps({"evaluate": name}))
    model = {"tracking_uri": "databricks", "uri": "models:/m-1", "run_id": "r", "artifact_sha256": "0"}
    rows = {"data_root": str(config.datasets), "data_name": "news", "data_version": "1", "side": "holdout"}
    request = {"model": model, **rows, "dataset_digest": "0"}
    run_step("evaluate", json.dumps(request))
    sent = workspace.calls("POST */run-now")[-1]["body"]["job_parameters"]
    got = json.loads(sent["request"])
    assert {**got, "model": {key: got["model"][key] for key in model}} == request
    for wrong in ("{", "[1]", '{"modle": 1}'):
        with pytest.raises(ConfigError):
            run_step("evaluate", wrong)
    assert len(workspace.calls("POST */run-now")) == 1


def test_an_interrupted_flow_cancels_what_it_submitted(
    config: Settings, script: Scripts, tmp_path: Path, workspace: Emulator
) -> None:
    pid_file = tmp_path / "pid"
    task = {
        "task_key": "t", "environment_key": "default", "spark_python_task": {"python_file": script(endless(pid_file))},
    }  # fmt: skip
    payload = {"run_name": "endless", "tasks": [task], "environments": ENVIRONMENTS}

    @flow
    def one() -> None:
        submit(config, tmp_path, payload)

    def interrupt() -> None:
        until(pid_file.exists, 240)
        time.sleep(0.3)
        os.kill(os.getpid(), 2)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        one()
    assert until(lambda: not active(workspace))
    assert not is_alive(pid_file)
