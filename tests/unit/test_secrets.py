"""A secret in an address goes no further than the process that was given it; what libraries say is masked.

Promise: No password, signature or token is in state, logs, databases, links or output (also
`tests/flows/test_secret_sources.py`).
"""

import json
import logging
import os
import pickle
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn
from uuid import UUID

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prefect.utilities.callables import parameter_schema

from cli.operations import deployments, runs
from flows.batch_inference import batch_inference
from flows.create_data import create_data
from flows.release import release
from lifecycle import settings
from lifecycle.core import guard, masking, parameters, secrets
from lifecycle.core.errors import ConfigError, DataError, TransientError
from lifecycle.core.masking import masked
from lifecycle.data.source import Source
from tasks import databricks
from tasks.links import page_of


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test as in a process of its own."""
    for held in ("_given", "_servers"):
        monkeypatch.setattr(secrets, held, {})
    monkeypatch.setattr(masking, "_known", set())
    for name in (secrets.USERNAME, secrets.PASSWORD):
        monkeypatch.delenv(name, raising=False)


SECRET = {
    "http://joe:CANARYpass@host:8080/news.csv?sig=CANARYsig": "http://host:8080/news.csv",
    "https://CANARYtoken@host/news.csv": "https://host/news.csv",
    "https://host/news.csv?CANARY": "https://host/news.csv",
    "https://host/news.csv#CANARYfragment": "https://host/news.csv",
    "HTTPS://joe:CANARY@host/news.csv": "HTTPS://host/news.csv",
    "s3://key:CANARY@bucket/a/b.csv?X-Amz-Signature=CANARY2#CANARY3": "s3://bucket/a/b.csv",
    "abfss://box@account.dfs.core.windows.net/b.csv?sv=1&sig=CANARY": "abfss://box@account.dfs.core.windows.net/b.csv",
    "sftp://joe:CANARY@host/b.csv": "sftp://host/b.csv",
    "http://joe:CANARY/with/signs@host/b.csv": "http://host/b.csv",
    "http://joe:CANARY#with?signs@host/b.csv": "http://host/b.csv",
    "http://joe:CANARY@sign@host/b.csv": "http://host/b.csv",
    "http://joe:CANARY@[::1]:80/b.csv?CANARY2": "http://[::1]:80/b.csv",
    "zip://*.csv::https://joe:CANARY@host/b.zip?sig=CANARY2": "zip://*.csv::https://host/b.zip",
    "simplecache::s3://key:CANARY@bucket/b.csv": "simplecache::s3://bucket/b.csv",
    "https://host/b.csv?sv=2024&sig=${MLOPS_SECRET_SIG}": "https://host/b.csv",
    "file:///data/b.csv?sig=CANARY": "file:///data/b.csv",
}
"""Addresses with a secret, and what is public of them."""

OPEN = (
    "news.csv",
    "/data/who@home?.csv#1",
    "C:/data/a::b.csv",
    "catalog.schema.table@v12",
    "s3://bucket/@home/a.csv@v3",
    "https://host:8080/news-{logical_date}.csv",
    "https://host/news.csv?day={logical_date}",
    "abfss://box@account.dfs.core.windows.net/b.csv",
    "sftp://joe@host/b.csv",
    "${MLOPS_SECRET_NEWS}",
    "https://${MLOPS_SECRET_USER}:${MLOPS_SECRET_WORD}@host/b.csv?sv=${MLOPS_SECRET_A}&sig=${MLOPS_SECRET_B}",
    "file:///data/b.csv",
    "a:::::b",
)
"""Addresses in which nothing is secret, or is a reference already."""

RUN = UUID("7a3e6ad0-5d51-4a63-8f3c-6a8f1ed4d8a5")
FORM = re.compile(secrets.SEALED)


@pytest.mark.parametrize("uri", SECRET)
def test_a_secret_travels_as_a_reference_and_opens_the_table_here(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLOPS_SECRET_SIG", "CANARYofVariable")
    source = Source(uri=uri)
    for shown in (source.model_dump_json(), repr(source), source.uri, source.public_uri, source.name):
        assert "CANARY" not in shown
    assert source.public_uri == SECRET[uri]
    assert Source.model_validate_json(source.model_dump_json()) == source == Source(uri=uri)
    opened = secrets.revealed(source.uri)
    assert "CANARY" in opened
    if "signs" not in uri and "${" not in uri and "@sign" not in uri:
        assert opened == uri
    assert "CANARY" not in masked(f"it says: {opened}, {uri}")
    assert "CANARY" not in str(DataError(f"{opened} is broken"))


@pytest.mark.parametrize("uri", SECRET)
def test_a_form_takes_a_secret_by_reference_only(uri: str) -> None:
    assert not FORM.search(uri)
    assert FORM.search(secrets.sealed(uri))
    with pytest.raises(ConfigError, match="source would be stored with a secret") as refused:
        parameters.require_sealed({"source": uri})
    assert "CANARY" not in str(refused.value)


@pytest.mark.parametrize("uri", OPEN)
def test_what_is_no_secret_stays_as_it_is(uri: str) -> None:
    assert secrets.sealed(uri) == Source(uri=uri).uri == uri
    assert FORM.search(uri)
    parameters.require_sealed({"source": uri, "input": uri, "reason": "https://joe:word@host/?why"})


part = st.text(st.sampled_from("aZ9-._~%:/?#@&=[]{}$ é\n'"), max_size=12)
word = st.from_regex(r"CANARY[a-z0-9]{4}", fullmatch=True)


@given(
    st.sampled_from(("http", "https", "s3", "ftp", "abfss")),
    part,
    word,
    part,
    st.sampled_from(("user", "query", "end")),
)
@example("http", "::", "CANARY0000", "", "query")
@example("http", "::/x", "CANARY0000", "::y", "end")
def test_no_part_of_an_address_lets_a_secret_through(scheme: str, odd: str, word: str, more: str, where: str) -> None:
    """Whatever stands around it: sealing twice is sealing once, and what is sealed has the form."""
    uri = {
        "user": f"{scheme}://joe:{word}@host/{more}",
        "query": f"{scheme}://host/{odd.replace('?', '')}?{word}{more}",
        "end": f"{scheme}://host/{odd.replace('#', '')}#{word}{more}",
    }[where]
    found = secrets.sealed(uri)
    assert word not in found
    assert secrets.sealed(found) == found
    assert FORM.fullmatch(found)


def test_two_secrets_of_one_process_are_not_confused() -> None:
    """The same table under a renewed signature is another address and the same public one."""
    first, second = (Source(uri=f"https://host/a.csv?sig=CANARY{n}") for n in "12")
    assert first.uri != second.uri
    assert first.public_uri == second.public_uri
    assert [secrets.revealed(each.uri)[-7:] for each in (first, second)] == ["CANARY1", "CANARY2"]


def test_a_reference_is_followed_late_and_named_where_it_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(uri="${MLOPS_SECRET_NEWS}")
    with pytest.raises(ConfigError, match="MLOPS_SECRET_NEWS, which is not set"):
        _ = source.kind
    monkeypatch.setenv("MLOPS_SECRET_NEWS", "https://joe:CANARY@host/news.jsonl?sig=CANARY")
    assert (source.kind, source.name, source.public_uri) == ("jsonl", "news.jsonl", "https://host/news.jsonl")
    assert "CANARY" not in source.model_dump_json()
    settings.load("dev")  # the variable is no setting, and no mistake


@pytest.mark.parametrize("name", ["DATABRICKS_TOKEN", "HOME", "AWS_SECRET_ACCESS_KEY"])
def test_no_other_variable_can_be_asked_for(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Who may start a run must not send the secrets of a worker to a server of theirs."""
    monkeypatch.setenv(name, "CANARY")
    assert "CANARY" not in secrets.revealed(secrets.sealed(f"https://host/${{{name}}}/a.csv?x=${{{name}}}"))


