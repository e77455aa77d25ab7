"""The same answers from sqlite, from a server and from Unity Catalog: each call of `store`, where what it asks differs.

Everything else about registry and promotion is decided above `store`, and tested in sqlite alone.
"""

import os
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from databricks_emulator import Emulator
from lifecycle.core.errors import (
    AliasMovedError,
    ConfigError,
    ConflictError,
    IntegrityError,
    MlopsError,
    NotFoundError,
    TransientError,
)
from lifecycle.core.names import CHAMPION, Environment
from lifecycle.core.references import ModelRef
from lifecycle.core.writer_process import OWNER, owner
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.models import loading
from lifecycle.registry import (
    adoption,
    aliases,
    card,
    catalog,
    labels,
    log,
    promotion,
    registration,
    removal,
    stages,
    store,
    transfer,
)
from lifecycle.registry.store import Target
from lifecycle.tracking import artifacts, runs
from lifecycle.tracking import client as tracking
from tests.conftest import exhaustive
from tests.registry.conftest import (
    SetStatus,
    State,
    elsewhere_too,
    enter_by_hand,
    environments,
    everywhere,
    numbers,
    on_server_too,
    promote,
    runs_of,
    set_by_hand,
    standing,
    to_server_too,
)

# --- registering


@everywhere
def test_the_same_model_is_entered_once_and_another_one_beside_it(backend: State, target: Target) -> None:
    assert registration.candidate(target, backend.bayes, tags={"team": "news"}, description="first try") == 1
    assert registration.candidate(target, backend.bayes) == 1
    assert registration.candidate(target, backend.regression) == 2
    assert numbers(target) == [1, 2]
    entered = store.version(target, 1)
    assert (entered.run_id, entered.description, entered.ready) == (backend.bayes.run_id, "first try", True)
    assert (entered.tags["team"], entered.tags[log.ARTIFACT]) == ("news", backend.bayes.artifact_sha256)
    assert entered.tags[log.SOURCE] == backend.bayes.uri
    assert standing(target) == (None, None, ())
    loading.verify(promotion.reference(target, 1))


@everywhere
@pytest.mark.parametrize("uri", ["models:/{model_id}", "runs:/{run_id}/model", "runs:/{run_id:.8}/model"])
def test_what_is_registered_by_its_uri_can_be_loaded(backend: State, target: Target, uri: str) -> None:
    model = backend.bayes
    uri = uri.format(model_id=model.uri.removeprefix("models:/"), run_id=model.run_id)
    registration.candidate(target, registration.described(target, uri))
    loading.load(promotion.reference(target, 1))


@everywhere
def test_a_uri_with_no_model_behind_it_is_refused(backend: State, target: Target) -> None:
    with pytest.raises(IntegrityError, match="no MLflow model"):
        registration.described(target, f"runs:/{backend.bayes.run_id}/plots")
    for uri in (f"runs:/{'0' * 32}/model", f"models:/{target.name}/1", "models:/m-none"):
        with pytest.raises(MlopsError, match=uri) as refused:
            registration.described(target, uri)
        assert isinstance(refused.value, NotFoundError) or refused.value.fix == "Check the URI."  # an empty folder


@elsewhere_too
def test_a_model_may_be_made_empty_and_filled_later(backend: State, target: Target) -> None:
    assert store.create_model(target, {"team": "news"}, "what it is for") is True
    assert store.create_model(target, {"team": "other"}, "changed") is False
    shown = catalog.show(target)
    assert (shown.tags, shown.description, shown.versions, shown.latest) == (
        {"team": "news"},
        "what it is for",
        0,
        None,
    )
    for question in (catalog.latest, catalog.history):
        with pytest.raises(NotFoundError, match="no version"):
            question(target)
    source = registration.described(target, backend.bayes.uri)
    assert promote(target, source).champion == 1
    assert catalog.show(target).tags.items() >= {"team": "news"}.items()


