"""Score one model on one side of a dataset version, row by row, and keep the rows beside the model's run.

The gate compares such stored predictions; it trusts no logged number.
"""

import io
import logging
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle.core.errors import ConfigError, ConflictError, DataError, IntegrityError, NotFoundError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import Side
from lifecycle.core.references import ModelRef
from lifecycle.core.refusals import CANNOT_SCORE, refused_by_the_library
from lifecycle.data import dataset, lock
from lifecycle.data.manifest import Manifest
from lifecycle.models.loading import load
from lifecycle.problems.classification.summary import PROBABILITY
from lifecycle.problems.contract import inputs_of
from lifecycle.problems.known import Problem, named
from lifecycle.tracking import artifacts, claims, runs
from lifecycle.tracking.claims import Claim
from lifecycle.tracking.client import client, translated
from lifecycle.tracking.runs import TRAINED_KEYS

if TYPE_CHECKING:
    import pandas as pd

    from lifecycle.evaluation.baseline import Baseline

logger = logging.getLogger(__name__)

REPAIR = "Let its maker repair it: predict_proba answers each row with a column per class. Then register it again."
CLASSES = "classes"
"""The folder of a run's artifacts with the tables of classes."""


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


def request_for(
    model: ModelRef, data_root: Path, data_name: str, data_version: str, side: Side | None = None
) -> EvaluateRequest:
    """The evaluation of a side; default the one that the gate judges on: holdout, or test where there is no holdout.

    Raises:
        NotFoundError: The version has no rows on the side that is asked for.
    """
    manifest = dataset.load(data_root, data_name, data_version)
    side = side or judged_side(manifest)
    if side not in manifest.counts:
        what = f"{data_name} {data_version} has no {side} split, only {', '.join(manifest.counts)}."
        raise NotFoundError(what, "See: mlops data show")
    return EvaluateRequest(
        model=model,
        data_root=data_root,
        data_name=data_name,
        data_version=data_version,
        side=side,
        dataset_digest=manifest.digest,
    )


def judged_side(manifest: Manifest) -> Side:
    """The side that the gate judges on: the holdout, or test where a version has no holdout."""
    return Side.HOLDOUT if Side.HOLDOUT in manifest.counts else Side.TEST


def further_requests(
    model: ModelRef, data_root: Path, data_name: str, data_version: str
) -> tuple[EvaluateRequest, ...]:
    """What the gate must know besides: of a model whose training rows a person declared, the test side too.

    Nothing where the version has no holdout, so that test is what is judged on.
    """
    counts = dataset.load(data_root, data_name, data_version).counts
    if {Side.TEST, Side.HOLDOUT} <= counts.keys() and claim(model).origin == "declared":
        return (request_for(model, data_root, data_name, data_version, Side.TEST),)
    return ()


@lock.while_reading("data_root")
def evaluate(request: EvaluateRequest) -> None:
    """Predict each row of the side with the stored model and keep `row, key, truth, label, score, probability.<class>`.

    Idempotent by name: predictions that are stored for this model and data are left as they are.
    """
    from mlflow.entities import Metric

    mlflow = client(request.model.tracking_uri)
    folder, name = request.artifact.split("/")
    if _holds(request.model, request.artifact):
        return
    rows = dataset.load_rows(request.data_root, request.data_name, request.data_version, request.side)
    _same_dataset(request)
    problem, model = _problem(request), load(request.model)
    answers = predicted(model, _inputs(request, model, rows))
    table = rows[["row", "key"]].assign(truth=rows[problem.target]).join(answers)
    summary = problem.learning.summary(request.side, table["truth"], answers)
    with tempfile.TemporaryDirectory(prefix="mlops-run-") as temporary, translated():
        if summary.table is not None:
            path = Path(temporary) / f"{request.side}-{request.dataset_digest[:16]}.csv"
            summary.table.to_csv(path, index=False)
            mlflow.log_artifact(request.model.run_id, str(path), CLASSES)
        table.to_parquet(Path(temporary) / name, index=False)
        mlflow.log_artifact(request.model.run_id, str(Path(temporary) / name), folder)
        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, 0) for name, value in summary.metrics.items()]
        mlflow.log_batch(request.model.run_id, metrics)
    if request.side is judged_side(_manifest(request)):
        _freeze(request, rows, table)
    logger.info("Evaluated %s on %s %s rows", request.model.label, f"{len(table):,}", request.side)


