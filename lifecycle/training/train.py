"""Fit a model on the train split of a dataset version and record everything in one MLflow run.

`plan` finds or opens the run (its id is the name of the result), `train` fills it. The same data, parameters (given or
by default), seed and code that fits lead to the same run, so a repeated training finds what is there.
"""

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from lifecycle.core.errors import ConfigError, NotFoundError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import Side
from lifecycle.core.parameters import ModelName, Name, Params
from lifecycle.core.provenance import code_version, digest_of, git_commit
from lifecycle.core.writer_process import OWNER, owner
from lifecycle.data import dataset, lock
from lifecycle.data.manifest import Manifest
from lifecycle.models import pipelines, storing
from lifecycle.models.own import with_code
from lifecycle.problems import fitting, own
from lifecycle.problems.classification.summary import FOLDER
from lifecycle.problems.contract import Estimator, inputs_of
from lifecycle.problems.known import named
from lifecycle.problems.learning import Beside, Learning, Spec, StoredModel
from lifecycle.problems.own import OwnAlgorithm
from lifecycle.settings import Settings
from lifecycle.tracking import claims, runs
from lifecycle.tracking.client import client, experiment, translated
from lifecycle.tracking.runs import ARTIFACT_SHA256, MODEL_URI, PACKAGES, TRAIN_KEY, TRAINED_KEYS
from lifecycle.training import bases, inputs
from lifecycle.training.rows import Rows

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

PROBLEM = "mlops.problem"
"""The tag of a run that says of which problem its model is."""
CODE = "mlops.own_code"
"""The tag of a run that says what the code of a team's own digests to, if its model is made of such."""
CHECKPOINTS = "checkpoints"
"""Where trainings keep how far they have come, in the folder of local state, by their keys."""
VECTORS = "vectors"
"""Where trainings keep what an encoder made of texts, there too."""
EARLIER_FIELDS = {"model_type": "algorithm", "model_params": "params"}


def sources(learning: Learning) -> tuple[str, ...]:
    """The files that decide what becomes of rows and parameters: another model comes of a change to one of them."""
    return ("training/train.py", "training/rows.py", "problems/own.py", *learning.sources)


class Training(Frozen):
    """What is trained. The same gives the same run."""

    data_name: Name
    data_version: Name
    model_name: ModelName
    algorithm: str | None = Field(None, description="Default: the problem's first one.")
    params: Params = Field(default_factory=dict)
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _earlier_names(cls, values: Any) -> Any:
        """The fields as the first releases call them."""
        if not isinstance(values, dict):
            return values
        return {EARLIER_FIELDS.get(name, name): value for name, value in values.items()}


class TrainRequest(Training):
    """One training; its result lies in the run that it names."""

    tracking_uri: str
    run_id: str
    data_root: Path
    algorithm: str
    code: str = Field("", description="The sha256 of the code, if the algorithm is a team's own.")
    trusted_modules: tuple[str, ...] = ()
    registry_uri: str = Field("", description="Where the model that it begins with is registered, if elsewhere.")
    checkpoints: Path | None = Field(None, description="Where it keeps how far it has come, if it does.")
    vectors: Path | None = Field(None, description="Where trainings keep what an encoder made of texts.")


