"""Runs through deployments and a real worker: what they leave, and how a refused, killed or cancelled one goes on.

Promise: Notifications come once, drift retrains once within its cool-down, a deployment runs once at a time.
"""

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psutil
import pytest
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.events.filters import EventFilter, EventNameFilter
from prefect.events.schemas.automations import AutomationCore
from prefect.states import Scheduled

from lifecycle.inference import manifest as batches
from lifecycle.tracking import client as tracking
from tests.conftest import ROOT, SAMPLE, exhaustive
from tests.operations.conftest import Site, kill, until

TABLE = ["--param", f"source={SAMPLE}", "--param", "text_column=Sentence", "--param", "label_column=Sentiment"]
WEAK = ["--param", "model_type=random_forest", "--param", "model_params={'max_depth': 1}"]
ZONE = ZoneInfo("Europe/Helsinki")
CRASHED = "mlops: a run without heartbeat has crashed"

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def released(site: Site) -> Iterator[dict[str, Any]]:
    """A release of the sample through its deployment, with a worker that goes on working."""
    with site.worker():
        summary = site.home / "summary.md"
        command = ["trigger", "release/all", *TABLE, "--param", "data_version=1.0.0", "--summary", str(summary)]
        done = site.run(*command, "--json")
        assert done.returncode == 0, done.stderr
        yield {**json.loads(done.stdout), "log": done.stderr, "summary": summary.read_text(encoding="utf-8")}


def test_a_release_tells_its_story(site: Site, released: dict[str, Any]) -> None:
    run = site.flow_run(released["flow_run_id"])
    assert (run.name, run.state_name) == ("release sentiment on financial_news 1.0.0", "Completed")
    assert "Promoted prod.ml.sentiment v1" in str(run.state.message)
    assert "Published 1,192 predictions" in released["log"]
    with site.client() as client:
        chosen = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
        artifacts = {each.key: each for each in client.read_artifacts(artifact_filter=chosen, limit=100)}
    envs = ("dev", "staging", "prod")
    expected = {"dataset-financial-news", "batch-prod-ml-sentiment"}
    expected |= {f"{kind}-{env}-ml-sentiment" for kind in ("champion", "model-card", "verdict") for env in envs}
    assert expected <= set(artifacts)
    assert "blank_text | 5" in artifacts["dataset-financial-news"].data
    assert {row["outcome"] for row in json.loads(artifacts["verdict-prod-ml-sentiment"].data)} == {"pass"}
    assert "f1_macro" in artifacts["model-card-prod-ml-sentiment"].data
    assert "# prod.ml.sentiment v1" in released["summary"]
    assert released["link"] in released["summary"]

    mlflow = tracking.client(f"sqlite:///{site.home}/mlflow.db")
    (training,) = mlflow.search_runs([mlflow.get_experiment_by_name("sentiment-dev").experiment_id])
    assert training.data.tags["prefect.flow_run_id"] == str(run.id)
    assert training.data.tags["prefect.flow_run_url"] == released["link"]
    page = f"http://mlflow.example.com/#/experiments/{training.info.experiment_id}/runs/{training.info.run_id}"
    assert page in artifacts["mlflow-run-dev-ml-sentiment"].data
    assert page in artifacts["model-card-prod-ml-sentiment"].data
    for kind in ("registered", "promoted"):
        told = {event.payload["environment"]: event for event in _events(site, kind, 3)}
        assert set(told) == set(envs)
        assert {told[env].payload["model"] for env in envs} == {f"{env}.ml.sentiment" for env in envs}
        assert all(event.payload["version"] == 1 and event.payload["reason"] for event in told.values()), kind


def _events(site: Site, kind: str, count: int) -> list[Any]:
    """What the server's feed has about models, of one kind, once there are so many."""
    chosen = EventFilter(event=EventNameFilter(name=[f"mlops.model.{kind}"]))

    def read() -> list[Any]:
        with site.client() as client:
            return list(client.read_events(chosen, limit=50).events)

    return list(until(read, lambda found: len(found) >= count, 240))


@exhaustive  # the state and its exit code are proven without a worker: tests/flows/test_lifecycle.py, test_approvals.py
def test_a_refused_training_is_completed_and_exits_with_4(site: Site, released: dict[str, Any]) -> None:  # noqa: ARG001
    done = site.run("trigger", "train/dev", *WEAK, "--json")
    assert done.returncode == 4, done.stderr
    ended = json.loads(done.stdout)
    run = site.flow_run(ended["flow_run_id"])
    assert (run.state_name, run.state_type.value, set(run.tags)) == ("Refused", "COMPLETED", {"mlops", "env:dev"})
    assert "worse than the champion" in ended["message"]
    (refused,) = _events(site, "refused", 1)
    assert (refused.resource.id, refused.payload["environment"]) == ("mlops.model.dev.ml.sentiment", "dev")
    assert "worse than the champion" in refused.payload["reason"]


