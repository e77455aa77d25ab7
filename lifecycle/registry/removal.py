"""Delete, clean up, rename: refused while anything depends on what would go, and safe to kill and to repeat.

MLflow deletes whatever it is told to: the version behind an alias, the model behind a copy. Here the deletion of a
version is first entered in the promotion log (`retire`), which puts it in an order with every promotion and rollback;
only what the log has let go is deleted, and a clean-up collects only files that no version of any model refers to.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence

from pydantic import Field

from lifecycle.core.errors import ConflictError, LostRaceError, NotFoundError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import CHAMPION
from lifecycle.core.references import ModelRef
from lifecycle.registry import binding, log, promotion, registration, store, story
from lifecycle.registry.log import Log
from lifecycle.registry.store import Target, Version
from lifecycle.tracking import runs
from lifecycle.tracking.client import delete_files

logger = logging.getLogger(__name__)

AT_ONCE = 20
"""Versions that one `retire` entry names: Unity Catalog allows 50 tags."""


class Removal(Frozen):
    """What a deletion or clean-up does, or would do: versions that go, and why the others stay."""

    name: str
    champion: int | None = None
    """The champion under which it was planned: another one may need what is to go."""
    deleted: tuple[int, ...] = ()
    kept: dict[int, str] = Field(default_factory=dict)
    collected: tuple[str, ...] = ()
    done: bool = False


def delete_version(target: Target, number: int, *, reason: str, dry_run: bool = False) -> Removal:
    """Delete one version; the files of its run stay, until a clean-up finds that no version refers to them.

    Raises:
        ConflictError: It is the champion or a rollback target, an alias or a copy depends on it; it says which.
        IntegrityError: Versions are missing: whoever was champion may be among them.
        NotFoundError: There is no such version.
    """
    now = promotion.read_log(target)
    story.refuse_if_missing(target, now)
    if number not in now.retired:
        version = binding.version(target, number)
        if why := _needed(target, now).get(number) or _record_of(version):
            raise ConflictError(f"{target.name} v{number} stays: {why}.", _way_out(why))
    planned = Removal(name=target.name, champion=now.champion, deleted=(number,))
    return planned if dry_run else _carry_out(target, planned, reason)


def plan_cleanup(target: Target, keep: int) -> Removal:
    """What a clean-up would delete: all but the champion, the last `keep` champions before it, and what is needed.

    Raises:
        IntegrityError: Versions are missing.
        NotFoundError: There is no such model.
    """
    now, found = promotion.read_log(target), binding.versions(target)
    story.refuse_if_missing(target, now)
    if not found:
        raise NotFoundError(f"There is no model {target.name}, or it has no version.", "See: mlops model list")
    needed = _needed(target, now, keep)
    for version in found:
        number = version.version
        if why := needed.get(number) or _record_of(version) or _under_test(version, now):
            needed[number] = why
    deleted = tuple(each.version for each in found if each.version not in needed)
    return Removal(name=target.name, champion=now.champion, deleted=deleted, kept=dict(sorted(needed.items())))


def cleanup(target: Target, keep: int, *, reason: str) -> Removal:
    """Delete what `plan_cleanup` names, then collect the files that no version refers to any more.

    Repeated, it finishes what was interrupted, and otherwise changes nothing.
    """
    done = _carry_out(target, plan_cleanup(target, keep), reason)
    return done.model_copy(update={"collected": collect(target)})


def delete_model(target: Target, *, with_champion: bool = False, dry_run: bool = False) -> Removal:
    """Delete a model with all its versions and its log; files of its training runs stay.

    Raises:
        ConflictError: It has a champion (unless `with_champion`), or a copy depends on it; it says which.
        IntegrityError: It may have one: its tags were changed, or it was made again (unless `with_champion`).
        NotFoundError: There is no such model.
    """
    if store.model(target) is None:
        raise NotFoundError(f"There is no model {target.name}.", "See: mlops model list")
    now, found = promotion.read_log(target), binding.versions(target)
    if not with_champion:
        story.refuse_if_disputed(target, now)
    if now.champion and not with_champion:
        raise ConflictError(
            f"{target.name} stays: v{now.champion} is its champion.",
            "If nothing loads it any more, say so: --with-champion",
        )
    if copies := _copies(target):
        raise ConflictError(f"{target.name} stays: {_named(copies)}.", "Delete those first: mlops model delete")
    if not dry_run:
        story.forget(target)
        store.delete_model(target)
        logger.info("Deleted %s", target.name)
    return Removal(name=target.name, deleted=tuple(each.version for each in found), done=not dry_run)


def rename(target: Target, name: str, *, dry_run: bool = False) -> None:
    """Give a model another name.

    Raises:
        ConflictError: Something reads it by its present name (a champion, a copy), or the new one is taken.
        IntegrityError: It may have a champion: its tags were changed, or it was made again.
        NotFoundError: There is no such model.
    """
    if store.model(target) is None:
        raise NotFoundError(f"There is no model {target.name}.", "See: mlops model list")
    if store.model(target.named(name)):
        raise ConflictError(f"There is a model {name} already.", "Choose another name.")
    now = promotion.read_log(target)
    story.refuse_if_disputed(target, now)
    if now.champion:
        why = f"v{now.champion} is its champion, which is read by this name"
        raise ConflictError(f"{target.name} keeps its name: {why}.", "Promote it under the new name instead.")
    if copies := _copies(target):
        raise ConflictError(
            f"{target.name} keeps its name: {_named(copies)}.", "Delete those first: mlops model delete"
        )
    if not dry_run:
        story.forget(target)
        store.rename_model(target, name)


def unfinished(target: Target) -> tuple[int, ...]:
    """Versions that the log has let go but that are still there: a deletion was interrupted."""
    retired = promotion.read_log(target).retired
    return tuple(each.version for each in binding.versions(target) if each.version in retired)


def finish(target: Target) -> tuple[int, ...]:
    """Complete an interrupted deletion; tells which versions went."""
    numbers = unfinished(target)
    for number in numbers:
        store.delete_version(target, number)
        logger.info("Deleted %s v%d", target.name, number)
    return numbers


def _carry_out(target: Target, planned: Removal, reason: str) -> Removal:
    retired = promotion.read_log(target).retired
    numbers = [number for number in planned.deleted if number not in retired]
    for start in range(0, len(numbers), AT_ONCE):
        _retire(target, planned.champion, numbers[start : start + AT_ONCE], reason)
    promotion.settle(target)
    deleted = sorted({*planned.deleted, *finish(target)})
    return planned.model_copy(update={"deleted": tuple(deleted), "done": True})


def _retire(target: Target, champion: int | None, numbers: Sequence[int], reason: str) -> None:
    """Enter in the log that nothing may lead back to these versions, as was decided under a champion.

    Raises:
        LostRaceError: The champion changed meanwhile.
    """
    now = promotion.settle(target)  # first, so that what is carried says of each entry that it was confirmed
    tags = {
        log.KEY: _key(target, champion, now.head, numbers),
        log.KIND: "retire",
        log.EXPECTED: str(champion or log.NONE),
        log.REASON: reason[: promotion.REASON_LENGTH],
        log.BY: log.author(),
        **{f"{log.RETIRED}{number}": log.carry(binding.version(target, number)) for number in numbers},
    }
    number = registration.enter(target, _stand_in(target, champion, numbers), tags)
    registration.await_earlier(target, number)
    after = promotion.settle(target)
    if not set(numbers) <= after.retired:
        promotion.note(target, number, log.LOST)
        raise LostRaceError(f"{target.name}: the champion changed meanwhile.", "Run the command again.")


def _stand_in(target: Target, champion: int | None, numbers: Sequence[int]) -> ModelRef:
    """The model whose files the entry itself refers to: a version must have some, so the champion's."""
    return promotion.reference(target, champion or numbers[0])


