"""The ways to be known to a workspace: each reaches the Jobs API, and none leaves a secret anywhere."""

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import requests
from databricks.sdk import WorkspaceClient
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, PREFECT_HOME
from prefect_databricks import DatabricksCredentials

from databricks_emulator import Emulator
from lifecycle.core.errors import ConfigError, MlopsError, NotFoundError, TransientError
from lifecycle.core.names import Environment
from lifecycle.databricks import credentials as identity
from tasks import compute, databricks, databricks_calls
from tasks.databricks_calls import Workspace
from tests.databricks.conftest import Scripts
from tests.databricks.remote import QUICK, Request, create_job, python_task

JOBS = "GET /api/*/jobs/list"


@pytest.fixture
def env(databricks_env: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:  # noqa: ARG001
    """The emulator's address and certificate, and no identity yet; what a test signs in as is forgotten after it."""
    before = dict(os.environ)
    monkeypatch.delenv("DATABRICKS_TOKEN")
    yield monkeypatch
    for name in identity.IDENTITY:
        os.environ.pop(name, None)
    os.environ.update({name: value for name, value in before.items() if name in identity.IDENTITY})


def reaches(uri: str = "databricks") -> bool:
    """Whether the Jobs API answers: that there is no such job is an answer."""
    with pytest.raises(NotFoundError, match="no job named"):
        Workspace(uri).job_id("no such job")
    return True


def test_by_token(env: pytest.MonkeyPatch, workspace: Emulator) -> None:
    env.setenv("DATABRICKS_TOKEN", workspace.token)
    assert reaches()


def test_as_a_service_principal(env: pytest.MonkeyPatch, workspace: Emulator) -> None:
    env.setenv("DATABRICKS_CLIENT_ID", workspace.client_id)
    env.setenv("DATABRICKS_CLIENT_SECRET", workspace.client_secret)
    assert reaches()
    assert len(workspace.calls("POST /oidc/v1/token")) == 1
    assert reaches()
    assert len(workspace.calls("POST /oidc/v1/token")) == 1  # the token is kept while it is good


@pytest.mark.parametrize("way", ["in the URI", "in the environment"])
def test_by_profile(env: pytest.MonkeyPatch, workspace: Emulator, tmp_path: Path, way: str) -> None:
    file = tmp_path / "databrickscfg"
    file.write_text(f"[mine]\nhost = {workspace.https_url}\ntoken = {workspace.token}\n", encoding="utf-8")
    env.setenv("DATABRICKS_CONFIG_FILE", str(file))
    env.delenv("DATABRICKS_HOST")
    if way == "in the environment":
        env.setenv("DATABRICKS_CONFIG_PROFILE", "mine")
    assert reaches("databricks://mine" if way == "in the URI" else "databricks")


def test_as_a_job_of_github(env: pytest.MonkeyPatch, workspace: Emulator) -> None:
    for name, value in workspace.credentials.github_actions(workspace.https_url).items():
        env.setenv(name, value)
    assert reaches()


def test_a_job_of_another_repository_is_refused(env: pytest.MonkeyPatch, workspace: Emulator) -> None:
    for name, value in workspace.credentials.github_actions(workspace.https_url, "repo:somebody/else").items():
        env.setenv(name, value)
    with pytest.raises(ConfigError, match="refused the credentials"):
        Workspace("databricks").job_id("x")


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"DATABRICKS_TOKEN": "dapi-wrong"}, "refused the call: 401"),
        ({"DATABRICKS_CLIENT_ID": "somebody", "DATABRICKS_CLIENT_SECRET": "dose-wrong"}, "refused the credentials"),
        ({}, "missing: DATABRICKS_TOKEN"),
    ],
    ids=["wrong token", "wrong secret", "nothing"],
)
def test_what_is_wrong_is_said_at_once_and_without_the_secret(
    env: pytest.MonkeyPatch, variables: dict[str, str], why: str
) -> None:
    for name, value in variables.items():
        env.setenv(name, value)
    began = time.monotonic()
    with pytest.raises(ConfigError, match=why) as raised:
        Workspace("databricks").job_id("x")
    assert "wrong" not in str(raised.value)
    assert time.monotonic() - began < 200


def test_an_address_without_tls_is_refused(env: pytest.MonkeyPatch, workspace: Emulator) -> None:
    env.setenv("DATABRICKS_TOKEN", workspace.token)
    env.setenv("DATABRICKS_HOST", workspace.url)
    with pytest.raises(ConfigError, match="need https"):
        Workspace("databricks").job_id("x")


def test_an_authority_that_nobody_trusts_is_said_at_once(env: pytest.MonkeyPatch, workspace: Emulator) -> None:
    env.setenv("DATABRICKS_TOKEN", workspace.token)
    env.delenv("SSL_CERT_FILE")
    with pytest.raises(ConfigError, match="CERTIFICATE_VERIFY_FAILED"):
        Workspace("databricks").job_id("x")