SERVERS = {
    "http://joe:CANARYpass@host:5000": "http://host:5000",
    "https://joe:CANARY%23pass@host/mlflow": "https://host/mlflow",
    "https://CANARYtoken@host": "https://host",
    "postgresql://joe:CANARYpass@host/db": "postgresql://host/db",
    "postgresql+psycopg2://host/db?user=joe&password=CANARYpass": "postgresql+psycopg2://host/db",
    "mysql+pymysql://joe:CANARYpass@host:3306/db?charset=utf8": "mysql+pymysql://host:3306/db",
    "mssql+pyodbc://joe:CANARY/pass@host/db": "mssql+pyodbc://host/db",
    "postgresql://joe:${MLOPS_SECRET_WORD}@host/db": "postgresql://host/db",
}


@pytest.mark.parametrize("variable", ["MLOPS_TRACKING_URI", "MLOPS_REGISTRY_URI"])
@pytest.mark.parametrize("uri", SERVERS)
def test_settings_hold_the_public_address_of_a_server(monkeypatch: pytest.MonkeyPatch, variable: str, uri: str) -> None:
    monkeypatch.setenv("MLOPS_SECRET_WORD", "CANARYpass")
    monkeypatch.setenv(variable, uri)
    config, key = settings.load("dev"), variable.removeprefix("MLOPS_").lower()
    assert getattr(config, key) == SERVERS[uri]
    assert "CANARY" not in config.model_dump_json() + repr(config) + str(settings.origins("dev"))
    full = secrets.revealed(uri)
    if uri.startswith("http") and "joe" in uri:
        assert (os.environ[secrets.USERNAME], secrets.reachable(SERVERS[uri])) == ("joe", SERVERS[uri])
        assert os.environ[secrets.PASSWORD] == full.partition("joe:")[2].partition("@")[0].replace("%23", "#")
    else:
        assert secrets.reachable(SERVERS[uri]) == full
        monkeypatch.setattr(secrets, "_servers", {})  # as in a job, which loads no settings
        assert secrets.reachable(SERVERS[uri]) == full
    assert "CANARY" not in masked(f"cannot connect to {full}: password CANARYpass is wrong")


