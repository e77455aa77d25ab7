"""The infrastructure check: a fresh process loads the stored model and reproduces its recorded predictions.

There it is also measured what the model takes to run and, if asked, whether MLflow's scoring server repeats the same.
The evidence is kept per artifact digest, predictions and runtime, so one artifact is proven once on one machine; later
it is enough that its files still have that digest.
Run as a module it is that fresh process: it imports what it will need, takes one request from stdin, answers on stdout
and ends. Most of its time are imports, so it may be started `ahead`, while others import or train.
"""

import hashlib
import importlib
import json
import logging
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.core import children
from lifecycle.core.errors import IntegrityError, MlopsError, NotFoundError, TransientError
from lifecycle.core.frozen import Frozen
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.evaluation.evaluate import EvaluateRequest
from lifecycle.gate.proof import infrastructure
from lifecycle.gate.proof.infrastructure import TOLERANCE, Proof
from lifecycle.models import loading, requirements
from lifecycle.problems import known
from lifecycle.problems.contract import inputs_of
from lifecycle.storage.files import write_json
from lifecycle.tracking.runs import PACKAGES
from lifecycle.training.train import TrainRequest, is_trained
from mlops_lifecycle import start

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

DEADLINE_SECONDS = 600
LOOK_SECONDS = 10
"""How often it is looked whether the process is stopped; twice in a row ends the wait."""

NEEDED = (
    "scipy.special",  # first: skops looks for each of its functions in all modules that were imported before it
    "lifecycle.problems.text_classification.model",
    "pyarrow.parquet",
    "sklearn.compose",
    "sklearn.feature_extraction.text",
    "sklearn.linear_model",
)
"""What nearly every replay imports, so it is imported before the request comes."""

_ahead: list[subprocess.Popen[str]] = []
"""Processes that were started before there was a request; each serves one."""


class ReplayRequest(Frozen):
    """What the fresh process is given: files of a model, and the predictions that they should lead to.

    It gets the files themselves, so it needs no client of MLflow's, which takes seconds to import, and no credentials
    but those of a volume that holds the dataset.
    """

    evaluation: EvaluateRequest
    model_folder: Path
    recorded: Path
    scoring_server: bool = False


def check(request: EvaluateRequest, evidence_root: Path, *, anew: bool = False, scoring_server: bool = False) -> Proof:
    """Prove that the stored model reproduces its stored predictions; the proof may be an earlier one.

    With `anew`, what was proven before does not count; with `scoring_server`, MLflow's server must repeat them too.

    Raises:
        IntegrityError: It does not load, or predicts something else.
        TransientError: The process did not end in time, or somebody ended it, as the system does when memory is short.
    """
    path = evidence_root / f"{_evidence_key(request, scoring_server)}.json"
    if not anew and (proof := _kept(path)):
        loading.verify(request.model)
        return proof
    logger.info("Replaying %s in a fresh process", request.model.label)
    proof = _in_fresh_process(request, scoring_server=scoring_server)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"model": request.model.model_dump(mode="json"), "proof": proof.model_dump(mode="json")})
    return proof


