"""Deployment jobs of registered models: which job is linked to which model, and that a new version starts it."""

from mlflow.entities.model_registry import RegisteredModel, RegisteredModelTag
from mlflow.protos import databricks_uc_registry_messages_pb2 as uc
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

from databricks_emulator.jobs import Jobs

LINK = "deployment.job"
"""The tag of the database that holds the link; the catalog takes none with a dot from a client."""
PARAMETERS = {"model_name", "model_version"}
"""What a job must take to be one of a model."""


class DeploymentJobs:
    """The links of models to jobs, in the database of the models."""

    def __init__(self, store: SqlAlchemyStore, jobs: Jobs) -> None:
        self._store = store
        self._jobs = jobs

    def link(self, name: str, job_id: str) -> None:
        """Link a model to a job; an empty id ends that."""
        if job_id:
            self._store.set_registered_model_tag(name, RegisteredModelTag(LINK, job_id))
        else:
            self._store.delete_registered_model_tag(name, LINK)

    def describe(self, model: RegisteredModel, about: uc.RegisteredModel) -> None:
        """Say of a model which job is linked to it, and whether that would start."""
        if job_id := model.tags.get(LINK):
            about.deployment_job_id = job_id
            about.deployment_job_state = uc.DeploymentJobConnection.State.Value(self._state(job_id))

    def start(self, name: str, version: str) -> None:
        """Start the job of a model for a version that is ready."""
        job_id = self._store.get_registered_model(name).tags.get(LINK)
        if job_id and self._state(job_id) == "CONNECTED":
            told = {"model_name": name, "model_version": version}
            self._jobs.run_now({"job_id": job_id, "job_parameters": told})

    def _state(self, job_id: str) -> str:
        parameters = self._jobs.parameters_of(job_id)
        if parameters is None:
            return "NOT_FOUND"
        return "CONNECTED" if parameters >= PARAMETERS else "REQUIRED_PARAMETERS_CHANGED"
