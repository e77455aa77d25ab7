"""Every call of MLflow's client, and button of its UI, that writes to the registry or to what lies under it.

One row for each: what it does, what holds after it, and the way out that this project's message names.
"""

from collections.abc import Callable
from typing import NamedTuple

import mlflow
from mlflow import MlflowClient

from lifecycle.core.references import ModelRef
from lifecycle.registry import log, memory, store
from lifecycle.registry.store import Target
from tests.registry.conftest import State

Call = Callable[[State, Target], object]
STAYS = "v3 stays champion"


class Row(NamedTuple):
    """`champion` is who is champion right after it, None if every step says what happened (`told`) and stops.

    `ways` are the commands that lead out, with who is champion then.
    """

    call: str
    does: str
    do: Call
    holds: str
    champion: int | None = 3
    told: str = ""
    ways: tuple[tuple[str, int | None], ...] = ()


def client(target: Target) -> MlflowClient:
    return store.mlflow_of(target)


def by_hand(target: Target, model: ModelRef, **tags: str) -> str:
    """A version as `MlflowClient.create_model_version` makes it."""
    model_id = model.uri.removeprefix("models:/")
    made = client(target).create_model_version(target.name, model.uri, model.run_id, tags, model_id=model_id)
    return str(made.version)


def register_model(state: State, target: Target) -> None:
    tracking, registry = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    mlflow.set_tracking_uri(target.tracking_uri)
    mlflow.set_registry_uri(target.registry_uri or target.tracking_uri)
    try:
        mlflow.register_model(f"runs:/{state.bayes.run_id}/model", target.name)
    finally:
        mlflow.set_tracking_uri(tracking)
        mlflow.set_registry_uri(registry)


def copied(number: int) -> Call:
    return lambda _, target: client(target).copy_model_version(f"models:/{target.name}/{number}", target.name)


def copied_in(state: State, target: Target) -> None:
    """An entry of another model that was made over no champion: here it would count as soon as nobody is champion."""
    from tests.registry.conftest import promote

    other = target.named("staging.ml.sentiment")
    promote(other, state.weak)
    client(target).copy_model_version(f"models:/{other.name}/1", target.name)


def copied_and_crowned(state: State, target: Target) -> None:
    copied_in(state, target)
    client(target).set_registered_model_alias(target.name, "champion", "4")


def unscorable(state: State, target: Target) -> None:
    made = by_hand(target, state.bayes)
    client(target).set_registered_model_alias(target.name, "champion", made)


def recreated(state: State, target: Target) -> None:
    client(target).delete_registered_model(target.name)
    client(target).create_registered_model(target.name)
    by_hand(target, state.weak)


def archived(_: State, target: Target) -> None:
    client(target).transition_model_version_stage(target.name, "1", "Production", archive_existing_versions=True)


def retagged(tag: str, value: str | None, number: int = 3) -> Call:
    def run(_: State, target: Target) -> None:
        if value is None:
            client(target).delete_model_version_tag(target.name, str(number), tag)
        else:
            client(target).set_model_version_tag(target.name, str(number), tag, value)

    return run


def forgotten(_: State, target: Target) -> None:
    client(target).delete_registered_model_tag(target.name, memory.MARK)


def forgotten_and_deleted(state: State, target: Target) -> None:
    forgotten(state, target)
    client(target).delete_model_version(target.name, "3")


def scribbled(_: State, target: Target) -> None:
    client(target).set_registered_model_tag(target.name, memory.MARK, "none of your business")


def deleted(*numbers: int) -> Call:
    def run(_: State, target: Target) -> None:
        for number in numbers:
            client(target).delete_model_version(target.name, str(number))

    return run


def alias(name: str, number: int | None) -> Call:
    def run(_: State, target: Target) -> None:
        if number is None:
            client(target).delete_registered_model_alias(target.name, name)
        else:
            client(target).set_registered_model_alias(target.name, name, str(number))

    return run


