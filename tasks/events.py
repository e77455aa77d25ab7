"""What happens to models as Prefect events, so that an automation can react: notify, deploy, retrain.

Each event's resource is `mlops.model.<registered name>`; version, environment and reason are labels of it.
"""

from typing import Literal
from uuid import UUID

from prefect.events import emit_event

from lifecycle.monitoring.findings import Alert

Kind = Literal["registered", "promoted", "refused", "approval-requested", "not-approved", "rolled-back"]

ALERTS = {
    "drift": "mlops.drift.detected",
    "performance": "mlops.performance.degraded",
    "latency": "mlops.latency.exceeded",
}


def emit(kind: Kind, name: str, env: str, *, version: int | None = None, reason: str = "") -> None:
    """Emit `mlops.model.<kind>`; without a Prefect server to hear it nothing happens."""
    resource = {
        "prefect.resource.id": f"mlops.model.{name}",
        "prefect.resource.name": name,
        "mlops.environment": env,
        "mlops.version": str(version or ""),
    }
    payload = {"model": name, "version": version, "environment": env, "reason": reason[:2000]}
    emit_event(f"mlops.model.{kind}", resource=resource, payload=payload)


def emit_alert(alert: Alert, env: str, advice: str) -> None:
    """Emit the event of the kind of an alert, with what the alert is about and what to do."""
    resource = {
        "prefect.resource.id": f"mlops.model.{alert.model}",
        "prefect.resource.name": alert.model,
        "mlops.environment": env,
        "mlops.version": str(alert.version),
    }
    payload = {"model": alert.model, "version": alert.version, "environment": env, "reason": alert.told[:2000]}
    details = alert.model_dump(
        mode="json", include={"id", "since", "until", "batches", "window", "causes", "slices", "examples"}
    )
    emit_event(ALERTS[alert.kind], resource=resource, payload=payload | details | {"next": advice})


def emit_question(flow_run_id: UUID, env: str) -> None:
    """Emit that a flow run waits for a person from now on: the environment's automation counts the time."""
    emit_event(f"mlops.approval.asked.{env}", resource={"prefect.resource.id": f"prefect.flow-run.{flow_run_id}"})
