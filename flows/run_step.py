"""One request → one heavy step, alone."""

from prefect import State, flow
from prefect.states import Completed

from lifecycle.core.names import Environment, StepName
from tasks import compute


@flow(name="run-step", flow_run_name="{step} in {env}", persist_result=True, result_serializer="json")
def run_step(step: StepName, request: str, env: Environment = Environment.DEV) -> State[None]:
    """Run one heavy step where the settings say, from the JSON of its request.

    Args:
        step: Which one.
        request: Its request as JSON.
        env: Environment whose settings are used.
    """
    compute.run_step(step, compute.request_of(step, request), compute.settings_of(env))
    return Completed(message=f"{step} is done")
