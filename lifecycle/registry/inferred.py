"""What missing versions must have said, for those that are left to say what they say.

An entry that was judged against a version says that it was champion; an entry that counted against another one than the
log leads to says that something between led there.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from lifecycle.registry import log, store
from lifecycle.registry.log import Entry, Log
from lifecycle.registry.memory import Memory
from lifecycle.registry.store import Version


class Evidence(NamedTuple):
    """That somebody was champion right before a number, said by an entry that counted or by one that did not."""

    before: int
    champion: int
    counted: bool
    anew: bool = False
    """Said by the record that no version was left, of the time before it."""


def inferred(known: Mapping[int, Version], gone: list[int], memory: Memory) -> dict[int, dict[str, str]]:
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
        tags = _entry(carrier, evidence.champion, before(carrier, entries.values(), memory.anew.after))
        guessed = {**entries, carrier: Entry.of(carrier, store.READY, tags)}
        sure = next((each for each in said[place:] if each.counted), None)
        if sure and _holds(sure, entries, memory) and not _holds(sure, guessed, memory):
            continue  # whoever expected it was wrong: those that counted know nothing of it
        found[carrier], entries = tags, guessed
    return found


def _holds(evidence: Evidence, entries: Mapping[int, Entry], memory: Memory) -> bool:
    """Whether the log leads to the champion that somebody speaks of."""
    read = before(evidence.before, entries.values(), 0 if evidence.anew else memory.anew.after)
    return (read.champion or 0) == evidence.champion


def before(number: int, entries: Iterable[Entry], anew_after: int) -> Log:
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
