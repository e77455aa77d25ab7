"""Register, promote, roll back, adopt: the only code that creates log entries and moves the champion alias.

Each is safe to repeat and to kill at any instant: an entry is one atomic creation with an idempotency key, and `settle`
brings the alias to what the log says.
"""

import hashlib
import json
import logging
import random
import time
from datetime import UTC, datetime
from itertools import count
from typing import Any

from lifecycle.core import errors
from lifecycle.core.errors import AliasMovedError, ConflictError, IntegrityError, NotFoundError, TransientError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import CHAMPION
from lifecycle.core.references import ModelRef
from lifecycle.core.writer_process import this_process
from lifecycle.registry import aliases, binding, log, registration, store, story
from lifecycle.registry.log import Kind, Log
from lifecycle.registry.store import Target, Version
from lifecycle.tracking.client import database_path

logger = logging.getLogger(__name__)

SETTLE_SECONDS = 30.0
REASON_LENGTH = 1000
ROLLBACK_READY = "rollback_ready"
ANOTHER = "Promote a version that is left: mlops promote --from ENV --to ENV --version N. See which: mlops history"
"""Where there was a champion, and versions were deleted past this project."""
JUDGE_AGAIN = "Run the step again: it will be judged against the new champion."
ROLL_BACK_AGAIN = "See who came first: mlops history. If that is not wanted either, give the command again."
LASTING_SECONDS, LASTING_SECONDS_REMOTE = 0.5, 2.0
"""How long an alias must differ from the log without an explanation before a hand is held to have moved it.

A writer beyond a network is slower to correct itself.
"""


class Promotion(Frozen):
    """What a promotion or rollback did: which version is champion now, and which was before."""

    name: str
    champion: int
    previous: int | None
    entry: int
    changed: bool
    message: str


class Intent(Frozen):
    """A change of champion that has been decided on: against which champion, and why."""

    target: Target
    model: ModelRef
    kind: Kind = "promotion"
    expected: int | None
    head: int
    version: int | None = None
    reason: str
    dataset_digest: str = ""
    verdict_digest: str = ""
    gate: str = ""
    approved_by: str = ""
    approval: str = ""
    """Why it was approved."""
    request: str = ""
    """What asked for it, if that may ask again: a flow run that is rerun must not roll back twice."""

    @property
    def key(self) -> str:
        """The same decision at the same place of the log has the same key, however often it is carried out.

        A rollback that nobody asked for is another one than a person's.
        """
        content = [self.target.name, self.kind, self.model.artifact_sha256, self.version, self.expected, self.head]
        content += [self.gate] if self.kind == "rollback" and self.gate else []
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def read_log(target: Target) -> Log:
    """Read the promotion log of a model; empty if the model does not exist. It says which versions are missing."""
    return story.read(target).log


def champion(target: Target) -> ModelRef | None:
    """The champion according to the log; None says that the model never had one, or that a person recorded its loss.

    An interrupted step is completed first.

    Raises:
        AliasMovedError: The alias was moved by hand.
        IntegrityError: Versions were deleted past this project, and nobody has recorded it.
    """
    number = settle(target).champion
    return reference(target, number) if number else None


def earlier_champions(champion: ModelRef, most: int) -> tuple[ModelRef, ...]:
    """The champions that a rollback would walk back to, the latest first; each model once, without this one."""
    target = Target(
        tracking_uri=champion.tracking_uri,
        registry_uri=champion.registry_uri,
        name=str(champion.name),
        allow_pickle=champion.allow_pickle,
        trusted_modules=champion.trusted_modules,
        trusted_models=champion.trusted_models,
    )
    found = {champion.artifact_sha256: champion}
    for number in reversed(read_log(target).line):
        model = reference(target, number)
        found.setdefault(model.artifact_sha256, model)
    return tuple(found.values())[1 : most + 1]


def reference(target: Target, number: int) -> ModelRef:
    """The exact model behind a version number, its digest as recorded at registration."""
    version = store.version(target, number)
    return ModelRef(
        tracking_uri=target.tracking_uri,
        registry_uri=target.registry_uri,
        uri=f"models:/{target.name}/{number}",
        run_id=version.run_id,
        artifact_sha256=version.tags.get(log.ARTIFACT, ""),
        **target.trust,
        name=target.name,
        version=number,
    )


def intend(target: Target, model: ModelRef, expected: ModelRef | None, **facts: Any) -> Intent:
    """State a promotion against the champion that the model was judged against.

    Raises:
        IntegrityError: Versions are missing.
        LostRaceError: The champion has changed since.
    """
    now = read_log(target)
    story.refuse_if_missing(target, now)
    number = expected.version if expected else None
    if now.champion != number:
        raise errors.LostRaceError(
            f"{target.name}: the champion is {numbered(now.champion)}, but the challenger was judged against "
            f"{numbered(number)}.",
            JUDGE_AGAIN,
        )
    own = model.version if model.name == target.name else None
    return Intent(target=target, model=model, version=own, expected=number, head=now.head, **facts)