@pytest.mark.parametrize(
    "uri", ["sqlite:////srv/a?b#c/x@y:z/mlflow.db", "databricks-uc://prod", "databricks", "http://host", "file:///a?b"]
)
def test_an_address_without_credentials_is_its_own_public_one(uri: str) -> None:
    assert secrets.server(uri) == secrets.reachable(uri) == uri


def test_two_servers_with_credentials_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's variables hold one pair; the other server is reached by its full address."""
    monkeypatch.setenv(secrets.USERNAME, "joe")
    monkeypatch.setenv(secrets.PASSWORD, "first-word")
    assert secrets.server("http://joe:first-word@one") == secrets.reachable("http://one") == "http://one"
    assert secrets.server("http://ann:second-word@two") == "http://two"
    assert secrets.reachable("http://two") == "http://ann:second-word@two"
    assert os.environ[secrets.PASSWORD] == "first-word"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABRICKS_TOKEN", "dapiCANARY"),
        ("DATABRICKS_CLIENT_SECRET", "CANARYsecret"),
        ("AWS_SECRET_ACCESS_KEY", "CANARY/+key"),
        ("AWS_SESSION_TOKEN", "CANARYsession=="),
        ("AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=CANARY"),
        ("PREFECT_API_AUTH_STRING", "joe:CANARYauth"),
        ("PREFECT_API_KEY", "pnu_CANARY"),
        ("MLFLOW_TRACKING_PASSWORD", "CANARY pass"),
        ("MLOPS_ALERTS_URL", "https://hooks.example/services/CANARY"),
        ("SLACK_WEBHOOK_URL", "https://hooks.example/CANARY"),
        ("DATABASE_URL", "postgresql://joe:CANARYpass@host/db"),
        ("HTTPS_PROXY", "http://joe:CANARYpass@proxy:3128"),
        ("GITHUB_TOKEN", "ghp_CANARY"),
        ("MLOPS_SECRET_NEWS", "CANARYnews"),
    ],
)
def test_the_secrets_of_the_environment_are_masked(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    bare = value.rpartition("joe:")[2].partition("@")[0]
    for text in (f"refused: {value}", f"word {bare}!", f"{{'a': {value!r}}}", repr([bare])):
        assert "CANARY" not in masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "data/news.csv, row 3, column 'text': a passed password is missing (data.max_cell_bytes)",
        "See https://docs.example/page?o=123#job/1/run/2 or http://127.0.0.1:4200/api",
        "abfss://container@account.net/b.csv does not exist.",
        "MLOPS_ALERTS must be type/name; 2026-11-28 12:00:01",
        "true false none default token secret key",
    ],
)
def test_everything_else_is_left_alone(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    for name, value in {
        "USE_TOKEN": "true",
        "AUTH_TYPE": "passed-along",
        "SSH_AUTH_SOCK": "data/news.csv",
        "A_TOKEN": "",
        "KEY_FILE": "account.net",
        "PWD": "/api",
        "B_PASS": "pass",
        "C_SECRET": "12",
    }.items():
        monkeypatch.setenv(name, value)
    secrets.sealed("https://host/x?day=2026-11-28&n=123&type=csv")
    assert masked(text) == text


@pytest.fixture
def guarded() -> Iterator[None]:
    """A process that masks its log, and one that does not afterwards."""
    before, hook = logging.getLogRecordFactory(), sys.excepthook
    masking.guard()
    masking.guard()
    yield
    logging.setLogRecordFactory(before)
    sys.excepthook = hook


@pytest.mark.usefixtures("guarded")
def test_no_log_record_and_no_traceback_holds_a_secret(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    masking.know("CANARYword")
    logger = logging.getLogger("somebody.elses")
    try:
        raise OSError(5, "CANARYword", "http://joe:CANARYpass@host/")
    except OSError as error:
        logger.exception("It failed: %s %d", error, 1)
        sys.excepthook(type(error), error, error.__traceback__)
    shown = caplog.text + capsys.readouterr().err
    assert "It failed: [Errno 5] ***" in shown
    assert shown.count("Traceback") == 2
    assert "CANARY" not in shown


def fail(error: Exception) -> NoReturn:
    raise error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionResetError("http://joe:CANARY@host reset"), ConnectionError),
        (TimeoutError("CANARYword"), TimeoutError),
        (OSError(2, "no", "/CANARYword"), OSError),
        (KeyError("CANARYword"), RuntimeError),
        (ValueError("CANARYword"), ValueError),
        (ValueError("fine"), ValueError),
    ],
)
def test_an_error_of_a_step_keeps_its_kind_and_loses_its_secrets(error: Exception, kind: type[Exception]) -> None:
    masking.know("CANARYword")
    with pytest.raises(kind) as raised:
        masking.shielded(fail)(error)
    assert "CANARY" not in repr(raised.value) + str(raised.value)
    assert b"CANARY" not in pickle.dumps(raised.value)


