"""The models that were fitted on erased rows: their parameters may hold the words, and nothing takes them out.

They are named, with what replaces or retires them. Which these are, the keys tell that each run keeps of its rows; the
erasure takes its own keys out of them, so the run gets a tag instead.
"""

from collections.abc import Iterator, Sequence

from lifecycle.erasure.journal import Fitted
from lifecycle.names import Environment
from lifecycle.registry import promotion, store
from lifecycle.registry.store import Target, Version
from lifecycle.settings import Settings
from lifecycle.tracking import client, database_path, translated

TAG = "mlops.erased"
"""A run whose model was fitted on erased rows has it; its value is the name of the erasure."""


def mark(tracking_uri: str, run_id: str, erasure: str) -> None:
    """Let a run say that its model was fitted on rows which were erased since."""
    with store.missing_is_none():
        client(tracking_uri).set_tag(run_id, TAG, erasure)


def versions(environments: Sequence[Settings], runs: Sequence[str]) -> Iterator[Fitted]:
    """The versions of models that these runs made, and the runs whose model was never registered."""
    registered = set[str]()
    for config in environments:
        path = database_path(config.mlflow_uri)
        if runs and path and path.exists():
            for model_name, target in _models(config):
                champion = promotion.read_log(target).champion
                for version in store.versions(target):
                    if version.run_id in runs:
                        registered.add(version.run_id)
                        yield _fitted(config, model_name, target, version, champion=version.version == champion)
    for run_id in sorted(set(runs) - registered):
        yield Fitted(
            run_id=run_id, model="", command=f"mlflow runs delete --run-id {run_id}, then mlflow gc --run-ids {run_id}"
        )


def _models(config: Settings) -> Iterator[tuple[str, Target]]:
    """The registered models of an environment, by their short names."""
    own = config.registered_name("")
    for name in store.names(config.mlflow_uri, config.registry_uri or ""):
        if name.startswith(own):
            target = Target(tracking_uri=config.mlflow_uri, registry_uri=config.registry_uri or "", name=name)
            yield name.removeprefix(own), target


def _fitted(config: Settings, model_name: str, target: Target, version: Version, *, champion: bool) -> Fitted:
    named = f"--model-name {model_name}"
    command = f"mlops model cleanup {named} --env {config.env} --keep 0"
    if champion:
        command = f"{_replacement(config, version, named)}, then {command}"
    return Fitted(
        run_id=version.run_id,
        model=target.name,
        version=version.version,
        env=config.env,
        champion=champion,
        command=command,
    )


def _replacement(config: Settings, version: Version, named: str) -> str:
    """What makes another model champion: a training on the rows that stay, or a promotion of one."""
    order = list(Environment)
    place = order.index(config.env)
    if place:
        return f"mlops promote {named} --from {order[place - 1]} --to {config.env}"
    with translated():
        tags = client(config.mlflow_uri).get_run(version.run_id).data.tags
    name, data_version = (tags.get(f"mlops.{key}", key.upper()) for key in ("data_name", "data_version"))
    return f"mlops train --data-name {name} --data-version {data_version} {named} --env {config.env}"
