"""MLflow's former stages: what they still lead to, and the way from them to environments and aliases.

Stages are deprecated and Unity Catalog has none. A migration enters each staged version in the registered model of the
environment that its stage stood for, and leaves stages as they are: old URIs (`models:/name/Production`) go on loading,
and an undo only has to remove what was entered.
"""

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from lifecycle.core.errors import ConfigError, ConflictError, IntegrityError, NotFoundError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import Environment
from lifecycle.core.references import ModelRef
from lifecycle.models.loading import artifact_digest, reader_of
from lifecycle.registry import log, promotion, registration, store, story
from lifecycle.registry.store import Target, Version
from lifecycle.tracking.artifacts import download

STAGES = {"Staging": Environment.STAGING, "Production": Environment.PROD, "Archived": Environment.PROD}
CHAMPION_STAGES = ("Staging", "Production")
MIGRATED = "migrated_from"


class Move(Frozen):
    """One version and where it goes; `champion` says whether it becomes the champion there."""

    source: str
    version: int
    stage: str
    to: str
    champion: bool
    entered: int | None = None


class Migration(Frozen):
    """What a migration does, or would do. Ambiguous cases are left for a person to decide.

    `foreign` names versions that MLflow loads and this project does not, because they are no text models of its form.
    """

    source: str
    moves: tuple[Move, ...]
    ambiguous: tuple[str, ...]
    without_stage: tuple[int, ...]
    foreign: tuple[str, ...] = ()
    done: bool = False


def version_in(target: Target, stage: str) -> int:
    """The latest version in a stage, whatever its case.

    Raises:
        ConfigError: There is no such stage.
        NotFoundError: No version is in it.
    """
    names = {name.lower(): name for name in STAGES}
    if stage.lower() not in names:
        raise ConfigError(f"{stage!r} is not a stage; stages were {', '.join(STAGES)}.", "Use --alias champion.")
    found = [each.version for each in store.versions(target) if each.stage == names[stage.lower()]]
    if not found:
        raise NotFoundError(
            f"{target.name} has no version in stage {names[stage.lower()]}.", f"See: mlops model show {target.options}"
        )
    return max(found)


def plan(source: Target, targets: Mapping[Environment, Target]) -> Migration:
    """Map the staged versions of a model; two versions in one stage that has one champion are ambiguous.

    Raises:
        NotFoundError: There is no such model.
    """
    found = store.versions(source)
    if not found:
        raise NotFoundError(f"There is no model {source.name}, or it has no version.", "See: mlops model list")
    crowd = Counter(each.stage for each in found)
    ambiguous = [_ambiguous(found, stage) for stage in CHAMPION_STAGES if crowd[stage] > 1]
    moves = sorted(_moves(source, found, targets), key=lambda move: (move.to, move.champion, move.version))
    ambiguous += [text for text in _occupied(source, moves, targets) if text]
    return Migration(
        source=source.name,
        moves=tuple(moves),
        ambiguous=tuple(ambiguous),
        without_stage=tuple(each.version for each in found if each.stage not in STAGES),
        foreign=tuple(why for why in (_foreign(source, move.version) for move in moves) if why),
    )


def migrate(source: Target, targets: Mapping[Environment, Target]) -> Migration:
    """Carry out a migration; again it changes nothing.

    Raises:
        ConflictError: Something is ambiguous; nothing was changed.
    """
    planned = plan(source, targets)
    if planned.ambiguous:
        what = f"{source.name} cannot be migrated: {'; '.join(planned.ambiguous)}."
        fix = "Leave one version in each stage, and choose a --model-name that has no versions yet."
        raise ConflictError(what, fix)
    by_name = {target.name: target for target in targets.values()}
    entered = tuple(_enter(source, move, by_name[move.to]) for move in planned.moves)
    return planned.model_copy(update={"moves": entered, "done": True})


def undo(source: Target, targets: Mapping[Environment, Target], *, dry_run: bool = False) -> tuple[str, ...]:
    """Remove what a migration entered; tells which models it removed, or would remove.

    Raises:
        ConflictError: A model has been promoted, rolled back or registered to since; nothing was changed.
    """
    migrated = [target for target in targets.values() if _migrated_here(source, target)]
    for target in migrated:
        others = [v.version for v in store.versions(target) if not _is_from(source, v)]
        if others:
            what = f"{target.name} has changed since the migration: v{', v'.join(map(str, others))}."
            raise ConflictError(what, "It is not undone. Roll back instead: mlops rollback")
    for target in () if dry_run else migrated:
        story.forget(target)
        store.delete_model(target)
    return tuple(target.name for target in migrated)


def _moves(source: Target, found: list[Version], targets: Mapping[Environment, Target]) -> Iterator[Move]:
    for version in found:
        if version.stage in STAGES:
            yield Move(
                source=source.name,
                version=version.version,
                stage=version.stage,
                to=targets[STAGES[version.stage]].name,
                champion=version.stage in CHAMPION_STAGES,
            )


def _occupied(source: Target, moves: list[Move], targets: Mapping[Environment, Target]) -> Iterator[str]:
    """A model that holds versions from elsewhere already has its own story."""
    for target in targets.values():
        goes_there = any(move.to == target.name for move in moves)
        if goes_there and any(not _is_from(source, version) for version in store.versions(target)):
            yield f"{target.name} has versions of its own already"


def _ambiguous(found: list[Version], stage: str) -> str:
    numbers = ", ".join(f"v{each.version}" for each in found if each.stage == stage)
    return f"{numbers} are all in stage {stage}, and only one can be champion of {STAGES[stage]}"


def _enter(source: Target, move: Move, target: Target) -> Move:
    version = store.version(source, move.version)
    model = _reference(source, version)
    tags = {
        log.KEY: _key(move, target),
        log.ARTIFACT: model.artifact_sha256,
        log.REASON: f"{move.stage} of {move.source}",
        log.BY: log.author(),
        MIGRATED: f"models:/{move.source}/{move.version}",
        "stage": move.stage,
    }
    if move.champion:
        tags |= {log.KIND: "promotion", log.EXPECTED: log.NONE}
    number = registration.enter(target, model, tags, description=version.description)
    if move.champion:
        promotion.settle(target)
    return move.model_copy(update={"entered": number})


def _foreign(source: Target, number: int) -> str:
    with tempfile.TemporaryDirectory(prefix="mlops-model-") as temporary:
        folder = download(source.tracking_uri, f"models:/{source.name}/{number}", Path(temporary), source.registry_uri)
        try:
            reader_of(folder, f"v{number}")
        except IntegrityError as error:
            return str(error)
    return ""


def _reference(source: Target, version: Version) -> ModelRef:
    """The files of a version that was never digested: they are digested now."""
    uri = f"models:/{source.name}/{version.version}"
    with tempfile.TemporaryDirectory(prefix="mlops-model-") as temporary:
        folder = download(source.tracking_uri, uri, Path(temporary), source.registry_uri)
        digest = artifact_digest(folder)
    return ModelRef(
        tracking_uri=source.tracking_uri,
        registry_uri=source.registry_uri,
        uri=uri,
        run_id=version.run_id,
        artifact_sha256=digest,
        name=source.name,
        version=version.version,
    )


def _key(move: Move, target: Target) -> str:
    return hashlib.sha256(json.dumps([target.name, "migration", move.source, move.version]).encode()).hexdigest()


def _migrated_here(source: Target, target: Target) -> bool:
    return any(_is_from(source, version) for version in store.versions(target))


def _is_from(source: Target, version: Version) -> bool:
    return version.tags.get(MIGRATED, "").startswith(f"models:/{source.name}/")