def enter_challenger(target: Target, model: ModelRef) -> ModelRef:
    """Register a model as a candidate and give it the alias `challenger`; again gives the same version."""
    number = registration.candidate(target, model)
    aliases.put(target, aliases.Alias.CHALLENGER, number)
    return reference(target, number)


def register(intent: Intent) -> int:
    """Create the log entry of an intent and return its version number; again it returns the same number."""
    return registration.enter(intent.target, intent.model, _tags(intent))


def promote(intent: Intent) -> Promotion:
    """Carry out an intent: enter it in the log and bring the alias to what the log says.

    Raises:
        IntegrityError: Versions are missing; that of the entry itself may be among them.
        LostRaceError: Another entry came first; the champion is that one's.
    """
    number = register(intent)
    registration.await_earlier(intent.target, number)
    now = settle(intent.target)
    entry = next((e for e in now.applied if e.number == number), None)
    if entry is None:
        _refuse_if_gone(intent.target, number)
        note(intent.target, number, log.LOST)
        raise errors.LostRaceError(
            f"{intent.target.name} v{number} lost against another promotion; the champion is {numbered(now.champion)}.",
            ROLL_BACK_AGAIN if intent.kind == "rollback" else JUDGE_AGAIN,
        )
    if now.head != number:
        message = f"{intent.target.name} v{number} was entered before; the champion is {numbered(now.champion)} since."
        return outcome_of(intent.target, now, changed=False, message=message)
    verb = {"promotion": "Promoted", "rollback": "Rolled back to", "adopt": "Adopted"}[intent.kind]
    message = f"{verb} {intent.target.name} {numbered(now.champion)} (was {numbered(intent.expected)}): {intent.reason}"
    logger.info("%s", message)
    return outcome_of(intent.target, now, changed=True, message=message)


def intend_rollback(
    target: Target, to_version: int | None, reason: str, *, rehearse: bool = False, request: str = ""
) -> Intent | Promotion:
    """State a rollback; one that was interrupted, or that the same `request` has carried out, is the answer instead.

    Interrupted is also one that is done, but whose command ended before it said so: who repeats it wants that one, not
    one step further. Naming a version is never taken for a repetition, for it means the same however often it is said.
    A rehearsal looks at none of them.

    Raises:
        IntegrityError: Versions are missing.
        NotFoundError: The model has no champion.
        ConflictError: There is no earlier champion, the wanted version never was one, or it was deleted.
    """
    before = read_log(target)
    interrupted = not rehearse and before.unsettled and before.unsettled[-1].kind == "rollback"
    now = settle(target)
    if now.champion is None:
        raise NotFoundError(f"{target.name} has no champion.", ANOTHER if now.changes else "See: mlops model list")
    if request and not rehearse and _has_carried_out(target, now, request):
        message = f"This run has rolled back before: {target.name} {numbered(now.champion)} is champion."
        return outcome_of(target, now, changed=False, message=message)
    if interrupted or (not rehearse and to_version is None and _is_unreported(target, now)):
        message = (
            f"Completed an interrupted rollback: {target.name} {numbered(now.champion)} is champion. "
            "To go back one further, roll back again."
        )
        return outcome_of(target, now, changed=True, message=message)
    if to_version == now.champion:
        return outcome_of(
            target, now, changed=False, message=f"{target.name} {numbered(to_version)} is champion already."
        )
    goal = _goal(target, now, to_version)
    return Intent(
        target=target,
        model=reference(target, goal),
        kind="rollback",
        expected=now.champion,
        head=now.head,
        version=goal,
        reason=reason,
        request=request,
    )


def _goal(target: Target, now: Log, to_version: int | None) -> int:
    """The former champion that a rollback leads to: the one that is named, or the one before."""
    goal = to_version or now.previous
    if goal is None:
        raise ConflictError(f"{target.name} {numbered(now.champion)} is the first champion: nothing to roll back to.")
    if goal in now.retired:
        raise ConflictError(f"{target.name} v{goal} was deleted.", "See which are left: mlops history")
    if goal not in {entry.makes_champion for entry in now.changes}:
        raise ConflictError(
            f"{target.name} v{goal} never was champion, so it is no rollback.",
            "Promote it through the gate: mlops promote",
        )
    return goal


def report(target: Target) -> None:
    """Note that whoever asked for a rollback was told that it is done: to ask again is now to ask for one more."""
    last = next(reversed(read_log(target).changes), None)
    if last and last.kind == "rollback":
        with store.missing_is_none():
            store.tag(target, last.number, log.REPORTED, log.YES)


def mark_ready(intent: Intent) -> Promotion:
    """Note on the version that a rollback would lead to that it was proven today; nothing moves."""
    now, day = read_log(intent.target), datetime.now(UTC).date().isoformat()
    store.tag(intent.target, intent.version, ROLLBACK_READY, day)
    message = (
        f"Rehearsed: a rollback would make {intent.target.name} {numbered(intent.version)} champion instead of "
        f"{numbered(now.champion)}. It loads in a fresh process and reproduces its predictions. Nothing was moved."
    )
    logger.info("%s", message)
    return outcome_of(intent.target, now, changed=False, message=message)


