"""An entry of the log counts in its own model and under its own number; what MLflow copies is a candidate."""

import contextlib
from pathlib import Path

import pytest

from lifecycle import doctor
from lifecycle.core.errors import IntegrityError, LostRaceError
from lifecycle.models import loading
from lifecycle.registry import binding, catalog, log, memory, missing, promotion, removal, store, story
from lifecycle.registry.store import Target
from lifecycle.tracking import champions
from tests.registry.conftest import State, elsewhere_too, enter_by_hand, promote


def copy(source: str, target: Target) -> int:
    return int(store.mlflow_of(target).copy_model_version(f"models:/{source}", target.name).version)


def copy_in(backend: State, source: Target, number: int, target: Target) -> int:
    """The same; MLflow's client cannot copy a version in Unity Catalog that was made of no logged model."""
    if not backend.in_unity_catalog:
        return copy(f"{source.name}/{number}", target)
    return enter_by_hand(backend, backend.bayes, target, **store.version(source, number).tags)


def as_before(target: Target) -> None:
    """A model as a release left it that bound no entry."""
    for version in store.versions(target):
        store.untag(target, version.version, log.PLACE)
    for tag in (memory.UNBOUND, memory.MARK):
        store.untag(target, None, tag)


@elsewhere_too
def test_a_copied_entry_is_a_candidate_and_its_origin_is_told(backend: State, three: Target) -> None:
    prod = three.named("prod.ml.sentiment")
    promote(prod, backend.weak)
    number = copy_in(backend, three, 2, prod)
    copied = binding.version(prod, number)
    assert (copied.copy_of, set(copied.tags) & {log.KIND, log.KEY, log.EXPECTED}) == (f"{three.name} v2", set())
    found = promotion.champion(prod)
    assert (found and found.version, store.alias_version(prod)) == (1, 1)
    line = catalog.history(prod)[-1]
    assert (line.kind, line.reason) == ("candidate", f"copied past mlops from {three.name} v2")
    assert promotion.read_log(prod).line == (1,)


def test_a_copy_may_be_judged_as_any_candidate(backend: State, three: Target) -> None:
    prod = three.named("prod.ml.sentiment")
    promote(prod, backend.weak)
    candidate = promotion.reference(prod, copy(f"{three.name}/2", prod))
    loading.verify(candidate)
    said = {f.what: f.message for f in doctor.examine([backend.config], repair=True)}[f"{prod.name} v2"]
    assert said.endswith("mlops promote --model-name sentiment --from prod --to prod --version 2")
    done = promotion.promote(promotion.intend(prod, candidate, promotion.champion(prod), reason="judged"))
    assert promotion.champion(prod).artifact_sha256 == backend.bayes.artifact_sha256
    assert done.previous == 1


def test_a_copy_into_a_model_of_others_makes_it_none_of_ours(backend: State, three: Target) -> None:
    other = three.named("fraud")
    store.create_model(other)
    copy(f"{three.name}/3", other)
    assert store.alias_version(other) is None
    doctor.examine([backend.config], repair=True)
    assert (store.alias_version(other), store.model(other).tags) == (None, {})


def test_history_tells_of_a_copy_that_was_deleted_what_it_told_before(three: Target) -> None:
    number = copy(f"{three.name}/2", three)
    before = catalog.history(three)[-1]
    removal.delete_version(three, number, reason="by mistake")
    assert catalog.history(three)[number - 1] == before.model_copy(update={"deleted": True})


def test_an_entry_that_says_another_number_counts_for_nothing(backend: State, three: Target) -> None:
    """Somebody entered a version between the look at the numbers and the creation."""
    place = binding.Place(9, store.model(three).created_at, three.name)
    tags = {log.KEY: "k", log.KIND: "promotion", log.EXPECTED: "3", log.OUTCOME: log.APPLIED, log.PLACE: str(place)}
    store.create_version(three, backend.weak.uri, backend.weak.run_id, tags)
    assert promotion.champion(three).version == 3
    assert promote(three, backend.bayes).champion == 5


def test_a_copied_record_of_a_deletion_deletes_nothing(backend: State, three: Target) -> None:
    promote(three, backend.bayes)
    copy(f"{three.name}/1", three)
    removal.delete_version(three, 5, reason="by mistake")
    prod = three.named("prod.ml.sentiment")
    for model in (backend.weak, backend.bayes):
        promote(prod, model)
    copy(f"{three.name}/6", prod)
    assert promotion.read_log(prod).retired == frozenset()
    assert [line.version for line in catalog.history(prod)] == [1, 2, 3]


