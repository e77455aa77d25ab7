"""The process of the replay: fresh for each proof, started early where there will be one, and never left behind."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lifecycle.core.errors import IntegrityError, MlopsError, TransientError
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.evaluation.evaluate import EvaluateRequest
from lifecycle.gate.proof import replay
from lifecycle.settings import Settings
from lifecycle.training import train as training
from lifecycle.training.train import TrainRequest
from tests.conftest import ROOT, train_model


@pytest.fixture
def request_(news: Settings) -> EvaluateRequest:
    request = evaluation.request_for(train_model(news), news.datasets, "news", "1.0.0")
    evaluation.evaluate(request)
    return request


def planned(config: Settings, run_id: str) -> TrainRequest:
    found = training.TrainRequest.model_construct(tracking_uri=config.mlflow_uri, run_id=run_id)
    assert isinstance(found, TrainRequest)
    return found


def open_run(config: Settings) -> TrainRequest:
    from lifecycle.tracking.client import client, experiment

    run = client(config.mlflow_uri).create_run(experiment(config.mlflow_uri, "another"))
    return planned(config, run.info.run_id)


def test_a_process_that_waits_serves_one_proof_and_the_next_has_its_own(
    news: Settings, request_: EvaluateRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[str]] = []
    start = replay._start
    monkeypatch.setattr(replay, "_start", lambda: started.append(start()) or started[-1])
    with replay.ahead(open_run(news)):
        assert len(started) == 1
        for _ in range(2):
            assert "48 predictions reproduced" in replay.check(request_, tmp_path, anew=True).outcome
        assert len(started) == 2
    assert all(process.returncode is not None for process in started)


def test_one_that_was_not_needed_ends_with_the_block_whatever_happens(news: Settings) -> None:
    waiting: list[subprocess.Popen[str]] = []

    def refused() -> None:
        with replay.ahead(open_run(news)):
            waiting.extend(replay._ahead)
            assert waiting[0].poll() is None
            raise RuntimeError("refused")

    with pytest.raises(RuntimeError, match="refused"):
        refused()
    assert waiting[0].returncode is not None
    assert replay._ahead == []


def test_none_is_started_for_a_model_that_is_there(news: Settings, request_: EvaluateRequest) -> None:
    with replay.ahead(planned(news, request_.model.run_id)):
        assert replay._ahead == []


def test_one_that_waits_is_enough(news: Settings) -> None:
    with replay.ahead(), replay.ahead(open_run(news)):
        assert len(replay._ahead) == 1
    assert replay._ahead == []


def test_one_that_died_waiting_is_replaced(news: Settings, request_: EvaluateRequest, tmp_path: Path) -> None:
    with replay.ahead(open_run(news)):
        replay._ahead[-1].kill()
        replay._ahead[-1].wait()
        assert "48 predictions reproduced" in replay.check(request_, tmp_path).outcome


def test_it_loads_the_files_that_it_is_given_and_no_client_of_mlflow_and_no_server(request_: EvaluateRequest) -> None:
    program = (
        "import sys; from lifecycle.gate.proof import replay;"
        "print(replay._prove(replay.ReplayRequest.model_validate_json(sys.stdin.read())).outcome);"
        "unwanted = ('mlflow.store.tracking.sqlalchemy', 'mlflow.pyfunc.scoring_server', 'prefect', 'uvicorn');"
        "sys.exit(any(name.startswith(unwanted) for name in sys.modules))"
    )
    with replay._files(request_) as given:
        done = subprocess.run(
            [sys.executable, "-c", program], input=given.model_dump_json(), cwd=ROOT, capture_output=True, text=True
        )
    assert (done.returncode, done.stdout.strip()) == (0, "48 predictions reproduced in a fresh process"), done.stderr


@pytest.mark.parametrize("answer", ["no answer", "[]", '{"proof": {"outcome": "as it should be"}}', ""])
def test_what_breaks_it_is_told(request_: EvaluateRequest, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr(replay, "_start", lambda: _broken(f"print({answer!r})"))
    with pytest.raises(IntegrityError, match="could not be loaded"):
        replay._in_fresh_process(request_)


def _broken(program: str) -> "subprocess.Popen[str]":
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen([sys.executable, "-c", program], text=True, **pipes)


ENDS: dict[str, tuple[type[MlopsError], str]] = {
    "SIGKILL": (TransientError, "was killed by SIGKILL, so nothing is decided"),
    "SIGTERM": (TransientError, "was killed by SIGTERM"),
    "SIGHUP": (TransientError, "was killed by SIGHUP"),
    "SIGSEGV": (IntegrityError, "its process was killed by SIGSEGV"),
    "SIGABRT": (IntegrityError, "its process was killed by SIGABRT"),
    "SIGBUS": (IntegrityError, "its process was killed by SIGBUS"),
    "SIGSTOP": (TransientError, "was stopped"),
}


def test_however_the_process_ends_there_is_one_clear_error(
    request_: EvaluateRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody else ends is tried again; what crashes by itself has not reproduced anything."""
    start = replay._start

    def ending(name: str) -> subprocess.Popen[str]:
        process = start()
        process.send_signal(signal.Signals[name])
        return process

    monkeypatch.setattr(replay, "LOOK_SECONDS", 0.2)
    for name, (kind, said) in ENDS.items():
        monkeypatch.setattr(replay, "_start", lambda name=name: ending(name))
        with pytest.raises(kind, match=said) as raised:
            replay.check(request_, tmp_path)
        assert "\n" not in str(raised.value)
    assert list(tmp_path.glob("*.json")) == []  # nothing is proven