@elsewhere_too
def test_a_registration_that_failed_is_told_from_one_that_is_slow(
    backend: State, target: Target, set_status: SetStatus
) -> None:
    registration.candidate(target, backend.bayes)
    store.await_ready(target, 1, 0)
    set_status(1, store.PENDING)
    with pytest.raises(TransientError, match=r"v1 is still PENDING_REGISTRATION after 0\.2 s") as slow:
        store.await_ready(target, 1, 0.2)
    set_status(1, store.FAILED)
    with pytest.raises(IntegrityError, match="v1 failed: it is FAILED_REGISTRATION") as failed:
        store.await_ready(target, 1, 60)
    assert (slow.value.exit_code, failed.value.exit_code) == (6, 7)
    with pytest.raises(IntegrityError, match="it is gone"):
        store.await_ready(target, 2, 60)


@elsewhere_too
@pytest.mark.parametrize("mine", [False, True])
def test_a_half_written_version_of_a_dead_process_is_replaced(
    backend: State, target: Target, set_status: SetStatus, dead: str, mine: bool
) -> None:
    intent = promotion.intend(target, backend.bayes, None, reason="")
    written = {log.KEY: intent.key, log.EXPECTED: log.NONE, log.ARTIFACT: backend.bayes.artifact_sha256}
    left = enter_by_hand(backend, backend.bayes, **written, **{OWNER: owner() if mine else dead})
    set_status(left, store.PENDING)
    assert promotion.champion(target) is None
    assert promotion.promote(intent).champion == left + 1
    assert numbers(target) == [left + 1]


# --- aliases and labels


@everywhere
def test_an_alias_is_set_moved_and_removed(backend: State, target: Target) -> None:
    for model in (backend.bayes, backend.weak):
        registration.candidate(target, model)
    assert aliases.put(target, "challenger", 1) is None
    assert aliases.put(target, "CHALLENGER", 2) == 1
    assert aliases.put(target, "blue", 1, custom=("blue",)) is None
    assert aliases.every(target) == {"blue": 1, "challenger": 2}
    assert (aliases.get(target, "Challenger"), catalog.resolve(target, alias="BLUE").version) == (2, 1)
    assert catalog.show_version(target, 2).aliases == ("challenger",)
    assert aliases.remove(target, "blue") == 1, "one that the settings no longer name can still be removed"
    assert aliases.every(target) == {"challenger": 2}


@elsewhere_too
def test_an_alias_in_other_letters_counts_until_it_is_set_properly(backend: State, target: Target) -> None:
    for model in (backend.bayes, backend.weak):
        registration.candidate(target, model)
    set_by_hand(target, 1, "Challenger")
    assert (aliases.get(target, "challenger"), aliases.other_cases(target)) == (1, ["Challenger"])
    set_by_hand(target, 2, "challenger")
    assert aliases.every(target) == {"challenger": 2}
    assert aliases.put(target, "challenger", 1) == 2
    assert store.model(target).aliases == {"challenger": 1}
    set_by_hand(target, 2, "SHADOW")
    assert aliases.remove(target, "shadow") == 2
    assert store.model(target).aliases == {"challenger": 1}


@everywhere
def test_what_an_alias_needs_and_is_not_there_is_not_found(backend: State, target: Target) -> None:
    for question in (
        lambda: aliases.put(target, "shadow", 1),
        lambda: aliases.remove(target, "shadow"),
        lambda: aliases.get(target, "shadow"),
    ):
        with pytest.raises(NotFoundError, match=r"no model dev\.ml\.sentiment"):
            question()
    registration.candidate(target, backend.bayes)
    aliases.put(target, "canary", 1)
    with pytest.raises(NotFoundError, match="has no version 7"):
        aliases.put(target, "canary", 7)
    for question in (aliases.get, aliases.remove):
        with pytest.raises(NotFoundError, match="no alias 'shadow'; it has: canary"):
            question(target, "shadow")
    assert aliases.every(target) == {"canary": 1}


