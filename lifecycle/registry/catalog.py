"""Look models up: what is registered, its lineage and its history, and the one exact version behind a reference."""

import os
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import Field

from lifecycle.core.errors import ConfigError, IntegrityError, NotFoundError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import CHAMPION
from lifecycle.core.references import ModelRef
from lifecycle.databricks import credentials
from lifecycle.models.mlmodel import as_mlflow
from lifecycle.problems.findings import Interval
from lifecycle.registry import aliases, binding, labels, log, memory, promotion, stages, store, story
from lifecycle.registry.log import Entry, Log
from lifecycle.registry.store import Target, Version
from lifecycle.tracking import runs
from lifecycle.tracking.artifacts import download
from lifecycle.tracking.client import client, is_missing, translated


class Line(Frozen):
    """One line of a model's history: an entry of the log, or a version that changed nothing."""

    version: int
    at: datetime
    kind: str
    outcome: str
    champion: int | None
    expected: int | None
    by: str
    reason: str
    run_id: str
    run_link: str
    verdict_digest: str
    gate: str
    approved_by: str
    approval: str
    deleted: bool
    missing: bool = False
    """Deleted past this project, and nobody has recorded it."""


class ModelFacts(Frozen):
    """A registered model: its champion according to the log and according to the alias, and its size."""

    name: str
    description: str
    tags: dict[str, str]
    aliases: dict[str, int]
    champion: int | None
    alias: int | None
    settled: bool
    versions: int
    latest: int | None
    link: str
    metrics: dict[str, Interval] = Field({})
    """Of its champion; empty where nobody asked for them."""


class VersionFacts(Frozen):
    """A version with its lineage: from the files over the run to the data and the code."""

    name: str
    version: int
    status: str
    stage: str
    created_at: datetime
    aliases: tuple[str, ...]
    tags: dict[str, str]
    description: str
    source: str
    run_id: str
    run_link: str
    link: str
    artifact_sha256: str
    dataset: str
    dataset_digest: str
    git_commit: str
    verdict_digest: str
    metrics: dict[str, Interval] = Field({})
    """What it reached in the verdict that promoted it, the deciding metric first; empty where nobody asked for them."""
    judged_on: str = ""


class ModelPage(ModelFacts):
    """A registered model with all its versions."""

    details: tuple[VersionFacts, ...]


def models(tracking_uri: str, registry_uri: str = "") -> list[ModelFacts]:
    """All registered models, sorted by name."""
    return [
        summary(Target(tracking_uri=tracking_uri, registry_uri=registry_uri, name=name))
        for name in store.names(tracking_uri, registry_uri)
    ]


def show(target: Target) -> ModelPage:
    """Everything about a model; its versions in order of their numbers.

    Raises:
        NotFoundError: There is no such model.
    """
    facts = summary(target)
    details = tuple(_facts(target, each, facts.aliases) for each in binding.versions(target))
    return ModelPage(**facts.model_dump(), details=details)


def show_version(target: Target, number: int) -> VersionFacts:
    """Everything about one version."""
    found = store.model(target)
    return _facts(target, binding.version(target, number), found.aliases if found else {})


def latest(target: Target) -> Version:
    """The version with the highest number.

    Raises:
        NotFoundError: There is no such model, or it has no version.
    """
    found = binding.versions(target)
    if not found:
        raise _no_model(target)
    return found[-1]