def _kept(path: Path) -> Proof | None:
    """An earlier proof; what cannot be read proves nothing."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        return Proof.model_validate(json.loads(path.read_text(encoding="utf-8"))["proof"])
    return None


def reproduces(model: ModelRef, data_root: Path, evidence_root: Path, *, anew: bool = False) -> Proof:
    """Prove the same on a dataset that the model was evaluated on and that is here, the latest of them.

    Raises:
        IntegrityError: The files differ, the model does not load, or it predicts something else.
        NotFoundError: There are no stored predictions on a dataset that is here.
    """
    loading.verify(model)
    return check(last_evaluation(model, data_root), evidence_root, anew=anew)


def last_evaluation(model: ModelRef, data_root: Path) -> EvaluateRequest:
    """The evaluation whose predictions are stored, on the latest dataset version that is here.

    Raises:
        NotFoundError: There is none.
    """
    stored = evaluation.stored_names(model)
    for manifest in reversed(dataset.readable(data_root)[0]):
        request = evaluation.request_for(model, data_root, manifest.data_name, manifest.data_version)
        if request.artifact in stored:
            return request
    what = f"{model.label}: there are no stored predictions on a dataset in {data_root} to compare with."
    raise NotFoundError(what, "Restore the dataset that it was judged on.")


@contextmanager
def ahead(training: TrainRequest | None = None) -> Iterator[None]:
    """Start the process of the next replay now, unless one waits, or the training, and so its proof, was done before.

    A process that was not needed ends with the block, or with its parent.
    """
    if _ahead or (training and is_trained(training)):
        yield
        return
    with _start() as process:
        _ahead.append(process)
        try:
            yield
        finally:
            if process in _ahead:
                _ahead.remove(process)
            process.kill()


def replay(request: EvaluateRequest, *, scoring_server: bool = False) -> Proof:
    """Load the model here and compare its predictions with the recorded ones, row by row."""
    with _files(request, scoring_server) as given:
        return _prove(given)


@contextmanager
def _files(request: EvaluateRequest, scoring_server: bool = False) -> Iterator[ReplayRequest]:
    with loading.private_copy(request.model) as folder, tempfile.TemporaryDirectory(prefix="mlops-run-") as temporary:
        recorded = Path(temporary) / "recorded.parquet"
        evaluation.stored(request).to_parquet(recorded, index=False)
        yield ReplayRequest(evaluation=request, model_folder=folder, recorded=recorded, scoring_server=scoring_server)


def _prove(given: ReplayRequest) -> Proof:
    model, folder = given.evaluation.model, given.model_folder
    inputs, recorded = _recorded_rows(given)
    began = time.perf_counter()
    loaded = loading.load_verified(folder, model)
    load_seconds = time.perf_counter() - began
    differences = requirements.unmet(folder)
    try:
        compare(evaluation.predicted(loaded, inputs), recorded)
    except IntegrityError as error:
        raise IntegrityError(f"{model.label}: {error.what}", "; ".join(differences)) from None
    return Proof(
        outcome=f"{len(recorded)} predictions reproduced in a fresh process",
        requirements=differences,
        load_seconds=load_seconds,
        milliseconds_per_1000=infrastructure.milliseconds_per_1000(lambda rows: loaded.predict(None, rows), inputs),
        megabytes=infrastructure.megabytes(folder),
        scoring_server=(
            infrastructure.serve_and_compare(folder, loaded, model, inputs, recorded) if given.scoring_server else ""
        ),
    )


def _recorded_rows(given: ReplayRequest) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """The inputs, and the predictions that were recorded of them."""
    import pandas as pd

    return inputs_with(given.evaluation, pd.read_parquet(given.recorded))


def inputs_with(request: EvaluateRequest, recorded: "pd.DataFrame") -> "tuple[pd.DataFrame, pd.DataFrame]":
    """The inputs of an evaluation, and the predictions that were recorded of them.

    Raises:
        IntegrityError: There are none, or they are of other rows.
    """
    place = request.data_root, request.data_name, request.data_version
    rows = dataset.load_rows(*place, request.side)
    if recorded.empty or list(rows["key"]) != list(recorded["key"]):
        raise IntegrityError(f"{request.model.label}: the recorded predictions are of other rows.")
    return inputs_of(rows, dataset.load(*place).inputs), recorded


def compare(again: "pd.DataFrame", recorded: "pd.DataFrame") -> None:
    """Every class and number that was recorded must come again; what is no number never does."""
    import numpy as np

    names = infrastructure.answers_in(recorded)
    if not names or len(again) != len(recorded) or not {*names} <= {*again}:
        raise IntegrityError(f"{len(again)} predictions of {len(recorded)} came, {', '.join(map(str, again))}.")
    numbers = [name for name in names if recorded[name].dtype.kind in "fiu"]
    classes = [name for name in names if name not in numbers]
    expected = recorded[numbers].to_numpy(float)
    near = np.abs(again[numbers].to_numpy(float) - expected) <= TOLERANCE * np.maximum(1, np.abs(expected))
    same = again[classes].to_numpy(object) == recorded[classes].to_numpy(object)
    wrong = ~(near.all(axis=1) & same.all(axis=1))
    if wrong.any():
        first = recorded["row"].to_numpy()[wrong][0]
        raise IntegrityError(f"{wrong.sum()} of {len(recorded)} predictions differ, first row {first}.")


def _in_fresh_process(request: EvaluateRequest, *, scoring_server: bool = False) -> Proof:
    """Ask a fresh process, and read its answer.

    One that was ended from outside says nothing about the model, so that is transient; one that came to an end of its
    own, a crash within a library as well, has not reproduced the predictions, and the gate refuses the model.
    """
    with _files(request, scoring_server) as given, _fresh_process() as process:
        answer, errors = _answer(process, given)
        code = process.wait()
    if children.from_outside(code):
        what = f"The process that replays {request.model.label} {children.ended(code)}, so nothing is decided."
        raise TransientError(what, "Give the command again, with more memory free.")
    try:
        found = json.loads(answer.splitlines()[-1])
        if "error" in found:
            raise IntegrityError(str(found["error"]))
        return Proof.model_validate(found["proof"])
    except (LookupError, ValueError, TypeError):
        reason = " ".join(errors.split())[-300:] or f"its process {children.ended(code)}"
        raise IntegrityError(f"{request.model.label} could not be loaded: {reason}.") from None


def _answer(process: subprocess.Popen[str], given: ReplayRequest) -> tuple[str, str]:
    """What the process writes, once it has ended.

    Raises:
        TransientError: It does not end.
    """
    label, deadline, looks = given.evaluation.model.label, time.monotonic() + DEADLINE_SECONDS, 0
    text: str | None = given.model_dump_json()
    while True:
        try:
            return process.communicate(text, timeout=min(LOOK_SECONDS, max(0, deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            text = None  # it has it, or will have
            looks = looks + 1 if children.is_stopped(process) else 0
        if looks > 1:
            what = f"The process that replays {label} was stopped (SIGSTOP), so nothing is decided."
            raise TransientError(what, "Give the command again.")
        if time.monotonic() > deadline:
            what = f"{label} did not predict within {DEADLINE_SECONDS} s."
            raise TransientError(what, "Try again on a quieter machine.")


@contextmanager
def _fresh_process() -> Iterator[subprocess.Popen[str]]:
    """A process that has served nobody yet: the one that waits, if it is alive, else a new one; none is left behind."""
    waiting = _ahead.pop() if _ahead else None
    with nullcontext(waiting) if waiting and waiting.poll() is None else _start() as process:
        try:
            yield process
        finally:
            process.kill()


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603  our own interpreter and module
        start.command("lifecycle.gate.proof.replay", str(os.getpid())),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        cwd=start.HOME,
        env={**os.environ, "TMPDIR": tempfile.gettempdir()},
    )


def _evidence_key(request: EvaluateRequest, scoring_server: bool) -> str:
    needed = (*PACKAGES, *known.PACKAGES, "vaderSentiment")
    installed = [f"{package}=={_version_of(package)}" for package in needed]
    runtime = [platform.python_version(), platform.machine(), *installed]
    recorded = evaluation.stored(request).to_json(orient="records")
    content = json.dumps([request.model.artifact_sha256, request.artifact, recorded, runtime, scoring_server])
    return hashlib.sha256(content.encode()).hexdigest()


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _main() -> None:
    children.end_with(int(sys.argv[1]))
    received: list[str] = []
    reader = threading.Thread(target=_receive, args=(received,), daemon=True)
    reader.start()
    for module in NEEDED:
        with suppress(ImportError):  # the model that needs it will say so
            importlib.import_module(module)
    reader.join()
    try:
        answer: dict[str, object] = {
            "proof": _prove(ReplayRequest.model_validate_json(received[0])).model_dump(mode="json")
        }
    except MlopsError as error:
        answer = {"error": str(error)}
    except MemoryError:
        os.kill(os.getpid(), signal.SIGKILL)  # as the system would have done a little later
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
    sys.stdout.flush()
    os._exit(0)  # freeing what was imported would take as long as the replay


def _receive(received: list[str]) -> None:
    """Take the request as soon as it comes; a block that ends without one ends this process, also mid-import."""
    received.append(sys.stdin.read())
    if not received[0]:
        os._exit(0)


if __name__ == "__main__":
    _main()
