"""Versions that were deleted with MLflow alone: noticed, told truly, never mistaken for a model without a past.

Promise: A version deleted past `mlops` is missed until a person has recorded it.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle import doctor
from lifecycle.core.errors import ConflictError, IntegrityError, LostRaceError, MlopsError, NotFoundError
from lifecycle.registry import (
    adoption,
    catalog,
    leaderboard,
    log,
    memory,
    missing,
    promotion,
    registration,
    removal,
    store,
    story,
)
from lifecycle.registry.log import Entry
from lifecycle.registry.store import Target, Version
from tests.conftest import exhaustive
from tests.registry.conftest import State, enter_by_hand, promote, set_by_hand
from tests.registry.test_log import KINDS, fold, logs, written

MODELS = ("weak", "bayes", "regression")


@pytest.fixture
def target(state: State) -> Target:
    return state.target


def delete_by_hand(target: Target, *numbers: int) -> None:
    for number in numbers:
        store.mlflow_of(target).delete_model_version(target.name, str(number))


def mark_of(target: Target) -> memory.Mark:
    """What a model remembers; when it was made is another time in each test."""
    found = store.model(target)
    return memory.Memory.of(found.tags if found else {}).mark.model_copy(update={"made": 0})


def told(target: Target) -> dict[int, tuple[str, str]]:
    return {line.version: (line.kind, line.reason) for line in catalog.history(target)}


def doctors_words(state: State) -> dict[str, str]:
    return {f.what: f.message for f in doctor.examine([state.config], repair=False) if f.state != "ok"}


ALL_GONE = r"v1 is missing, nothing that is left tells .*; v3 is missing, it is the last champion"
REFUSED: list[Callable[[Target], object]] = [
    promotion.champion,
    promotion.settle,
    lambda target: promotion.settle(target, override_hand=True),
    lambda target: promotion.intend_rollback(target, None, "worse"),
    lambda target: promotion.intend_rollback(target, 1, "rehearsed", rehearse=True),
    lambda target: adoption.adopt(target, "by hand"),
    lambda target: removal.delete_version(target, 2, reason="", dry_run=True),
    lambda target: removal.plan_cleanup(target, 0),
    catalog.resolve,
]


@pytest.mark.parametrize("gone", [1, 2, 3])
def test_what_is_missing_is_named_wherever_a_champion_is_judged_or_moved(three: Target, gone: int) -> None:
    delete_by_hand(three, gone)
    before = [(v.version, v.tags) for v in store.versions(three)], store.model(three)
    was = {1: "it was champion until v2", 2: "it was champion until v3", 3: "it is the last champion"}[gone]
    for ask in REFUSED:
        with pytest.raises(IntegrityError, match=f"v{gone} is missing, {was}. Deleted past") as refused:
            ask(three)
        assert "mlops model retire-missing --model-name sentiment --env dev" in refused.value.fix
    assert before == ([(v.version, v.tags) for v in store.versions(three)], store.model(three))


def test_no_promotion_is_stated_while_a_version_is_missing(backend: State, three: Target) -> None:
    expected = promotion.champion(three)
    delete_by_hand(three, 1)
    for judged_against in (expected, None):
        with pytest.raises(IntegrityError, match="v1 is missing"):
            promotion.intend(three, backend.bayes, judged_against, reason="better")
    assert [v.version for v in store.versions(three)] == [2, 3]


def test_a_model_whose_versions_are_all_gone_is_not_one_that_never_had_a_champion(
    backend: State, three: Target
) -> None:
    delete_by_hand(three, 1, 2, 3)
    with pytest.raises(IntegrityError, match=ALL_GONE):
        promotion.champion(three)
    recorded = missing.retire(three, None, reason="tidied up")
    assert (recorded.champion, recorded.fell_back, recorded.left) == (None, True, ())
    assert promotion.champion(three) is None
    assert {v: line[1] for v, line in told(three).items()}[3].endswith(": tidied up")
    done = promote(three, backend.bayes)
    assert (done.champion, done.previous) == (4, None)
    with pytest.raises(ConflictError, match="v3 was deleted"):
        promotion.intend_rollback(three, 3, "")


def test_a_former_champion_that_is_missing_is_recorded_and_the_present_one_stays(three: Target) -> None:
    delete_by_hand(three, 1)
    recorded = missing.retire(three, 1, reason="tidied up")
    assert (recorded.champion, recorded.fell_back, recorded.stories) == (3, False, {1: "it was champion until v2"})
    assert promotion.champion(three).version == 3
    assert promotion.read_log(three).line == (2, 3)
    assert [(x.version, x.kind, x.outcome, x.deleted) for x in catalog.history(three)] == [
        (1, "promotion", "applied", True),
        (2, "promotion", "applied", False),
        (3, "promotion", "applied", False),
        (4, "retire", "applied", False),
    ]
    assert told(three)[4][1] == "tidied up (v1 is missing, it was champion until v2)"


def test_behind_a_missing_champion_the_one_before_it_is_champion_again(three: Target) -> None:
    delete_by_hand(three, 3)
    planned = missing.retire(three, None, reason="tidied up", dry_run=True)
    assert (planned.champion, planned.fell_back, planned.done) == (2, True, False)
    recorded = missing.retire(three, None, reason="tidied up")
    assert recorded == planned.model_copy(update={"done": True})
    assert (promotion.champion(three).version, store.alias_version(three)) == (2, 2)
    assert promotion.read_log(three).previous == 1
    line = catalog.history(three)[-1]
    assert (line.kind, line.expected, line.champion) == ("retire", 3, 2)
    assert line.reason == "tidied up (v3 is missing, it is the last champion; v2 is champion again)"
    assert catalog.champion_at(three, line.at).champion == 2
    assert missing.retire(three, 3, reason="again").stories == {}
    assert len(store.versions(three)) == 3


def test_a_record_that_was_killed_before_the_alias_moved_is_completed_by_whoever_asks_next(three: Target) -> None:
    delete_by_hand(three, 3)
    missing._enter(three, [3], "killed here")
    assert store.alias_version(three) is None
    assert (promotion.champion(three).version, store.alias_version(three)) == (2, 2)


def test_missing_champions_are_recorded_one_by_one_or_at_once(three: Target) -> None:
    delete_by_hand(three, 2, 3)
    first = missing.retire(three, 3, reason="one")
    assert (first.champion, first.left) == (1, (2,))
    with pytest.raises(IntegrityError, match="v2 is missing"):
        promotion.champion(three)
    second = missing.retire(three, None, reason="the other")
    assert (second.champion, second.left, tuple(second.stories)) == (1, (), (2,))
    assert promotion.champion(three).version == 1


def test_a_missing_candidate_never_was_champion(state: State, target: Target) -> None:
    promote(target, state.weak)
    registration.candidate(target, state.bayes)
    assert mark_of(target) == memory.Mark(through=2, champion=1, name=target.name)
    delete_by_hand(target, 2)
    with pytest.raises(IntegrityError, match="v2 is missing, it never was champion"):
        promotion.champion(target)
    assert missing.retire(target, 2, reason="not good").champion == 1
    assert told(target)[2][0] == "candidate"


def test_a_missing_rollback_is_told_as_one(backend: State, three: Target) -> None:
    intent = promotion.intend_rollback(three, None, "worse")
    promotion.promote(intent)
    for follow in (False, True):
        if follow:
            promote(three, backend.weak)
        found = promotion.read_log(three)
        if not follow:
            continue
        delete_by_hand(three, 4)
        assert promotion.read_log(three).model_copy(update={"missing": frozenset()}).line == found.line
    with pytest.raises(IntegrityError, match="v4 is missing, it made v2 champion"):
        promotion.champion(three)
    missing.retire(three, None, reason="tidied up")
    assert (promotion.champion(three).version, told(three)[4][0]) == (5, "rollback")


def test_the_last_rollback_is_missed_as_well(three: Target) -> None:
    promotion.promote(promotion.intend_rollback(three, None, "worse"))
    delete_by_hand(three, 4)
    assert promotion.read_log(three).champion == 2
    missing.retire(three, None, reason="tidied up")
    assert (promotion.champion(three).version, promotion.read_log(three).previous) == (2, 1)


def test_who_lost_against_a_missing_champion_does_not_win_afterwards(state: State, target: Target) -> None:
    promote(target, state.weak)
    early = promotion.intend(target, state.regression, promotion.champion(target), reason="slow")
    promote(target, state.bayes)
    with pytest.raises(LostRaceError):
        promotion.promote(early)
    delete_by_hand(target, 2)
    missing.retire(target, None, reason="tidied up")
    assert promotion.champion(target).version == 1
    assert [(x.version, x.outcome) for x in catalog.history(target)][:3] == [
        (1, "applied"),
        (2, "applied"),
        (3, "lost"),
    ]


def test_history_list_and_doctor_go_on_and_tell_what_is_missing(in_sqlite: State) -> None:
    target = in_sqlite.target
    for name in MODELS:
        promote(target, getattr(in_sqlite, name))
    delete_by_hand(target, 1, 3)
    assert told(target)[1] == ("promotion", "deleted past mlops: it was champion until v2")
    assert told(target)[3] == ("promotion", "deleted past mlops: it is the last champion")
    assert [x.missing for x in catalog.history(target)] == [True, False, True]
    [listed] = catalog.models(target.tracking_uri)
    assert (listed.champion, listed.settled, listed.versions) == (3, False, 1)
    assert leaderboard.of_champion(target, listed) == listed, "its metrics are gone with it"
    words = doctors_words(in_sqlite)
    assert sorted(words) == ["dev.ml.sentiment v1", "dev.ml.sentiment v3"]
    assert "is missing: deleted past this command; it was champion until v2." in words["dev.ml.sentiment v1"]
    assert "mlops model retire-missing --model-name sentiment --env dev --reason" in words["dev.ml.sentiment v3"]
    assert [f.state for f in doctor.examine([in_sqlite.config], repair=True) if f.state != "ok"] == ["problem"] * 2
    missing.retire(target, None, reason="tidied up")
    assert doctors_words(in_sqlite) == {}


@pytest.mark.parametrize(
    ("number", "error", "words"),
    [(2, ConflictError, "v2 is there"), (9, NotFoundError, "never had a version 9"), (None, None, "")],
)
def test_only_what_is_missing_can_be_recorded(
    state: State, target: Target, number: int | None, error: type[MlopsError] | None, words: str
) -> None:
    for name in MODELS[:2]:
        promote(target, getattr(state, name))
    before = store.versions(target)
    if error:
        with pytest.raises(error, match=words):
            missing.retire(target, number, reason="")
    else:
        assert missing.retire(target, number, reason="").stories == {}
    assert store.versions(target) == before
    with pytest.raises(NotFoundError, match="There is no model"):
        missing.retire(target.named("dev.ml.nobody"), None, reason="")


def test_a_model_of_an_earlier_release_remembers_from_its_next_step_on(state: State, target: Target) -> None:
    for name in MODELS[:2]:
        promote(target, getattr(state, name))
    store.untag(target, None, memory.MARK)
    delete_by_hand(target, 1)
    with pytest.raises(IntegrityError, match="v1 is missing, it was champion until v2"):
        promotion.champion(target)
    missing.retire(target, 1, reason="before the tag")
    assert mark_of(target) == memory.Mark(through=3, champion=2, name=target.name)


def test_a_model_that_was_never_ours_may_have_gaps(state: State, target: Target) -> None:
    for _ in range(3):
        enter_by_hand(state, state.weak)
    delete_by_hand(target, 2)
    assert promotion.champion(target) is None
    assert doctors_words(state) == {}


@pytest.mark.parametrize("tag", [memory.MARK, memory.ANEW, memory.UNFINISHED])
@pytest.mark.parametrize("value", ["seven", '{"through": -1}', '{"through": 99999999999}', "{"])
def test_a_memory_that_was_not_written_here_is_an_error(tag: str, value: str) -> None:
    if tag == memory.ANEW and "through" in value:
        value = value.replace("through", "after")
    with pytest.raises(IntegrityError, match="unreadable"):
        memory.Memory.of({tag: value})


@pytest.mark.parametrize("tag", [memory.MARK, memory.ANEW, memory.UNFINISHED, memory.UNBOUND])
def test_models_are_listed_and_shown_whatever_somebody_wrote_on_one(three: Target, tag: str) -> None:
    store.tag(three, None, tag, "nonsense")
    assert [each.name for each in catalog.models(three.tracking_uri)] == [three.name]
    assert len(catalog.show(three).details) == len(catalog.search(three.tracking_uri)) == 3


def test_tags_that_are_changed_while_a_version_is_being_registered_are_told(
    state: State, three: Target, set_status: Callable[[int, str], None]
) -> None:
    enter_by_hand(state, state.weak)
    set_status(4, store.PENDING)
    store.tag(three, 3, log.EXPECTED, "1")
    with pytest.raises(IntegrityError, match="v3 was champion, but the entries lead to v2"):
        promotion.champion(three)


def test_a_mark_that_is_deleted_after_all_were_recorded_as_missing_is_given_back(state: State, three: Target) -> None:
    delete_by_hand(three, 1, 2, 3)
    missing.retire(three, None, reason="tidied up")
    promote(three, state.bayes)
    store.untag(three, None, memory.MARK)
    delete_by_hand(three, 4)
    with pytest.raises(IntegrityError, match="v4 is missing, it is the last champion"):
        promotion.champion(three)


def test_a_mark_of_more_versions_than_ever_were_is_an_error_at_once(state: State, target: Target) -> None:
    for name in MODELS[:2]:
        promote(target, getattr(state, name))
    store.tag(target, None, memory.MARK, memory.Mark(through=memory.HIGHEST, champion=2).model_dump_json())
    with pytest.raises(IntegrityError, match="speaks of 1000000 versions; 999998 are not there"):
        promotion.champion(target)
    store.untag(target, None, memory.MARK)
    assert promotion.champion(target).version == 2


def test_many_that_are_missing_are_told_in_a_few_words() -> None:
    now = log.Log(missing=frozenset(range(1, 101)))
    target = Target(tracking_uri="sqlite://", name="dev.ml.tone")
    with pytest.raises(IntegrityError, match=r"tone: 90 more are missing; v91 is missing, it never was") as told:
        story.refuse_if_missing(target, now)
    assert str(told.value).count(" is missing") == 10


@pytest.mark.parametrize("backend", ["sqlite", pytest.param("server", marks=exhaustive)], indirect=True)
def test_a_rollback_of_which_entry_and_mark_are_deleted_is_missed(backend: State) -> None:
    """Without the mark the log leads to the champion before the rollback; the run of the champion knows better."""
    target = backend.target
    for name in MODELS[:2]:
        promote(target, getattr(backend, name))
    promotion.promote(promotion.intend_rollback(target, None, "worse"))
    store.untag(target, None, memory.MARK)
    delete_by_hand(target, 3)
    with pytest.raises(IntegrityError, match="v3 is missing, it made v1 champion"):
        promotion.champion(target)
    assert missing.retire(target, None, reason="seen").champion == 1


def test_the_memory_never_goes_back_and_never_runs_ahead(state: State, target: Target) -> None:
    """A slow writer sets an older mark; one that was killed before its mark leaves it behind."""
    for name in MODELS[:2]:
        promote(target, getattr(state, name))
    store.tag(target, None, memory.MARK, memory.Mark(through=1, champion=1).model_dump_json())
    promotion.settle(target)
    assert mark_of(target) == memory.Mark(through=2, champion=2, name=target.name)
    promotion.register(promotion.intend(target, state.regression, promotion.champion(target), reason="killed here"))
    assert mark_of(target).through == 2
    delete_by_hand(target, 2)
    story.remember(target)
    assert mark_of(target) == memory.Mark(through=2, champion=2, name=target.name), (
        "nothing is learned while something is missing"
    )
    missing.retire(target, None, reason="tidied up")
    assert (promotion.champion(target).version, mark_of(target)) == (
        3,
        memory.Mark(through=4, champion=3, name=target.name),
    )


def test_writers_at_once_leave_the_whole_truth(state: State, target: Target) -> None:
    promote(target, state.weak)
    for _ in range(6):
        store.create_version(target, state.weak.uri, state.weak.run_id, {log.KEY: os.urandom(8).hex()})
    threads = [threading.Thread(target=story.remember, args=[target]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mark_of(target) == memory.Mark(through=7, champion=1, name=target.name)


def test_a_deletion_that_comes_between_decision_and_promotion_is_noticed(state: State, target: Target) -> None:
    promote(target, state.weak)
    intent = promotion.intend(target, state.bayes, promotion.champion(target), reason="better")
    delete_by_hand(target, 1)
    with pytest.raises(IntegrityError, match="v1 is missing, it was champion until v2"):
        promotion.promote(intent)
    assert missing.retire(target, None, reason="at the same time").champion == 2
    assert promotion.promote(intent).champion == 2


def test_an_entry_that_is_deleted_at_once_did_not_lose(
    state: State, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(target, state.weak)
    intent = promotion.intend(target, state.bayes, promotion.champion(target), reason="better")
    wait = registration.await_earlier

    def and_then_a_hand(target: Target, number: int) -> None:
        wait(target, number)
        delete_by_hand(target, number)

    monkeypatch.setattr(registration, "await_earlier", and_then_a_hand)
    with pytest.raises(IntegrityError, match="v2 was deleted past this command right after it was entered"):
        promotion.promote(intent)
    monkeypatch.undo()
    set_by_hand(target, 1)
    assert promotion.champion(target).version == 1


def test_a_hand_that_deletes_while_others_promote_leaves_no_second_truth(state: State, target: Target) -> None:
    """A process promotes over and over; every other of its champions is deleted under its feet."""
    promote(target, state.weak)
    models = json.dumps([state.bayes.model_dump(), state.regression.model_dump()])
    code = (
        "import json, sys\n"
        "from lifecycle.core.errors import MlopsError\n"
        "from lifecycle.core.references import ModelRef\n"
        "from lifecycle.registry import promotion, store\n"
        "target = store.Target.model_validate_json(sys.argv[1])\n"
        "for turn in range(6):\n"
        "    model = ModelRef.model_validate(json.loads(sys.argv[2])[turn % 2])\n"
        "    try:\n"
        "        promotion.promote(promotion.intend(target, model, promotion.champion(target), reason=str(turn)))\n"
        "    except MlopsError:\n"
        "        pass\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, target.model_dump_json(), models]) as process:
        while process.poll() is None:
            if len(found := store.versions(target)) > 2:
                delete_by_hand(target, found[-2].version)
                break
        process.wait()
    with pytest.raises(IntegrityError, match="is missing"):
        promotion.champion(target)
    recorded = missing.retire(target, None, reason="tidied up")
    now = promotion.read_log(target)
    assert recorded.champion == now.champion == promotion.champion(target).version == store.alias_version(target)
    numbers = {each.version for each in store.versions(target)}
    assert set(now.line) <= numbers
    assert mark_of(target) == memory.Mark(through=max(numbers), champion=now.champion, name=target.name)


def test_what_this_project_leaves_unfinished_and_deletes_is_not_missed(
    in_unity_catalog: State,
) -> None:
    target = in_unity_catalog.target
    promote(target, in_unity_catalog.weak)
    number = enter_by_hand(in_unity_catalog, in_unity_catalog.bayes)
    story.discard(target, number)
    story.discard(target, number)
    promote(target, in_unity_catalog.bayes)
    assert promotion.champion(target).version == 3
    assert [line.version for line in catalog.history(target)] == [1, 3]


def remembered(entries: list[Entry]) -> dict[str, str]:
    return {memory.MARK: memory.Mark(through=len(entries), champion=fold(entries).champion or 0).model_dump_json()}


def confirmed(entries: list[Entry]) -> list[Entry]:
    applied = {entry.number for entry in fold(entries).applied}
    outcomes = {True: log.APPLIED, False: log.LOST}
    return [
        entry if entry.expected is None else entry.model_copy(update={"outcome": outcomes[entry.number in applied]})
        for entry in entries
    ]


def with_outcomes(entries: list[Entry]) -> list[Version]:
    outcome = {entry.number: entry.outcome for entry in entries if entry.outcome}
    return [
        each.model_copy(update={"tags": each.tags | {log.OUTCOME: outcome[each.version]}})
        if each.version in outcome
        else each
        for each in written(entries)
    ]


@settings(deadline=None)
@given(logs(kinds=KINDS[:-1]), st.data())
def test_whatever_a_hand_deletes_who_is_champion_stays_known(entries, data) -> None:
    """And everybody whose number is not there is named, and the order of reading does not matter."""
    entries = confirmed(entries)
    gone = data.draw(st.sets(st.sampled_from([entry.number for entry in entries]))) if entries else set()
    left = [version for version in with_outcomes(entries) if version.version not in gone]
    now = story.fold(left, remembered(entries))
    assert now.missing == gone
    assert now.champion == fold(entries).champion
    assert story.fold(left[::-1], remembered(entries)) == now
    assert [each.version for each in story.told(left, remembered(entries))] == [entry.number for entry in entries]


@settings(deadline=None)
@given(logs(kinds=KINDS[:-1]), st.data())
def test_the_record_of_what_is_missing_tells_what_was_known_before(entries, data) -> None:
    entries = confirmed(entries)
    if not entries:
        return
    gone = data.draw(st.sets(st.sampled_from([entry.number for entry in entries]), min_size=1))
    left, tags = [v for v in with_outcomes(entries) if v.version not in gone], remembered(entries)
    before, known = story.fold(left, tags), {each.version: each for each in story.told(left, tags)}
    rest = log.without(before.line, gone)
    falls = {log.TARGET: str(rest[-1] if rest else log.NONE)} if before.champion in gone else {}
    record = {
        log.KEY: "record",
        log.KIND: "retire",
        log.EXPECTED: str(before.champion or log.NONE),
        **falls,
        **{f"{log.RETIRED}{number}": log.carry(known[number]) for number in gone},
    }
    after = story.fold([*left, Version(version=len(entries) + 1, tags=record)], tags)
    assert after.missing == frozenset()
    assert after.applied[:-1] == before.applied
    assert (after.line, after.champion) == (tuple(rest), rest[-1] if rest else None)
    assert gone <= after.retired


def test_who_was_judged_against_a_candidate_by_mistake_makes_it_no_champion() -> None:
    entries = [
        Entry(number=1, expected=0, key="1"),
        Entry(number=2),
        Entry(number=3, expected=2, key="3"),
        Entry(number=4, expected=1, key="4"),
    ]
    left = [version for version in with_outcomes(confirmed(entries)) if version.version != 2]
    now = story.fold(left, remembered(entries))
    assert (now.line, story.what_was(now, 2)) == ((1, 4), "it never was champion")


def test_an_alias_that_went_with_the_champion_is_explained_by_its_record() -> None:
    settled = {"outcome": log.APPLIED}
    entries = [Entry(number=1, expected=0, **settled), Entry(number=2, expected=1, **settled)]
    fell = Entry(number=3, kind="retire", expected=2, target=1, retires=frozenset({2}))
    now = log.fold([*entries, fell])
    assert (now.champion, now.line, [now.explains(alias) for alias in (None, 1, 2, 3)]) == (
        1,
        (1,),
        [True] * 3 + [False],
    )
    for wrong in (0, 2, 3):
        assert log.fold([*entries, fell.model_copy(update={"target": wrong})]).champion == 2


def test_after_a_beginning_anew_an_interrupted_first_promotion_is_explained() -> None:
    entries = [Entry(number=1, expected=0, outcome=log.APPLIED), Entry(number=3, expected=0)]
    now = log.fold(entries, anew_after=2)
    assert (now.champion, now.line, now.retired) == (3, (3,), {1, 2})
    assert [now.explains(alias) for alias in (None, 1, 3)] == [True, False, True]
    assert log.fold(entries[:1], anew_after=2).champion is None
