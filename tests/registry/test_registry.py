"""The registry beside promotion: register, name, describe, find, remove; the same in sqlite, on a server and in UC.

What only one kind of registry can show says so by its fixture: `state` is sqlite, `emulator` Unity Catalog.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from databricks_emulator import Emulator
from lifecycle.core.errors import (
    ConfigError,
    ConflictError,
    IntegrityError,
    LostRaceError,
    MlopsError,
    NotFoundError,
    TransientError,
)
from lifecycle.core.names import Environment
from lifecycle.core.references import ModelRef
from lifecycle.core.writer_process import OWNER, owner
from lifecycle.databricks import client as workspace
from lifecycle.databricks import credentials
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.models import loading
from lifecycle.registry import (
    aliases,
    catalog,
    labels,
    log,
    promotion,
    registration,
    removal,
    stages,
    store,
    story,
    transfer,
)
from lifecycle.registry.promotion import Intent
from lifecycle.registry.store import Target
from lifecycle.settings import load as settings
from lifecycle.tracking import client as tracking
from lifecycle.tracking import runs
from tests.conftest import free_port
from tests.registry.conftest import State, enter_by_hand, not_in_unity_catalog, promote, set_by_hand

SetStatus = Callable[[int, str], None]


@pytest.fixture
def target(backend: State) -> Target:
    return backend.target


def numbers(target: Target) -> list[int]:
    return [version.version for version in store.versions(target)]


def standing(target: Target) -> tuple[int | None, int | None, tuple[int, ...]]:
    """The champion by the alias and by the log, and the line a rollback walks back."""
    now = promotion.read_log(target)
    return store.alias_version(target), now.champion, now.line


def roll_back(target: Target, to_version: int | None = None) -> None:
    intent = promotion.intend_rollback(target, to_version, "it was worse")
    assert isinstance(intent, Intent)
    promotion.promote(intent)


@pytest.fixture(scope="module")
def dead() -> str:
    """The owner tag of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return f"{socket.gethostname()}:{process.pid}"


# --- registering


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


def test_a_challenger_is_a_candidate_with_that_alias(backend: State, target: Target) -> None:
    for _ in range(2):
        assert promotion.enter_challenger(target, backend.bayes).version == 1
    assert promotion.enter_challenger(target, backend.weak).version == 2
    assert aliases.every(target) == {"challenger": 2}
    assert standing(target) == (None, None, ())


def test_a_model_is_described_by_any_uri_of_its_server(backend: State, target: Target) -> None:
    registration.candidate(target, backend.bayes)
    for uri in (backend.bayes.uri, f"runs:/{backend.bayes.run_id}/model", f"models:/{target.name}/1"):
        found = registration.described(target, uri)
        assert (found.run_id, found.artifact_sha256) == (backend.bayes.run_id, backend.bayes.artifact_sha256)
        assert found.registry_uri == target.registry_uri
        loading.verify(found)


@pytest.mark.parametrize("uri", ["models:/{model_id}", "runs:/{run_id}/model"])
def test_what_is_registered_by_its_uri_can_be_loaded(backend: State, target: Target, uri: str) -> None:
    model = backend.bayes
    uri = uri.format(model_id=model.uri.removeprefix("models:/"), run_id=model.run_id)
    registration.candidate(target, registration.described(target, uri))
    loading.load(promotion.reference(target, 1))


@pytest.mark.parametrize("uri", ["file:///model", "/model", "model", "s3://bucket/model", "mlflow-artifacts:/1", ""])
def test_a_uri_from_outside_is_refused_with_the_way_in(target: Target, uri: str) -> None:
    with pytest.raises(ConfigError, match="neither a models:/ nor a runs:/ URI") as refused:
        registration.described(target, uri)
    assert "register-external" in refused.value.fix


def test_a_uri_with_no_model_behind_it_is_refused(backend: State, target: Target) -> None:
    with pytest.raises(IntegrityError, match="no MLflow model"):
        registration.described(target, f"runs:/{backend.bayes.run_id}/plots")
    for uri in (f"runs:/{'0' * 32}/model", f"models:/{target.name}/1", "models:/m-none"):
        with pytest.raises(IntegrityError, match=uri):
            registration.described(target, uri)


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


def test_after_a_failed_registration_the_model_is_registered_anew(
    backend: State, target: Target, set_status: SetStatus
) -> None:
    intent = promotion.intend(target, backend.bayes, None, reason="")
    promotion.register(intent)
    set_status(1, store.FAILED)
    done = promotion.promote(intent)
    assert (done.champion, done.entry) == (2, 2)
    assert standing(target) == (2, 2, (2,))


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


