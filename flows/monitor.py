"""What was measured of a model's batches → alerts told, a new champion kept or rolled back."""

import logging
from typing import Any

from prefect import flow

from flows.flow_requests import MonitorRequest
from flows.parameters import PERSISTED, Outcome, flat, named
from lifecycle.core.errors import MlopsError
from lifecycle.inference.manifest import BatchRequest
from lifecycle.monitoring import restoration
from lifecycle.settings import Settings
from tasks import compute, monitoring, probation, serving
from tasks.outcomes import Monitored

logger = logging.getLogger("lifecycle.monitoring")


def run(request: MonitorRequest) -> Outcome[Monitored]:
    """Measure requests, tell of alerts that nobody was told of, and act on a probation; again changes nothing."""
    request = request.completed()
    config = compute.settings_of(request.env, request.model)
    subject = probation.subject_of(config, request.model)
    probation.require_champion(subject)
    failure = monitoring.of_requests(config, subject, request.model)
    probation.of_requests(config, request.model)
    standing = monitoring.refresh(config, request.model)
    restored = acted(config, request.model)
    served = serving.advance(config, request.model, complete=request.end_canary)
    found = probation.stands(subject)
    if standing:
        monitoring.write_page(config, subject)
    if failure:
        raise failure
    alerts = f"{len(standing.alerts) if standing else 0} open alerts"
    value = Monitored(model=subject.name, standing=standing, probation=found, restored=restored, served=served)
    return Outcome(value, f"{subject.name}: {alerts}; {found.told}")


def after(batch: BatchRequest, config: Settings, model_name: str) -> None:
    """The same about a batch that was just published; whatever fails is told, and the batch stays as it is."""
    if not monitoring.is_watched(batch, config):
        return
    steps: dict[str, Any] = {
        "measured": lambda: monitoring.after(batch, config),
        "scored in the shadow": lambda: probation.in_the_shadow(batch, config, model_name),
        "judged on its probation": lambda: acted(config, model_name),
        "followed by the endpoint": lambda: serving.advance(config, model_name),
    }
    for what, step in steps.items():
        try:
            step()
        except MlopsError as error:
            logger.warning("The batch was not %s: %s", what, error)
        except Exception as error:  # of a library: the same command again makes up for it
            logger.warning("The batch was not %s: %s: %s", what, type(error).__name__, error)


def acted(config: Settings, model_name: str) -> tuple[restoration.Restored, ...]:
    """Decide on a probation that is broken, and complete what was decided: just now, or by a run that was killed."""
    subject = probation.subject_of(config, model_name)
    found = probation.stands(subject)
    if found.state == "broken":
        probation.decide(subject, found)
    restored = tuple(
        probation.restore(decision, config, model_name) for decision in restoration.open_decisions(subject, found)
    )
    probation.forget(subject, probation.stands(subject) if restored else found)
    return restored


@flow(name="monitor", flow_run_name=named("monitor {model_name} in {env}", MonitorRequest), **PERSISTED)
@flat
def monitor(request: MonitorRequest) -> Outcome[Monitored]:
    """Look at what was measured of a model in production: tell of alerts, and roll back what breaks its probation."""
    return run(request)
