"""A release with an algorithm of one's own, and a later one with other code: each model predicts with its own state."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from flows.batch_inference import batch_inference
from flows.release import release
from flows.train import train
from lifecycle import settings
from lifecycle.core.errors import IntegrityError
from lifecycle.models import loading, scoring_server
from lifecycle.registry import catalog
from lifecycle.registry.store import target_of
from tests.conftest import ROOT, SAMPLE

MOOD = """
data: {name: news, source: news.csv, target: Sentiment, columns: {Sentence: text}}
training: {algorithm: "ours.models:pipeline", params: {C: 10.0}}
inference: {source: "news.csv"}
"""
MODELS = """
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from ours.words import prepared


class Texts(TransformerMixin, BaseEstimator):
    def fit(self, inputs, labels=None):
        return self

    def transform(self, inputs):
        return [prepared(text) for text in inputs["text"]]


def pipeline(params, seed):
    return make_pipeline(Texts(), TfidfVectorizer(), LogisticRegression(max_iter=1000, random_state=seed, **params))
"""
WORDS = "def prepared(text):\n    return text.lower()\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "config", tmp_path / "config")
    shutil.rmtree(tmp_path / "config/models", ignore_errors=True)
    for name, text in {
        "config/models/mood.yaml": MOOD,
        "ours/__init__.py": "",
        "ours/models.py": MODELS,
        "ours/words.py": WORDS,
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    shutil.copy(SAMPLE, tmp_path / "news.csv")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MLOPS_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("MLOPS_TRUSTED_MODULES", '["ours"]')
    return tmp_path


@pytest.mark.exhaustive  # that code travels with its model is proven one place at a time: tests/unit/test_own_models.py
@pytest.mark.usefixtures("server")
def test_each_model_predicts_with_the_code_that_it_was_made_of(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate of prod replays it in a fresh process and asks MLflow's scoring server; batches score in two more."""
    first = release()
    assert [admission.model for admission in first.admissions] == ["dev.ml.mood", "staging.ml.mood", "prod.ml.mood"]
    assert first.batch is not None
    target = target_of(settings.load("dev", model_name="mood"), "mood")
    champion = catalog.resolve(target)
    (project / "ours/words.py").write_text(WORDS.replace("text.lower()", "text[:4]"), encoding="utf-8")
    refused = train()  # by a champion with the code of before, in one process
    assert refused.refused
    shutil.rmtree(project / "ours")
    texts = pd.DataFrame({"text": pd.read_csv(project / "news.csv")["Sentence"].head(30)})
    expected = loading.load(champion).predict(None, texts)
    assert list(expected["label"]) == _served(champion, texts)
    monkeypatch.setenv("MLOPS_INFERENCE__ROWS_PER_PART", "200")
    monkeypatch.setenv("MLOPS_INFERENCE__WORKERS", "2")
    parts = batch_inference(output=str(project / "parts"))
    assert parts.manifest.labels == first.batch.manifest.labels
    monkeypatch.setenv("MLOPS_TRUSTED_MODULES", "[]")
    with pytest.raises(IntegrityError, match=r"types that are not trusted: ours\.models\.Texts"):
        batch_inference(output=str(project / "untrusted"))
    assert not list((project / "untrusted").rglob("*.parquet"))


def _served(champion: loading.ModelRef, texts: pd.DataFrame) -> list[str]:
    from lifecycle.core import guard
    from lifecycle.gate.proof import infrastructure

    credential = guard.new_credential()
    with loading.private_copy(champion) as folder:
        model = loading.load_verified(folder, champion)
        with scoring_server.serving(folder, model, champion, credential) as port:
            return [answer["label"] for answer in infrastructure._ask(port, credential, texts)]
