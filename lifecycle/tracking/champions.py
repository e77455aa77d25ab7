"""What runs remember of the champions that were made of them, whatever becomes of the registered model.

A model that is deleted, or renamed, with MLflow alone takes the memory of its log along. A run is not part of the
registry: its tag tells a model that never had a champion from one whose past is gone.
"""

from typing import TYPE_CHECKING

from lifecycle.tracking.client import client, is_missing, translated

if TYPE_CHECKING:
    from mlflow.entities import Run

TAG = "mlops.champion."
"""Followed by the name of the registered model; the value is the number of the version."""


def record(tracking_uri: str, run_id: str, name: str, number: int) -> None:
    """Note on a run that it made the champion of a model; a run that is deleted or not there cannot."""
    from mlflow.exceptions import MlflowException

    try:
        with translated():
            client(tracking_uri).set_tag(run_id, TAG + name, str(number))
    except MlflowException as error:
        if not is_missing(error) and error.error_code != "INVALID_PARAMETER_VALUE":
            raise


def find(tracking_uri: str, name: str) -> str:
    """The last champion of a model that runs speak of, `v3 (run 1f…)`; empty if none does."""
    runs = _runs(tracking_uri, name)
    if not runs:
        return ""
    last = max(runs, key=lambda run: int(run.data.tags[TAG + name]))
    return f"v{last.data.tags[TAG + name]} (run {last.info.run_id})"


def forget(tracking_uri: str, name: str) -> None:
    """Take the notes back: the model was deleted, or renamed, by this project."""
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
