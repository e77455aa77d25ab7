"""What runs remember of the champions that were made of them, whatever becomes of the registered model.

A model that is deleted, or renamed, with MLflow alone takes the memory of its log along. A run is not part of the
registry: its tag tells a model that never had a champion from one whose past is gone.
"""

import re
from typing import TYPE_CHECKING

from lifecycle.tracking import tables
from lifecycle.tracking.client import client, is_missing, translated

if TYPE_CHECKING:
    from mlflow.entities import Run

TAG = "mlops.champion."
"""Followed by the name of the registered model; the value is what is to be remembered of its log."""
ATTEMPTS = 3
MADE_MEANWHILE = re.compile(r"UNIQUE constraint|duplicate key|Duplicate entry")
"""What a database of MLflow's says to the second of two that add the same tag: it has looked whether it is there."""


def record(tracking_uri: str, run_id: str, name: str, note: str) -> None:
    """Note on a run that it made the champion of a model; a run that is deleted or not there cannot.

    Whoever reads a log settles it, so several may make the same note at once: one of them finds it made, and goes on.
    """
    from mlflow.exceptions import MlflowException

    for attempt in range(ATTEMPTS):
        try:
            with translated():
                client(tracking_uri).set_tag(run_id, TAG + name, note)
        except MlflowException as error:
            if is_missing(error) or error.error_code == "INVALID_PARAMETER_VALUE":
                return
            if attempt + 1 == ATTEMPTS or not MADE_MEANWHILE.search(str(error)):
                raise
        else:
            return


def notes(tracking_uri: str, name: str) -> dict[str, str]:
    """What runs that made champions of a model were given to remember, by their ids."""
    if embedded := tables.of(tracking_uri):
        return embedded.noted(TAG + name)
    return {str(run.info.run_id): run.data.tags[TAG + name] for run in _runs(tracking_uri, name)}


def forget(tracking_uri: str, name: str) -> None:
    """Take the notes back: the model is about to be deleted, or renamed, by this project."""
    mlflow = client(tracking_uri)
    for run in _runs(tracking_uri, name):
        is_deleted = run.info.lifecycle_stage != "active"
        with translated():
            if is_deleted:
                mlflow.restore_run(run.info.run_id)
            mlflow.delete_tag(run.info.run_id, TAG + name)
            if is_deleted:
                mlflow.delete_run(run.info.run_id)


def _runs(tracking_uri: str, name: str) -> "list[Run]":
    """The runs that made champions of a model, in whatever experiment they were made."""
    from mlflow.entities import ViewType

    mlflow, wanted = client(tracking_uri), f"tags.`{TAG}{name}` LIKE '%'"
    if {"'", "`"} & set(name):
        return []
    found: list[Run] = []
    token: str | None = None
    while True:
        with translated():
            page = mlflow.search_experiments(ViewType.ALL, page_token=token)
            if page:
                found += mlflow.search_runs([each.experiment_id for each in page], wanted, ViewType.ALL)
        if not (token := page.token):
            return found
