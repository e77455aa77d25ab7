"""Champion → the champion before it."""

from typing import Any

from prefect import Flow, State, flow, runtime
from prefect.client.schemas.objects import FlowRun

from flows.flow_requests import RollbackRequest
from flows.parameters import PERSISTED, Outcome, flat, named
from lifecycle.registry import promotion as promotions
from lifecycle.registry import rollback as rollbacks
from lifecycle.registry.promotion import Promotion
from lifecycle.registry.rollback import Wanted
from lifecycle.registry.store import target_of
from lifecycle.settings import checked
from tasks import compute, events, limits, probation, registry, reports, serving


def run(request: RollbackRequest) -> Outcome[Promotion]:
    """Give the alias back, or only prove that it could be."""
    request = request.completed()
    config = compute.settings_of(request.env, request.model)
    wanted = Wanted.of(config, request.model, request.to_version, request.reason, request.rehearse)
    with limits.one_promotion(wanted.target):
        promotion, is_new = rollbacks.roll_back(wanted, str(runtime.flow_run.id or ""), registry.rollback_steps)
    if is_new:
        events.emit("rolled-back", promotion.name, config.env, version=promotion.champion, reason=wanted.reason)
        reports.show_promotion(promotion)
    if not request.rehearse:
        serving.champion(config, request.model)
        probation.begins(config, request.model)
    return Outcome(promotion, promotion.message)


def _report(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001  Prefect's names
    """That the run has completed is how people are told, unless a command does it: see `cli.runner`."""
    request = checked(RollbackRequest, **flow_run.parameters).completed()
    if not request.rehearse:
        promotions.report(target_of(compute.settings_of(request.env, request.model), request.model))


@flow(
    name="rollback",
    flow_run_name=named("roll back {model_name} in {env}", RollbackRequest),
    on_completion=[_report],
    **PERSISTED,
)
@flat
def rollback(request: RollbackRequest) -> Outcome[Promotion]:
    """Give the champion alias back to an earlier champion, proven to load and to predict what it predicted."""
    return run(request)
