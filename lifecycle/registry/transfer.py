"""Carry a model to another tracking server, run and files: dev and prod may live on different ones.

A run with its parameters, metrics, tags and artifacts is made again at the target, and the model is uploaded from a
copy whose digest was verified; so the target's gate finds everything that it needs on its own server.
"""

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.core.errors import IntegrityError
from lifecycle.core.references import ModelRef
from lifecycle.core.writer_process import OWNER, owner
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.models import loading
from lifecycle.registry.store import Target
from lifecycle.tracking import champions, claims, runs
from lifecycle.tracking.artifacts import download
from lifecycle.tracking.client import client, experiment, translated

if TYPE_CHECKING:
    from mlflow.entities import Run

logger = logging.getLogger(__name__)

COPIED_FROM = "mlops.copied_from"
BATCH = 100
"""What MLflow takes of each kind in one request."""
NOT_CARRIED = (
    OWNER,
    runs.MODEL_URI,
    runs.ARTIFACT_SHA256,
    runs.COLLECTED,
    claims.SEAL,
    claims.ERASED,
)


def bring(model: ModelRef, target: Target) -> ModelRef:
    """The same model where the target's tracking server can reach it: itself, or its copy there.

    Again, the copy that is there is found. Whether a pickle may be loaded is for the target to say.

    Raises:
        IntegrityError: The files are not those that were registered, here or there.
    """
    if model.tracking_uri == target.tracking_uri:
        return model.model_copy(update=target.trust)
    source = f"{model.tracking_uri}#{model.run_id}"
    experiment_id = experiment(target.tracking_uri, f"{target.name.rpartition('.')[2]}-{target.name.partition('.')[0]}")
    if run_id := _copied(target.tracking_uri, experiment_id, source):
        return runs.trained(target.tracking_uri, run_id).model_copy(update=target.trust)
    logger.info("Copying %s to %s", model.label, target.tracking_uri)
    with loading.private_copy(model) as folder, tempfile.TemporaryDirectory(prefix="mlops-run-") as temporary:
        original = _original(model, Path(temporary))
        run_id = _run_like(original, target.tracking_uri, experiment_id, {COPIED_FROM: source, OWNER: owner()})
        with translated():
            client(target.tracking_uri).log_artifacts(run_id, temporary)
            _seal(original, model, target.tracking_uri, run_id)
        upload(target.tracking_uri, experiment_id, run_id, folder)
    return runs.trained(target.tracking_uri, run_id).model_copy(update=target.trust)


def upload(tracking_uri: str, experiment_id: str, run_id: str, folder: Path) -> None:
    """Store a model folder as the model of an open run, and finish the run.

    Raises:
        IntegrityError: What was stored is not what was sent.
    """
    mlflow, digest = client(tracking_uri), loading.artifact_digest(folder)
    with translated():
        logged = mlflow.create_logged_model(experiment_id, name="model", source_run_id=run_id)
        mlflow.log_model_artifacts(logged.model_id, str(folder))
        mlflow.finalize_logged_model(logged.model_id, "READY")
    with tempfile.TemporaryDirectory(prefix="mlops-model-") as temporary:
        stored = loading.artifact_digest(download(tracking_uri, logged.model_uri, Path(temporary)))
    if stored != digest:
        raise IntegrityError(f"{logged.model_uri} was stored with digest {stored}, sent was {digest}.", "Try again.")
    with translated():
        mlflow.set_tag(run_id, runs.MODEL_URI, logged.model_uri)
        mlflow.set_tag(run_id, runs.ARTIFACT_SHA256, digest)
        mlflow.set_terminated(run_id, "FINISHED")


def _original(model: ModelRef, folder: Path) -> "Run":
    """The run of a model; its artifacts are downloaded into a folder."""
    mlflow = client(model.tracking_uri)
    with translated():
        if mlflow.list_artifacts(model.run_id):
            download(model.tracking_uri, f"runs:/{model.run_id}/", folder)
        return mlflow.get_run(model.run_id)


def _run_like(original: "Run", tracking_uri: str, experiment_id: str, tags: Mapping[str, str]) -> str:
    """Open a run with the parameters, metrics and tags of another one."""
    from mlflow.entities import Metric, Param

    mlflow, data = client(tracking_uri), original.data
    kept = {k: value for k, value in data.tags.items() if k not in NOT_CARRIED and not k.startswith(champions.TAG)}
    params = [Param(key, value) for key, value in data.params.items()]
    metrics = [Metric(key, value, original.info.start_time, 0) for key, value in data.metrics.items()]
    with translated():
        run_id = str(mlflow.create_run(experiment_id, tags={**kept, **tags}).info.run_id)
        for start in range(0, max(len(params), len(metrics)), BATCH):
            end = start + BATCH
            mlflow.log_batch(run_id, metrics=metrics[start:end], params=params[start:end])
    return run_id


def _seal(original: "Run", model: ModelRef, tracking_uri: str, run_id: str) -> None:
    """Bind the keys of texts to the copy of their run, if they were bound to the original."""
    if claims.SEAL in original.data.tags:
        sealed = claims.seal(run_id, model.artifact_sha256, evaluation.trained_keys(model))
        client(tracking_uri).set_tag(run_id, claims.SEAL, sealed)


def _copied(tracking_uri: str, experiment_id: str, source: str) -> str | None:
    with translated():
        found = client(tracking_uri).search_runs([experiment_id], f"tags.`{COPIED_FROM}` = '{source}'")
    done = [
        run
        for run in found
        if run.info.status == "FINISHED"
        and runs.ARTIFACT_SHA256 in run.data.tags
        and runs.COLLECTED not in run.data.tags
    ]
    return str(done[-1].info.run_id) if done else None
