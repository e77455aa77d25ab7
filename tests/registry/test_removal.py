"""Versions and models are removed when nothing depends on them, and the history goes on to tell of them."""

from typing import Any

import pytest

from lifecycle.core.errors import ConflictError, LostRaceError, MlopsError, NotFoundError
from lifecycle.models import loading
from lifecycle.registry import (
    catalog,
    log,
    promotion,
    registration,
    removal,
    store,
    story,
)
from lifecycle.registry.promotion import Intent
from lifecycle.registry.store import Target
from lifecycle.tracking import runs
from tests.registry.conftest import (
    Killed,
    SetStatus,
    State,
    enter_by_hand,
    killed,
    numbers,
    promote,
    roll_back,
    standing,
)


def test_a_deleted_version_lives_on_in_the_history(
    backend: State, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTOR", "octocat")
    promote(target, backend.weak, "first")
    early = promotion.intend(target, backend.regression, promotion.champion(target), reason="slow")
    promote(target, backend.bayes, "faster")
    with pytest.raises(LostRaceError):
        promotion.promote(early)
    registration.candidate(target, backend.regression)
    promote(target, backend.regression, "best")
    roll_back(target)
    told = catalog.history(target)
    for number in (3, 4, 5):  # one that lost, a candidate, and a former champion that was rolled back
        assert removal.delete_version(target, number, reason="tidy").deleted == (number,)
    assert numbers(target) == [1, 2, 6, 7, 8, 9]
    after = catalog.history(target)
    assert [line.model_copy(update={"deleted": False}) for line in after[:6]] == told
    assert [line.deleted for line in after] == [False, False, True, True, True] + [False] * 4
    assert [(x.kind, x.outcome, x.champion, x.reason) for x in after[6:]] == [("retire", "applied", None, "tidy")] * 3
    assert standing(target) == (2, 2, (1, 2))
    assert catalog.champion_at(target, told[4].at).champion == 5
    assert catalog.champion_at(target, after[-1].at).champion == 2
    with pytest.raises(ConflictError, match="v5 was deleted"):
        promotion.intend_rollback(target, 5, "")
    assert promotion.champion(target).version == 2
    roll_back(target)
    assert standing(target) == (1, 1, (1,))
    assert promote(target, backend.bayes).champion == 11


def test_the_entry_of_a_rollback_can_go_without_undoing_it(three: Target) -> None:
    roll_back(three)
    assert removal.delete_version(three, 4, reason="").deleted == (4,)
    assert promotion.champion(three).version == 2
    assert standing(three) == (2, 2, (1, 2))
    assert catalog.history(three)[3].kind == "rollback"


def test_deleting_twice_is_deleting_once(backend: State, target: Target) -> None:
    promote(target, backend.bayes)
    spare = enter_by_hand(backend, backend.weak)
    for _ in range(2):
        assert removal.delete_version(target, spare, reason="").deleted == (spare,)
        assert numbers(target) == [1, 3]


@pytest.mark.parametrize(("keep", "gone"), [(0, (1, 2)), (1, (1,)), (2, ())])
def test_a_clean_up_keeps_the_champion_and_as_many_before_it_as_it_was_told(
    backend: State, three: Target, set_status: SetStatus, keep: int, gone: tuple[int, ...]
) -> None:
    newer, written = enter_by_hand(backend, backend.bayes), enter_by_hand(backend, backend.bayes)
    set_status(written, store.PENDING)
    planned = removal.plan_cleanup(three, keep)
    assert (planned.deleted, planned.done) == (gone, False)
    assert planned.kept == {
        **{number: "a rollback can lead back to it" for number in (1, 2) if number not in gone},
        3: "it is the champion",
        newer: "it is a candidate newer than the champion",
        written: "it is still being written",
    }
    assert numbers(three) == [1, 2, 3, 4, 5]
    story.discard(three, written)
    done = removal.cleanup(three, keep, reason="tidy")
    assert done.deleted == gone
    assert [number for number in numbers(three) if number <= 4] == [n for n in (1, 2, 3, 4) if n not in gone]
    assert standing(three) == (3, 3, tuple(n for n in (1, 2, 3) if n not in gone))
    left = numbers(three)
    again = removal.cleanup(three, keep, reason="tidy")
    assert (again.deleted, again.collected, numbers(three)) == ((), (), left)
    for number in (1, 2):
        if number in gone:
            with pytest.raises(ConflictError, match=f"v{number} was deleted"):
                promotion.intend_rollback(three, number, "")
        else:
            assert isinstance(promotion.intend_rollback(three, number, ""), Intent)


def test_files_that_a_version_of_another_environment_refers_to_stay(backend: State, three: Target) -> None:
    prod = three.named("prod.ml.sentiment")
    promote(prod, backend.weak)
    done = removal.cleanup(three, 0, reason="")
    assert (done.deleted, done.collected) == ((1, 2), (backend.bayes.uri,))
    loading.verify(promotion.champion(prod))
    loading.verify(backend.weak)
    assert runs.trained(three.tracking_uri, backend.weak.run_id) == backend.weak
    removal.delete_model(prod, with_champion=True)
    assert removal.cleanup(three, 0, reason="").collected == (backend.weak.uri,)


def test_a_version_that_was_copied_to_another_environment_is_kept_by_a_clean_up(backend: State, three: Target) -> None:
    promote(three.named("prod.ml.sentiment"), promotion.reference(three, 1))
    planned = removal.plan_cleanup(three, 0)
    assert planned.deleted == (2,)
    assert planned.kept[1] == "prod.ml.sentiment v1 is a copy of it"
    assert removal.cleanup(three, 0, reason="").collected == (backend.bayes.uri,)
    loading.verify(promotion.champion(three.named("prod.ml.sentiment")))


def test_a_clean_up_of_a_model_that_is_not_there_says_so(target: Target) -> None:
    with pytest.raises(NotFoundError, match="no model"):
        removal.plan_cleanup(target, 1)


def test_a_deletion_killed_after_its_entry_is_finished_by_the_next_one(
    three: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(store, "delete_version", killed)
        with pytest.raises(Killed):
            removal.cleanup(three, 0, reason="")
    assert removal.unfinished(three) == (1, 2)
    with pytest.raises(ConflictError, match="v2 was deleted"):
        promotion.intend_rollback(three, 2, "")
    assert removal.cleanup(three, 0, reason="").deleted == (1, 2)
    assert (removal.unfinished(three), numbers(three)) == ((), [3, 4])
    assert standing(three) == (3, 3, (3,))


def test_a_collection_killed_in_the_middle_is_finished_by_the_next_one(
    backend: State, three: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(removal, "delete_files", killed)
        with pytest.raises(Killed):
            removal.cleanup(three, 1, reason="")
    assert removal.uncollected(three) == (backend.weak.run_id,)
    with pytest.raises(ConflictError, match="cleaned up"):
        runs.trained(three.tracking_uri, backend.weak.run_id)
    assert removal.cleanup(three, 1, reason="").collected == (backend.weak.uri,)
    assert removal.uncollected(three) == ()


def test_a_rollback_decided_before_its_goal_was_deleted_loses(three: Target) -> None:
    intent = promotion.intend_rollback(three, 2, "")
    removal.cleanup(three, 0, reason="")
    with pytest.raises(MlopsError):
        promotion.promote(intent)
    assert standing(three) == (3, 3, (3,))
    assert promotion.champion(three).version == 3


def test_a_rollback_entered_before_its_goal_was_deleted_completes_and_the_deletion_loses(
    three: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    intent, enter = promotion.intend_rollback(three, 2, ""), registration.enter

    def overtaken(*arguments: Any) -> int:
        """The rollback comes at the last moment before the entry of the deletion is written."""
        monkeypatch.setattr(registration, "enter", enter)
        promotion.promote(intent)
        return enter(*arguments)

    monkeypatch.setattr(registration, "enter", overtaken)
    with pytest.raises(LostRaceError, match="champion changed meanwhile"):
        removal.cleanup(three, 0, reason="")
    assert standing(three) == (2, 2, (1, 2))
    assert numbers(three) == [1, 2, 3, 4, 5]
    assert catalog.history(three)[-1].outcome == "lost"
    assert store.version(three, 5).tags[log.OUTCOME] == "lost"
    loading.verify(promotion.champion(three))


def test_a_clean_up_is_refused_when_the_champion_changed_since_it_was_planned(
    three: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = removal.plan_cleanup

    def overtaken(target: Target, keep: int) -> removal.Removal:
        planned = plan(target, keep)
        roll_back(target)
        return planned

    monkeypatch.setattr(removal, "plan_cleanup", overtaken)
    with pytest.raises(LostRaceError):
        removal.cleanup(three, 1, reason="")
    assert standing(three) == (2, 2, (1, 2)), "v1 is now where a rollback leads, and was to be kept"
