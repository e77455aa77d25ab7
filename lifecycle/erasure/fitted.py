"""The models that were fitted on erased rows: their parameters may hold the words, and nothing takes them out.

They are named, with what replaces or retires them. Which these are, the keys tell that each run keeps of its rows; the
erasure takes its own keys out of them, so the run gets a tag instead.
"""

import logging
from collections.abc import Collection, Iterator, Sequence

from lifecycle.core.names import Environment
from lifecycle.erasure.journal import Fitted, Left
from lifecycle.registry import promotion, store
from lifecycle.registry.store import Target, Version
from lifecycle.settings import Settings
from lifecycle.tracking import runs as training_runs
from lifecycle.tracking.client import client, database_path, delete_files

logger = logging.getLogger(__name__)

TAG = "mlops.erased"
"""A run whose model was fitted on erased rows has it; its value is the name of the erasure."""


def mark(tracking_uri: str, run_id: str, erasure: str) -> None:
    """Let a run say that its model was fitted on rows which were erased since."""
    with store.missing_is_none():
        client(tracking_uri).set_tag(run_id, TAG, erasure)


def drop(tracking_uri: str, run_id: str) -> None:
    """Remove the files of a model that was never registered: nobody reads it, and no other way removes it."""
    if uri := training_runs.withdraw(tracking_uri, run_id):
        if run_id in {version.run_id for _, version in _registered(tracking_uri, "")}:
            training_runs.reinstate(tracking_uri, run_id)
            return
        delete_files(tracking_uri, uri)
        training_runs.mark_collected(tracking_uri, run_id)
        logger.info("Removed the model of run %s, which was fitted on the rows and never registered", run_id)


def versions(environments: Sequence[Settings], runs: Sequence[str]) -> Iterator[Fitted]:
    """The versions of models that these runs made, and the runs whose model was never registered."""
    registered = set[str]()
    for target, version in _known(environments) if runs else ():
        if version.run_id in runs:
            registered.add(version.run_id)
            yield _fitted(environments, target, version)
    for run_id in sorted(set(runs) - registered):
        yield Fitted(run_id=run_id, model="", command="none: it was never registered, and its files go")


def unsaid(environments: Sequence[Settings], said: Collection[str]) -> Iterator[Left]:
    """The versions of models from elsewhere of which nobody said what they were fitted on: it may have been the rows.

    Args:
        environments: Whose models.
        said: The runs that keep the keys of what their model was fitted on.
    """
    for target, version in _known(environments):
        if version.run_id not in said:
            command = _fitted(environments, target, version).command
            why = f"nobody said which rows it was trained on (--trained-on): if it was on these, {command}"
            yield Left(what=f"{target.name} v{version.version}", why=why)


def _known(environments: Sequence[Settings]) -> Iterator[tuple[Target, Version]]:
    """Every version of every model in the registries of some environments."""
    registries = {(config.mlflow_uri, config.registry_uri or "") for config in environments}
    for tracking_uri, registry_uri in sorted(registries):
        path = database_path(tracking_uri)
        if path and path.exists():
            yield from _registered(tracking_uri, registry_uri)


def _registered(tracking_uri: str, registry_uri: str) -> Iterator[tuple[Target, Version]]:
    """Every version of every model of a registry, whatever its environment."""
    for name in store.names(tracking_uri, registry_uri):
        target = Target(tracking_uri=tracking_uri, registry_uri=registry_uri, name=name)
        yield from ((target, version) for version in store.versions(target))


def _fitted(environments: Sequence[Settings], target: Target, version: Version) -> Fitted:
    config = next((each for each in environments if target.name.startswith(each.registered_name(""))), None)
    champion = version.version == promotion.read_log(target).champion
    known = {"run_id": version.run_id, "model": target.name, "version": version.version, "champion": champion}
    if config is None:
        return Fitted(**known, command="retire it in its environment")
    named = f"--model-name {target.name.removeprefix(config.registered_name(''))}"
    command = f"mlops model cleanup {named} --env {config.env} --keep 0"
    if champion:
        command = f"{_replacement(config, version, named)}, then {command}"
    return Fitted(**known, env=config.env, command=command)


def _replacement(config: Settings, version: Version, named: str) -> str:
    """What makes another model champion: a training on the rows that stay, or a promotion of one."""
    order = list(Environment)
    place = order.index(config.env)
    if place:
        return f"mlops promote {named} --from {order[place - 1]} --to {config.env}"
    tags = training_runs.tags(config.mlflow_uri, version.run_id)
    name, data_version = (tags.get(f"mlops.{key}", key.upper()) for key in ("data_name", "data_version"))
    return f"mlops train --data-name {name} --data-version {data_version} {named} --env {config.env}"
