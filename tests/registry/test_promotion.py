"""Promotion, rollback and adoption: what the alias and the log say afterwards, in sqlite.

Promise: A rollback killed before it said so is not repeated one step further (also
`tests/faults/test_registry_kills.py`).
"""

import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from threading import Timer

import pytest

from lifecycle.core import names
from lifecycle.core.errors import AliasMovedError, ConfigError, ConflictError, LostRaceError, NotFoundError
from lifecycle.core.writer_process import owner, this_process
from lifecycle.models import loading
from lifecycle.registry import adoption, catalog, log, promotion, removal, store
from lifecycle.registry.promotion import Intent, Promotion
from lifecycle.registry.store import Target
from lifecycle.tracking.client import client
from tests.conftest import ROOT
from tests.registry.conftest import State, enter_by_hand, promote, roll_back, set_by_hand


def now(target: Target) -> tuple[int | None, int | None]:
    """Who is champion by the alias and by the log; reads without repairing."""
    return store.alias_version(target), promotion.read_log(target).champion


def tags(target: Target, version: int) -> dict[str, str]:
    return store.version(target, version).tags


def test_a_model_that_was_never_promoted_has_no_champion(state: State, target: Target) -> None:
    assert promotion.champion(target) is None
    assert now(target) == (None, None)
    store.create_model(target)
    assert promotion.champion(target) is None
    enter_by_hand(state, state.bayes)
    assert promotion.champion(target) is None


def test_the_first_promotion_makes_the_first_champion(state: State, target: Target) -> None:
    done = promote(target, state.bayes)
    assert (done.champion, done.previous, done.entry, done.changed) == (1, None, 1, True)
    assert now(target) == (1, 1)
    assert promotion.champion(target) == state.bayes.model_copy(
        update={
            "registry_uri": target.registry_uri,
            "uri": f"models:/{target.name}/1",
            "name": target.name,
            "version": 1,
        }
    )


