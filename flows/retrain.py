"""An event → the newest labelled data → a challenger of the same definition → the same gate."""

from typing import Any

from prefect import flow, runtime

from flows import create_data, train
from flows.flow_requests import VERSION, DatasetRequest, RetrainingRequest, TrainingRequest
from flows.parameters import PERSISTED, Outcome, flat, for_its_day, named
from lifecycle.monitoring import retraining
from lifecycle.settings import definitions
from tasks import compute
from tasks.outcomes import Retraining


def run(request: RetrainingRequest) -> Outcome[Retraining]:
    """Train unless there was enough of it; a table that has changed since becomes a dataset version first."""
    request = for_its_day(request.completed())
    config = compute.settings_of(request.env, request.model)
    name, run_id = config.registered_name(request.model), str(runtime.flow_run.id or "by-hand")
    if why := retraining.refusal(config.measurements, name, run_id, config.monitoring.retraining):
        return Outcome(Retraining(model=name, refusal=why), f"{name} is not retrained: {why}")
    wanted: dict[str, Any] = {"model_name": request.model, "env": request.env, "data_name": request.data_name}
    wanted["data_version"] = request.data_version or _fresh(request)
    ended = train.run(TrainingRequest(**wanted))
    return Outcome(Retraining(model=name, admission=ended.value), ended.message, ended.name)


@flow(name="retrain", flow_run_name=named("retrain {model_name} in {env}", RetrainingRequest), **PERSISTED)
@flat
def retrain(request: RetrainingRequest) -> Outcome[Retraining]:
    """Train the model anew because something has happened, on fresh data if there is any, up to its gate."""
    return run(request)


def _fresh(request: RetrainingRequest) -> str | None:
    """The dataset version of the table as it is now, if the definition names one that can be read again."""
    definition = definitions.chosen(request.model)[1]
    source = definition.data.source if definition and request.data_name in {None, definition.data.name} else None
    if source is None or VERSION in source:
        return None
    day = request.model_dump(include={"logical_date"})
    return create_data.run(DatasetRequest(model_name=request.model, env=request.env, **day)).value.data_version
