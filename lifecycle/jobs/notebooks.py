"""What the reference notebooks do: one step of a model's life from named texts, the `base_parameters` of a job.

A text that is empty is a parameter that was not given. With `request`, a notebook stands in for the step of a job: it
gets the same frozen request and does the same. Without, the step is planned here by the settings of `env`.
"""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from lifecycle.core.errors import ConfigError, NotFoundError
from lifecycle.core.parameters import literal
from lifecycle.data import dataset
from lifecycle.data.source import Source
from lifecycle.inference import batch
from lifecycle.inference import manifest as batches
from lifecycle.inference.manifest import BatchRequest
from lifecycle.jobs import steps
from lifecycle.registry import catalog
from lifecycle.registry.store import target_of
from lifecycle.settings import load as settings
from lifecycle.settings.load import Settings
from lifecycle.storage import volumes
from lifecycle.tracking import runs
from lifecycle.training import train as training

OF_THE_RUN = ("env", "request", "prefect_flow_run_id")
OF_A_SOURCE = {"source": "uri", "source_format": "format", "encoding": "encoding", "delimiter": "delimiter"}

Given = dict[str, str]

T = TypeVar("T")


def run(step: str, parameters: Mapping[str, str]) -> str:
    """Run a step and answer with the JSON that its notebook exits with.

    Raises:
        ConfigError: A parameter is missing, unknown or out of range.
    """
    if request := parameters.get("request"):
        steps.run(step, request)
        return json.dumps({"step": step})
    os.environ.setdefault("MLOPS_PLATFORM", "databricks")
    given = {name: text for name, text in parameters.items() if text and name not in OF_THE_RUN}
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
    """Train in an experiment; the model is called like it unless it has a name of its own."""
    data_name, data_version, experiment = _needed(given, "data_name", "data_version", "model_experiment_name")
    request = training.plan(
        config,
        data_name=data_name,
        data_version=dataset.resolve(config.datasets, data_name, data_version),
        model_name=given.get("model_name", experiment.rpartition("/")[2]),
        algorithm=given.get("model_type"),
        params=_literal("model_params", given.get("model_params", "{}"), dict),
        seed=_literal("seed", given.get("seed", "0"), int),
        links={},
        experiment_name=experiment,
    )
    training.train(request)
    made = runs.trained(config.mlflow_uri, request.run_id)
    return {"run_id": made.run_id, "artifact_sha256": made.artifact_sha256}


def _infer(config: Settings, given: Given) -> dict[str, Any]:
    """Score a dataset version with the model of a run, or with the champion of a name."""
    data_name, data_version = _needed(given, "data_name", "data_version")
    model_name, run_id = given.get("model_name", ""), given.get("run_id")
    if not (model_name or run_id):
        raise ConfigError("The notebook needs run_id or model_name.", "Set one in base_parameters or as a widget.")
    version = dataset.load(config.datasets, data_name, dataset.resolve(config.datasets, data_name, data_version))
    request = BatchRequest(
        model=catalog.resolve(target_of(config, model_name or "unregistered"), run_id=run_id),
        **batches.of_version(config.datasets, version)._asdict(),
        output_root=config.predictions,
        rules=config.data,
        inference=config.inference,
    )
    batch.infer(request)
    folder, _ = batches.locate(request)
    return {"folder": str(folder), "scored": batches.load(folder).scored}


PLANNED: dict[str, Callable[[Settings, Given], dict[str, Any]]] = {
    "create-data": _create_data,
    "train": _train,
    "infer": _infer,
}
TAKEN = {
    "train": {"data_name", "data_version", "model_experiment_name", "model_name", "model_type", "model_params", "seed"},
    "infer": {"data_name", "data_version", "model_name", "run_id"},
}
"""The parameters of a step; those of a dataset version are checked with its request."""


def _needed(given: Given, *names: str) -> list[str]:
    if missing := [name for name in names if name not in given]:
        raise ConfigError(f"The notebook needs {', '.join(missing)}.", "Set it in base_parameters or as a widget.")
    return [given[name] for name in names]


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