def test_a_token_that_runs_out_while_a_run_is_watched_is_renewed(
    env: pytest.MonkeyPatch, workspace: Emulator, script: Scripts
) -> None:
    env.setenv("DATABRICKS_CLIENT_ID", workspace.client_id)
    env.setenv("DATABRICKS_CLIENT_SECRET", workspace.client_secret)
    requests.post(f"{workspace.url}/emulator/tokens", json={"lifetime": 1}, timeout=240).raise_for_status()
    try:
        client = WorkspaceClient(host=workspace.url, token=workspace.token, auth_type="pat")
        job_id = create_job(client, f"long-{uuid4()}", python_task(script("import time; time.sleep(2.5)")))
        remote = Workspace("databricks")
        start = databricks.of_job(remote, job_id, {"request": "", "env": "dev", "prefect_flow_run_id": ""})
        run = databricks.complete(remote, start, QUICK, lambda _: None, key=uuid4().hex)
        databricks.raise_for(remote, run, "long")
    finally:
        requests.post(f"{workspace.url}/emulator/tokens", json={"lifetime": 3600}, timeout=240).raise_for_status()
    assert len(workspace.calls("POST /oidc/v1/token")) >= 2


@pytest.mark.usefixtures("server")
class TestBlock:
    """A DatabricksCredentials block of Prefect, by its name in the settings."""

    @pytest.fixture(params=["token", "service principal"])
    def block(self, request: pytest.FixtureRequest, workspace: Emulator) -> str:
        name = f"databricks-{uuid4().hex[:8]}"
        if request.param == "token":
            made = DatabricksCredentials(databricks_instance=workspace.https_host, token=workspace.token)
        else:
            made = DatabricksCredentials(
                databricks_instance=workspace.https_host,
                client_id=workspace.client_id,
                client_secret=workspace.client_secret,
            )
        made.save(name)
        return name

    def test_signs_the_process_in_whatever_stood_there(
        self, env: pytest.MonkeyPatch, block: str, workspace: Emulator
    ) -> None:
        env.setenv("DATABRICKS_TOKEN", "dapi-of-somebody-else")
        env.setenv("DATABRICKS_HOST", "https://elsewhere.example.com")
        env.setenv("MLOPS_DATABRICKS__CREDENTIALS", block)
        compute.settings_of(Environment.DEV)
        assert os.environ["DATABRICKS_HOST"] == workspace.https_url
        assert reaches()

    def test_of_azure_is_passed_on_as_azure_names_it(self, env: pytest.MonkeyPatch) -> None:
        name = f"azure-{uuid4().hex[:8]}"
        parts = {"client_id": "id", "client_secret": "secret", "tenant_id": "tenant"}
        DatabricksCredentials(databricks_instance="https://adb-1.azuredatabricks.net/", **parts).save(name)
        env.setenv("MLOPS_DATABRICKS__CREDENTIALS", name)
        compute.settings_of(Environment.DEV)
        assert {key: os.environ[key] for key in identity.IDENTITY if key in os.environ} == {
            "DATABRICKS_HOST": "https://adb-1.azuredatabricks.net",
            "ARM_CLIENT_ID": "id",
            "ARM_CLIENT_SECRET": "secret",
            "ARM_TENANT_ID": "tenant",
            "DATABRICKS_AUTH_TYPE": "azure-client-secret",
        }
        identity.require_credentials("databricks")

    def test_says_by_which_proxy_and_authority_every_client_goes(
        self, env: pytest.MonkeyPatch, workspace: Emulator
    ) -> None:
        name, authority = f"proxied-{uuid4().hex[:8]}", str(workspace.ca_file)
        kwargs = {"verify": authority, "proxy": "http://127.0.0.1:9"}
        made = {"databricks_instance": workspace.https_host, "token": workspace.token}
        DatabricksCredentials(**made, client_kwargs=kwargs).save(name)
        env.setenv("MLOPS_DATABRICKS__CREDENTIALS", name)
        for variable in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "HTTPS_PROXY"):
            env.setenv(variable, "")
        env.setattr(databricks_calls, "_client", {})
        compute.settings_of(Environment.DEV)
        assert os.environ["REQUESTS_CA_BUNDLE"] == os.environ["SSL_CERT_FILE"] == authority
        assert os.environ["HTTPS_PROXY"] == kwargs["proxy"]
        env.delenv("HTTPS_PROXY")
        env.setattr(databricks_calls, "PATIENCE_SECONDS", 0.1)
        with pytest.raises(TransientError, match="ConnectError"):
            list(Workspace("databricks").runs())  # nothing listens at the proxy

    def test_that_trusts_anybody_signs_nobody_in(self, env: pytest.MonkeyPatch, workspace: Emulator) -> None:
        name, host = f"trusting-{uuid4().hex[:8]}", workspace.https_host
        kwargs = {"verify": False}
        DatabricksCredentials(databricks_instance=host, token=workspace.token, client_kwargs=kwargs).save(name)
        env.setenv("MLOPS_DATABRICKS__CREDENTIALS", name)
        with pytest.raises(ConfigError, match=f"Block {name} turns off the check of certificates"):
            compute.settings_of(Environment.DEV)
        assert "DATABRICKS_TOKEN" not in os.environ

    def test_that_is_not_there_is_a_setting_to_correct(self, env: pytest.MonkeyPatch) -> None:
        env.setenv("MLOPS_DATABRICKS__CREDENTIALS", "no-such-block")
        with pytest.raises(ConfigError, match="no block databricks-credentials/no-such-block"):
            compute.settings_of(Environment.DEV)