REPAIR, GONE = "mlops doctor --repair", "mlops model retire-missing"
ROWS = [
    Row(
        "create_registered_model",
        "another model",
        lambda _, target: client(target).create_registered_model("fraud-detector", {"team": "risk"}),
        f"{STAYS}; no command touches the other one",
    ),
    Row(
        "create_model_version",
        "a version of it",
        lambda state, target: by_hand(target, state.bayes, team="risk"),
        f"{STAYS}; a candidate without digest, which nothing loads",
        ways=(("mlops model register", 3),),
    ),
    Row(
        "register_model",
        "a version of it",
        register_model,
        f"{STAYS}; a candidate without digest, which nothing loads",
        ways=(("mlops model register", 3),),
    ),
    Row("copy_model_version", "of itself, a former champion", copied(1), f"{STAYS}; the copy is a candidate"),
    Row("copy_model_version", "of itself, the champion", copied(3), f"{STAYS}; the copy is a candidate"),
    Row(
        "copy_model_version",
        "of a champion of another model (*Promote model*)",
        copied_in,
        f"{STAYS}; the copy is a candidate, its origin is told",
    ),
    Row(
        "copy_model_version",
        "of another model, and `champion` set to it",
        copied_and_crowned,
        "told: moved by hand",
        None,
        "was moved by hand to v4",
        ((REPAIR, 3), ("mlops model adopt", 4)),
    ),
    Row(
        "update_registered_model",
        "a description",
        lambda _, target: client(target).update_registered_model(target.name, "tone"),
        STAYS,
    ),
    Row(
        "update_model_version",
        "a description",
        lambda _, target: client(target).update_model_version(target.name, "3", "the best"),
        STAYS,
    ),
    Row("transition_model_version_stage", "another one to Production", archived, STAYS),
    Row("set_model_version_tag", "a tag of one's own", retagged("team", "risk"), STAYS),
    Row(
        "set_model_version_tag",
        "an entry's champion, to one that it was not judged against",
        retagged(log.EXPECTED, "1"),
        "told: tags were changed",
        None,
        "v3 was champion, but the entries lead to v2",
        (("mlops model adopt", 3),),
    ),
    Row(
        "set_model_version_tag",
        "an entry's champion, to nonsense",
        retagged(log.EXPECTED, "the best"),
        "told: unreadable tags of v3",
        None,
        "Version 3 has unreadable promotion tags",
    ),
    Row(
        "set_model_version_tag",
        "the digest of the files",
        retagged(log.ARTIFACT, "0" * 64),
        f"{STAYS}; it is not loaded, the files are not those of the digest",
    ),
    Row(
        "delete_model_version_tag",
        "what makes it an entry",
        retagged(log.EXPECTED, None),
        "told: tags were changed",
        None,
        "v3 was champion, but the entries lead to v2",
        (("mlops model adopt", 3),),
    ),
    Row(
        "delete_model_version_tag",
        "the place of an entry",
        retagged(log.PLACE, None),
        "told: tags were changed",
        None,
        "v3 was champion, but the entries lead to v2",
        (("mlops model adopt", 3),),
    ),
    Row("delete_model_version_tag", "the outcome of an entry", retagged(log.OUTCOME, None), STAYS),
    Row(
        "set_registered_model_tag",
        "what the model remembers",
        scribbled,
        "told: unreadable tags of the model",
        None,
        "tags promotion.mark, .* are unreadable",
    ),
    Row("delete_registered_model_tag", "what the model remembers", forgotten, f"{STAYS}; it is remembered anew"),
    Row(
        "delete_registered_model_tag",
        "what the model remembers, and its last champion deleted",
        forgotten_and_deleted,
        "told: missing, the last champion",
        None,
        "v3 is missing, it is the last champion",
        ((GONE, 2),),
    ),
    Row(
        "set_registered_model_alias",
        "`champion` to another version",
        alias("champion", 1),
        "told: moved by hand",
        None,
        "was moved by hand to v1",
        ((REPAIR, 3), ("mlops model adopt", 1)),
    ),
    Row(
        "set_registered_model_alias",
        "`champion` to a version that nothing can score",
        unscorable,
        "told: moved by hand; it is not adopted",
        None,
        "was moved by hand to v4",
        ((REPAIR, 3),),
    ),
    Row("set_registered_model_alias", "another alias", alias("shadow", 1), STAYS),
    Row("set_registered_model_alias", "`Champion`, in capitals", alias("Champion", 1), STAYS),
    Row(
        "delete_registered_model_alias",
        "`champion`",
        alias("champion", None),
        "told: removed by hand",
        None,
        "was removed by hand",
        ((REPAIR, 3),),
    ),
    Row(
        "delete_model_version",
        "the champion",
        deleted(3),
        "told: missing, the last champion",
        None,
        "v3 is missing, it is the last champion",
        ((GONE, 2),),
    ),
    Row(
        "delete_model_version",
        "a former champion",
        deleted(1),
        "told: missing, a former champion",
        None,
        "v1 is missing, it was champion until v2",
        ((GONE, 3),),
    ),
    Row(
        "delete_model_version",
        "all of them",
        deleted(1, 2, 3),
        "told: missing, the last champion among them",
        None,
        "v3 is missing, it is the last champion",
        ((GONE, None),),
    ),
    Row(
        "delete_registered_model",
        "the model",
        lambda _, target: client(target).delete_registered_model(target.name),
        "told: its runs know its champion",
        None,
        r"was deleted or renamed past this command; v3 \(run",
        ((GONE, None),),
    ),
    Row(
        "delete_registered_model",
        "the model, and another made of the same name",
        recreated,
        "told: its runs know its champion",
        None,
        r"was deleted or renamed past this command; v3 \(run",
        ((GONE, None),),
    ),
    Row(
        "rename_registered_model",
        "the model",
        lambda _, target: client(target).rename_registered_model(target.name, "dev.ml.tone"),
        "told under the old name; under the new one the log is whole",
        None,
        r"was deleted or renamed past this command; v3 \(run",
        ((GONE, None),),
    ),
    Row(
        "delete_run",
        "the run of the champion",
        lambda state, target: client(target).delete_run(state.regression.run_id),
        f"{STAYS}; `mlops doctor --repair` restores the run",
        ways=((REPAIR, 3),),
    ),
    Row(
        "delete_logged_model",
        "the files' model of the champion",
        lambda state, target: client(target).delete_logged_model(state.regression.uri.removeprefix("models:/")),
        f"{STAYS}; `mlops doctor` warns of `mlflow gc`",
    ),
]
