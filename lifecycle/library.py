"""The functions that programs of yours may import, kept stable from release to release.

`from mlops_lifecycle import champion, load_model, rows, predictions, history`. They read, and change nothing; they
find the project as the command does, upwards from the working directory. Their errors stand in `lifecycle.core.errors`.
"""

from datetime import date
from typing import Any

import pandas as pd

import lifecycle.inference.manifest as batches
from lifecycle import settings
from lifecycle.core.errors import NotFoundError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import Environment, Side
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset
from lifecycle.models import loading
from lifecycle.registry import catalog, store
from lifecycle.registry.catalog import Line
from lifecycle.storage import volumes
from lifecycle.tracking import client

__all__ = ["LoadedModel", "champion", "history", "load_model", "predictions", "rows"]


class LoadedModel(Frozen):
    """One exact version, loaded after its digest and its types were checked."""

    ref: ModelRef
    model: Any

    def predict(self, inputs: pd.DataFrame) -> pd.DataFrame:
        """One row for each row of the inputs, in the same order: `label` and `score`, or `prediction`."""
        answers: pd.DataFrame = self.model.predict(None, inputs)
        return answers


@client.kept_apart()
def champion(model_name: str, env: str = "prod") -> ModelRef:
    """The version that an environment's readers get, by the promotion log.

    Raises:
        NotFoundError: The environment has no champion of this model.
        AliasMovedError: The alias was moved by hand, and nobody has recorded it.
    """
    return catalog.resolve(_target(model_name, env))


@client.kept_apart()
def load_model(
    model_name: str, env: str = "prod", *, version: int | None = None, alias: str | None = None
) -> LoadedModel:
    """Load the champion, or the version that is named.

    Raises:
        IntegrityError: The files are not those that were registered, or hold a type that is not trusted.
    """
    ref = catalog.resolve(_target(model_name, env), version=version, alias=alias)
    return LoadedModel(ref=ref, model=loading.load(ref))


def rows(data_name: str, data_version: str = "latest", *splits: str, env: str = "dev") -> pd.DataFrame:
    """The rows of a dataset version in their order, of some splits (`train`, `test`, `holdout`) or of all."""
    root = settings.load(Environment(env)).datasets
    return dataset.load_rows(root, data_name, dataset.resolve(root, data_name, data_version), *map(Side, splits))


def predictions(model_name: str, day: date, env: str = "prod") -> pd.DataFrame:
    """What is published for a day, by whichever versions, verified against its manifests.

    Raises:
        NotFoundError: Nothing is published for that day.
    """
    config = settings.load(Environment(env), model_name=model_name)
    name = config.registered_name(model_name)
    folders = batches.folders_of_day(config.predictions, name, day)
    if not folders:
        raise NotFoundError(
            f"Nothing is published of {name} for {day}.", f"Fill it: mlops backfill --from {day} --to {day}"
        )
    parts = [
        pd.read_parquet(volumes.place(folder) / part)
        for folder in folders
        for part in sorted(batches.verify(folder).parts)
        if part != batches.REJECTED
    ]
    return pd.concat(parts, ignore_index=True)


@client.kept_apart()
def history(model_name: str, env: str = "prod") -> list[Line]:
    """Who became champion when, why, and by whom; the first entry first."""
    return catalog.history(_target(model_name, env))


def _target(model_name: str, env: str) -> store.Target:
    return store.target_of(settings.load(Environment(env), model_name=model_name), model_name)
