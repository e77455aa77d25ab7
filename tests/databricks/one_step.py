"""A process that runs a flow of one remote step: `python -m tests.databricks.one_step <flow run> <job>`.

Started again with the same flow run, it is the rerun that Prefect makes of a flow that was killed.
"""

import sys
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow

from lifecycle import settings
from tasks import compute
from tests.databricks.remote import Request


@flow(name="one-step", persist_result=True, result_serializer="json")
def one_step(job: str) -> None:
    """The step `train` as the job of this name."""
    rules = {"jobs": {"train": job}, "poll_seconds": 0.2, "timeout_seconds": 240}
    compute.run_step("train", Request(), settings.load("dev", platform="databricks", databricks=rules))


if __name__ == "__main__":
    with get_client(sync_client=True) as client:
        found = client.read_flow_run(UUID(sys.argv[1]))
    run_flow(one_step, flow_run=found, parameters={"job": sys.argv[2]})
