"""Ways in: access token, OAuth machine-to-machine with refresh, profile, GitHub's tokens; with the SDK's client."""

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import Unauthenticated
from databricks.sdk.service.iam import User

from databricks_emulator import Emulator
from databricks_emulator.auth import EXCHANGE, JWT, LIFETIME, USER

TOKENS = "POST /oidc/v1/token"


@pytest.fixture
def short_lived(workspace: Emulator) -> Iterator[None]:
    """Issued tokens live for two seconds."""
    lifetime(workspace, 2)
    yield
    lifetime(workspace, LIFETIME)


@pytest.fixture
def on_github(databricks_env: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """The variables of a job of GitHub Actions, which holds no secret of the workspace."""
    monkeypatch.delenv("DATABRICKS_TOKEN")
    for name, value in databricks_env.credentials.github_actions(databricks_env.https_url).items():
        monkeypatch.setenv(name, value)
    return databricks_env


def lifetime(workspace: Emulator, seconds: int) -> None:
    requests.post(f"{workspace.url}/emulator/tokens", json={"lifetime": seconds}, timeout=240).raise_for_status()


def principal(workspace: Emulator, secret: str | None = None) -> WorkspaceClient:
    """The SDK's client as a service principal."""
    secret = secret or workspace.client_secret
    return WorkspaceClient(host=workspace.https_url, client_id=workspace.client_id, client_secret=secret)


def who_am_i(workspace: Emulator, token: str) -> requests.Response:
    url = f"{workspace.url}/api/2.0/preview/scim/v2/Me"
    return requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=240)


def test_an_access_token_names_its_user(client: WorkspaceClient, databricks_env: Emulator) -> None:
    assert client.current_user.me().user_name == USER
    reply = who_am_i(databricks_env, databricks_env.token)
    assert User.from_dict(reply.json()).as_dict() == reply.json()
    assert reply.headers["x-databricks-org-id"] == str(client.get_workspace_id())


def test_a_profile_of_the_config_file(
    databricks_env: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "databrickscfg"
    file.write_text(f"[prod]\nhost = {databricks_env.https_url}\ntoken = {databricks_env.token}\n", encoding="utf-8")
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(file))
    for name in ("DATABRICKS_HOST", "DATABRICKS_TOKEN"):
        monkeypatch.delenv(name)
    assert WorkspaceClient(profile="prod").current_user.me().user_name == USER


@pytest.mark.usefixtures("databricks_env")
def test_a_service_principal_asks_for_a_token_once(workspace: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABRICKS_TOKEN")
    client = principal(workspace)
    assert {client.current_user.me().user_name for _ in range(3)} == {workspace.client_id}
    assert len(workspace.calls(TOKENS)) == 1


@pytest.mark.usefixtures("short_lived", "databricks_env")
def test_a_token_that_expires_is_asked_for_anew(workspace: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABRICKS_TOKEN")
    client = principal(workspace)
    first = client.config.authenticate()["Authorization"].removeprefix("Bearer ")
    time.sleep(2.1)
    assert who_am_i(workspace, first).status_code == 401
    assert client.current_user.me().user_name == workspace.client_id
    assert len(workspace.calls(TOKENS)) >= 2


@pytest.mark.usefixtures("databricks_env")
def test_a_wrong_secret_is_refused(workspace: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABRICKS_TOKEN")
    with pytest.raises(ValueError, match="invalid_client"):
        principal(workspace, "wrong").current_user.me()


def test_a_wrong_token_is_refused(databricks_env: Emulator) -> None:
    with pytest.raises(Unauthenticated):
        WorkspaceClient(host=databricks_env.https_url, token=f"{databricks_env.token}x").current_user.me()


def test_a_github_job_needs_no_secret(on_github: Emulator) -> None:
    client = WorkspaceClient()
    assert client.config.auth_type == "github-oidc"
    assert client.current_user.me().user_name == on_github.client_id


@pytest.mark.usefixtures("on_github")
def test_another_job_on_github_is_refused(workspace: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    other = workspace.credentials.github_actions(workspace.https_url, "repo:someone/else:ref:refs/heads/main")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", other["ACTIONS_ID_TOKEN_REQUEST_URL"])
    with pytest.raises(ValueError, match="invalid_client"):
        WorkspaceClient().current_user.me()


@pytest.mark.usefixtures("on_github")
def test_github_gives_tokens_to_its_jobs_alone(workspace: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "guessed")
    with pytest.raises(ValueError, match="github-oidc"):
        WorkspaceClient().current_user.me()
    assert workspace.calls(TOKENS) == []


@pytest.mark.parametrize("forged", ["subject", "audience", "client", "grant"])
def test_an_exchange_that_does_not_hold_is_refused(workspace: Emulator, forged: str) -> None:
    """A signed statement whose subject was changed, one for somebody else, another principal, another grant."""
    audience = "https://else.example" if forged == "audience" else f"{workspace.url}/oidc/v1/token"
    job = workspace.credentials.github_actions(workspace.url)
    headers = {"Authorization": f"Bearer {job['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}"}
    url = f"{job['ACTIONS_ID_TOKEN_REQUEST_URL']}&audience={audience}"
    jwt = requests.get(url, headers=headers, timeout=240).json()["value"]
    if forged == "subject":
        head, claims, signature = jwt.split(".")
        changed = json.loads(base64.urlsafe_b64decode(claims + "==")) | {"exp": time.time() + 9999}
        jwt = f"{head}.{base64.urlsafe_b64encode(json.dumps(changed).encode()).decode().rstrip('=')}.{signature}"
    form = {
        "grant_type": "password" if forged == "grant" else EXCHANGE,
        "subject_token": jwt,
        "subject_token_type": JWT,
        "client_id": "another" if forged == "client" else workspace.client_id,
    }
    reply = requests.post(f"{workspace.url}/oidc/v1/token", form, timeout=240)
    expected = (400, "unsupported_grant_type") if forged == "grant" else (401, "invalid_client")
    assert (reply.status_code, reply.json()["error"]) == expected


@pytest.mark.parametrize(
    "path", ["/api/2.0/workspace/list", "/api/2.0/mlflow/runs/get", "/serving-endpoints/a/invocations"]
)
def test_nothing_answers_without_a_token(workspace: Emulator, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer 9999999999.0"}):
        reply = requests.post(f"{workspace.url}{path}", headers=headers, timeout=240)
        assert (reply.status_code, reply.json()["error_code"]) == (401, "UNAUTHENTICATED")
