"""The JSON of a one-time run → that run on Databricks."""

from pathlib import Path

from prefect import State, flow
from prefect.states import Completed

from lifecycle.core.names import Environment
from lifecycle.databricks.run_states import Finished
from tasks import compute, databricks


@flow(name="submit", flow_run_name="submit {file}", persist_result=True, result_serializer="json")
def submit(file: Path, env: Environment = Environment.DEV) -> State[Finished]:
    """Run a one-time run on Databricks just as its JSON says, follow it to its end, and cancel it if this flow ends.

    Args:
        file: File of the payload of `runs/submit`, or of `run-now` with a `job_id`; its content is no parameter, which
            Prefect would keep in plain text.
        env: Environment whose workspace and deadline are used.
    """
    finished = databricks.submit(file, compute.settings_of(env))
    return Completed(message=f"Run {finished.run_id} of {finished.name} succeeded", data=finished)
