"""`mlops tune` on the platform: runs of a job at once share the trials, and find what one machine finds."""

import json
import os
import shutil
import threading
from pathlib import Path
from uuid import uuid4

import pytest
from databricks.sdk import WorkspaceClient
from prefect import flow
from typer.testing import CliRunner

from cli import main
from databricks_emulator import Emulator
from flows.tune import tune as flow_of_tune
from lifecycle import settings
from lifecycle.core.errors import ConflictError
from lifecycle.core.writer_process import OWNER
from lifecycle.settings import Settings
from lifecycle.tracking import client as tracking
from lifecycle.tracking import trials as tried
from lifecycle.training import study, tune, tune_workers
from lifecycle.training.study import TuneRequest
from tasks import compute
from tests.conftest import make_dataset, write_news
from tests.databricks.conftest import Scripts
from tests.databricks.remote import Request, active, create_job, is_alive, python_task, until

pytestmark = pytest.mark.usefixtures("server", "databricks_env")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The platform, with a job of this test alone as that of the step `tune`."""
    monkeypatch.setenv("MLOPS_PLATFORM", "databricks")
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "state"))
    jobs = json.dumps({"tune": f"tune-{uuid4().hex[:8]}"})
    for name, value in {"JOBS": jobs, "POLL_SECONDS": "0.2", "TIMEOUT_SECONDS": "240"}.items():
        monkeypatch.setenv(f"MLOPS_DATABRICKS__{name}", value)
    return settings.load("dev")


def job_of(client: WorkspaceClient, config: Settings) -> str:
    """The job as the bundle has it."""
    step = {"package_name": "mlops_lifecycle", "entry_point": "mlops-step"}
    given = {**step, "parameters": ["tune", "{{job.parameters.request}}"]}
    task = {"task_key": "tune", "environment_key": "default", "python_wheel_task": given}
    create_job(client, name := config.databricks.job("dev", "tune"), task, max_concurrent_runs=10)
    return name


SPACE = {"alpha": [0.01, 0.1, 1.0, 10.0]}
COMMAND = "tune --model-name sentiment --algorithm naive_bayes --param alpha=0.01,0.1,1.0,10.0 --search grid --folds 2"


def planned(config: Settings, data_name: str) -> TuneRequest:
    data = {"data_name": data_name, "data_version": "1.0.0", "model_name": "sentiment", "algorithm": "naive_bayes"}
    return study.plan(config, study.Tuning(**data, space=SPACE, search="grid", folds=2))


def test_runs_share_the_trials_and_the_same_again_makes_what_ended_runs_have_not(
    client: WorkspaceClient, workspace: Emulator, config: Settings, tmp_path: Path, migrated: Path, server: str
) -> None:
    os.environ["PREFECT_API_URL"] = server
    name, data_name = job_of(client, config), f"news_{uuid4().hex[:8]}"
    make_dataset(config, write_news(tmp_path / "news.csv"), data_name)
    request = planned(config, data_name)
    journal, mlflow = study.Study.of(request).opened(), tracking.client(config.mlflow_uri)
    key = study.Study.of(request).trial_key({"alpha": 1.0}, study.Study.of(request).rows)
    left = {tried.STUDY: journal.study, tried.TRIAL: key, tried.PARENT: journal.run_id, tried.LEASE: "1"}
    cut_off = mlflow.create_run(journal.experiment_id, tags=left | {OWNER: "elsewhere:1"}).info.run_id
    workspace.end_run(name, "CANCELED", times=2)
    with pytest.raises(ConflictError, match=r"of 4 trials are there. .*The same command goes on"):
        flow_of_tune(request=request, workers=2, env="dev")
    done = CliRunner().invoke(main.app, [*COMMAND.split(), "--data-name", data_name, "--workers", "2", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["planned"], found["left"]) == (4, 0)
    assert mlflow.get_run(cut_off).info.status == "KILLED"
    sent = [json.loads(call["body"]["job_parameters"]["request"]) for call in workspace.calls("POST */run-now")]
    assert [each.pop("worker") for each in sent[-2:]] in ([0, 1], [1, 0])
    assert sent[-1] == sent[-2]
    ended = f"tags.`{tried.PARENT}` = '{found['run_id']}' and attributes.status = 'FINISHED'"
    made = [run.data.tags[tried.TRIAL] for run in mlflow.search_runs([journal.experiment_id], ended)]
    assert len({*made}) == 4
    assert found["new"] == len(made), "two that begin one at the same instant may both make it"
    database = Path(shutil.copy(migrated, tmp_path / "mlflow.db"))
    here = settings.load("dev", home=tmp_path / "here", platform="local", tracking_uri=f"sqlite:///{database}")
    make_dataset(here, tmp_path / "news.csv", data_name)
    alone = tune.search(planned(here, data_name), lambda each: tune_workers.share(1, each))
    assert [(trial.params, trial.value) for trial in alone.trials] == [
        (trial["params"], trial["value"]) for trial in found["trials"]
    ]


def test_an_interrupted_flow_cancels_all_runs_that_its_threads_wait_for(
    client: WorkspaceClient, script: Scripts, config: Settings, workspace: Emulator, tmp_path: Path
) -> None:
    pids = [tmp_path / str(number) for number in range(2)]
    source = (
        "import json, os, pathlib, sys, time\n"
        f"pathlib.Path({str(tmp_path)!r}, json.loads(sys.argv[1])['text']).write_text(str(os.getpid()))\n"
        "time.sleep(300)"
    )
    create_job(client, config.databricks.job("dev", "tune"), python_task(script(source)), max_concurrent_runs=10)

    @flow
    def several() -> None:
        compute.run_at_once("tune", [Request(text=str(number)) for number in range(2)], config)

    def interrupt() -> None:
        until(lambda: all(pid.exists() and pid.read_text() for pid in pids), 240)
        os.kill(os.getpid(), 2)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        several()
    assert until(lambda: not active(workspace))
    assert [is_alive(pid) for pid in pids] == [False, False]
