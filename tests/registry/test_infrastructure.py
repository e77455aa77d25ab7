"""What a fresh process finds out about a model besides: its requirements, its times, its size, and its server."""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest
import requests

from lifecycle.core import guard
from lifecycle.core.errors import IntegrityError, TransientError
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.evaluation.evaluate import EvaluateRequest
from lifecycle.gate.proof import infrastructure, replay
from lifecycle.models import loading, requirements, scoring_server
from tests.registry.conftest import State

Started = list["subprocess.Popen[str]"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """The processes that a test starts."""
    found: Started = []
    start = replay._start
    monkeypatch.setattr(replay, "_start", lambda: found.append(start()) or found[-1])
    return found


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    return tmp_path / "evidence"


@pytest.fixture(autouse=True)
def _outside_of_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's scoring server says in the environment that it is one; not beyond the test."""
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")


def asked(state: State) -> EvaluateRequest:
    return evaluation.request_for(state.bayes, state.config.datasets, "news", "1.0.0")


def changed(state: State, change: Callable[[Path], None]) -> EvaluateRequest:
    """The evaluation of a model whose files were changed before anybody knew their digest."""
    folder = state.folder(state.bayes)
    change(folder)
    model = state.bayes.model_copy(update={"artifact_sha256": loading.artifact_digest(folder), "allow_pickle": True})
    request = evaluation.request_for(model, state.config.datasets, "news", "1.0.0")
    evaluation.evaluate(request)
    return request


def size(folder: Path) -> float:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "registered_model_meta"]
    return sum(path.stat().st_size for path in files) / 1e6


def requiring(*lines: str) -> Callable[[Path], None]:
    """Writes other requirements into a model's folder."""

    def change(folder: Path) -> None:
        (folder / "requirements.txt").write_text("\n".join(lines))

    return change


def pickled(state: State, make: Callable[[Any], Any]) -> EvaluateRequest:
    """The evaluation of a pickle that is made of the pipeline of a model."""
    model = make(loading.load(state.bayes).pipeline)

    def change(folder: Path) -> None:
        (folder / "artifacts" / "pipeline.skops").unlink()
        (folder / "artifacts" / "pipeline.pkl").write_bytes(cloudpickle.dumps(model))

    return changed(state, change)


def elsewhere(answer: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A pipeline that answers something else in any thread but the main one, as a server's are."""

    def make(pipeline: Any) -> Any:
        class Moody:
            classes_, feature_names_in_ = pipeline.classes_, pipeline.feature_names_in_

            def predict_proba(self, texts: Any) -> Any:
                found = pipeline.predict_proba(texts)
                return found if threading.current_thread() is threading.main_thread() else answer(found)

        return Moody()

    return make


def slow_to_load(seconds: float) -> Callable[[Any], Any]:
    def make(pipeline: Any) -> Any:
        class Slow:
            def __reduce__(self) -> Any:
                return time.sleep, (seconds,)

        pipeline.slow = Slow()
        return pipeline

    return make


def test_a_proof_names_what_is_missing_measures_the_model_and_is_kept_for_each_question(
    state: State, evidence: Path, started: Started
) -> None:
    request = changed(state, requiring(f"numpy=={np.__version__}", "no-such-package==2.0", "scikit-learn==1.0.2"))
    alone = replay.check(request, evidence)
    served = replay.check(request, evidence, scoring_server=True)
    for proof in (alone, served):
        assert "48 predictions reproduced" in proof.outcome
        missing, other = proof.requirements
        assert missing == "no-such-package is not installed, pinned is 2.0"
        assert other.startswith("scikit-learn 1.")
        assert other.endswith(" is installed, pinned is 1.0.2")
        assert proof.megabytes == pytest.approx(size(state.folder(state.bayes)))
        assert 0 < proof.load_seconds < 300
        assert 0 < proof.milliseconds_per_1000 < 30_000
    assert (alone.scoring_server, served.scoring_server) == ("", "48 predictions repeated by MLflow's scoring server")
    assert len(started) == len(list(evidence.iterdir())) == 2
    assert replay.check(request, evidence) == alone
    assert replay.check(request, evidence, scoring_server=True) == served
    assert len(started) == 2
    assert all(process.returncode is not None for process in started)


@pytest.mark.parametrize(
    "content", ['{"outcome": "48 predictions reproduced"}', '{"proof": {"outcome": "yes"}}', "[", "[]"]
)
def test_evidence_that_cannot_be_read_proves_nothing(
    state: State, evidence: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setattr(replay, "_in_fresh_process", replay.replay)
    proof = replay.check(asked(state), evidence)
    (path,) = evidence.iterdir()
    path.write_text(content)
    assert replay.check(asked(state), evidence).outcome == proof.outcome
    assert json.loads(path.read_text())["proof"]["outcome"] == proof.outcome


def test_a_model_that_is_slow_to_load_is_timed_and_ended_at_the_deadline(
    state: State, evidence: Path, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = pickled(state, slow_to_load(1.2))
    proof = replay.check(request, evidence)
    assert 1.2 <= proof.load_seconds < 300
    monkeypatch.setattr(replay, "DEADLINE_SECONDS", 0.5)
    with pytest.raises(TransientError, match=r"did not predict within 0\.5 s"):
        replay.check(request, evidence, anew=True)
    assert [process.wait(10) is not None for process in started] == [True, True]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda found: found[:, ::-1], "of 48 predictions of MLflow's scoring server differ"),
        (lambda found: found / None, "did not answer with predictions: status 400, TypeError: unsupported operand"),
    ],
)
def test_a_model_that_answers_otherwise_in_a_server_is_refused(
    state: State, evidence: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[[Any], Any], words: str
) -> None:
    monkeypatch.setattr(replay, "_in_fresh_process", replay.replay)
    request = pickled(state, elsewhere(answer))
    with pytest.raises(IntegrityError, match=words):
        replay.check(request, evidence, scoring_server=True)
    assert not evidence.exists()
    assert replay.check(request, evidence).scoring_server == ""
    assert not [thread for thread in threading.enumerate() if thread.name == "scoring server"]