def test_a_promotion_does_not_overtake_one_that_another_process_is_writing(
    backend: State, target: Target, set_status: SetStatus, monkeypatch: pytest.MonkeyPatch, dead: str
) -> None:
    monkeypatch.setattr(store, "READY_SECONDS", 0.3)
    intent = promotion.intend(target, backend.bayes, None, reason="")
    other = f"{socket.gethostname()}:{os.getppid()}"
    earlier = {log.EXPECTED: log.NONE, log.ARTIFACT: backend.weak.artifact_sha256, OWNER: other}
    set_status(enter_by_hand(backend, backend.weak, **earlier), store.PENDING)
    with pytest.raises(TransientError, match=f"v1 is still being written by {other}"):
        promotion.promote(intent)
    assert standing(target) == (None, None, ())
    store.tag(target, 1, OWNER, dead)
    done = promotion.promote(intent)
    assert (done.champion, numbers(target)) == (2, [2])


@not_in_unity_catalog
def test_a_promotion_that_waited_for_an_earlier_one_loses_against_it(
    backend: State, target: Target, set_status: SetStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "READY_SECONDS", 0.3)
    intent = promotion.intend(target, backend.bayes, None, reason="")
    earlier = {log.EXPECTED: log.NONE, log.ARTIFACT: backend.weak.artifact_sha256, OWNER: "elsewhere:1"}
    set_status(enter_by_hand(backend, backend.weak, **earlier), store.PENDING)
    with pytest.raises(TransientError):
        promotion.promote(intent)
    set_status(1, store.READY)
    with pytest.raises(LostRaceError, match="v2 lost"):
        promotion.promote(intent)
    assert standing(target) == (1, 1, (1,))


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


def test_a_server_that_cannot_be_reached_may_be_back_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = f"http://127.0.0.1:{listener.getsockname()[1]}"
    for question in (store.versions, store.model, catalog.history):
        with pytest.raises(TransientError, match="did not answer"):
            question(Target(tracking_uri=nobody, name="dev.ml.sentiment"))


# --- aliases


@pytest.mark.parametrize(
    ("alias", "custom", "name"),
    [
        ("challenger", (), "challenger"),
        ("Shadow", (), "shadow"),
        ("CANARY", (), "canary"),
        ("Champion", (), "champion"),
        ("Blue", ("blue",), "blue"),
        ("blue", ("BLUE",), "blue"),
    ],
)
def test_an_alias_is_of_the_vocabulary_or_of_the_settings_whatever_its_case(alias, custom, name) -> None:
    assert aliases.checked(alias, custom) == name


@pytest.mark.parametrize(
    ("alias", "custom", "words"),
    [
        ("latest", (), "reserved"),
        ("Latest", ("latest",), "reserved"),
        ("v3", (), "reserved"),
        ("V3", ("v3",), "reserved"),
        ("blue", (), "not a known alias; known are champion, challenger, shadow, canary"),
        ("", (), "not a known alias"),
        ("a b", ("a b",), "not a known alias"),
        ("1st", ("1st",), "not a known alias"),
        ("a" * 65, ("a" * 65,), "not a known alias"),
    ],
)
def test_any_other_alias_is_refused(alias, custom, words) -> None:
    with pytest.raises(ConfigError, match=words):
        aliases.checked(alias, custom)


def test_the_settings_of_an_environment_add_aliases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_ALIASES", '["blue"]')
    assert aliases.checked("blue", settings.load("dev").aliases) == "blue"


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


@pytest.mark.parametrize("alias", ["champion", "Champion"])
def test_the_champion_is_out_of_reach_of_the_alias_command(backend: State, target: Target, alias: str) -> None:
    promote(target, backend.bayes)
    registration.candidate(target, backend.weak)
    for attempt in (lambda: aliases.put(target, alias, 2), lambda: aliases.remove(target, alias)):
        with pytest.raises(ConflictError, match="promotion log alone") as refused:
            attempt()
        assert "mlops rollback" in refused.value.fix
    assert standing(target) == (1, 1, (1,))


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


# --- labels


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


