"""What a batch is: its request, where it is published, and its manifest.

`<output root>/<model>/<version>/<input digest>/` holds `part-00000.parquet …`, `rejected.parquet` and `manifest.json`;
the folder of a day's batch is `<day>-<input digest>`.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from pydantic import Field, ValidationError, model_validator

from lifecycle.core.errors import IntegrityError, NotFoundError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import TEXT_CLASSIFICATION, ProblemName, Side, SplitChoice
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset, ingest
from lifecycle.data.erased import Erased
from lifecycle.data.manifest import Manifest
from lifecycle.data.source import Source
from lifecycle.inference import superseded
from lifecycle.inference.predictions import Numbers
from lifecycle.inference.superseded import Replacement
from lifecycle.problems.contract import RESERVED, TEXT
from lifecycle.problems.known import named
from lifecycle.settings.rules import DataRules, InferenceRules
from lifecycle.storage import volumes

MANIFEST, REJECTED = "manifest.json", "rejected.parquet"
SCHEMA = 1


class _Columns(Frozen):
    """Which columns of a table are which inputs of a model."""

    columns: dict[str, str] = Field({}, description="Source column to the input of the model that is read from it.")

    @model_validator(mode="before")
    @classmethod
    def _column_of_texts(cls, values: Any) -> Any:
        """The column of texts as the first releases name it."""
        if not isinstance(values, dict) or "text_column" not in values:
            return values
        given = dict(values)
        text = given.pop("text_column")
        return given | ({"columns": {**(given.get("columns") or {}), text: TEXT}} if text else {})


class BatchRequest(_Columns):
    """One batch: an exact model, an exact input, and where the predictions go.

    Inputs that `columns` does not name are read from the columns of their own names.
    """

    model: ModelRef
    input: Source
    input_sha256: str | None = Field(None, description="Digest of the content that is scored; another is refused.")
    key_column: str | None = Field(None, description="Column that identifies a row for the reader; default its number.")
    splits: tuple[Side, ...] = Field((), description="Of a dataset version: the splits whose rows are scored.")
    target: dict[str, str] = Field({}, description="Of a dataset version: what its source calls the target, as stored.")
    logical_date: date | None = Field(None, description="Day that the batch is for.")
    window: str | None = Field(None, description="Of requests to a server: their window, which names the folder.")
    output_root: Path
    rules: DataRules = DataRules()
    inference: InferenceRules = InferenceRules()
    sample: Path | None = Field(None, description="File that gets some of the inputs, for who measures the batch.")
    replaces: Replacement | None = Field(None, description="A batch of another version that does not count any more.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(by_input(self.columns)) < len(self.columns):
            raise ValueError("columns: two of them are the same input of the model")
        return self

    @property
    def kept(self) -> dict[str, str]:
        """The columns that stand beside the predictions, each with the column of the table that it is read from."""
        keep = () if self.window else self.inference.keep
        stored = {name: _stored_as(name, self.columns) if self.splits else name for name in keep} | self.target
        return {f"source.{name}": stored[name] for name in keep}

    @property
    def form(self) -> list[Any]:
        """What is published beside predictions, if anything is: it makes another batch."""
        beside = [*self.inference.keep, self.inference.probabilities]
        return beside if any(beside) else []


class BatchManifest(_Columns):
    """What a published batch holds; rows_in = scored + rejected + erased."""

    model_name: str
    model_version: int | None
    run_id: str
    artifact_sha256: str
    problem: ProblemName = TEXT_CLASSIFICATION
    input: str
    input_digest: str
    logical_date: date | None = None
    key_column: str | None
    splits: tuple[Side, ...] = Field((), description="Of a dataset version: the splits whose rows were scored.")
    rows_trained_on: int | None = Field(
        None, description="Rows of these that the model was fitted on; None of another table, or where nobody said it."
    )
    rows_in: int
    scored: int
    rejected: dict[str, int]
    labels: dict[str, int] = Field(description="Rows per predicted class.")
    numbers: Numbers | None = Field(None, description="Of predicted numbers, where there are any.")
    beside: dict[str, str] = Field({}, description="Columns beside the prediction, each with its type.")
    form: list[Any] = Field([], description="What asked for them: the columns to keep, and whether probabilities.")
    parts: dict[str, str] = Field(description="sha256 per file.")
    code_version: str
    output_schema: int = SCHEMA
    rows_erased: int = Field(0, description="Rows of the input that are in no file: erased, now or before.")
    erased: tuple[Erased, ...] = Field((), description="What was erased since the batch was published.")

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Source columns of the texts; none where the model reads no texts."""
        return (tuple(self.columns) or (TEXT,)) if named(self.problem).table.texts else ()

    @property
    def made_by(self) -> str:
        """The model for people: a version, or the run of one that is not registered."""
        return f"{self.model_name} v{self.model_version}" if self.model_version else f"run {self.run_id}"

    @property
    def told(self) -> list[str]:
        """Sentences for people: which rows of a dataset version these are, and how many the model has seen."""
        if not self.splits:
            return []
        left_out = "" if Side.TRAIN in self.splits else "; --split all adds those of train"
        said = f"Rows of {', '.join(self.splits)}{left_out}."
        if self.rows_trained_on is None:
            return [said, "Nobody said which rows the model was trained on: some of these may be among them."]
        seen = (
            f"The model was trained on {self.rows_trained_on:,} of these rows: how well it does there proves nothing."
        )
        return [said, *([seen] if self.rows_trained_on else [])]

    @property
    def answers(self) -> dict[str, str]:
        """What was predicted, for people: the rows of each class, or how far the numbers reach."""
        if self.numbers is None:
            return {label: f"{rows:,}" for label, rows in self.labels.items()}
        return {name: f"{value:,.6g}" for name, value in self.numbers.model_dump().items()}


