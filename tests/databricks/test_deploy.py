"""`mlops databricks deploy` to the emulated workspace: what is there afterwards, and what a second time changes."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import NotFound
from databricks.sdk.service.jobs import BaseJob, JobSettings
from typer.testing import CliRunner

from cli import main
from databricks_emulator import Emulator
from lifecycle.bundle import definition, publish
from lifecycle.core.errors import ConfigError, ConflictError, NotFoundError, TransientError
from lifecycle.registry import deployment_job, store
from lifecycle.registry.store import Target
from lifecycle.storage import volumes
from tests.conftest import ROOT

PRINCIPAL = {"service_principal": "0d4c6c4e-0000-4000-8000-000000000000"}
STEPS = ("create_data", "evaluate", "infer", "monitor", "train", "tune")

Deploy = Callable[..., dict[str, str]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish.build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the bundle, with a name of its own so that tests do not share jobs, that a test may change."""
    name = f"mlops-tests-{tmp_path.name}"
    return bundle_called(name, tmp_path / name / "project")


def bundle_called(name: str, folder: Path) -> Path:
    """A copy of the bundle in a folder whose jobs, notebooks and tags bear a name of their own."""
    for part in ("resources", "notebooks", "config"):
        shutil.copytree(ROOT / part, folder / part)
    for file in ("databricks.yml", "constraints.txt"):
        shutil.copy(ROOT / file, folder)
    change(folder / "databricks.yml", "name: mlops-lifecycle", f"name: {name}")
    for path in {*(folder / "resources").glob("*.yml")} - {folder / "resources" / "places.yml"}:
        change(path, "-mlops-", f"-{name}-")
    return folder


@pytest.fixture
def deploy(project: Path, wheel: Path, client: WorkspaceClient) -> Iterator[Deploy]:
    """Deploys the copy, and takes it away in the end; the answer is the outcome by name."""

    def deploy(target: str = "dev", *, dry_run: bool = False, **variables: str) -> dict[str, str]:
        bundle = definition.read(project, target, variables)
        items = publish.deploy(bundle, wheel, project, dry_run=dry_run)
        return {f"{item.kind} {item.name}": item.outcome for item in items}

    yield deploy
    for job in mine(client, project):
        client.jobs.delete(job.job_id)
    for root in ("/Workspace/Shared", f"/Workspace/Users/{client.current_user.me().user_name}"):
        with suppress(NotFound):
            client.workspace.delete(f"{root}/.bundle/{project.parent.name}", recursive=True)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def mine(client: WorkspaceClient, project: Path) -> list[BaseJob]:
    """The project's jobs."""
    return [job for job in client.jobs.list() if (job.settings.tags or {}).get("project") == project.parent.name]


def jobs(client: WorkspaceClient, project: Path) -> dict[str, JobSettings]:
    """Their settings by name."""
    return {job.settings.name: client.jobs.get(job.job_id).settings for job in mine(client, project)}


def test_everything_is_there_and_a_second_time_changes_nothing(
    deploy: Deploy, project: Path, wheel: Path, client: WorkspaceClient, workspace: Emulator
) -> None:
    first = deploy()
    assert len(first) == 2 + 1 + 3 + 2 * len(STEPS) + 1  # and the deployment job
    found_there = {name: first.pop(name) for name in ("schema dev.ml", "volume dev.ml.mlops")}
    assert set(found_there.values()) == {"unchanged"}
    assert {outcome for name, outcome in first.items() if not name.startswith("wheel")} == {"created"}

    bundle, found = definition.read(project, "dev"), jobs(client, project)
    assert found.keys() == {job["name"] for job in bundle.jobs.values()}
    settings = found[f"dev-{project.parent.name}-train"].as_dict()
    (environment,) = settings["environments"]
    remote = Path(environment["spec"]["dependencies"][0])
    assert volumes.read(remote) == wheel.read_bytes()
    assert volumes.read(remote.parent.with_name("latest") / wheel.name) == wheel.read_bytes()
    assert settings["tasks"][0]["python_wheel_task"]["parameters"] == ["train", "{{job.parameters.request}}", ""]
    notebooks = {each.path for each in client.workspace.list(f"{bundle.file_path}/notebooks")}
    assert {Path(path).name for path in notebooks} == {"create_data", "train", "inference"}

    workspace.forget_calls()
    assert set(deploy().values()) == {"unchanged"}
    assert jobs(client, project) == found
    written = [call["path"] for call in workspace.calls() if call["method"] != "GET" and "jobs" in call["path"]]
    assert written == []