@everywhere
def test_tags_and_descriptions_are_set_changed_and_removed(backend: State, target: Target) -> None:
    registration.candidate(target, backend.bayes)
    before, of_model = store.version(target, 1).tags, store.model(target).tags
    for number in (None, 1):
        labels.put(target, "team", "news", number)
        labels.put(target, "team", "sport", number)
        labels.put(target, "empty", "", number)
        labels.describe(target, f"what {number} is for", number)
    assert store.version(target, 1).tags == {**before, "team": "sport", "empty": ""}
    assert store.model(target).tags == {**of_model, "team": "sport", "empty": ""}
    assert (store.version(target, 1).description, store.model(target).description) == (
        "what 1 is for",
        "what None is for",
    )
    for number in (None, 1):
        labels.remove(target, "team", number)
        labels.remove(target, "empty", number)
        labels.describe(target, "", number)
    assert (store.version(target, 1).tags, store.version(target, 1).description) == (before, "")
    assert (store.model(target).tags, store.model(target).description) == (of_model, "")


@everywhere
def test_the_longest_tag_fits(backend: State, target: Target) -> None:
    registration.candidate(target, backend.bayes)
    for number in (None, 1):
        labels.put(target, "k" * 250, "x" * 1000, number)
        labels.remove(target, "k" * 250, number)


@everywhere
def test_labels_of_what_is_not_there_are_not_found(backend: State, target: Target) -> None:
    for number, words in ((None, "no model"), (1, "no version 1")):
        for attempt in (
            lambda n: labels.put(target, "k", "v", n),
            lambda n: labels.remove(target, "k", n),
            lambda n: labels.describe(target, "x", n),
        ):
            with pytest.raises(NotFoundError, match=words):
                attempt(number)
    registration.candidate(target, backend.bayes)
    for number, where in ((None, "sentiment"), (1, "sentiment v1")):
        with pytest.raises(NotFoundError, match=f"{where} has no tag 'k'"):
            labels.remove(target, "k", number)


# --- the catalog


@elsewhere_too
def test_a_version_is_shown_with_its_lineage(backend: State, target: Target) -> None:
    promote(target, backend.bayes)
    digest = tracking.client(target.tracking_uri).get_run(backend.bayes.run_id).data.tags["mlops.dataset_digest"]
    shown = catalog.show_version(target, 1)
    assert (shown.name, shown.version, shown.status, shown.stage) == (target.name, 1, "READY", "")
    assert (shown.run_id, shown.artifact_sha256) == (backend.bayes.run_id, backend.bayes.artifact_sha256)
    assert (shown.dataset, shown.dataset_digest, shown.source) == ("news 1.0.0", digest, backend.bayes.uri)
    assert shown.aliases == ("champion",)
    assert [catalog.show(target).details, catalog.search(target.tracking_uri, target.registry_uri)] == [
        (shown,),
        [shown],
    ]
    with pytest.raises(NotFoundError, match="has no version 2"):
        catalog.show_version(target, 2)
    if backend.in_unity_catalog:
        page = f"{os.environ['DATABRICKS_HOST']}/explore/data/models/dev/ml/sentiment"
        assert (shown.link, shown.run_link, catalog.show(target).link) == (f"{page}/version/1", "", page)
    elif target.tracking_uri.startswith("http"):
        page = f"{target.tracking_uri}/#/models/{target.name}"
        assert (shown.link, catalog.show(target).link) == (f"{page}/versions/1", page)
        assert shown.run_link == f"{target.tracking_uri}/#/experiments/1/runs/{backend.bayes.run_id}"
    else:
        assert (shown.link, shown.run_link) == ("", "")


