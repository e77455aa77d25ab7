"""What runs remember of the champions that were made of them, whatever becomes of the registered model.

A model that is deleted, or renamed, with MLflow alone takes the memory of its log along. A run is not part of the
registry: its tag tells a model that never had a champion from one whose past is gone.
"""

from typing import TYPE_CHECKING

from lifecycle.tracking.client import client, is_missing, translated

if TYPE_CHECKING:
    from mlflow.entities import Run

TAG = "mlops.champion."
"""Followed by the name of the registered model; the value is what is to be remembered of its log."""


def record(tracking_uri: str, run_id: str, name: str, note: str) -> None:
    """Note on a run that it made the champion of a model; a run that is deleted or not there cannot."""
    from mlflow.exceptions import MlflowException

    try:
        with translated():
            client(tracking_uri).set_tag(run_id, TAG + name, note)
    except MlflowException as error:
        if not is_missing(error) and error.error_code != "INVALID_PARAMETER_VALUE":
            raise


def notes(tracking_uri: str, name: str) -> dict[str, str]:
    """What runs that made champions of a model were given to remember, by their ids."""
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
