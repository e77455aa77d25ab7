"""`mlops serve`: a verified model behind MLflow's scoring server, on loopback alone."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pyarrow.parquet as pq
import pytest
import requests

from lifecycle.core.errors import ConfigError, IntegrityError
from lifecycle.data import dataset
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.models import scoring_processes
from lifecycle.models.scoring_processes import Where
from lifecycle.registry import promotion
from tests.conftest import ROOT
from tests.registry.conftest import State, promote, roll_back

MLOPS = [
    sys.executable,
    "-m",
    "cli.main",
    "serve",
    "--model-name=sentiment",
    "--env=dev",
    "--port=0",
    "--json",
    "--workers=1",
]

FOREIGN: dict[str, dict[str, str]] = {
    "a script": {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    "a form": {"Origin": "https://evil.example", "Content-Type": "application/x-www-form-urlencoded"},
    "a form of plain text": {"Origin": "null", "Content-Type": "text/plain"},
    "a script that may not read": {"Origin": "https://evil.example", "Content-Type": "text/plain"},
    "a page of another port": {"Origin": "http://127.0.0.1:8888", "Sec-Fetch-Site": "same-site"},
    "a browser that names no origin": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    "a link": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    "a name that was bound here": {"Host": "evil.example"},
    "a port that was forwarded unasked": {"Host": "localhost:1"},
    "an address of every machine": {"Host": "10.0.0.1"},
}


@contextmanager
def serving(state: State, *options: str, **variables: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The command as a person starts it, and the address that it says."""
    environment = os.environ | {"MLOPS_HOME": str(state.config.state), **variables}
    with subprocess.Popen([*MLOPS, *options], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            facts = json.loads(process.stdout.readline())
            assert (facts["model"], facts["version"]) == ("dev.ml.sentiment", 1)
            yield facts["address"], process
        finally:
            process.kill()


def test_the_champion_answers_what_it_predicted(state: State) -> None:
    promote(state.target, state.regression)
    request = evaluation.request_for(state.regression, state.config.datasets, "news", "1.0.0")
    recorded = evaluation.stored(request).head(20)
    texts = dataset.load_rows(state.config.datasets, "news", "1.0.0", request.side)["text"].head(20)
    with serving(state, MLOPS_SERVING__REQUESTS='{"enabled": true, "seconds": 1}') as (address, process):
        assert address.startswith("http://127.0.0.1:")
        body = {"dataframe_split": {"columns": ["text"], "data": [[text] for text in texts]}}
        asked = {"X-Request-ID": "asked-1"}
        answer = requests.post(f"{address}/invocations", json=body, headers=asked, timeout=240)
        assert (answer.headers["served-model-name"], answer.headers["x-request-id"]) == ("sentiment-1", "asked-1")
        given = answer.json()["predictions"]
        assert [row["label"] for row in given] == list(recorded["label"])
        assert [row["score"] for row in given] == pytest.approx(list(recorded["score"]))
        wrong = requests.post(f"{address}/invocations", json={"dataframe_records": [{"Sentence": "x"}]}, timeout=240)
        assert (wrong.status_code, wrong.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
        loud = requests.post(
            f"{address}/invocations", json=body, headers={"Content-Type": "APPLICATION/JSON"}, timeout=240
        )
        assert len(loud.headers["x-request-id"]) == 32
        assert loud.json()["predictions"] == given
        unnamed = requests.post(f"{address}/invocations", data=json.dumps(body).encode(), timeout=240)
        assert unnamed.status_code == 415, unnamed.text
        assert requests.get(f"{address}/ping", timeout=240).ok
        for headers in FOREIGN.values():
            refused = requests.post(f"{address}/invocations", json=body, headers=headers, timeout=240)
            assert (refused.status_code, "access-control-allow-origin" in refused.headers) == (403, False), headers
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
    kept = pq.read_table(state.config.requests / "dev.ml.sentiment").sort_by("request_time").to_pylist()
    assert [(row["status_code"], row["model_version"]) for row in kept] == [(200, 1), (400, 1), (200, 1), (415, 1)]
    first, loud_one = (json.loads(kept[place]["response"])["predictions"] for place in (0, 2))
    assert first == loud_one
    assert [row["label"] for row in first] == list(recorded["label"])
    assert json.loads(kept[0]["request"]) == body
    assert [row["request_id"] for row in kept[::2]] == ["asked-1", loud.headers["x-request-id"]]


def test_it_answers_to_further_names_and_only_whom_it_is_told_to(state: State) -> None:
    promote(state.target, state.bayes)
    options = ("--allowed-host=models.example.com", "--allowed-host=localhost:8080")
    with serving(state, *options, MLOPS_SERVE_AUTH_STRING="scorer:word") as (address, _):
        hosts = ("models.example.com", "localhost:8080", "other.example.com")
        for host, status in zip(hosts, (200, 200, 403), strict=True):
            answer = requests.get(f"{address}/ping", auth=("scorer", "word"), headers={"Host": host}, timeout=240)
            assert answer.status_code == status
        for login in (None, ("scorer", "guess")):
            assert requests.get(f"{address}/ping", auth=login, timeout=240).status_code == 401


@pytest.mark.skipif(sys.platform != "linux", reason="looks in /proc")
def test_every_core_answers_and_none_is_left(state: State) -> None:
    """With the first process stopped only the second can answer; killed, it is replaced; at the end both are gone."""
    promote(state.target, state.bayes)

    def others() -> list[int]:
        found = Path(f"/proc/{process.pid}/task").glob("*/children")
        pids = [int(pid) for path in found for pid in path.read_text().split()]
        return [pid for pid in pids if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def answered_by_another() -> bool:
        process.send_signal(signal.SIGSTOP)
        try:
            return requests.get(f"{address}/ping", timeout=0.5).ok
        except requests.Timeout:
            return False
        finally:
            process.send_signal(signal.SIGCONT)

    with serving(state, "--workers=2") as (address, process):
        until(answered_by_another, 240)
        (first,) = others()
        os.kill(first, signal.SIGKILL)
        until(lambda: others() not in ([], [first]), 240)
        (pid,) = others()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
        assert not Path(f"/proc/{pid}").exists()


def until(is_so: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_files_that_were_changed_are_not_served(state: State) -> None:
    promote(state.target, state.bayes)
    champion = promotion.champion(state.target)
    folder = state.folder(state.bayes)
    (folder / "artifacts" / "pipeline.skops").write_bytes(b"another")
    with pytest.raises(IntegrityError, match="digest"):
        scoring_processes.serve(champion, Where(), pytest.fail, pytest.fail)


def test_a_port_that_is_taken_is_told_before_anything_is_loaded(state: State) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"Port {port} cannot be used"):
            scoring_processes.serve(state.bayes, Where(port), pytest.fail, pytest.fail)


def test_it_follows_promotion_and_rollback_without_one_failed_request(state: State) -> None:
    """Four clients ask all the while; each answer is the one of the version that its header names."""
    promote(state.target, state.bayes)
    body = {"dataframe_split": {"columns": ["text"], "data": [["profit rose to a record"]]}}
    answers: list[tuple[int, str, str]] = []
    over = Event()

    def ask(address: str) -> None:
        with requests.Session() as session:
            while not over.is_set():
                answer = session.post(f"{address}/invocations", json=body, timeout=240)
                answers.append((answer.status_code, answer.headers.get("served-model-name", ""), answer.text))

    def answered_by(name: str) -> bool:
        deadline = time.monotonic() + 240
        while (found := answers[-1][1]) != name and time.monotonic() < deadline:
            time.sleep(0.05)
        return found == name

    with (
        serving(state, "--follow", "--workers=2", MLOPS_SERVING__POLL_SECONDS="0.1") as (address, _),
        ThreadPoolExecutor(4) as pool,
    ):
        asked = [pool.submit(ask, address) for _ in range(4)]
        try:
            while len(answers) < 8:
                time.sleep(0.05)
            promote(state.target, state.regression)
            assert answered_by("sentiment-2")
            roll_back(state.target)
            assert answered_by("sentiment-1")
        finally:
            over.set()
        for each in asked:
            each.result()
    assert {status for status, *_ in answers} == {200}
    given = {name: {text for _, of, text in answers if of == name} for _, name, _ in answers}
    assert given.keys() == {"sentiment-1", "sentiment-2"}
    assert [len(texts) for texts in given.values()] == [1, 1]
    assert given["sentiment-1"] != given["sentiment-2"]


def test_a_version_is_not_followed(state: State) -> None:
    promote(state.target, state.bayes)
    done = subprocess.run([*MLOPS, "--follow", "--version=1"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "exclude each other" in done.stderr
