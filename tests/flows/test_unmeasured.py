"""A batch that cannot be measured is published all the same, and says why it is not."""

from pathlib import Path

import pytest

from flows.batch_inference import batch_inference
from lifecycle.registry import promotion
from lifecycle.registry.store import target_of
from lifecycle.settings import Settings
from tests.conftest import train_model


def test_a_batch_of_a_version_without_baseline_is_published_and_says_so(
    news: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = target_of(news, "sentiment")
    promotion.promote(promotion.intend(target, train_model(news), None, reason="past the gate"))
    table = tmp_path / "texts.csv"
    table.write_text("text\n" + "\n".join(f"profit rose {number}" for number in range(60)), encoding="utf-8")
    batch = batch_inference("sentiment", env="dev", input=str(table), table=None)
    assert batch.manifest.scored == 60
    assert "not measured" in caplog.text
    assert "mlops gate check" in caplog.text
    assert not [*news.measurements.rglob("*.parquet")]

    caplog.clear()
    monkeypatch.setenv("MLOPS_MONITORING__ENABLED", "false")
    batch_inference("sentiment", env="dev", input=str(table), table=None)
    assert "measured" not in caplog.text
