"""A table behind a password and a signature is read, and neither is found in anything that a command leaves."""

import base64
import sqlite3
import threading
import traceback
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from lifecycle import settings
from lifecycle.core.errors import MlopsError
from lifecycle.data import dataset, ingest
from lifecycle.data.source import Source
from lifecycle.settings import Settings
from lifecycle.settings.rules import DataRules
from tests.conftest import train_model, tree, write_news
from tests.flows.test_own_server import start

WORD, SIGNATURES = "CANARYpass", {"CANARYsig", "CANARYrenewed"}


class Storage(BaseHTTPRequestHandler):
    """Gives a table to the user with the password and a signature; tells anybody else what they sent."""

    content: bytes

    def do_GET(self) -> None:
        wanted = f"Basic {base64.b64encode(f'joe:{WORD}'.encode()).decode()}"
        signed = SIGNATURES & {*parse_qs(urlsplit(self.path).query).get("sig", [])}
        status = {"/busy.csv": 503, "/lost.csv": 404}.get(urlsplit(self.path).path, 200)
        if self.headers.get("Authorization") != wanted or not signed:
            status = 403
        body = self.content if status == 200 else f"{self.path} {self.headers}".encode()
        self.send_response(status, f"Answer to {self.path}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *arguments: object) -> None:
        """Tell nobody."""


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[str]:
    """The address of a storage with one table, for a user with a password."""
    Storage.content = write_news(tmp_path / "rows.csv", 60).read_bytes()
    with ThreadingHTTPServer(("127.0.0.1", 0), Storage) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://joe:{WORD}@127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def run(home: Path, *arguments: str) -> tuple[int, str]:
    command = start(home, *arguments)
    output, errors = command.communicate(timeout=280)
    return command.returncode, output + errors


def left(home: Path) -> list[str]:
    """The files below a state directory in which a canary is, databases read row by row too."""
    found = [name for name, content in tree(home).items() if b"CANARY" in content]
    for path in home.rglob("*.db"):
        with closing(sqlite3.connect(path)) as connection:
            found += [f"{path.name}: {line[:200]}" for line in connection.iterdump() if "CANARY" in line]
    return found


def test_a_signed_source_leaves_no_secret_and_is_the_same_input_when_signed_anew(
    news: Settings, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_DATA__ALLOWED_SCHEMES", '["file", "http"]')
    for name in ("DATABRICKS_TOKEN", "AWS_SECRET_ACCESS_KEY", "MLOPS_ALERTS_URL", "MLOPS_SECRET_UNUSED"):
        monkeypatch.setenv(name, f"CANARY{name}")
    model, home = train_model(news), news.state
    create = ("data", "create", "--data-name", "signed", "--data-version", "1.0.0", "--source")
    infer = ("infer", "--model-name", "sentiment", "--env", "dev", "--run-id", model.run_id, "--verbose", "--input")
    monkeypatch.setenv("MLOPS_SECRET_SIG", "CANARYrenewed")
    for command, signature in ((create, "CANARYsig"), (infer, "CANARYsig")):
        status, output = run(home, *command, f"{storage}/rows.csv?sig={signature}")
        assert status == 0, output
        assert "CANARY" not in output
    renewed = Source(uri=f"{storage}/rows.csv?sig=${{MLOPS_SECRET_SIG}}")
    again = dataset.plan(settings.load("dev", home=home), renewed, data_name="signed", data_version="1.0.0")
    dataset.create(again)  # else a conflict
    assert dataset.load(home / "data", "signed", "1.0.0").source == f"http://{storage.partition('@')[2]}/rows.csv"
    assert left(home) == []


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("rows.csv?sig=CANARYwrong", 2, "rows.csv: its server answers 403"),
        ("lost.csv?sig=CANARYsig", 2, "lost.csv does not exist"),
        ("busy.csv?sig=CANARYsig", 6, "busy.csv: its server answers 503"),
    ],
)
def test_what_the_storage_answers_is_told_without_the_secret(storage: str, path: str, status: int, said: str) -> None:
    with pytest.raises(MlopsError, match=said) as refused:
        ingest.require(Source(uri=f"{storage}/{path}"), DataRules(allowed_schemes=("http",)))
    assert refused.value.exit_code == status
    assert "CANARY" not in "".join(traceback.format_exception(refused.value))
