"""The bundle in the repository says what Databricks accepts and what the rest of the project expects, and a bundle that
says something else is refused before a workspace hears of it."""

import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from databricks.sdk.service.jobs import JobSettings, SubmitTask

from lifecycle import settings
from lifecycle.bundle import definition, publish
from lifecycle.bundle.definition import Bundle
from lifecycle.core.errors import ConfigError
from lifecycle.core.names import Environment
from lifecycle.jobs import steps
from lifecycle.jobs.gate import GateRequest
from tests.conftest import ROOT

PRINCIPAL = {"service_principal": "0d4c6c4e-0000-4000-8000-000000000000"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXAMPLES = sorted((ROOT / "examples" / "databricks").glob("*.json"))
WHEEL = Path("/Volumes/dev/ml/mlops/wheels/0123456789abcdef/mlops_lifecycle-0.2.0-py3-none-any.whl")


@pytest.fixture(scope="module", params=list(Environment))
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return definition.read(ROOT, request.param, PRINCIPAL)


def steps_of(bundle: Bundle) -> list[dict[str, Any]]:
    """The jobs of heavy steps: all but the deployment job."""
    return [job for key, job in bundle.jobs.items() if key != "gate"]


def tasks(bundle: Bundle) -> list[dict[str, Any]]:
    return [task for job in bundle.jobs.values() for task in job["tasks"]]


# --- the one in the repository -----------------------------------------------------------------------------------


def test_every_step_has_the_job_that_the_settings_look_for(bundle: Bundle) -> None:
    config = settings.load(bundle.target)
    names = [job["name"] for job in steps_of(bundle)]
    wanted = [config.databricks.job(config.env, step) for step in steps.STEPS]
    assert sorted(names) == sorted([*wanted, *(f"{name}-on-cluster" for name in wanted)])
    assert bundle.wheels.parent == config.volume
    assert bundle.places[0].name == config.registered_name("any").rpartition(".")[0]


def test_a_job_passes_its_request_to_the_step_that_it_is_called_after(bundle: Bundle) -> None:
    for job in steps_of(bundle):
        (task,) = job["tasks"]
        step, request, scope = task["python_wheel_task"]["parameters"]
        assert step in steps.STEPS
        assert re.fullmatch(rf"{bundle.target}-mlops-{step}(-on-cluster)?", job["name"])
        assert (task["task_key"], request) == (step.replace("-", "_"), "{{job.parameters.request}}")
        assert scope == ""
        assert [each["name"] for each in job["parameters"]] == ["request", "env", "prefect_flow_run_id"]


def test_the_deployment_job_takes_what_unity_catalog_tells_it(bundle: Bundle) -> None:
    job = bundle.jobs["gate"]
    assert [each["name"] for each in job["parameters"]] == ["model_name", "model_version"]
    step, request = job["tasks"][0]["python_wheel_task"]["parameters"]
    told = {"{{job.parameters.model_name}}": "prod.ml.sentiment", "{{job.parameters.model_version}}": "3"}
    for reference, value in told.items():
        request = request.replace(reference, value)
    read = steps.of(step).request.model_validate_json(request)
    assert read == GateRequest(env=bundle.target, model_name="prod.ml.sentiment", model_version=3)


def test_the_entry_point_is_one_of_the_wheel(bundle: Bundle) -> None:
    for task in tasks(bundle):
        assert task["python_wheel_task"]["entry_point"] in PROJECT["scripts"]
        assert task["python_wheel_task"]["package_name"].replace("_", "-") == PROJECT["name"]


def test_the_client_of_databricks_knows_every_field(bundle: Bundle) -> None:
    """Its data classes drop what they do not know, so what comes back whole is known."""
    for job in bundle.jobs.values():
        sent = {key: value for key, value in job.items() if key not in publish.NOT_SETTINGS}
        assert JobSettings.from_dict(sent).as_dict() == sent


def test_prefect_is_the_only_scheduler_and_the_only_one_that_tries_again(bundle: Bundle) -> None:
    for job in bundle.jobs.values():
        assert {"schedule", "trigger", "triggers", "continuous"}.isdisjoint(job)
    for task in tasks(bundle):
        assert "max_retries" not in task
        assert task.get("disable_auto_optimization", "job_cluster_key" in task)


def test_what_reads_and_writes_models_has_the_versions_of_the_constraints() -> None:
    pinned = {"mlflow", "scikit-learn", "skops"}
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    wanted = {line for line in constraints if line.partition("==")[0] in pinned}
    for job in definition.read(ROOT, "dev").jobs.values():
        found = {line for each in job.get("environments", []) for line in each["spec"]["dependencies"]}
        found |= {each["pypi"]["package"] for each in job["tasks"][0].get("libraries", []) if "pypi" in each}
        assert {line for line in found if "==" in line} == wanted


def test_a_job_names_its_wheel_by_content_and_carries_a_digest_of_all_it_says() -> None:
    job = definition.read(ROOT, "dev").jobs["train_on_cluster"]
    made = publish.settings_of(job, WHEEL)
    assert made.tasks[0].libraries[0].whl == str(WHEEL)
    assert job["tasks"][0]["libraries"][0] == {"whl": "../dist/*.whl"}
    other = publish.settings_of({**job, "description": "other"}, WHEEL)
    assert made.tags["settings"] != other.tags["settings"]


def test_only_shared_environments_run_as_a_service_principal() -> None:
    dev, prod = definition.read(ROOT, "dev"), definition.read(ROOT, "prod", PRINCIPAL)
    assert not any("run_as" in job for job in dev.jobs.values())
    assert dev.permissions == ()
    assert all(
        job["run_as"] == {"service_principal_name": PRINCIPAL["service_principal"]} for job in prod.jobs.values()
    )
    assert [each.level for each in prod.permissions] == ["CAN_MANAGE", "CAN_RUN"]


def test_what_holds_data_is_in_the_bundle_and_never_goes_with_it(bundle: Bundle) -> None:
    declared = yaml.safe_load((ROOT / "resources" / "places.yml").read_text(encoding="utf-8"))["resources"]
    assert all(place["lifecycle"]["prevent_destroy"] for kind in declared.values() for place in kind.values())
    granted = {place.kind: [(grant.principal, *grant.privileges) for grant in place.grants] for place in bundle.places}
    who = PRINCIPAL["service_principal"]
    assert granted == (
        {"schema": [], "volume": []}
        if bundle.target == "dev"
        else {
            "schema": [(who, "USE_SCHEMA", "CREATE_MODEL", "EXECUTE")],
            "volume": [(who, "READ_VOLUME", "WRITE_VOLUME")],
        }
    )


# --- notebooks and payloads --------------------------------------------------------------------------------------


def notebook_parameters(name: str) -> set[str]:
    source = (ROOT / "notebooks" / f"{name}.py").read_text(encoding="utf-8")
    return set(re.findall(r'^    "(\w+)": ', source, re.MULTILINE))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_payload_leads_to_a_notebook_that_takes_its_parameters(path: Path) -> None:
    payload, bundle = json.loads(path.read_text(encoding="utf-8")), definition.read(ROOT, "dev")
    (task,) = payload["tasks"]
    assert SubmitTask.from_dict(task).as_dict() == task
    folder, _, name = task["notebook_task"]["notebook_path"].rpartition("/")
    assert folder == f"{bundle.file_path}/notebooks"
    assert task["notebook_task"]["base_parameters"].keys() <= notebook_parameters(name)
    assert task["environment_key"] in {each["environment_key"] for each in payload["environments"]}
    (wheel,) = payload["environments"][0]["spec"]["dependencies"]
    assert wheel.startswith(f"{bundle.wheels}/{publish.LATEST}/mlops_lifecycle-{PROJECT['version']}-")


def test_a_notebook_can_stand_in_for_a_step() -> None:
    for path in sorted((ROOT / "notebooks").glob("*.py")):
        assert {"request", "env", "prefect_flow_run_id"} <= notebook_parameters(path.stem)
        assert path.read_text(encoding="utf-8").startswith("# Databricks notebook source\n")


# --- one that is wrong -------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the bundle that a test may spoil."""
    shutil.copy(ROOT / "databricks.yml", tmp_path)
    shutil.copytree(ROOT / "resources", tmp_path / "resources")
    return tmp_path


def spoil(project: Path, file: str, old: str, new: str) -> Path:
    path = project / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return project


@pytest.mark.parametrize(
    ("file", "old", "new", "why"),
    [
        ("resources/train.yml", "max_concurrent_runs", "max_concurent_runs", "max_concurent_runs"),
        ("resources/train.yml", "task_key: train", "run_if: ALL_DONE", "task_key"),
        ("resources/train.yml", "environment_key: default\n          dis", "environment_key: x\n          dis", "'x'"),
        ("resources/with_clusters.yml", "ter_key: main\n          py", "ter_key: x\n          py", "'x'"),
        ("resources/train.yml", "disable", "depends_on: [{task_key: x}]\n          disable", "no task x"),
        ("resources/train.yml", "${bundle.target}-mlops-train\n", "${bundle.tarqet}\n", "bundle.tarqet"),
        ("resources/with_clusters.yml", "${var.cluster}", "${var.clusterz}", "clusterz"),
        ("resources/train.yml", "resources:\n", "experiments: {}\nresources:\n", "experiments"),
        ("resources/train.yml", "  jobs:\n", "  experiments: {}\n  jobs:\n", "experiments"),
        ("resources/places.yml", "volume_type: MANAGED", "volume_type: RENTED", "RENTED"),
        ("resources/places.yml", "  volumes:\n    files:", "  volumes: {}\n  jobs:\n    files:", "one volume"),
        ("databricks.yml", "default: true\n", "default: true\n    resources: {schemas: {x: {}}}\n", "schemas of a"),
        ("databricks.yml", "catalog: dev\n", "catalogue: dev\n", "catalogue"),
        ("databricks.yml", "default: ml\n", "default: ${var.schema}\n", "refers to itself"),
        ("databricks.yml", "default: true\n", "mode: development\n    default: true\n", "development"),
        ("databricks.yml", "default: true\n", "git: {branch: main}\n    default: true\n", "git"),
        ("databricks.yml", "sync:\n", "scripts:\n", "scripts"),
        ("databricks.yml", "targets:\n", "targets: [\n", "cannot be read"),
    ],
)  # fmt: skip
def test_what_is_wrong_or_not_understood_is_refused(project: Path, file: str, old: str, new: str, why: str) -> None:
    spoil(project, file, old, new)
    with pytest.raises(ConfigError, match=re.escape(why)):
        definition.read(project, "dev")


def test_the_targets_are_named_when_there_is_no_such_one() -> None:
    with pytest.raises(ConfigError, match=r"no target 'test'; it has: dev, staging, prod"):
        definition.read(ROOT, "test")


def test_a_variable_without_value_says_how_to_give_it() -> None:
    with pytest.raises(ConfigError, match=r"--var service_principal=…, or BUNDLE_VAR_service_principal"):
        definition.read(ROOT, "prod")


def test_a_variable_that_is_not_declared_is_no_typo_to_pass_over() -> None:
    with pytest.raises(ConfigError, match="declares no variable admin"):
        definition.read(ROOT, "dev", {"admin": "me"})


def test_of_variables_the_nearest_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    assert definition.read(ROOT).wheels == Path("/Volumes/dev/ml/mlops/wheels")
    monkeypatch.setenv("BUNDLE_VAR_catalog", "lab")
    assert definition.read(ROOT, "dev").wheels == Path("/Volumes/lab/ml/mlops/wheels")
    assert definition.read(ROOT, "dev", {"catalog": "mine"}).wheels == Path("/Volumes/mine/ml/mlops/wheels")


def test_a_whole_value_keeps_its_type(project: Path) -> None:
    cluster = definition.read(project, "dev", {"node_type": "Standard_D8ds_v5"}).jobs["infer_on_cluster"]
    made = cluster["job_clusters"][0]["new_cluster"]
    assert made["node_type_id"] == "Standard_D8ds_v5"
    assert made["autoscale"] == {"min_workers": 1, "max_workers": 8}


def test_only_what_spark_spreads_has_workers(bundle: Bundle) -> None:
    clusters = {key: job["job_clusters"][0]["new_cluster"] for key, job in bundle.jobs.items() if "job_clusters" in job}
    assert {key for key, cluster in clusters.items() if cluster.get("num_workers") != 0} == {"infer_on_cluster"}


def test_what_a_team_adds_is_in_every_job_that_takes_it(project: Path) -> None:
    plain = definition.read(project, "dev").jobs
    assert not {"budget_policy_id", "email_notifications", "health"} & {name for job in plain.values() for name in job}
    rules = "{rules: [{metric: RUN_DURATION_SECONDS, op: GREATER_THAN, value: 60}]}"
    mine = f"catalog: dev\n      notifications: {{on_failure: [a@example.com]}}\n      health: {rules}\n"
    spoil(project, "databricks.yml", "catalog: dev\n", mine)
    jobs = definition.read(project, "dev", {"budget_policy": "0d4c6c4e", "performance_target": "STANDARD"}).jobs
    for key, job in jobs.items():
        assert job["email_notifications"] == {"on_failure": ["a@example.com"]}
        assert job["health"]["rules"][0]["value"] == 60
        serverless = (job.get("budget_policy_id"), job.get("performance_target"))
        assert serverless == ((None, None) if key.endswith("on_cluster") else ("0d4c6c4e", "STANDARD"))
        sent = {name: value for name, value in job.items() if name not in publish.NOT_SETTINGS}
        assert JobSettings.from_dict(sent).as_dict() == sent


def test_only_who_deploys_may_write_where_staging_and_prod_lie() -> None:
    shared = "/Workspace/Shared/.bundle/mlops-lifecycle/dev/files"
    assert definition.read(ROOT, "dev").file_path == shared
    for target in ("staging", "prod"):
        path = definition.read(ROOT, target, PRINCIPAL).file_path
        assert path == f"/Workspace/Users/{definition.DEPLOYER}/.bundle/mlops-lifecycle/{target}/files"
    assert definition.read(ROOT, "dev", {"root": "/Workspace/ours"}).file_path.startswith("/Workspace/ours/.bundle/")


def test_a_variable_leaves_the_clusters_out() -> None:
    alone = definition.read(ROOT, "dev", {"clusters": "false"}).jobs
    assert sorted(alone) == ["create_data", "evaluate", "gate", "infer", "monitor", "train", "tune"]
    with pytest.raises(ConfigError, match="clusters=true or false"):
        definition.read(ROOT, "dev", {"clusters": "no"})


def test_the_files_are_plain_yaml_without_a_host_or_a_secret() -> None:
    for path in (ROOT / "databricks.yml", *(ROOT / "resources").glob("*.yml")):
        text = json.dumps(yaml.safe_load(path.read_text(encoding="utf-8")))
        assert not re.search(r"https?://|dapi|\"host\"|secret(?!.scope)", text), path.name
