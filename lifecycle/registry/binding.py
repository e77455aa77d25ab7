"""Which promotion tags are a version's own, and which came along when MLflow copied another version.

MLflow's documented way to promote, `copy_model_version` and the button of its UI, sends the tags too: a copy would look
like an entry of the log. So each version says where it was entered: under which number, in a model made when, and under
which name. A version that is somewhere else is a copy: it keeps the digest of its files, which it shares with its
origin, and nothing else of the log, so that it is a candidate. A rename changes neither number nor model.

Whoever enters a version while another one does may get a higher number than it says. It is believed as long as all that
came first is there and is another one; when the log is settled, it says its own number (`corrected`).

Versions of earlier releases do not say it. One of those is a copy if it was made of another version than it says; once
a log has been settled, the model remembers up to which number they need no such look (`UNBOUND`).
"""

from collections.abc import Mapping, Set
from typing import NamedTuple, Self

from lifecycle.registry import log, memory, store
from lifecycle.registry.memory import UNBOUND, unfinished_of
from lifecycle.registry.store import RegisteredModel, Target, Version


class Place(NamedTuple):
    """Where a version was entered; `made` is when the registered model was made, in milliseconds."""

    number: int
    made: int
    name: str

    @classmethod
    def of(cls, text: str) -> Self | None:
        """Read the tag; None if it is not one that was written here."""
        number, made, name = [*text.split(" ", 2), "", ""][:3]
        return cls(int(number), int(made), name) if number.isdecimal() and made.isdecimal() and name else None

    def __str__(self) -> str:
        return f"{self.number} {self.made} {self.name}"


def versions(target: Target) -> list[Version]:
    """All versions of a model in order; a copy without the tags that speak of its origin's log. Empty without model."""
    found = memory.model(target)
    return own(found, store.versions(target)) if found else []


def version(target: Target, number: int) -> Version:
    """One version, likewise.

    Raises:
        NotFoundError: There is none of that number.
    """
    found, read = memory.model(target), store.version(target, number)
    alone = own(found, [read])[0] if found else read
    return next(each for each in versions(target) if each.version == number) if alone.copy_of else alone


def own(found: RegisteredModel, read: list[Version]) -> list[Version]:
    """The versions of a model with the tags that are their own; copies say what they were made of."""
    known = {each.version for each in log.with_deleted(read)} | unfinished_of(found.tags)
    origins = {each.version: _origin(found, each, known) for each in read}
    return [_candidate(each, origins[each.version]) if origins[each.version] else each for each in read]


def corrected(version: Version) -> str | None:
    """The place of a version that was entered beside another one, with the number that it got; None if it says that."""
    said = Place.of(version.tags.get(log.PLACE, ""))
    return str(said._replace(number=version.version)) if said and said.number != version.version else None


def unbound(versions: list[Version], tags: Mapping[str, str]) -> str | None:
    """What a model is to remember of versions that do not say where they were entered; None if it does.

    The number up to which they count, and those up to there that are copies.
    """
    if UNBOUND in tags:
        return None
    silent = [version for version in versions if _speaks(version) and log.PLACE not in version.tags]
    until = max((version.version for version in silent if not version.copy_of), default=0)
    copies = [version.version for version in silent if version.copy_of and version.version < until]
    return " ".join(map(str, [until, *copies]))


class Unbound(NamedTuple):
    """The versions that count although they do not say where they were entered: all up to a number but for copies."""

    until: int
    copies: Set[int]

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> Self | None:
        """Read a model's tag; None if it remembers nothing yet."""
        numbers = [int(text) for text in tags.get(UNBOUND, "").split() if text.isdecimal()]
        return cls(numbers[0], set(numbers[1:])) if numbers else None

    def covers(self, number: int) -> bool:
        """Whether a version counts."""
        return number <= self.until and number not in self.copies


def _origin(found: RegisteredModel, version: Version, known: Set[int]) -> str:
    """What a version is a copy of; empty if its tags are its own."""
    if not _speaks(version):
        return ""
    if log.PLACE in version.tags:
        said = Place.of(version.tags[log.PLACE])
        if said and said.made == found.created_at and _is_there(said, version, known):
            return ""
        return _copied_from(version) or (f"{said.name} v{said.number}" if said else "another version")
    if remembered := Unbound.of(found.tags):
        return "" if remembered.covers(version.version) else _made_of(version) or "another version"
    return _copied_from(version)


def _is_there(said: Place, version: Version, known: Set[int]) -> bool:
    """Whether a version is the one that said so; also if others were entered at once, and it is a copy of none."""
    if said.number == version.version:
        return True
    before = range(said.number, version.version)
    return bool(before) and all(number in known for number in before) and not _copied_from(version)


def _copied_from(version: Version) -> str:
    """The version that MLflow copied this one of: it was made of another one than it says itself."""
    return "" if version.tags.get(log.SOURCE, version.source) == version.source else _made_of(version)


def _speaks(version: Version) -> bool:
    return any(log.is_owned(tag) for tag in version.tags)


def _made_of(version: Version) -> str:
    name, _, number = version.source.removeprefix("models:/").rpartition("/")
    return f"{name} v{number}" if version.source.startswith("models:/") and name and number.isdecimal() else ""


def _candidate(version: Version, origin: str) -> Version:
    kept = {tag: value for tag, value in version.tags.items() if not log.is_owned(tag) or tag == log.ARTIFACT}
    told = {log.REASON: f"copied past mlops from {origin}"}  # so that its deletion carries it
    return version.model_copy(update={"tags": kept | told, "copy_of": origin})
