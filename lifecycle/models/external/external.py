"""Record a model that was not trained here in an MLflow run of its own, to be judged and promoted as any other.

The same model under the same name in the same experiment leads to the same finished run.
"""

import hashlib
import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator

from lifecycle.core.errors import ConfigError, IntegrityError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import Side
from lifecycle.core.parameters import ModelName, Name
from lifecycle.core.provenance import code_version, git_commit
from lifecycle.core.references import ModelRef
from lifecycle.core.writer_process import OWNER, owner
from lifecycle.data import dataset
from lifecycle.data.manifest import Manifest
from lifecycle.models import storing
from lifecycle.models.external.conversion import Converted, Pickled, convert
from lifecycle.models.forms import VADER_FILES, VADER_MISSING
from lifecycle.problems.text_classification.stored import MODEL, stored_model
from lifecycle.settings import Settings, checked
from lifecycle.storage.files import sha256_of, tree_digest
from lifecycle.tracking import claims, runs
from lifecycle.tracking.client import client, experiment, translated

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

VADER_PACKAGES = ("mlflow", "numpy", "pandas", "vaderSentiment")
UNSAID = (
    "Nobody says which rows of %s %s it saw, so it counts as having seen all of them, and none is left to judge it on. "
    "If it saw some splits alone, say so: --trained-on train, or --trained-on train,test"
)


def _sides(given: Any) -> Any:
    """Sides as a person names them, one by one or between commas, each once; `all` are all of them, `none` is none."""
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, Sequence) or not all(isinstance(each, str) for each in given):
        return given
    named = {name.strip().lower() for each in given for name in each.split(",")}
    if named == {claims.NONE}:
        return ()
    unknown = sorted(named - {claims.ALL, *Side}) if named else [""]
    if unknown:
        raise ValueError(f"{unknown[0]!r:.80} is no split: there are {', '.join(Side)}, {claims.ALL} and {claims.NONE}")
    return tuple(side for side in Side if side in named or claims.ALL in named)


class TrainedOn(Frozen):
    """The rows that someone says a model was fitted on; the gate compares on none of them.

    Which sides it saw nobody can know but its maker: of one who does not say, all are assumed.
    """

    data_root: Path
    data_name: Name
    data_version: Name
    sides: Annotated[tuple[Side, ...], BeforeValidator(_sides)]


