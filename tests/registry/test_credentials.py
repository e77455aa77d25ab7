"""What Databricks needs to let a command in is asked for before the first call, by name."""

from pathlib import Path

import pytest

from lifecycle.core.errors import ConfigError, TransientError
from lifecycle.databricks import client, credentials
from lifecycle.tracking import client as tracking
from tests.conftest import free_port

HOST, TOKEN = {"DATABRICKS_HOST": "https://x"}, {"DATABRICKS_TOKEN": "secret"}
ID, SECRET = {"DATABRICKS_CLIENT_ID": "id"}, {"DATABRICKS_CLIENT_SECRET": "secret"}


@pytest.mark.parametrize("uri", ["databricks", "databricks-uc"])
@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "DATABRICKS_HOST, DATABRICKS_TOKEN (or DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET)"),
        (HOST, "DATABRICKS_TOKEN (or DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET)"),
        (TOKEN, "DATABRICKS_HOST"),
        (ID | SECRET, "DATABRICKS_HOST"),
        (HOST | ID, "DATABRICKS_CLIENT_SECRET"),
        (HOST | SECRET, "DATABRICKS_CLIENT_ID"),
        (HOST | {"DATABRICKS_TOKEN": ""}, "DATABRICKS_TOKEN (or DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET)"),
        (HOST | TOKEN, None),
        (HOST | ID | SECRET, None),
        ({"DATABRICKS_AUTH_TYPE": "azure-cli"}, None),
    ],
)
@pytest.mark.usefixtures("bare")
def test_what_is_missing_of_the_credentials_is_named(
    monkeypatch: pytest.MonkeyPatch, uri: str, given: dict[str, str], missing: str | None
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    if missing is None:
        credentials.require_credentials(uri)
        return
    with pytest.raises(ConfigError) as refused:
        credentials.require_credentials(uri)
    assert refused.value.what == f"{uri} needs a workspace and credentials; missing: {missing}."
    assert "secret" not in str(refused.value)


@pytest.mark.usefixtures("bare")
def test_credentials_are_asked_for_before_the_first_call_and_only_by_databricks() -> None:
    with pytest.raises(ConfigError, match="missing: DATABRICKS_HOST"):
        tracking.client("sqlite:////nowhere/at/all.db", "databricks-uc")
    for uri in ("sqlite:///x.db", "http://127.0.0.1:5000", "databricks.db"):
        credentials.require_credentials(uri)


GOOD = "[prod]\nhost = https://x\ntoken = secret\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "Profile 'prod' needs .*databrickscfg, which is not there"),
        ("[dev]\nhost = https://x\n", "has no profile 'prod'; it has: dev"),
        ("", "has no profile 'prod'; it has: none"),
        ("[prod]\ntoken = secret\n", "Profile 'prod' in .* has no `host`"),
        ("[prod]\nhost = https://x\n", "has no credentials: it needs a `token`, or `client_id` and `client_secret`"),
        ("[prod]\nhost = https://x\nclient_id = a\n", "has no credentials"),
        ("host = https://x\n", "is not a Databricks profile file"),
        (b"\xff\xfe[prod]", "is not a Databricks profile file"),
        (GOOD, None),
        ("[DEFAULT]\ntoken = secret\n[prod]\nhost = https://x\n", None),
        ("[prod]\nhost = https://x\nclient_id = a\nclient_secret = %b\n", None),
        ("[prod]\nhost = https://x\nauth_type = azure-cli\n", None),
    ],
)
@pytest.mark.parametrize("named", ["in the uri", "in the environment"])
def test_a_profile_must_hold_a_workspace_and_credentials(
    bare: Path, monkeypatch: pytest.MonkeyPatch, content: str | bytes | None, words: str | None, named: str
) -> None:
    if content is not None:
        bare.write_bytes(content if isinstance(content, bytes) else content.encode())
    uri = "databricks-uc://prod" if named == "in the uri" else "databricks-uc"
    if uri == "databricks-uc":
        monkeypatch.setenv("DATABRICKS_CONFIG_PROFILE", "prod")
    if words is None:
        credentials.require_credentials(uri)
        return
    with pytest.raises(ConfigError, match=words) as refused:
        credentials.require_credentials(uri)
    assert "secret" not in str(refused.value).replace("client_secret", "")


