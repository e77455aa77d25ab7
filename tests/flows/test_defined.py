"""One model is defined: no flow needs an argument, and a release that is repeated changes nothing."""

import shutil
from pathlib import Path

import pytest

from flows.batch_inference import batch_inference
from flows.release import release
from flows.train import train
from lifecycle import settings
from tests.conftest import ROOT, SAMPLE, tree

MOOD = """
data: {name: news, source: news.csv, target: Sentiment, columns: {Sentence: text}}
training: {algorithm: naive_bayes}
inference: {source: "news-{logical_date}.csv"}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project of one model, with its table and that of a day."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    shutil.rmtree(tmp_path / "config/models", ignore_errors=True)
    (tmp_path / "config/models").mkdir()
    (tmp_path / "config/models/mood.yaml").write_text(MOOD, encoding="utf-8")
    for name in ("news.csv", "news-2026-11-21.csv"):
        shutil.copy(SAMPLE, tmp_path / name)
    monkeypatch.setenv("MLOPS_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "state"))
    return tmp_path


@pytest.mark.exhaustive  # a table goes the whole way by its definition too; a repeated training finds its run
@pytest.mark.usefixtures("project", "server", "replayed_here")
def test_the_definition_says_all_that_a_release_needs() -> None:
    first = release()
    config = settings.load("prod", model_name="mood")
    before = tree(config.datasets) | tree(config.predictions)
    assert [admission.model for admission in first.admissions] == ["dev.ml.mood", "staging.ml.mood", "prod.ml.mood"]
    assert (first.dataset.data_name, first.dataset.data_version, first.refused) == ("news", "1", False)
    assert first.batch is not None
    assert first.batch.manifest.columns == {"Sentence": "text"}
    again = release()
    assert again.batch is not None
    assert (again.dataset.data_version, again.batch.folder) == ("1", first.batch.folder)
    assert all("champion already" in admission.message for admission in again.admissions)
    assert "champion already" in train().message
    assert tree(config.datasets) | tree(config.predictions) == before
    day = batch_inference(logical_date="2026-11-21")
    assert (day.manifest.scored, day.manifest.logical_date is not None) == (first.batch.manifest.scored, True)
