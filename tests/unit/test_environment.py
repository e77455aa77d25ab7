"""Whatever stands in the environment or lies in the working directory: our server is asked, and no proxy for it.

Promise: No proxy is asked for this machine; files and settings of another project or server reach no command (also
`tests/unit/test_start.py`).
"""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from cli import environment
from lifecycle.core.errors import ConfigError
from tests.conftest import ROOT, exhaustive

CLOSED = "127.0.0.1:9"

PROXIES: dict[str, dict[str, str]] = {
    "http": {"HTTP_PROXY": f"http://{CLOSED}", "HTTPS_PROXY": f"http://{CLOSED}"},
    "lower case": {"http_proxy": f"http://{CLOSED}", "https_proxy": f"http://{CLOSED}"},
    "all": {"ALL_PROXY": f"http://{CLOSED}"},
    "socks5": {"ALL_PROXY": f"socks5://{CLOSED}"},
    "socks5h, lower case": {"all_proxy": f"socks5h://{CLOSED}"},
    "socks4 for http": {"http_proxy": f"socks4://{CLOSED}"},
    "no scheme": {"HTTP_PROXY": CLOSED},
    "no port": {"HTTP_PROXY": "http://127.0.0.1:"},
    "no number": {"HTTP_PROXY": "http://proxy:port"},
    "another scheme": {"ALL_PROXY": "ftp://proxy.example"},
    "nonsense": {"http_proxy": "::::", "HTTPS_PROXY": "http://[::1"},
    "with a login": {"HTTP_PROXY": f"http://me:p@ss@{CLOSED}"},
    "the user's exceptions": {"HTTP_PROXY": f"http://{CLOSED}", "NO_PROXY": "example.org, .corp"},
    "exceptions in both spellings": {"HTTP_PROXY": f"http://{CLOSED}", "NO_PROXY": "a.org", "no_proxy": "b.org"},
    "an exception that httpx cannot read": {"HTTP_PROXY": f"http://{CLOSED}", "NO_PROXY": "[::1],10.0.0.0/8"},
    "every host": {"HTTP_PROXY": f"http://{CLOSED}", "NO_PROXY": "*"},
    "an empty one": {"HTTP_PROXY": "", "ALL_PROXY": f"socks5://{CLOSED}", "NO_PROXY": ""},
}

ASK = """
import json, os, sys, urllib.request
from cli import environment
api, cases = sys.argv[1], json.load(sys.stdin)
os.environ.update(PREFECT_API_URL=api, PREFECT_HOME=os.getcwd(), PREFECT_PROFILES_PATH=os.devnull)
environment.import_prefect(os.getcwd())
import httpx, requests
from prefect.client.orchestration import get_client
from websockets.proxy import get_proxy
from websockets.uri import parse_uri
found, names = {}, [name for name in os.environ if name.lower().endswith("_proxy")]
for case, variables in cases.items():
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    os.environ.update(variables)
    environment.spare_loopback()
    answers = found[case] = {}
    for host in ("127.0.0.1", "localhost"):
        url = api.replace("127.0.0.1", host) + "/health"
        for client, ask in {
            "urllib": lambda: urllib.request.urlopen(url).status,
            "requests": lambda: requests.get(url).status_code,
            "httpx": lambda: httpx.Client(base_url=url).get("").status_code,
            "prefect": lambda: get_client(sync_client=True).api_healthcheck() or 200,
            "websockets": lambda: 200 if get_proxy(parse_uri(url.replace("http", "ws"))) is None else "proxy",
        }.items():
            try:
                answers[f"{client} {host}"] = ask()
            except Exception as error:
                answers[f"{client} {host}"] = repr(error)
    answers["kept"] = os.environ["NO_PROXY"], os.environ["no_proxy"]
print(json.dumps(found))
"""


