"""Record a model of any MLflow flavour under a problem, if it keeps its contract; before that nothing is written."""

import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from lifecycle.core.errors import CHECK_PLACE, ConfigError, IntegrityError, NotFoundError
from lifecycle.core.names import TEXT_CLASSIFICATION, Side
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset
from lifecycle.models import requirements
from lifecycle.models.external import contract, conversing, external, flavours, opened, wrapped
from lifecycle.models.external.contract import Asked
from lifecycle.models.external.external import Recording, TrainedOn
from lifecycle.models.external.opened import Told
from lifecycle.models.mlmodel import FILE, as_mlflow
from lifecycle.problems.contract import inputs_of
from lifecycle.problems.known import named
from lifecycle.problems.learning import StoredModel
from lifecycle.settings import Settings
from lifecycle.storage.files import tree_digest
from lifecycle.tracking import runs

logger = logging.getLogger(__name__)

LEFT_OUT = ("registered_model_meta", "__pycache__")
"""What MLflow and Python write beside a model."""
ASKED_ABOUT, WITH_GAPS = 40, 8
"""Rows of train that a model is asked about: so many from all over it, and so many in which a cell is missing."""
COMMAND = "mlops model register-mlflow"


class Incoming(NamedTuple):
    """A model from elsewhere: its folder, what a person calls it, and what the settings here say of any model."""

    folder: Path
    label: str
    trust: ModelRef


def register(config: Settings, model_name: str, model: Incoming, asked: Asked, said: TrainedOn | None) -> ModelRef:
    """Check a model against the rows of a dataset version, then log it in the experiment of its name and environment.

    Raises:
        IntegrityError: It is no MLflow model, or what it would run is not trusted.
        ConfigError: What it reads or answers must be declared; or packages that it needs are not there.
        DataError: It does not keep the contract.
    """
    with _copied(model) as folder:
        held = opened.flavours_of(folder, model.label)
        told = _checked(config, model._replace(folder=folder), asked, held)
        for note in (notes := _notes(folder, asked, told)):
            logger.warning("%s: %s", model.label, note)
        with tempfile.TemporaryDirectory(prefix="mlops-external-") as temporary:
            stored = _stored(folder, asked, told, Path(temporary))
            tags = {
                "mlflow.source.name": COMMAND,
                "mlops.origin": "external",
                "mlops.source_sha256": tree_digest(folder),
                "mlops.flavour": str(held["python_function"].get("loader_module")),
                "mlops.notes": " ".join(f"{note}." for note in notes),
            }
            said_tags, keys = external.said_of(said)
            recording = Recording(
                model_name=model_name,
                run_name=f"{model_name} from {model.label}"[:200],
                code=stored.code,
                artifacts=dict(stored.artifacts),
                packages=(*runs.PACKAGES, *requirements.installed(folder)),
                tags=tags | said_tags,
                stored=stored,
            )
            return external.record(config.mlflow_uri, f"{model_name}-{config.env}", recording, keys)


@contextmanager
def _copied(model: Incoming) -> Iterator[Path]:
    """The files of a model, without what MLflow and Python write beside it.

    Raises:
        NotFoundError: There is nothing there.
        IntegrityError: It is no folder of a model, or a link leads out of it.
    """
    if not model.folder.exists():
        raise NotFoundError(f"{model.label} does not exist.", CHECK_PLACE)
    if not (model.folder / FILE).is_file():
        what = f"{model.label}: there is no MLflow model (no {FILE} file)."
        raise IntegrityError(what, "Name a folder as MLflow saves it, or a runs:/ or models:/ URI.")
    if links := [path for path in model.folder.rglob("*") if path.is_symlink()]:
        what = f"{model.label}: {links[0].relative_to(model.folder)} is a link; a model is its own files."
        raise IntegrityError(what, "Replace it by what it leads to.")
    with tempfile.TemporaryDirectory(prefix="mlops-external-") as temporary:
        ignored = shutil.ignore_patterns(*LEFT_OUT)
        yield Path(shutil.copytree(model.folder, Path(temporary) / wrapped.FOLDER, ignore=ignored))