def settle(target: Target, *, override_hand: bool = False) -> Log:
    """Bring the champion alias to what the log says, confirm the entries that count, and remember how far they go.

    Writes, then reads again until both agree, because a slower writer may have set an older champion meanwhile.

    Raises:
        AliasMovedError: The alias was moved by hand (unless `override_hand`).
        IntegrityError: Versions are missing: the champion may be among them.
        TransientError: Other writers kept moving it.
    """
    mine: set[int] = set()
    suspect: tuple[int, int | None] | None = None
    start = since = time.monotonic()
    embedded = database_path(target.registry_uri or target.tracking_uri) is not None
    lasting = LASTING_SECONDS if embedded else LASTING_SECONDS_REMOTE
    for attempt in count():
        if time.monotonic() - start > SETTLE_SECONDS:
            break
        reading = story.read(target)
        alias, now = reading.alias, reading.log
        story.refuse_if_missing(target, now)
        if alias == now.champion:
            _confirm(target, reading)
            return now
        if now.explains(alias) or alias in mine or override_hand:
            if now.champion is None:
                store.delete_alias(target, CHAMPION)
            else:
                store.set_alias(target, CHAMPION, now.champion)
                mine.add(now.champion)
        elif suspect != (now.head, alias):  # a slower writer may be about to correct itself: only what lasts counts
            suspect, since = (now.head, alias), time.monotonic()
        elif time.monotonic() - since > lasting:
            raise _moved(target, now, alias)
        time.sleep(random.uniform(0, min(0.4, 0.02 * attempt)))  # noqa: S311  jitter, not a secret
    raise TransientError(f"The champion alias of {target.name} kept moving.", "Try again.")


def _confirm(target: Target, reading: story.Reading) -> None:
    unsettled = {entry.number for entry in reading.log.unsettled}
    for version in reading.versions:
        if version.version in unsettled:
            _settle_place(target, version)
            note(target, version.version, log.APPLIED)
    if not reading.remembered:
        story.remember(target)


def _settle_place(target: Target, version: Version) -> None:
    """Let an entry say the number that it got, before others that were entered beside it can go."""
    if place := binding.corrected(version):
        with store.missing_is_none():
            store.tag(target, version.version, log.PLACE, place)


def _refuse_if_gone(target: Target, number: int) -> None:
    """Tell an entry that was deleted right after it was made from one that lost."""
    if store.find(target, number) is None:
        what = f"{target.name} v{number} was deleted past this command right after it was entered."
        raise IntegrityError(what, "See what is left: mlops history")


def _has_carried_out(target: Target, now: Log, request: str) -> bool:
    applied = {entry.number for entry in now.applied}
    return any(v.tags.get(log.REQUEST) == request and v.version in applied for v in binding.versions(target))


def _is_unreported(target: Target, now: Log) -> bool:
    """Tell whether the last change is a rollback of another process that nobody was told of."""
    last = store.find(target, now.changes[-1].number)
    return last is not None and last.tags.get(log.REPORTED, log.YES) not in {log.YES, this_process()}


def note(target: Target, number: int, outcome: str) -> None:
    """Write on an entry what became of it; one that was deleted meanwhile needs it no more."""
    with store.missing_is_none():
        store.tag(target, number, log.OUTCOME, outcome)


def _tags(intent: Intent) -> dict[str, str]:
    return {
        log.KEY: intent.key,
        log.KIND: intent.kind,
        log.REPORTED: this_process() if intent.kind == "rollback" else "",
        log.EXPECTED: str(intent.expected) if intent.expected else log.NONE,
        log.TARGET: str(intent.version or ""),
        log.ARTIFACT: intent.model.artifact_sha256,
        log.DATASET: intent.dataset_digest,
        log.VERDICT: intent.verdict_digest,
        log.GATE: intent.gate,
        log.APPROVED_BY: intent.approved_by,
        log.APPROVAL: intent.approval[:REASON_LENGTH],
        log.REQUEST: intent.request,
        log.REASON: intent.reason[:REASON_LENGTH],
        log.BY: log.author(),
    }


def _moved(target: Target, now: Log, alias: int | None) -> AliasMovedError:
    if alias is None:
        what = f"The champion alias of {target.name} was removed by hand; the log says {numbered(now.champion)}."
        return AliasMovedError(what, "To restore it: mlops doctor --repair")
    what = f"The champion alias of {target.name} was moved by hand to v{alias}; the log says {numbered(now.champion)}."
    adopt_it = f"To record it: mlops model adopt {target.options} --reason '…'"
    undo = "To undo it: mlops doctor --repair" if story.is_ours(target) else "Or delete the alias in MLflow"
    return AliasMovedError(what, f"{adopt_it}. {undo}")


def outcome_of(target: Target, now: Log, *, changed: bool, message: str) -> Promotion:
    """What is so after a change, or without one."""
    return Promotion(
        name=target.name,
        champion=now.champion or 0,
        previous=now.previous,
        entry=now.head,
        changed=changed,
        message=message,
    )


def numbered(number: int | None) -> str:
    """A version as people write it."""
    return f"v{number}" if number else "none"
