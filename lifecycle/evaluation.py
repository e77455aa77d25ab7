"""Score one model on one side of a dataset version, row by row, and keep the rows beside the model's run.

The gate compares such stored predictions; it trusts no logged number.
"""

import io
import logging
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle import class_metrics
from lifecycle.data import dataset
from lifecycle.erasure import lock
from lifecycle.errors import ConflictError, DataError, IntegrityError
from lifecycle.frozen import Frozen
from lifecycle.models.loading import ModelRef, load
from lifecycle.models.refusals import CANNOT_SCORE, refused_by_the_library
from lifecycle.names import Side
from lifecycle.tracking import client, download, translated
from lifecycle.training import TRAINED_KEYS

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

PROBABILITY = "probability."
"""What the columns of stored predictions begin with that hold the probability of a class."""


class EvaluateRequest(Frozen):
    """Which model on which rows; the result is an artifact of the model's run, named after both."""

    model: ModelRef
    data_root: Path
    data_name: str
    data_version: str
    side: Side
    dataset_digest: str

    @property
    def artifact(self) -> str:
        """The path of the stored predictions within the run's artifacts."""
        return f"evaluations/{self.dataset_digest[:16]}-{self.side}-{self.model.artifact_sha256[:16]}.parquet"


def request_for(model: ModelRef, data_root: Path, data_name: str, data_version: str) -> EvaluateRequest:
    """The evaluation that the gate judges on."""
    manifest = dataset.load(data_root, data_name, data_version)
    return EvaluateRequest(
        model=model,
        data_root=data_root,
        data_name=data_name,
        data_version=data_version,
        side=judged_side(manifest),
        dataset_digest=manifest.digest,
    )


def judged_side(manifest: dataset.Manifest) -> Side:
    """The side that the gate judges on: the holdout, or test where a version has no holdout."""
    return Side.HOLDOUT if Side.HOLDOUT in manifest.counts else Side.TEST


@lock.while_reading("data_root")
def evaluate(request: EvaluateRequest) -> None:
    """Predict each row of the side with the stored model and keep `row, key, truth, label, score, probability.<class>`.

    Idempotent by name: predictions that are stored for this model and data are left as they are.
    """
    from mlflow.entities import Metric

    mlflow = client(request.model.tracking_uri)
    folder, name = request.artifact.split("/")
    with translated():
        if any(file.path == request.artifact for file in mlflow.list_artifacts(request.model.run_id, folder)):
            return
    rows = dataset.load_rows(request.data_root, request.data_name, request.data_version, request.side)
    _same_dataset(request)
    table = rows[["row", "key"]].assign(truth=rows["label"]).join(predicted(load(request.model), rows))
    classes = class_metrics.by_class(table["truth"], table["label"])
    with tempfile.TemporaryDirectory(prefix="mlops-run-") as temporary, translated():
        summary = Path(temporary) / f"{request.side}-{request.dataset_digest[:16]}.csv"
        classes.to_csv(summary, index=False)
        mlflow.log_artifact(request.model.run_id, str(summary), class_metrics.FOLDER)
        table.to_parquet(Path(temporary) / name, index=False)
        mlflow.log_artifact(request.model.run_id, str(Path(temporary) / name), folder)
        now = int(time.time() * 1000)
        metrics = class_metrics.metrics(request.side, classes).items()
        mlflow.log_batch(request.model.run_id, [Metric(name, value, now, 0) for name, value in metrics])
    logger.info("Evaluated %s on %s %s rows", request.model.label, f"{len(table):,}", request.side)


def predicted(model: Any, rows: "pd.DataFrame") -> "pd.DataFrame":
    """What a loaded model says of texts: `label`, `score` and, if it tells them, `probability.<class>`."""
    import pandas as pd

    with refused_by_the_library("The model cannot score these texts: ", DataError, CANNOT_SCORE):
        if not hasattr(model, "probabilities"):
            return pd.DataFrame(model.predict(None, rows[["text"]]))
        probabilities = model.probabilities(rows["text"])
        labelled = model.labelled(probabilities)
    classes = [f"{PROBABILITY}{name}" for name in model.pipeline.classes_]
    return pd.DataFrame(labelled).join(pd.DataFrame(probabilities, columns=classes))


def stored(request: EvaluateRequest) -> "pd.DataFrame":
    """The stored predictions of an evaluation."""
    import pandas as pd

    return pd.read_parquet(_artifact(request.model, request.artifact))


def stored_names(model: ModelRef) -> set[str]:
    """The artifacts of all evaluations that are stored of a model."""
    with translated():
        found = client(model.tracking_uri).list_artifacts(model.run_id, "evaluations")
    return {file.path for file in found}


def trained_keys(model: ModelRef) -> "pd.Series[int]":
    """The first 64 bits of the text keys that a model was fitted on.

    Raises:
        IntegrityError: Nobody recorded them, or they cannot be read.
    """
    import pandas as pd

    folder = TRAINED_KEYS.partition("/")[0]
    with translated():
        known = {file.path for file in client(model.tracking_uri).list_artifacts(model.run_id, folder)}
    if TRAINED_KEYS not in known:
        what = f"{model.label}: nobody said which rows it was trained on, so they cannot be kept out of the comparison."
        raise IntegrityError(what, "Register it again with --data-name and --data-version.")
    return pd.read_parquet(_artifact(model, TRAINED_KEYS))["key"]


def _artifact(model: ModelRef, path: str) -> io.BytesIO:
    with tempfile.TemporaryDirectory(prefix="mlops-run-") as temporary:
        return io.BytesIO(download(model.tracking_uri, f"runs:/{model.run_id}/{path}", Path(temporary)).read_bytes())


def _same_dataset(request: EvaluateRequest) -> None:
    found = dataset.load(request.data_root, request.data_name, request.data_version).digest
    if found != request.dataset_digest:
        what = f"Dataset {request.data_name} {request.data_version} has digest {found}, not {request.dataset_digest}."
        raise ConflictError(what, "Start the step again.")