def signature(ref: ModelRef) -> dict[str, Any]:
    """The columns that a model takes and answers, as it declares them; empty if it declares none.

    Raises:
        IntegrityError: Its description is not there, or cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="mlops-model-") as temporary:
        folder = download(ref.tracking_uri, ref.uri, Path(temporary), ref.registry_uri)
        found = as_mlflow(folder, ref.label).signature
    return {} if found is None else dict(found.to_dict())


def search(
    tracking_uri: str,
    registry_uri: str = "",
    *,
    name: str = "*",
    tag: str | None = None,
    run_id: str | None = None,
    dataset: str | None = None,
) -> list[VersionFacts]:
    """The versions that satisfy every condition given, sorted by name and number.

    `name` is a shell pattern over the full name, `tag` is `key` or `key=value` of the version or its model, `dataset`
    a name, `name version`, or the beginning of a digest of eight characters or more. Filtered here, so that every
    registry finds the same.
    """
    found: list[VersionFacts] = []
    for each in store.names(tracking_uri, registry_uri):
        if not fnmatchcase(each, name):
            continue
        target = Target(tracking_uri=tracking_uri, registry_uri=registry_uri, name=each)
        model = store.model(target)
        for version in binding.versions(target):
            tags = {**(model.tags if model else {}), **version.tags}
            if not _has_tag(tags, tag) or (run_id and version.run_id != run_id):
                continue
            facts = _facts(target, version, model.aliases if model else {})
            if dataset is None or _is_of(facts, dataset):
                found.append(facts)
    return found


def history(target: Target) -> list[Line]:
    """The story of a model in order: every version, whether it became champion, who did it and why.

    Deleted versions are told as well, from what the log kept of them, and missing ones from what the others say.
    """
    return _lines(target, story.read(target))


def champion_at(target: Target, at: datetime) -> Line | None:
    """The entry that made the champion of a moment, or None if there was none then; a time without zone is UTC."""
    moment = at if at.tzinfo else at.replace(tzinfo=UTC)
    reading = story.read(target)
    changes = {entry.number for entry in reading.log.changes}
    made = [line for line in _lines(target, reading) if line.version in changes and line.at <= moment]
    if not made or made[-1].champion is None:
        return None
    lost = made[-1].version <= reading.anew.after and _when(reading.anew.at) <= moment
    return None if lost else made[-1]


def resolve(
    target: Target,
    *,
    alias: str | None = None,
    version: int | None = None,
    run_id: str | None = None,
    stage: str | None = None,
) -> ModelRef:
    """Turn a reference into one exact version, once; `champion` (the default) is read from the log.

    Raises:
        ConfigError: More than one reference was given.
        NotFoundError: There is no such model, alias, version, stage or run.
        AliasMovedError: The champion alias was moved by hand.
    """
    if sum(reference is not None for reference in (alias, version, run_id, stage)) > 1:
        raise ConfigError("--alias, --version, --run-id and --stage exclude each other.", "Give one of them.")
    if run_id is not None:
        found = runs.trained(target.tracking_uri, run_id)
        return found.model_copy(update=target.trust)
    if stage is not None:
        return promotion.reference(target, stages.version_in(target, stage))
    if version is not None:
        return promotion.reference(target, version)
    name = (alias or CHAMPION).lower()
    if name != CHAMPION:
        return promotion.reference(target, aliases.get(target, name))
    if champion := promotion.champion(target):
        return champion
    raise NotFoundError(f"{target.name} has no champion yet.", "Train and promote first: mlops train, mlops promote")


def run_link(tracking_uri: str, run_id: str, ui: str | None = None) -> str:
    """The page of a run in MLflow's or Databricks' UI; empty where no server shows one.

    `ui` is the address of a server that shows an embedded database.
    """
    server = tracking_uri if tracking_uri.startswith("http") else ui
    if not run_id or not (server or credentials.is_databricks(tracking_uri)):
        return ""
    from mlflow.exceptions import MlflowException

    try:
        with translated():
            experiment = client(tracking_uri).get_run(run_id).info.experiment_id
    except MlflowException as error:
        if not is_missing(error):
            raise
        return ""
    if server:
        return f"{server.rstrip('/')}/#/experiments/{experiment}/runs/{run_id}"
    return _on_databricks(f"ml/experiments/{experiment}/runs/{run_id}")


def _model_link(target: Target, number: int | None = None) -> str:
    uri = target.registry_uri or target.tracking_uri
    if credentials.is_databricks(uri):
        page = f"explore/data/models/{target.name.replace('.', '/')}"
        return _on_databricks(f"{page}/version/{number}" if number else page)
    if not uri.startswith("http"):
        return ""
    page = f"{uri.rstrip('/')}/#/models/{target.name}"
    return f"{page}/versions/{number}" if number else page


def _on_databricks(page: str) -> str:
    host = os.environ.get("DATABRICKS_HOST", "").rstrip("/")
    return f"{host}/{page}" if host else ""


def summary(target: Target) -> ModelFacts:
    """A registered model without its versions.

    Raises:
        NotFoundError: There is no such model.
    """
    found = store.model(target)
    if found is None:
        raise _no_model(target)
    versions = store.versions(target)
    alias, now = found.aliases.get(CHAMPION), Log()
    with suppress(IntegrityError):  # the others are to be listed whatever somebody did to the tags of one
        own = memory.own(found)
        now = story.fold(binding.own(own, versions), own.tags)
    return ModelFacts(
        name=target.name,
        description=found.description,
        tags=dict(sorted(found.tags.items())),
        aliases=found.aliases,
        champion=now.champion,
        alias=alias,
        settled=alias == now.champion and not now.unsettled and not now.missing,
        versions=len(versions),
        latest=versions[-1].version if versions else None,
        link=_model_link(target),
    )


def _facts(target: Target, version: Version, known: dict[str, int]) -> VersionFacts:
    tags, run = version.tags, _run_tags(target, version.run_id)
    data = f"{run.get('mlops.data_name', '')} {run.get('mlops.data_version', '')}".strip()
    return VersionFacts(
        name=target.name,
        version=version.version,
        status=version.status,
        stage="" if version.stage in {"", "None"} else version.stage,
        created_at=_when(version.created_at),
        aliases=tuple(sorted(alias for alias, number in known.items() if number == version.version)),
        tags=dict(sorted(tags.items())),
        description=labels.words(version.description),
        source=tags.get(log.SOURCE) or version.source,
        run_id=version.run_id,
        run_link=run_link(target.tracking_uri, version.run_id),
        link=_model_link(target, version.version),
        artifact_sha256=tags.get(log.ARTIFACT, ""),
        dataset=data,
        dataset_digest=tags.get(log.DATASET) or run.get("mlops.dataset_digest", ""),
        git_commit=run.get("mlflow.source.git.commit", ""),
        verdict_digest=tags.get(log.VERDICT, ""),
    )


def _run_tags(target: Target, run_id: str) -> dict[str, str]:
    """The tags of a version's run; empty where the run is not there, for example on another server."""
    return runs.tags_if_there(target.tracking_uri, run_id) if run_id else {}