def test_the_answers_of_the_server_are_compared_one_by_one(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infrastructure, "ROWS_PER_QUERY", 20)
    with replay._files(asked(state)) as given:
        (inputs, rows), model = replay._recorded_rows(given), loading.load(state.bayes)

        def serve(recorded: pd.DataFrame) -> str:
            return infrastructure.serve_and_compare(given.model_folder, model, state.bayes, inputs, recorded)

        assert serve(rows) == "48 predictions repeated by MLflow's scoring server"
        with pytest.raises(IntegrityError, match="1 of 48 predictions"):
            serve(rows.assign(label=[*rows["label"][:-1], "another"]))
        with pytest.raises(IntegrityError, match="48 of 48 predictions"):
            serve(rows.assign(score=rows["score"] - 1e-3))


def test_a_server_ends_with_its_block_whatever_happens(state: State) -> None:
    ports: list[int] = []

    def refused() -> None:
        with (
            loading.private_copy(state.bayes) as folder,
            scoring_server.serving(folder, loading.load_verified(folder, state.bayes), state.bayes, "a:b") as port,
        ):
            ports.append(port)
            with socket.create_connection(("127.0.0.1", port), timeout=240):
                raise RuntimeError("refused")

    with pytest.raises(RuntimeError, match="refused"):
        refused()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ports[0]), timeout=240)


