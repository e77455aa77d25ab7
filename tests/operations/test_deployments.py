"""`mlops setup` and `mlops deploy`: what stands on the server is what the project's files say, however often.

Promise: Schedules keep their local hour across daylight saving; bad form values start no run.
"""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.events.schemas.automations import AutomationCore
from prefect.server.schemas.schedules import CronSchedule, RRuleSchedule

from cli import runner
from lifecycle.problems.known import PROBLEMS
from tests.conftest import ROOT, exhaustive
from tests.operations.conftest import Site, until

WRITTEN = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
ZONE = ZoneInfo(WRITTEN["definitions"]["zone"])
SCHEDULED = {"rollback/rehearsal-prod", "batch-inference/prod", "monitor/prod"}


@pytest.fixture(scope="module")
def deployed(site: Site) -> dict[str, Any]:
    """Each deployment as the server has it."""
    with site.client() as client:
        flows = {flow.id: flow.name for flow in client.read_flows(limit=50)}
        return {f"{flows[each.flow_id]}/{each.name}": each for each in client.read_deployments(limit=50)}


def test_every_flow_is_deployed_for_every_environment_where_it_makes_sense(deployed: dict[str, Any]) -> None:
    flows = ("create-data", "train", "check", "rollback", "batch-inference", "monitor", "retrain", "reconcile")
    each = {f"{flow}/{env}" for flow in flows for env in ("dev", "staging", "prod")}
    promotions = {"promote/staging", "promote/prod", "release/all"}
    assert set(deployed) == each | promotions | {"rollback/rehearsal-staging", "rollback/rehearsal-prod"}
    for name, deployment in deployed.items():
        env = name.rpartition("/")[2].removeprefix("rehearsal-")
        assert deployment.tags == (["mlops"] if env == "all" else ["mlops", f"env:{env}"])
        assert deployment.parameters.get("env", deployment.parameters.get("target_env", "all")) == env
        assert deployment.description
        assert deployment.work_pool_name == "local-process"
        assert deployment.job_variables["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
        is_dropped = "rehearsal" in name or name.startswith(("reconcile", "monitor"))
        strategy = "CANCEL_NEW" if is_dropped else "ENQUEUE"
        assert deployment.global_concurrency_limit.limit == 1
        assert deployment.concurrency_options.collision_strategy == strategy
        assert deployment.enforce_parameter_schema


def test_events_retrain_in_dev_alone_unless_somebody_wants_it_elsewhere(site: Site, deployed: dict[str, Any]) -> None:  # noqa: ARG001  deployed
    with site.client() as client:
        found = {each.name: each for each in client.read_automations() if "retrain after drift" in each.name}
    assert {name: each.enabled for name, each in found.items()} == {
        "mlops: retrain after drift": True,
        "mlops: retrain after drift in staging": False,
        "mlops: retrain after drift in prod": False,
    }


def test_the_form_explains_itself(deployed: dict[str, Any]) -> None:
    for name, deployment in deployed.items():
        fields = deployment.parameter_openapi_schema["properties"]
        assert [field for field, schema in fields.items() if not schema.get("description")] == [], name
    train = deployed["train/dev"].parameter_openapi_schema
    assert train["definitions"]["Environment"]["enum"] == ["dev", "staging", "prod"]
    assert "naive_bayes" in train["properties"]["algorithm"]["description"]
    name, _ = train["properties"]["model_name"]["anyOf"]
    assert name["pattern"].startswith("^[A-Za-z0-9_]")
    create = deployed["create-data/dev"].parameter_openapi_schema["properties"]
    size, _ = create["test_size"]["anyOf"]
    assert (size["minimum"], size["exclusiveMaximum"]) == (0, 1)
    problem, _ = create["problem"]["anyOf"]
    assert problem["enum"] == [*PROBLEMS]


@pytest.mark.parametrize(
    ("deployment", "parameter", "why"),
    [
        ("create-data/dev", "problem=magic", "field 'problem'"),
        ("train/dev", "env=moon", "is not one of"),
        ("train/dev", "seed=soon", "is not"),
        ("train/dev", "model_name=Capital Letters", "field 'model_name'"),
        ("create-data/dev", "test_size=1.5", "field 'test_size'"),
        ("rollback/prod", "to_version=0", "field 'to_version'"),
        ("train/dev", "modeltype=naive_bayes", "no parameter modeltype"),
        ("train/nowhere", "seed=1", "there are: batch-inference/dev"),
    ],
)
def test_a_bad_value_is_refused_before_a_run_starts(site: Site, deployment: str, parameter: str, why: str) -> None:
    before = _runs(site)
    needed = ["--param", "data_version=1.0.0", "--param", "source=table.csv"] if "create" in deployment else []
    done = site.run("trigger", deployment, *needed, "--param", parameter)
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (2, "", False)
    assert why in done.stderr
    assert _runs(site) == before


def _runs(site: Site) -> int:
    with site.client() as client:
        return len([run for run in client.read_flow_runs(limit=200) if not run.auto_scheduled])


def test_a_run_that_lives_is_never_taken_for_crashed(deployed: dict[str, Any]) -> None:
    """However it was started, three heartbeats must be missing."""
    written = yaml.safe_load((ROOT / "automations.yaml").read_text(encoding="utf-8"))
    (crashed,) = [each for each in written["automations"] if "prefect.flow-run.heartbeat" in each["trigger"]["after"]]
    name = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"
    every = {deployment.job_variables["env"][name] for deployment in deployed.values()} | {runner.QUIET[name]}
    assert {3 * int(seconds) for seconds in every} == {crashed["trigger"]["within"]}


def test_setup_can_run_twice(site: Site) -> None:
    before = _everything(site)
    items = json.loads(site.run("setup", "--json").stdout)
    assert {item["outcome"] for item in items if item["kind"] != "notifications"} == {"in place"}
    assert _everything(site) == before


def _everything(site: Site) -> dict[str, Any]:
    """What is on the server, by identity; Prefect replaces the automations that belong to a deployment."""
    with site.client() as client:
        return {
            "pools": [(pool.id, pool.name) for pool in client.read_work_pools()],
            "limits": sorted((limit.id, limit.name) for limit in client.read_global_concurrency_limits(limit=50)),
            "deployments": sorted((each.id, each.name) for each in client.read_deployments(limit=50)),
            "slugs": sorted((str(e.id), s.slug) for e in client.read_deployments(limit=50) for s in e.schedules),
            "automations": sorted(each.name for each in client.read_automations()),
        }


def test_what_was_changed_by_hand_is_corrected_and_what_was_switched_off_stays_off(site: Site) -> None:
    name = "mlops: a run without heartbeat has crashed"
    with site.client() as client:
        found = client.read_automations_by_name(name)[0]
        core = AutomationCore.model_validate(found.model_dump(exclude={"id", "owner_resource"}))
        client.update_automation(found.id, core.model_copy(update={"description": "mine", "enabled": False}))
        client.create_automation(core.model_copy(update={"description": "twin"}))
    items = {item["name"]: item["outcome"] for item in json.loads(site.run("setup", "--json").stdout)}
    assert items[name] == "corrected"
    with site.client() as client:
        (left,) = client.read_automations_by_name(name)
        assert (left.enabled, "90 seconds" in left.description) == (False, True)
        client.update_automation(left.id, core)


@exhaustive  # what the file says is read in tests/unit/test_project.py; that it is heard: test_services.py
def test_schedules_are_active_only_where_the_settings_say_so_and_deploying_again_changes_nothing_else(
    site: Site, deployed: dict[str, Any]
) -> None:
    """In one environment: each of the others has the same switch of its own, and is left as it is."""
    before, now = _everything(site), datetime.now(ZONE)
    assert (_active(site), _planned(site)) == (set(), {})
    site.run("deploy", "--env", "prod", MLOPS_SCHEDULES="true", MLOPS_PLATFORM="databricks")
    assert _active(site) == SCHEDULED | {"reconcile/prod"}
    planned = until(lambda: _planned(site), lambda planned: _are(planned, SCHEDULED | {"reconcile/prod"}))
    for name in SCHEDULED:  # one may fall due meanwhile
        assert set(planned[name]) <= set(_next(deployed[name], now, 4))
    names = [item["name"] for item in json.loads(site.run("deploy", "--env", "prod", "--json").stdout)]
    assert sorted(names) == sorted(deployed)
    assert (_active(site), _planned(site)) == (set(), {})
    assert _everything(site) == before


@exhaustive  # the switches of a deployment's page are Prefect's
def test_what_was_paused_by_hand_is_active_again_once_it_is_deployed(site: Site) -> None:
    site.run("deploy", "--env", "prod", MLOPS_SCHEDULES="true")
    _pause(site, "batch-inference/prod")
    assert "batch-inference/prod" not in _active(site)
    site.run("deploy", "--env", "prod", MLOPS_SCHEDULES="true")
    assert _active(site) == SCHEDULED
    until(lambda: _planned(site), lambda found: _are(found, SCHEDULED))
    site.run("deploy", "--env", "prod")


def _planned(site: Site) -> dict[str, list[tuple[Any, str]]]:
    """The days and local times of the runs that the server will start by itself, by deployment.

    A run that fell due while the test went on is none of them: deploying again takes back what is still to come alone.
    """
    planned: dict[str, list[tuple[Any, str]]] = {}
    now = datetime.now(UTC)
    with site.client() as client:
        flows = {flow.id: flow.name for flow in client.read_flows(limit=50)}
        names = {each.id: f"{flows[each.flow_id]}/{each.name}" for each in client.read_deployments(limit=50)}
        scheduled = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])))
        runs = [run for run in client.read_flow_runs(flow_run_filter=scheduled, limit=200) if run.auto_scheduled]
    runs = [run for run in runs if run.expected_start_time > now]
    for run in sorted(runs, key=lambda run: run.expected_start_time):
        local = run.expected_start_time.astimezone(ZONE)
        planned.setdefault(names[run.deployment_id], []).append((local.date(), f"{local:%H:%M}"))
    return planned


