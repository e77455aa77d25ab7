"""The promotion log: the versions of a registered model, read in order of their numbers.

MLflow has no compare-and-set: of two promoters that read the champion, compare and set the alias, both win. But
creating a version is atomic, its number is unique and its tags are written in the same transaction. So a promotion *is*
the creation of a version that says which champion it was judged against (`expected`), and who is champion follows from
reading all versions in order: `fold`. The alias is a cache of that.

An entry whose `expected` is not the champion at its turn lost a race and changes nothing. A version without `expected`
is a candidate and changes nothing. The same idempotency key counts once: its lowest number.

Deleting is an entry too (`retire`): it names versions that nothing may lead back to from there on, and carries what
they said, so that the log stays whole when they are gone. A rollback and a deletion that race are thereby in an order.
"""

import json
import os
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Literal, Self

from pydantic import Field

from lifecycle.errors import IntegrityError
from lifecycle.frozen import Frozen
from lifecycle.owner import user
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
REPORTED = "promotion.reported"
"""Whether whoever asked for a rollback was told that it is done: first the process that is to tell, then `yes`."""
APPLIED, LOST, YES = "applied", "lost", "yes"
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
    owned = [tag for tag in sorted(version.tags) if is_owned(tag) and tag not in {APPROVAL, REPORTED}]
    kept = {tag: version.tags[tag][: CARRIED.get(tag)] for tag in owned}
    return json.dumps([version.created_at, version.run_id, kept], separators=(",", ":"), ensure_ascii=False)


def with_deleted(found: Iterable[Version]) -> list[Version]:
    """Add to the versions that are there those that `retire` entries carry, in order of their numbers."""
    live = list(found)
    known = {version.version: version for version in live}
    for version in live:
        for tag, value in version.tags.items():
            number = int(tag.removeprefix(RETIRED)) if tag.startswith(RETIRED) else 0
            if number and number not in known:
                created_at, run_id, tags = json.loads(value)
                known[number] = Version(version=number, created_at=created_at, run_id=run_id, tags=tags, deleted=True)
    return [known[number] for number in sorted(known)]


class Entry(Frozen):
    """One version as the log sees it. `expected` and `target` are version numbers; 0 stands for no champion."""

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
        """The version number that becomes champion if the entry counts."""
        return self.target or self.number


class Log(Frozen):
    """The result of reading a log: the entries that counted, and the line of champions that a rollback walks back."""

    applied: tuple[Entry, ...] = ()
    line: tuple[int, ...] = ()
    retired: frozenset[int] = frozenset()
    pending: int | None = None
    """The version still being written at which the reading ended."""

    @property
    def changes(self) -> tuple[Entry, ...]:
        """The entries that made a champion."""
        return tuple(entry for entry in self.applied if entry.kind != "retire")

    @property
    def champion(self) -> int | None:
        """The version number of the champion, or None if there has never been one."""
        return self.changes[-1].makes_champion if self.changes else None

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
        that was killed after setting an older one).
        """
        first = next((place for place, entry in enumerate(self.changes) if entry.outcome != APPLIED), None)
        if first is None:
            return False
        before = self.changes[first - 1].makes_champion if first else None
        return alias in {before, *(entry.makes_champion for entry in self.changes[first:])}

    def entry_of(self, key: str) -> Entry | None:
        """The entry with an idempotency key, if it counted."""
        return next((entry for entry in self.applied if entry.key == key), None)


def fold(entries: Iterable[Entry]) -> Log:
    """Read a log: pure, and the same for every order in which the entries are given.

    A version that is still being written ends the reading: what comes after it cannot be known yet.
    """
    applied: list[Entry] = []
    line: list[int] = []
    keys: set[str] = set()
    retired: set[int] = set()
    pending = None
    for entry in sorted(entries, key=lambda each: each.number):
        if not entry.ready:
            pending = entry.number
            break
        champion = line[-1] if line else 0
        repeated = entry.key in keys
        if entry.key:
            keys.add(entry.key)
        if repeated or entry.expected != champion or _contradicts(entry, champion, retired):
            continue
        applied.append(entry)
        if entry.kind == "retire":
            retired |= entry.retires
            line = [number for number, _ in groupby(number for number in line if number not in retired)]
        else:
            line = _walk(line, entry)
    return Log(applied=tuple(applied), line=tuple(line), retired=frozenset(retired), pending=pending)


def _contradicts(entry: Entry, champion: int, retired: set[int]) -> bool:
    """Nobody leads back to a version that was retired, and nobody retires the champion."""
    return champion in entry.retires if entry.kind == "retire" else entry.makes_champion in retired


def _walk(line: list[int], entry: Entry) -> list[int]:
    """A rollback returns to an earlier place of the line, everything else extends it."""
    target = entry.makes_champion
    if entry.kind == "rollback" and target in line:
        return line[: len(line) - line[::-1].index(target)]
    return [*line, target]


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    return 0 if text == NONE else int(text)
