"""Runs that wait for a person: which there are, and how to answer one."""

import json
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from lifecycle.core.errors import ConfigError, ConflictError
from lifecycle.core.frozen import Frozen

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun


class Waiting(Frozen):
    """A flow run that asks a person about a verdict."""

    flow_run_id: UUID
    name: str
    verdict_digest: str
    since: datetime
    until: datetime | None
    link: str
    text: str


def waiting(client: "SyncPrefectClient") -> list[Waiting]:
    """The runs that wait for an answer, the longest wait first."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType

    from tasks.approvals import KEY

    paused = FlowRunFilterStateType(any_=[StateType.PAUSED])
    found = client.read_flow_runs(flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=paused)), limit=200)
    asking = [run for run in found if run.state and (run.state.state_details.pause_key or "").startswith(KEY)]
    return sorted((_waiting(client, run) for run in asking), key=lambda each: each.since)


def one_of(client: "SyncPrefectClient", found: list[Waiting], flow_run: str) -> Waiting:
    """The run of this number, of which the first characters are enough.

    Raises:
        ConfigError: There is none under it, or more than one waits for an answer.
        ConflictError: It does not wait any more.
    """
    chosen = [each for each in found if str(each.flow_run_id).startswith(flow_run.lower())]
    if len(chosen) == 1:
        return chosen[0]
    known = ", ".join(f"{each.flow_run_id} ({each.name})" for each in found) or "none"
    if not chosen and (state := _state_of(client, flow_run)):
        what = f"{flow_run} does not wait for an answer any more, it is {state}; those that wait: {known}."
        raise ConflictError(what, "See: mlops approve --list")
    what = "more than one run waits" if chosen else "no run waits for an answer"
    raise ConfigError(f"{flow_run!r}: {what}; there are: {known}.", "See: mlops approve --list")


def _state_of(client: "SyncPrefectClient", flow_run: str) -> str:
    """The state of a run by its whole number; empty if that is none."""
    from prefect.exceptions import ObjectNotFound

    with suppress(ValueError, ObjectNotFound):
        state = client.read_flow_run(UUID(flow_run)).state
        return str(state.name) if state else ""
    return ""


def answer(client: "SyncPrefectClient", run: Waiting, *, approve: bool, by: str, reason: str) -> None:
    """Answer a run that waits; the first answer counts.

    Raises:
        ConfigError: The server does not take the answer.
        ConflictError: The run does not wait any more.
    """
    from prefect.client.schemas.responses import SetStateStatus

    filled = {
        "decision": "approve" if approve else "reject",
        "reason": reason,
        "by": by,
        "verdict": run.verdict_digest,
    }
    done = client.resume_flow_run(run.flow_run_id, run_input=filled)
    why = getattr(done.details, "reason", "") or ""
    if done.status == SetStateStatus.REJECT and done.state and done.state.is_paused():
        raise ConfigError(f"The answer was refused: {why}", "See: mlops approve --help")
    if done.status != SetStateStatus.ACCEPT:
        raise ConflictError(f"{run.name} does not wait for an answer any more: {why}", "See: mlops approve --list")


def _waiting(client: "SyncPrefectClient", run: "FlowRun") -> Waiting:
    from tasks.approvals import GRACE_SECONDS
    from tasks.links import page_of

    details = run.state.state_details if run.state else None
    keys = (details.run_input_keyset if details else None) or {}
    form = _input(client, run, keys.get("schema"))
    end = details.pause_timeout if details else None
    return Waiting(
        flow_run_id=run.id,
        name=run.name,
        verdict_digest=form.get("properties", {}).get("verdict", {}).get("default", ""),
        since=run.state.timestamp if run.state else run.created,
        until=end - timedelta(seconds=GRACE_SECONDS) if end else None,
        link=page_of(run.id),
        text=str(_input(client, run, keys.get("description")) or ""),
    )


def _input(client: "SyncPrefectClient", run: "FlowRun", key: str | None) -> Any:
    """What a run has stored under a key; nothing in the moment between its pause and its question."""
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        return json.loads(client.read_flow_run_input(run.id, key)) if key else {}
    except PrefectHTTPStatusError as error:
        if error.response.status_code != 404:
            raise
        return {}