def plan(
    config: Settings, training: Training, links: Mapping[str, str] | None = None, experiment_name: str = ""
) -> TrainRequest:
    """Open the run of a training, or find the finished one of the same training.

    A run that an earlier, killed process left open is marked KILLED, or taken over where a job trains. `links` are tags
    that lead back to the caller. The experiment is by default called `<model>-<environment>`.

    Raises:
        ConfigError: An algorithm or parameter is unknown, or the dataset version does not exist; no run is opened.
    """
    manifest = dataset.load(config.datasets, training.data_name, training.data_version)
    learning = named(manifest.problem).learning
    asked = Spec(training.algorithm, training.params, training.seed, manifest.inputs)
    fitted, params, pipeline = unfitted(config, learning, asked)
    entry = _entry(learning, fitted)
    if not isinstance(fitted, OwnAlgorithm):
        fitting.require_per_class(fitted, params, manifest.fitted_classes)
    name, code = (fitted.path, fitted.digest) if isinstance(fitted, OwnAlgorithm) else (fitted, "")
    made_of = {"algorithm": name, "params": params, "code": code} if code else pipeline
    key = train_key(manifest, training.model_name, made_of, training.seed, entry)
    experiment_id = experiment(config.mlflow_uri, experiment_name or f"{training.model_name}-{config.env}")
    with translated():
        elsewhere = config.platform == "databricks"
        run_id = runs.finished_run(config.mlflow_uri, experiment_id, key, take_over=elsewhere)
        if run_id is None:
            tags = _run_tags(manifest, training.model_name, key, code) | dict(links or {})
            tags[runs.DEFINITION] = definition(training.model_name, made_of, training.seed)
            tags[runs.CHOSEN] = json.dumps(params)
            title = f"{training.model_name} {name} on {manifest.data_name} {manifest.data_version}"
            run_id = client(config.mlflow_uri).create_run(experiment_id, run_name=title, tags=tags).info.run_id
    return TrainRequest(
        **training.model_dump(exclude={"algorithm", "params"}),
        params=bases.brought(config, entry, params),
        tracking_uri=config.mlflow_uri,
        run_id=run_id,
        data_root=config.datasets,
        algorithm=name,
        code=code,
        trusted_modules=config.trusted_modules if code else (),
        registry_uri=config.registry_uri or "" if entry and entry.base else "",
        checkpoints=config.state / CHECKPOINTS / key if entry and entry.base else None,
        vectors=config.state / VECTORS,
    )


def unfitted(config: Settings, learning: Learning, asked: Spec) -> tuple[str | OwnAlgorithm, dict[str, Any], Any]:
    """The algorithm and parameters of a training made exact, and the pipeline that it would fit; nothing is written.

    Raises:
        ConfigError: An algorithm, a parameter, or a file or package that it needs is unknown, missing or not trusted.
    """
    fitted = own.algorithm_of(learning.estimators, asked.algorithm, config.trusted_modules)
    params = bases.pinned(config, _entry(learning, fitted), asked.params)
    return fitted, params, learning.build(asked._replace(algorithm=fitted, params=params))


def train(request: TrainRequest) -> None:
    """Fit, measure on train and test, and log the model into the request's run.

    Idempotent: a finished run whose model digest is recorded is left as it is. The same data, parameters and seed give
    the same predictions. Whatever ends it in an error closes the run.
    """
    if is_trained(request):
        logger.info("Run %s has trained this model already", request.run_id)
        return
    with runs.closed_on_failure(request.tracking_uri, request.run_id):
        _fit_and_log(request)
    if request.checkpoints:
        shutil.rmtree(request.checkpoints, ignore_errors=True)
    logger.info("Trained %s: run %s", request.algorithm, request.run_id)


@lock.while_reading("data_root")
def _fit_and_log(request: TrainRequest) -> None:
    import mlflow
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    manifest = dataset.load(request.data_root, request.data_name, request.data_version)
    learning = named(manifest.problem).learning
    algorithm = _algorithm(request, learning)
    entry = _entry(learning, algorithm)
    rows = Rows.of(request.data_root, manifest, together=entry is None or not entry.out_of_core)
    fitted = rows.sample(Side.TRAIN)
    keys = storing.short_keys(rows.keys())
    logger.info("Training %s on %s rows", request.algorithm, f"{len(keys):,}")
    with tempfile.TemporaryDirectory(prefix="mlops-model-") as folder:
        with runs.not_autologged(), _beside(request, algorithm, manifest) as beside:
            sample = (inputs_of(fitted, manifest.inputs), fitted[learning.target])
            spec = Spec(algorithm, request.params, request.seed, manifest.inputs)
            pipeline = learning.fit(spec, *sample, beside._replace(**rows.beside))
            keys = _with_those_seen(keys, request, algorithm, beside)
            stored = _stored(algorithm, request, learning.store(pipeline, manifest.inputs, Path(folder)))
        with translated(), runs.active(request.run_id), threadpool_limits(1):
            _log_facts(request, pipeline, rows, keys)
            model_uri = storing.log_model(stored, PACKAGES)
            digest = storing.stored_digest(request.tracking_uri, model_uri)
            sealed = claims.seal(request.run_id, digest, keys["key"])
            mlflow.set_tags({MODEL_URI: model_uri, ARTIFACT_SHA256: digest, claims.SEAL: sealed})


