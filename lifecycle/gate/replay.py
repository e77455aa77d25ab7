"""The infrastructure check: a fresh process loads the stored model and reproduces its recorded predictions.

The evidence is kept per artifact digest, predictions and runtime, so one artifact is proven once on one machine; later
it is enough that its files still have that digest.
Run as a module it is that fresh process: it imports what it will need, takes one request from stdin, answers on stdout
and ends. Most of its time are imports, so it may be started `ahead`, while others import or train.
"""

import gc
import hashlib
import importlib
import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lifecycle import evaluation
from lifecycle.data import dataset
from lifecycle.errors import IntegrityError, MlopsError, NotFoundError, TransientError
from lifecycle.evaluation import EvaluateRequest
from lifecycle.files import write_json
from lifecycle.frozen import Frozen
from lifecycle.models import loading
from lifecycle.models.loading import ModelRef
from lifecycle.training import PACKAGES, TrainRequest, is_trained

logger = logging.getLogger(__name__)

DEADLINE_SECONDS = 600
TOLERANCE = 1e-6
"""How far a score may differ: enough for another order of floating-point sums, far too little for another model."""

NEEDED = (
    "lifecycle.models.text_model",
    "pyarrow.parquet",
    "sklearn.compose",
    "sklearn.feature_extraction.text",
    "sklearn.linear_model",
)
"""What nearly every replay imports, so it is imported before the request comes."""

_ahead: list[subprocess.Popen[str]] = []
"""Processes that were started before there was a request; each serves one."""


class Proof(Frozen):
    """What the fresh process is asked to prove: that these files of a model predict the recorded predictions.

    It gets the files themselves, so it needs no client of MLflow's, which takes seconds to import, and no credentials
    but those of a volume that holds the dataset.
    """

    request: EvaluateRequest
    model_folder: Path
    recorded: Path


def check(request: EvaluateRequest, evidence_root: Path, *, anew: bool = False) -> str:
    """Prove that the stored model reproduces its stored predictions; returns how, also when it was proven before.

    With `anew`, what was proven before does not count.

    Raises:
        IntegrityError: It does not load, or predicts something else.
        TransientError: The process did not end in time.
    """
    path = evidence_root / f"{_evidence_key(request)}.json"
    if path.is_file() and not anew:
        loading.verify(request.model)
        return str(json.loads(path.read_text(encoding="utf-8"))["outcome"])
    logger.info("Replaying %s in a fresh process", request.model.label)
    outcome = _in_fresh_process(request)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"model": request.model.model_dump(mode="json"), "outcome": outcome})
    return outcome


def reproduces(model: ModelRef, data_root: Path, evidence_root: Path, *, anew: bool = False) -> str:
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
    for manifest in reversed(dataset.versions(data_root)):
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


def replay(request: EvaluateRequest) -> str:
    """Load the model here and compare its predictions with the recorded ones, row by row."""
    with _files(request) as proof:
        return _reproduce(proof)


@contextmanager
def _files(request: EvaluateRequest) -> Iterator[Proof]:
    with loading.private_copy(request.model) as folder, tempfile.TemporaryDirectory(prefix="mlops-run-") as temporary:
        recorded = Path(temporary) / "recorded.parquet"
        evaluation.stored(request).to_parquet(recorded, index=False)
        yield Proof(request=request, model_folder=folder, recorded=recorded)


def _reproduce(proof: Proof) -> str:
    import pandas as pd

    request, model = proof.request, proof.request.model
    recorded = pd.read_parquet(proof.recorded)
    rows = dataset.load_rows(request.data_root, request.data_name, request.data_version, request.side)
    if list(rows["key"]) != list(recorded["key"]):
        raise IntegrityError(f"{model.label}: the recorded predictions are of other rows.")
    again = loading.load_verified(proof.model_folder, model).predict(None, rows[["text"]])
    wrong = (again["label"].to_numpy(object) != recorded["label"].to_numpy(object)) | (
        (again["score"] - recorded["score"]).abs().to_numpy() > TOLERANCE
    )
    if wrong.any():
        row = recorded["row"].to_numpy()[wrong][0]
        raise IntegrityError(f"{model.label}: {wrong.sum()} of {len(rows)} predictions differ, first row {row}.")
    return f"{len(rows)} predictions reproduced in a fresh process"


def _in_fresh_process(request: EvaluateRequest) -> str:
    with _files(request) as proof, _fresh_process() as process:
        try:
            answer, errors = process.communicate(proof.model_dump_json(), timeout=DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            what = f"{request.model.label} did not predict within {DEADLINE_SECONDS} s."
            raise TransientError(what, "Try again on a quieter machine.") from None
    try:
        outcome = json.loads(answer.splitlines()[-1])
    except (IndexError, ValueError):
        raise IntegrityError(f"{request.model.label} could not be loaded: {errors.strip()[-300:]}.") from None
    if "error" in outcome:
        raise IntegrityError(str(outcome["error"]))
    return str(outcome["outcome"])


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
    return subprocess.Popen(
        [sys.executable, "-m", "lifecycle.gate.replay"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def _evidence_key(request: EvaluateRequest) -> str:
    installed = [f"{package}=={_version_of(package)}" for package in (*PACKAGES, "vaderSentiment")]
    runtime = [platform.python_version(), platform.machine(), *installed]
    recorded = evaluation.stored(request).to_json(orient="records")
    content = json.dumps([request.model.artifact_sha256, request.artifact, recorded, runtime])
    return hashlib.sha256(content.encode()).hexdigest()


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _main() -> None:
    gc.set_threshold(100_000, 50, 50)  # imports make objects that live as long as the process
    received: list[str] = []
    reader = threading.Thread(target=_receive, args=(received,), daemon=True)
    reader.start()
    for module in NEEDED:
        with suppress(ImportError):  # the model that needs it will say so
            importlib.import_module(module)
    reader.join()
    try:
        answer = {"outcome": _reproduce(Proof.model_validate_json(received[0]))}
    except MlopsError as error:
        answer = {"error": str(error)}
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
    sys.stdout.flush()
    os._exit(0)  # freeing what was imported would take as long as the replay


def _receive(received: list[str]) -> None:
    """Take the request as soon as it comes; a parent that has gone without one ends this process, also mid-import."""
    received.append(sys.stdin.read())
    if not received[0]:
        os._exit(0)


if __name__ == "__main__":
    _main()