def _checked(config: Settings, model: Incoming, asked: Asked, held: dict[str, Any]) -> Told:
    """What is told of a model that keeps the contract; of its code nothing is run before it is trusted."""
    schema = contract.schema_of(as_mlflow(model.folder, model.label).signature)
    told = None if schema is None else contract.columns_read(asked, schema)
    if missing := requirements.missing(model.folder):
        what = f"{model.label} needs packages that are not installed: {', '.join(missing)}."
        raise ConfigError(what, f"Install them: pip install {' '.join(map(repr, missing))}")
    flavours.require_trusted(model.folder, held, model.trust, model.label)
    loaded, within = flavours.loaded(model.folder, held, model.label)
    if told is None:
        contract.require_order(asked, flavours.width_without_names(loaded))
        told = contract.columns_read(asked, None, flavours.names_of_features(loaded))
    if not asked.is_of_numbers and flavours.fitted_classes(loaded, held):
        told = told.model_copy(update={"asks": "predict_proba"})
    columns = [(column.name, column.kind) for column in _read(asked, told)]

    def under_contract(told: Told) -> Any:
        return told.under_contract(loaded, None if _is_one_text(asked) else columns, asked.manifest.problem, within)

    return contract.answers(asked, told, _rows(config, asked), under_contract)


def _is_one_text(asked: Asked) -> bool:
    return asked.manifest.problem == TEXT_CLASSIFICATION


def _read(asked: Asked, told: Told) -> list[Any]:
    read = {each.input for each in told.reads}
    return [column for column in asked.manifest.inputs if column.name in read]


def _rows(config: Settings, asked: Asked) -> pd.DataFrame:
    """Rows of train from all over it, those with missing cells among them."""
    manifest = asked.manifest
    rows = dataset.load_rows(config.datasets, manifest.data_name, manifest.data_version, Side.TRAIN)
    inputs = inputs_of(rows, manifest.inputs)
    step = max(1, len(inputs) // ASKED_ABOUT)
    chosen = [inputs.iloc[::step].head(ASKED_ABOUT), inputs[inputs.isna().any(axis=1)].head(WITH_GAPS)]
    return pd.concat(chosen).reset_index(drop=True)


def _notes(folder: Path, asked: Asked, told: Told) -> list[str]:
    unread = contract.unread(asked, told)
    notes = [f"it does not read {', '.join(unread)}"] if unread else []
    if told.gives == wrapped.LABELS:
        notes.append("it says nothing of how sure it is, so each score is 1")
    if told.gives == opened.ANSWERS:
        notes.append("it names no `sources`, so none of its answers counts as found in an expected document")
    return [*notes, *requirements.unmet(folder)]


def _stored(folder: Path, asked: Asked, told: Told, into: Path) -> StoredModel:
    """The files of the model, and what is told of it."""
    artifacts = {"external": folder, "told": into / wrapped.TOLD}
    artifacts["told"].write_text(told.model_dump_json(indent=2), encoding="utf-8")
    columns, problem = _read(asked, told), named(asked.manifest.problem)
    if not _is_one_text(asked):
        artifacts["columns"] = into / "columns.json"
        described = {"problem": problem.name, "columns": [column.model_dump() for column in columns]}
        artifacts["columns"].write_text(json.dumps(described, indent=2, ensure_ascii=False), encoding="utf-8")
    if asked.refusing:
        example = conversing.ExternalChat.example()
        reads = {contract.MESSAGES: "any"}
        return StoredModel(Path(conversing.__file__), artifacts, reads, {"": "string"}, example, own=opened.BESIDE)
    inputs = {column.name: "string" if column.is_text else "any" for column in columns}
    return StoredModel(Path(wrapped.__file__), artifacts, inputs, problem.prediction, pd.DataFrame(), own=opened.BESIDE)