@everywhere
def test_versions_are_found_by_name_tag_run_and_data(backend: State, target: Target) -> None:
    other = target.named("prod.ml.other")
    registration.candidate(target, backend.bayes, tags={"team": "news", "tier": "1"})
    registration.candidate(target, backend.weak, tags={"team": "sport"})
    registration.candidate(other, backend.bayes)
    labels.put(other, "team", "news")
    digest = catalog.show_version(target, 1).dataset_digest

    def found(**conditions: str) -> list[tuple[str, int]]:
        return [
            (each.name.rpartition(".")[2], each.version)
            for each in catalog.search(target.tracking_uri, target.registry_uri, **conditions)
        ]

    first, second, elsewhere = ("sentiment", 1), ("sentiment", 2), ("other", 1)
    everything = [first, second, elsewhere]
    assert found() == everything
    assert (found(name="dev.*"), found(name="*.other"), found(name="sentiment")) == ([first, second], [elsewhere], [])
    assert found(tag="team") == everything
    assert found(tag="team=news") == [first, elsewhere], "the model's tag counts for its versions"
    assert (found(tag="tier=2"), found(tag="tie")) == ([], [])
    assert found(run_id=backend.bayes.run_id) == [first, elsewhere]
    for dataset in ("news", "news 1.0.0", digest, digest[:8]):
        assert found(dataset=dataset) == everything
    for dataset in ("new", "news 1.0", digest[:7], digest[1:]):
        assert found(dataset=dataset) == []
    assert found(name="dev.*", tag="team=news", run_id=backend.bayes.run_id, dataset="news") == [first]
    assert found(name="dev.*", tag="team=sport", run_id=backend.bayes.run_id) == []


