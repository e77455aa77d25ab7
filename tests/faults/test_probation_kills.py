"""SIGKILL while a broken probation is acted on: the old state or the new one, and the rerun ends as undisturbed."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.probation_orders import carry_out
from tests.probation import promoted, request_of, requests_kept, score, trained
from tests.zygote import zygote

Act = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def act(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Act]:
    """Act on two bad batches, or requests of two bad days, in a child; on a fresh state unless one was killed."""
    home = tmp_path_factory.mktemp("kills") / "state"
    home.mkdir()
    shutil.copy(migrated, home / "mlflow.db")
    config, models = trained(home)
    subject = promoted(config, models)
    for day in (1, 2):
        score(subject, request_of(config, subject, day, broken=True))
    promoted(config, models, "asked")
    requests_kept(config)
    template = home.rename(home.with_name("template"))
    answer = home.with_name("answer")
    stores = (f"mlflow.store.{each}.sqlalchemy_store" for each in ("tracking", "model_registry"))
    with zygote("deltalake", *stores) as process:

        def send(kill_at: int | None, *, requests: bool = False) -> dict[str, Any]:
            for kill in [kill_at, None] if kill_at else [None]:
                if kill == kill_at:
                    shutil.rmtree(home, ignore_errors=True)
                    shutil.copytree(template, home)
                order = {"home": str(home), "kill_at": kill, "answer": str(answer), "requests": requests}
                assert process.run(carry_out, order) == (-9 if kill else 0)
            found: dict[str, Any] = json.loads(answer.read_text())
            assert not found["error"], found["error"]
            return found

        yield send


@pytest.fixture(scope="module")
def undisturbed(act: Act) -> dict[str, Any]:
    found = act(None)
    old, new = found["before"], found["after"]
    assert ((old["champion"], old["alias"]), (new["champion"], new["alias"])) == ((2, 2), (1, 1))
    assert [rows[0] for rows in old["table"]] == [2, 2]
    assert [rows[0] for rows in new["table"]] == [1, 1]
    assert {folder.split("/")[1] for folder in new["counting"]} == {"1"}
    assert new["done"] == ["decision.json", "done.json"]
    return found


@pytest.mark.parametrize(
    "part", [pytest.param(part, marks=[] if part in {1, 4, 7} else pytest.mark.exhaustive) for part in range(10)]
)
def test_a_kill_at_any_instant_is_completed_by_the_same_again(act: Act, undisturbed: dict[str, Any], part: int) -> None:
    effects = undisturbed["effects"]
    assert effects > 20, "kills reach every place"
    rerun = act(1 + part * (effects - 1) // 9)
    assert rerun["before"]["champion"] in {1, 2}
    assert rerun["before"]["changes"] in (undisturbed["before"]["changes"], undisturbed["after"]["changes"])
    of_each_batch = {folder.rpartition("/")[2] for folder in rerun["before"]["counting"]}
    assert of_each_batch == {folder.rpartition("/")[2] for folder in undisturbed["before"]["counting"]}, "never a gap"
    assert len(rerun["before"]["table"]) == 2, "of each batch once, by the one or the other"
    assert rerun["after"] == undisturbed["after"]


@pytest.fixture(scope="module")
def answered(act: Act) -> dict[str, Any]:
    found = act(None, requests=True)
    old, new = found["before"], found["after"]
    assert (old["champion"], old["drift"], old["shadow"], old["answers"]) == (2, [], [], [])
    assert (new["champion"], new["alias"], new["inputs"]) == (1, 1, [])
    for kind, version in (("drift", 2), ("shadow", 1)):
        assert [row[:3] for row in new[kind]] == [[f"served-2025-11-0{day}", version, 100] for day in (1, 2)]
    assert [(version, len(set(keys))) for _, version, keys in new["answers"]] == [(2, 100)] * 2
    return found


@pytest.mark.exhaustive
@pytest.mark.parametrize("part", range(10))
def test_a_kill_while_requests_are_measured_or_rolled_back_is_completed(
    act: Act, answered: dict[str, Any], part: int
) -> None:
    effects = answered["effects"]
    assert effects > 40, "kills reach every place"
    rerun = act(1 + part * (effects - 1) // 9, requests=True)
    assert rerun["before"]["changes"] in (answered["before"]["changes"], answered["after"]["changes"])
    for kind in ("drift", "shadow", "answers"):
        assert all(row in answered["after"][kind] for row in rerun["before"][kind]), "each window whole, or not yet"
    assert rerun["after"] == answered["after"]