def test_a_server_that_does_not_start_is_told(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    import uvicorn

    monkeypatch.setattr(uvicorn.Server, "run", lambda *_: None)
    with (
        loading.private_copy(state.bayes) as folder,
        pytest.raises(IntegrityError, match="did not start"),
        scoring_server.serving(folder, loading.load_verified(folder, state.bayes), state.bayes, "a:b"),
    ):
        pass


def test_the_server_of_the_gate_answers_the_gate_alone(state: State) -> None:
    with (
        loading.private_copy(state.bayes) as folder,
        scoring_server.serving(folder, loading.load_verified(folder, state.bayes), state.bayes, "mlops:word") as port,
    ):
        asked = [{}, guard.authorization("mlops:guess"), guard.authorization("mlops:word")]
        answers = [requests.get(f"http://127.0.0.1:{port}/ping", headers=headers, timeout=240) for headers in asked]
    assert [answer.status_code for answer in answers] == [401, 401, 200]


RECORDED = pd.DataFrame({"row": [4, 5], "label": ["a", "b"], "score": [0.7, 0.6], "probability.a": [0.7, 0.4]})


@pytest.mark.parametrize(
    ("again", "words"),
    [
        (RECORDED, None),
        (RECORDED.assign(score=RECORDED["score"] + 1e-9), None),
        (RECORDED.assign(more=1), None),
        (RECORDED.assign(label=["a", "a"]), "1 of 2 predictions differ, first row 5"),
        (RECORDED.assign(score=[0.7, np.nan]), "1 of 2 predictions differ, first row 5"),
        (RECORDED.assign(**{"probability.a": [0.6, 0.4]}), "1 of 2 predictions differ, first row 4"),
        (RECORDED.drop(columns="probability.a"), "2 predictions of 2 came, row, label, score"),
        (RECORDED.head(1), "1 predictions of 2 came"),
    ],
)
def test_every_label_score_and_probability_must_come_again(again: pd.DataFrame, words: str | None) -> None:
    if words is None:
        replay.compare(again, RECORDED)
    else:
        with pytest.raises(IntegrityError, match=words):
            replay.compare(again, RECORDED)


def test_a_difference_names_the_packages_that_may_be_its_reason(state: State) -> None:
    request = changed(state, requiring("skops==0.0.1"))
    with replay._files(request) as given:
        rows = pd.read_parquet(given.recorded)
        rows.assign(score=rows["score"] / 2).to_parquet(given.recorded)
        with pytest.raises(IntegrityError, match=r"48 of 48 .* skops .* is installed, pinned is 0.0.1"):
            replay._prove(given)
        rows.head(0).to_parquet(given.recorded)
        with pytest.raises(IntegrityError, match="of other rows"):
            replay._prove(given)


INSTALLED = f"numpy {np.__version__} is installed"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (f"numpy=={np.__version__}", None),
        (f"numpy[extra]=={np.__version__} --hash=sha256:00", None),
        (f"NumPy=={np.__version__}  # as trained", None),
        ("numpy", None),
        ("numpy>=1,<99", None),
        ("no-such-package==1; python_version < '3'", None),
        ("# no-such-package==1", None),
        ("", None),
        ("numpy==1.0", f"{INSTALLED}, pinned is 1.0"),
        ("numpy==1.*", f"{INSTALLED}, pinned is 1.*"),
        ("numpy>=99", f"{INSTALLED}, asked for is >=99"),
        ("numpy==1.0,<99", f"{INSTALLED}, asked for is <99,==1.0"),
        ("numpy @ https://example.org/numpy.whl", f"{INSTALLED}, asked for is https://example.org/numpy.whl"),
        ("no-such-package", "no-such-package is not installed"),
        ("no-such-package==1.2", "no-such-package is not installed, pinned is 1.2"),
        ("-r more.txt", "-r more.txt cannot be compared with what is installed"),
        ("--requirement more.txt", "--requirement more.txt cannot be compared with what is installed"),
        ("./code/own.whl", "./code/own.whl cannot be compared with what is installed"),
    ],
)
def test_a_requirement_is_compared_with_what_is_installed(line: str, problem: str | None) -> None:
    assert requirements.problems(f"\n{line}\n") == (() if problem is None else (problem,))


def test_a_model_that_names_no_requirements_says_so(tmp_path: Path) -> None:
    assert requirements.unmet(tmp_path) == ("the model names no requirements: it has no requirements.txt",)
    (tmp_path / "requirements.txt").write_text("no-such-package==1\nnumpy==1.0\n")
    assert len(requirements.unmet(tmp_path)) == 2


def test_what_mlflow_writes_beside_a_model_is_not_its_size(tmp_path: Path) -> None:
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "pipeline.skops").write_bytes(b"x" * 1500)
    (tmp_path / "registered_model_meta").write_bytes(b"x" * 1500)
    assert infrastructure.megabytes(tmp_path) == 0.0015


@pytest.mark.parametrize(("budget", "calls"), [(60, 5), (0.1, 1)])
def test_the_time_for_1000_rows_is_the_best_of_as_many_calls_as_there_is_time_for(
    monkeypatch: pytest.MonkeyPatch, budget: float, calls: int
) -> None:
    monkeypatch.setattr(infrastructure, "TIMED_SECONDS", budget)
    given: list[pd.DataFrame] = []

    def predict(rows: pd.DataFrame) -> None:
        given.append(rows)
        time.sleep((0.3, 0.0, 0.3, 0.0, 0.2)[len(given) - 1])

    found = infrastructure.milliseconds_per_1000(predict, pd.DataFrame({"text": ["a", "b", "c"]}))
    assert [len(rows) for rows in given] == [1000] * calls
    assert list(given[0]["text"][:4]) == ["a", "b", "c", "a"]
    assert found < 100 if calls > 1 else found >= 300


def test_more_than_1000_texts_are_not_timed() -> None:
    given: list[int] = []
    inputs = pd.DataFrame({"text": [str(n) for n in range(1500)]})
    infrastructure.milliseconds_per_1000(lambda rows: given.append(len(rows)), inputs)
    assert set(given) == {1000}
