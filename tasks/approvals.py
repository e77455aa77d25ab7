"""A person's answer to a verdict: asked for in Prefect's UI, given there or by `mlops approve`.

A run of a deployment is suspended: its process ends, and the answer starts the run again, which reuses what it has
completed. Any other run waits in its process. Either way the question has a key with the verdict's digest in it, and
the answer carries that digest too, so that it counts for this verdict alone.

Who resumes a run without an answer, as happens when the time is over, has not approved.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from itertools import count, pairwise
from threading import Timer
from typing import Annotated, Any, Literal
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import NotPausedError
from prefect.flow_runs import pause_flow_run, resume_flow_run, suspend_flow_run
from prefect.input import RunInput, read_flow_run_input
from prefect.settings import PREFECT_API_URL
from pydantic import Field, ValidationError, create_model

from lifecycle.core.errors import ConfigError
from lifecycle.gate.present import markdown
from lifecycle.gate.verdict import Verdict
from lifecycle.settings import Settings
from tasks import events, limits
from tasks.links import page_of
from tasks.outcomes import Approval

logger = logging.getLogger("lifecycle.approvals")

NAME = "Not approved"
"""The state of a run that a person did not let promote."""
KEY = "approval-"
"""What the keys of our questions begin with."""
GRACE_SECONDS = 600
"""Prefect fails a run that waits so much longer than it may; our own end comes before that."""
POLL_SECONDS = 3


def _unset(schema: dict[str, Any]) -> None:
    """Let the form offer no answer of its own; the default is for a run that is resumed without one."""
    schema.pop("default")


class Answer(RunInput):
    """What an approver fills in."""

    decision: Annotated[
        Literal["approve", "reject"], Field(description="Approve: the challenger becomes champion.")
    ] = Field("reject", json_schema_extra=_unset)
    reason: str = Field(
        "", pattern=r"\S", description="Why; recorded in the promotion log.", max_length=1000, json_schema_extra=_unset
    )
    by: str = Field(
        "", pattern=r"\S", description="Your name; recorded in the log.", max_length=100, json_schema_extra=_unset
    )
    verdict: str


def require_reach(config: Settings) -> None:
    """Refuse to begin what would wait for a person whom nothing can reach.

    Raises:
        ConfigError: Promotions need an approval, and Prefect's server would end with this command.
    """
    if config.approval.required and (limits.is_alone() or not PREFECT_API_URL.value()):
        what = f"A promotion to {config.env} waits for a person's approval, and there is no server to give it on."
        raise ConfigError(what, "Start one here: mlops up. Or name one: export PREFECT_API_URL=…")


def ask(verdict: Verdict, config: Settings, model: str) -> Approval:
    """Wait for a person's answer to a verdict; one that does not count is asked for again.

    A suspended run ends here and comes back here. Must be called in the flow itself, and in no slot of a limit.
    """
    run, numbers = _this_run(), count(1)
    approval, problem = None, ""
    while approval is None:
        key = f"{KEY}{verdict.digest[:16]}-{next(numbers)}"
        approval, problem = _answer(key, verdict, config, model, run, problem)
    return approval


def _answer(
    key: str, verdict: Verdict, config: Settings, model: str, run: FlowRun, problem: str
) -> tuple[Approval | None, str]:
    """The answer to one question, which is put unless this run has put it before; or why there is none that counts."""
    form, stored = _form(verdict, problem), f"{'suspended' if run.deployment_id else 'paused'}-{key}"
    if _stored(f"{stored}-schema") is None:
        _announce(verdict, config, model, run)
        _wait(form, key, round(config.approval.timeout_hours * 3600), run)
    given: dict[str, Any] | None = _stored(f"{stored}-response")
    if given is None:
        if not _was_resumed(run.id, key):  # the run was cut off while it waited, and is retried
            return None, problem
        nobody = f"nobody answered within {config.approval.timeout_hours:g} h"
        return Approval(approved=False, reason=nobody, verdict_digest=verdict.digest), ""
    answer, problem = _read(form, given)
    if answer is None:
        logger.warning("The answer does not count: %s", problem)
        return None, problem
    logger.info("%s: %s, %s", answer.by, answer.decision, answer.reason)
    approved = answer.decision == "approve"
    return Approval(approved=approved, by=answer.by, reason=answer.reason, verdict_digest=verdict.digest), ""


def _form(verdict: Verdict, problem: str) -> type[Answer]:
    """The form of a verdict: the server takes no answer that names another one."""
    named = Field(verdict.digest, pattern=f"^{verdict.digest}$", description="The verdict that this answer is for.")
    form = create_model("Approval", __base__=Answer, verdict=(str, named))
    again = f"**The last answer did not count: {problem}**\n\n" if problem else ""
    return form.with_initial_data(description=again + _summary(verdict))


def _summary(verdict: Verdict) -> str:
    """How the verdict's text begins: the fields come below it, and all of it would push them out of sight."""
    beginning = markdown.text(verdict).partition("\n\n## ")[0]
    rows = f"{verdict.broken_rows:,} rows newly wrong, {verdict.repaired_rows:,} newly right"
    return f"{beginning}\n\n{rows}: `verdict-…-explained` among the artifacts of this run shows them."