def _entry(learning: Learning, algorithm: str | OwnAlgorithm) -> Estimator | None:
    """What the table says of an algorithm; of a team's own it says nothing."""
    return None if isinstance(algorithm, OwnAlgorithm) else learning.estimators[algorithm]


@contextmanager
def _beside(request: TrainRequest, algorithm: str | OwnAlgorithm, manifest: Manifest) -> Iterator[Beside]:
    """The model that a training begins with, and where it keeps how far it has come."""
    entry = _entry(named(manifest.problem).learning, algorithm)
    with bases.fetched(entry, request.params, (request.tracking_uri, request.registry_uri)) as base:
        yield Beside(base=base, checkpoints=request.checkpoints, vectors=request.vectors)


def _with_those_seen(
    keys: "pd.DataFrame", request: TrainRequest, algorithm: str | OwnAlgorithm, beside: Beside
) -> "pd.DataFrame":
    """The keys of all rows that a model has seen: its own, and those of the model that it began with."""
    import pandas as pd

    problem = dataset.load(request.data_root, request.data_name, request.data_version).problem
    places = (request.tracking_uri, request.registry_uri)
    before = bases.seen(_entry(named(problem).learning, algorithm), request.params, beside.base, places)
    if before is None:
        return keys
    both: pd.DataFrame = pd.concat([keys, before.to_frame()], ignore_index=True).drop_duplicates(ignore_index=True)
    return both


def _algorithm(request: TrainRequest, learning: Learning) -> str | OwnAlgorithm:
    """The algorithm of a request, whose own code must be what it was when the training was planned.

    Raises:
        ConfigError: It is other code here and now.
    """
    algorithm = own.algorithm_of(learning.estimators, request.algorithm, request.trusted_modules)
    code = algorithm.digest if isinstance(algorithm, OwnAlgorithm) else ""
    if code != request.code:
        what = f"{request.algorithm}: its code digests to {code[:12]} here, the training was planned with "
        raise ConfigError(f"{what}{request.code[:12]}.", "Bring both to the same state, then train again.")
    return algorithm


def _stored(algorithm: str | OwnAlgorithm, request: TrainRequest, stored: StoredModel) -> StoredModel:
    """A model as it was written, with the code that it brings along; refuses one that nobody could load again.

    Raises:
        ConfigError: It is made of a type that is on no list of ours and not trusted here, or that cannot be stored.
    """
    pipeline = stored.artifacts.get("pipeline")
    untrusted = pipelines.untrusted_types(pipeline) if pipeline else []
    if isinstance(algorithm, OwnAlgorithm):
        return with_code(stored, algorithm, untrusted, request.trusted_modules, pipelines.trusted_types())
    if untrusted:
        what = f"{algorithm} holds types that are not trusted: {', '.join(untrusted[:5])}."
        raise ConfigError(what, "Read what loading them does, then add them to trusted_types of the algorithm's entry.")
    return stored


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
    tags = runs.tags(tracking_uri, run_id)
    if "mlops.data_name" not in tags:
        what = f"Run {run_id} does not say on which dataset it was trained, so it does not say where to judge it."
        raise NotFoundError(what, "Name one: --data-name … --data-version …")
    return tags["mlops.data_name"], tags["mlops.data_version"]


