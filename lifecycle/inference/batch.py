"""Score a table with one exact model and publish the predictions, whole or not at all.

A batch is written under a hidden name and renamed once complete, so readers need only its manifest; on a volume,
`lifecycle.storage.volumes` says how. An interrupted batch keeps its finished parts, and the next run continues after
them.
"""

import logging
import shutil
from logging import INFO, WARNING
from pathlib import Path

from filelock import FileLock

from lifecycle.core.errors import ConfigError, ConflictError, DataError, IntegrityError
from lifecycle.core.provenance import code_version
from lifecycle.data import ingest, lock
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.inference import local, spark, superseded, tables
from lifecycle.inference.manifest import MANIFEST, BatchManifest, BatchRequest, Counts, load, locate, pinned, verify
from lifecycle.storage import volumes
from lifecycle.storage.files import leftovers, sha256_of, write_json

logger = logging.getLogger(__name__)


@lock.while_reading("output_root")
def infer(request: BatchRequest) -> None:
    """Score a batch, publish it, and enter it in the Delta table if there is one; again is a no-op.

    What it takes the place of stays where it is, says so, and leaves the table in the same transaction.

    Raises:
        ConfigError: The engine or the table cannot be used here, or the model has no such input; nothing is published.
        ConflictError: The input changed while it was scored; nothing is published.
        DataError: The input is malformed or lacks a column that the model reads; nothing is published.
        IntegrityError: The model, or what was published before, is not what it should be.
    """
    table = request.inference.table
    if table:
        tables.require(table)
    folder, replaced = _publish_once(pinned(request)), request.replaces
    if table:
        tables.write(folder, table, replaced.folder if replaced else None)
    if replaced:
        superseded.mark(replaced, folder)


def _publish_once(request: BatchRequest) -> Path:
    """Score a batch unless it is published, which is verified; either way, its folder."""
    final, digest = locate(request)
    if volumes.is_published(final):
        manifest = verify(final, request)
        logger.info("Predictions are in place: %s rows in %s", f"{manifest.scored:,}", final)
        return final
    work = volumes.staging(final)
    work.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(work.with_name(f".{work.name}.lock")):
        if volumes.is_published(final):
            verify(final, request)
            return final
        folder = work.with_name(f".partial-{work.name}-{request.inference.rows_per_part}")
        folder.mkdir(exist_ok=True)
        for unfinished in leftovers(folder):
            unfinished.unlink()
        try:
            if _is_copied(request, folder):
                volumes.publish(folder, final)
                return final
            counts = {"local": local, "spark": spark}[request.inference.engine].score(request, folder)
        except (ConfigError, ConflictError, DataError, IntegrityError):
            shutil.rmtree(folder)
            raise
        _publish(request, folder, final, digest, counts)
    _tell(counts, final)
    return final


def _is_copied(request: BatchRequest, folder: Path) -> bool:
    """Take over what was made aside, if it is whole: the input need not be there any more."""
    aside = request.replaces.made_aside if request.replaces else None
    if aside is None or not volumes.is_published(aside):
        return False
    with lock.undisturbed(aside.parents[2]):
        try:
            verify(aside, request)
        except IntegrityError as error:
            logger.warning("Scored anew: %s", error)
            return False
        there = volumes.local(aside)
        shutil.rmtree(folder)
        shutil.copytree(there, folder, ignore=shutil.ignore_patterns(MANIFEST))
        shutil.copyfile(there / MANIFEST, folder / MANIFEST)
    logger.info("Predictions that %s made in the shadow are published", request.model.label)
    return True


def _publish(request: BatchRequest, folder: Path, final: Path, digest: str, counts: Counts) -> None:
    if counts.rows_in != counts.scored + counts.rows_erased + sum(counts.rejected.values()):
        raise IntegrityError(f"{counts.rows_in} rows in, but {counts.scored} scored and {counts.rejected} rejected.")
    manifest = BatchManifest(
        model_name=request.model.name or "unregistered",
        model_version=request.model.version,
        run_id=request.model.run_id,
        artifact_sha256=request.model.artifact_sha256,
        input=request.input.public_uri,
        input_digest=digest,
        logical_date=request.logical_date,
        key_column=request.key_column,
        splits=request.splits,
        rows_trained_on=_rows_trained_on(request) if request.splits else None,
        form=request.form,
        **counts.model_dump(),
        parts={path.name: sha256_of(path) for path in sorted(folder.glob("*.parquet"))},
        code_version=code_version(),
    )
    write_json(folder / MANIFEST, manifest.model_dump(mode="json"))
    volumes.publish(folder, final)
    if load(final) != manifest:  # on a volume, another machine was faster
        verify(final, request)


def _tell(counts: Counts, folder: Path) -> None:
    if counts.rejected:
        rows, why = sum(counts.rejected.values()), ", ".join(f"{why} {n:,}" for why, n in counts.rejected.items())
        level, of = (INFO, f"of {counts.rows_in:,}") if counts.scored else (WARNING, "and scored none")
        logger.log(level, "Rejected %s rows %s: %s", f"{rows:,}", of, why)
    logger.info("Published %s predictions in %s", f"{counts.scored:,}", folder)


def _rows_trained_on(request: BatchRequest) -> int | None:
    """How many of the rows of a dataset version its model was fitted on; None where nobody said it."""
    try:
        known = set(evaluation.trained_keys(request.model))
    except IntegrityError:
        return None
    columns, size = {"key": "", local.SPLIT: ""}, request.inference.rows_per_part
    total = 0
    for rows in ingest.stream(request.input, request.rules, columns, rows_per_chunk=size, sha256=request.input_sha256):
        keys = rows.loc[rows[local.SPLIT].isin(request.splits), "key"]
        total += sum(int(key[:16], 16) in known for key in keys)
    return total