@everywhere
def test_listings_are_read_to_their_end_and_sorted(
    backend: State, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PAGE", 2)
    letters = "ecadb"
    for letter in letters:
        store.create_model(target.named(f"dev.ml.{letter}"))
    five = target.named("dev.ml.a")
    for _ in letters:
        enter_by_hand(backend, backend.weak, five)
    known = [f"dev.ml.{letter}" for letter in sorted(letters)]
    assert store.names(target.tracking_uri, target.registry_uri) == known
    assert [m.name for m in catalog.models(target.tracking_uri, target.registry_uri)] == known
    assert numbers(five) == [1, 2, 3, 4, 5]
    assert catalog.latest(five).version == 5
    assert len(catalog.search(target.tracking_uri, target.registry_uri, name="*.a")) == 5


@elsewhere_too
def test_the_signature_is_what_the_model_declares(backend: State, target: Target) -> None:
    promote(target, backend.bayes)
    declared = catalog.signature(promotion.champion(target))
    assert declared == catalog.signature(backend.bayes)
    assert '"name": "text"' in declared["inputs"]


# --- removing


@elsewhere_too
def test_what_something_depends_on_is_not_deleted(backend: State, three: Target) -> None:
    aliased = enter_by_hand(backend, backend.weak)
    copied = registration.candidate(three, backend.bayes)
    aliases.put(three, "shadow", aliased)
    prod = three.named("prod.ml.sentiment")
    registration.candidate(prod, promotion.reference(three, copied))
    spare = enter_by_hand(backend, backend.weak)
    reasons = {
        1: "a rollback can lead back to it",
        2: "a rollback can lead back to it",
        3: "it is the champion",
        aliased: "alias shadow points to it",
        copied: r"prod\.ml\.sentiment v1 is a copy of it",
    }
    for number, why in reasons.items():
        with pytest.raises(ConflictError, match=f"v{number} stays: {why}"):
            removal.delete_version(three, number, reason="")
    with pytest.raises(NotFoundError, match="no version 99"):
        removal.delete_version(three, 99, reason="")
    planned = removal.delete_version(three, spare, reason="", dry_run=True)
    assert (planned.deleted, planned.done, numbers(three)) == ((spare,), False, [1, 2, 3, 4, 5, 6])
    done = removal.delete_version(three, spare, reason="no use")
    assert (done.deleted, done.done, numbers(three)) == ((spare,), True, [1, 2, 3, 4, 5, 7])
    with pytest.raises(ConflictError, match="v7 stays: it is the record of deleted versions"):
        removal.delete_version(three, 7, reason="")
    assert standing(three) == (3, 3, (1, 2, 3))


@everywhere
def test_a_clean_up_collects_the_files_that_nothing_refers_to(backend: State, three: Target) -> None:
    lies = backend.folder(backend.weak)
    assert (lies / "MLmodel").is_file()
    done = removal.cleanup(three, 1, reason="")
    assert (done.deleted, done.collected) == ((1,), (backend.weak.uri,))
    assert not list(lies.rglob("*"))
    with pytest.raises(ConflictError, match="was cleaned up"):
        runs.trained(three.tracking_uri, backend.weak.run_id)
    with pytest.raises(ConflictError, match="were cleaned up"):
        registration.candidate(three, backend.weak)
    assert runs.state_of(three.tracking_uri, backend.weak.run_id) == "fine"
    for version in (2, 3):
        loading.verify(promotion.reference(three, version))
    loading.verify(backend.bayes)
    assert catalog.history(three)[0].run_id == backend.weak.run_id


@elsewhere_too
def test_a_model_is_deleted_when_nothing_depends_on_it(backend: State, target: Target) -> None:
    with pytest.raises(NotFoundError, match="no model"):
        removal.delete_model(target)
    promote(target, backend.bayes)
    with pytest.raises(ConflictError, match="stays: v1 is its champion") as refused:
        removal.delete_model(target)
    assert "--with-champion" in refused.value.fix
    prod = target.named("prod.ml.sentiment")
    registration.candidate(prod, promotion.reference(target, 1))
    with pytest.raises(ConflictError, match=r"prod\.ml\.sentiment v1 is a copy of its v1"):
        removal.delete_model(target, with_champion=True)
    assert removal.delete_model(prod, dry_run=True).done is False
    assert numbers(prod) == [1]
    assert removal.delete_model(prod).deleted == (1,)
    assert removal.delete_model(target, with_champion=True).done
    assert store.names(target.tracking_uri, target.registry_uri) == []
    loading.verify(backend.bayes)


@elsewhere_too
def test_a_model_is_renamed_when_nothing_reads_it_by_its_name(backend: State, target: Target) -> None:
    with pytest.raises(NotFoundError, match="no model"):
        removal.rename(target, "dev.ml.mood")
    registration.candidate(target, backend.bayes)
    aliases.put(target, "shadow", 1)
    copy, mood = target.named("prod.ml.sentiment"), target.named("dev.ml.mood")
    registration.candidate(copy, promotion.reference(target, 1))
    with pytest.raises(ConflictError, match=r"There is a model prod\.ml\.sentiment already"):
        removal.rename(target, copy.name)
    with pytest.raises(ConflictError, match=r"prod\.ml\.sentiment v1 is a copy of its v1"):
        removal.rename(target, mood.name)
    removal.delete_model(copy)
    removal.rename(target, mood.name, dry_run=True)
    assert store.model(mood) is None
    removal.rename(target, mood.name)
    assert (store.model(target), numbers(mood), aliases.every(mood)) == (None, [1], {"shadow": 1})
    loading.verify(promotion.reference(mood, 1))
    promote(mood, promotion.reference(mood, 1))
    with pytest.raises(ConflictError, match="v1 is its champion"):
        removal.rename(mood, target.name)


# --- promotion


@everywhere
def test_a_second_promotion_replaces_the_champion_and_remembers_it(backend: State, target: Target) -> None:
    promote(target, backend.bayes)
    done = promote(target, backend.regression)
    assert (done.champion, done.previous) == (2, 1)
    assert "v2 (was v1): better" in done.message
    assert standing(target)[:2] == (2, 2)
    loading.verify(promotion.champion(target))


@elsewhere_too
def test_an_alias_removed_by_hand_is_reported_and_cannot_be_adopted(three: Target) -> None:
    store.mlflow_of(three).delete_registered_model_alias(three.name, CHAMPION)
    with pytest.raises(AliasMovedError, match="removed by hand; the log says v3") as removed:
        promotion.champion(three)
    assert "mlops doctor --repair" in removed.value.fix
    with pytest.raises(ConflictError, match="no champion alias to adopt"):
        adoption.adopt(three, "")


@elsewhere_too
def test_deleting_the_champions_version_does_not_silently_crown_another(three: Target) -> None:
    store.mlflow_of(three).delete_model_version(three.name, "3")
    with pytest.raises(MlopsError):
        promotion.champion(three)


@elsewhere_too
def test_a_reference_resolves_to_one_exact_version(backend: State, three: Target) -> None:
    set_by_hand(three, 2, alias="challenger")

    def resolved(**reference: object) -> ModelRef:
        return catalog.resolve(three, **{"alias": None, "version": None, "run_id": None} | reference)

    assert resolved(alias="Challenger").version == 2
    assert resolved(version=1) == promotion.reference(three, 1)
    assert resolved(run_id=backend.bayes.run_id) == backend.bayes


@everywhere
def test_an_unknown_model_is_not_found_whatever_is_asked_of_it(backend: State) -> None:
    nobody = backend.target.named("dev.ml.nobody")
    for reference in ({"alias": None}, {"alias": "challenger"}, {"version": 1}):
        with pytest.raises(NotFoundError):
            catalog.resolve(nobody, **{"alias": None, "version": None, "run_id": None} | reference)
    for question in (catalog.show, catalog.history):
        with pytest.raises(NotFoundError, match=r"no model dev\.ml\.nobody"):
            question(nobody)
    assert store.versions(nobody) == []


@everywhere
def test_promotion_to_the_next_environment_carries_the_files_and_no_approval(backend: State, target: Target) -> None:
    promote(target, backend.bayes)
    store.tag(target, 1, "validation_status", "approved")
    source, prod = promotion.champion(target), target.named("prod.ml.sentiment")
    promotion.promote(promotion.intend(prod, source, None, reason="champion of dev"))
    entered = promotion.champion(prod)
    assert (entered.name, entered.version) == ("prod.ml.sentiment", 1)
    assert (entered.artifact_sha256, entered.run_id) == (backend.bayes.artifact_sha256, backend.bayes.run_id)
    assert "validation_status" not in store.version(prod, 1).tags
    assert store.version(prod, 1).tags["promotion.reason"] == "champion of dev"
    loading.load(entered)
    store.mlflow_of(target).delete_registered_model(target.name)
    loading.load(entered)


@on_server_too
def test_a_log_longer_than_a_page_is_read_to_its_end(
    backend: State, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PAGE", 2)
    promote(target, backend.weak)
    for _ in range(4):
        enter_by_hand(backend, backend.weak)
    done = promote(target, backend.bayes)
    assert (done.champion, done.previous) == (6, 1)
    assert [v.version for v in store.versions(target)] == list(range(1, 7))
    assert standing(target)[:2] == (6, 6)


@everywhere
def test_numbers_are_not_given_twice(backend: State, three: Target) -> None:
    """What the record of missing versions rests on."""
    for number in ("1", "2", "3"):
        store.mlflow_of(three).delete_model_version(three.name, number)
    assert enter_by_hand(backend, backend.weak) == 4


@everywhere
@pytest.mark.usefixtures("original")  # trained before MLflow's memory of where runs lie is cleared
def test_the_same_card_stands_in_the_run_and_in_the_description(backend: State, target: Target, tmp_path: Path) -> None:
    promote(target, backend.bayes)
    labels.describe(target, "First release", 1)
    written = card.write(backend.config, "sentiment", 1)
    assert written == card.read(backend.config, "sentiment", 1)
    uri = f"runs:/{backend.bayes.run_id}/model_card/{target.name}-v1.md"
    assert artifacts.download(target.tracking_uri, uri, tmp_path).read_text(encoding="utf-8") == written
    assert store.version(target, 1).description == f"First release\n\n{labels.CARD}\n\n{written.rstrip()}"


# --- what only sqlite and a server have


@on_server_too
def test_a_migration_enters_each_staged_version_in_its_environment_once(staged: State) -> None:
    source = staged.target.named("sentiment")
    targets = environments(source)
    planned = stages.plan(source, targets)
    assert [(m.version, m.to, m.champion) for m in planned.moves] == [
        (1, "prod.ml.sentiment", False),
        (2, "prod.ml.sentiment", True),
        (3, "staging.ml.sentiment", True),
    ]
    assert (planned.without_stage, planned.ambiguous, planned.done) == ((4,), (), False)
    assert store.names(source.tracking_uri) == ["sentiment"]
    done = stages.migrate(source, targets)
    assert [(m.version, m.entered) for m in done.moves] == [(1, 1), (2, 2), (3, 1)]
    assert stages.migrate(source, targets).moves == done.moves
    prod, staging = targets[Environment.PROD], targets[Environment.STAGING]
    assert (numbers(prod), standing(prod)) == ([1, 2], (2, 2, (2,)))
    assert (numbers(staging), standing(staging)) == ([1], (1, 1, (1,)))
    assert store.model(targets[Environment.DEV]) is None
    champion = promotion.champion(prod)
    assert (champion.run_id, champion.artifact_sha256) == (staged.bayes.run_id, staged.bayes.artifact_sha256)
    assert store.version(prod, 1).tags[stages.MIGRATED] == "models:/sentiment/1"
    loading.load(champion)
    loaded = mlflow.pyfunc.load_model("models:/sentiment/Production")
    assert len(loaded.predict(pd.DataFrame({"text": ["profit rose"]}))) == 1


def paths(model: ModelRef, tmp_path: Path) -> dict[str, bytes]:
    """The artifacts of a model's run."""
    folder = artifacts.download(model.tracking_uri, f"runs:/{model.run_id}/", tmp_path)
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@to_server_too
def test_a_model_is_carried_to_another_server_once_with_all_that_its_run_holds(
    state: State, elsewhere: Target, tmp_path: Path
) -> None:
    promote(state.target, state.bayes)
    model = promotion.champion(state.target)
    brought = transfer.bring(model, elsewhere)
    assert transfer.bring(model, elsewhere) == brought
    [copy] = runs_of(elsewhere, state.bayes)
    source = tracking.client(model.tracking_uri).get_run(model.run_id)
    assert (copy.data.params, copy.data.metrics) == (source.data.params, source.data.metrics)
    for key in ("mlops.dataset_digest", "mlops.data_name", runs.TRAIN_KEY):
        assert copy.data.tags[key] == source.data.tags[key]
    assert copy.data.tags[runs.MODEL_URI] == brought.uri != source.data.tags[runs.MODEL_URI]
    assert (brought.artifact_sha256, brought.tracking_uri) == (model.artifact_sha256, elsewhere.tracking_uri)
    for folder in ("there", "here"):
        (tmp_path / folder).mkdir()
    assert paths(brought, tmp_path / "there") == paths(model, tmp_path / "here")
    promote(elsewhere, brought)
    champion = promotion.champion(elsewhere)
    loading.load(champion)
    here, there = (evaluation.request_for(m, state.config.datasets, "news", "1.0.0") for m in (model, champion))
    pd.testing.assert_frame_equal(evaluation.stored(here), evaluation.stored(there))
    assert evaluation.claim(champion) == evaluation.claim(model)
    assert evaluation.claim(champion).origin == "recorded"
    assert list(evaluation.trained_keys(champion)) == list(evaluation.trained_keys(model))
    assert transfer.bring(champion, elsewhere) == champion
    trusting = elsewhere.model_copy(update={"allow_pickle": True})
    assert transfer.bring(champion, trusting).allow_pickle
    assert transfer.bring(model, trusting).allow_pickle


# --- what only Unity Catalog has


@pytest.mark.parametrize(
    ("call", "after", "times"),
    [
        ("registered-models/create", True, 1),
        ("model-versions/create", True, 1),
        ("model-versions/create", True, 9),
        ("model-versions/finalize", True, 1),
        ("model-versions/finalize", False, 9),
    ],
)
def test_a_lost_reply_leaves_one_version_and_the_right_champion(
    in_unity_catalog: State, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, call: str, after: bool, times: int
) -> None:
    """The client asks again by itself; failures that last end the promotion, and it is carried out again."""
    target = in_unity_catalog.target
    intent = promotion.intend(target, in_unity_catalog.bayes, None, reason="")
    try:
        emulator.fail(call, 503, times=times, after=after)
        if times > 1:
            with pytest.raises(TransientError):
                promotion.promote(intent)
            emulator.fail(call, times=0)
        else:
            monkeypatch.delenv("MLFLOW_ENABLE_DB_SDK")
        done = promotion.promote(intent)
    finally:
        emulator.fail(call, times=0)
    [only] = store.versions(target)
    assert (only.status, only.tags[log.KEY]) == (store.READY, intent.key)
    assert done.champion == only.version
    assert standing(target) == (only.version, only.version, (only.version,))
    loading.verify(promotion.champion(target))


def test_a_wrong_token_is_a_refusal_that_a_person_must_cure(
    in_unity_catalog: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-wrong")
    for call in (
        lambda t: registration.candidate(t, in_unity_catalog.bayes),
        promotion.champion,
        catalog.show,
        store.versions,
    ):
        with pytest.raises(ConfigError, match="refused the credentials") as refused:
            call(in_unity_catalog.target)
        assert not isinstance(refused.value, NotFoundError)
        assert "dapi-wrong" not in str(refused.value)


def test_a_service_principal_promotes(
    in_unity_catalog: State, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_ENABLE_DB_SDK")
    monkeypatch.delenv("DATABRICKS_TOKEN")
    for name, value in emulator.service_principal.items():
        monkeypatch.setenv(name, value)
    assert promote(in_unity_catalog.target, in_unity_catalog.bayes).champion == 1
    loading.verify(promotion.champion(in_unity_catalog.target))


def test_a_profile_named_in_the_uri_promotes(
    in_unity_catalog: State, emulator: Emulator, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_ENABLE_DB_SDK")
    bare.write_text(f"[work]\nhost = {emulator.url}\ntoken = {emulator.token}\n", encoding="utf-8")
    target = in_unity_catalog.target.model_copy(update={"registry_uri": "databricks-uc://work"})
    assert promote(target, in_unity_catalog.bayes).champion == 1
    loading.verify(promotion.champion(target))


REFUSALS = {
    "USE SCHEMA": {"missing": ["USE SCHEMA"]},
    "CREATE MODEL ON SCHEMA": {"missing": ["CREATE MODEL"]},
    "CREATE MODEL VERSION ON MODEL": {"missing": ["CREATE MODEL VERSION"]},
    "CREATE SCHEMA": {"absent": ["dev.ml"]},
}
FURTHER = {
    "USE CATALOG": {"missing": ["USE CATALOG"]},
    "APPLY TAG ON MODEL": {"missing": ["APPLY TAG"]},
    "MANAGE ON MODEL": {"missing": ["MANAGE"]},
    "EXECUTE ON MODEL": {"missing": ["EXECUTE"]},
    "CREATE CATALOG": {"absent": ["dev"]},
}


@pytest.mark.parametrize("grant", [*REFUSALS, *(pytest.param(grant, marks=exhaustive) for grant in FURTHER)])
def test_who_lacks_a_grant_is_told_which_and_the_same_again_completes(
    in_unity_catalog: State, emulator: Emulator, grant: str
) -> None:
    intent = promotion.intend(in_unity_catalog.target, in_unity_catalog.bayes, None, reason="better")
    emulator.restrict(**(REFUSALS | FURTHER)[grant])
    try:
        with pytest.raises(ConfigError) as refused:
            promotion.promote(intent)
    finally:
        emulator.clear()
    assert grant in refused.value.fix
    assert promotion.promote(intent).champion == 1