def test_a_failed_run_exits_with_the_code_of_its_error(site: Site, released: dict[str, Any]) -> None:  # noqa: ARG001
    done = site.run("trigger", "rollback/prod")
    assert done.returncode == 5, done.stderr
    assert "nothing to roll back to" in done.stdout


@exhaustive  # so is what a retry reuses: tests/flows/test_lifecycle.py
def test_a_rerun_of_a_completed_run_changes_nothing_and_says_so(site: Site, released: dict[str, Any]) -> None:
    before = _versions(site)
    run_id = released["flow_run_id"]
    assert site.prefect("flow-run", "retry", run_id).returncode == 0
    run = until(lambda: site.flow_run(run_id), lambda run: (run.run_count, run.state_name) == (2, "Completed"))
    assert str(run.state.message).count("is champion already: nothing to do") == 3
    assert site.task_states(run_id)["train"] == ["Completed", "Cached"]
    copy = site.run("trigger", "release/all", *TABLE, "--param", "data_version=1.0.0")
    assert copy.returncode == 0
    assert copy.stdout.count("is champion already: nothing to do") == 3
    assert _versions(site) == before


def _versions(site: Site) -> list[tuple[str, int]]:
    found = tracking.client(f"sqlite:///{site.home}/mlflow.db").search_model_versions()
    return sorted((each.name, int(each.version)) for each in found)


def test_a_missing_day_is_filled_once(site: Site, released: dict[str, Any]) -> None:  # noqa: ARG001
    day = date.today() - timedelta(days=1)  # a midnight may come
    command = ["backfill", "--from", str(day), "--to", str(day), "--json"]
    outcomes = []
    for more in (["--dry-run"], [], []):
        done = site.run(*command, *more)
        assert done.returncode == 0, done.stderr
        outcomes += [each["outcome"] for each in json.loads(done.stdout)]
    assert outcomes == ["missing", "filled", "in place"]
    assert _days(site, day) == [1]
    assert site.run("backfill", "--from", str(day), "--to", str(day - timedelta(days=1))).returncode == 2
    ahead = str(day + timedelta(days=3))
    assert "future" in site.run("backfill", "--from", str(day), "--to", ahead).stderr
    assert "does not score the table of a day" in site.run(*command, "--flow", "train", "--env", "dev").stderr


@exhaustive  # two runs of a worker that fail, and two that do not
def test_a_day_that_failed_is_tried_again_and_others_are_filled_beside_it(
    site: Site,
    released: dict[str, Any],  # noqa: ARG001
) -> None:
    first, last = date.today() - timedelta(days=9), date.today() - timedelta(days=8)
    command = ["backfill", "--from", str(first), "--to", str(last), "--json"]
    wrong = ["backfill", "--from", str(last), "--to", str(last), "--json", "--param", "text_column=Nothing"]
    failed = site.run(*wrong)
    assert failed.returncode == 3, failed.stderr
    assert [day["outcome"] for day in json.loads(failed.stdout)] == ["failed"]
    assert _days(site, first, last) == [0, 0]
    retried = site.run(*wrong)
    assert (retried.returncode, retried.stderr.count("retrying")) == (3, 1)
    filled = site.run(*command)
    assert (filled.returncode, [day["outcome"] for day in json.loads(filled.stdout)]) == (0, ["filled", "filled"])
    assert _days(site, first, last) == [1, 1]


