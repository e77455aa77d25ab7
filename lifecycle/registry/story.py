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
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Mapping, Set

from lifecycle.core.errors import IntegrityError, NotFoundError, TransientError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import CHAMPION
from lifecycle.registry import binding, inferred, log, store
from lifecycle.registry import memory as memories
from lifecycle.registry.log import Entry, Log
from lifecycle.registry.memory import MARK, UNFINISHED, Anew, Mark, Memory
from lifecycle.registry.store import RegisteredModel, Target, Version
from lifecycle.tracking import champions

logger = logging.getLogger(__name__)

TRIES, NAMED = 20, 10
MOST = 10_000
"""Versions that can have been deleted past this project; a tag that says more was not written here."""


class Reading(Frozen):
    """One model, read at once: the alias before the log, and all its versions, missing ones included."""

    alias: int | None
    log: Log
    versions: tuple[Version, ...]
    remembered: bool
    """Whether the mark tells of all that was read."""
    anew: Anew


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


def is_ours(target: Target) -> bool:
    """Whether this project ever entered a version in a model that is there; others share the registry with us."""
    found = memories.model(target)
    if found is None:
        return False
    return _is_ours(binding.own(found, store.versions(target)), memories.recall(target, found)[0])


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
        found = memories.model(target)
        if found is None:
            return
        (memory, gone), versions = memories.recall(target, found), binding.own(found, store.versions(target))
        mark = _mark(found, versions, memory)
        if mark is None or _remembers(versions, found, mark) or _vanished(_log(versions, memory), gone):
            return
        memories.disown(target)
        _witness(target, versions, mark)
        if (until := binding.unbound(versions, found.tags)) is not None:
            store.tag(target, None, memories.UNBOUND, until)
        store.tag(target, None, MARK, mark.model_dump_json())


def next_place(target: Target) -> binding.Place:
    """What the next version of a model says of where it is entered; the model is there."""
    found = memories.model(target)
    if found is None:
        raise NotFoundError(f"{target.name} was deleted meanwhile.", "See: mlops model list")
    memory, _ = memories.recall(target, found)
    known = _told(binding.own(found, store.versions(target)), memory)
    return binding.Place(max([*(each.version for each in known), memory.highest]) + 1, found.created_at, found.name)


def forget(target: Target) -> None:
    """Let the runs forget the champions of a model that is about to be deleted or renamed.

    Should it stay as it is, whoever settles the alias next finds a mark of no name, and reminds them.
    """
    found = memories.model(target)
    mark = Memory.of(found.tags if found else {}).mark
    if mark != Mark():
        store.tag(target, None, MARK, mark.model_copy(update={"name": ""}).model_dump_json())
    champions.forget(target.tracking_uri, target.name)


def discard(target: Target, number: int) -> None:
    """Delete a version whose files never arrived, and note that nobody is to miss it."""
    memories.disown(target)
    for _ in range(TRIES):
        found = memories.model(target)
        known = Memory.of(found.tags if found else {}).unfinished
        if found is None or number in known:
            break
        store.tag(target, None, UNFINISHED, " ".join(map(str, sorted({*known, number}))))
    store.delete_version(target, number)


def refuse_if_missing(target: Target, now: Log) -> None:
    """Refuse to judge or change a champion while what the log says is not whole.

    Raises:
        IntegrityError: Versions are missing, entries were changed, or the model is gone; it names what was, and the
            command that records it.
    """
    refuse_if_disputed(target, now)
    if not now.missing:
        return
    found = [f"v{number} is missing, {what_was(now, number)}" for number in sorted(now.missing)]
    more = [f"{len(found) - NAMED} more are missing"] if len(found) > NAMED else []
    raise IntegrityError(
        f"{target.name}: {'; '.join([*more, *found[-NAMED:]])}. Deleted past this command.", way_out(target)
    )


def refuse_if_disputed(target: Target, now: Log) -> None:
    """Refuse to lose what a model remembers while the log says otherwise.

    Raises:
        IntegrityError: Entries were changed, or the model is gone.
    """
    if what := disputed(target, now):
        raise IntegrityError(*what)


def disputed(target: Target, now: Log) -> tuple[str, str] | None:
    """What the model, or a run, remembers otherwise than the log, and the way out; None if nothing does."""
    if now.vanished:
        what = f"{target.name} was deleted or renamed past this command; {now.vanished} was its champion."
        return (
            what,
            f"Rename it back, or record that it is gone: mlops model retire-missing {target.options} --reason '…'",
        )
    if now.altered:
        what = (
            f"{target.name}: v{now.altered} was champion, but the entries lead to {_v(now.champion)}: "
            "promotion tags were changed past this command."
        )
        adopt = f"mlops model adopt {target.options} --version {now.altered} --reason '…'"
        return what, f"Restore the tags in MLflow, or record who is champion: {adopt}"
    return None


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
    found = memories.model(target)  # before the versions: a mark that was read later could tell of younger ones
    memory, gone = memories.recall(target, found)
    versions = binding.own(found, store.versions(target)) if found else []
    now = _log(versions, memory)
    now = now.model_copy(update={"vanished": _vanished(now, gone)})
    mark = None if now.vanished or found is None else _mark(found, versions, memory)
    return Reading(
        alias=found.aliases.get(CHAMPION) if found else None,
        log=now,
        versions=tuple(_told(versions, memory)),
        remembered=found is None or mark is None or _remembers(versions, found, mark),
        anew=memory.anew,
    )


