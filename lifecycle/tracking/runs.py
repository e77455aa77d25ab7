"""What a training run in MLflow says of its model: finished, withdrawn, collected, deleted, left by a dead process."""

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from lifecycle.core.errors import ConflictError, NotFoundError
from lifecycle.core.references import ModelRef
from lifecycle.core.writer_process import OWNER, is_dead, owner
from lifecycle.tracking import tables
from lifecycle.tracking.client import client, is_missing, translated

if TYPE_CHECKING:
    from mlflow.entities import Run

logger = logging.getLogger(__name__)
TRAIN_KEY = "mlops.train_key"
MODEL_URI, ARTIFACT_SHA256 = "mlops.model_uri", "mlops.artifact_sha256"
DEFINITION = "mlops.definition"
"""The tag that says how a model was defined, whatever it was trained on."""
CHOSEN = "mlops.params"
"""The tag that says which parameters a training was given, as JSON; all others are the defaults."""
COLLECTED, COLLECTING = "mlops.collected", "collecting"
WHOLE, BEGINNING = 32, re.compile("[0-9a-f]{4,}")
"""How long the id of a run is, and what the beginning of one looks like."""
PACKAGES = ("mlflow", "numpy", "pandas", "scikit-learn", "scipy", "skops")
TRAINED_KEYS = "training/keys.parquet"
_STARTING = threading.Lock()


def tags(tracking_uri: str, run_id: str) -> dict[str, str]:
    """The tags of a run, be it deleted.

    Raises:
        MlflowException: There is no such run (`client.is_missing`).
    """
    embedded = tables.of(tracking_uri)
    if embedded and (row := embedded.run(run_id)):
        return dict(row["tags"])
    with translated():
        return dict(client(tracking_uri).get_run(run_id).data.tags)


def tags_if_there(tracking_uri: str, run_id: str) -> dict[str, str]:
    """The same; none where the run is not there, for example on another server."""
    if embedded := tables.of(tracking_uri):
        row = embedded.run(run_id)
        return dict(row["tags"]) if row else {}
    from mlflow.exceptions import MlflowException

    try:
        return tags(tracking_uri, run_id)
    except MlflowException as error:
        if not is_missing(error):
            raise
        return {}


def finished_run(tracking_uri: str, experiment_id: str, key: str, *, take_over: bool = False) -> str | None:
    """The first finished run of a training that still has its model; what a dead process left open is marked KILLED.

    With `take_over` the last of those is handed on instead: what trains is another process, which may be at work still.
    """
    mlflow = client(tracking_uri)
    found = mlflow.search_runs([experiment_id], f"tags.`{TRAIN_KEY}` = '{key}'", order_by=["start_time ASC"])
    left = [run.info.run_id for run in found if run.info.status == "RUNNING" and is_dead(run.data.tags.get(OWNER, ""))]
    done = [
        run
        for run in found
        if run.info.status == "FINISHED" and ARTIFACT_SHA256 in run.data.tags and COLLECTED not in run.data.tags
    ]
    done = [run for run in done if _is_whole(tracking_uri, run)]
    taken = left.pop() if take_over and left and not done else None
    for run_id in left:
        end_abandoned(tracking_uri, run_id)
    if taken:
        mlflow.set_tag(taken, OWNER, owner())
    return str(done[0].info.run_id) if done else taken


def has_files(model: ModelRef) -> bool:
    """Whether the files of a model are there."""
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    client(model.tracking_uri, model.registry_uri)
    try:
        return bool(mlflow.artifacts.list_artifacts(artifact_uri=model.uri, tracking_uri=model.tracking_uri))
    except MlflowException as error:
        if not is_missing(error):
            raise
        return False


def _is_whole(tracking_uri: str, run: "Run") -> bool:
    """Whether a run has its model: without the files the same training is the way to have it again."""
    tags, run_id = run.data.tags, run.info.run_id
    model = ModelRef(
        tracking_uri=tracking_uri, uri=tags[MODEL_URI], run_id=run_id, artifact_sha256=tags[ARTIFACT_SHA256]
    )
    if found := has_files(model):
        return found
    logger.warning("The files of the model that run %s trained are gone: it is trained again", run_id)
    return False


