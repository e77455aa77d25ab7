"""Real processes that change the champion at the same moment: one wins, the others are told, the alias is the log's.

`TEST_ROUNDS` sets how often (default 20; the rarer mixtures a quarter of that).
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lifecycle.errors import LostRaceError, MlopsError
from lifecycle.models.loading import ModelRef
from lifecycle.registry import promotion, store
from lifecycle.registry.promotion import Intent
from lifecycle.registry.store import Target

ROUNDS = int(os.environ.get("TEST_ROUNDS", "20"))
SOME = max(1, ROUNDS // 4)
PATIENCE = 60 + 3 * ROUNDS

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


@pytest.fixture
def target(migrated: Path, tmp_path: Path) -> Target:
    database = tmp_path / "mlflow.db"
    database.write_bytes(migrated.read_bytes())
    return Target(tracking_uri=f"sqlite:///{database}", name="dev.ml.raced")


def check(target: Target, versions: int) -> None:
    """The alias says what the log says, every entry is confirmed, and the numbers have no gap."""
    log = promotion.read_log(target)
    assert store.alias_version(target) == log.champion
    assert not log.unsettled
    assert [int(v.version) for v in store.versions(target)] == list(range(1, versions + 1))


@pytest.mark.parametrize(
    ("rivals", "count", "rounds"),
    [(promote_rivals, 2, ROUNDS), (promote_rivals, 4, ROUNDS), (promote_or_roll_back, 4, SOME)],
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
