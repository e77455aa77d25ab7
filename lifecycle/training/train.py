"""Fit a model on the train side of a dataset version and record everything in one MLflow run.

`plan` finds or opens the run (its id is the name of the result), `train` fills it. The same data, parameters (given or
by default), seed and code that fits lead to the same run, so a repeated training finds what is there.
"""

import hashlib
import json
import logging
import tempfile
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from lifecycle.core.errors import NotFoundError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import ModelType, Side
from lifecycle.core.parameters import Name, Params
from lifecycle.core.provenance import code_version, digest_of, git_commit
from lifecycle.core.writer_process import OWNER, owner
from lifecycle.data import dataset, lock
from lifecycle.data.manifest import Manifest
from lifecycle.models import storing
from lifecycle.problems.classification import plots, summary
from lifecycle.problems.text_classification import estimators
from lifecycle.settings.load import Settings
from lifecycle.storage import volumes
from lifecycle.tracking import claims, runs
from lifecycle.tracking.client import client, experiment, translated
from lifecycle.tracking.runs import ARTIFACT_SHA256, MODEL_URI, PACKAGES, TRAIN_KEY, TRAINED_KEYS

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

FITTING = (
    "training/train.py",
    "problems/text_classification/estimators.py",
    "problems/text_classification/tokens.py",
    "problems/text_classification/model.py",
)
"""The sources that decide what becomes of rows and parameters: another model comes of a change to one of them."""


class TrainRequest(Frozen):
    """One training; its result lies in the run that it names."""

    tracking_uri: str
    run_id: str
    data_root: Path
    data_name: Name
    data_version: Name
    model_name: Name
    model_type: ModelType
    model_params: Params = Field(default_factory=dict)
    seed: int = 0


def plan(
    config: Settings,
    *,
    data_name: str,
    data_version: str,
    model_name: str,
    model_type: ModelType,
    model_params: Mapping[str, Any],
    seed: int,
    links: Mapping[str, str],
    experiment_name: str = "",
) -> TrainRequest:
    """Open the run of a training, or find the finished one of the same training.

    A run that an earlier, killed process left open is marked KILLED. `links` are tags that lead back to the caller. The
    experiment is by default called `<model>-<environment>`.

    Raises:
        ConfigError: A model parameter is unknown, or the dataset version does not exist; no run is opened.
    """
    pipeline = estimators.build(model_type, model_params, seed)
    manifest = dataset.load(config.datasets, data_name, data_version)
    key = train_key(manifest, model_name, pipeline, seed)
    experiment_id = experiment(config.mlflow_uri, experiment_name or f"{model_name}-{config.env}")
    with translated():
        run_id = runs.finished_run(config.mlflow_uri, experiment_id, key)
        if run_id is None:
            tags = _run_tags(manifest, model_name, key) | dict(links)
            tags[runs.DEFINITION] = definition(model_name, pipeline, seed)
            run = client(config.mlflow_uri).create_run(
                experiment_id, run_name=f"{model_name} {model_type} on {data_name} {data_version}", tags=tags
            )
            run_id = run.info.run_id
    return TrainRequest(
        tracking_uri=config.mlflow_uri,
        run_id=run_id,
        data_root=config.datasets,
        data_name=data_name,
        data_version=data_version,
        model_name=model_name,
        model_type=model_type,
        model_params=dict(model_params),
        seed=seed,
    )


@lock.while_reading("data_root")
def train(request: TrainRequest) -> None:
    """Fit, measure on train and test, and log the model into the request's run.

    Idempotent: a finished run whose model digest is recorded is left as it is. The same data, parameters and seed give
    the same predictions.
    """
    import mlflow

    if is_trained(request):
        logger.info("Run %s has trained this model already", request.run_id)
        return
    manifest = dataset.load(request.data_root, request.data_name, request.data_version)
    rows = dataset.load_rows(request.data_root, request.data_name, request.data_version, Side.TRAIN, Side.TEST)
    sides = {side: rows[rows["split"] == side].reset_index(drop=True) for side in (Side.TRAIN, Side.TEST)}
    fitted = sides[Side.TRAIN]
    logger.info("Training %s on %s rows", request.model_type, f"{len(fitted):,}")
    with runs.failed_by_us(request.tracking_uri, request.run_id):
        pipeline = estimators.fit(
            request.model_type, request.model_params, request.seed, fitted[["text"]], fitted["label"]
        )
    keys = storing.short_keys(fitted["key"])
    with translated(), mlflow.start_run(run_id=request.run_id):
        _log_facts(request, manifest, pipeline, sides, keys)
        model_uri = _log_model(pipeline)
        digest = storing.stored_digest(request.tracking_uri, model_uri)
        sealed = claims.seal(request.run_id, digest, keys["key"])
        mlflow.set_tags({MODEL_URI: model_uri, ARTIFACT_SHA256: digest, claims.SEAL: sealed})
    logger.info("Trained %s: run %s", request.model_type, request.run_id)


def is_trained(request: TrainRequest) -> bool:
    """Tell whether the run of a training holds its finished model."""
    with translated():
        run = client(request.tracking_uri).get_run(request.run_id)
    return run.info.status == "FINISHED" and ARTIFACT_SHA256 in run.data.tags


