"""The promotion log: the versions of a registered model, read in order of their numbers.

MLflow has no compare-and-set: of two promoters that read the champion, compare and set the alias, both win. But
creating a version is atomic, its number is unique and its tags are written in the same transaction. So a promotion *is*
the creation of a version that says which champion it was judged against (`expected`), and who is champion follows from
reading all versions in order: `fold`. The alias is a cache of that.

An entry whose `expected` is not the champion at its turn lost a race and changes nothing. A version without `expected`
is a candidate and changes nothing. The same idempotency key counts once: its lowest number.

Deleting is an entry too (`retire`): it names versions that nothing may lead back to from there on, and carries what
they said, so that the log stays whole when they are gone. A rollback and a deletion that race are thereby in an order.

Versions that were deleted past this project are recorded by a `retire` entry as well, once a person has seen it; if the
champion is among them, the entry says where the line falls back to (`target`).
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import groupby
from typing import Literal, Self

from pydantic import Field

from lifecycle.core.errors import IntegrityError
from lifecycle.core.frozen import Frozen
from lifecycle.core.writer_process import user
from lifecycle.registry.store import Version

Kind = Literal["promotion", "rollback", "adopt", "retire"]

NONE = "none"
KEY, EXPECTED, KIND = "idempotency_key", "promotion.expected", "promotion.kind"
TARGET, OUTCOME, REASON, BY = "promotion.target", "promotion.outcome", "promotion.reason", "promotion.by"
RETIRED = "promotion.retired."
"""Followed by the number of a version that a `retire` entry removes; the tag's value is what the version said."""
APPROVED_BY, APPROVAL = "promotion.approved_by", "promotion.approval"
"""Who approved the verdict, and why."""
ARTIFACT, DATASET, VERDICT = "artifact_sha256", "dataset_digest", "verdict_digest"
GATE, REQUEST, SOURCE = "promotion.gate", "promotion.request", "promotion.source"
"""`SOURCE` is the URI of the model that a version was made of; a registry that keeps files of its own forgets it."""
PLACE = "promotion.place"
"""Where a version was entered, so that a copy of it is told from it: see `binding`."""
REPORTED = "promotion.reported"
"""Whether whoever asked for a rollback was told that it is done: first the process that is to tell, then `yes`."""
CANARY = "promotion.canary"
"""Since when a serving endpoint tries out what was promoted, beside the champion before it."""
APPLIED, LOST, YES = "applied", "lost", "yes"
NOT_CARRIED = {APPROVAL, REPORTED, PLACE, CANARY}
CARRIED = {REASON: 200, APPROVED_BY: 60}
"""How many characters of these a `retire` entry keeps."""
OWNED = (KEY, ARTIFACT, DATASET, VERDICT)


def is_owned(tag: str) -> bool:
    """Tell whether a tag belongs to the log, so that nothing else may write it."""
    return tag in OWNED or tag.startswith("promotion.")


def author() -> str:
    """Who a change is recorded for: the person behind a GitHub run, else the user of this process."""
    return os.environ.get("GITHUB_ACTOR") or user()


def carry(version: Version) -> str:
    """What a `retire` entry keeps of a version: compact, because Unity Catalog's tags hold 1,000 characters."""
    owned = [tag for tag in sorted(version.tags) if is_owned(tag) and tag not in NOT_CARRIED]
    kept = {tag: version.tags[tag][: CARRIED.get(tag)] for tag in owned}
    return json.dumps([version.created_at, version.run_id, kept], separators=(",", ":"), ensure_ascii=False)


def with_deleted(found: Iterable[Version]) -> list[Version]:
    """Add to the versions that are there those that `retire` entries carry, in order of their numbers."""
    live = list(found)
    known = {version.version: version for version in live}
    for version in live:
        for tag, value in version.tags.items():
            if tag.startswith(RETIRED):
                carried = _carried(version, tag, value)
                known.setdefault(carried.version, carried)
    return [known[number] for number in sorted(known)]


def _carried(record: Version, tag: str, value: str) -> Version:
    """What a `retire` entry says of a version.

    Raises:
        IntegrityError: It is not what `carry` wrote.
    """
    try:
        created_at, run_id, tags = json.loads(value)
        number = int(tag.removeprefix(RETIRED))
        return Version(version=number, created_at=created_at, run_id=run_id, tags=tags, deleted=True)
    except (TypeError, ValueError) as error:
        what = f"Version {record.version} has unreadable promotion tags: {tag} is no record of a deleted version."
        raise IntegrityError(what, f"Restore {tag} in MLflow, or delete it if nobody recorded a deletion.") from error


class Entry(Frozen):
    """One version as the log sees it. `expected` and `target` are version numbers; 0 stands for no champion.

    A `retire` entry has a target only if the champion is among what it retires: it is missing.
    """

    number: int
    ready: bool = True
    kind: Kind = "promotion"
    expected: int | None = Field(None, ge=0)
    target: int | None = Field(None, ge=0)
    key: str = ""
    outcome: str | None = None
    retires: frozenset[int] = frozenset()

    @classmethod
    def of(cls, number: int, status: str, tags: Mapping[str, str]) -> Self:
        """Read a version's tags; one whose registration failed says nothing.

        Raises:
            IntegrityError: They are not those that a promotion writes.
        """
        if status == "FAILED_REGISTRATION":
            return cls(number=number)
        try:
            return cls(
                number=number,
                ready=status == "READY",
                kind=tags.get(KIND, "promotion"),
                expected=_number(tags.get(EXPECTED)),
                target=_number(tags.get(TARGET)),
                key=tags.get(KEY, ""),
                outcome=tags.get(OUTCOME),
                retires=frozenset(int(tag.removeprefix(RETIRED)) for tag in tags if tag.startswith(RETIRED)),
            )
        except ValueError as error:
            what = f"Version {number} has unreadable promotion tags: {error}."
            raise IntegrityError(what, f"Restore them, or delete {EXPECTED} to make it a candidate.") from None

    @property
    def makes_champion(self) -> int:
        """The version number that becomes champion if the entry counts; 0 says that nobody is left."""
        return self.target or (0 if self.kind == "retire" else self.number)

    @property
    def changes_champion(self) -> bool:
        """Whether somebody else is champion if the entry counts."""
        return self.kind != "retire" or self.target is not None


