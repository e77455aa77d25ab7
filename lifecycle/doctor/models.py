"""Examine one registered model: alias and versions against the log, files against digests, runs against versions."""

from collections import Counter
from collections.abc import Iterator
from functools import partial

from lifecycle.core.errors import AliasMovedError, IntegrityError, MlopsError
from lifecycle.core.names import CHAMPION
from lifecycle.doctor.finding import Finding, ok, problem, repairable
from lifecycle.models import loading
from lifecycle.registry import aliases, binding, log, promotion, registration, removal, store, story
from lifecycle.registry.log import Entry, Log
from lifecycle.registry.store import Target, Version
from lifecycle.tracking import runs as training_runs


def examine_model(target: Target, *, repair: bool) -> Iterator[Finding]:
    """Examine a model of ours; what ends the reading of its log ends the examination.

    One in which this project never entered anything is left alone, unless a run knows better.
    """
    try:
        if not story.is_ours(target):
            yield from _missing(target)
            return
    except IntegrityError as error:
        yield problem(target.name, str(error))
        return
    yield from _registrations(target, repair)
    if missing := list(_missing(target)):
        yield from missing
        return
    try:
        alias = _champion_alias(target, repair)
    except (AliasMovedError, IntegrityError) as error:
        yield problem(target.name, str(error))
        return
    yield alias
    if alias.state == "problem":
        return
    now, versions = promotion.read_log(target), binding.versions(target)
    yield _champion(target, now)
    yield from _rollback_target(target, now)
    yield from _aliases(target, versions, repair)
    yield from _entries(target, now, versions, repair)
    yield from _deletions(target, repair)
    yield from _runs(target, versions, repair)


def _registrations(target: Target, repair: bool) -> Iterator[Finding]:
    """Versions whose files never arrived."""
    for version in store.versions(target):
        what = f"{target.name} v{version.version}"
        delete = partial(story.discard, target, version.version)
        if version.status == store.FAILED:
            yield repairable(what, "its registration failed: it has no files.", repair, delete)
        elif registration.is_abandoned(version):
            yield repairable(what, "the process that was registering it has ended.", repair, delete)
        elif version.status == store.PENDING:
            yield problem(what, "is still being registered; the log cannot be read beyond it. Look again later.")


def _missing(target: Target) -> Iterator[Finding]:
    """What was deleted or changed past this command: nobody may judge or move a champion until it is recorded."""
    try:
        now = promotion.read_log(target)
    except IntegrityError:
        return
    if dispute := story.disputed(target, now):
        yield problem(target.name, " ".join(dispute))
    for number in sorted(now.missing):
        what = f"is missing: deleted past this command; {story.what_was(now, number)}."
        yield problem(f"{target.name} v{number}", f"{what} {story.way_out(target)}")


def _champion_alias(target: Target, repair: bool) -> Finding:
    before = promotion.read_log(target)
    alias = store.alias_version(target)
    if alias == before.champion and not before.unsettled:
        return ok(target.name, f"alias and log agree: {f'v{alias}' if alias else 'no champion'}.")
    interrupted = alias == before.champion or before.explains(alias)
    if interrupted and not repair:
        what = f"an interrupted step left the alias at {alias}; the log says {before.champion}."
        return problem(target.name, f"{what} Run: mlops doctor --repair")
    now = promotion.settle(target, override_hand=repair)
    done = f"set from {alias} to v{now.champion}" if now.champion else f"removed from v{alias}"
    return Finding(state="repaired", what=target.name, message=f"alias {done}, as the log says.")


def _champion(target: Target, now: Log) -> Finding:
    if now.champion is None:
        return ok(target.name, "no champion yet.")
    try:
        loading.load(promotion.reference(target, now.champion))
    except MlopsError as error:
        return problem(target.name, str(error))
    return ok(target.name, f"the files of champion v{now.champion} are what was registered, and can be read here.")