def test_a_dry_run_says_what_would_happen_and_changes_nothing(deploy: Deploy, workspace: Emulator) -> None:
    workspace.forget_calls()
    would = deploy(dry_run=True)
    assert {call["method"] for call in workspace.calls("* /api/*")} <= {"GET", "HEAD"}
    did = deploy()
    assert would == did
    assert set(deploy(dry_run=True).values()) == {"unchanged"}


def test_a_schema_and_a_volume_that_are_missing_are_made_with_their_grants(
    deploy: Deploy, workspace: Emulator, client: WorkspaceClient
) -> None:
    places = ["schema prod.ml", "volume prod.ml.mlops"]
    workspace.restrict(absent=["prod.ml", "prod.ml.mlops"])
    would, did = (deploy("prod", dry_run=dry_run, **PRINCIPAL) for dry_run in (True, False))
    assert [[outcomes[name] for name in places] for outcomes in (would, did)] == [["created", "created"]] * 2
    held = {}
    for kind, name in (("schema", "prod.ml"), ("volume", "prod.ml.mlops")):
        (granted,) = client.grants.get(kind, name).privilege_assignments
        held[kind] = {each.value for each in granted.privileges}
        assert granted.principal == PRINCIPAL["service_principal"]
    assert held == {"schema": {"USE_SCHEMA", "CREATE_MODEL", "EXECUTE"}, "volume": {"READ_VOLUME", "WRITE_VOLUME"}}
    again = deploy("prod", **PRINCIPAL)
    assert [again[name] for name in places] == ["unchanged", "unchanged"]
    mine = f"/Workspace/Users/{client.current_user.me().user_name}/.bundle"
    assert client.workspace.get_status(mine)

    workspace.restrict(absent=["prod", "prod.ml"])
    with pytest.raises(NotFoundError, match="Catalog 'prod' does not exist"):
        deploy("prod", **PRINCIPAL)
    workspace.restrict(absent=["prod.ml"], missing=["CREATE SCHEMA"])
    with pytest.raises(ConfigError, match="CREATE SCHEMA"):
        deploy("prod", **PRINCIPAL)
    workspace.restrict()


@pytest.mark.live
def test_what_changed_is_updated_and_nothing_else(deploy: Deploy, project: Path, client: WorkspaceClient) -> None:
    deploy()
    change(project / "notebooks" / "train.py", "seed", "seed_")
    change(project / "resources" / "train.yml", "      timeout_seconds: 14400\n", "")
    again = deploy()
    name = f"dev-{project.parent.name}-train"
    assert {what for what, outcome in again.items() if outcome != "unchanged"} == {f"job {name}", "notebook train"}
    assert not jobs(client, project)[name].timeout_seconds


@pytest.mark.live
def test_what_somebody_changed_by_hand_is_put_right(deploy: Deploy, project: Path, client: WorkspaceClient) -> None:
    deploy()
    name = f"dev-{project.parent.name}-infer"
    (job,) = client.jobs.list(name=name)
    client.jobs.update(job.job_id, new_settings=JobSettings(max_concurrent_runs=1, description="mine"))
    assert deploy()[f"job {name}"] == "updated"
    assert jobs(client, project)[name].max_concurrent_runs == 10
    assert [each.job_id for each in client.jobs.list(name=name)] == [job.job_id]


