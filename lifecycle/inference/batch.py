"""What a batch is: its request, where it is published, and its manifest.

`<output root>/<model>/<version>/<input digest>/` holds `part-00000.parquet …`, `rejected.parquet` and `manifest.json`;
the folder of a day's batch is `<day>-<input digest>`.
It is written under a hidden name and renamed once complete, so readers need only the manifest; on a volume,
`lifecycle.storage.volumes` says how. An interrupted batch keeps its finished parts, and the next run continues after
them.
"""

import hashlib
import json
import logging
import shutil
from datetime import date
from pathlib import Path

from filelock import FileLock
from pydantic import Field, ValidationError

from lifecycle.core.errors import ConfigError, ConflictError, DataError, IntegrityError, NotFoundError
from lifecycle.core.frozen import Frozen
from lifecycle.core.provenance import code_version
from lifecycle.core.references import ModelRef
from lifecycle.data import ingest, lock
from lifecycle.data.erased import Erased
from lifecycle.data.source import Source
from lifecycle.settings.load import DataRules, InferenceRules
from lifecycle.storage import volumes
from lifecycle.storage.files import leftovers, sha256_of, write_json

logger = logging.getLogger(__name__)

MANIFEST, REJECTED = "manifest.json", "rejected.parquet"
SCHEMA = 1


class BatchRequest(Frozen):
    """One batch: an exact model, an exact input, and where the predictions go."""

    model: ModelRef
    input: Source
    input_sha256: str | None = Field(None, description="Digest of the content that is scored; another is refused.")
    text_column: str
    key_column: str | None = Field(None, description="Column that identifies a row for the reader; default its number.")
    logical_date: date | None = Field(None, description="Day that the batch is for.")
    output_root: Path
    rules: DataRules = DataRules()
    inference: InferenceRules = InferenceRules()


class BatchManifest(Frozen):
    """What a published batch holds; rows_in = scored + rejected + erased."""

    model_name: str
    model_version: int | None
    run_id: str
    artifact_sha256: str
    input: str
    input_digest: str
    logical_date: date | None = None
    text_column: str
    key_column: str | None
    rows_in: int
    scored: int
    rejected: dict[str, int]
    labels: dict[str, int]
    parts: dict[str, str] = Field(description="sha256 per file.")
    code_version: str
    output_schema: int = SCHEMA
    rows_erased: int = Field(0, description="Rows of the input that are in no file: erased, now or before.")
    erased: tuple[Erased, ...] = Field((), description="What was erased since the batch was published.")


def pinned(request: BatchRequest) -> BatchRequest:
    """The same batch, of the input as it is now: whatever it becomes, nothing else is published as this."""
    if request.input_sha256:
        return request
    source = ingest.pinned(request.input, request.rules)
    return request.model_copy(update={"input": source, "input_sha256": ingest.digest(source, request.rules)})


def locate(request: BatchRequest) -> tuple[Path, str]:
    """The folder that a batch is published in, and the digest of its input: content, form and columns."""
    source = request.input
    form = [source.kind, source.encoding, source.delimiter, request.text_column, request.key_column]
    content = [pinned(request).input_sha256, *form, SCHEMA]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    version = str(request.model.version) if request.model.version else f"run-{request.model.run_id}"
    day = f"{request.logical_date}-" if request.logical_date else ""
    return request.output_root / (request.model.name or "unregistered") / version / f"{day}{digest[:16]}", digest


def of_day(output_root: Path, model_name: str, day: date) -> list[BatchManifest]:
    """What is published for a day by any version of a registered model."""
    found = volumes.glob(output_root, f"{model_name}/*/{day}-*/{MANIFEST}")
    return [load(path.parent) for path in found]


@lock.while_reading("output_root")
def infer(request: BatchRequest) -> None:
    """Score a batch, publish it, and enter it in the Delta table if there is one; again is a no-op.

    Raises:
        ConfigError: The engine or the table cannot be used here; nothing is published.
        ConflictError: The input changed while it was scored; nothing is published.
        DataError: The input is malformed or lacks the text column; nothing is published.
        IntegrityError: The model, or what was published before, is not what it should be.
    """
    from lifecycle.inference import tables

    table = request.inference.table
    if table:
        tables.require(table)
    folder = _publish_once(pinned(request))
    if table:
        tables.write(folder, table)


def _publish_once(request: BatchRequest) -> Path:
    """Score a batch unless it is published, which is verified; either way, its folder."""
    from lifecycle.inference import local, spark

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
            counts = {"local": local, "spark": spark}[request.inference.engine].score(request, folder)
        except (ConfigError, ConflictError, DataError, IntegrityError):
            shutil.rmtree(folder)
            raise
        _publish(request, folder, final, digest, counts)
    logger.info("Published %s predictions in %s", f"{counts.scored:,}", final)
    return final


def load(folder: Path) -> BatchManifest:
    """Read the manifest of published predictions."""
    path = folder / MANIFEST
    try:
        return BatchManifest.model_validate_json(volumes.read(path))
    except (OSError, NotFoundError, ValidationError) as error:
        raise IntegrityError(f"{path} is no manifest: {error}", f"Remove {folder} and infer again.") from None


def verify(folder: Path, request: BatchRequest | None = None) -> BatchManifest:
    """Check every published file against the manifest, and the manifest against the model asked for."""
    manifest, place = load(folder), volumes.place(folder)
    for name, expected in manifest.parts.items():
        if volumes.digest(place / name) != expected:
            raise IntegrityError(f"{place / name} is not the published file.", f"Remove {folder} and infer again.")
    if request and manifest.artifact_sha256 != request.model.artifact_sha256:
        raise IntegrityError(f"{folder} was made by another model than {request.model.label}.", "Remove it.")
    return manifest


class Counts(Frozen):
    """What a scorer did: rows in all, scored, left out because they were erased, rejected by reason, and labels."""

    rows_in: int
    scored: int
    rows_erased: int = 0
    rejected: dict[str, int]
    labels: dict[str, int]


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
        text_column=request.text_column,
        key_column=request.key_column,
        **counts.model_dump(),
        parts={path.name: sha256_of(path) for path in sorted(folder.glob("*.parquet"))},
        code_version=code_version(),
    )
    write_json(folder / MANIFEST, manifest.model_dump(mode="json"))
    volumes.publish(folder, final)
    if load(final) != manifest:  # on a volume, another machine was faster
        verify(final, request)
