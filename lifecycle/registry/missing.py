"""Record that versions are missing: deleted past this project, which only a person can say is as it should be.

The record is a `retire` entry of the log that carries what is known of them. If the champion is among them, the one
before it on the line that is left is champion again, as after a rollback; if nobody is left on it, there is none. Where
not one version is left whose files an entry could refer to, the model itself keeps the record (`memory.ANEW`).
"""

import hashlib
import json
import logging
import time

from pydantic import Field

from lifecycle.core.errors import ConflictError, LostRaceError, NotFoundError
from lifecycle.core.frozen import Frozen
from lifecycle.registry import log, memory, promotion, registration, removal, store, story
from lifecycle.registry.log import Log
from lifecycle.registry.store import Target, Version

logger = logging.getLogger(__name__)


class Record(Frozen):
    """What was recorded as missing, or would be, with what each version was, and who is champion then."""

    name: str
    stories: dict[int, str] = Field(default_factory=dict)
    vanished: str = ""
    """The champion that a run speaks of, where the whole model is gone."""
    fell_back: bool = False
    champion: int | None = None
    left: tuple[int, ...] = ()
    """Versions that are missing still."""
    done: bool = False


def retire(target: Target, number: int | None, *, reason: str, dry_run: bool = False) -> Record:
    """Record one missing version, or all; again it completes what was interrupted, and otherwise changes nothing.

    Raises:
        ConflictError: The version is there, or a version is still being registered.
        LostRaceError: The champion changed meanwhile.
        NotFoundError: There never was such a version, or no such model.
    """
    reading = story.read(target)
    if reading.log.vanished:
        return _begin_again(target, reading.log.vanished, reason, dry_run)
    chosen = _chosen(target, reading, number)
    planned = _planned(target, reading.log, chosen)
    if dry_run:
        return planned
    _carry_out(target, reading, chosen, reason)
    now = promotion.read_log(target)
    if not now.missing:
        promotion.settle(target)
    return planned.model_copy(update={"champion": now.champion, "left": tuple(sorted(now.missing)), "done": True})


def _carry_out(target: Target, reading: story.Reading, chosen: list[int], reason: str) -> None:
    if not chosen:
        return
    if _bearers(reading):
        for start in range(0, len(chosen), removal.AT_ONCE):
            _enter(target, chosen[start : start + removal.AT_ONCE], reason)
    else:
        _begin_anew(target, reading, chosen, reason)
    logger.info("Recorded as missing: %s v%s", target.name, ", v".join(map(str, chosen)))


def _chosen(target: Target, reading: story.Reading, number: int | None) -> list[int]:
    now = reading.log
    if now.pending:
        what = f"{target.name} v{now.pending} is still being registered: the log cannot be read beyond it."
        raise ConflictError(what, "Look again: mlops doctor")
    if number is None or number in now.missing:
        if not reading.versions:
            raise NotFoundError(f"There is no model {target.name}, or it has no version.", "See: mlops model list")
        return sorted(now.missing) if number is None else [number]
    if number in now.retired:
        return []
    if any(each.version == number for each in reading.versions):
        raise ConflictError(f"{target.name} v{number} is there.", "To delete it: mlops model delete")
    raise NotFoundError(f"{target.name} never had a version {number}, as far as it can tell.", "See: mlops history")


def _planned(target: Target, now: Log, chosen: list[int]) -> Record:
    left = tuple(sorted(now.missing - set(chosen)))
    return Record(
        name=target.name,
        stories={number: story.what_was(now, number) for number in chosen},
        fell_back=now.champion in chosen,
        champion=_champion_without(now, chosen),
        left=left,
    )


def _champion_without(now: Log, chosen: list[int]) -> int | None:
    line = log.without(now.line, now.retired | set(chosen))
    return line[-1] if line else None


def _bearers(reading: story.Reading) -> list[Version]:
    """Versions whose files an entry can refer to, the best first: verified ones, young ones.

    Not a record of deletions: its own files may have been cleaned up.
    """
    there = [v for v in reading.versions if v.ready and not v.deleted and not removal.is_record(v)]
    return sorted(there, key=lambda each: (log.ARTIFACT in each.tags, each.version), reverse=True)


def _enter(target: Target, numbers: list[int], reason: str) -> None:
    reading = story.read(target)
    now = reading.log
    falls = {log.TARGET: str(_champion_without(now, numbers) or log.NONE)} if now.champion in numbers else {}
    told = {each.version: each for each in reading.versions}
    content = [target.name, "missing", now.champion, now.head, numbers]
    tags = {
        log.KEY: hashlib.sha256(json.dumps(content).encode()).hexdigest(),
        log.KIND: "retire",
        log.EXPECTED: str(now.champion or log.NONE),
        **falls,
        log.REASON: _said(now, numbers, reason)[: promotion.REASON_LENGTH],
        log.BY: log.author(),
        **{f"{log.RETIRED}{number}": log.carry(told[number]) for number in numbers},
    }
    bearer = _bearers(reading)[0].version
    entry = registration.enter(target, promotion.reference(target, bearer), tags)
    registration.await_earlier(target, entry)
    if not set(numbers) <= promotion.read_log(target).retired:
        promotion.note(target, entry, log.LOST)
        raise LostRaceError(f"{target.name}: the champion changed meanwhile.", "Run the command again.")


def _said(now: Log, numbers: list[int], reason: str) -> str:
    """The reason of an entry: what was missing, where the champion fell back to, and what the person said."""
    stories = "; ".join(f"v{number} is missing, {story.what_was(now, number)}" for number in numbers)
    if now.champion not in numbers:
        return f"{reason} ({stories})"
    back = _champion_without(now, numbers)
    falls = f"v{back} is champion again" if back else "nobody is champion"
    return f"{reason} ({stories}; {falls})"


def _begin_again(target: Target, vanished: str, reason: str, dry_run: bool) -> Record:
    """Record that a model which is gone had a champion: its log begins at its first version."""
    record = Record(name=target.name, vanished=vanished, fell_back=True)
    if dry_run:
        return record
    store.create_model(target)
    _remember_anew(target, memory.Anew(reason=f"{vanished} was champion: {reason}"[:400]))
    logger.info("Recorded that %s is gone with its champion %s", target.name, vanished)
    return record.model_copy(update={"done": True})


def _begin_anew(target: Target, reading: story.Reading, chosen: list[int], reason: str) -> None:
    now = reading.log
    if set(chosen) != now.missing:
        what = f"{target.name} has no version left, so that they can be recorded only all at once."
        raise ConflictError(what, "Leave out --version.")
    said, after = reason[: log.CARRIED[log.REASON]], reading.versions[-1].version
    _remember_anew(target, memory.Anew(after=after, champion=now.champion or 0, reason=said))


def _remember_anew(target: Target, anew: memory.Anew) -> None:
    memory.disown(target)
    found = store.model(target)
    who = {"by": log.author(), "at": int(time.time() * 1000), "made": found.created_at if found else 0}
    store.tag(target, None, memory.ANEW, anew.model_copy(update=who).model_dump_json())