def _key(target: Target, champion: int | None, head: int, numbers: Sequence[int]) -> str:
    content = [target.name, "retire", champion, head, sorted(numbers)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _needed(target: Target, now: Log, keep: int | None = None) -> dict[int, str]:
    """Each version that something depends on, with what; `keep` limits how many rollback targets count."""
    found = store.model(target)
    needed: dict[int, str] = {}
    for name, version in _copies(target):
        source = _number_of(version)
        needed[source] = f"{name} v{version.version} is a copy of it"
    for alias, number in (found.aliases if found else {}).items():
        if alias.lower() != CHAMPION or not now.explains(number):
            needed[number] = f"alias {alias} points to it"
    earlier = now.line[:-1]
    targets = earlier if keep is None else earlier[max(0, len(earlier) - keep) :]
    needed |= dict.fromkeys(targets, "a rollback can lead back to it")
    if now.champion:
        needed[now.champion] = "it is the champion"
    return needed


def is_record(version: Version) -> bool:
    """Whether a version is the entry of a deletion, which carries what is known of others."""
    return any(tag.startswith(log.RETIRED) for tag in version.tags)


def _record_of(version: Version) -> str:
    return "it is the record of deleted versions" if is_record(version) else ""


def _under_test(version: Version, now: Log) -> str:
    if version.status == store.PENDING:
        return "it is still being written"
    candidate = log.EXPECTED not in version.tags
    champion_since = now.changes[-1].number if now.changes else 0  # not `head`: a clean-up is an entry too
    return "it is a candidate newer than the champion" if candidate and version.version > champion_since else ""


def _copies(target: Target) -> list[tuple[str, Version]]:
    """Versions of other models that were entered from a version of this one."""
    prefix = f"models:/{target.name}/"
    return [
        (other.name, version)
        for other in _relatives(target)
        if other.name != target.name
        for version in binding.versions(other)
        if _source_of(version).startswith(prefix)
    ]


def _named(copies: Iterable[tuple[str, Version]]) -> str:
    return ", ".join(f"{name} v{version.version} is a copy of its v{_number_of(version)}" for name, version in copies)


def _source_of(version: Version) -> str:
    return version.tags.get(log.SOURCE) or version.source


def _number_of(copy: Version) -> int:
    """The version number that a copy was made of; 0 for a source that names none."""
    number = _source_of(copy).rpartition("/")[2]
    return int(number) if number.isdigit() else 0


def _way_out(why: str) -> str:
    if why.startswith("alias"):
        return "Delete the alias first: mlops model alias delete"
    if "copy" in why:
        return "Delete the copy first: mlops model delete"
    return "See: mlops history"


def uncollected(target: Target) -> tuple[str, ...]:
    """Runs whose model's files would go in a clean-up that was interrupted: they are marked already."""
    return tuple(run_id for run_id in _unreferred(target) if runs.is_withdrawing(target.tracking_uri, run_id))


def collect(target: Target) -> tuple[str, ...]:
    """Remove the files of models that deleted versions were made of and no version of any model refers to.

    Each run is marked first and the references are read again after that: whoever registers looks at the mark.
    """
    collected = []
    for run_id in _unreferred(target):
        uri = runs.withdraw(target.tracking_uri, run_id)
        if not uri:
            continue
        if run_id in _referred(target) or not delete_files(target.tracking_uri, uri):
            runs.reinstate(target.tracking_uri, run_id)
            continue
        runs.mark_collected(target.tracking_uri, run_id)
        logger.info("Collected the files of %s", uri)
        collected.append(uri)
    return tuple(collected)


def _unreferred(target: Target) -> list[str]:
    retired = promotion.read_log(target).retired
    deleted = {each.run_id for each in log.with_deleted(binding.versions(target)) if each.version in retired}
    return sorted(deleted - _referred(target) - {""})


def _referred(target: Target) -> set[str]:
    """The runs that a version of any model of this registry was made by."""
    return {
        version.run_id for other in _relatives(target) for version in binding.versions(other) if not _record_of(version)
    }


def _relatives(target: Target) -> list[Target]:
    """The models that may hold copies of a model's versions, itself included.

    All of the registry; of Unity Catalog, which may hold thousands, those whose last level is the same.
    """
    found = store.names(target.tracking_uri, target.registry_uri)
    if target.in_unity_catalog:
        last = target.name.rpartition(".")[2]
        found = [name for name in found if name.rpartition(".")[2] == last]
    return [target.named(name) for name in found]