def by_input(columns: Mapping[str, str]) -> dict[str, str]:
    """The inputs that are named, each with its source column."""
    return {name: source for source, name in columns.items()}


class Table(NamedTuple):
    """A table to score: where it is, which of its columns are which inputs, which one identifies a row, which rows."""

    input: Source
    columns: dict[str, str]
    key_column: str | None
    splits: tuple[Side, ...] = ()
    target: Mapping[str, str] = MappingProxyType({})


def of_version(
    data_root: Path, version: Manifest, key_column: str | None = None, split: SplitChoice | None = None
) -> Table:
    """The rows of a dataset version as the table of a batch.

    Args:
        data_root: Where datasets lie.
        version: The manifest of the version.
        key_column: As the version's source calls it; default the key of the version's rows.
        split: Default those that are not to train on.

    Raises:
        NotFoundError: The version has no such split.
    """
    splits = _splits(version, split)
    source = Source(uri=str(dataset.rows_file(data_root, version.data_name, version.data_version)))
    columns = {column.stored: column.name for column in version.inputs}
    target = {version.parameters.get("target", ""): named(version.problem).learning.target}
    return Table(source, columns, _stored_as(key_column, columns) if key_column else "key", splits, target)


def _stored_as(name: str, columns: Mapping[str, str]) -> str:
    """What a dataset version calls a column of its source."""
    return by_input(columns).get(name, name if name in {*columns, *RESERVED} else f"source_{name}")


def _splits(version: Manifest, split: SplitChoice | None) -> tuple[Side, ...]:
    if split == "all":
        return tuple(Side)
    if split is None:
        return tuple(side for side in Side if side in version.counts and side is not Side.TRAIN)
    if split not in version.counts:
        what = f"{version.data_name} {version.data_version} has no split {split}, only {', '.join(version.counts)}."
        raise NotFoundError(what, "See: mlops data show")
    return (Side(split),)


def pinned(request: BatchRequest) -> BatchRequest:
    """The same batch, of the input as it is now: whatever it becomes, nothing else is published as this."""
    if request.input_sha256:
        return request
    source = ingest.pinned(request.input, request.rules)
    return request.model_copy(update={"input": source, "input_sha256": ingest.digest(source, request.rules)})


def locate(request: BatchRequest) -> tuple[Path, str]:
    """The folder that a batch is published in, and the digest of its input: content, form and columns."""
    content = pinned(request).input_sha256
    digest = input_digest(
        content, request.input, request.columns, request.key_column, request.splits, form=request.form
    )
    version = str(request.model.version) if request.model.version else f"run-{request.model.run_id}"
    day = f"{request.logical_date}-" if request.logical_date else ""
    folder = request.window or f"{day}{digest[:16]}"
    return request.output_root / (request.model.name or "unregistered") / version / folder, digest


def input_digest(
    content: str | None,
    source: Source,
    columns: Mapping[str, str],
    key_column: str | None,
    splits: Collection[Side] = (),
    *,
    form: Sequence[Any] = (),
) -> str:
    """The digest of an input: its content, how that is read, the columns, which splits, what is published beside.

    An input that is read from the column of its own name adds nothing, named or not, nor do all splits. So a batch of
    texts, or of a whole dataset version, is found where the first releases put it.
    """
    sources = {name: source for name, source in sorted(by_input(columns).items()) if name != source}
    read = [source.kind, source.encoding, source.delimiter, sources.pop(TEXT, TEXT), key_column]
    some = sorted(splits) if set(splits) != set(Side) else []
    beside = {"beside": [*form]} if form else None
    values = [content, *read, SCHEMA, *(each for each in (sources, some, beside) if each)]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def of_day(output_root: Path, model_name: str, day: date) -> list[BatchManifest]:
    """What is published for a day by any version of a registered model, and counts."""
    return [load(folder) for folder in folders_of_day(output_root, model_name, day)]


def folders_of_day(output_root: Path, model_name: str, day: date) -> list[Path]:
    """Where that lies."""
    folders = [path.parent for path in volumes.glob(output_root, f"{model_name}/*/{day}-*/{MANIFEST}")]
    return [folder for folder in folders if not superseded.is_marked(folder)]


def load(folder: Path) -> BatchManifest:
    """Read the manifest of published predictions."""
    path = folder / MANIFEST
    try:
        return BatchManifest.model_validate_json(volumes.read(path))
    except (OSError, NotFoundError, ValidationError) as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error).rstrip(".")
        raise IntegrityError(f"{path} is not a manifest: {said}.", f"Remove {folder} and infer again.") from None


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
    """What a scorer did: for which problem, from which columns, and what became of the rows."""

    problem: ProblemName
    columns: dict[str, str]
    rows_in: int
    scored: int
    rows_erased: int = 0
    rejected: dict[str, int]
    labels: dict[str, int]
    numbers: Numbers | None = None
    beside: dict[str, str] = Field({})
