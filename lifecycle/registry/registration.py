"""Enter versions: each exactly once per idempotency key, whatever was killed before or runs beside."""

import hashlib
import json
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lifecycle.core.errors import ConfigError, ConflictError, IntegrityError, TransientError
from lifecycle.core.references import ModelRef
from lifecycle.core.writer_process import OWNER, is_dead, owner
from lifecycle.models.loading import artifact_digest, private_copy
from lifecycle.models.mlmodel import description
from lifecycle.registry import aliases, binding, deployment_job, log, store, story
from lifecycle.registry.store import Target, Version
from lifecycle.tracking import runs
from lifecycle.tracking.artifacts import named
from lifecycle.tracking.client import client, is_missing, translated

logger = logging.getLogger(__name__)
RUNS = "runs:/"


def enter(target: Target, model: ModelRef, tags: Mapping[str, str], *, description: str = "") -> int:
    """Create the version of an idempotency key (in `tags`) and wait until it is ready; again gives the same number.

    What a dead process left half-written under the same key is deleted. The model remembers a candidate at once, an
    entry of the log when its alias is settled.

    Raises:
        ConflictError: The model's files were cleaned up.
        IntegrityError: The registration failed.
        TransientError: Its files were still being written after `store.READY_SECONDS`.
    """
    number = _existing(target, tags[log.KEY]) or _make(target, model, tags, description)
    if log.EXPECTED not in tags:
        story.remember(target)
    return number


def _make(target: Target, model: ModelRef, tags: Mapping[str, str], description: str) -> int:
    if model.run_id and runs.is_withdrawn(target.tracking_uri, model.run_id):
        raise ConflictError(f"The files of {model.label} were cleaned up.", "Train again: mlops train")
    deployment_job.create_model(target)
    place = {OWNER: owner(), log.SOURCE: model.uri, log.PLACE: str(story.next_place(target))}
    written = {name: value for name, value in tags.items() if value} | place
    try:
        with _source(target, model) as source:
            number = store.create_version(target, source, model.run_id, written, description)
    except Exception:
        if _is_gone(model):
            raise ConflictError(f"{model.label} was deleted meanwhile.", "See: mlops history") from None
        raise
    store.await_ready(target, number)
    logger.info("Registered %s v%d", target.name, number)
    return _existing(target, tags[log.KEY]) or number


def _is_gone(model: ModelRef) -> bool:
    """Tell whether a model is a version that is not there any more."""
    if model.name is None or model.version is None:
        return False
    home = Target(tracking_uri=model.tracking_uri, registry_uri=model.registry_uri, name=model.name)
    return store.find(home, model.version) is None


def candidate(target: Target, model: ModelRef, *, tags: Mapping[str, str] | None = None, description: str = "") -> int:
    """Register a model without promoting it; the same model again gives the same version."""
    content = [target.name, "candidate", model.artifact_sha256, model.run_id]
    key = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    written = {**(tags or {}), log.KEY: key, log.ARTIFACT: model.artifact_sha256, log.BY: log.author()}
    return enter(target, model, written, description=description)


def described(target: Target, source: str) -> ModelRef:
    """The model behind a `models:/…` or `runs:/…` URI of the target's server, digested now.

    An alias (`models:/name@alias`) is read once: what is registered is the version behind it.

    Raises:
        ConfigError: It is no such URI, or nothing has that name.
        IntegrityError: There are no files behind it.
    """
    if not source.startswith(("models:/", RUNS)):
        what = f"{source!r} is neither a models:/ nor a runs:/ URI."
        raise ConfigError(what, "A file from outside MLflow: mlops model register-external")
    if "@" in source:
        name, _, alias = source.removeprefix("models:/").rpartition("@")
        source = f"models:/{name}/{aliases.get(target.named(name), alias)}"
    if source.startswith(RUNS):
        run_id, slash, name = source.removeprefix(RUNS).partition("/")
        source = f"{RUNS}{runs.full_id(target.tracking_uri, run_id)}{slash}{name}"
    source = _logged(target, source) or source
    with tempfile.TemporaryDirectory(prefix="mlops-model-") as temporary:
        folder = named(target.tracking_uri, source, Path(temporary), target.registry_uri)
        if not (folder / "MLmodel").is_file():
            raise IntegrityError(f"{source}: there is no MLflow model (no MLmodel file).", "Check the URI.")
        run_id = description(folder, source).get("run_id") or ""
        if not isinstance(run_id, str):
            raise IntegrityError(f"{source}: its MLmodel file names no run, but {run_id!r:.80}.", "Check the URI.")
        return ModelRef(
            tracking_uri=target.tracking_uri,
            registry_uri=target.registry_uri,
            uri=source,
            run_id=run_id,
            artifact_sha256=artifact_digest(folder),
            **target.trust,
        )


def _logged(target: Target, source: str) -> str:
    """The `models:/m-…` URI of what a `runs:/…` URI names; empty if that is no logged model.

    MLflow downloads a version that was made of the latter into a folder of another layout, with another digest.
    """
    from mlflow.exceptions import MlflowException

    run_id, _, name = source.removeprefix(RUNS).partition("/")
    if not source.startswith(RUNS) or not name or "'" in source:
        return ""
    mlflow = client(target.tracking_uri)
    try:
        with translated():
            experiment = mlflow.get_run(run_id).info.experiment_id
            found = mlflow.search_logged_models([experiment], f"name = '{name}' AND source_run_id = '{run_id}'")
    except MlflowException as error:
        if not is_missing(error):
            raise
        return ""
    return f"models:/{found[0].model_id}" if found else ""


@contextmanager
def _source(target: Target, model: ModelRef) -> Iterator[str]:
    """What to register from: the model's URI, or a verified copy where the registry keeps files of its own.

    Unity Catalog's client removes what it was told to upload from, the original included, unless it is a plain folder.
    """
    if not target.in_unity_catalog:
        yield model.uri
        return
    with private_copy(model) as folder:
        yield str(folder)


def await_earlier(target: Target, number: int) -> None:
    """Wait until every version before a number is ready or gone: until then nobody knows who is champion there.

    One that this process left half-written itself, because a reply was lost and the request sent again, is deleted.

    Raises:
        TransientError: One was still being written after `store.READY_SECONDS`.
    """
    start = time.monotonic()
    while pending := [v for v in store.versions(target) if v.version < number and v.status == store.PENDING]:
        is_late = time.monotonic() - start > store.READY_SECONDS  # however long it then takes to delete some
        for version in pending:
            if is_abandoned(version) or version.tags.get(OWNER) == owner():
                story.discard(target, version.version)
        if is_late:
            what = f"{target.name} v{pending[0].version} is still being written by {pending[0].tags.get(OWNER)}."
            raise TransientError(what, "If nothing writes it any more: mlops doctor --repair")
        time.sleep(0.2)


def is_abandoned(version: Version) -> bool:
    """Tell whether a version that is not ready was left by a process that has ended."""
    return version.status == store.PENDING and is_dead(version.tags.get(OWNER, ""))


def _existing(target: Target, key: str) -> int | None:
    for version in binding.versions(target):
        if version.tags.get(log.KEY) != key or version.status == store.FAILED:
            continue
        if version.status == store.PENDING:
            if is_abandoned(version) or version.tags.get(OWNER) == owner():
                story.discard(target, version.version)
                continue
            store.await_ready(target, version.version)
        return version.version
    return None
