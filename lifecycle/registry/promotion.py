"""Register, promote, roll back, adopt: the only code that creates log entries and moves the champion alias.

Each is safe to repeat and to kill at any instant: an entry is one atomic creation with an idempotency key, and `settle`
brings the alias to what the log says.
"""

import getpass
import hashlib
import json
import logging
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lifecycle.errors import AliasMovedError, ConflictError, LostRaceError, NotFoundError, TransientError
from lifecycle.models.loading import ModelRef
from lifecycle.names import CHAMPION
from lifecycle.registry import log
from lifecycle.registry.log import Entry, Kind, Log
from lifecycle.settings import Frozen
from lifecycle.tracking import client, is_missing, translated

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

logger = logging.getLogger(__name__)

PAGE = 200
SETTLE_ATTEMPTS = 20
LASTING_SECONDS = 0.5
"""How long an alias must differ from the log without an explanation before a hand is held to have moved it."""


class Target(Frozen):
    """One registered model of one environment."""

    tracking_uri: str
    name: str


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

    @property
    def key(self) -> str:
        """The same decision at the same place of the log has the same key, however often it is carried out."""
        content = [self.target.name, self.kind, self.model.artifact_sha256, self.version, self.expected, self.head]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def read_log(target: Target) -> Log:
    """Read the promotion log of a model; empty if the model does not exist."""
    entries = (Entry.of(int(v.version), v.status, v.tags) for v in versions(target))
    return log.fold(entries)


def versions(target: Target) -> "list[ModelVersion]":
    """All versions of a model in order of their numbers, paginated to the end; empty if the model does not exist."""
    mlflow, found, token = client(target.tracking_uri), [], None
    with translated():
        while True:
            page = mlflow.search_model_versions(f"name='{target.name}'", max_results=PAGE, page_token=token)
            found += page
            token = page.token
            if not token:
                return sorted(found, key=lambda version: int(version.version))


def champion(target: Target) -> ModelRef | None:
    """The champion according to the log; None says that the model never had one.

    An interrupted step is completed first.

    Raises:
        AliasMovedError: The alias was moved by hand.
    """
    number = settle(target).champion
    return reference(target, number) if number else None


def reference(target: Target, number: int) -> ModelRef:
    """The exact model behind a version number, its digest as recorded at registration."""
    from mlflow.exceptions import MlflowException

    try:
        with translated():
            version = client(target.tracking_uri).get_model_version(target.name, str(number))
    except MlflowException as error:
        if not is_missing(error):
            raise
        raise NotFoundError(f"{target.name} has no version {number}.", "See: mlops model list") from None
    return ModelRef(
        tracking_uri=target.tracking_uri,
        uri=f"models:/{target.name}/{number}",
        run_id=version.run_id or "",
        artifact_sha256=version.tags.get(log.ARTIFACT, ""),
        name=target.name,
        version=number,
    )


def intend(target: Target, model: ModelRef, expected: ModelRef | None, **facts: Any) -> Intent:
    """State a promotion against the champion that the model was judged against.

    Raises:
        LostRaceError: The champion has changed since.
    """
    now = read_log(target)
    number = expected.version if expected else None
    if now.champion != number:
        raise LostRaceError(
            f"{target.name}: the champion is {_v(now.champion)}, but the challenger was judged against {_v(number)}.",
            "Run the step again: it will be judged against the new champion.",
        )
    return Intent(target=target, model=model, expected=number, head=now.head, **facts)


def register(intent: Intent) -> int:
    """Create the log entry of an intent and return its version number; again it returns the same number."""
    if existing := _entry_number(intent):
        return existing
    mlflow, name = client(intent.target.tracking_uri), intent.target.name
    _make_registered_model(intent.target)
    with translated():
        created = mlflow.create_model_version(
            name=name, source=intent.model.uri, run_id=intent.model.run_id or None, tags=_tags(intent)
        )
    number = _entry_number(intent) or int(created.version)
    logger.info("Registered %s v%d", name, number)
    return number