def _days(site: Site, *days: date) -> list[int]:
    return [len(batches.of_day(site.home / "predictions", "prod.ml.sentiment", day)) for day in days]


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A place that notifications are sent to, and what came."""
    received: list[dict[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", received
        server.shutdown()


NOTICES = {
    "refused": ("dev.ml.sentiment: refused in dev", "why"),
    "approval-requested": ("dev.ml.sentiment: a promotion in dev waits for an approval", "why"),
    "not-approved": ("dev.ml.sentiment: not approved in dev", "why"),
    "promoted": ("dev.ml.sentiment v7 is champion in dev", "why"),
    "rolled-back": ("dev.ml.sentiment: rolled back to v7 in dev", "why"),
}


DRIFT = {"model": "dev.ml.sentiment", "version": "7", "reason": "drift", "next": "mlops monitor check"}


def test_notifications_come_once_drift_retrains_once_and_a_deployment_runs_once_at_a_time(
    site: Site,
    released: dict[str, Any],  # noqa: ARG001
    webhook: tuple[str, list[dict[str, str]]],
) -> None:
    url, received = webhook
    absent = site.run("setup", MLOPS_ALERTS="custom-webhook/mlops-test")
    assert (absent.returncode, "MLOPS_ALERTS_URL" in absent.stderr) == (2, True)
    made = site.run("setup", "--json", MLOPS_ALERTS="custom-webhook/mlops-test", MLOPS_ALERTS_URL=url)
    assert made.returncode == 0, made.stderr
    assert url not in made.stdout
    failing, rehearsals = _two_of_each_at_once(site, "rollback/prod", "rollback/rehearsal-prod")
    for kind in ("refused", "refused", *NOTICES):
        _emit(site, f"mlops.model.{kind}", {"model": "dev.ml.sentiment", "version": "7", "reason": "why"})
    before = _retrainings(site)
    for _ in range(3):
        _emit(site, "mlops.drift.detected", DRIFT)
    until(lambda: _retrainings(site), lambda found: len(found) > len(before))
    assert len(_retrainings(site)) == len(before) + 1
    until(lambda: _unfinished(site), lambda found: not found)
    retrained = next(run for run in _retrainings(site) if run.id not in {each.id for each in before})
    assert (retrained.state_name, "champion" in str(retrained.state and retrained.state.message)) == ("Completed", True)
    until(lambda: len(received), lambda count: count > len(NOTICES) + 1)
    said = {each["subject"]: each["body"] for each in received}
    assert len(said) == len(received), "each once"
    failed = said.pop("rollback in prod: Failed")
    assert said == dict(NOTICES.values()) | {"dev.ml.sentiment v7: an alert in dev": "drift Next: mlops monitor check"}
    assert "nothing to roll back to" in failed
    assert any(str(run.id) in failed for run in [*failing, *rehearsals]), "of whichever failed first"
    _the_second_waited(site, *(site.flow_run(run.id) for run in failing))
    assert {site.flow_run(run.id).state_name for run in rehearsals} == {"Failed", "Cancelled"}


def _two_of_each_at_once(site: Site, *deployments: str) -> list[list[FlowRun]]:
    """Two runs of each deployment, which the worker finds when it looks for the next time."""
    with site.client() as client:
        client.update_work_pool("local-process", WorkPoolUpdate(is_paused=True))
        started = [[site.start(each), site.start(each)] for each in deployments]
        client.update_work_pool("local-process", WorkPoolUpdate(is_paused=False))
    return started


def _the_second_waited(site: Site, *runs: FlowRun) -> None:
    """Of two runs of a deployment that were started at once, one began when the other was over."""
    first, second = sorted(runs, key=lambda run: run.start_time)
    assert second.start_time >= first.end_time
    with site.client() as client:
        assert "AwaitingConcurrencySlot" in {state.name for state in client.read_flow_run_states(second.id)}


def _emit(site: Site, event: str, payload: dict[str, str]) -> None:
    resource = {"prefect.resource.id": "mlops.model.dev.ml.sentiment", "mlops.environment": "dev"}
    command = ["event", "emit", event, "--resource", json.dumps(resource), "--payload", json.dumps(payload)]
    done = site.prefect(*command)
    assert done.returncode == 0, done.stdout + done.stderr


def _unfinished(site: Site) -> list[str]:
    with site.client() as client:
        runs = client.read_flow_runs(limit=200)
    return [run.name for run in runs if run.state and not run.state.is_final()]


def _retrainings(site: Site) -> list[FlowRun]:
    with site.client() as client:
        deployment = client.read_deployment_by_name("retrain/dev")
        return [run for run in client.read_flow_runs(limit=200) if run.deployment_id == deployment.id]


@exhaustive  # what an answer does, and none, is proven without a worker: tests/flows/test_approvals.py
def test_a_suspended_run_goes_on_when_a_person_approves_and_ends_when_nobody_answers(
    site: Site,
    released: dict[str, Any],  # noqa: ARG001
    tmp_path: Path,
) -> None:
    """Two runs: one is cut off while it waits, asks again and is approved; the other, a release, waits in vain."""
    short = _settings(tmp_path / "short", "prod", "approval: {required: true, timeout_hours: 0.004}")
    asking = _settings(tmp_path / "asking", "staging", "approval: {required: true}")
    assert site.run("setup", MLOPS_CONFIG_DIR=str(short)).returncode == 0
    table = {"source": str(SAMPLE), "text_column": "Sentence", "label_column": "Sentiment", "data_version": "1.0.0"}
    release = _start_with(site, short, "release/all", model_name="late", **table)
    run = _start_with(site, asking, "train/staging", model_name="approved")

    site.wait(run.id, "Suspended")
    until(lambda: [each for each in _engines() if str(run.id) in _environment(each)], lambda found: not found)
    assert site.prefect("flow-run", "cancel", str(run.id)).returncode == 0
    site.wait(run.id, "Cancelled")
    assert site.prefect("flow-run", "retry", str(run.id)).returncode == 0
    site.wait(run.id, "Suspended")
    waiting = {each["flow_run_id"]: each for each in json.loads(site.run("approve", "--list", "--json").stdout)}
    asked = waiting[str(run.id)]
    answer = ["approve", str(run.id)[:13], "--by", "Ada Lovelace", "--reason", "seen", "--verdict"]
    assert site.run(*answer, asked["verdict_digest"]).returncode == 0
    ended = site.wait(run.id, "Completed", "Failed", "Crashed")
    assert "Promoted staging.ml.approved v1" in str(ended.state.message)
    assert site.task_states(run.id)["train"] == ["Completed", "Cached", "Cached"]
    history = json.loads(site.run("history", "--model-name", "approved", "--env", "staging", "--json").stdout)
    assert [(line["approved_by"], line["approval"]) for line in history] == [("Ada Lovelace", "seen")]
    assert history[0]["verdict_digest"] == asked["verdict_digest"]

    ended = site.wait(release.id, "Not approved", "Failed", "Crashed")
    assert ended.state.message == "prod: Not approved: nobody answered within 0.004 h"
    requested = {event.payload["model"] for event in _events(site, "approval-requested", 3)}  # one was sent by hand
    assert requested >= {"staging.ml.approved", "prod.ml.late"}
    assert "prod.ml.late" in {event.payload["model"] for event in _events(site, "not-approved", 2)}


def _settings(folder: Path, env: str, line: str) -> Path:
    """The project's settings with one line more for one environment."""
    shutil.copytree(ROOT / "config", folder)
    with (folder / f"{env}.yaml").open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
    return folder


