"""The deployment job of Unity Catalog: what it starts for each new version of the models that are linked to it."""

from lifecycle.databricks import jobs
from lifecycle.registry import store
from lifecycle.registry.store import Target
from lifecycle.tracking.client import translated


def create_model(target: Target) -> None:
    """Make an empty registered model where it is missing, linked to the job that the settings name, if they name one.

    Raises:
        ConflictError: There are several jobs of that name.
        NotFoundError: There is none; then no model was made either.
    """
    job = _id(target)
    store.create_model(target)
    mlflow = store.mlflow_of(target)
    with translated():
        if job and mlflow.get_registered_model(target.name).deployment_job_id != job:
            mlflow.update_registered_model(target.name, deployment_job_id=job)


def _id(target: Target) -> str:
    if not target.deployment_job or not target.in_unity_catalog:
        return ""
    return str(jobs.only(target.deployment_job, target.registry_uri or target.tracking_uri))