def promote(intent: Intent) -> Promotion:
    """Carry out an intent: enter it in the log and bring the alias to what the log says.

    Raises:
        LostRaceError: Another entry came first; the champion is that one's.
    """
    number = register(intent)
    now = settle(intent.target)
    entry = next((e for e in now.applied if e.number == number), None)
    if entry is None:
        _tag(intent.target, number, log.LOST)
        raise LostRaceError(
            f"{intent.target.name} v{number} lost against another promotion; the champion is {_v(now.champion)}.",
            "Run the step again: it will be judged against the new champion.",
        )
    if now.head != number:
        message = f"{intent.target.name} v{number} was entered before; the champion is {_v(now.champion)} since."
        return _outcome(intent.target, now, changed=False, message=message)
    verb = {"promotion": "Promoted", "rollback": "Rolled back to", "adopt": "Adopted"}[intent.kind]
    message = f"{verb} {intent.target.name} {_v(now.champion)} (was {_v(intent.expected)}): {intent.reason}"
    logger.info("%s", message)
    return _outcome(intent.target, now, changed=True, message=message)


def intend_rollback(target: Target, to_version: int | None, reason: str) -> Intent | Promotion:
    """State a rollback; an interrupted one is completed instead, and is the answer.

    Raises:
        NotFoundError: The model has no champion, or there is no earlier one.
        ConflictError: The wanted version never was champion.
    """
    before = read_log(target)
    interrupted = before.unsettled and before.unsettled[-1].kind == "rollback"
    now = settle(target)
    if now.champion is None:
        raise NotFoundError(f"{target.name} has no champion.", "See: mlops model list")
    if interrupted:
        message = f"Completed an interrupted rollback: {target.name} {_v(now.champion)} is champion."
        return _outcome(target, now, changed=True, message=message)
    if to_version == now.champion:
        return _outcome(target, now, changed=False, message=f"{target.name} {_v(to_version)} is champion already.")
    goal = to_version or now.previous
    if goal is None:
        raise ConflictError(f"{target.name} {_v(now.champion)} is the first champion: nothing to roll back to.")
    if goal not in {entry.makes_champion for entry in now.applied}:
        raise ConflictError(
            f"{target.name} v{goal} never was champion, so it is no rollback.",
            "Promote it through the gate: mlops promote",
        )
    ref = reference(target, goal)
    return Intent(
        target=target, model=ref, kind="rollback", expected=now.champion, head=now.head, version=goal, reason=reason
    )


def adopt(target: Target, reason: str) -> Promotion:
    """Record a champion alias that was moved by hand as an entry of the log.

    Raises:
        ConflictError: The alias was removed, so that there is nothing to record.
    """
    now, alias = read_log(target), alias_version(target)
    if alias is None:
        raise ConflictError(
            f"{target.name} has no champion alias to adopt; the log says {_v(now.champion)}.",
            "To restore it: mlops doctor --repair",
        )
    if alias == now.champion or now.explains(alias):
        message = f"{target.name} {_v(settle(target).champion)} is champion; nothing was moved by hand."
        return _outcome(target, read_log(target), changed=False, message=message)
    ref = reference(target, alias)
    intent = Intent(
        target=target, model=ref, kind="adopt", expected=now.champion, head=now.head, version=alias, reason=reason
    )
    number = register(intent)
    if number not in {entry.number for entry in read_log(target).applied}:
        _tag(target, number, log.LOST)
        raise LostRaceError(f"{target.name}: another change of champion came first.", "Look again: mlops history")
    return promote(intent)