class _Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def healthy() -> Iterator[str]:
    """The address of an API on loopback that answers."""
    with HTTPServer(("127.0.0.1", 0), _Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()


def plain() -> dict[str, str]:
    """The environment of the tests without what this module is about."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_") and not k.lower().endswith("_proxy")}
    return {**kept, "PYTHONPATH": str(ROOT), "DO_NOT_TRACK": "1"}


def test_no_client_asks_a_proxy_for_this_machine(healthy: str, tmp_path: Path) -> None:
    """The clients of Prefect, MLflow and ours, all in one process."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, healthy],
        input=json.dumps(PROXIES),
        env=plain(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    kept = {case: answers.pop("kept") for case, answers in found.items()}
    wrong = {case: [f"{who}: {got}" for who, got in answers.items() if got != 200] for case, answers in found.items()}
    assert {case: problems for case, problems in wrong.items() if problems} == {}
    ours = "127.0.0.1,localhost,::1"
    assert kept["http"] == [ours, ours]
    assert kept["the user's exceptions"] == [f"example.org,.corp,{ours}"] * 2
    assert kept["exceptions in both spellings"] == [f"a.org,{ours}", f"b.org,{ours}"]
    assert kept["every host"][0] == "*"


ASK_ELSEWHERE = """
import os, sys
from cli import environment
os.environ.update(PREFECT_API_URL=sys.argv[1], PREFECT_HOME=os.getcwd(), PREFECT_PROFILES_PATH=os.devnull)
environment.import_prefect(os.getcwd())
import httpx
print(httpx.Client(base_url="http://workspace.invalid").get("/").status_code)
"""


def test_a_server_elsewhere_is_asked_by_the_proxy_as_the_user_wants(healthy: str, tmp_path: Path) -> None:
    """Databricks behind a company's proxy, from a command whose own Prefect server is here."""
    command = [sys.executable, "-c", ASK_ELSEWHERE, healthy]
    proxy = {"HTTP_PROXY": healthy.removesuffix("/api")}
    done = subprocess.run(command, env=plain() | proxy, cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("200\n", 0), done.stderr


FILES: dict[str, dict[str, str]] = {
    "none": {},
    ".env of another project": {".env": "database=abc123\nserver=mail.example.org\nhome=x\napi=y\n"},
    ".env with an address": {".env": f"PREFECT_API_URL=http://{CLOSED}/api\nPREFECT_LOGGING_LEVEL=nonsense\n"},
    ".env that is binary": {".env": "\x00\x01"},
    "prefect.toml": {"prefect.toml": f'[api]\nurl = "http://{CLOSED}/api"\nkey = "k"\n[server.api]\nport = "many"\n'},
    "prefect.toml that is none": {"prefect.toml": "[[[["},
    "pyproject.toml": {"pyproject.toml": f'[tool.prefect.api]\nurl = "http://{CLOSED}/api"\nrequest_timeout = "x"\n'},
    "pyproject.toml that is none": {"pyproject.toml": "= ="},
    "profiles of its own": {"prefect.toml": 'profiles_path = "nowhere.toml"\n', ".env": "PREFECT_PROFILES_PATH=x\n"},
    "a logging.yml": {"logging.yml": "nonsense: [", ".env": "PREFECT_LOGGING_SETTINGS_PATH=logging.yml\n"},
}

VARIABLES: dict[str, tuple[dict[str, str], str]] = {
    "a level that is none": ({"PREFECT_LOGGING_LEVEL": "nonsense"}, "PREFECT_LOGGING_LEVEL is 'NONSENSE'"),
    "a number that is none": ({"PREFECT_CLIENT_MAX_RETRIES": "many"}, "PREFECT_CLIENT_MAX_RETRIES is 'many'"),
    "a truth that is none": ({"PREFECT_RESULTS_PERSIST_BY_DEFAULT": "perhaps"}, "PREFECT_RESULTS_PERSIST_BY_DEFAULT"),
    "a negative number": ({"PREFECT_CLIENT_MAX_RETRIES": "-3"}, "PREFECT_CLIENT_MAX_RETRIES is '-3'"),
    "a start that must be quick": ({"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "1"}, ""),
    "one that nobody knows": ({"PREFECT_NO_SUCH_SETTING": "1"}, ""),
    "a login of another server": ({"PREFECT_API_AUTH_STRING": "a:b", "PREFECT_SERVER_API_AUTH_STRING": "c:d"}, ""),
    "a key of the cloud": ({"PREFECT_API_KEY": "pnu_123", "PREFECT_CLOUD_API_URL": "not an address"}, ""),
    "a certificate that is not there": ({"PREFECT_API_SSL_CERT_FILE": "/nowhere.pem"}, ""),
    "certificates of the system's that are not there": ({"SSL_CERT_FILE": "/nowhere.pem", "SSL_CERT_DIR": "/no"}, ""),
    "empty ones": (
        {"PREFECT_API_URL": "", "PREFECT_HOME": "", "PREFECT_PROFILE": " ", "PREFECT_LOGGING_LEVEL": ""},
        "",
    ),
    "headers": ({"PREFECT_CLIENT_CUSTOM_HEADERS": "no json"}, ""),
    "a folder of its own": ({"PREFECT_HOME": "elsewhere"}, ""),
}

IMPORT = """
import json, os, sys
from pathlib import Path
import httpx, pydantic_settings, fastapi  # what costs most of the time, once
from cli import environment
from lifecycle.core.errors import MlopsError
api, cases = sys.argv[1], json.load(sys.stdin)
for case, (variables, files) in cases.items():
    read, write = os.pipe()
    if not os.fork():
        os.mkdir(case), os.chdir(case)
        for name, content in files.items():
            Path(name).write_text(content)
        os.environ.update(variables)
        try:
            asked = environment.chosen_server()
            folder = environment.history_folder(Path("state"))
            folder.mkdir(parents=True)
            environment.use_server(asked or api, folder, own=not asked)
            environment.import_prefect(folder)
            from prefect.client.orchestration import get_client
            from prefect.settings import get_current_settings
            with get_client(sync_client=True) as client:
                problem = client.api_healthcheck()
            settings = get_current_settings()
            told = [str(settings.api.url), str(settings.home), repr(problem)]
        except MlopsError as error:
            told = str(error)
        os.write(write, json.dumps(told).encode())
        os._exit(0)
    os.close(write)
    os.wait()
    sys.stdout.write(json.dumps([case, os.read(read, 10000).decode()]) + "\\n")
"""


CASES = {name: ({}, files) for name, files in FILES.items()} | {name: (v, {}) for name, (v, _) in VARIABLES.items()}


@pytest.mark.parametrize("part", [0, pytest.param(1, marks=exhaustive), pytest.param(2, marks=exhaustive)])
def test_neither_files_of_another_project_nor_odd_variables_reach_our_server(
    healthy: str, tmp_path: Path, part: int
) -> None:
    """Each case imports Prefect anew, so a third of them each time."""
    cases = dict(list(CASES.items())[part::3])
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, healthy],
        input=json.dumps(cases),
        env=plain(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "WARNING" not in done.stderr
    found = dict(json.loads(line) for line in done.stdout.splitlines())
    assert found.keys() == cases.keys()
    for name, said in found.items():
        expected = VARIABLES.get(name, ({}, ""))[1]
        told = json.loads(said)
        if expected:
            assert expected in told, (name, said)
        else:
            folder = tmp_path / name / ("elsewhere" if name == "a folder of its own" else "state/prefect")
            assert told == [healthy, str(folder), "None"], (name, said)


PROFILES = f"""
active = "mine"
[profiles.mine]
PREFECT_API_KEY = "from the profile"
[profiles.team]
PREFECT_API_URL = "http://{CLOSED}/api"
PREFECT_API_KEY = "of the team"
[profiles.quiet]
PREFECT_LOGGING_LEVEL = "ERROR"
"""

CHOICES: dict[str, tuple[dict[str, str], str, dict[str, str]]] = {
    "nothing": ({}, "", {"PREFECT_API_KEY": ""}),
    "an address": ({"PREFECT_API_URL": "http://a/api"}, "http://a/api", {"PREFECT_API_KEY": "from the profile"}),
    "blanks around it": ({"PREFECT_API_URL": " http://a/api "}, "http://a/api", {}),
    "an empty address": ({"PREFECT_API_URL": ""}, "", {}),
    "an empty profile": ({"PREFECT_PROFILE": ""}, "", {"PREFECT_API_KEY": ""}),
    "a profile with an address": (
        {"PREFECT_PROFILE": "team"},
        f"http://{CLOSED}/api",
        {"PREFECT_API_KEY": "of the team"},
    ),
    "a profile without one": ({"PREFECT_PROFILE": "quiet"}, "", {"PREFECT_LOGGING_LEVEL": "ERROR"}),
    "a profile of Prefect's": ({"PREFECT_PROFILE": "local"}, "http://127.0.0.1:4200/api", {}),
    "a profile and an address": ({"PREFECT_PROFILE": "team", "PREFECT_API_URL": "https://b"}, "https://b", {}),
    "what stands in the environment": (
        {"PREFECT_PROFILE": "team", "PREFECT_API_KEY": "own"},
        f"http://{CLOSED}/api",
        {"PREFECT_API_KEY": "own"},
    ),
    "a folder alone": ({"PREFECT_HOME": "{home}"}, "", {}),
}


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    for name in ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_LOGGING_LEVEL", "PREFECT_PROFILE", "PREFECT_HOME"):
        monkeypatch.setenv(name, "")  # what is set by the code under test goes with the test
    (tmp_path / "profiles.toml").write_text(PROFILES)
    monkeypatch.setenv("PREFECT_PROFILES_PATH", str(tmp_path / "profiles.toml"))
    return tmp_path / "profiles.toml"


@pytest.mark.parametrize(("variables", "address", "then"), CHOICES.values(), ids=CHOICES)
def test_which_server_the_environment_names(
    profiles: Path, variables: dict[str, str], address: str, then: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(home=profiles.parent))
    assert environment.chosen_server() == address
    assert {name: os.environ.get(name, "") for name in then} == then


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"PREFECT_PROFILE": "nobody"}, "There is no profile 'nobody'"),
        ({"PREFECT_PROFILE": "nobody", "PREFECT_API_URL": "http://a/api"}, "There is no profile 'nobody'"),
        ({"PREFECT_API_URL": "127.0.0.1:4200"}, "is no address of a Prefect server"),
        ({"PREFECT_API_URL": "http://"}, "is no address of a Prefect server"),
        ({"PREFECT_API_URL": "ftp://a/api"}, "is no address of a Prefect server"),
        ({"PREFECT_API_URL": "http://[::1/api"}, "is no address of a Prefect server"),
    ],
)
@pytest.mark.usefixtures("profiles")
def test_what_names_no_server_is_said_in_one_line(
    variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="unset PREFECT_") as raised:
        environment.chosen_server()
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_profiles_that_cannot_be_read_are_named(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profiles.write_text("[[[")
    assert environment.chosen_server() == ""  # nobody asked for one
    monkeypatch.setenv("PREFECT_PROFILE", "team")
    with pytest.raises(ConfigError, match=str(profiles)):
        environment.chosen_server()


def test_the_environment_is_as_before_once_a_server_was_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_API_KEY", "secret")
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "sqlite://")
    monkeypatch.setenv("PREFECT_HOME", "mine")
    before = dict(os.environ)
    with environment.server_in_use("http://127.0.0.1:1/api", tmp_path, own=True, also={"MLOPS_MLFLOW_UI": "x"}):
        seen = dict(os.environ)
    assert dict(os.environ) == before
    assert (seen["PREFECT_API_URL"], seen["PREFECT_HOME"]) == ("http://127.0.0.1:1/api", str(tmp_path))
    assert (seen["MLOPS_MLFLOW_UI"], "PREFECT_API_KEY" in seen) == ("x", False)
    assert seen["PREFECT_API_DATABASE_CONNECTION_URL"] == "sqlite://"


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("http://127.0.0.1:4200/api", True),
        ("http://localhost/api", True),
        ("http://[::1]:4200/api", True),
        ("http://127.8.8.8/api", True),
        ("https://api.prefect.cloud/api", False),
        ("http://10.0.0.1/api", False),
        ("http://localhost.example.org", False),
        ("", False),
    ],
)
def test_what_is_this_machine(address: str, here: bool) -> None:
    assert environment.is_loopback(address) is here


def test_the_port_that_is_closed_is_closed() -> None:
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", 9)) != 0
