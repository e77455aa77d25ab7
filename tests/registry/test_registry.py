"""The registry beside promotion: register, name, describe, find.

What differs from one kind of registry to another is in `test_everywhere.py`.
"""

import os
import socket
from datetime import timedelta, timezone
from pathlib import Path

import pytest

from lifecycle import settings
from lifecycle.core.errors import ConfigError, ConflictError, LostRaceError, TransientError
from lifecycle.core.writer_process import OWNER
from lifecycle.models import loading
from lifecycle.registry import (
    aliases,
    catalog,
    labels,
    log,
    promotion,
    registration,
    store,
)
from lifecycle.registry.store import Target
from lifecycle.settings import Settings
from tests.registry.conftest import (
    SetStatus,
    State,
    enter_by_hand,
    numbers,
    promote,
    roll_back,
    standing,
)

# --- registering


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


@pytest.mark.parametrize("uri", ["file:///model", "/model", "model", "s3://bucket/model", "mlflow-artifacts:/1", ""])
def test_a_uri_from_outside_is_refused_with_the_way_in(target: Target, uri: str) -> None:
    with pytest.raises(ConfigError, match="neither a models:/ nor a runs:/ URI") as refused:
        registration.described(target, uri)
    assert "register-external" in refused.value.fix


def test_after_a_failed_registration_the_model_is_registered_anew(
    backend: State, target: Target, set_status: SetStatus
) -> None:
    intent = promotion.intend(target, backend.bayes, None, reason="")
    promotion.register(intent)
    set_status(1, store.FAILED)
    done = promotion.promote(intent)
    assert (done.champion, done.entry) == (2, 2)
    assert standing(target) == (2, 2, (2,))


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


@pytest.mark.parametrize("alias", ["champion", "Champion"])
def test_the_champion_is_out_of_reach_of_the_alias_command(backend: State, target: Target, alias: str) -> None:
    promote(target, backend.bayes)
    registration.candidate(target, backend.weak)
    for attempt in (lambda: aliases.put(target, alias, 2), lambda: aliases.remove(target, alias)):
        with pytest.raises(ConflictError, match="promotion log alone") as refused:
            attempt()
        assert "mlops rollback" in refused.value.fix
    assert standing(target) == (1, 1, (1,))


# --- labels


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


@pytest.mark.parametrize("key", ["a=b", "a b/c=ü", "../x", "a//b"])
def test_a_tag_that_mlflow_does_not_take_is_refused_in_its_words(news: Settings, key: str) -> None:
    target = Target(tracking_uri=news.mlflow_uri, name="dev.ml.sentiment")
    store.create_model(target)
    with pytest.raises(ConfigError, match=r"MLflow takes no tag .*Names may") as refused:
        labels.put(target, key, "x")
    assert "\n" not in str(refused.value)
    assert store.model(target).tags == {}  # type: ignore[union-attr]


# --- the catalog


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