def test_the_default_profile_is_one_like_any_other(bare: Path) -> None:
    bare.write_text("[DEFAULT]\nhost = https://x\ntoken = secret\n", encoding="utf-8")
    credentials.require_credentials("databricks-uc://DEFAULT")


@pytest.mark.parametrize(
    ("given", "profile", "ways"),
    [
        (
            TOKEN | ID | SECRET,
            "",
            r"oauth \(DATABRICKS_CLIENT_ID, DATABRICKS_CLIENT_SECRET\) and pat \(",
        ),
        (TOKEN | SECRET, "", r"oauth \(DATABRICKS_CLIENT_SECRET\) and pat"),
        (TOKEN | {"DATABRICKS_USERNAME": "joe", "DATABRICKS_PASSWORD": "secret"}, "", r"basic .* and pat"),
        (
            ID | SECRET | {"ARM_CLIENT_ID": "id", "ARM_TENANT_ID": "x"},
            "",
            r"azure \(ARM_CLIENT_ID, ARM_TENANT_ID\) and oauth",
        ),
        (TOKEN | {"GOOGLE_CREDENTIALS": "secret"}, "", r"google \(GOOGLE_CREDENTIALS\) and pat"),
        (TOKEN | {"DATABRICKS_OIDC_TOKEN_FILEPATH": "/x"}, "", r"file-oidc .* and pat"),
        (
            TOKEN,
            "client_id = a\nclient_secret = b\n",
            r"oauth \(`client_id` of the profile, .*\) and pat \(",
        ),
        (ID | SECRET, "token = secret\n", r"oauth \(DATABRICKS_CLIENT_ID.* and pat \(`token` of the profile"),
        ({}, "token = secret\nclient_id = a\nclient_secret = b\n", r"oauth .* and pat"),
        (TOKEN, "token = secret\n", None),
        (ID | SECRET | {"DATABRICKS_TOKEN": ""}, "", None),
        (TOKEN | ID | SECRET | {"DATABRICKS_AUTH_TYPE": "pat"}, "", None),
        (TOKEN, "client_id = a\nclient_secret = b\nauth_type = pat\n", None),
    ],
)
def test_two_ways_to_sign_in_at_once_are_named(
    bare: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], profile: str, ways: str | None
) -> None:
    """Databricks' client refuses them too, but only after the workspace has answered, or after minutes."""
    for name, value in (HOST | given).items():
        monkeypatch.setenv(name, value)
    bare.write_text(f"[prod]\nhost = https://x\n{profile}", encoding="utf-8")
    uri = "databricks://prod" if profile else "databricks"
    if ways is None:
        credentials.require_credentials(uri)
        return
    with pytest.raises(ConfigError, match=f"more than one way to sign in to Databricks: {ways}") as refused:
        credentials.require_credentials(uri)
    assert "= secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "error", "words"),
    [
        ("http://127.0.0.1:{port}", TransientError, "does not answer"),
        ("127.0.0.1:{port}", TransientError, "at https://127.0.0.1:.* does not answer"),
        ("https://nowhere.invalid", TransientError, "does not answer"),
        ("http://[x", ConfigError, "is no address of a workspace"),
        ("what ever", ConfigError, "is no address of a workspace"),
        ("ftp://x", ConfigError, "is no address of a workspace"),
    ],
)
@pytest.mark.usefixtures("bare")
def test_a_workspace_that_does_not_answer_is_named_at_once(
    monkeypatch: pytest.MonkeyPatch, host: str, error: type[Exception], words: str
) -> None:
    """MLflow asks it for five minutes a call."""
    tracking._client.cache_clear()  # another test of this process may have met a workspace by the same names
    for name, value in {"DATABRICKS_HOST": host.format(port=free_port()), **TOKEN}.items():
        monkeypatch.setenv(name, value)
    for uri, registry in (("databricks", ""), ("sqlite:////nowhere/at/all.db", "databricks-uc")):
        with pytest.raises(error, match=words):
            tracking.client(uri, registry)
    with pytest.raises(error, match=words):
        client.client()