def _run_tags(manifest: Manifest, model_name: str, key: str, code: str) -> dict[str, str]:
    tags = {
        "mlflow.source.name": "mlops train",
        claims.TRAINED_ON: claims.RECORDED,
        "mlflow.source.git.commit": git_commit() or "",
        TRAIN_KEY: key,
        OWNER: owner(),
        "mlops.model_name": model_name,
        PROBLEM: manifest.problem,
        "mlops.data_name": manifest.data_name,
        "mlops.data_version": manifest.data_version,
        "mlops.dataset_digest": manifest.digest,
        "mlops.code_version": code_version(),
        CODE: code,
    }
    return {name: value for name, value in tags.items() if value}


def train_key(manifest: Manifest, model_name: str, pipeline: Any, seed: int, entry: Estimator | None = None) -> str:
    """What a training depends on: rows, every parameter of the unfitted pipeline, seed, code that fits, libraries.

    In place of a pipeline with code of a team's own stand its path, its parameters and the digest of its code. How
    texts are cut into tokens depends on the rows and on the code, so it is named by them.
    """
    further = entry.sources if entry else ()
    content = {
        "dataset": manifest.digest,
        "rows": manifest.files.get(dataset.SPLIT),
        "model": model_name,
        "pipeline": fitting.described(pipeline),
        "seed": seed,
        "code": digest_of(Path(__file__).parents[1], (*sources(named(manifest.problem).learning), *further)),
        "packages": {package: version(package) for package in (*PACKAGES, *(entry.packages if entry else ()))},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def definition(model_name: str, pipeline: Any, seed: int) -> str:
    """What makes a training the same but for its rows: every parameter of the unfitted pipeline, and the seed."""
    content = {"model": model_name, "pipeline": fitting.described(pipeline), "seed": seed}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _log_facts(request: TrainRequest, pipeline: Any, rows: Rows, keys: "pd.DataFrame") -> None:
    """Log parameters, dataset, metrics per split, tables, plots, and which rows were trained on."""
    import mlflow

    learning = named(rows.manifest.problem).learning
    chosen = {f"model.{name}": value for name, value in request.params.items()}
    of_model = chosen if request.code else learning.parameters(pipeline)
    params = {"model_type": request.algorithm, "seed": request.seed, **of_model}
    mlflow.log_params({**params, "data_name": request.data_name, "data_version": request.data_version})
    inputs.log(request, rows)
    with tempfile.TemporaryDirectory(prefix="mlops-run-") as temporary:
        folder = Path(temporary)
        for split in (Side.TRAIN, Side.TEST):
            _measure(pipeline, split, rows, folder)
        (folder / "training").mkdir()
        keys.to_parquet(folder / TRAINED_KEYS, index=False)
        mlflow.log_artifacts(temporary)


def _measure(pipeline: Any, split: Side, rows: Rows, folder: Path) -> None:
    """Log the metrics of one split; write its table and, of test, the plots and what the predictions depend on."""
    import mlflow
    import pandas as pd

    learning, columns = named(rows.manifest.problem).learning, rows.manifest.inputs
    told = [
        (learning.answers(pipeline, inputs_of(part, columns), columns), part[learning.target].copy())
        for part in rows.parts(split)
    ]
    answers = pd.concat([part for part, _ in told], ignore_index=True)
    truth = pd.concat([part for _, part in told], ignore_index=True)
    metrics, table = learning.summary(split, truth, answers)
    mlflow.log_metrics(metrics)
    if table is not None:
        (folder / FOLDER).mkdir(exist_ok=True)
        table.to_csv(folder / FOLDER / f"{split}.csv", index=False)
    if split is Side.TEST:
        learning.draw(truth, answers, folder / "plots")
        some = rows.sample(split)
        learning.explain(pipeline, inputs_of(some, columns), some[learning.target], columns, folder)
