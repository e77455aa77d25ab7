"""The whole way: a challenger that passes its gate and then breaks is rolled back by the flow of a batch, and told."""

import time
from datetime import date
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.events.filters import EventFilter, EventNameFilter

from flows.batch_inference import batch_inference
from flows.create_data import create_data
from flows.monitor import monitor
from flows.train import train
from lifecycle import settings
from lifecycle.core.errors import NotFoundError
from lifecycle.inference import manifest as batches
from lifecycle.registry import catalog
from lifecycle.registry.store import target_of
from tests.probation import hours

PAGE = "monitoring-dev-ml-meters"


@pytest.mark.usefixtures("replayed_here", "server")
def test_a_challenger_that_passes_the_gate_and_breaks_is_rolled_back(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_MONITORING__PROBATION__LEAST", "1")
    monkeypatch.setenv("MLOPS_INFERENCE__WORKERS", "1")
    hours(600, 0).to_csv(tmp_path / "bikes.csv", index=False)
    with pytest.raises(NotFoundError, match="no champion"):
        monitor(model_name="meters", env="dev")
    assert not (home / "monitoring").exists()
    for name, kind in (("plain", "drop"), ("metered", "numeric")):
        columns = {"temp": "numeric", "meter": kind}
        made = {"data_name": name, "data_version": "1", "problem": "tabular-regression", "target": "cnt"}
        create_data(source=str(tmp_path / "bikes.csv"), columns=columns, key_column="instant", **made)
        train(model_name="meters", env="dev", data_name=name, data_version="1", algorithm="linear_regression")
    config = settings.load("dev", home=home)
    assert [each.champion for each in catalog.history(target_of(config, "meters"))] == [1, 2], "it passes the gate"

    hours(200, 1, broken=True).drop(columns="cnt").to_csv(tmp_path / "day.csv", index=False)
    day = {"input": str(tmp_path / "day.csv"), "key_column": "instant", "logical_date": date(2026, 11, 1)}
    done = batch_inference(model_name="meters", env="dev", **day)
    assert done.manifest.model_version == 1, "what counts is told"
    last = catalog.history(target_of(config, "meters"))[-1]
    assert (last.kind, last.champion, last.gate) == ("rollback", 1, "probation")
    assert "meter: psi" in last.reason
    assert len(batches.of_day(config.predictions, "dev.ml.meters", date(2026, 11, 1))) == 1
    again = monitor(model_name="meters", env="dev")
    assert (again.restored, again.probation.state) == ((), "rolled back")
    monkeypatch.setenv("MLOPS_MONITORING__SERVED__TABLE", str(tmp_path / "nowhere"))
    with pytest.raises(NotFoundError, match=r"nowhere is not there: monitoring\.served\.table names it"):
        monitor(model_name="meters", env="dev")
    with get_client(sync_client=True) as client:
        linked, *_ = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[PAGE])))
    page = config.measurements / "dev.ml.meters" / "report.html"
    assert f"]({page.as_uri()})" in str(linked.data)
    assert "dev.ml.meters in production" in page.read_text(encoding="utf-8")
    assert not [*config.shadows.glob("dev.ml.meters/*")], "nobody needs them any more"
    assert "automatic: v2 has broken its probation" in _heard()


def _heard() -> str:
    """The reason that the event of the rollback tells, once the server has it."""
    chosen = EventFilter(event=EventNameFilter(name=["mlops.model.rolled-back"]))
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        with get_client(sync_client=True) as client:
            events = client.read_events(chosen, limit=50).events
        if heard := [event.payload["reason"] for event in events if event.payload["model"] == "dev.ml.meters"]:
            return str(heard[0])
        time.sleep(0.2)
    raise AssertionError("no event about the rollback")


def test_the_definition_of_a_model_may_say_how_it_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "config" / "models"
    folder.mkdir(parents=True)
    said = {"data": {"name": "rides"}, "monitoring": {"window": 9, "probation": {"batches": 3}}}
    (folder / "bikes.yaml").write_text(yaml.safe_dump(said))
    (folder.parent / "prod.yaml").write_text("models: {bikes: {monitoring: {probation: {days: 2}}}}")
    monkeypatch.chdir(tmp_path)
    rules = settings.load("prod", model_name="bikes").monitoring
    assert (rules.window, rules.probation.batches, rules.probation.days) == (9, 3, 2)
    assert settings.load("dev").monitoring.probation.batches == 7