class Recording(Frozen):
    """What goes into the run: files, the code that reads them, and what the run is tagged with."""

    model_name: ModelName
    run_name: str
    code: Path
    artifacts: dict[str, Path]
    packages: tuple[str, ...]
    tags: dict[str, str]
    example: bool = True
    stored: Any = None

    def key(self, keys: "pd.DataFrame | None") -> str:
        """What makes it the same recording: its files, the code that reads them, what it is said to be trained on."""
        content = {
            "code": sha256_of(self.code),
            "model": self.model_name,
            "files": {name: _digest(path) for name, path in self.artifacts.items()},
            "source": self.tags.get("mlops.source_sha256", ""),
            "trained_on": None if keys is None else hashlib.sha256(keys["key"].to_numpy().tobytes()).hexdigest(),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _digest(path: Path) -> str:
    return tree_digest(path) if path.is_dir() else sha256_of(path)


def register(config: Settings, model_name: str, pickled: Pickled, trained_on: TrainedOn | None) -> ModelRef:
    """Convert a pickled scikit-learn model and log it in the experiment of its name and environment.

    Raises:
        IntegrityError, DataError, ConfigError: As `conversion.convert`.
    """
    with tempfile.TemporaryDirectory(prefix="mlops-external-") as temporary:
        converted = convert(pickled, Path(temporary))
        for note in converted.notes:
            logger.warning("%s: %s", pickled.path, note)
        if converted.is_pickle:
            logger.warning("%s stays a pickle; to load it, environments need MLOPS_ALLOW_PICKLE=true", pickled.path)
        experiment_name = f"{model_name}-{config.env}"
        return log_external(config.mlflow_uri, experiment_name, model_name, converted, trained_on=trained_on)


def said(config: Settings, data_name: str | None, data_version: str | None, splits: Sequence[str]) -> TrainedOn | None:
    """What a person says that a model was fitted on, without splits the whole version; None if that is nothing.

    Raises:
        ConfigError: There is no such dataset version, or it lacks a split.
    """
    if not (data_name or data_version or splits):
        return None
    data = {"data_root": config.datasets, "data_name": data_name, "data_version": data_version}
    trained_on = checked(TrainedOn, **data, sides=splits or (claims.ALL,))
    _manifest(trained_on)
    if not splits:
        logger.warning(UNSAID, data_name, data_version)
    return trained_on


def _manifest(said: TrainedOn) -> Manifest:
    """The dataset version that somebody names.

    Raises:
        ConfigError: It has no rows on a side that is named; `all` names those that there are.
    """
    manifest = dataset.load(said.data_root, said.data_name, said.data_version)
    there = [side for side in Side if side in manifest.counts]
    if (absent := set(said.sides) - {*there}) and set(said.sides) != set(Side):
        what = f"{said.data_name} {said.data_version} has no {min(absent)} split, only {', '.join(there)}."
        raise ConfigError(what, "Correct --trained-on; `all` names those that there are.")
    return manifest


def log_external(
    tracking_uri: str,
    experiment_name: str,
    model_name: str,
    converted: Converted,
    *,
    trained_on: TrainedOn | None = None,
    links: Mapping[str, str] | None = None,
) -> ModelRef:
    """Log a converted model; `links` are tags that lead back to the caller.

    Without `trained_on` nobody knows which rows it has seen, and the gate, which must know, refuses it.

    Raises:
        IntegrityError: The file is no longer the one that was converted.
        ConfigError: There is no such dataset version, or it lacks a side.
    """
    if sha256_of(converted.path) != converted.sha256:
        raise IntegrityError(f"{converted.path} was changed since it was converted.", "Convert the model again.")
    tags = {
        "mlflow.source.name": "mlops model register-external",
        "mlops.origin": "external",
        "mlops.source_sha256": converted.source_sha256,
        "mlops.notes": " ".join(converted.notes),
        **(links or {}),
    }
    said_tags, keys = said_of(trained_on)
    tags |= said_tags
    recording = Recording(
        model_name=model_name,
        run_name=f"{model_name} external {converted.source_sha256[:12]}",
        code=MODEL,
        artifacts={"pipeline": converted.path},
        packages=(*runs.PACKAGES, "joblib") if converted.is_pickle else runs.PACKAGES,
        tags=tags,
        example=not converted.is_pickle,  # to try it is to run its code here
    )
    return record(tracking_uri, experiment_name, recording, keys)


def said_of(trained_on: TrainedOn | None) -> "tuple[dict[str, str], pd.DataFrame | None]":
    """The tags and the keys of the rows that somebody says a model was fitted on."""
    if trained_on is None:
        return {}, None
    data = (trained_on.data_root, trained_on.data_name, trained_on.data_version)
    rows = dataset.load_rows(*data)
    tags = {
        "mlops.data_name": data[1],
        "mlops.data_version": data[2],
        "mlops.dataset_digest": _manifest(trained_on).digest,
        claims.TRAINED_ON: claims.declared(trained_on.sides),
    }
    return tags, storing.short_keys(rows.loc[rows["split"].isin(trained_on.sides), "key"].reset_index(drop=True))


def log_network(
    tracking_uri: str, experiment_name: str, model_name: str, folder: Path, trained_on: TrainedOn | None = None
) -> ModelRef:
    """Log a fine-tuned network of texts that was made elsewhere, from files that hold no code.

    Raises:
        ConfigError: The folder holds no such network, or the extra `transformers` is not installed.
    """
    from lifecycle.problems.transformer import imported

    said_tags, keys = said_of(trained_on)
    with tempfile.TemporaryDirectory(prefix="mlops-network-") as temporary:
        stored = imported.imported(folder, Path(temporary))
        recording = Recording(
            model_name=model_name,
            run_name=f"{model_name} from {folder.name}",
            code=stored.code,
            artifacts=dict(stored.artifacts),
            packages=stored.packages,
            tags={"mlflow.source.name": "mlops model register-bert", "mlops.origin": "external", **said_tags},
            stored=stored,
        )
        return record(tracking_uri, experiment_name, recording, keys)


def log_vader(
    tracking_uri: str, experiment_name: str, model_name: str, *, links: Mapping[str, str] | None = None
) -> ModelRef:
    """Log VADER with the lexicons of the installed package; it was trained on nothing, so the gate may use every row.

    Raises:
        ConfigError: The extra `vader` is not installed.
    """
    import pandas as pd

    try:
        import vaderSentiment  # type: ignore[import-untyped]

        released = version("vaderSentiment")
    except (ImportError, PackageNotFoundError):
        raise ConfigError("VADER needs the package vaderSentiment.", VADER_MISSING) from None
    lexicon, emoji = (Path(vaderSentiment.__file__).with_name(name) for name in VADER_FILES)
    recording = Recording(
        model_name=model_name,
        run_name=f"{model_name} VADER {released}",
        code=Path(__file__).with_name("vader.py"),
        artifacts={"lexicon": lexicon, "emoji": emoji},
        packages=VADER_PACKAGES,
        tags={
            "mlflow.source.name": "mlops model register-vader",
            "mlops.origin": "vader",
            claims.TRAINED_ON: claims.RECORDED,
            **(links or {}),
        },
    )
    return record(tracking_uri, experiment_name, recording, pd.DataFrame({"key": pd.Series(dtype="uint64")}))


def record(tracking_uri: str, experiment_name: str, recording: Recording, keys: "pd.DataFrame | None") -> ModelRef:
    """Fill a run, unless a finished one holds this model already."""
    experiment_id = experiment(tracking_uri, experiment_name)
    key = recording.key(keys)
    with translated():
        run_id = runs.finished_run(tracking_uri, experiment_id, key)
        if run_id is None:
            tags = _tags(recording, key)
            run = client(tracking_uri).create_run(experiment_id, run_name=recording.run_name, tags=tags)
            run_id = str(run.info.run_id)
            _fill(tracking_uri, run_id, recording, keys)
            logger.info("Recorded %s: run %s", recording.run_name, run_id)
    return runs.trained(tracking_uri, run_id)


def _tags(recording: Recording, key: str) -> dict[str, str]:
    tags = {
        "mlflow.source.git.commit": git_commit() or "",
        runs.TRAIN_KEY: key,
        OWNER: owner(),
        "mlops.model_name": recording.model_name,
        "mlops.code_version": code_version(),
        **recording.tags,
    }
    return {name: value for name, value in tags.items() if value}


def _fill(tracking_uri: str, run_id: str, recording: Recording, keys: "pd.DataFrame | None") -> None:
    import mlflow

    with runs.active(run_id), tempfile.TemporaryDirectory(prefix="mlops-run-") as temporary:
        if keys is not None:
            path = Path(temporary) / runs.TRAINED_KEYS
            path.parent.mkdir()
            keys.to_parquet(path, index=False)
            mlflow.log_artifacts(temporary)
        stored = recording.stored or stored_model(recording.code, recording.artifacts)
        uri = storing.log_model(stored, recording.packages, with_example=recording.example)
        digest = storing.stored_digest(tracking_uri, uri)
        sealed = {} if keys is None else {claims.SEAL: claims.seal(run_id, digest, keys["key"])}
        mlflow.set_tags({runs.MODEL_URI: uri, runs.ARTIFACT_SHA256: digest} | sealed)