def trained_on(tracking_uri: str, run_id: str) -> tuple[str, str]:
    """The name and version of the dataset that a run was trained on.

    Raises:
        NotFoundError: The run does not say.
    """
    with translated():
        tags = client(tracking_uri).get_run(run_id).data.tags
    if "mlops.data_name" not in tags:
        what = f"Run {run_id} does not say on which dataset it was trained, so it does not say where to judge it."
        raise NotFoundError(what, "Name one: --data-name … --data-version …")
    return tags["mlops.data_name"], tags["mlops.data_version"]


def _run_tags(manifest: Manifest, model_name: str, key: str) -> dict[str, str]:
    tags = {
        "mlflow.source.name": "mlops train",
        claims.TRAINED_ON: claims.RECORDED,
        "mlflow.source.git.commit": git_commit() or "",
        TRAIN_KEY: key,
        OWNER: owner(),
        "mlops.model_name": model_name,
        "mlops.data_name": manifest.data_name,
        "mlops.data_version": manifest.data_version,
        "mlops.dataset_digest": manifest.digest,
        "mlops.code_version": code_version(),
    }
    return {name: value for name, value in tags.items() if value}


def train_key(manifest: Manifest, model_name: str, pipeline: Any, seed: int) -> str:
    """What a training depends on: rows, every parameter of the unfitted pipeline, seed, code that fits, libraries.

    How texts are cut into tokens depends on the rows and on the code, so it is named by them.
    """
    content = {
        "dataset": manifest.digest,
        "rows": manifest.files.get(dataset.SPLIT),
        "model": model_name,
        "pipeline": estimators.described(pipeline),
        "seed": seed,
        "code": digest_of(Path(__file__).parents[1], FITTING),
        "packages": {package: version(package) for package in PACKAGES},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def definition(model_name: str, pipeline: Any, seed: int) -> str:
    """What makes a training the same but for its rows: every parameter of the unfitted pipeline, and the seed."""
    content = {"model": model_name, "pipeline": estimators.described(pipeline), "seed": seed}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _log_facts(
    request: TrainRequest,
    manifest: Manifest,
    pipeline: Any,
    sides: Mapping[Side, "pd.DataFrame"],
    keys: "pd.DataFrame",
) -> None:
    """Log parameters, dataset, metrics per side and class, plots, and which texts were trained on."""
    import mlflow

    classifier = pipeline[-1].get_params()
    params = {
        "model_type": request.model_type,
        "seed": request.seed,
        **{f"model.{k}": v for k, v in classifier.items()},
        **{f"tfidf.{k}": v for k, v in estimators.text_parameters(pipeline).items()},
    }
    mlflow.log_params({**params, "data_name": request.data_name, "data_version": request.data_version})
    source = _table(request)
    for side, context in ((Side.TRAIN, "training"), (Side.TEST, "testing")):
        frame = sides[side][["text", "label"]]
        name = f"{request.data_name}-{request.data_version}-{side}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # MLflow wonders between two equal readings of a file's URL
            data = mlflow.data.from_pandas(frame, source, "label", name=name, digest=manifest.digest[:32])
        tags = {"dataset_version": request.data_version, "dataset_digest": manifest.digest}
        mlflow.log_input(data, context=context, tags=tags)
    with tempfile.TemporaryDirectory(prefix="mlops-run-") as temporary:
        folder = Path(temporary)
        _measure(pipeline, sides, folder)
        (folder / "training").mkdir()
        keys.to_parquet(folder / TRAINED_KEYS, index=False)
        mlflow.log_artifacts(temporary)


def _measure(pipeline: Any, sides: Mapping[Side, "pd.DataFrame"], folder: Path) -> None:
    """Log the metrics of both sides, and write the tables of their classes and the plots of the test side."""
    import mlflow

    (folder / summary.FOLDER).mkdir()
    for side, rows in sides.items():
        truth, probabilities = rows["label"].to_numpy(object), pipeline.predict_proba(rows[["text"]])
        classes = summary.by_class(truth, pipeline.classes_[probabilities.argmax(axis=1)])
        classes.to_csv(folder / summary.FOLDER / f"{side}.csv", index=False)
        mlflow.log_metrics(summary.metrics(side, classes))
        if side is Side.TEST:
            plots.draw(pipeline.classes_, truth, probabilities, folder / "plots")


def _table(request: TrainRequest) -> Any:
    """Where the rows lie, as MLflow names it: a file's URL, or the kind of source that a volume has."""
    path = dataset.rows_file(request.data_root, request.data_name, request.data_version)
    if not volumes.on_volume(path):
        return path.as_uri()
    from mlflow.data.uc_volume_dataset_source import UCVolumeDatasetSource

    return UCVolumeDatasetSource(str(path))


def _log_model(pipeline: Any) -> str:
    """Log the whole pipeline under the contract of all text models; returns its `models:/m-…` URI."""
    from lifecycle.problems.text_classification import model as text_model

    with tempfile.TemporaryDirectory(prefix="mlops-model-") as temporary:
        path = Path(temporary) / "pipeline.skops"
        text_model.store(pipeline, path)
        return storing.log_text_model(Path(text_model.__file__), {"pipeline": path}, PACKAGES)