@pytest.mark.live
def test_jobs_install_what_the_models_of_the_project_are_fitted_by(
    deploy: Deploy, project: Path, client: WorkspaceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = project / "config" / "models"
    models.mkdir(parents=True)
    monkeypatch.setenv("MLOPS_CONFIG_DIR", str(project / "config"))
    own = {"data": {"name": "a", "source": "a.csv", "target": "c"}}
    for name, more in {
        "vectors": {"training": {"algorithm": "embedding"}},
        "words": {},
        "ours": {"training": {"algorithm": "ours.module:make"}},
    }.items():
        (models / f"{name}.yaml").write_text(json.dumps(own | more), encoding="utf-8")
    pins = [
        line
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line.startswith(("onnxruntime=", "tokenizers="))
    ]
    deploy()
    found = {
        name.rpartition(f"{project.parent.name}-")[2]: each.as_dict() for name, each in jobs(client, project).items()
    }

    def beyond(name: str) -> list[str]:
        """What a job installs beyond the wheel and the three that all have."""
        (environment,) = found[name]["environments"]
        return environment["spec"]["dependencies"][4:]

    assert {name: beyond(name) for name in ("train", "evaluate", "infer", "gate")} == dict.fromkeys(
        ("train", "evaluate", "infer", "gate"), pins
    )
    assert beyond("create-data") == []
    libraries = found["infer-on-cluster"]["tasks"][0]["libraries"]
    assert [each["pypi"]["package"] for each in libraries[4:]] == pins
    assert set(deploy().values()) == {"unchanged"}
    (models / "vectors.yaml").unlink()
    assert deploy()[f"job dev-{project.parent.name}-train"] == "updated"


def test_two_jobs_of_one_name_are_nobodys_guess(deploy: Deploy, project: Path, client: WorkspaceClient) -> None:
    deploy()
    name = f"dev-{project.parent.name}-evaluate"
    twin = client.jobs.create(**vars(jobs(client, project)[name]))
    with pytest.raises(ConflictError, match=f"2 jobs named {name}: .*{twin.job_id}"):
        deploy()
    client.jobs.delete(twin.job_id)


def test_a_lost_reply_makes_no_second_job(
    deploy: Deploy, project: Path, client: WorkspaceClient, workspace: Emulator
) -> None:
    """The client sends again what it got no answer to, and a job has no idempotency token."""
    workspace.inject("POST /api/*/jobs/create", drop=True, after=True)
    deploy()
    assert len(workspace.calls("POST /api/*/jobs/create")) == 2 * len(STEPS) + 1 + 1
    names = [job.settings.name for job in client.jobs.list()]
    assert all(names.count(name) == 1 for name in jobs(client, project))


def test_shared_environments_run_as_the_service_principal_which_may_start_them(
    deploy: Deploy, project: Path, client: WorkspaceClient
) -> None:
    deploy("prod", **PRINCIPAL)
    for name, settings in jobs(client, project).items():
        assert settings.run_as.service_principal_name == PRINCIPAL["service_principal"]
        (job,) = client.jobs.list(name=name)
        granted = client.jobs.get_permissions(str(job.job_id)).access_control_list
        levels = {each.group_name or each.service_principal_name: each.all_permissions for each in granted}
        assert {who: each[0].permission_level.value for who, each in levels.items()} == {
            "mlops-admins": "CAN_MANAGE",
            PRINCIPAL["service_principal"]: "CAN_MANAGE_RUN",
        }


@pytest.mark.live
def test_a_job_hands_its_parameter_to_the_step(deploy: Deploy, project: Path, client: WorkspaceClient) -> None:
    """The step answers that it is no request of its own: it has run, and it has seen the request."""
    deploy()
    (job,) = client.jobs.list(name=f"dev-{project.parent.name}-train")
    run_id = client.jobs.run_now(job.job_id, job_parameters={"request": '{"seed": "a \\"quoted\\" {word}"}'}).run_id
    output = wait_for(client, run_id)
    assert "lifecycle.core.errors.ConfigError: This is not a request of the step train: data_name" in output.error_trace


def test_a_model_is_linked_to_its_deployment_job_which_judges_each_new_version(
    deploy: Deploy, project: Path, client: WorkspaceClient
) -> None:
    deploy(clusters="false")
    name, model = f"dev-{project.parent.name}-gate", f"prod.ml.{uuid4().hex}"
    target = Target(tracking_uri="databricks", registry_uri="databricks-uc", name=model, deployment_job=name)
    with pytest.raises(NotFoundError, match="no job named nothing"):
        deployment_job.create_model(target.model_copy(update={"deployment_job": "nothing"}))
    assert store.model(target) is None
    store.create_model(target)  # before there was a setting
    deployment_job.create_model(target)
    (job,) = client.jobs.list(name=name)
    linked = store.mlflow_of(target).get_registered_model(model)
    assert (linked.deployment_job_id, linked.deployment_job_state) == (str(job.job_id), "CONNECTED")
    assert store.model(target).tags == {}

    for step, more in (("create", {"source": "nowhere"}), ("finalize", {"version": "1"})):
        path = f"/api/2.0/mlflow/unity-catalog/model-versions/{step}"
        client.api_client.do("POST", path, body={"name": model, **more})
    (run,) = client.jobs.list_runs(job_id=job.job_id)
    output = wait_for(client, run.run_id)
    assert f"{model} is no model of dev, whose models are called dev.ml." in output.error_trace


def wait_for(client: WorkspaceClient, run_id: int) -> Any:
    """The output of the one task of a run, once the run has ended."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        run = client.jobs.get_run(run_id)
        if run.state.life_cycle_state.value in {"TERMINATED", "INTERNAL_ERROR", "SKIPPED"}:
            return client.jobs.get_run_output(run.tasks[0].run_id)
        time.sleep(0.2)
    raise AssertionError(f"run {run_id} did not end")


@pytest.mark.parametrize(("status", "kind"), [(403, ConfigError), (400, ConfigError), (500, TransientError)], ids=str)
def test_what_the_workspace_says_is_an_error_of_ours(
    status: int, kind: type[Exception], deploy: Deploy, workspace: Emulator
) -> None:
    workspace.inject("POST /api/*/jobs/create", status=status, times=1)
    with pytest.raises(kind, match="injected"):
        deploy()


@pytest.mark.usefixtures("databricks_env")
def test_the_command_reports_what_it_did(wheel: Path) -> None:
    arguments = ["databricks", "deploy", "--target", "staging", "--wheel", str(wheel), "--dry-run"]
    done = CliRunner().invoke(main.app, [*arguments, "--json", "--var", "service_principal=me"])
    assert done.exit_code == 0, done.output
    assert {"kind": "job", "name": "staging-mlops-train", "outcome": "created", "detail": ""} in json.loads(done.stdout)
    done = CliRunner().invoke(main.app, [*arguments, "--var", "service_principal=me"])
    assert "Would be deployed to staging" in done.stdout
    for wrong in (["--var", "service_principal"], ["--var", "x=y"], []):
        done = CliRunner().invoke(main.app, [*arguments, *wrong])
        assert isinstance(done.exception, ConfigError)


def test_a_wheel_that_is_not_there_and_one_that_cannot_be_built(tmp_path: Path) -> None:
    done = CliRunner().invoke(main.app, ["databricks", "deploy", "--wheel", str(tmp_path / "none.whl")])
    assert isinstance(done.exception, ConfigError)
    with pytest.raises(ConfigError, match="The wheel cannot be built"):
        publish.build_wheel(tmp_path, tmp_path)


def test_the_same_files_make_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    assert publish.build_wheel(ROOT, tmp_path).read_bytes() == wheel.read_bytes()