def _are(planned: dict[str, list[tuple[Any, str]]], names: set[str]) -> bool:
    """Whether these have all of their next runs: the server's scheduler is between two of its rounds then."""
    return planned.keys() == names and min(map(len, planned.values())) >= 3


def _pause(site: Site, name: str) -> None:
    """What the two switches of a deployment's page do."""
    with site.client() as client:
        deployment = client.read_deployment_by_name(name)
        (schedule,) = deployment.schedules
        client.update_deployment_schedule(deployment.id, schedule.id, active=False)
        client.pause_deployment(deployment.id)


def _active(site: Site) -> set[str]:
    with site.client() as client:
        flows = {flow.id: flow.name for flow in client.read_flows(limit=50)}
        found = client.read_deployments(limit=50)
    active = [each for each in found if not each.paused and any(entry.active for entry in each.schedules)]
    return {f"{flows[each.flow_id]}/{each.name}" for each in active}


def test_plain_prefect_deploy_without_the_switches_activates_nothing(site: Site) -> None:
    done = site.prefect("--no-prompt", "deploy", "--name", "batch-inference/prod")
    assert done.returncode != 0
    assert _active(site) == set()


@pytest.mark.parametrize("start", ["2026-10-20T00:00", "2027-03-24T00:00"], ids=["to winter time", "to summer time"])
def test_the_next_ten_run_times_keep_the_local_hour_across_a_change_of_clocks(
    deployed: dict[str, Any], start: str
) -> None:
    first = datetime.fromisoformat(start).replace(tzinfo=ZONE)
    daily = _next(deployed["batch-inference/prod"], first, 10)
    assert daily == [(first.date() + timedelta(days=number), "07:00") for number in range(10)]
    weekly = _next(deployed["rollback/rehearsal-prod"], first, 10)
    monday = first.date() + timedelta(days=(7 - first.weekday()) % 7)
    assert weekly == [(monday + timedelta(weeks=number), "05:00") for number in range(10)]
    monthly = _next(deployed["train/dev"], first, 10)
    assert [(b - a).days for (a, _), (b, _) in pairwise(monthly)] == [30] * 9
    assert {time for _, time in monthly} == {"03:00"}