def test_the_log_of_an_earlier_release_counts_and_copies_of_it_do_not(backend: State, three: Target) -> None:
    prod = three.named("prod.ml.sentiment")
    promote(prod, promotion.reference(three, 1))
    for model in (three, prod):
        as_before(model)
    copy(f"{three.name}/3", prod)
    enter_by_hand(backend, backend.bayes, prod, **{log.ARTIFACT: backend.bayes.artifact_sha256})
    copies = ["", f"{three.name} v3", ""]
    assert [version.copy_of for version in binding.versions(prod)] == copies
    assert (promotion.champion(prod).version, promotion.champion(three).version) == (1, 3)
    assert [store.model(model).tags[memory.UNBOUND] for model in (three, prod)] == ["3", "3 2"]
    copy(f"{three.name}/3", prod)
    assert [version.copy_of for version in binding.versions(prod)] == [*copies, f"{three.name} v3"]
    assert promotion.champion(prod).version == 1


def test_a_renamed_model_keeps_its_log(backend: State, three: Target) -> None:
    store.mlflow_of(three).rename_registered_model(three.name, "dev.ml.tone")
    renamed = three.named("dev.ml.tone")
    assert promotion.champion(renamed).version == 3
    assert promote(renamed, backend.weak).previous == 3


@elsewhere_too
def test_what_this_project_deletes_or_renames_is_not_missed(backend: State, target: Target) -> None:
    promote(target, backend.bayes)
    assert list(champions.notes(target.tracking_uri, target.name)) == [backend.bayes.run_id]
    removal.delete_model(target, with_champion=True)
    assert promotion.champion(target) is None
    assert promote(target, backend.regression).champion == 1


@pytest.mark.parametrize("name", ["it's", "back`tick", "dev.ml.none"])
def test_no_run_speaks_of_a_model_that_never_had_a_champion(state: State, name: str) -> None:
    assert champions.notes(state.config.mlflow_uri, name) == {}


def test_a_model_that_was_deleted_is_missed_by_doctor_and_history(
    state: State, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(target, state.bayes)
    store.mlflow_of(target).delete_registered_model(target.name)
    (tmp_path / "config" / "models").mkdir(parents=True)
    (tmp_path / "config" / "models" / "sentiment.yaml").write_text(
        "problem: text-classification\ndata: {name: news, source: news.csv}\n"
    )
    monkeypatch.chdir(tmp_path)
    told = f"was deleted or renamed past this command; v1 (run {state.bayes.run_id}) was its champion"
    assert [told in f.message for f in doctor.examine([state.config], repair=True) if f.state == "problem"] == [True]
    with pytest.raises(IntegrityError, match="past this command"):
        catalog.history(target)


def test_a_copy_of_an_earlier_release_is_one_though_its_origin_is_gone(state: State, three: Target) -> None:
    as_before(three)
    prod = three.named("prod.ml.sentiment")
    copy(f"{three.name}/1", prod)
    store.mlflow_of(three).delete_model_version(three.name, "1")
    assert binding.version(prod, 1).copy_of == f"{three.name} v1"
    assert promotion.champion(prod) is None
    assert promote(prod, state.bayes).champion == 2


def test_a_copy_by_way_of_another_model_is_one(backend: State, three: Target) -> None:
    other = three.named("x")
    enter_by_hand(backend, backend.bayes, other)
    copy(f"{three.name}/1", other)
    copy("x/2", three)
    assert binding.version(three, 4).copy_of == "x v2"


def test_unreadable_records_of_deletions_are_told(state: State, three: Target) -> None:
    number = str(copy(f"{three.name}/1", three))
    for tag, value in (("two", "x"), ("2", "gone"), ("9", '[1, "r", 3]')):
        store.tag(three, int(number), log.RETIRED + tag, value)
        with pytest.raises(IntegrityError, match="unreadable promotion tags"):
            promotion.champion(three)
        with pytest.raises(IntegrityError, match="unreadable promotion tags"):
            catalog.history(three)
        doctor.examine([state.config], repair=True)
        assert [each.name for each in catalog.models(three.tracking_uri)] == [three.name]
        store.untag(three, int(number), log.RETIRED + tag)
    assert promotion.champion(three).version == 3


@pytest.mark.parametrize("named", [None, 4])
def test_the_first_of_two_entries_of_one_place_that_is_gone_is_recorded(
    state: State, three: Target, named: int | None
) -> None:
    """Both were entered at once as version 4; the first is deleted before either was settled."""
    place = story.next_place(three)
    for model in (state.bayes, state.weak):
        tags = {log.KEY: model.run_id, log.KIND: "promotion", log.EXPECTED: "3", log.PLACE: str(place)}
        enter_by_hand(state, model, three, **tags, **{log.ARTIFACT: model.artifact_sha256})
    store.mlflow_of(three).delete_model_version(three.name, "4")
    for _ in range(2):  # its number was known to nobody before the record; then the other entry is believed
        try:
            found = promotion.champion(three)
        except IntegrityError:
            with contextlib.suppress(LostRaceError):
                missing.retire(three, named, reason="seen")
    found = promotion.champion(three)
    assert found is not None
    assert found.version in {3, 5}
    assert store.alias_version(three) == found.version