@pytest.mark.parametrize("number", [None, 1])
@pytest.mark.parametrize(
    "key",
    [*log.OWNED, log.EXPECTED, log.KIND, log.TARGET, log.OUTCOME, log.SOURCE, f"{log.RETIRED}3", "promotion.new"],
)
def test_no_tag_of_the_log_is_written_or_removed_by_hand(tmp_path: Path, key: str, number: int | None) -> None:
    nowhere = Target(tracking_uri=f"sqlite:///{tmp_path}/never-asked.db", name="dev.ml.sentiment")
    with pytest.raises(ConflictError, match="belongs to the promotion log"):
        labels.put(nowhere, key, "x", number)
    with pytest.raises(ConflictError, match="belongs to the promotion log"):
        labels.remove(nowhere, key, number)


@pytest.mark.parametrize(("key", "value"), [("", "x"), (" ", "x"), ("k" * 251, "x"), ("k", "x" * 1001)])
def test_a_tag_that_some_registry_cannot_hold_is_refused(tmp_path: Path, key: str, value: str) -> None:
    nowhere = Target(tracking_uri=f"sqlite:///{tmp_path}/never-asked.db", name="dev.ml.sentiment")
    with pytest.raises(ConfigError, match="1 to 250 characters"):
        labels.put(nowhere, key, value)


def test_the_longest_tag_fits(backend: State, target: Target) -> None:
    registration.candidate(target, backend.bayes)
    for number in (None, 1):
        labels.put(target, "k" * 250, "x" * 1000, number)
        labels.remove(target, "k" * 250, number)


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


def test_the_signature_is_what_the_model_declares(backend: State, target: Target) -> None:
    promote(target, backend.bayes)
    declared = catalog.signature(promotion.champion(target))
    assert declared == catalog.signature(backend.bayes)
    assert '"name": "text"' in declared["inputs"]


@not_in_unity_catalog
def test_the_champion_of_any_moment_is_told(backend: State, three: Target) -> None:
    roll_back(three)
    early = promotion.intend(three, backend.bayes, promotion.reference(three, 2), reason="")
    promote(three, backend.weak)
    with pytest.raises(LostRaceError):
        promotion.promote(early)
    registration.candidate(three, backend.bayes)
    at = {line.version: line.at for line in catalog.history(three)}
    moment = timedelta(milliseconds=1)
    assert catalog.champion_at(three, at[1] - moment) is None
    for number, champion in ((1, 1), (2, 2), (3, 3), (4, 2), (5, 5), (6, 5), (7, 5)):
        exactly = at[number]
        assert catalog.champion_at(three, exactly).champion == champion
        assert catalog.champion_at(three, exactly.replace(tzinfo=None)).champion == champion
        assert catalog.champion_at(three, exactly.astimezone(timezone(timedelta(hours=5)))).champion == champion
    for number, champion in ((2, 1), (3, 2), (4, 3), (5, 2)):
        assert catalog.champion_at(three, at[number] - moment).champion == champion


# --- removing


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


@not_in_unity_catalog
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


@not_in_unity_catalog
def test_the_entry_of_a_rollback_can_go_without_undoing_it(three: Target) -> None:
    roll_back(three)
    assert removal.delete_version(three, 4, reason="").deleted == (4,)
    assert promotion.champion(three).version == 2
    assert standing(three) == (2, 2, (1, 2))
    assert catalog.history(three)[3].kind == "rollback"


@not_in_unity_catalog
def test_deleting_twice_is_deleting_once(backend: State, target: Target) -> None:
    promote(target, backend.bayes)
    spare = enter_by_hand(backend, backend.weak)
    for _ in range(2):
        assert removal.delete_version(target, spare, reason="").deleted == (spare,)
        assert numbers(target) == [1, 3]


@not_in_unity_catalog
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


@not_in_unity_catalog
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


@not_in_unity_catalog
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


class Killed(BaseException):
    """The process ends here."""


def killed(*_: Any) -> None:
    raise Killed


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


@not_in_unity_catalog
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


@not_in_unity_catalog
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


# --- stages: Unity Catalog has none


@pytest.fixture(params=["state", "on_server"])
def staged(request: pytest.FixtureRequest) -> State:
    """A model of former times: v1 archived, v2 in production, v3 in staging, v4 in no stage."""
    state = request.getfixturevalue(request.param)
    source = state.target.named("sentiment")
    for model, stage in ((state.weak, "Archived"), (state.bayes, "Production"), (state.regression, "Staging")):
        move(source, enter_by_hand(state, model, source), stage)
    enter_by_hand(state, state.weak, source)
    return state


def move(source: Target, version: int, stage: str) -> None:
    store.mlflow_of(source).transition_model_version_stage(source.name, str(version), stage)