def _read(form: type[Answer], given: dict[str, Any]) -> tuple[Answer | None, str]:
    """An answer, or why it is none. The server checks what is filled in, but not whether all of it is."""
    try:
        answer = form(**given)
    except ValidationError as error:
        return None, "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
    missing = [name for name in ("decision", "reason", "by") if name not in answer.model_fields_set]
    return (None, f"{', '.join(missing)} left empty") if missing else (answer, "")


def _wait(form: type[Answer], key: str, seconds: int, run: FlowRun) -> None:
    """Put the question and wait; a suspended run ends its process here."""
    longest = seconds + GRACE_SECONDS
    if run.deployment_id:
        suspend_flow_run(wait_for_input=form, timeout=longest, key=key)
    with _given_up_after(seconds, run.id), suppress(ValidationError):  # the answer is read again, and judged, later
        pause_flow_run(wait_for_input=form, timeout=longest, poll_interval=POLL_SECONDS, key=key)


@contextmanager
def _given_up_after(seconds: float, run_id: UUID) -> Iterator[None]:
    """Resume a run without an answer when its time is over; a suspended one the server resumes: automations.yaml."""
    timer = Timer(seconds, copy_context().run, (_give_up, run_id))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _give_up(run_id: UUID) -> None:
    with suppress(NotPausedError):  # it was answered this very moment
        resume_flow_run(run_id)


def _announce(verdict: Verdict, config: Settings, model: str, run: FlowRun) -> None:
    """Say that somebody is waited for: in the log, to who is notified, and to the automation that ends the wait."""
    hours, how = config.approval.timeout_hours, f"mlops approve {run.id} --reason '…'"
    logger.info("Waiting for a person, %g h at most: in Prefect's UI, or %s", hours, how)
    where = page_of(run.id) or how
    events.emit("approval-requested", model, config.env, reason=f"{'; '.join(verdict.reasons)}. Answer: {where}")
    events.emit_question(run.id, config.env)


def _stored(key: str) -> Any:
    """What is stored with this run under a key, or None."""
    return read_flow_run_input(key)


def _this_run() -> FlowRun:
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("An approval is asked for in a flow run.")
    return context.flow_run


def _was_resumed(run_id: UUID, key: str) -> bool:
    """Whether somebody let the run go on from the question of this key."""
    with get_client(sync_client=True) as client:
        states = sorted(client.read_flow_run_states(run_id), key=lambda state: state.timestamp)
    return any(
        state.state_details.pause_key == key and after.name in {"Resuming", "Running"}
        for state, after in pairwise(states)
    )