def test_an_entry_holds_what_it_was_decided_on(state: State, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTOR", "octocat")
    promote(target, state.bayes)
    intent = promotion.intend(
        target, state.regression, promotion.champion(target), reason="r" * 9000, dataset_digest="d", verdict_digest="v"
    )
    promotion.promote(intent)
    written = tags(target, 2)
    assert written.pop("mlops.owner") == owner()
    made = store.model(target).created_at
    assert written == {
        "promotion.place": f"2 {made} dev.ml.sentiment",
        "idempotency_key": intent.key,
        "promotion.kind": "promotion",
        "promotion.expected": "1",
        "promotion.outcome": "applied",
        "promotion.reason": "r" * 1000,
        "promotion.source": state.regression.uri,
        "promotion.by": "octocat",
        "artifact_sha256": state.regression.artifact_sha256,
        "dataset_digest": "d",
        "verdict_digest": "v",
    }


def test_a_challenger_judged_against_a_former_champion_is_refused(state: State, target: Target) -> None:
    promote(target, state.weak)
    judged_against = promotion.champion(target)
    promote(target, state.bayes)
    with pytest.raises(LostRaceError, match="champion is v2, but the challenger was judged against v1") as lost:
        promotion.intend(target, state.regression, judged_against, reason="")
    assert lost.value.exit_code == 5
    with pytest.raises(LostRaceError, match="judged against none"):
        promotion.intend(target, state.regression, None, reason="")
    assert len(store.versions(target)) == 2


def test_the_later_of_two_entries_against_the_same_champion_loses(state: State, target: Target) -> None:
    first, second = (promotion.intend(target, m, None, reason="") for m in (state.bayes, state.regression))
    promotion.promote(first)
    with pytest.raises(LostRaceError, match="v2 lost against another promotion; the champion is v1"):
        promotion.promote(second)
    assert now(target) == (1, 1)
    assert tags(target, 2)["promotion.outcome"] == "lost"
    with pytest.raises(LostRaceError):
        promotion.promote(second)
    assert len(store.versions(target)) == 2


def test_promoting_twice_registers_once(state: State, target: Target) -> None:
    intent = promotion.intend(target, state.bayes, None, reason="")
    assert promotion.register(intent) == promotion.register(intent) == 1
    assert promotion.promote(intent) == promotion.promote(intent)
    assert len(store.versions(target)) == 1


def test_an_old_intent_carried_out_again_does_not_undo_later_promotions(state: State, target: Target) -> None:
    intent = promotion.intend(target, state.weak, None, reason="")
    promotion.promote(intent)
    promote(target, state.bayes)
    again = promotion.promote(intent)
    assert (again.changed, again.champion) == (False, 2)
    assert now(target) == (2, 2)


def test_the_same_model_can_become_champion_again_after_a_rollback(state: State, target: Target) -> None:
    promote(target, state.weak)
    promote(target, state.bayes)
    roll_back(target)
    done = promote(target, state.bayes)
    assert (done.changed, done.champion, now(target)) == (True, 4, (4, 4))


def test_a_rollback_gives_the_alias_back_to_the_earlier_number(three: Target) -> None:
    done = roll_back(three)
    assert (done.champion, done.previous, done.entry, done.changed) == (2, 1, 4, True)
    assert now(three) == (2, 2)
    assert promotion.champion(three).uri == f"models:/{three.name}/2"
    assert tags(three, 4)["promotion.target"] == "2"


def test_rolling_back_twice_walks_further_back(three: Target) -> None:
    roll_back(three)
    assert roll_back(three).champion == 1
    with pytest.raises(ConflictError, match="v1 is the first champion: nothing to roll back to") as refused:
        promotion.intend_rollback(three, None, "")
    assert refused.value.exit_code == 5


def test_a_rollback_carried_out_again_goes_back_once(three: Target) -> None:
    intent = promotion.intend_rollback(three, None, "")
    assert promotion.promote(intent) == promotion.promote(intent)
    assert now(three) == (2, 2)
    assert len(store.versions(three)) == 4


def test_a_rollback_goes_to_any_former_champion_and_nowhere_else(state: State, three: Target) -> None:
    enter_by_hand(state, state.bayes)
    for never in (4, 99):
        with pytest.raises(ConflictError, match=f"v{never} never was champion"):
            promotion.intend_rollback(three, never, "")
    assert roll_back(three, 1).champion == 1
    assert roll_back(three, 3).champion == 3
    present = promotion.intend_rollback(three, 3, "")
    assert isinstance(present, Promotion)
    assert (present.changed, present.champion) == (False, 3)


def test_a_model_without_champion_cannot_be_rolled_back(target: Target) -> None:
    with pytest.raises(NotFoundError, match="has no champion"):
        promotion.intend_rollback(target, None, "")


def test_a_rollback_decided_before_another_change_loses(state: State, three: Target) -> None:
    intent = promotion.intend_rollback(three, None, "")
    promote(three, state.bayes)
    with pytest.raises(LostRaceError):
        promotion.promote(intent)
    assert now(three) == (4, 4)


def test_an_interrupted_rollback_is_completed_not_doubled(three: Target) -> None:
    promotion.register(promotion.intend_rollback(three, None, "killed here"))
    assert now(three) == (3, 2)
    done = promotion.intend_rollback(three, None, "the person tries again")
    assert isinstance(done, Promotion)
    assert (done.champion, done.changed) == (2, True)
    assert "Completed an interrupted rollback" in done.message
    assert now(three) == (2, 2)
    assert len(store.versions(three)) == 4


def rolled_back_by_another_process(target: Target) -> None:
    """As a command does that is killed when it is done, before it says so."""
    script = (
        "import sys; from lifecycle.registry import promotion; from lifecycle.registry.store import Target\n"
        "target = Target.model_validate_json(sys.argv[1])\n"
        "promotion.promote(promotion.intend_rollback(target, None, 'bad'))"
    )
    subprocess.run([sys.executable, "-c", script, target.model_dump_json()], cwd=ROOT, check=True)


AGAIN = {
    "the same": (None, "bad"),
    "another reason": (None, "it is bad, second try"),
    "no reason": (None, ""),
    "to the same version": (2, "bad"),
}


def test_a_rollback_that_nobody_was_told_of_is_not_repeated_one_step_further(three: Target) -> None:
    rolled_back_by_another_process(three)
    assert now(three) == (2, 2)
    for name, (to_version, reason) in AGAIN.items():
        done = promotion.intend_rollback(three, to_version, reason)
        assert isinstance(done, Promotion), name
        assert done.champion == 2, name
    assert now(three) == (2, 2)
    assert "Completed an interrupted rollback" in promotion.intend_rollback(three, None, "bad").message
    promotion.report(three)
    further = promotion.intend_rollback(three, None, "worse still")
    assert isinstance(further, Intent)
    assert further.version == 1


def untold(state: State) -> Target:
    """Back to v2 by a process of another machine, which has told nobody."""
    target = state.target
    for model in (state.weak, state.bayes, state.regression):
        promote(target, model)
    roll_back(target)
    store.tag(target, 4, log.REPORTED, "elsewhere:1:0123456789abcdef")
    assert isinstance(promotion.intend_rollback(target, None, ""), Promotion)
    return target


ON_PURPOSE: dict[str, tuple[Callable[[Target], object], int]] = {
    "it was told": (promotion.report, 1),
    "the model was promoted since": (lambda target: promote(target, promotion.reference(target, 3)), 2),
    "another release made the entry": (lambda target: store.untag(target, 4, log.REPORTED), 1),
    "a clean-up has shown who is champion": (lambda target: removal.cleanup(target, 1, reason="tidy"), 1),
    "this process made it": (lambda target: store.tag(target, 4, log.REPORTED, this_process()), 1),
}


@pytest.mark.parametrize("since", ON_PURPOSE)
def test_a_second_rollback_on_purpose_goes_one_step_further(in_sqlite: State, since: str) -> None:
    target, (happens, goal) = untold(in_sqlite), ON_PURPOSE[since]
    happens(target)
    assert roll_back(target).champion == goal


def test_who_names_a_version_or_rehearses_is_not_taken_for_somebody_who_repeats(in_sqlite: State) -> None:
    target = untold(in_sqlite)
    for intent in (
        promotion.intend_rollback(target, 1, "to the first"),
        promotion.intend_rollback(target, None, "", rehearse=True),
    ):
        assert isinstance(intent, Intent)
        assert intent.version == 1
    assert now(target) == (2, 2)


def test_to_report_what_was_no_rollback_changes_nothing(in_sqlite: State) -> None:
    target = in_sqlite.target
    promotion.report(target)
    promote(target, in_sqlite.weak)
    before = tags(target, 1)
    promotion.report(target)
    assert tags(target, 1) == before
    assert log.REPORTED not in before


@pytest.mark.parametrize("earlier", [0, 1])
def test_a_promotion_killed_before_the_alias_is_completed_by_the_next_reader(
    state: State, target: Target, earlier: int
) -> None:
    for _ in range(earlier):
        promote(target, state.weak)
    promotion.register(promotion.intend(target, state.bayes, promotion.champion(target), reason="killed here"))
    assert now(target) == (earlier or None, earlier + 1)
    assert promotion.champion(target).version == earlier + 1
    assert now(target) == (earlier + 1, earlier + 1)
    assert tags(target, earlier + 1)["promotion.outcome"] == "applied"


def test_a_promotion_killed_before_its_confirmation_counts(state: State, target: Target) -> None:
    promotion.register(promotion.intend(target, state.bayes, None, reason=""))
    set_by_hand(target, 1)
    assert promotion.champion(target).version == 1
    assert tags(target, 1)["promotion.outcome"] == "applied"


def test_a_slow_writer_that_set_an_older_champion_late_is_corrected(state: State, target: Target) -> None:
    promote(target, state.weak)
    for number, model in enumerate((state.bayes, state.regression), 1):
        promotion.register(promotion.intend(target, model, promotion.reference(target, number), reason="killed here"))
    set_by_hand(target, 2)
    assert now(target) == (2, 3)
    assert promotion.champion(target).version == 3
    assert now(target) == (3, 3)


def test_an_alias_that_is_wrong_for_a_moment_is_a_slow_writer_not_a_hand(three: Target) -> None:
    set_by_hand(three, 1)
    writer = Timer(0.2, set_by_hand, (three, 3))
    writer.start()
    assert promotion.champion(three).version == 3
    writer.join()


def test_an_alias_set_by_hand_on_a_model_without_champion_is_no_champion(state: State, target: Target) -> None:
    enter_by_hand(state, state.bayes)
    set_by_hand(target, 1)
    with pytest.raises(AliasMovedError, match="moved by hand to v1; the log says none"):
        promotion.champion(target)
    promotion.settle(target, override_hand=True)
    assert now(target) == (None, None)


def test_an_alias_moved_by_hand_is_reported_with_the_ways_out_and_not_undone(three: Target) -> None:
    set_by_hand(three, 1)
    for step in (promotion.champion, lambda t: promotion.intend_rollback(t, None, "")):
        with pytest.raises(AliasMovedError, match="moved by hand to v1; the log says v3") as moved:
            step(three)
        assert moved.value.exit_code == 5
        assert "mlops model adopt --model-name sentiment --env dev --reason" in moved.value.fix
        assert "mlops doctor --repair" in moved.value.fix
    assert now(three) == (1, 3)


def test_adopting_records_what_the_hand_did(three: Target) -> None:
    set_by_hand(three, 1)
    done = adoption.adopt(three, "the pager rang")
    assert (done.champion, done.previous, done.changed, now(three)) == (1, 3, True, (1, 1))
    assert promotion.champion(three).version == 1
    last = catalog.history(three)[-1]
    assert (last.kind, last.champion, last.expected, last.reason) == ("adopt", 1, 3, "the pager rang")
    assert roll_back(three).champion == 3


def test_a_candidate_can_be_adopted(state: State, three: Target) -> None:
    set_by_hand(three, enter_by_hand(state, state.weak, **{log.ARTIFACT: state.weak.artifact_sha256}))
    assert adoption.adopt(three, "").champion == 4
    loading.verify(promotion.champion(three))


def test_adopting_where_no_hand_was_changes_nothing(state: State, three: Target) -> None:
    assert adoption.adopt(three, "").changed is False
    promotion.register(promotion.intend(three, state.bayes, promotion.champion(three), reason="killed here"))
    done = adoption.adopt(three, "")
    assert (done.changed, done.champion, now(three)) == (False, 4, (4, 4))
    assert len(store.versions(three)) == 4


def test_settling_overrides_a_hand_only_when_told_to(three: Target) -> None:
    set_by_hand(three, 1)
    promotion.settle(three, override_hand=True)
    assert now(three) == (3, 3)


def test_an_alias_in_other_letters_is_not_the_champion(three: Target) -> None:
    set_by_hand(three, 1, alias="Champion")
    assert now(three) == (3, 3)
    for alias in ("champion", "Champion", "CHAMPION", None):
        assert catalog.resolve(three, alias=alias, version=None, run_id=None).version == 3


@pytest.mark.parametrize(
    ("reference", "error", "words"),
    [
        ({"version": 7}, NotFoundError, "has no version 7"),
        ({"alias": "challenger"}, NotFoundError, "has no alias 'challenger'"),
        ({"run_id": "0" * 32}, NotFoundError, "No run"),
        ({"alias": "champion", "version": 1}, ConfigError, "exclude each other"),
        ({"version": 1, "run_id": "x"}, ConfigError, "exclude each other"),
    ],
)
def test_a_reference_to_nothing_or_to_two_things_is_an_error(three: Target, reference, error, words) -> None:
    with pytest.raises(error, match=words):
        catalog.resolve(three, **{"alias": None, "version": None, "run_id": None} | reference)


def test_a_run_that_did_not_finish_holds_no_model(state: State) -> None:
    mlflow = client(state.config.mlflow_uri)
    run = mlflow.create_run(mlflow.get_experiment_by_name("sentiment-dev").experiment_id)
    with pytest.raises(ConflictError, match="holds no finished model"):
        catalog.resolve(state.target, alias=None, version=None, run_id=run.info.run_id)


def test_the_history_tells_who_was_champion_when_why_and_by_whom(
    state: State, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTOR", "octocat")
    promote(target, state.weak, "first")
    early = promotion.intend(target, state.regression, promotion.champion(target), reason="slow")
    promote(target, state.bayes, "faster")
    with pytest.raises(LostRaceError):
        promotion.promote(early)
    enter_by_hand(state, state.weak)
    roll_back(target)
    lines = catalog.history(target)
    assert [(x.version, x.kind, x.outcome, x.champion, x.expected, x.reason) for x in lines] == [
        (1, "promotion", "applied", 1, None, "first"),
        (2, "promotion", "applied", 2, 1, "faster"),
        (3, "promotion", "lost", None, 1, "slow"),
        (4, "candidate", "candidate", None, None, ""),
        (5, "rollback", "applied", 1, 2, "it was worse"),
    ]
    assert [x.by for x in lines] == ["octocat"] * 3 + ["", "octocat"]
    assert lines[0].run_id == state.weak.run_id
    assert all(earlier.at <= later.at for earlier, later in pairwise(lines))


def test_models_are_listed_with_log_and_alias(three: Target) -> None:
    store.create_model(three.named("a.foreign.model"))
    set_by_hand(three, 1)
    listed = catalog.models(three.tracking_uri, three.registry_uri)
    told = [(m.name, m.champion, m.alias, m.settled, m.versions) for m in listed]
    assert told == [("a.foreign.model", None, None, True, 0), (three.name, 3, 1, False, 3)]
    shown = catalog.show(three)
    assert shown.aliases == {"champion": 1}
    assert [(v.version, v.aliases) for v in shown.details] == [(1, ("champion",)), (2, ()), (3, ())]
    assert shown.details[2].tags["promotion.expected"] == "2"


@pytest.mark.parametrize("name", ["a", "0", "_x", "news.v2-final_1", "a" * 64])
def test_a_name_is_safe_as_a_folder_a_registry_name_and_in_a_filter(name: str) -> None:
    assert names.is_name(name)


@pytest.mark.parametrize(
    "name", ["", "A", "a" * 65, ".a", "-a", "a/b", "a\\b", "a..b", "a b", "a\n", "a\0", "a'b", "ä", "a:b", "<script>"]
)
def test_anything_else_is_no_name(name: str) -> None:
    assert not names.is_name(name)