def _has_tag(tags: dict[str, str], wanted: str | None) -> bool:
    if wanted is None:
        return True
    key, equals, value = wanted.partition("=")
    return key in tags and (not equals or tags[key] == value)


def _is_of(facts: VersionFacts, dataset: str) -> bool:
    by_digest = len(dataset) >= 8 and facts.dataset_digest.startswith(dataset)
    return by_digest or dataset in {facts.dataset, facts.dataset.partition(" ")[0]}


def _lines(target: Target, reading: story.Reading) -> list[Line]:
    if reading.log.vanished:
        story.refuse_if_missing(target, reading.log)
    if not reading.versions:
        raise _no_model(target)
    return [_line(target, each, reading.log) for each in reading.versions]


def _line(target: Target, version: Version, now: Log) -> Line:
    tags = version.tags
    entry = next((each for each in now.applied if each.number == version.version), None)
    missing = version.version in now.missing
    own = Entry.of(version.version, version.status, tags)
    candidate = own.expected is None
    made = entry if entry and entry.changes_champion else None
    return Line(
        version=own.number,
        at=_when(version.created_at),
        kind="candidate" if candidate else own.kind,
        outcome="candidate" if candidate else (log.APPLIED if entry else log.LOST),
        champion=(made.makes_champion or None) if made else None,
        expected=own.expected or None,
        by=tags.get(log.BY, ""),
        reason=_reason(version, now),
        run_id=version.run_id,
        run_link=run_link(target.tracking_uri, version.run_id),
        verdict_digest=tags.get(log.VERDICT, ""),
        gate=tags.get(log.GATE, ""),
        approved_by=tags.get(log.APPROVED_BY, ""),
        approval=tags.get(log.APPROVAL, ""),
        deleted=version.deleted,
        missing=missing,
    )


def _reason(version: Version, now: Log) -> str:
    if version.version in now.missing:
        return f"deleted past mlops: {story.what_was(now, version.version)}"
    return version.tags.get(log.REASON, "")


def _no_model(target: Target) -> NotFoundError:
    return NotFoundError(f"There is no model {target.name}, or it has no version.", "See: mlops model list")


def _when(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
