"""Look models up: what is registered, its history, and the one exact version behind a reference."""

from datetime import UTC, datetime
from typing import Any

from lifecycle import training
from lifecycle.errors import ConfigError, NotFoundError
from lifecycle.models.loading import ModelRef
from lifecycle.names import CHAMPION
from lifecycle.registry import log, promotion
from lifecycle.registry.log import Entry
from lifecycle.registry.promotion import Target
from lifecycle.settings import Frozen
from lifecycle.tracking import client, translated


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
    verdict_digest: str


def models(tracking_uri: str) -> list[dict[str, Any]]:
    """All registered models by name: their champion according to the log and according to the alias, and their size."""
    return [_model(Target(tracking_uri=tracking_uri, name=name)) for name in names(tracking_uri)]


def names(tracking_uri: str) -> list[str]:
    """The names of all registered models, sorted."""
    mlflow, found, token = client(tracking_uri), [], None
    with translated():
        while True:
            page = mlflow.search_registered_models(max_results=promotion.PAGE, page_token=token)
            found += page
            token = page.token
            if not token:
                return sorted(model.name for model in found)


def show(target: Target) -> dict[str, Any]:
    """Everything about a model: champion, aliases, and each version with tags, run and signature."""
    found = promotion.versions(target)
    if not found:
        raise NotFoundError(f"There is no model {target.name}.", "See: mlops model list")
    with translated():
        aliases = client(target.tracking_uri).get_registered_model(target.name).aliases
    details = [
        {
            "version": int(v.version),
            "status": v.status,
            "created_at": _when(v.creation_timestamp).isoformat(),
            "run_id": v.run_id,
            "source": v.source,
            "aliases": sorted(alias for alias, number in aliases.items() if int(number) == int(v.version)),
            "tags": dict(sorted(v.tags.items())),
        }
        for v in found
    ]
    return {**_model(target), "aliases": {k: int(v) for k, v in sorted(aliases.items())}, "details": details}


def history(target: Target) -> list[Line]:
    """The story of a model in order: every version, whether it became champion, who did it and why."""
    found = promotion.versions(target)
    if not found:
        raise NotFoundError(f"There is no model {target.name}.", "See: mlops model list")
    applied = {entry.number: entry for entry in promotion.read_log(target).applied}
    return [_line(v, applied.get(int(v.version))) for v in found]


def resolve(target: Target, *, alias: str | None, version: int | None, run_id: str | None) -> ModelRef:
    """Turn a reference into one exact version, once; `champion` is read from the log.

    Raises:
        ConfigError: More than one of alias, version and run was given.
        NotFoundError: There is no such model, alias, version or run.
        AliasMovedError: The champion alias was moved by hand.
    """
    if sum(reference is not None for reference in (alias, version, run_id)) > 1:
        raise ConfigError("--alias, --version and --run-id exclude each other.", "Give one of them.")
    if run_id is not None:
        return training.trained(target.tracking_uri, run_id)
    if version is not None:
        return promotion.reference(target, version)
    name = (alias or CHAMPION).lower()
    if name == CHAMPION:
        if found := promotion.champion(target):
            return found
        raise NotFoundError(
            f"{target.name} has no champion yet.", "Train and promote first: mlops train, mlops promote"
        )
    number = promotion.alias_version(target, name)
    if number is None:
        raise NotFoundError(f"{target.name} has no alias {name!r}.", "See: mlops model show")
    return promotion.reference(target, number)


def _model(target: Target) -> dict[str, Any]:
    now, alias = promotion.read_log(target), promotion.alias_version(target)
    return {
        "name": target.name,
        "champion": now.champion,
        "alias": alias,
        "settled": alias == now.champion and not now.unsettled,
        "versions": len(promotion.versions(target)),
    }


def _line(version: Any, entry: Entry | None) -> Line:
    tags = version.tags
    own = Entry.of(int(version.version), version.status, tags)
    candidate = own.expected is None
    return Line(
        version=own.number,
        at=_when(version.creation_timestamp),
        kind="candidate" if candidate else own.kind,
        outcome="candidate" if candidate else (log.APPLIED if entry else log.LOST),
        champion=entry.makes_champion if entry else None,
        expected=own.expected or None,
        by=tags.get(log.BY, ""),
        reason=tags.get(log.REASON, ""),
        run_id=version.run_id or "",
        verdict_digest=tags.get(log.VERDICT, ""),
    )


def _when(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