def test_an_error_of_ours_stays_itself_without_what_it_was_made_of() -> None:
    def fetch() -> None:
        try:
            fail(OSError("http://joe:CANARY@host is down"))
        except OSError as error:
            raise TransientError(f"Nobody answers: {error}", "Try again.") from error

    with pytest.raises(TransientError, match="Nobody answers: http://\\*\\*\\*@host") as raised:
        masking.shielded(fetch)()
    assert "CANARY" not in masking._told(raised.value)


def test_a_wrong_setting_is_named_without_the_secret_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_ALERTS", "https://hooks.example/services/CANARY")
    with pytest.raises(ConfigError, match="alerts=") as refused:
        settings.load("dev")
    assert "CANARY" not in str(refused.value)


@pytest.mark.parametrize(
    ("flow", "names"),
    [(create_data, ("source",)), (release, ("source",)), (batch_inference, ("input", "table", "output"))],
)
def test_the_form_of_a_flow_refuses_a_literal_secret(flow: object, names: tuple[str, ...]) -> None:
    """So a server does, before it stores a run that was started in the UI or past this command."""
    form = parameter_schema(flow.fn).model_dump()["properties"]  # type: ignore[attr-defined]
    for name in names:
        for uri in SECRET:
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(uri, form[name])
        for uri in OPEN:
            jsonschema.validate(uri, form[name])


@pytest.mark.parametrize(
    "entry",
    [
        {"parameters": {"source": "https://joe:CANARY@host/a.csv"}},
        {"parameters": {"input": "https://host/a.csv?sig=CANARY"}},
        {"schedules": [{"cron": "0 0 * * *", "parameters": {"input": "https://host/a.csv?CANARY"}}]},
        {"work_pool": {"name": "p", "job_variables": {"env": {"MLOPS_SECRET_NEWS": "CANARY"}}}},
        {"work_pool": {"name": "p", "job_variables": {"env": {"MLOPS_SECRET_NEWS": "{{ $MLOPS_SECRET_NEWS }}"}}}},
    ],
)
def test_a_deployment_with_a_literal_secret_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: dict[str, object]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prefect.yaml").write_text(json.dumps({"deployments": [{"name": "dev", **entry}]}))
    with pytest.raises(ConfigError, match="stored with") as refused:
        deployments.deploy([])
    assert "CANARY" not in str(refused.value)


def test_no_job_is_sent_a_secret_that_was_given_here(monkeypatch: pytest.MonkeyPatch) -> None:
    given_here = Source(uri="https://joe:CANARY@host/a.csv?sig=CANARY")
    with pytest.raises(ConfigError, match="MLOPS_SECRET_QUERY, MLOPS_SECRET_USER"):
        databricks._require_shared(given_here.model_dump_json(), "create-data")
    monkeypatch.setenv("MLOPS_SECRET_NEWS", "CANARY")
    databricks._require_shared(Source(uri="https://host/a.csv?${MLOPS_SECRET_NEWS}").model_dump_json(), "create-data")


def test_no_run_is_started_with_a_literal_secret() -> None:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

    schema = {"properties": {"input": {"type": "string"}}}  # of a deployment that was made by an earlier release
    deployment = DeploymentResponse.model_construct(parameter_openapi_schema=schema)
    nobody = SyncPrefectClient("http://127.0.0.1:9/api")
    with pytest.raises(ConfigError, match="input would be stored with a secret") as refused:
        runs.start(nobody, deployment, {"input": "https://joe:CANARY@host/a.csv"})
    assert "CANARY" not in str(refused.value)
    assert "'https://${MLOPS_SECRET_USER}@host/a.csv'" in str(refused.value)


def test_the_page_of_a_run_is_linked_without_the_credentials_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings

    for setting in ({PREFECT_API_URL: "https://joe:CANARY@host/api"}, {PREFECT_UI_URL: "https://joe:CANARY@host"}):
        with temporary_settings(setting):
            assert page_of(RUN) == f"https://host/runs/flow-run/{RUN}"
    monkeypatch.setenv(guard.FLEETING, "1")  # nobody can follow a link to a server that ends with its command
    assert page_of(RUN) == ""
