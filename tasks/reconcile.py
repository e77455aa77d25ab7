"""Runs on Databricks whose flow run is gone: a flow that is killed cannot cancel what it has started."""

import time

from prefect.client.orchestration import SyncPrefectClient, get_client

from lifecycle.core.errors import MlopsError, TransientError
from lifecycle.databricks import run_states as runs
from lifecycle.databricks.run_states import Orphan, Run
from lifecycle.settings import Settings
from tasks import databricks
from tasks.databricks_calls import Workspace
from tasks.policies import on_registry
from tasks.waiters import waiter_of


def _reconcile(config: Settings, *, dry_run: bool = False) -> list[Orphan]:
    """Cancel the active runs of an environment that nobody waits for; leave those that a flow run comes back to.

    Nobody does once the flow run has ended, or its process has been killed on this machine. A flow run that this server
    does not know belongs to another one, so its runs are left alone too. But nobody waits for a run that is older than
    two deadlines: a command that was killed elsewhere leaves its flow run as running for ever.

    Raises:
        TransientError: The workspace did not end some of them, after all others have been.
    """
    if config.platform != "databricks":
        return []
    workspace, oldest = Workspace(config.mlflow_uri), time.time() - 2 * config.databricks.timeout_seconds
    # all pages before the first change: what is cancelled leaves the list, and the next page would begin too late
    active = list(workspace.runs(active_only="true", expand_tasks="true"))
    with get_client(sync_client=True) as client:
        found = [
            _orphan(client, run, oldest)
            for run in active
            if runs.parameter(run, databricks.FLOW_RUN) and runs.parameter(run, "env") == config.env
        ]
    return found if dry_run else _cancelled(workspace, found)


def _orphan(client: SyncPrefectClient, run: Run, oldest: float) -> Orphan:
    """An active run, who waits for it, and what is to be done about it."""
    flow_run_id = runs.parameter(run, databricks.FLOW_RUN)
    waiter = waiter_of(client, flow_run_id)
    forgotten = run.get("start_time", 0) / 1000 < oldest
    return Orphan(
        run_id=run["run_id"],
        name=run.get("run_name", ""),
        flow_run_id=flow_run_id,
        flow_state=waiter.state,
        outcome="to cancel" if waiter.gone or forgotten else "left",
        page=run.get("run_page_url", ""),
    )


def _cancelled(workspace: Workspace, found: list[Orphan]) -> list[Orphan]:
    """The same runs, those that were to be cancelled being so."""
    settled, refused = [], []
    for orphan in found:
        if orphan.outcome == "left":
            settled.append(orphan)
            continue
        try:
            databricks.cancel(workspace, orphan.run_id)
            settled.append(orphan.model_copy(update={"outcome": "cancelled"}))
        except MlopsError as error:
            refused.append(f"{orphan.run_id} ({error.what})")
    if refused:
        what = f"{len(refused)} runs are not known to be cancelled: {'; '.join(refused)}"
        raise TransientError(what, "Again: mlops databricks reconcile")
    return settled


reconcile = on_registry(_reconcile).with_options(name="reconcile Databricks runs")
