"""A batch belongs to a day: the one that is named, else the one for which its run was scheduled."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.flow_engine import run_flow
from prefect.states import Scheduled

from flows.batch_inference import batch_inference
from flows.create_data import create_data
from lifecycle.core.errors import ConfigError
from lifecycle.settings import Settings
from tests.conftest import train_model, write_news


@pytest.fixture
def model(news: Settings) -> dict[str, Any]:
    return {"model_name": "sentiment", "env": "dev", "run_id": train_model(news).run_id}


def test_the_day_stands_in_the_input_and_in_the_output(model: dict[str, Any], tmp_path: Path) -> None:
    write_news(tmp_path / "news-2026-03-29.csv", 30)
    batch = batch_inference(**model, input=f"{tmp_path}/news-{{logical_date}}.csv", logical_date=date(2026, 3, 29))
    assert (batch.manifest.logical_date, batch.manifest.scored) == (date(2026, 3, 29), 30)
    assert Path(batch.folder).name.startswith("2026-03-29-")
    with pytest.raises(ConfigError, match="--logical-date"):
        batch_inference(**model, input=f"{tmp_path}/news-{{logical_date}}.csv")


@pytest.mark.parametrize(
    ("zone", "day"), [("Europe/Helsinki", "2026-10-25"), ("UTC", "2026-10-24"), ("America/New_York", "2026-10-24")]
)
def test_the_day_is_that_of_the_schedule_in_its_zone_however_late_the_run(
    model: dict[str, Any], tmp_path: Path, zone: str, day: str
) -> None:
    given = model | {"input": str(write_news(tmp_path / "news.csv", 30)), "time_zone": zone}
    scheduled = Scheduled(scheduled_time=datetime(2026, 10, 24, 22, 30, tzinfo=UTC))
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(batch_inference, parameters=given, state=scheduled)
    batch = run_flow(batch_inference, flow_run=run, parameters=given)
    assert str(batch.manifest.logical_date) == day


@pytest.mark.usefixtures("home")
def test_a_dataset_is_made_of_the_table_of_the_day_of_its_schedule(tmp_path: Path) -> None:
    write_news(tmp_path / "news-2026-10-25.csv", 60)
    source = f"{tmp_path}/news-{{logical_date}}.csv"
    asked = {"data_name": "daily", "data_version": "1", "source": source, "time_zone": "Europe/Helsinki"}
    scheduled = Scheduled(scheduled_time=datetime(2026, 10, 24, 22, 30, tzinfo=UTC))
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(create_data, parameters=asked, state=scheduled)
    assert run_flow(create_data, flow_run=run, parameters=asked).source.endswith("news-2026-10-25.csv")
    with pytest.raises(ConfigError, match="--logical-date"):
        create_data(**asked | {"time_zone": None})


def test_without_day_and_zone_a_batch_has_no_day(model: dict[str, Any], tmp_path: Path) -> None:
    batch = batch_inference(**model, input=str(write_news(tmp_path / "news.csv", 30)))
    assert batch.manifest.logical_date is None
    with pytest.raises(ConfigError, match="not a time zone"):
        batch_inference(**model, input=str(tmp_path / "news.csv"), time_zone="Mars/Olympus")


def test_a_long_batch_has_a_progress_bar(
    model: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_INFERENCE__ROWS_PER_PART", "10")
    monkeypatch.setenv("MLOPS_INFERENCE__WORKERS", "1")
    state = batch_inference(**model, input=str(write_news(tmp_path / "news.csv", 60)), return_state=True)
    with get_client(sync_client=True) as client:
        run = ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id])
        chosen = ArtifactFilter(key=ArtifactFilterKey(any_=["progress-infer"]), flow_run_id=run)
        (bar,) = client.read_artifacts(artifact_filter=chosen)
    assert bar.type == "progress"
