"""Real processes that change the champion at the same moment: one wins, the others are told, the alias is the log's.

`TEST_ROUNDS` sets how often (default 6; the rarer mixtures a quarter of that, and promotions in a row half of it, at
most 50).

Promise: Of racing promoters exactly one wins, also should the limit be lost by which they wait for each other (also
`tests/flows/test_limits.py`).
"""

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lifecycle.core.errors import LostRaceError, MlopsError
from lifecycle.core.references import ModelRef
from lifecycle.registry import log, promotion, registration, removal, store
from lifecycle.registry.promotion import Intent
from lifecycle.registry.store import Target
from tests.conftest import exhaustive

ROUNDS = int(os.environ.get("TEST_ROUNDS", "6"))
SOME = max(1, ROUNDS // 4)
EACH = min(50, max(1, ROUNDS // 2))
PATIENCE = 60 + 10 * ROUNDS

Race = Callable[..., list[Any]]

pytestmark = pytest.mark.timeout(2 * PATIENCE)

processes = get_context("forkserver")
processes.set_forkserver_preload(
    [
        "mlflow.store.tracking.sqlalchemy_store",
        "mlflow.store.model_registry.sqlalchemy_store",
        "tests.registry.test_races",
    ]
)
here = SimpleNamespace(barrier=None)


def take_place(barrier: Any) -> None:
    here.barrier = barrier


@pytest.fixture(scope="module")
def race() -> Iterator[Race]:
    """A function that runs another one in some processes at once and returns their answers."""
    pools: dict[int, Any] = {}
    with ExitStack() as stack:

        def run(count: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
            if count not in pools:
                barrier = processes.Barrier(count, timeout=PATIENCE)
                pools[count] = stack.enter_context(processes.Pool(count, take_place, (barrier,)))
            places = [(*arguments, place) for place in range(count)]
            return pools[count].starmap_async(function, places, chunksize=1).get(PATIENCE)

        yield run


def challenger(target: Target, name: str) -> ModelRef:
    """A model of which the registry needs no more than where it lies."""
    return ModelRef(tracking_uri=target.tracking_uri, uri=f"file:///models/{name}", run_id="", artifact_sha256=name)


def carried_out(intent: Intent) -> str:
    here.barrier.wait()
    try:
        promotion.promote(intent)
    except LostRaceError:
        return "lost"
    except Exception as error:  # whatever else it is, the other processes must not wait for this one
        return f"{type(error).__name__}: {error}"
    return "won"


def promote_rivals(target: Target, rounds: int, place: int) -> list[str]:
    outcomes = []
    for number in range(rounds):
        now = promotion.read_log(target)
        model = challenger(target, f"{number}-{place}")
        intent = Intent(target=target, model=model, expected=now.champion, head=now.head, reason=f"round {number}")
        outcomes.append(carried_out(intent))
        here.barrier.wait()
    return outcomes


def promote_or_roll_back(target: Target, rounds: int, place: int) -> list[str]:
    """The first process promotes, the others roll back by one."""
    outcomes = []
    for number in range(rounds):
        now = promotion.read_log(target)
        intent = Intent(
            target=target,
            model=challenger(target, f"{number}-{place}"),
            kind="rollback" if place and now.previous else "promotion",
            version=now.previous if place else None,
            expected=now.champion,
            head=now.head,
            reason=f"round {number}",
        )
        outcomes.append(carried_out(intent))
        here.barrier.wait()
    return outcomes


def promote_the_same(target: Target, rounds: int, place: int) -> list[str]:  # noqa: ARG001
    outcomes = []
    for number in range(rounds):
        now = promotion.read_log(target)
        model = challenger(target, f"{number}")
        intent = Intent(target=target, model=model, expected=now.champion, head=now.head, reason=f"round {number}")
        outcomes.append(carried_out(intent))
        here.barrier.wait()
    return outcomes


def promote_first(target: Target, rounds: int, place: int) -> list[str]:
    """Each round is about a model that has never had a version."""
    outcomes = []
    for number in range(rounds):
        fresh = Target(tracking_uri=target.tracking_uri, name=f"{target.name}{number}")
        model = challenger(fresh, f"{place}")
        outcomes.append(carried_out(Intent(target=fresh, model=model, expected=None, head=0, reason="first")))
        here.barrier.wait()
    return outcomes


def promote_while_read(target: Target, rounds: int, place: int) -> list[str]:
    """The last process only reads who is champion, again and again, while the others race."""
    if place < here.barrier.parties - 1:
        return promote_rivals(target, rounds, place)
    outcomes = []
    for _ in range(rounds):
        here.barrier.wait()
        for _ in range(8):
            try:
                promotion.champion(target)
                outcomes.append("read")
            except MlopsError as error:
                outcomes.append(type(error).__name__)
        here.barrier.wait()
    return outcomes


def told(change: Callable[[], object]) -> str:
    """Carry out a change after a moment of its own; who comes too late is told with exit code 5."""
    time.sleep(random.uniform(0, 0.15))
    try:
        change()
    except MlopsError as error:
        return "told" if error.exit_code == 5 else f"{type(error).__name__}: {error}"
    except Exception as error:  # whatever else it is, the other processes must not wait for this one
        return f"{type(error).__name__}: {error}"
    return "done"


def promoted_by_hand(target: Target, model: ModelRef) -> None:
    now = promotion.read_log(target)
    promotion.promote(Intent(target=target, model=model, expected=now.champion, head=now.head, reason="before"))


def rolled_back_to(target: Target, number: int) -> None:
    stated = promotion.intend_rollback(target, number, "back")
    assert isinstance(stated, Intent)
    promotion.promote(stated)


def furnished(target: Target, kind: str) -> None:
    """Champion v2 after v1, and a candidate v3; `left` has rolled back from v2 to v1."""
    promoted_by_hand(target, challenger(target, "first"))
    promoted_by_hand(target, challenger(target, "second"))
    registration.candidate(target, challenger(target, "third"))
    if kind == "left":
        rolled_back_to(target, 1)


def change_or_delete(target: Target, kind: str, rounds: int, place: int) -> list[str]:
    """The first process makes a version champion, the second one deletes that version."""
    outcomes = []
    for number in range(rounds):
        fresh = target.named(f"{target.name}{number}")
        if place == 0:
            furnished(fresh, kind)
        here.barrier.wait()
        now, wanted = promotion.read_log(fresh), {"candidate": 3, "rollback": 1, "left": 2}[kind]
        model = promotion.reference(fresh, wanted)
        intent = Intent(
            target=fresh,
            model=model,
            kind="promotion" if kind == "candidate" else "rollback",
            version=wanted,
            expected=now.champion,
            head=now.head,
            reason="race",
        )
        here.barrier.wait()
        if place == 0:
            outcomes.append(told(partial(promotion.promote, intent)))
        elif kind == "rollback":
            outcomes.append(told(partial(removal.cleanup, fresh, 0, reason="race")))
        else:
            outcomes.append(told(partial(removal.delete_version, fresh, wanted, reason="race")))
        here.barrier.wait()
    return outcomes


def promote_in_a_row(target: Target, own: bool, place: int) -> list[str]:
    """Promote one challenger after the other, each until it is champion; who has a model of its own never loses."""
    mine, outcomes = target.named(f"{target.name}{place}") if own else target, []
    for number in range(EACH):
        outcome = ""
        while outcome != "won":
            now = promotion.read_log(mine)
            model = challenger(mine, f"{number}-{place}")
            intent = Intent(target=mine, model=model, expected=now.champion, head=now.head, reason=f"{number}")
            try:
                promotion.promote(intent)
                outcome = "won"
            except LostRaceError:
                outcome = "lost"
            except Exception as error:  # it is told, not tried again
                return [*outcomes, f"{type(error).__name__}: {error}"]
            outcomes.append(outcome)
    return outcomes


@pytest.fixture
def target(migrated: Path, tmp_path: Path) -> Target:
    database = tmp_path / "mlflow.db"
    database.write_bytes(migrated.read_bytes())
    return Target(tracking_uri=f"sqlite:///{database}", name="dev.ml.raced")


def check(target: Target, versions: int) -> None:
    """The alias says what the log says, every entry is confirmed, and the numbers have no gap."""
    now = promotion.read_log(target)
    assert store.alias_version(target) == now.champion
    assert not now.unsettled
    assert [int(v.version) for v in store.versions(target)] == list(range(1, versions + 1))


@pytest.mark.parametrize(
    ("rivals", "count", "rounds"),
    [
        pytest.param(promote_rivals, 2, ROUNDS, marks=exhaustive),
        (promote_rivals, 4, ROUNDS),
        (promote_or_roll_back, 4, SOME),
    ],
)
def test_of_racing_changes_exactly_one_wins_and_the_others_are_told(
    race: Race, target: Target, rivals: Callable[..., list[str]], count: int, rounds: int
) -> None:
    outcomes = race(count, rivals, target, rounds)
    for outcome in zip(*outcomes, strict=True):
        assert Counter(outcome) == {"won": 1, "lost": count - 1}
    check(target, versions=rounds * count)
    assert len(promotion.read_log(target).applied) == rounds
    lost = [v.version for v in store.versions(target) if v.tags.get("promotion.outcome") == "lost"]
    assert len(lost) == rounds * (count - 1)


def test_the_same_promotion_carried_out_by_several_processes_counts_once(race: Race, target: Target) -> None:
    outcomes = race(4, promote_the_same, target, SOME)
    assert {outcome for each in outcomes for outcome in each} == {"won"}
    check(target, versions=len(store.versions(target)))
    assert len(promotion.read_log(target).applied) == SOME


def test_of_racing_first_promotions_exactly_one_makes_the_first_champion(race: Race, target: Target) -> None:
    outcomes = race(4, promote_first, target, SOME)
    for number, outcome in enumerate(zip(*outcomes, strict=True)):
        assert Counter(outcome) == {"won": 1, "lost": 3}
        check(Target(tracking_uri=target.tracking_uri, name=f"{target.name}{number}"), versions=4)


def test_a_reader_never_takes_a_race_for_a_hand(race: Race, target: Target) -> None:
    *outcomes, read = race(4, promote_while_read, target, SOME)
    for outcome in zip(*outcomes, strict=True):
        assert Counter(outcome) == {"won": 1, "lost": 2}
    assert set(read) == {"read"}
    check(target, versions=SOME * 3)


@pytest.mark.parametrize("kind", ["candidate", "rollback", "left"])
def test_who_makes_a_version_champion_and_who_deletes_it_never_both_succeed(
    race: Race, target: Target, kind: str
) -> None:
    """But a clean-up that comes after the rollback deletes the others and not the new champion."""
    outcomes = race(2, change_or_delete, target, kind, SOME)
    for number, (changed, deleted) in enumerate(zip(*outcomes, strict=True)):
        fresh = target.named(f"{target.name}{number}")
        now, live = promotion.read_log(fresh), {each.version: each for each in store.versions(fresh)}
        told_who = f"round {number}: {changed}, {deleted}"
        possible = [("done", "told"), ("told", "done"), *([("done", "done")] if kind == "rollback" else [])]
        assert (changed, deleted) in possible, told_who
        wanted = {"candidate": 3, "rollback": 1, "left": 2}[kind]
        assert (now.champion == wanted) == (changed == "done"), told_who
        assert (wanted in live) == (changed == "done"), told_who
        assert set(now.line) <= set(live), told_who
        assert store.alias_version(fresh) == now.champion, told_who
        assert removal.unfinished(fresh) == (), told_who
        known = log.with_deleted(live.values())
        assert [each.version for each in known] == list(range(1, len(known) + 1)), told_who
        assert {each.version for each in known if each.deleted} == set(now.retired), told_who


@pytest.mark.parametrize("own", [pytest.param(True, marks=exhaustive), False])
def test_of_many_promotions_by_four_processes_none_is_lost(race: Race, target: Target, own: bool) -> None:
    outcomes = race(4, promote_in_a_row, target, own)
    assert {outcome for each in outcomes for outcome in each} <= ({"won"} if own else {"won", "lost"})
    assert [each.count("won") for each in outcomes] == [EACH] * 4
    models = [target.named(f"{target.name}{place}") for place in range(4)] if own else [target]
    for model in models:
        check(model, versions=len(store.versions(model)))
        applied = promotion.read_log(model).applied
        assert len(applied) == 4 * EACH / len(models)
        assert [entry.expected for entry in applied] == [0, *(entry.number for entry in applied[:-1])]
    assert sum(len(store.versions(model)) for model in models) == sum(len(each) for each in outcomes)