def later_baseline(request: EvaluateRequest) -> "Baseline":
    """Freeze the baseline of a version that has none, from its stored evaluation.

    Raises:
        NotFoundError: It was not judged on these rows.
    """
    if not _holds(request.model, request.artifact):
        what = (
            f"{request.model.label} has no baseline, and was not judged on {request.data_name} {request.data_version}."
        )
        raise NotFoundError(what, "Judge it there: mlops gate check --version … --data-name … --data-version …")
    rows = dataset.load_rows(request.data_root, request.data_name, request.data_version, request.side)
    _same_dataset(request)
    answers = stored(request)
    common = {*rows["row"]} & {*answers["row"]}  # what was erased may be gone from one of them only
    rows, answers = (frame[frame["row"].isin(common)].sort_values("row") for frame in (rows, answers))
    return _freeze(request, rows, answers)


def _freeze(request: EvaluateRequest, rows: "pd.DataFrame", answers: "pd.DataFrame") -> "Baseline":
    """Keep beside the run what production will be compared with, where the rows and the answers are in hand."""
    from lifecycle.evaluation import baseline as baselines

    manifest, train = _manifest(request), rows.head(0)
    if any(column.is_text for column in manifest.inputs):
        train = dataset.load_rows(request.data_root, request.data_name, request.data_version, Side.TRAIN)
    made = baselines.Baseline.of(manifest, request.side, rows, answers, train)
    baselines.log(request.model, baselines.name_of(request.artifact), made)
    return made


def predicted(model: Any, inputs: "pd.DataFrame") -> "pd.DataFrame":
    """What a loaded model says of rows: its prediction and, of a classifier that tells them, `probability.<class>`.

    Raises:
        DataError: It cannot, or its answer is no table of numbers with a row per row and a column per class.
    """
    import pandas as pd

    with refused_by_the_library("The model cannot score these rows: ", DataError, CANNOT_SCORE):
        if not hasattr(model, "probabilities") or named(model.problem).model_type != "classifier":
            return pd.DataFrame(model.predict(None, inputs))
        classes, probabilities = _classes(model.pipeline), model.probabilities(inputs)
        _one_per_row(probabilities, (len(inputs), len(classes)))
        labelled = model.labelled(probabilities)
    columns = [f"{PROBABILITY}{name}" for name in classes]
    return pd.DataFrame(labelled).join(pd.DataFrame(probabilities, columns=columns))


def _classes(pipeline: Any) -> list[str]:
    """The classes of a pipeline as texts, as `TextModel` writes its labels."""
    import numpy as np

    classes = [str(name) for name in np.asarray(pipeline.classes_).astype(str)]
    if repeated := sorted({name for name in classes if classes.count(name) > 1}):
        raise DataError(f"The model has two classes that are both called {repeated[0]!r:.80}.", REPAIR)
    return classes


def _one_per_row(answer: Any, right: tuple[int, int]) -> None:
    import numpy as np

    if np.shape(answer) != right:
        what = f"The model answers {right[0]:,} rows with a table of {np.shape(answer)}, not {right}."
        raise DataError(what, REPAIR)
    if np.asarray(answer).dtype.kind not in "fiu":
        raise DataError(f"The model answers with {np.asarray(answer).dtype}, which are no probabilities.", REPAIR)


def stored(request: EvaluateRequest) -> "pd.DataFrame":
    """The stored predictions of an evaluation."""
    import pandas as pd

    return pd.read_parquet(_artifact(request.model, request.artifact))