def settle(target: Target, *, override_hand: bool = False) -> Log:
    """Bring the champion alias to what the log says, and confirm the entries that count.

    Writes, then reads again until both agree, because a slower writer may have set an older champion meanwhile.

    Raises:
        AliasMovedError: The alias was moved by hand (unless `override_hand`).
        TransientError: Other writers kept moving it.
    """
    mine: set[int] = set()
    suspect: tuple[int, int | None] | None = None
    since = 0.0
    for attempt in range(SETTLE_ATTEMPTS):
        alias, now = alias_version(target), read_log(target)
        if alias == now.champion:
            for entry in now.unsettled:
                _tag(target, entry.number, log.APPLIED)
            return now
        if now.explains(alias) or alias in mine or override_hand:
            if now.champion is None:
                _delete_alias(target)
            else:
                _set_alias(target, now.champion)
                mine.add(now.champion)
        elif suspect != (now.head, alias):  # a slower writer may be about to correct itself: only what lasts counts
            suspect, since = (now.head, alias), time.monotonic()
        elif time.monotonic() - since > LASTING_SECONDS:
            raise _moved(target, now, alias)
        time.sleep(random.uniform(0, 0.02 * attempt))  # noqa: S311  jitter, not a secret
    raise TransientError(f"The champion alias of {target.name} kept moving.", "Try again.")


def alias_version(target: Target, alias: str = CHAMPION) -> int | None:
    """The version number behind an alias as MLflow stores it, or None."""
    from mlflow.exceptions import MlflowException

    try:
        with translated():
            model = client(target.tracking_uri).get_registered_model(target.name)
    except MlflowException as error:
        if is_missing(error):
            return None
        raise
    number = model.aliases.get(alias)
    return None if number is None else int(number)


def _entry_number(intent: Intent) -> int | None:
    numbers = [int(v.version) for v in versions(intent.target) if v.tags.get(log.KEY) == intent.key]
    return min(numbers, default=None)


def _tags(intent: Intent) -> dict[str, str]:
    tags = {
        log.KEY: intent.key,
        log.KIND: intent.kind,
        log.EXPECTED: str(intent.expected) if intent.expected else log.NONE,
        log.TARGET: str(intent.version or ""),
        log.ARTIFACT: intent.model.artifact_sha256,
        log.DATASET: intent.dataset_digest,
        log.VERDICT: intent.verdict_digest,
        log.REASON: intent.reason[:4000],
        log.BY: os.environ.get("GITHUB_ACTOR") or getpass.getuser(),
    }
    return {key: value for key, value in tags.items() if value}


def _make_registered_model(target: Target) -> None:
    from mlflow.exceptions import MlflowException

    try:
        with translated():
            client(target.tracking_uri).create_registered_model(target.name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _set_alias(target: Target, number: int) -> None:
    with _first_write():
        client(target.tracking_uri).set_registered_model_alias(target.name, CHAMPION, str(number))


def _delete_alias(target: Target) -> None:
    with translated():
        client(target.tracking_uri).delete_registered_model_alias(target.name, CHAMPION)


def _tag(target: Target, number: int, outcome: str) -> None:
    with _first_write():
        client(target.tracking_uri).set_model_version_tag(target.name, str(number), log.OUTCOME, outcome)


@contextmanager
def _first_write() -> Iterator[None]:
    """Two processes that write an alias or a tag for the first time collide on a UNIQUE constraint: one has written it.

    Of an alias the caller reads again which; of an entry's outcome both write the same.
    """
    from mlflow.exceptions import MlflowException

    try:
        with translated():
            yield
    except MlflowException as error:
        if "unique" not in str(error).lower():
            raise


def _moved(target: Target, now: Log, alias: int | None) -> AliasMovedError:
    env, _, model = target.name.split(".", 2) if target.name.count(".") >= 2 else ("", "", target.name)
    if alias is None:
        what = f"The champion alias of {target.name} was removed by hand; the log says {_v(now.champion)}."
        return AliasMovedError(what, "To restore it: mlops doctor --repair")
    what = f"The champion alias of {target.name} was moved by hand to v{alias}; the log says {_v(now.champion)}."
    adopt_it = f"mlops model adopt --model-name {model} --env {env} --reason '…'"
    return AliasMovedError(what, f"To record it: {adopt_it}. To undo it: mlops doctor --repair")


def _outcome(target: Target, now: Log, *, changed: bool, message: str) -> Promotion:
    return Promotion(
        name=target.name,
        champion=now.champion or 0,
        previous=now.previous,
        entry=now.head,
        changed=changed,
        message=message,
    )


def _v(number: int | None) -> str:
    return f"v{number}" if number else "none"
