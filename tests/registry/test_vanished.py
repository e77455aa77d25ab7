"""A model that was deleted or renamed past this project is missed, whatever is entered under its name afterwards."""

from collections.abc import Callable

import pytest

from lifecycle.core.errors import IntegrityError, TransientError
from lifecycle.registry import catalog, log, memory, missing, promotion, registration, removal, stages, store, transfer
from lifecycle.registry.store import Target
from lifecycle.tracking import champions
from lifecycle.tracking.client import client
from tests.conftest import exhaustive
from tests.registry.conftest import State, environments, promote

Then = Callable[[State, Target], object]


def told(target: Target) -> None:
    with pytest.raises(IntegrityError, match="was deleted or renamed past this command; v3"):
        promotion.champion(target)


def deleted(target: Target) -> None:
    store.mlflow_of(target).delete_registered_model(target.name)


def renamed(target: Target, name: str) -> Target:
    store.mlflow_of(target).rename_registered_model(target.name, name)
    return target.named(name)


@pytest.mark.parametrize("backend", ["sqlite", pytest.param("server", marks=exhaustive)], indirect=True)
def test_a_candidate_that_makes_the_model_again_opens_no_gate(backend: State, three: Target) -> None:
    deleted(three)
    registration.candidate(three, backend.weak)
    told(three)
    missing.retire(three, None, reason="it is as it should be")
    assert promotion.champion(three) is None
    assert promote(three, backend.bayes).champion == 2


def test_a_promotion_that_was_judged_before_the_deletion_opens_no_gate(state: State, three: Target) -> None:
    intent = promotion.intend(three, state.weak, promotion.champion(three), reason="better")
    deleted(three)
    with pytest.raises(IntegrityError, match="past this command"):
        promotion.promote(intent)
    told(three)


def test_a_renamed_model_is_missed_under_its_new_name_too(three: Target) -> None:
    tone = renamed(three, "dev.ml.tone")
    assert promotion.champion(tone)
    deleted(tone)
    told(tone)


def test_one_that_was_recorded_as_gone_and_came_back_is_missed_again(three: Target) -> None:
    tone = renamed(three, "dev.ml.tone")
    missing.retire(three, None, reason="gone")
    deleted(three)
    renamed(tone, three.name)
    assert promotion.champion(three)
    deleted(three)
    told(three)


def test_its_run_may_lie_in_any_experiment(state: State) -> None:
    other = state.target.named("dev.ml.other")
    promote(other, state.bayes)
    deleted(other)
    assert list(champions.notes(other.tracking_uri, other.name)) == [state.bayes.run_id]


@pytest.mark.parametrize("anew", [False, True])
def test_the_memory_of_a_model_that_was_imported_is_not_its_own(state: State, three: Target, anew: bool) -> None:
    """An export brings the tags of model and versions along, here without the first version; nothing of it counts."""
    other = three.named("dev.ml.imported")
    tags = dict(store.model(three).tags) | {memory.UNBOUND: "3", memory.UNFINISHED: "3"}
    if anew:
        tags |= {memory.MARK: "{}", memory.ANEW: memory.Anew(after=3, champion=3, at=1, made=1).model_dump_json()}
    store.create_model(other, tags)
    for version in store.versions(three)[1:]:
        client(other.tracking_uri).create_model_version(other.name, version.source, version.run_id, version.tags)
    assert promotion.champion(other) is None
    assert [line.kind for line in catalog.history(other)] == ["candidate", "candidate"]
    assert promote(other, state.bayes).champion == 3
    assert [promotion.champion(each).version for each in (other, three)] == [3, 3]
    store.mlflow_of(other).delete_model_version(other.name, "3")
    with pytest.raises(IntegrityError, match="v3 is missing, it is the last champion"):
        promotion.champion(other)


def test_one_that_was_imported_over_what_was_deleted_is_recorded(state: State, three: Target) -> None:
    tags, versions = store.model(three).tags, store.versions(three)
    deleted(three)
    store.create_model(three, tags)
    for version in versions:
        client(three.tracking_uri).create_model_version(three.name, version.source, version.run_id, version.tags)
    told(three)
    missing.retire(three, None, reason="imported")
    assert promotion.champion(three) is None
    assert promote(three, state.bayes).champion == 4
    assert promotion.champion(three).version == 4


def test_a_model_without_champion_that_takes_the_name_hides_nothing(state: State, three: Target) -> None:
    tone = three.named("dev.ml.tone")
    registration.candidate(tone, state.bayes)
    deleted(three)
    renamed(tone, three.name)
    told(three)
    missing.retire(three, None, reason="it is as it should be")
    assert promotion.champion(three) is None
    assert promote(three, state.bayes).champion == 2


def test_what_was_recorded_does_not_hide_what_is_deleted_afterwards(state: State, three: Target) -> None:
    """Both witnesses were recorded as gone; the run of the champion since gives its mark back."""
    deleted(three)
    missing.retire(three, None, reason="gone")
    promote(three, state.bayes)
    store.untag(three, None, memory.MARK)
    store.mlflow_of(three).delete_model_version(three.name, "1")
    with pytest.raises(IntegrityError, match="v1 is missing, it is the last champion"):
        promotion.champion(three)


def recreated(target: Target) -> None:
    deleted(target)
    store.create_model(target)


def disguised(target: Target) -> None:
    """No entry leads to another: nobody is champion by what is left."""
    store.tag(target, 1, log.EXPECTED, "7")


@pytest.mark.parametrize("do", [recreated, disguised])
def test_nothing_is_forgotten_before_a_person_has_recorded_it(three: Target, do: Callable[[Target], None]) -> None:
    do(three)
    for forget in (removal.delete_model, lambda target: removal.rename(target, "dev.ml.tone")):
        with pytest.raises(IntegrityError, match="v3"):
            forget(three)
    assert store.names(three.tracking_uri) == [three.name]
    removal.delete_model(three, with_champion=True)
    assert promotion.champion(three) is None


def test_a_model_that_could_not_be_deleted_is_remembered_by_its_runs_again(
    three: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Target) -> None:
        raise TransientError("The server has gone.", "Try again.")

    monkeypatch.setattr(store, "delete_model", refused)
    with pytest.raises(TransientError):
        removal.delete_model(three, with_champion=True)
    monkeypatch.undo()
    assert promotion.champion(three).version == 3
    deleted(three)
    told(three)


def test_what_this_project_deletes_is_not_missed_though_its_run_is_deleted(state: State, target: Target) -> None:
    promote(target, state.bayes)
    client(target.tracking_uri).delete_run(state.bayes.run_id)
    removal.delete_model(target, with_champion=True)
    assert promotion.champion(target) is None
    assert client(target.tracking_uri).get_run(state.bayes.run_id).info.lifecycle_stage == "deleted"


def test_a_migration_that_was_undone_is_not_missed(staged: State) -> None:
    source = staged.target.named("sentiment")
    stages.migrate(source, environments(source))
    stages.undo(source, environments(source))
    assert [promotion.champion(target) for target in environments(source).values()] == [None, None, None]


def test_the_copy_of_a_run_on_another_server_tells_of_no_champion_there(
    state: State, target: Target, elsewhere: Target
) -> None:
    prod = target.named(elsewhere.name)
    promote(prod, state.bayes)
    transfer.bring(promotion.reference(prod, 1), elsewhere)
    assert promotion.champion(elsewhere) is None
