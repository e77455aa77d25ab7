"""Refusal, promotion, rollback and rerun as Prefect flows.

Promise: A retried flow run reuses what has completed, also after its worker was killed (also
`tests/operations/test_runs.py`).
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from mlflow import MlflowClient
from prefect import State
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, TaskRunFilter
from prefect.events.filters import EventFilter, EventNameFilter

from flows.batch_inference import batch_inference
from flows.promote import promote
from flows.rollback import rollback
from flows.train import train
from lifecycle import settings
from lifecycle.core.errors import AliasMovedError, ConfigError, ConflictError, NotFoundError
from lifecycle.registry import catalog, log, store
from lifecycle.registry.store import target_of
from lifecycle.settings import Settings
from lifecycle.tracking import client as tracking
from tests.conftest import ROOT, exhaustive, write_news

NEWS: dict[str, Any] = {"data_name": "news", "data_version": "1.0.0", "model_name": "sentiment"}
WEAK: dict[str, Any] = {"model_type": "random_forest", "model_params": {"max_depth": 1, "n_estimators": 1}}


@pytest.fixture
def easy(news: Settings, replayed_here: None, monkeypatch: pytest.MonkeyPatch) -> Settings:  # noqa: ARG001
    """Rules by which 48 rows are enough, and of many challengers of a test none comes too late."""
    monkeypatch.setenv("MLOPS_GATE__REUSE", "count")
    monkeypatch.setenv("MLOPS_GATE__MIN_ROWS", "20")
    return news


def test_the_story_of_a_model(easy: Settings) -> None:
    dev = target_of(easy, "sentiment")
    weak = train(**NEWS, **WEAK)
    good = train(**NEWS, model_type="naive_bayes")
    assert (weak.promotion.champion, good.promotion.champion) == (1, 2)
    refused: State[Any] = train(**NEWS, **WEAK, return_state=True)
    assert (refused.name, refused.is_completed()) == ("Refused", True)
    assert "gain in f1_macro" in str(refused.message)
    assert store.alias_version(dev) == 2

    assert promote("sentiment").promotion.champion == 1  # numbers are those of each environment's own model
    assert store.alias_version(target_of(settings.load("staging"), "sentiment")) == 1

    back = rollback("sentiment", "dev", reason="recall fell")
    assert (back.champion, store.alias_version(dev)) == (1, 1)
    event = {"model": dev.name, "version": 1, "environment": "dev", "reason": "recall fell"}
    assert _rolled_back("recall fell") == event
    assert store.version(dev, 3).tags[log.REPORTED] == log.YES  # the run has completed: who repeats it means it
    with pytest.raises(ConflictError, match="nothing to roll back to"):
        rollback("sentiment", "dev")
    again = train(**NEWS, model_type="naive_bayes")
    assert again.promotion.champion == 4
    kinds = [(line.version, line.kind, line.champion) for line in catalog.history(dev)]
    assert kinds == [(1, "promotion", 1), (2, "promotion", 2), (3, "rollback", 1), (4, "promotion", 4)]
    assert "recall fell" in catalog.history(dev)[2].reason


def _rolled_back(reason: str) -> dict[str, Any]:
    """What the event of a rollback carries, once the server has it."""
    chosen = EventFilter(event=EventNameFilter(name=["mlops.model.rolled-back"]))
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        with get_client(sync_client=True) as client:
            payloads = [event.payload for event in client.read_events(chosen, limit=50).events]
        if heard := [payload for payload in payloads if reason in payload["reason"]]:
            return heard[0]
        time.sleep(0.2)
    raise AssertionError(f"no event of {reason!r}")


def test_what_cannot_be_done_says_so(news: Settings) -> None:
    with pytest.raises(NotFoundError, match="mlops train"):
        promote("sentiment")
    with pytest.raises(NotFoundError, match="no champion"):
        rollback("sentiment", "prod")
    with pytest.raises(NotFoundError, match=r"versions: 1\.0\.0"):
        train(**{**NEWS, "data_version": "2.0.0"})
    with pytest.raises(ConfigError, match="either an input table or the name of a dataset"):
        batch_inference("sentiment", run_id=_trained(news))


def _trained(config: Settings) -> str:
    from tests.conftest import train_model

    return train_model(config).run_id


def test_inference_by_run_and_by_dataset(news: Settings, tmp_path: Path) -> None:
    run_id = _trained(news)
    table = batch_inference("sentiment", run_id=run_id, input=str(write_news(tmp_path / "new.csv", 30)))
    assert (table.manifest.scored, table.manifest.model_version) == (30, None)
    data = batch_inference(
        "sentiment", run_id=run_id, data_name="news", data_version="1.0.0", output=str(tmp_path / "o")
    )
    assert data.manifest.scored == 96, "all but what it was trained on"
    assert Path(data.folder).is_relative_to(tmp_path / "o")


@exhaustive  # so does the retry of a run that was killed: tests/operations/test_runs.py
def test_a_retried_flow_run_reuses_what_completed(easy: Settings, server: str, tmp_path: Path) -> None:
    """An alias that a hand moves meanwhile stops the flow after the training; the retry trains nothing again."""
    dev = target_of(easy, "sentiment")
    train(**NEWS, **WEAK)
    client = tracking.client(easy.mlflow_uri)
    client.create_model_version(dev.name, "file:///elsewhere")
    hand = Thread(
        target=_once_it_trains, args=(client, partial(client.set_registered_model_alias, dev.name, "champion", "2"))
    )
    hand.start()
    state: State[Any] = train(**NEWS, model_type="naive_bayes", return_state=True)
    hand.join()
    assert state.is_failed()
    with pytest.raises(AliasMovedError, match="mlops model adopt"):
        state.result()

    client.set_registered_model_alias(dev.name, "champion", "1")
    run_id = str(state.state_details.flow_run_id)
    environment = {**os.environ, "PREFECT_API_URL": server, "PYTHONPATH": str(ROOT)}
    command = [
        sys.executable,
        "-m",
        "prefect",
        "flow-run",
        "retry",
        run_id,
        "--entrypoint",
        f"{ROOT}/flows/train.py:train",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    states = _task_states(run_id)
    assert states["train"] == ["Completed", "Cached"]
    assert store.alias_version(dev) == 3
    assert len(client.search_runs([client.get_experiment_by_name("sentiment-dev").experiment_id])) == 2


def _once_it_trains(client: MlflowClient, act: Callable[[], object]) -> None:
    """Do something as soon as the run of a second training is there."""
    experiment = client.get_experiment_by_name("sentiment-dev").experiment_id
    while len(client.search_runs([experiment])) < 2:
        time.sleep(0.05)
    act()


def _task_states(flow_run_id: str) -> dict[str, list[str]]:
    """The names of the states in which each task of a flow run ended, run by run."""
    with get_client(sync_client=True) as client:
        chosen = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
        found = client.read_task_runs(flow_run_filter=chosen, task_run_filter=TaskRunFilter(), limit=200)
    states: dict[str, list[str]] = {}
    for run in sorted(found, key=lambda each: each.start_time or each.expected_start_time):
        states.setdefault(run.name.split("-")[0], []).append(run.state_name)
    return states
