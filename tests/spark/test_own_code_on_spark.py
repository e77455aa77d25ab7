"""Spark's tasks run a model's own code, each model's its own state of it, and nothing that lies beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lifecycle.core import spark as sessions
from lifecycle.core.errors import IntegrityError
from lifecycle.core.references import ModelRef
from lifecycle.inference import batch
from lifecycle.inference import manifest as batches
from lifecycle.models import loading
from lifecycle.settings import Settings
from lifecycle.tracking import runs
from lifecycle.tracking.artifacts import download
from lifecycle.training import train as training
from tests.conftest import exhaustive, tree
from tests.spark.conftest import TEXTS, requested, write_table

OURS = """
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline


class Texts(TransformerMixin, BaseEstimator):
    def fit(self, inputs, labels=None):
        return self

    def transform(self, inputs):
        return [text.lower() for text in inputs["text"]]


def pipeline(params, seed):
    return make_pipeline(Texts(), TfidfVectorizer(analyzer="char"), LogisticRegression())
"""


@pytest.fixture(scope="module")
def session() -> Iterator[SparkSession]:
    made = sessions.session(2)
    yield made
    made.stop()


def trained(config: Settings) -> ModelRef:
    wanted = training.Training(data_name="news", data_version="1.0.0", model_name="m", algorithm="ours:pipeline")
    request = training.plan(config, wanted)
    training.train(request)
    update = {"trusted_modules": config.trusted_modules, "name": "dev.ml.m", "version": 1}
    return runs.trained(config.mlflow_uri, request.run_id).model_copy(update=update)


def predictions(model: ModelRef, source: Path, output: Path, engine: str) -> dict[str, bytes]:
    request = requested(model, source, output, engine=engine)
    batch.infer(request)
    return tree(batches.locate(request)[0])


@exhaustive  # that code travels is proven in tests/unit/test_own_models.py; here to Spark's processes
@pytest.mark.usefixtures("session")
def test_two_states_of_a_module_score_in_one_session(
    news: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    config, scored = news.model_copy(update={"trusted_modules": ("ours",)}), []
    source = write_table(tmp_path / "in.csv", TEXTS)
    for text in (OURS, OURS.replace("text.lower()", "text[:9]")):
        (tmp_path / "ours.py").write_text(text)
        model = trained(config)
        (tmp_path / "ours.py").unlink()
        expected = predictions(model, source, tmp_path / f"local-{len(scored)}", "local")
        assert predictions(model, source, tmp_path / f"spark-{len(scored)}", "spark") == expected
        scored.append({name: content for name, content in expected.items() if name.startswith("part")})
    assert scored[0] != scored[1]
    folder = download(model.tracking_uri, model.uri, tmp_path / "model")
    (folder / "code" / "joblib.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    beside = model.model_copy(update={"uri": str(folder), "artifact_sha256": loading.artifact_digest(folder)})
    assert predictions(beside, source, tmp_path / "beside", "spark").keys() == expected.keys()
    assert not (tmp_path / "ran").exists()
    with pytest.raises(IntegrityError, match=r"types that are not trusted: ours\.Texts"):
        batch.infer(
            requested(model.model_copy(update={"trusted_modules": ()}), source, tmp_path / "no", engine="spark")
        )
