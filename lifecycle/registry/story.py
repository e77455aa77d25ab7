"""What a registered model tells of its versions, of those as well that somebody deleted past this project.

Version numbers have no gaps and no number is given twice, in no registry. So one that is not there, and that no entry
(`retire`) let go, is missing: it was deleted with MLflow alone. That its number was there at all is known from later
versions, and from a tag of the model that remembers how far the numbers went and who was champion there (`MARK`). It is
written after what it tells of, and never goes back: after a kill it says less than is true, never more, and whoever
settles the alias next corrects it. A model of an earlier release gets it then.

What a missing version was follows from those that are left: an entry that was judged against it says that it was
champion; an entry that counted against another one than the log leads to says that something between led there.
Unfinished versions that this project deletes itself are noted before (`UNFINISHED`): nobody misses them.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pydantic import Field, ValidationError

from lifecycle.core.errors import IntegrityError, TransientError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import CHAMPION
from lifecycle.registry import log, store
from lifecycle.registry.log import Entry, Log
from lifecycle.registry.store import Target, Version

logger = logging.getLogger(__name__)

MARK, UNFINISHED, ANEW = "promotion.mark", "promotion.unfinished", "promotion.anew"
HIGHEST = 1_000_000
"""Versions that a mark may speak of; one that says more was not written here."""
TRIES = 20


class Mark(Frozen):
    """How far the numbers went, and who was champion when all up to there had been read; 0 for nobody."""

    through: int = Field(0, ge=0, le=HIGHEST)
    champion: int = Field(0, ge=0, le=HIGHEST)


class Anew(Frozen):
    """A person recorded that no version was left: what comes after a number begins anew."""

    after: int = Field(0, ge=0, le=HIGHEST)
    champion: int = Field(0, ge=0, le=HIGHEST)
    reason: str = ""
    by: str = ""
    at: int = 0


class Memory(Frozen):
    """What the model itself remembers, whatever becomes of its versions."""

    mark: Mark = Mark()
    anew: Anew = Anew()
    unfinished: frozenset[int] = frozenset()

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> "Memory":
        """Read a model's tags.

        Raises:
            IntegrityError: They are not those that were written here.
        """
        try:
            return cls(
                mark=Mark.model_validate_json(tags.get(MARK, "{}")),
                anew=Anew.model_validate_json(tags.get(ANEW, "{}")),
                unfinished=frozenset(int(number) for number in tags.get(UNFINISHED, "").split()),
            )
        except ValueError as error:
            said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            what = f"The tags {MARK}, {ANEW} or {UNFINISHED} of a registered model are unreadable: {said}."
            fix = "Restore them in MLflow; without them the next command that settles the alias writes the mark again."
            raise IntegrityError(what, fix) from None


class Reading(Frozen):
    """One model, read at once: the alias before the log, and all its versions, missing ones included."""

    alias: int | None
    log: Log
    versions: tuple[Version, ...]
    remembered: bool
    """Whether the mark tells of all that was read."""
    anew: Anew


class Evidence(NamedTuple):
    """That somebody was champion right before a number, said by an entry that counted or by one that did not."""

    before: int
    champion: int
    counted: bool
    anew: bool = False
    """Said by the record that no version was left, of the time before it."""


def read(target: Target) -> Reading:
    """Read a model; empty if it does not exist.

    Read again where something is missing, because a deletion that runs beside is seen before its entry is.
    """
    found = _read(target)
    for _ in range(TRIES):
        before, found = found, _read(target) if found.log.missing else found
        if before.log.missing == found.log.missing:
            return found
    raise TransientError(f"Versions of {target.name} kept vanishing.", "Try again.")


def fold(versions: Iterable[Version], tags: Mapping[str, str]) -> Log:
    """Read the log of the versions that are there and of the tags of their model, with what is known of the others."""
    return _log(list(versions), Memory.of(tags))


def told(versions: Iterable[Version], tags: Mapping[str, str]) -> list[Version]:
    """All versions of a model in order: those that are there, and what is known of those that are not."""
    return _told(list(versions), Memory.of(tags))


def remember(target: Target) -> None:
    """Let the model remember how far its numbers go; while something is missing it remembers that, and nothing else.

    Reads again after each writing, because a slower writer may have set an older mark.
    """
    for _ in range(TRIES):
        found = store.model(target)
        memory = Memory.of(found.tags if found else {})
        mark = _mark(store.versions(target), memory)
        if mark is None or mark == memory.mark:
            return
        store.tag(target, None, MARK, mark.model_dump_json())


def discard(target: Target, number: int) -> None:
    """Delete a version whose files never arrived, and note that nobody is to miss it."""
    for _ in range(TRIES):
        found = store.model(target)
        known = Memory.of(found.tags if found else {}).unfinished
        if found is None or number in known:
            break
        store.tag(target, None, UNFINISHED, " ".join(map(str, sorted({*known, number}))))
    store.delete_version(target, number)


def refuse_if_missing(target: Target, now: Log) -> None:
    """Refuse to judge or change a champion while versions are missing.

    Raises:
        IntegrityError: Some are; it names them, what they were, and the command that records it.
    """
    if not now.missing:
        return
    found = "; ".join(f"v{number} is missing, {what_was(now, number)}" for number in sorted(now.missing))
    raise IntegrityError(f"{target.name}: {found}. Deleted past this command.", way_out(target))


def way_out(target: Target) -> str:
    """The command that records what is missing."""
    return f"To record it, which is a person's decision: mlops model retire-missing {target.options} --reason '…'"


def what_was(now: Log, number: int) -> str:
    """What a version was to the log, as far as those that are left can tell."""
    changes = now.changes
    reigns = [place for place, entry in enumerate(changes) if entry.makes_champion == number]
    if reigns and reigns[-1] == len(changes) - 1:
        return "it is the last champion" if now.champion == number else "it was the last champion"
    if reigns:
        return f"it was champion until v{changes[reigns[-1] + 1].number}"
    if made := [entry.makes_champion for entry in changes if entry.number == number]:
        return f"it made v{made[0]} champion"
    if number in now.unknown:
        return "nothing that is left tells whether it was champion"
    return "it never was champion"


def _read(target: Target) -> Reading:
    found = store.model(target)  # before the versions: a mark that was read later could tell of younger ones
    memory = Memory.of(found.tags if found else {})
    versions = store.versions(target) if found else []
    return Reading(
        alias=found.aliases.get(CHAMPION) if found else None,
        log=_log(versions, memory),
        versions=tuple(_told(versions, memory)),
        remembered=_mark(versions, memory) in {None, memory.mark},
        anew=memory.anew,
    )


def _log(versions: list[Version], memory: Memory) -> Log:
    every = _told(versions, memory)
    now = log.fold((Entry.of(v.version, v.status, v.tags) for v in every), anew_after=memory.anew.after)
    missing = frozenset(each.version for each in every if each.deleted) - now.retired
    unknown = frozenset(number for number in missing if _is_unknown(number, every, memory))
    return now.model_copy(update={"missing": missing, "unknown": unknown})


def _is_unknown(number: int, every: list[Version], memory: Memory) -> bool:
    """Whether a missing version may have been champion for a while: it said nothing, and nor did others beside it.

    One alone, between entries that counted, would have left the wrong champion behind it.
    """
    counted = [0, *(v.version for v in every if v.tags.get(log.OUTCOME) == log.APPLIED), memory.mark.through + 1]
    if number in counted:
        return False
    if number > max(counted):
        return True
    since, until = max(n for n in counted if n < number), min(n for n in counted if n > number)
    silent = [v.version for v in every if v.deleted and log.EXPECTED not in v.tags and since < v.version < until]
    return number in silent and len(silent) > 1


def _mark(versions: list[Version], memory: Memory) -> Mark | None:
    """The mark that the versions call for; None leaves it as it is: something is missing, or the model is not ours."""
    now = _log(versions, memory)
    if now.missing or not _is_ours(versions, memory):
        return None
    read = [each.version for each in versions if each.ready and (not now.pending or each.version < now.pending)]
    through = max([*read, *now.retired], default=0)
    return Mark(through=through, champion=now.champion or 0) if through >= memory.mark.through else None


def _told(versions: list[Version], memory: Memory) -> list[Version]:
    known = {each.version: each for each in log.with_deleted(versions)}
    through = max([*known, memory.mark.through, memory.anew.after], default=0) if _is_ours(versions, memory) else 0
    gone = [number for number in range(1, through + 1) if number not in known and number not in memory.unfinished]
    if gone:
        inferred = _inferred(known, gone, memory)
        known |= {number: _missing(number, known, inferred.get(number, {}), memory) for number in gone}
    return [known[number] for number in sorted(known)]


def _is_ours(versions: list[Version], memory: Memory) -> bool:
    """Whether this project ever wrote to a model; in another one gaps mean nothing."""
    return memory.mark.through > 0 or any(log.is_owned(tag) for each in versions for tag in each.tags)


def _missing(number: int, known: Mapping[int, Version], tags: Mapping[str, str], memory: Memory) -> Version:
    """What is known of a version that nobody carries; it is as old as the one before it."""
    earlier = [each for each in known if each < number]
    created_at = known[max(earlier) if earlier else min(known)].created_at if known else memory.anew.at
    why = "not known: deleted past this command"
    if number <= memory.anew.after:
        why = f"not known: deleted past this command, recorded by {memory.anew.by}: {memory.anew.reason}"
    return Version(version=number, created_at=created_at, tags={log.REASON: why, **tags}, deleted=True)


def _inferred(known: Mapping[int, Version], gone: list[int], memory: Memory) -> dict[int, dict[str, str]]:
    """Tags that some missing versions must have had for the others to say what they say.

    Who lost also says who was champion, but not if it would have won then.
    """
    every = {number: Entry.of(number, each.status, each.tags) for number, each in known.items()}
    said = list(_evidence(every.values(), set(gone), memory))
    found = _guessed(said, every, gone, memory)
    if _winning_losers(every, found, memory):
        lost = {number for number, entry in every.items() if entry.outcome == log.LOST}
        found = _guessed([each for each in said if each.before not in lost], every, gone, memory)
    return _losers_explained(every, gone, found, memory)


def _guessed(
    said: list[Evidence], every: Mapping[int, Entry], gone: list[int], memory: Memory
) -> dict[int, dict[str, str]]:
    entries = {number: entry for number, entry in every.items() if entry.outcome != log.LOST}
    found: dict[int, dict[str, str]] = {}
    for place, evidence in enumerate(said):
        carrier = 0 if _holds(evidence, entries, memory) else _carrier(evidence, gone, entries)
        if not carrier:
            continue
        tags = _entry(carrier, evidence.champion, _before(carrier, entries.values(), memory.anew.after))
        guessed = {**entries, carrier: Entry.of(carrier, store.READY, tags)}
        sure = next((each for each in said[place:] if each.counted), None)
        if sure and _holds(sure, entries, memory) and not _holds(sure, guessed, memory):
            continue  # whoever expected it was wrong: those that counted know nothing of it
        found[carrier], entries = tags, guessed
    return found


def _holds(evidence: Evidence, entries: Mapping[int, Entry], memory: Memory) -> bool:
    """Whether the log leads to the champion that somebody speaks of."""
    before = _before(evidence.before, entries.values(), 0 if evidence.anew else memory.anew.after)
    return (before.champion or 0) == evidence.champion


def _before(number: int, entries: Iterable[Entry], anew_after: int) -> Log:
    """The log as it was right before a number."""
    anew_after = anew_after if number > anew_after else 0
    return log.fold((entry for entry in entries if entry.number < number), anew_after=anew_after)


def _winning_losers(every: Mapping[int, Entry], found: Mapping[int, dict[str, str]], memory: Memory) -> list[Entry]:
    """Entries that say that they lost although nothing that is known says why."""
    guessed = [Entry.of(number, store.READY, tags) for number, tags in found.items()]
    applied = log.fold([*every.values(), *guessed], anew_after=memory.anew.after).applied
    return [entry for entry in applied if entry.outcome == log.LOST]


def _losers_explained(
    every: Mapping[int, Entry], gone: list[int], found: dict[int, dict[str, str]], memory: Memory
) -> dict[int, dict[str, str]]:
    """Let those that would have won repeat an entry that is missing: nothing else makes them lose."""
    while losers := _winning_losers(every, found, memory):
        first = losers[0]
        free = [number for number in gone if number < first.number and log.KEY not in found.get(number, {})]
        if not free or not first.key:
            break
        found = {**found, free[0]: {**found.get(free[0], {}), log.KEY: first.key}}
    return found


def _evidence(entries: Iterable[Entry], gone: set[int], memory: Memory) -> Iterator[Evidence]:
    """All that says who was champion, in order."""
    said = [Evidence(memory.anew.after + 1, memory.anew.champion, True, anew=True)]
    if memory.mark.through > memory.anew.after:
        said.append(Evidence(memory.mark.through + 1, memory.mark.champion, True))
    for entry in entries:
        counted = entry.outcome == log.APPLIED
        if entry.expected is not None and (counted or entry.expected in gone):
            said.append(Evidence(entry.number, entry.expected, counted))
    yield from sorted(said)


def _carrier(evidence: Evidence, gone: list[int], entries: Mapping[int, Entry]) -> int:
    """The missing version that made the champion: that champion itself, or the last one that can have led to it."""
    counted = [e.number for e in entries.values() if e.number < evidence.before and e.outcome == log.APPLIED]
    since = max(counted, default=0)
    free = [number for number in gone if since < number < evidence.before and number not in entries]
    if evidence.champion in free:
        return evidence.champion
    return free[-1] if free and evidence.champion and evidence.counted else 0


def _entry(number: int, champion: int, before: Log) -> dict[str, str]:
    kind = "promotion" if champion == number else "rollback" if champion in before.line else "adopt"
    target = {} if champion == number else {log.TARGET: str(champion)}
    expected = str(before.champion or log.NONE)
    return {log.KIND: kind, log.EXPECTED: expected, log.OUTCOME: log.APPLIED, **target}