def _next(deployment: Any, start: datetime, count: int) -> list[tuple[Any, str]]:
    """The days and local times at which the server's scheduler would start a deployment."""
    (entry,) = deployment.schedules
    kind = CronSchedule if hasattr(entry.schedule, "cron") else RRuleSchedule
    schedule = kind.model_validate(entry.schedule.model_dump())
    dates = asyncio.run(schedule.get_dates(n=count, start=start.astimezone(UTC)))
    local = [each.astimezone(ZONE) for each in dates]
    return [(each.date(), f"{each:%H:%M}") for each in local]


def test_without_a_server_the_commands_say_how_to_get_one(site: Site) -> None:
    for arguments in (["setup"], ["deploy"], ["trigger", "train/dev"], ["backfill", "--from", "2026-01-01", "--to", "2026-01-01"]):  # fmt: skip  # noqa: E501
        done = site.run(*arguments, PREFECT_API_URL="")
        assert (done.returncode, done.stdout) == (2, "")
        assert "mlops up" in done.stderr


def test_a_file_that_is_not_valid_changes_nothing(site: Site, tmp_path: Any) -> None:
    before = _everything(site)
    text = (ROOT / "prefect.yaml").read_text(encoding="utf-8")
    cases = {
        "prefect.yaml": text.replace('cron: "0 7 * * *"', 'cron: "at seven"'),
        "automations.yaml": "automations: [{}]",
    }
    for name, content in cases.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "prefect.yaml").write_text(text, encoding="utf-8")
        (folder / name).write_text(content, encoding="utf-8")
        (folder / "flows").symlink_to(ROOT / "flows")
        done = site.run("deploy" if name == "prefect.yaml" else "setup", folder=folder)
        assert done.returncode == 2, done.stdout
        assert name in done.stderr
        assert "Traceback" not in done.stderr
    assert _everything(site) == before