def environments(source: Target) -> dict[Environment, Target]:
    return {env: source.named(f"{env}.ml.sentiment") for env in Environment}


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


def test_a_migration_is_undone_until_something_else_is_entered(staged: State) -> None:
    source = staged.target.named("sentiment")
    targets = environments(source)
    both = ("staging.ml.sentiment", "prod.ml.sentiment")
    stages.migrate(source, targets)
    assert stages.undo(source, targets, dry_run=True) == both
    assert len(store.names(source.tracking_uri)) == 3
    assert stages.undo(source, targets) == both
    assert store.names(source.tracking_uri) == ["sentiment"]
    assert stages.undo(source, targets) == ()
    stages.migrate(source, targets)
    promote(targets[Environment.PROD], staged.regression)
    with pytest.raises(ConflictError, match=r"prod\.ml\.sentiment has changed since the migration: v3"):
        stages.undo(source, targets)
    assert len(store.names(source.tracking_uri)) == 3


def test_what_is_ambiguous_is_not_migrated_at_all(staged: State) -> None:
    source = staged.target.named("sentiment")
    targets = environments(source)
    move(source, 4, "Production")
    with pytest.raises(ConflictError, match="v2, v4 are all in stage Production"):
        stages.migrate(source, targets)
    move(source, 4, "Archived")
    promote(targets[Environment.STAGING], staged.weak)
    with pytest.raises(ConflictError, match=r"staging\.ml\.sentiment has versions of its own"):
        stages.migrate(source, targets)
    assert store.names(source.tracking_uri) == ["sentiment", "staging.ml.sentiment"]
    with pytest.raises(NotFoundError, match="no model nobody"):
        stages.plan(source.named("nobody"), targets)


def test_a_stage_resolves_to_its_latest_version(staged: State) -> None:
    source = staged.target.named("sentiment")
    assert catalog.resolve(source, stage="production").version == 2
    assert catalog.show_version(source, 2).stage == "Production"
    assert catalog.show_version(source, 4).stage == ""
    move(source, 4, "Production")
    assert catalog.resolve(source, stage="Production").version == 4
    with pytest.raises(ConfigError, match="is not a stage"):
        catalog.resolve(source, stage="prod")
    with pytest.raises(ConfigError, match="exclude each other"):
        catalog.resolve(source, stage="Production", version=1)
    move(source, 3, "None")
    with pytest.raises(NotFoundError, match="no version in stage Staging"):
        catalog.resolve(source, stage="staging")


# --- from one server to another


@pytest.fixture(params=["sqlite", "server"])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path, migrated: Path) -> Target:
    """A production registry on another tracking server."""
    if request.param == "server":
        uri = request.getfixturevalue("on_server").config.mlflow_uri
    else:
        (tmp_path / "prod").mkdir()
        uri = f"sqlite:///{tmp_path / 'prod' / 'mlflow.db'}"
        (tmp_path / "prod" / "mlflow.db").write_bytes(migrated.read_bytes())
    return Target(tracking_uri=uri, name="prod.ml.sentiment")


def runs_of(target: Target, model: ModelRef) -> list[Any]:
    """The copies of a model's run at a target."""
    client = tracking.client(target.tracking_uri)
    found = client.search_runs([e.experiment_id for e in client.search_experiments()])
    return [run for run in found if run.data.tags.get(transfer.COPIED_FROM, "").endswith(model.run_id)]


def paths(model: ModelRef, tmp_path: Path) -> dict[str, bytes]:
    """The artifacts of a model's run."""
    folder = tracking.download(model.tracking_uri, f"runs:/{model.run_id}/", tmp_path)
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


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


def test_a_copy_that_was_interrupted_or_cleaned_up_is_made_again(
    state: State, elsewhere: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "upload", killed)
        with pytest.raises(Killed):
            transfer.bring(state.bayes, elsewhere)
    [left] = runs_of(elsewhere, state.bayes)
    first = transfer.bring(state.bayes, elsewhere)
    assert first.run_id != left.info.run_id
    loading.verify(first)
    promote(elsewhere, first)
    promote(elsewhere, transfer.bring(state.regression, elsewhere))
    assert removal.cleanup(elsewhere, 0, reason="").collected == (first.uri,)
    second = transfer.bring(state.bayes, elsewhere)
    assert second.run_id != first.run_id
    loading.verify(second)


