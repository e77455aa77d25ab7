"""VADER under the contract of every text model: one row for each text."""

import builtins
import sys

import mlflow
import pandas as pd
import pytest

from lifecycle.core.errors import ConfigError, IntegrityError
from lifecycle.core.references import ModelRef
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.models import loading
from lifecycle.models.external import external, vader
from lifecycle.models.forms import VADER_FILES
from lifecycle.settings import Settings
from lifecycle.tracking.client import client
from tests.conftest import make_dataset, write_news

EXAMPLE = [
    "This is a bad movie. You don't want to see it! :-)",
    "Ricky Gervais is smart, witty, and creative!!!!!! :D",
    "Yay!! Another good phone interview. I nailed it!!",
]
"""The texts of MLflow's published example, which scores the whole column as one text."""


@pytest.fixture
def logged(config: Settings) -> ModelRef:
    return external.log_vader(config.mlflow_uri, "vader-dev", "vader")


def rules() -> vader.VaderModel:
    from vaderSentiment import vaderSentiment

    folder = vaderSentiment.__file__.rpartition("/")[0]
    return vader.VaderModel(vader.analyser(*(f"{folder}/{name}" for name in VADER_FILES)))


def test_each_text_of_the_published_example_gets_a_row_of_its_own() -> None:
    model, table = rules(), pd.DataFrame({"text": EXAMPLE})
    published = table.apply(lambda column: model.rules.polarity_scores(str(column))["compound"])
    assert len(published) == 1
    answer = model.predict(None, table)
    assert answer["score"].round(2).tolist() == [0.40, 0.90, 0.82]
    assert answer["label"].tolist() == ["negative", "positive", "positive"]


@pytest.mark.parametrize("text", [None, float("nan"), pd.NA, "", "  \n", "the table"])
def test_what_says_nothing_is_neutral(text: object) -> None:
    answer = rules().predict(None, pd.DataFrame({"text": [text, "a good day", text]}, dtype=object))
    assert answer["label"].tolist() == ["neutral", "positive", "neutral"]
    assert answer["score"].iloc[0] == answer["score"].iloc[2] == 1.0


def test_no_texts_no_rows() -> None:
    answer = rules().predict(None, pd.DataFrame({"text": pd.Series(dtype="str")}))
    assert list(answer.columns) == ["label", "score"]
    assert answer.empty


@pytest.mark.parametrize(
    ("score", "label"),
    [(0.05, "positive"), (0.0499, "neutral"), (-0.0499, "neutral"), (-0.05, "negative"), (1.0, "positive")],
)
def test_the_thresholds_are_those_of_its_authors(score: float, label: str) -> None:
    assert vader._label(score) == label


def test_order_and_count_survive_a_foreign_index() -> None:
    table = pd.DataFrame({"text": EXAMPLE * 50}, index=range(900, 1050))
    assert rules().predict(None, table)["score"].tolist() == rules().predict(None, table[:3])["score"].tolist() * 50


def test_it_is_logged_once_loads_verified_and_as_mlflow_would(logged: ModelRef, config: Settings) -> None:
    assert external.log_vader(config.mlflow_uri, "vader-dev", "vader") == logged
    table = pd.DataFrame({"text": EXAMPLE})
    expected = rules().predict(None, table)
    pd.testing.assert_frame_equal(loading.load(logged).predict(None, table), expected)
    client(config.mlflow_uri)
    pd.testing.assert_frame_equal(mlflow.pyfunc.load_model(logged.uri).predict(table), expected)
    assert evaluation.trained_keys(logged).empty


def test_the_gate_can_read_its_predictions(logged: ModelRef, config: Settings) -> None:
    make_dataset(config, write_news(config.state / "news.csv"))
    request = evaluation.request_for(logged, config.datasets, "news", "1.0.0")
    evaluation.evaluate(request)
    assert set(evaluation.stored(request)["label"]) <= {"positive", "negative", "neutral"}


def test_its_lexicon_is_what_was_registered(logged: ModelRef, config: Settings) -> None:
    folder = config.state / "artifacts" / "models" / logged.uri.removeprefix("models:/") / "artifacts" / "artifacts"
    lexicon = folder / VADER_FILES[0]
    lexicon.write_text(lexicon.read_text(encoding="utf-8").replace("good\t1.9", "good\t-1.9"), encoding="utf-8")
    with pytest.raises(IntegrityError, match="the files digest to"):
        loading.load(logged)
    lexicon.write_text("no lexicon\n", encoding="utf-8")
    changed = logged.model_copy(update={"artifact_sha256": loading.artifact_digest(folder.parent)})
    with pytest.raises(IntegrityError, match="its lexicon cannot be read"):
        loading.load(changed)


def test_without_the_extra_it_says_what_to_install(
    logged: ModelRef, config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: object, **rest: object) -> object:
        if name.startswith("vaderSentiment"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **rest)  # type: ignore[arg-type]

    for name in [name for name in sys.modules if name.startswith("vaderSentiment")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    for step in (lambda: external.log_vader(config.mlflow_uri, "other", "vader"), lambda: loading.load(logged)):
        with pytest.raises(ConfigError, match=r"pip install 'mlops-lifecycle\[vader\]'"):
            step()
