"""What a batch is: its request, where it is published, and its manifest.

`<output root>/<model>/<version>/<input digest>/` holds `part-00000.parquet …`, `rejected.parquet` and `manifest.json`;
the folder of a day's batch is `<day>-<input digest>`.
"""

import hashlib
import json
from datetime import date
from pathlib import Path

from pydantic import Field, ValidationError

from lifecycle.core.errors import IntegrityError, NotFoundError
from lifecycle.core.frozen import Frozen
from lifecycle.core.references import ModelRef
from lifecycle.data import ingest
from lifecycle.data.erased import Erased
from lifecycle.data.source import Source
from lifecycle.settings.rules import DataRules, InferenceRules
from lifecycle.storage import volumes

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