class Log(Frozen):
    """The result of reading a log: the entries that counted, and the line of champions that a rollback walks back."""

    applied: tuple[Entry, ...] = ()
    line: tuple[int, ...] = ()
    retired: frozenset[int] = frozenset()
    pending: int | None = None
    """The version still being written at which the reading ended."""
    missing: frozenset[int] = frozenset()
    """Versions that are not there although no entry let them go; `story` finds them, the log alone cannot."""
    unknown: frozenset[int] = frozenset()
    """Those of them of which nothing that is left tells whether they were champion."""
    altered: int | None = None
    """The champion that the model remembers where its entries lead to another one: somebody changed their tags."""
    vanished: str = ""
    """The champion that a run speaks of although its model is gone, or holds nothing of ours."""

    @property
    def changes(self) -> tuple[Entry, ...]:
        """The entries that made a champion, or that recorded that it is missing."""
        return tuple(entry for entry in self.applied if entry.changes_champion)

    @property
    def champion(self) -> int | None:
        """The version number of the champion, or None if there has never been one, or all are recorded as missing."""
        return self.line[-1] if self.line else None

    @property
    def head(self) -> int:
        """The number of the last entry that counted; 0 for an empty log."""
        return self.applied[-1].number if self.applied else 0

    @property
    def previous(self) -> int | None:
        """Where a rollback leads: the champion before this one, further back after each rollback."""
        return self.line[-2] if len(self.line) > 1 else None

    @property
    def unsettled(self) -> tuple[Entry, ...]:
        """Entries that count but whose writer has not confirmed the alias: it may have been interrupted."""
        return tuple(entry for entry in self.applied if entry.outcome != APPLIED)

    def explains(self, alias: int | None) -> bool:
        """Tell whether an alias that is not the champion is the trace of an interrupted step, not of a hand.

        While an entry is unsettled the alias may still be what it was before it, or any later champion (a slow writer
        that was killed after setting an older one). Where one of them was missing, the alias may have gone with it.
        """
        changes = self.changes
        first = next((place for place, entry in enumerate(changes) if entry.outcome != APPLIED), None)
        if first is None:
            return False
        since = changes[first:]
        known = {since[0].expected or None, *(entry.makes_champion or None for entry in since)}
        return alias in known or (alias is None and not known.isdisjoint(self.retired))

    def entry_of(self, key: str) -> Entry | None:
        """The entry with an idempotency key, if it counted."""
        return next((entry for entry in self.applied if entry.key == key), None)


def fold(entries: Iterable[Entry], *, anew_after: int = 0) -> Log:
    """Read a log: pure, and the same for every order in which the entries are given.

    A version that is still being written ends the reading: what comes after it cannot be known yet. After the number
    `anew_after` the line of champions begins anew: a person recorded that no version was left.
    """
    ordered = sorted(entries, key=lambda each: each.number)
    now = _fold(Log(), (entry for entry in ordered if entry.number <= anew_after))
    if anew_after:
        gone = frozenset(range(1, anew_after + 1)) - {entry.number for entry in ordered if entry.retires}
        now = now.model_copy(update={"line": (), "retired": now.retired | gone})
    return _fold(now, (entry for entry in ordered if entry.number > anew_after))


def _fold(before: Log, entries: Iterable[Entry]) -> Log:
    applied, line, retired = list(before.applied), list(before.line), set(before.retired)
    keys = {entry.key for entry in applied if entry.key}
    pending = None
    for entry in entries:
        if not entry.ready:
            pending = entry.number
            break
        champion = line[-1] if line else 0
        repeated = entry.key in keys
        if entry.key:
            keys.add(entry.key)
        if repeated or entry.expected != champion or _contradicts(entry, line, retired):
            continue
        applied.append(entry)
        if entry.kind == "retire":
            retired |= entry.retires
            line = without(line, retired)
        else:
            line = _walk(line, entry)
    return Log(applied=tuple(applied), line=tuple(line), retired=frozenset(retired), pending=pending)


def without(line: Iterable[int], retired: Set[int]) -> list[int]:
    """A line of champions without some: who reigned before and after them reigned once."""
    return [number for number, _ in groupby(number for number in line if number not in retired)]


def _contradicts(entry: Entry, line: Sequence[int], retired: set[int]) -> bool:
    """Nobody leads back to a version that was retired; nobody retires the champion without naming the one before."""
    if entry.kind != "retire":
        return entry.makes_champion in retired
    champion = line[-1] if line else 0
    if entry.target is None:
        return champion in entry.retires
    left = without(line, retired | entry.retires)
    return champion not in entry.retires or entry.target != (left[-1] if left else 0)


def _walk(line: list[int], entry: Entry) -> list[int]:
    """A rollback returns to an earlier place of the line, everything else extends it by who is not its end already."""
    target = entry.makes_champion
    if entry.kind == "rollback" and target in line:
        return line[: len(line) - line[::-1].index(target)]
    return line if line[-1:] == [target] else [*line, target]


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    return 0 if text == NONE else int(text)
