"""What the reference notebooks do: one step of a model's life from named texts, the `base_parameters` of a job.

Other values are taken as the texts that mean them; a text that is empty is a parameter that was not given. With
`request`, a notebook stands in for the step of a job: it gets the same frozen request and does the same. Without, the
step is planned here by the settings of `env`.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast, get_args

from lifecycle import settings
from lifecycle.core.errors import ConfigError, NotFoundError
from lifecycle.core.names import SplitChoice, is_name
from lifecycle.core.parameters import literal, texts_of
from lifecycle.data import dataset
from lifecycle.data.source import Source
from lifecycle.inference import batch
from lifecycle.inference import manifest as batches
from lifecycle.inference.manifest import BatchRequest
from lifecycle.jobs import steps
from lifecycle.registry import catalog, promotion
from lifecycle.registry.store import target_of
from lifecycle.settings import Settings
from lifecycle.storage import volumes
from lifecycle.training import train as training

logger = logging.getLogger(__name__)

OF_THE_RUN = ("env", "request", "prefect_flow_run_id")
OF_A_SOURCE = {"source": "uri", "source_format": "format", "encoding": "encoding", "delimiter": "delimiter"}

Given = dict[str, str]

T = TypeVar("T")


def run(step: str, parameters: Mapping[str, Any]) -> str:
    """Run a step and answer with the JSON that its notebook exits with.

    Raises:
        ConfigError: A parameter is missing, unknown or out of range.
    """
    if request := parameters.get("request"):
        steps.run(step, request)
        return json.dumps({"step": step})
    os.environ.setdefault("MLOPS_PLATFORM", "databricks")
    given = {name: text for name, text in texts_of(parameters).items() if text and name not in OF_THE_RUN}
    if unknown := given.keys() - TAKEN.get(step, given.keys()):
        raise ConfigError(f"The notebook knows no {', '.join(sorted(unknown))}.", "Correct base_parameters.")
    return json.dumps(PLANNED[step](settings.load(parameters.get("env") or "dev"), given))


def _create_data(config: Settings, given: Given) -> dict[str, Any]:
    """Make a dataset version of `source`, or of the one file in `<data root>/<data_name>/raw/`."""
    data_name, data_version = _needed(given, "data_name", "data_version")
    table = {field: given.pop(name) for name, field in OF_A_SOURCE.items() if name in given}
    source = settings.checked(Source, **{"uri": table.pop("uri", "") or _raw(config, data_name), **table})
    dataset.create(dataset.plan(config, source, **given))
    made = dataset.load(config.datasets, data_name, data_version)
    return made.model_dump(mode="json", include={"data_name", "data_version", "digest", "rows_split", "quarantined"})


def _train(config: Settings, given: Given) -> dict[str, Any]:
    """Train in an experiment and register the model, as a candidate; it is called like the experiment, or by its name.

    Which model is champion is not changed: that is the gate's decision.
    """
    data_name, data_version, experiment = _needed(given, "data_name", "data_version", "model_experiment_name")
    model_name = given.get("model_name", experiment.rpartition("/")[2])
    if not is_name(model_name):
        what = f"{model_name!r:.80} cannot be the name of a model: lower-case letters, digits, `_`, `.` and `-`."
        raise ConfigError(what, "Name it in base_parameters or as a widget: model_name.")
    wanted = settings.checked(
        training.Training,
        data_name=data_name,
        data_version=dataset.resolve(config.datasets, data_name, data_version),
        model_name=model_name,
        algorithm=given.get("model_type"),
        params=_literal("model_params", given.get("model_params", "{}"), dict),
        seed=_literal("seed", given.get("seed", "0"), int),
    )
    request = training.plan(config, wanted, experiment_name=experiment)
    training.train(request)
    target = target_of(config, model_name)
    model = promotion.enter_challenger(target, catalog.resolve(target, run_id=request.run_id))
    return model.model_dump(include={"run_id", "artifact_sha256"}) | {
        "model_name": model.name,
        "version": model.version,
    }


def _infer(config: Settings, given: Given) -> dict[str, Any]:
    """Score rows of a dataset version with the model of a run, or with the champion of a name."""
    data_name, data_version = _needed(given, "data_name", "data_version")
    model_name, run_id = given.get("model_name", ""), given.get("run_id")
    if not (model_name or run_id):
        raise ConfigError("The notebook needs run_id or model_name.", "Set one in base_parameters or as a widget.")
    version = dataset.load(config.datasets, data_name, dataset.resolve(config.datasets, data_name, data_version))
    request = settings.checked(
        BatchRequest,
        model=catalog.resolve(target_of(config, model_name or "unregistered"), run_id=run_id),
        **batches.of_version(config.datasets, version, split=_split(given.get("split")))._asdict(),
        output_root=config.predictions,
        rules=config.data,
        inference=config.inference,
    )
    batch.infer(request)
    folder, _ = batches.locate(request)
    manifest = batches.load(folder)
    logger.info("%s", " ".join(manifest.told))
    return {"folder": str(folder)} | manifest.model_dump(mode="json", include={"scored", "splits", "rows_trained_on"})


PLANNED: dict[str, Callable[[Settings, Given], dict[str, Any]]] = {
    "create-data": _create_data,
    "train": _train,
    "infer": _infer,
}
TAKEN = {
    "train": {"data_name", "data_version", "model_experiment_name", "model_name", "model_type", "model_params", "seed"},
    "infer": {"data_name", "data_version", "model_name", "run_id", "split"},
}
"""The parameters of a step; those of a dataset version are checked with its request."""


def _needed(given: Given, *names: str) -> list[str]:
    if missing := [name for name in names if name not in given]:
        raise ConfigError(f"The notebook needs {', '.join(missing)}.", "Set it in base_parameters or as a widget.")
    return [given[name] for name in names]


def _split(text: str | None) -> SplitChoice | None:
    if text is not None and text not in get_args(SplitChoice):
        raise ConfigError(f"split={text!r:.80} is none of {', '.join(get_args(SplitChoice))}.", "Name one of them.")
    return cast("SplitChoice | None", text)


def _raw(config: Settings, data_name: str) -> str:
    folder = config.datasets / data_name / "raw"
    found = volumes.glob(folder, "*.*")
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "no file"
        raise NotFoundError(f"{folder} holds {names}, not one table.", "Name it: source.")
    return str(found[0])


def _literal(name: str, text: str, kind: type[T]) -> T:
    try:
        value = literal(text)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}.") from None
    if type(value) is not kind:
        raise ConfigError(f"{name}={text!r} is no {kind.__name__}.", "For example: {'alpha': 1.0}, or 7")
    return value
