"""Runs on Databricks ↔ the flow runs that started them."""

from prefect import State, flow
from prefect.states import Completed

from lifecycle.core.names import Environment
from lifecycle.databricks.run_states import Orphan
from tasks import compute
from tasks import reconcile as orphans


@flow(name="reconcile", flow_run_name="reconcile {env}", persist_result=True, result_serializer="json")
def reconcile(env: Environment = Environment.PROD, dry_run: bool = False) -> State[list[Orphan]]:
    """Cancel the runs on Databricks that nobody waits for: a flow that was killed could not do so itself.

    Args:
        env: Environment whose runs are looked at.
        dry_run: Say what would be cancelled; change nothing.
    """
    found = orphans.reconcile(compute.settings_of(env), dry_run=dry_run)
    ended = sum(orphan.outcome != "left" for orphan in found)
    words = "would be cancelled" if dry_run else "cancelled"
    return Completed(message=f"{len(found)} active, {ended} {words}", data=found)
