"""The request of a search → its trials, made by several jobs at once → what they found."""

from prefect import State, flow
from prefect.states import Completed

from flows.parameters import PERSISTED
from lifecycle.core.names import Environment
from lifecycle.training import tune as tuning
from lifecycle.training.study import TuneRequest
from lifecycle.training.tune import Tuned
from tasks import compute


@flow(name="tune", flow_run_name="tune in {env}", **PERSISTED)
def tune(request: TuneRequest, workers: int = 4, env: Environment = Environment.DEV) -> State[Tuned]:
    """Let so many runs of the job share the trials of a search; one of them that fails leaves its trials to the others.

    Args:
        request: What is searched.
        workers: Runs at once.
        env: Environment whose settings are used.
    """
    config = compute.settings_of(env, request.model_name)

    def work(wanted: TuneRequest) -> list[Exception]:
        each = [wanted.model_copy(update={"worker": number}) for number in range(workers)]
        return compute.run_at_once("tune", each, config)

    found = tuning.search(request, work)
    return Completed(message=f"{len(found.trials)} trials of {found.planned} ({found.new} new)", data=found)
