"""The infrastructure check: a fresh process loads the stored model and reproduces its recorded predictions.

The evidence is kept per artifact digest, predictions and runtime, so one artifact is proven once on one machine; later
it is enough that its files still have that digest.
Run as a module it is that fresh process: the request on stdin, the outcome on stdout.
"""

import gc
import hashlib
import json
import logging
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lifecycle import evaluation
from lifecycle.data import dataset
from lifecycle.errors import IntegrityError, MlopsError, NotFoundError, TransientError
from lifecycle.evaluation import EvaluateRequest
from lifecycle.files import write_json
from lifecycle.models import loading
from lifecycle.models.loading import ModelRef
from lifecycle.training import PACKAGES

logger = logging.getLogger(__name__)

DEADLINE_SECONDS = 600
TOLERANCE = 1e-6
"""How far a score may differ: enough for another order of floating-point sums, far too little for another model."""


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
    stored = evaluation.stored_names(model)
    for manifest in reversed(dataset.versions(data_root)):
        request = evaluation.request_for(model, data_root, manifest.data_name, manifest.data_version)
        if request.artifact in stored:
            return check(request, evidence_root, anew=anew)
    what = f"{model.label}: there are no stored predictions on a dataset in {data_root} to compare with."
    raise NotFoundError(what, "Restore the dataset that it was judged on.")


def replay(request: EvaluateRequest) -> str:
    """Load the model here and compare its predictions with the recorded ones, row by row."""
    recorded = evaluation.stored(request)
    rows = dataset.load_rows(request.data_root, request.data_name, request.data_version, request.side)
    if list(rows["key"]) != list(recorded["key"]):
        raise IntegrityError(f"{request.model.label}: the recorded predictions are of other rows.")
    again = loading.load(request.model).predict(None, rows[["text"]])
    wrong = (again["label"].to_numpy(object) != recorded["label"].to_numpy(object)) | (
        (again["score"] - recorded["score"]).abs().to_numpy() > TOLERANCE
    )
    if wrong.any():
        row = recorded["row"].to_numpy()[wrong][0]
        raise IntegrityError(
            f"{request.model.label}: {wrong.sum()} of {len(rows)} predictions differ, first row {row}."
        )
    return f"{len(rows)} predictions reproduced in a fresh process"


def _in_fresh_process(request: EvaluateRequest) -> str:
    command = [sys.executable, "-m", "lifecycle.gate.replay"]
    root = str(Path(__file__).parents[2])
    try:
        done = subprocess.run(  # noqa: S603  our own interpreter and module
            command,
            check=False,
            input=request.model_dump_json(),
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            cwd=root,
        )
    except subprocess.TimeoutExpired:
        what = f"{request.model.label} did not predict within {DEADLINE_SECONDS} s."
        raise TransientError(what, "Try again on a quieter machine.") from None
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise IntegrityError(f"{request.model.label} could not be loaded: {done.stderr.strip()[-300:]}.") from None
    if "error" in answer:
        raise IntegrityError(str(answer["error"]))
    return str(answer["outcome"])


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
    try:
        answer = {"outcome": replay(EvaluateRequest.model_validate_json(sys.stdin.read()))}
    except MlopsError as error:
        answer = {"error": str(error)}
    sys.stdout.write(f"\n{json.dumps(answer)}\n")


if __name__ == "__main__":
    _main()
