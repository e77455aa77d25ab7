"""Runs on Databricks whose flow run is gone: a flow that is killed cannot cancel what it has started."""

import time
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound

from lifecycle.databricks import run_states as runs
from lifecycle.databricks.run_states import Orphan, Run
from lifecycle.settings import Settings
from tasks import databricks
from tasks.databricks_calls import Workspace
from tasks.policies import on_registry


def _reconcile(config: Settings, *, dry_run: bool = False) -> list[Orphan]:
    """Cancel the active runs of an environment whose flow run has ended; leave those that a flow run comes back to.

    A flow run that this server does not know belongs to another one, so its runs are left alone too. But nobody waits
    for a run that is older than two deadlines: a command that was killed leaves its flow run as running for ever.
    """
    if config.platform != "databricks":
        return []
    workspace, oldest = Workspace(config.mlflow_uri), time.time() - 2 * config.databricks.timeout_seconds
    # all pages before the first change: what is cancelled leaves the list, and the next page would begin too late
    active = list(workspace.runs(active_only="true", expand_tasks="true"))
    with get_client(sync_client=True) as client:
        return [
            _settled(workspace, run, *_state(client, run, oldest), dry_run=dry_run)
            for run in active
            if runs.parameter(run, databricks.FLOW_RUN) and runs.parameter(run, "env") == config.env
        ]


def _state(client: SyncPrefectClient, run: Run, oldest: float) -> tuple[str, bool]:
    """The name of the state of the flow run that started a run, and whether nobody waits for the run any more."""
    forgotten = run.get("start_time", 0) / 1000 < oldest
    try:
        state = client.read_flow_run(UUID(runs.parameter(run, databricks.FLOW_RUN))).state
    except (ObjectNotFound, ValueError):
        return "unknown to this server", forgotten
    return (state.name or state.type.value, state.is_final() or forgotten) if state else ("Pending", forgotten)


def _settled(workspace: Workspace, run: Run, state: str, over: bool, *, dry_run: bool) -> Orphan:
    if over and not dry_run:
        databricks.cancel(workspace, run["run_id"])
    return Orphan(
        run_id=run["run_id"],
        name=run.get("run_name", ""),
        flow_run_id=runs.parameter(run, databricks.FLOW_RUN),
        flow_state=state,
        outcome=("to cancel" if dry_run else "cancelled") if over else "left",
        page=run.get("run_page_url", ""),
    )


reconcile = on_registry(_reconcile).with_options(name="reconcile Databricks runs")