def _vanished(now: Log, gone: str) -> str:
    """The champion that a run speaks of, where neither log nor model know of one: what is there was made since."""
    return "" if now.changes else gone


def _log(versions: list[Version], memory: Memory) -> Log:
    every = _told(versions, memory)
    entries = [Entry.of(v.version, v.status, v.tags) for v in every]
    now = log.fold(entries, anew_after=memory.anew.after)
    missing = frozenset(each.version for each in every if each.deleted) - now.retired
    unknown = _unknown(missing, every, memory)
    altered = (
        None if missing or (now.pending and now.pending <= memory.mark.through) else _altered(entries, now, memory)
    )
    return now.model_copy(update={"missing": missing, "unknown": unknown, "altered": altered})


def _altered(entries: list[Entry], now: Log, memory: Memory) -> int | None:
    """The champion of the mark, if the entries up to it lead to another one, and no person has adopted one since."""
    mark = memory.mark
    adopted = any(entry.kind == "adopt" and entry.number > mark.through for entry in now.applied)
    if mark.through <= memory.anew.after or adopted:
        return None
    before = inferred.before(mark.through + 1, entries, memory.anew.after)
    return mark.champion if mark.champion and before.champion != mark.champion else None


def _unknown(missing: Set[int], every: list[Version], memory: Memory) -> frozenset[int]:
    """The missing versions that may have been champion for a while: they said nothing, and nor did others beside them.

    One alone, between entries that counted, would have left the wrong champion behind it.
    """
    counted = {0, *(v.version for v in every if v.tags.get(log.OUTCOME) == log.APPLIED), memory.mark.through + 1}
    bounds = sorted(counted)
    silent = {v.version for v in every if v.deleted and log.EXPECTED not in v.tags}
    between = Counter(bisect(bounds, number) for number in silent - counted)
    after_all = len(bounds)
    gaps = {number: bisect(bounds, number) for number in missing - counted}
    return frozenset(n for n, gap in gaps.items() if gap == after_all or (n in silent and between[gap] > 1))


def _mark(found: RegisteredModel, versions: list[Version], memory: Memory) -> Mark | None:
    """The mark that the versions call for; None leaves it as it is: something is missing, or the model is not ours."""
    now = _log(versions, memory)
    if now.missing or now.altered or not _is_ours(versions, memory):
        return None
    read = [each.version for each in versions if each.ready and (not now.pending or each.version < now.pending)]
    through = max([*read, *now.retired], default=0)
    mark = Mark(through=through, champion=now.champion or 0, name=found.name, made=found.created_at)
    return mark if through >= memory.mark.through else None


def _remembers(versions: list[Version], found: RegisteredModel, mark: Mark) -> bool:
    return Memory.of(found.tags).mark == mark and binding.unbound(versions, found.tags) is None


def _witness(target: Target, versions: list[Version], mark: Mark) -> None:
    """Let the run of a champion remember it too: it outlives the model."""
    for version in versions:
        if version.version == mark.champion and version.run_id:
            champions.record(target.tracking_uri, version.run_id, target.name, mark.model_dump_json())


def _told(versions: list[Version], memory: Memory) -> list[Version]:
    known = {each.version: each for each in log.with_deleted(versions)}
    through = max([*known, memory.mark.through, memory.anew.after], default=0) if _is_ours(versions, memory) else 0
    gone = [number for number in range(1, through + 1) if number not in known and number not in memory.unfinished]
    if len(gone) > MOST:
        what = f"The tag {memories.MARK} of a registered model speaks of {through} versions; {len(gone)} are not there."
        raise IntegrityError(what, "Delete that tag in MLflow: the run of the last champion remembers it too.")
    if gone:
        guessed = inferred.inferred(known, gone, memory)
        known |= {number: _missing(number, known, guessed.get(number, {}), memory) for number in gone}
    return [known[number] for number in sorted(known)]


def _is_ours(versions: list[Version], memory: Memory) -> bool:
    """Whether this project ever wrote to a model; in another one gaps mean nothing."""
    if not memory.is_blank:
        return True
    return any(log.is_owned(tag) for each in versions if not each.copy_of for tag in each.tags)


def _missing(number: int, known: Mapping[int, Version], tags: Mapping[str, str], memory: Memory) -> Version:
    """What is known of a version that nobody carries; it is as old as the one before it."""
    there = sorted(known)
    created_at = known[there[max(bisect(there, number) - 1, 0)]].created_at if known else memory.anew.at
    why = "not known: deleted past this command"
    if number <= memory.anew.after:
        why = f"not known: deleted past this command, recorded by {memory.anew.by}: {memory.anew.reason}"
    return Version(version=number, created_at=created_at, tags={log.REASON: why, **tags}, deleted=True)


def _v(number: int | None) -> str:
    return f"v{number}" if number else "no champion"