def _rollback_target(target: Target, now: Log) -> Iterator[Finding]:
    if now.previous is None:
        return
    try:
        loading.load(promotion.reference(target, now.previous))
    except MlopsError as error:
        yield problem(f"{target.name} v{now.previous}", f"a rollback would fail: {error}")


def _aliases(target: Target, versions: list[Version], repair: bool) -> Iterator[Finding]:
    numbers = {version.version for version in versions}
    found = store.model(target)
    for alias, number in (found.aliases if found else {}).items():
        what = f"{target.name}@{alias}"
        if number not in numbers:
            message = f"alias {alias} points to v{number}, which is not there."
            yield repairable(what, message, repair, partial(store.delete_alias, target, alias))
        elif alias != alias.lower():
            message = f"alias {alias} was set past this command: MLflow keeps it apart from {alias.lower()}."
            yield repairable(what, message, repair, partial(_fold_case, target, alias, number))


def _fold_case(target: Target, alias: str, number: int) -> None:
    """Keep what the alias says under its lower-case name, unless that says something already."""
    if alias.lower() != CHAMPION and aliases.every(target)[alias.lower()] == number:
        store.set_alias(target, alias.lower(), number)
    store.delete_alias(target, alias)


def _entries(target: Target, now: Log, versions: list[Version], repair: bool) -> Iterator[Finding]:
    applied = {entry.number for entry in now.applied}
    keys = Counter(version.tags[log.KEY] for version in versions if log.KEY in version.tags)
    for version in versions:
        number, what = version.version, f"{target.name} v{version.version}"
        entry = Entry.of(number, version.status, version.tags)
        lost = partial(store.tag, target, number, log.OUTCOME, log.LOST)
        if entry.expected is not None and number not in applied and entry.outcome != log.LOST:
            message = "lost against another promotion and does not say so"
            again = " (it repeats an earlier entry)" if keys[entry.key] > 1 else ""
            yield repairable(what, f"{message}{again}.", repair, lost)
        if version.copy_of:
            promote = f"mlops promote {_within(target)} --version {number}"
            yield ok(what, f"was copied past this command from {version.copy_of}: a candidate. To judge it: {promote}")
        elif log.ARTIFACT not in version.tags and entry.kind != "retire" and version.ready:
            register = f"mlops model register --source models:/{target.name}/{number} {target.options}"
            message = "was registered past this command: without a digest it is never loaded or promoted."
            yield ok(what, f"{message} To make it a candidate: {register}")


def _within(target: Target) -> str:
    env = target.name.partition(".")[0]
    return f"{target.options.replace('--env', '--from')} --to {env}"


def _deletions(target: Target, repair: bool) -> Iterator[Finding]:
    if left := removal.unfinished(target):
        numbers = ", ".join(f"v{number}" for number in left)
        message = f"a deletion was interrupted: the log has let {numbers} go."
        yield repairable(target.name, message, repair, partial(removal.finish, target))
    if runs := removal.uncollected(target):
        message = f"a clean-up was interrupted: files of {len(runs)} models that nothing refers to are still there."
        yield repairable(target.name, message, repair, partial(removal.collect, target))


def _runs(target: Target, versions: list[Version], repair: bool) -> Iterator[Finding]:
    """A deleted run takes the files of its models along at the next `mlflow gc`."""
    for run_id in sorted({version.run_id for version in versions if version.run_id}):
        numbers = ", ".join(f"v{version.version}" for version in versions if version.run_id == run_id)
        state = training_runs.state_of(target.tracking_uri, run_id)
        if state == "deleted":
            message = f"run {run_id} is deleted: `mlflow gc` would destroy the files of {numbers}."
            action = partial(training_runs.restore, target.tracking_uri, run_id)
            yield repairable(target.name, message, repair, action)
        elif state == "missing":
            yield problem(target.name, f"run {run_id} of {numbers} is not there: its lineage is lost.")
        elif state == "unsafe":
            yield problem(
                target.name, f"the logged model of {numbers} is deleted: `mlflow gc` would destroy its files."
            )