@pytest.fixture(params=["token", "service principal", "environment", "profile"])
def known(
    request: pytest.FixtureRequest,
    env: pytest.MonkeyPatch,
    workspace: Emulator,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Each way to hand over a secret, two of them in a block."""
    request.getfixturevalue("script")  # with the identity of the emulator itself
    secret = {"client_id": workspace.client_id, "client_secret": workspace.client_secret}
    if request.param == "profile":
        file = tmp_path_factory.mktemp("profile") / "databrickscfg"
        lines = [f"{key} = {value}" for key, value in {"host": workspace.https_url, **secret}.items()]
        file.write_text("\n".join(["[mine]", *lines]), encoding="utf-8")
        env.setenv("DATABRICKS_CONFIG_FILE", str(file))
        env.setenv("DATABRICKS_CONFIG_PROFILE", "mine")
        env.delenv("DATABRICKS_HOST")
    elif request.param == "environment":
        env.setenv("DATABRICKS_TOKEN", workspace.token)
    else:
        given = {"token": workspace.token} if request.param == "token" else secret
        DatabricksCredentials(databricks_instance=workspace.https_host, **given).save("canary", overwrite=True)
        env.setenv("MLOPS_DATABRICKS__CREDENTIALS", "canary")


@flow(name="talkative", persist_result=True, result_serializer="json")
def talkative(env: str, text: str) -> None:
    compute.run_step("train", Request(text=text), compute.settings_of(Environment(env)))


@pytest.mark.usefixtures("server", "known")
def test_a_secret_is_left_nowhere(
    env: pytest.MonkeyPatch, workspace: Emulator, script: Scripts, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After a run that succeeds, one that fails and one that is refused, with every log at its most talkative."""
    name = f"talkative-{uuid4().hex[:8]}"
    env.setenv("MLOPS_PLATFORM", "databricks")
    env.setenv("MLOPS_HOME", str(tmp_path / "state"))
    env.setenv("MLOPS_DATABRICKS__POLL_SECONDS", "0.1")
    env.setenv("MLOPS_DATABRICKS__JOBS", f'{{"train": "{name}"}}')
    client = WorkspaceClient(host=workspace.url, token=workspace.token, auth_type="pat")
    create_job(client, name, python_task(script("import sys; print('done'); sys.exit('fail' in sys.argv[1])")))
    caplog.set_level(logging.DEBUG)
    talkative("dev", "well")
    with pytest.raises(MlopsError):
        talkative("dev", "fail")
    workspace.expire_token(times=2)
    with pytest.raises(ConfigError, match="refused") as raised:
        talkative("dev", "refused")
    said = [caplog.text, str(raised.value), repr(identity.access("databricks")), *_of_prefect()]
    held = list(_files(tmp_path, PREFECT_HOME.value(), workspace.root))
    for secret in (workspace.token, workspace.client_secret):
        assert not any(secret in text for text in said)
        assert [path for path, content in held if secret.encode() in content] == []
    assert any(name.encode() in content for _, content in held)  # the search finds what is there


def _of_prefect() -> Iterator[str]:
    """What the server says of runs, logs and artifacts."""
    with get_client(sync_client=True) as client:
        yield from (run.model_dump_json() for run in client.read_flow_runs(limit=200))
        yield from (run.model_dump_json() for run in client.read_task_runs(limit=200))
        yield from (artifact.model_dump_json() for artifact in client.read_artifacts(limit=200))
        yield from (log.model_dump_json() for log in client.read_logs(limit=200))


def _files(*folders: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below some folders, and Prefect's database, apart from what the emulator knows its clients by."""
    database = Path(str(PREFECT_API_DATABASE_CONNECTION_URL.value()).rpartition(":///")[2].partition("?")[0])
    assert sqlite3.connect(f"file:{database}?mode=ro", uri=True).execute("select count(*) from log").fetchone()
    for path in [
        *(path for folder in folders for path in folder.rglob("*")),
        *database.parent.glob(f"{database.name}*"),
    ]:
        if path.is_file() and path.name not in {"credentials.json", "environment"}:
            yield path, path.read_bytes()