def hits(request: EvaluateRequest) -> tuple[int, int] | None:
    """How many rows of a side a model has right, and how many there are, without those that it was trained on.

    From the stored evaluation; of the test side of the dataset version that our own training fitted it on, from what
    that recorded. None if neither is there, or no row is left.

    Raises:
        IntegrityError: Nobody said what it was trained on, or that cannot be read.
    """
    if not _holds(request.model, request.artifact):
        return _recorded_hits(request)
    rows = stored(request)
    known = set(trained_keys(request.model))
    unseen = rows[[int(key[:16], 16) not in known for key in rows["key"]]]
    right = _problem(request).judging.scores_of(unseen["truth"], {"": unseen})[""].right
    return (int(right.sum()), len(unseen)) if right is not None and len(unseen) else None


def _recorded_hits(request: EvaluateRequest) -> tuple[int, int] | None:
    """From the table of classes that a training writes: a later evaluation of other rows does not change it."""
    import pandas as pd

    model, name = request.model, f"{CLASSES}/{Side.TEST}.csv"
    if request.side is not Side.TEST or claim(model).origin != "recorded":
        return None
    if _tags(model).get("mlops.dataset_digest") != request.dataset_digest:
        return None
    if not _holds(model, name):
        return None
    classes = pd.read_csv(_artifact(model, name))
    total = int(classes["rows"].sum())
    return (int((classes["recall"] * classes["rows"]).round().sum()), total) if total else None


def stored_names(model: ModelRef) -> set[str]:
    """The artifacts of all evaluations that are stored of a model."""
    return {*artifacts.names(model.tracking_uri, model.run_id, "evaluations")}


def trained_keys(model: ModelRef) -> "pd.Series[int]":
    """The first 64 bits of the text keys that a model was fitted on.

    Raises:
        IntegrityError: Nobody recorded them, they cannot be read, or they were recorded for another run or model.
    """
    import pandas as pd

    tags = _tags(model)
    if not _holds(model, TRAINED_KEYS):
        what = f"{model.label}: nobody said which rows it was trained on, so they cannot be kept out of the comparison."
        raise IntegrityError(what, "Register it again with --data-name, --data-version and --trained-on.")
    keys = pd.read_parquet(_artifact(model, TRAINED_KEYS))["key"]
    claims.check(model.label, model.run_id, tags, keys)
    return keys


def claim(model: ModelRef) -> Claim:
    """Who says on which rows a model was trained: our own training, a person, or nobody."""
    return claims.of(model, _tags(model), has_keys=_holds(model, TRAINED_KEYS))


def _holds(model: ModelRef, path: str) -> bool:
    """Whether something lies in a folder of the model's run."""
    return path in artifacts.names(model.tracking_uri, model.run_id, path.rpartition("/")[0])


def _tags(model: ModelRef) -> dict[str, str]:
    return runs.tags(model.tracking_uri, model.run_id)


def _artifact(model: ModelRef, path: str) -> io.BytesIO:
    return io.BytesIO(artifacts.read(model.tracking_uri, model.run_id, path))


def _manifest(request: EvaluateRequest) -> Manifest:
    return dataset.load(request.data_root, request.data_name, request.data_version)


def _problem(request: EvaluateRequest) -> Problem:
    """What the dataset is about."""
    return named(_manifest(request).problem)


def _inputs(request: EvaluateRequest, model: Any, rows: "pd.DataFrame") -> "pd.DataFrame":
    """The inputs of a model from the rows of the dataset.

    Raises:
        ConfigError: The dataset is about something else, or lacks an input.
    """
    manifest = _manifest(request)
    missing = [name for name in model.inputs if name not in {column.name for column in manifest.inputs}]
    if model.problem != manifest.problem or missing:
        why = f"it is about {manifest.problem}" if model.problem != manifest.problem else f"it has no {missing[0]!r}"
        where = f"{request.data_name} {request.data_version}"
        what = f"{request.model.label} ({model.problem}) cannot be asked on {where}: {why}."
        raise ConfigError(what, "Name another dataset: --data-name … --data-version …")
    return inputs_of(rows, manifest.inputs)


def _same_dataset(request: EvaluateRequest) -> None:
    found = _manifest(request).digest
    if found != request.dataset_digest:
        what = f"Dataset {request.data_name} {request.data_version} has digest {found}, not {request.dataset_digest}."
        raise ConflictError(what, "Start the step again.")
