"""Registry operations for children of a zygote, with what they saw; a child may be told to kill itself on the way."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lifecycle import doctor, settings
from lifecycle.core.errors import MlopsError
from lifecycle.core.names import Environment
from lifecycle.core.writer_process import OWNER
from lifecycle.models import loading
from lifecycle.registry import log, memory, missing, promotion, registration, removal, stages, store
from lifecycle.registry.promotion import Intent
from lifecycle.registry.store import Target
from lifecycle.settings import Settings
from lifecycle.tracking import runs as training_runs
from tests.faults.effects import watch

SPARE, RENAMED, LEGACY = "dev.ml.spare", "dev.ml.renamed", "sentiment"


def register(target: Target, models: dict[str, str]) -> None:
    registration.candidate(target, training_runs.trained(target.tracking_uri, models["new"]))


def promote(target: Target, models: dict[str, str]) -> None:
    model = training_runs.trained(target.tracking_uri, models["new"])
    promotion.promote(Intent(target=target, model=model, expected=3, head=3, reason="prepared"))


def rollback(target: Target, models: dict[str, str], to_version: int | None = None) -> None:  # noqa: ARG001
    stated = promotion.intend_rollback(target, to_version, "back")
    if isinstance(stated, Intent):
        promotion.promote(stated)


def rollback_to(target: Target, models: dict[str, str]) -> None:
    rollback(target, models, to_version=1)


def delete(target: Target, models: dict[str, str]) -> None:  # noqa: ARG001
    removal.delete_version(target, 2, reason="never used")


def retire_missing(target: Target, models: dict[str, str]) -> None:  # noqa: ARG001
    store.delete_version(target, 2)  # as a hand would, and nobody of ours
    missing.retire(target, 2, reason="tidied up in MLflow")


def cleanup(target: Target, models: dict[str, str]) -> None:  # noqa: ARG001
    removal.cleanup(target, 0, reason="spring")


def rename(target: Target, models: dict[str, str]) -> None:  # noqa: ARG001
    removal.rename(target.named(SPARE), RENAMED)


def migrate(target: Target, models: dict[str, str]) -> None:  # noqa: ARG001
    targets = {env: target.named(f"{env}.ml.sentiment") for env in (Environment.STAGING, Environment.PROD)}
    stages.migrate(target.named(LEGACY), targets)


OPERATIONS: dict[str, Callable[[Target, dict[str, str]], None]] = {
    each.__name__: each
    for each in (register, promote, rollback, rollback_to, delete, retire_missing, cleanup, rename, migrate)
}


def observed(config: Settings) -> dict[str, Any]:
    """All that an operation may change, as far as it does not depend on time or on which process did it."""
    uri, artifacts = config.mlflow_uri, config.state / "artifacts" / "models"
    models = {name: _model(Target(tracking_uri=uri, name=name)) for name in store.names(uri)}
    runs = {}
    mlflow = store.mlflow_of(Target(tracking_uri=uri, name=""))
    for run in mlflow.search_runs([each.experiment_id for each in mlflow.search_experiments()]):
        mark = run.data.tags.get(training_runs.COLLECTED, "")
        runs[run.info.run_id] = mark if mark in {"", training_runs.COLLECTING} else "collected"
    files = sorted(str(path.relative_to(artifacts)) for path in artifacts.rglob("*") if path.is_file())
    return {"models": models, "runs": runs, "files": files}


def _model(target: Target) -> dict[str, Any]:
    now, versions, found = promotion.read_log(target), store.versions(target), store.model(target)
    keys = Counter(version.tags[log.KEY] for version in versions if log.KEY in version.tags)
    return {
        "champion": now.champion,
        "line": now.line,
        "retired": sorted(now.retired),
        "aliases": found.aliases if found else {},
        "mark": memory.Memory.of(found.tags if found else {}).mark.model_dump(exclude={"made"}),
        "applied": [(e.number, e.kind, e.expected, e.makes_champion, e.outcome) for e in now.applied],
        "versions": {
            str(each.version): (each.status, each.source, each.run_id, each.stage, _without_owner(each.tags))
            for each in versions
        },
        "twice": [key for key, times in keys.items() if times > 1],
        "unusable": [f"v{number}: {why}" for number in now.line if (why := _unusable(target, number))],
    }


def _without_owner(tags: dict[str, str]) -> dict[str, str]:
    """Tags but for those that differ from one run to another; of the place of a version its number stays."""
    placed = {log.PLACE: tags[log.PLACE].partition(" ")[0]} if log.PLACE in tags else {}
    return {tag: value for tag, value in sorted({**tags, **placed}.items()) if tag not in {OWNER, log.REPORTED}}


def _unusable(target: Target, number: int) -> str:
    try:
        loading.verify(promotion.reference(target, number))
    except MlopsError as error:
        return str(error)
    return ""


def warm_up(home: str) -> None:
    """Let every child inherit compiled statements, but no connection: without this a kill costs twice the time."""
    config = settings.load("dev", home=Path(home))
    observed(config)
    doctor.examine([config], repair=False)
    mlflow = store.mlflow_of(Target(tracking_uri=config.mlflow_uri, name=""))
    for each in (mlflow._tracking_client, mlflow._get_registry_client()):
        each.store.engine.dispose()


def carry_out(order: dict[str, Any]) -> None:
    """Answer with what was there before (if asked), the side effects, what is there after, and what doctor says."""
    answer: dict[str, Any] = {"error": ""}
    config = settings.load("dev", home=Path(order["home"]))
    if order["look_before"]:
        answer["before"] = json.loads(json.dumps(observed(config)))
    store.names(config.mlflow_uri)  # what opening the database does is no effect of the operation
    effects, finished = watch(order["home"], order["kill_at"], order["opened"])
    target = Target(tracking_uri=config.mlflow_uri, name=config.registered_name("sentiment"))
    try:
        OPERATIONS[order["operation"]](target, order["models"])
    except MlopsError as error:
        answer["error"] = f"{type(error).__name__}: {error}"
    finished()
    answer["effects"] = effects.copy()
    answer["after"] = observed(config)
    found = doctor.examine([config], repair=False)
    answer["problems"] = [f"{each.what}: {each.message}" for each in found if each.state != "ok"]
    Path(order["answer"]).write_text(json.dumps(answer))
