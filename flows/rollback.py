"""Champion → the champion before it."""

from typing import Any

from prefect import Flow, State, flow, runtime
from prefect.client.schemas.objects import FlowRun
from prefect.states import Completed

from lifecycle.core.names import Environment
from lifecycle.core.parameters import Name, VersionNumber
from lifecycle.registry import promotion as promotions
from lifecycle.registry.promotion import Promotion
from lifecycle.registry.store import target_of
from tasks import compute, events, limits, registry, reports, serving


def _report(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001  Prefect's names
    """That the run has completed is how people are told, unless a command does it: see `cli.runner`."""
    asked = flow_run.parameters
    if not asked.get("rehearse"):
        promotions.report(target_of(compute.settings_of(asked.get("env", Environment.PROD)), asked["model_name"]))


@flow(
    name="rollback",
    flow_run_name="roll back {model_name} in {env}",
    persist_result=True,
    result_serializer="json",
    on_completion=[_report],
)
def rollback(
    model_name: Name,
    env: Environment = Environment.PROD,
    to_version: VersionNumber | None = None,
    reason: str = "",
    rehearse: bool = False,
) -> State[Promotion]:
    """Give the champion alias back to an earlier champion, once it is proven to load and to predict what it predicted.

    Args:
        model_name: Name of the model, without environment.
        env: Environment to roll back in.
        to_version: Version that was champion; default the one before the present one.
        reason: Recorded in the log.
        rehearse: Do everything but move the alias, in a process that is fresh in any case, and mark the version ready.
    """
    config = compute.settings_of(env)
    target = target_of(config, model_name)
    why, run_id = reason or "rolled back by hand", str(runtime.flow_run.id or "")
    with limits.one_promotion(target):
        intent = registry.intend_rollback(target, to_version, why, rehearse=rehearse, request=run_id)
        if isinstance(intent, Promotion):
            if not rehearse:
                serving.champion(config, model_name)
            return Completed(message=intent.message, data=intent)
        registry.reproduces(intent.model, config.datasets, config.state / "evidence", anew=rehearse)
        if rehearse:
            ready = registry.mark_ready(intent)
            return Completed(message=ready.message, data=ready)
        registry.register(intent)
        promotion = registry.promote(intent)
    events.emit("rolled-back", target.name, config.env, version=promotion.champion, reason=intent.reason)
    reports.show_promotion(promotion)
    serving.champion(config, model_name)
    return Completed(message=promotion.message, data=promotion)