def _start_with(site: Site, settings: Path, deployment: str, **parameters: Any) -> FlowRun:
    """Start a run of a deployment with other settings than the site's."""
    with site.client() as client:
        found = client.read_deployment_by_name(deployment)
        environment = {**found.job_variables["env"], "MLOPS_CONFIG_DIR": str(settings)}
        return client.create_flow_run_from_deployment(
            found.id, parameters=parameters, tags=found.tags, job_variables={"env": environment}
        )


def test_a_killed_worker_is_noticed_and_the_retry_finishes_without_doing_anything_twice(
    site: Site,
    released: dict[str, Any],  # noqa: ARG001
) -> None:
    _notice_after(site, 35)
    slots = _slots_of_a_killed_holder(site)
    for worker in _workers():
        kill(worker)
    with site.worker() as worker:
        run = site.start("train/dev", seed=11)
        until(lambda: site.task_states(run.id).get("train"), lambda states: states == ["Running"])
        kill(worker)
    assert site.flow_run(run.id).state_name == "Running"
    crashed = site.wait(run.id, "Crashed")
    assert "No heartbeat" in str(crashed.state.message)

    before = _versions(site)
    with site.worker():
        assert site.prefect("flow-run", "retry", str(run.id)).returncode == 0
        site.wait(run.id, "Completed", "Refused")
        states = site.task_states(run.id)
        assert states["plan the training"] == ["Completed", "Cached"]
        assert len(_versions(site)) - len(before) <= 1
        _finished_once(site, run.id)
    until(slots, lambda taken: taken == 0)


@exhaustive  # each a way of its own through a worker
def test_a_late_run_is_for_its_day_and_a_cancelled_one_leaves_nothing_half_done(
    site: Site,
    released: dict[str, Any],  # noqa: ARG001
    tmp_path: Path,
) -> None:
    for worker in _workers():
        kill(worker)
    late = _late(site, datetime.now(UTC) - timedelta(days=9), folder=tmp_path)
    _is_late_after(site, 15)
    with site.worker():
        _a_late_run_is_for_its_day(site, late)
        _a_cancelled_run_leaves_nothing_half_done(site)


HOLDER = """
import sys, time
from lifecycle.registry.store import Target
from tasks import limits
with limits.one_promotion(Target(tracking_uri=sys.argv[1], name="prod.ml.killed")):
    print("held", flush=True)
    time.sleep(600)
"""


