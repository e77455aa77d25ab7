"""Who waits for a run on Databricks: the flow run that started it, in a process that may have been killed since.

A process that is killed leaves its flow run as running for ever. So it leaves its mark there, by which others on the
same machine see that it has ended; and whoever takes over what it had started leaves the id of its own flow run.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from threading import Event
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound

from lifecycle.core import writer_process
from lifecycle.core.frozen import Frozen

PROCESS, TAKEN_BY = "mlops.process", "mlops.taken_by"
"""Labels of a flow run: the process that waits in it, and the flow run that waits in its place."""
UNKNOWN = "unknown to this server"

_ended: ContextVar[Event | None] = ContextVar("ended", default=None)
"""Whether the flow has ended for which several threads wait, each for a run."""


class Waiter(Frozen):
    """The flow run that waits for a run: the name of its state, and whether it does so no more."""

    state: str
    gone: bool


def waits_here(flow_run_id: str, *, in_place_of: str = "") -> None:
    """Leave the mark of this process at its flow run, and its flow run at the one whose run it takes over.

    One that the server does not know, as outside of a flow, has no place for it.
    """
    with get_client(sync_client=True) as client, suppress(ObjectNotFound, ValueError, httpx.HTTPError):
        client.update_flow_run_labels(UUID(flow_run_id), {PROCESS: writer_process.mark()})
        if in_place_of:
            client.update_flow_run_labels(UUID(in_place_of), {TAKEN_BY: flow_run_id})


def waiter_of(client: SyncPrefectClient, flow_run_id: str) -> Waiter:
    """Who waits for what a flow run has started: that flow run, or the last that took it over."""
    seen: set[str] = set()
    found = _read(client, flow_run_id)
    while found and (heir := str(found.labels.get(TAKEN_BY, ""))) and heir not in seen:
        seen.add(heir)
        found = _read(client, heir) or found
    if found is None:
        return Waiter(state=UNKNOWN, gone=False)
    if (state := found.state) is None:
        return Waiter(state="Pending", gone=False)
    killed = state.is_running() and writer_process.has_ended(str(found.labels.get(PROCESS, "")))
    return Waiter(
        state=f"{state.name}, its process killed" if killed else state.name or state.type.value,
        gone=state.is_final() or killed,
    )


def _read(client: SyncPrefectClient, flow_run_id: str) -> FlowRun | None:
    try:
        return client.read_flow_run(UUID(flow_run_id))
    except (ObjectNotFound, ValueError):
        return None


@contextmanager
def together() -> Iterator[None]:
    """End the waits of threads that are started within with the block: a signal ends that of the main thread alone.

    They must begin with a copy of its context, as those of Prefect do.
    """
    ended = Event()
    before = _ended.set(ended)
    try:
        yield
    finally:
        ended.set()
        _ended.reset(before)


def wait(seconds: float) -> None:
    """Wait until the next look at a run."""
    if (ended := _ended.get()) is None:
        time.sleep(seconds)
    elif ended.wait(seconds):
        raise KeyboardInterrupt
