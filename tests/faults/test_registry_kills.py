"""SIGKILL at every side effect of what changes the registry: old or new, never between, and the rerun completes it."""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lifecycle import settings
from lifecycle.registry import promotion, registration, store
from lifecycle.registry.store import Target
from tests.conftest import some, train_model
from tests.faults.registry_orders import LEGACY, OPERATIONS, SPARE, carry_out, warm_up
from tests.zygote import zygote

pytestmark = pytest.mark.timeout(1800)  # what one kill costs depends on the machine

KILLS = int(os.environ.get("TEST_KILLS", "1"))
"""So many kills of each operation are tried, and the last one; every one if TEST_KILLS is set at all."""
SEED = int(os.environ.get("TEST_SEED", random.randrange(10**6)))
FIRST = "register", "promote", "rollback", "delete", "migrate"
"""The others do what these do: they enter a version, move an alias, mark or remove."""
ONCE = {"rename"}
"""What cannot be told from a second order of the same kind once it is complete."""


class Template(NamedTuple):
    """A state directory that is copied to `home`, the one place where its absolute paths are right."""

    folder: Path
    home: Path
    models: dict[str, str]


class Point(NamedTuple):
    """Where to kill: before an effect, or after it, where that has made an empty file."""

    number: int
    what: str
    opened: bool = False


Order = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def template(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Champion v3 after v1 with a candidate between, a model without champion, one with stages, a model to register."""
    parent = tmp_path_factory.mktemp("registry")
    home = parent / "state"
    shutil.copytree(prepared, home)
    config = settings.load("dev", home=home)
    first, second, third, new = (train_model(config, "naive_bayes", alpha=alpha) for alpha in (0.1, 0.2, 0.5, 1.0))
    target = Target(tracking_uri=config.mlflow_uri, name=config.registered_name("sentiment"))
    promotion.promote(promotion.intend(target, first, None, reason="first"))
    registration.candidate(target, second)
    promotion.promote(promotion.intend(target, third, promotion.champion(target), reason="better"))
    registration.candidate(target.named(SPARE), new)
    legacy = target.named(LEGACY)
    store.create_model(legacy)
    for model, stage in ((third, "Production"), (new, "Staging"), (new, "Archived")):
        number = store.create_version(legacy, model.uri, model.run_id, {})
        store.mlflow_of(legacy).transition_model_version_stage(legacy.name, str(number), stage)
    shutil.rmtree(home / "data")
    return Template(home.rename(parent / "template"), home, {"new": new.run_id})


@pytest.fixture(scope="module")
def order(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Order]:
    """Carry out an operation on `home` in a fresh child; it answers with what it saw, or {} if it was killed."""
    answer = tmp_path_factory.mktemp("orders") / "answer"
    stores = (f"mlflow.store.{each}.sqlalchemy_store" for each in ("tracking", "model_registry"))
    with zygote("mlflow.artifacts", *stores) as process:

        def send(operation: str, *, kill_at: Point | None = None, look_before: bool = False) -> dict[str, Any]:
            what = {
                "operation": operation,
                "home": str(template.home),
                "models": template.models,
                "kill_at": kill_at.number if kill_at else None,
                "opened": kill_at.opened if kill_at else False,
                "look_before": look_before,
                "answer": str(answer),
            }
            answer.write_text("{}")
            assert process.run(carry_out, what) == (-9 if kill_at else 0)
            found: dict[str, Any] = json.loads(answer.read_text())
            return found

        fresh(template)
        assert process.run(warm_up, str(template.home), here=True) == 0
        yield send


def fresh(template: Template) -> None:
    shutil.rmtree(template.home, ignore_errors=True)
    shutil.copytree(template.folder, template.home)


def points(effects: list[str]) -> list[Point]:
    """Before each effect, the end of the operation included, and after each that makes an empty file."""
    *every, end = [Point(number, what) for number, what in enumerate(effects, 1)]
    every += [Point(number, what, opened=True) for number, what, _ in every if what.startswith("open ")]
    if "TEST_KILLS" not in os.environ:
        every = sorted(random.Random(SEED).sample(every, min(KILLS, len(every))))
    return [*every, end]  # all is done by then, and nobody has been told


@pytest.mark.parametrize("operation", some(*FIRST, *sorted(OPERATIONS.keys() - FIRST), always=len(FIRST)))
def test_killed_anywhere_the_champion_is_the_old_or_the_new_one_and_the_rerun_ends_where_an_undisturbed_run_ends(
    template: Template, order: Order, operation: str
) -> None:
    fresh(template)
    undisturbed = order(operation, look_before=True)
    old, new = undisturbed["before"], undisturbed["after"]
    assert (undisturbed["error"], undisturbed["problems"]) == ("", [])
    assert old != new
    check_consistent(new, old, new, operation)
    for point in points(undisturbed["effects"]):
        where = f"seed {SEED}, {operation}, {point} of {len(undisturbed['effects'])}"
        fresh(template)
        order(operation, kill_at=point)
        rerun = order(operation, look_before=True)
        check_consistent(rerun["before"], old, new, where)
        if point.what == "end":
            assert rerun["before"] == new, where
        if point.what == "end" and operation in ONCE:
            continue
        assert rerun["error"] == "", where
        assert rerun["after"] == new, where
        assert rerun["problems"] == [], where


def check_consistent(found: dict[str, Any], old: dict[str, Any], new: dict[str, Any], where: str) -> None:
    """What a kill may leave: each model's champion before or after, usable, as are those a rollback leads to."""
    for name, model in found["models"].items():
        possible = [state["models"][name] for state in (old, new) if name in state["models"]]
        empty = [] if name in old["models"] else [{"champion": None, "versions": {}}]
        assert model["champion"] in [each["champion"] for each in (*possible, *empty)], where
        assert model["aliases"].get("champion") in [
            None if each in empty else each["aliases"].get("champion") for each in (*possible, *empty)
        ], where
        assert model["unusable"] == [], where
        assert model["twice"] == [], where
        known = set().union(*(each["versions"] for each in possible))
        assert set(model["versions"]) <= known, where