def _slots_of_a_killed_holder(site: Site) -> Callable[[], int]:
    """A process that is killed while it holds a model's limit; how many of its slots the server holds taken."""
    command = [sys.executable, "-c", HOLDER, f"sqlite:///{site.home}/mlflow.db"]
    with subprocess.Popen(command, env=site.environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        holder.kill()

    def taken() -> int:
        with site.client() as client:
            return client.read_global_concurrency_limit_by_name("promotion:prod.ml.killed").active_slots

    assert taken() == 1
    return taken


def _scheduled(site: Site, due: datetime, **parameters: Any) -> FlowRun:
    """A run of the batch in prod as a schedule makes it."""
    with site.client() as client:
        deployment = client.read_deployment_by_name("batch-inference/prod")
        return client.create_flow_run_from_deployment(
            deployment.id, parameters=parameters, state=Scheduled(scheduled_time=due)
        )


def _is_late_after(site: Site, seconds: int) -> None:
    """That is what a server says that nobody has told otherwise; it looks every second here."""
    run = _scheduled(site, datetime.now(UTC))
    late = site.wait(run.id, "Late")
    assert 0 <= (late.state.timestamp - late.expected_start_time).total_seconds() - seconds < 60
    with site.client() as client:
        client.delete_flow_run(run.id)


def _late(site: Site, due: datetime, folder: Path) -> FlowRun:
    """A run that nobody is there to start, and whose table is that of its day alone."""
    day = due.astimezone(ZONE).date()
    shutil.copy(SAMPLE, folder / f"news-{day}.csv")
    run = _scheduled(site, due, input=f"{folder}/news-{{logical_date}}.csv")
    return site.wait(run.id, "Late")


def _a_late_run_is_for_its_day(site: Site, late: FlowRun) -> None:
    ended = site.wait(late.id, "Completed", "Failed", "Crashed")
    assert "1,192 predictions" in str(ended.state.message)
    batch = batches.verify(Path(str(ended.state.message).partition(" are in ")[2]))
    assert batch.logical_date == late.expected_start_time.astimezone(ZONE).date()


def _notice_after(site: Site, seconds: int) -> None:
    """Shorten what a person waits for; a heartbeat comes every 30 seconds at the most often."""
    with site.client() as client:
        found = client.read_automations_by_name(CRASHED)[0]
        content = found.model_dump(mode="json", exclude={"id", "owner_resource"})
        content["trigger"]["within"] = seconds
        client.update_automation(found.id, AutomationCore.model_validate(content))


def _workers() -> list[psutil.Process]:
    """The workers that this test process has started."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "worker" in command and "start" in command and process.ppid() == os.getpid():
            found.append(process)
    return found


def _finished_once(site: Site, run_id: Any) -> None:
    mlflow = tracking.client(f"sqlite:///{site.home}/mlflow.db")
    experiment = mlflow.get_experiment_by_name("sentiment-dev").experiment_id
    found = mlflow.search_runs([experiment], f"tags.`prefect.flow_run_id` = '{run_id}'")
    assert [run.info.status for run in found].count("FINISHED") == 1


def _a_cancelled_run_leaves_nothing_half_done(site: Site) -> None:
    before = _versions(site)
    run = site.start("train/dev", seed=12)
    until(lambda: site.task_states(run.id).get("train"), lambda states: states == ["Running"])
    begun = "Training logistic_regression on"  # the step has imported what it needs, and fits
    until(lambda: _log(site, run.id), lambda lines: any(line.startswith(begun) for line in lines))
    asked = time.monotonic()
    assert site.prefect("flow-run", "cancel", str(run.id)).returncode == 0
    site.wait(run.id, "Cancelled")
    assert _versions(site) == before
    ours = [each for each in _engines() if str(site.home) in _environment(each)]
    assert ours == []
    killed = time.monotonic() - asked > 30  # who does not end within Prefect's time of grace gets SIGKILL
    doctor = site.run("doctor", "--repair" if killed else "--json")
    assert doctor.returncode == 0, doctor.stdout
    again = site.run("trigger", "train/dev", "--param", "seed=12")
    assert again.returncode in {0, 4}, again.stderr


def _log(site: Site, run_id: Any) -> list[str]:
    chosen = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id]))
    with site.client() as client:
        return [line.message for line in client.read_logs(chosen)]


def _engines() -> list[psutil.Process]:
    """The processes that run a flow of a deployment."""
    found = psutil.process_iter(["cmdline"])
    return [each for each in found if "prefect.engine" in (each.info["cmdline"] or [])]


def _environment(process: psutil.Process) -> str:
    try:
        return Path(f"/proc/{process.pid}/environ").read_text(errors="replace")
    except OSError:
        return ""