@exhaustive  # what they hold is proven without a server: tests/unit/test_project.py
def test_each_model_that_a_project_defines_has_its_own_deployments(site: Site, tmp_path: Any) -> None:
    (tmp_path / "config" / "models").mkdir(parents=True)
    (tmp_path / "config" / "models" / "bikes.yaml").write_text("data: {name: rides}", encoding="utf-8")
    try:
        done = site.run("deploy", "--env", "dev", "--json", folder=tmp_path)
        assert done.returncode == 0, done.stderr
        names = {item["name"] for item in json.loads(done.stdout)}
        flows = ("create-data", "train", "check", "rollback", "batch-inference", "monitor", "retrain")
        assert {name for name in names if "bikes" in name} == {f"{flow}/bikes-dev" for flow in flows}
        with site.client() as client:
            train = client.read_deployment_by_name("train/bikes-dev")
        assert (train.entrypoint, train.parameters) == ("flows.train.train", {"env": "dev", "model_name": "bikes"})
        (pull,) = train.pull_steps
        assert [*pull.values()] == [{"directory": str(tmp_path)}]
        assert not any(schedule.active for schedule in train.schedules)
    finally:
        with site.client() as client:
            for deployment in client.read_deployments(limit=200):
                if "model:bikes" in deployment.tags:
                    client.delete_deployment(deployment.id)
        site.run("deploy", "--env", "dev")  # what is about no model belongs to the site again


TEAMS = "https://prod-NO.LOCATION.logic.azure.com:443/workflows/1/triggers/manual/paths/invoke"


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("slack-webhook", "https://hooks.slack.com/services/T/B/secret-part"),
        ("ms-teams-webhook", f"{TEAMS}?api-version=2016-06-01&sp=x&sv=1.0&sig=secret-part"),
    ],
)
def test_a_notification_block_is_made_once_from_its_address(site: Site, kind: str, address: str) -> None:
    first = site.run("setup", "--json", MLOPS_ALERTS=f"{kind}/mlops", MLOPS_ALERTS_URL=address)
    again = site.run("setup", "--json", MLOPS_ALERTS=f"{kind}/mlops")
    for done, outcome in ((first, "created"), (again, "in place")):
        assert done.returncode == 0, done.stderr
        assert "secret-part" not in done.stdout + done.stderr
        items = json.loads(done.stdout)
        assert outcome in {item["outcome"] for item in items if item["kind"] == "notification block"}
    assert {item["outcome"] for item in items} == {"in place"}
    names = {item["name"] for item in items if item["kind"] == "automation"}
    assert {f"mlops: {env}: the gate refused" for env in ("dev", "staging", "prod")} < names


def test_a_block_that_needs_more_than_an_address_is_left_to_a_person(site: Site) -> None:
    done = site.run("setup", MLOPS_ALERTS="sendgrid-email/mlops", MLOPS_ALERTS_URL="https://example.com")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Blocks" in done.stderr