def test_keys_of_another_run_are_not_carried(state: State, elsewhere: Target, tmp_path: Path) -> None:
    mlflow = tracking.client(state.config.mlflow_uri)
    path = tracking.download(state.config.mlflow_uri, f"runs:/{state.weak.run_id}/training/keys.parquet", tmp_path)
    pd.read_parquet(path).head(3).to_parquet(path, index=False)
    mlflow.log_artifact(state.bayes.run_id, str(path), "training")
    with pytest.raises(IntegrityError, match="not those that were recorded with its model"):
        transfer.bring(state.bayes, elsewhere)
    assert all(run.info.status != "FINISHED" for run in runs_of(elsewhere, state.bayes))


def test_a_damaged_model_is_not_carried(state: State, elsewhere: Target) -> None:
    (state.folder(state.bayes) / "MLmodel").write_text("{}", encoding="utf-8")
    with pytest.raises(IntegrityError, match="the files digest to"):
        transfer.bring(state.bayes, elsewhere)
    assert runs_of(elsewhere, state.bayes) == []


# --- credentials


HOST, TOKEN = {"DATABRICKS_HOST": "https://x"}, {"DATABRICKS_TOKEN": "secret"}
ID, SECRET = {"DATABRICKS_CLIENT_ID": "id"}, {"DATABRICKS_CLIENT_SECRET": "secret"}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No credentials from outside; the path of the profile file."""
    for name in [name for name in os.environ if name.startswith("DATABRICKS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "databrickscfg"))
    return tmp_path / "databrickscfg"


@pytest.mark.parametrize("uri", ["databricks", "databricks-uc"])
@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "DATABRICKS_HOST, DATABRICKS_TOKEN (or DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET)"),
        (HOST, "DATABRICKS_TOKEN (or DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET)"),
        (TOKEN, "DATABRICKS_HOST"),
        (ID | SECRET, "DATABRICKS_HOST"),
        (HOST | ID, "DATABRICKS_CLIENT_SECRET"),
        (HOST | SECRET, "DATABRICKS_CLIENT_ID"),
        (HOST | {"DATABRICKS_TOKEN": ""}, "DATABRICKS_TOKEN (or DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET)"),
        (HOST | TOKEN, None),
        (HOST | ID | SECRET, None),
        ({"DATABRICKS_AUTH_TYPE": "azure-cli"}, None),
    ],
)
@pytest.mark.usefixtures("bare")
def test_what_is_missing_of_the_credentials_is_named(
    monkeypatch: pytest.MonkeyPatch, uri: str, given: dict[str, str], missing: str | None
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    if missing is None:
        credentials.require_credentials(uri)
        return
    with pytest.raises(ConfigError) as refused:
        credentials.require_credentials(uri)
    assert refused.value.what == f"{uri} needs a workspace and credentials; missing: {missing}."
    assert "secret" not in str(refused.value)


@pytest.mark.usefixtures("bare")
def test_credentials_are_asked_for_before_the_first_call_and_only_by_databricks() -> None:
    with pytest.raises(ConfigError, match="missing: DATABRICKS_HOST"):
        tracking.client("sqlite:////nowhere/at/all.db", "databricks-uc")
    for uri in ("sqlite:///x.db", "http://127.0.0.1:5000", "databricks.db"):
        credentials.require_credentials(uri)


GOOD = "[prod]\nhost = https://x\ntoken = secret\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "Profile 'prod' needs .*databrickscfg, which is not there"),
        ("[dev]\nhost = https://x\n", "has no profile 'prod'; it has: dev"),
        ("", "has no profile 'prod'; it has: none"),
        ("[prod]\ntoken = secret\n", "Profile 'prod' in .* has no `host`"),
        ("[prod]\nhost = https://x\n", "has no credentials: it needs a `token`, or `client_id` and `client_secret`"),
        ("[prod]\nhost = https://x\nclient_id = a\n", "has no credentials"),
        ("host = https://x\n", "is not a Databricks profile file"),
        (b"\xff\xfe[prod]", "is not a Databricks profile file"),
        (GOOD, None),
        ("[DEFAULT]\ntoken = secret\n[prod]\nhost = https://x\n", None),
        ("[prod]\nhost = https://x\nclient_id = a\nclient_secret = %b\n", None),
        ("[prod]\nhost = https://x\nauth_type = azure-cli\n", None),
    ],
)
@pytest.mark.parametrize("named", ["in the uri", "in the environment"])
def test_a_profile_must_hold_a_workspace_and_credentials(
    bare: Path, monkeypatch: pytest.MonkeyPatch, content: str | bytes | None, words: str | None, named: str
) -> None:
    if content is not None:
        bare.write_bytes(content if isinstance(content, bytes) else content.encode())
    uri = "databricks-uc://prod" if named == "in the uri" else "databricks-uc"
    if uri == "databricks-uc":
        monkeypatch.setenv("DATABRICKS_CONFIG_PROFILE", "prod")
    if words is None:
        credentials.require_credentials(uri)
        return
    with pytest.raises(ConfigError, match=words) as refused:
        credentials.require_credentials(uri)
    assert "secret" not in str(refused.value).replace("client_secret", "")


def test_the_default_profile_is_one_like_any_other(bare: Path) -> None:
    bare.write_text("[DEFAULT]\nhost = https://x\ntoken = secret\n", encoding="utf-8")
    credentials.require_credentials("databricks-uc://DEFAULT")


@pytest.mark.parametrize(
    ("given", "profile", "ways"),
    [
        (
            TOKEN | ID | SECRET,
            "",
            r"oauth \(DATABRICKS_CLIENT_ID, DATABRICKS_CLIENT_SECRET\) and pat \(",
        ),
        (TOKEN | SECRET, "", r"oauth \(DATABRICKS_CLIENT_SECRET\) and pat"),
        (TOKEN | {"DATABRICKS_USERNAME": "joe", "DATABRICKS_PASSWORD": "secret"}, "", r"basic .* and pat"),
        (
            ID | SECRET | {"ARM_CLIENT_ID": "id", "ARM_TENANT_ID": "x"},
            "",
            r"azure \(ARM_CLIENT_ID, ARM_TENANT_ID\) and oauth",
        ),
        (TOKEN | {"GOOGLE_CREDENTIALS": "secret"}, "", r"google \(GOOGLE_CREDENTIALS\) and pat"),
        (TOKEN | {"DATABRICKS_OIDC_TOKEN_FILEPATH": "/x"}, "", r"file-oidc .* and pat"),
        (
            TOKEN,
            "client_id = a\nclient_secret = b\n",
            r"oauth \(`client_id` of the profile, .*\) and pat \(",
        ),
        (ID | SECRET, "token = secret\n", r"oauth \(DATABRICKS_CLIENT_ID.* and pat \(`token` of the profile"),
        ({}, "token = secret\nclient_id = a\nclient_secret = b\n", r"oauth .* and pat"),
        (TOKEN, "token = secret\n", None),
        (ID | SECRET | {"DATABRICKS_TOKEN": ""}, "", None),
        (TOKEN | ID | SECRET | {"DATABRICKS_AUTH_TYPE": "pat"}, "", None),
        (TOKEN, "client_id = a\nclient_secret = b\nauth_type = pat\n", None),
    ],
)
def test_two_ways_to_sign_in_at_once_are_named(
    bare: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], profile: str, ways: str | None
) -> None:
    """Databricks' client refuses them too, but only after the workspace has answered, or after minutes."""
    for name, value in (HOST | given).items():
        monkeypatch.setenv(name, value)
    bare.write_text(f"[prod]\nhost = https://x\n{profile}", encoding="utf-8")
    uri = "databricks://prod" if profile else "databricks"
    if ways is None:
        credentials.require_credentials(uri)
        return
    with pytest.raises(ConfigError, match=f"more than one way to sign in to Databricks: {ways}") as refused:
        credentials.require_credentials(uri)
    assert "= secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "error", "words"),
    [
        ("http://127.0.0.1:{port}", TransientError, "does not answer"),
        ("127.0.0.1:{port}", TransientError, "at https://127.0.0.1:.* does not answer"),
        ("https://nowhere.invalid", TransientError, "does not answer"),
        ("http://[x", ConfigError, "is no address of a workspace"),
        ("what ever", ConfigError, "is no address of a workspace"),
        ("ftp://x", ConfigError, "is no address of a workspace"),
    ],
)
@pytest.mark.usefixtures("bare")
def test_a_workspace_that_does_not_answer_is_named_at_once(
    monkeypatch: pytest.MonkeyPatch, host: str, error: type[Exception], words: str
) -> None:
    """MLflow asks it for five minutes a call."""
    for name, value in {"DATABRICKS_HOST": host.format(port=free_port()), **TOKEN}.items():
        monkeypatch.setenv(name, value)
    for uri, registry in (("databricks", ""), ("sqlite:////nowhere/at/all.db", "databricks-uc")):
        with pytest.raises(error, match=words):
            tracking.client(uri, registry)
    with pytest.raises(error, match=words):
        workspace.client()


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
