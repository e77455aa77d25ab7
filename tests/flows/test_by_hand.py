"""Candidates, promotion past the gate, rehearsal, and the events that all of it emits."""

import shutil
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from prefect import State
from prefect.events.worker import EventsWorker

from flows.promote import promote
from flows.rollback import rollback
from flows.train import train
from lifecycle.core.errors import ConfigError, IntegrityError, NotFoundError
from lifecycle.registry import aliases, catalog, promotion, store
from lifecycle.registry.store import target_of
from lifecycle.settings import Settings

NEWS: dict[str, Any] = {"data_name": "news", "data_version": "1.0.0", "model_name": "sentiment"}
WEAK: dict[str, Any] = {"model_type": "random_forest", "model_params": {"max_depth": 1, "n_estimators": 1}}
BY_HAND: dict[str, Any] = {"source_env": "dev", "target_env": "dev", "version": 1, "skip_gate": True}


def heard(server: str, env: str, since: datetime, wanted: int) -> list[tuple[str, str]]:
    """Which events about models the server has got since then, with the version, in the order in which they happened.

    The server answers with at most 50 events, and other tests of this process have left theirs there.
    """
    EventsWorker.drain_all(timeout=240)
    happened = {"since": since.isoformat(), "until": datetime.now(UTC).isoformat()}
    body = {"filter": {"event": {"prefix": ["mlops.model."]}, "occurred": happened, "order": "ASC"}, "limit": 50}
    for _ in range(50):
        events = httpx.post(f"{server}/events/filter", json=body).json()["events"]
        found = [
            e for e in events if e["payload"]["environment"] == env and e["payload"]["model"] == "dev.ml.sentiment"
        ]
        if len(found) >= wanted:
            return [(e["event"].removeprefix("mlops.model."), e["resource"]["mlops.version"]) for e in found]
        time.sleep(0.2)
    raise AssertionError(f"{len(found)} events instead of {wanted}")


@pytest.mark.usefixtures("replayed_here")
def test_a_refused_candidate_is_promoted_by_hand_and_rolled_back_after_a_rehearsal(
    news: Settings, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dev = target_of(news, "sentiment")
    since = datetime.now(UTC)
    monkeypatch.setenv("MLOPS_GATE__FLOORS", '{"f1_macro": 0.9}')
    monkeypatch.setenv("MLOPS_GATE__MIN_ROWS", "20")
    refused: State[Any] = train(**NEWS, **WEAK, as_candidate=True, return_state=True)
    assert refused.name == "Refused"
    assert (aliases.get(dev, "challenger"), promotion.champion(dev)) == (1, None)

    with pytest.raises(ConfigError, match=r"skip_gate: true.*config/dev\.yaml"):
        promote("sentiment", **BY_HAND, reason="the deadline")
    monkeypatch.setenv("MLOPS_SKIP_GATE", "true")
    with pytest.raises(ConfigError, match="needs a reason"):
        promote("sentiment", **BY_HAND)
    assert promote("sentiment", **BY_HAND, reason="the deadline").promotion.champion == 1
    assert "Promoted past the gate. Its last verdict here: keep: " in store.version(dev, 1).description
    store.describe(dev, 1, "")  # as if it had ended before the model card was written
    assert "champion already" in promote("sentiment", **BY_HAND, reason="once more").message
    assert "Promoted past the gate" in store.version(dev, 1).description
    assert len(store.versions(dev)) == 2
    assert catalog.history(dev)[-1].model_dump(include={"gate", "reason"}) == {
        "gate": "skipped",
        "reason": "the deadline",
    }

    assert train(**NEWS, model_type="naive_bayes").promotion.champion == 3
    assert "Accepted in dev, on " in store.version(dev, 3).description
    rehearsed = rollback("sentiment", "dev", rehearse=True)
    assert (rehearsed.changed, store.alias_version(dev)) == (False, 3)
    assert store.version(dev, 1).tags[promotion.ROLLBACK_READY].count("-") == 2
    assert len(store.versions(dev)) == 3
    assert rollback("sentiment", "dev", reason="it was worse").champion == 1
    request = store.version(dev, 4).tags["promotion.request"]
    again = promotion.intend_rollback(dev, None, "the same flow run, started again", request=request)
    assert (again.changed, again.champion) == (False, 1)
    assert heard(server, "dev", since, 7) == [
        ("registered", "1"),
        ("refused", "1"),
        ("registered", "2"),
        ("promoted", "1"),
        ("registered", "3"),
        ("promoted", "3"),
        ("rolled-back", "1"),
    ]
    shutil.rmtree(news.state / "artifacts")
    with pytest.raises(
        IntegrityError, match=r"v1: its artifacts .* Roll back or train again.* mlops promote --skip-gate"
    ):
        promote("sentiment", **BY_HAND, reason="once more")


@pytest.mark.usefixtures("news")
def test_what_is_absent_in_the_source_environment_is_named() -> None:
    with pytest.raises(
        NotFoundError, match=r"staging\.ml\.sentiment has no champion to promote: it is absent in staging"
    ):
        promote("sentiment", "staging", "prod")
    with pytest.raises(NotFoundError, match=r"dev\.ml\.sentiment has no version 7"):
        promote("sentiment", "dev", "staging", version=7)
    with pytest.raises(ConfigError, match="Name two environments, or a --version"):
        promote("sentiment", "dev", "dev")