@contextmanager
def closed_on_failure(tracking_uri: str, run_id: str) -> Iterator[None]:
    """Mark a run as failed when what is done for it ends in an error, and as killed when somebody ends it.

    Who tries again with the same run opens it again.
    """
    try:
        yield
    except BaseException as error:
        with translated():
            client(tracking_uri).set_terminated(run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
        raise


@contextmanager
def active(run_id: str) -> Iterator[None]:
    """Log into a run of ours, whatever experiment or run the caller's own program has made active; both stay so.

    MLflow refuses to go on with a run of another experiment than the active one, and has no public way to put that
    aside. It is asked at the start only, which one thread does at a time.
    """
    import mlflow
    from mlflow.tracking import fluent

    with _STARTING:
        theirs, fluent._active_experiment_id = fluent._active_experiment_id, None
        try:
            run = mlflow.start_run(run_id=run_id, nested=True)
        finally:
            fluent._active_experiment_id = theirs
    with run:
        yield


@contextmanager
def not_autologged() -> Iterator[None]:
    """Fit what MLflow's autologging would make runs of, in a notebook of Databricks even unasked: ours is logged."""
    from mlflow.utils.autologging_utils import disable_autologging

    with disable_autologging():
        yield


def withdraw(tracking_uri: str, run_id: str) -> str:
    """Mark that a run's model is about to be collected, so that nobody registers it; returns its URI.

    Empty if the run is not there, holds no model, or was collected before.
    """
    found = tags_if_there(tracking_uri, run_id)
    if MODEL_URI not in found or found.get(COLLECTED, COLLECTING) != COLLECTING:
        return ""
    with translated():
        client(tracking_uri).set_tag(run_id, COLLECTED, COLLECTING)
    return found[MODEL_URI]


def reinstate(tracking_uri: str, run_id: str) -> None:
    """Take a `withdraw` back."""
    with translated():
        client(tracking_uri).delete_tag(run_id, COLLECTED)


def mark_collected(tracking_uri: str, run_id: str) -> None:
    """Record when the files of a withdrawn model were removed."""
    with translated():
        client(tracking_uri).set_tag(run_id, COLLECTED, datetime.now(UTC).isoformat(timespec="seconds"))


def is_withdrawn(tracking_uri: str, run_id: str) -> bool:
    """Tell whether the files of a run's model were, or are about to be, collected."""
    return bool(_collection_of(tracking_uri, run_id))


def is_withdrawing(tracking_uri: str, run_id: str) -> bool:
    """Tell whether the collection of a run's model has begun and not ended."""
    return _collection_of(tracking_uri, run_id) == COLLECTING


def state_of(tracking_uri: str, run_id: str) -> Literal["fine", "missing", "deleted", "unsafe"]:
    """Whether a run and its logged model are there, and out of reach of MLflow's garbage collection."""
    from mlflow.exceptions import MlflowException

    mlflow = client(tracking_uri)
    try:
        with translated():
            run = mlflow.get_run(run_id)
    except MlflowException as error:
        if not is_missing(error):
            raise
        return "missing"
    if run.info.lifecycle_stage == "deleted":
        return "deleted"
    uri = run.data.tags.get(MODEL_URI, "")
    if not uri or COLLECTED in run.data.tags:
        return "fine"
    try:
        with translated():
            mlflow.get_logged_model(uri.removeprefix("models:/"))
    except MlflowException as error:
        if not is_missing(error):
            raise
        return "unsafe"
    return "fine"


def restore(tracking_uri: str, run_id: str) -> None:
    """Bring a deleted run back."""
    with translated():
        client(tracking_uri).restore_run(run_id)


def abandoned(tracking_uri: str) -> list[str]:
    """Training runs that say RUNNING though their process, on this machine, has ended."""
    mlflow = client(tracking_uri)
    with translated():
        experiments = [each.experiment_id for each in mlflow.search_experiments()]
        found = mlflow.search_runs(experiments, "attributes.status = 'RUNNING'") if experiments else []
    return [run.info.run_id for run in found if is_dead(run.data.tags.get(OWNER, ""))]


def end_abandoned(tracking_uri: str, run_id: str) -> None:
    """Mark the run of a dead process as killed."""
    with translated():
        client(tracking_uri).set_terminated(run_id, "KILLED")


def _collection_of(tracking_uri: str, run_id: str) -> str:
    return tags_if_there(tracking_uri, run_id).get(COLLECTED, "")


def full_id(tracking_uri: str, beginning: str) -> str:
    """The id of the run that begins so, as lists show it; what is whole already, or begins no single one, stays.

    Raises:
        ConflictError: Several runs begin so.
    """
    if len(beginning) >= WHOLE or not BEGINNING.fullmatch(beginning):
        return beginning
    mlflow = client(tracking_uri)
    with translated():
        experiments = [each.experiment_id for each in mlflow.search_experiments()]
        found = mlflow.search_runs(experiments, f"attributes.run_id LIKE '{beginning}%'", max_results=2)
    if len(found) > 1:
        raise ConflictError(f"Several runs begin with {beginning}.", "Give more of its digits: mlops runs --json")
    return str(found[0].info.run_id) if found else beginning


def trained(tracking_uri: str, run_id: str) -> ModelRef:
    """The model of a finished training run, named by its id or the beginning of it.

    Raises:
        NotFoundError: There is no such run.
        ConflictError: The run holds no finished model of ours.
    """
    from mlflow.exceptions import MlflowException

    run_id = full_id(tracking_uri, run_id)
    try:
        with translated():
            run = client(tracking_uri).get_run(run_id)
    except MlflowException as error:
        raise NotFoundError(
            f"No run {run_id!r} in {tracking_uri}: {str(error.message).rstrip('.')}.", "See: mlops runs"
        ) from None
    tags = run.data.tags
    if run.info.status != "FINISHED" or MODEL_URI not in tags or ARTIFACT_SHA256 not in tags:
        raise ConflictError(
            f"Run {run_id} is {run.info.status} and holds no finished model.", "Train again: mlops train"
        )
    if COLLECTED in tags:
        raise ConflictError(f"The model of run {run_id} was cleaned up.", "Train again: mlops train")
    return ModelRef(
        tracking_uri=tracking_uri, uri=tags[MODEL_URI], run_id=run_id, artifact_sha256=tags[ARTIFACT_SHA256]
    )
