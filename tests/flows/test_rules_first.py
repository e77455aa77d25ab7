"""A rule that the gate could not ask ends a flow before anything is trained, evaluated or judged."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.check import check
from flows.create_data import create_data
from flows.promote import promote
from flows.train import train
from lifecycle.core.errors import ConfigError, DataError, MlopsError
from lifecycle.core.references import ModelRef
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.registry import promotion
from lifecycle.registry.store import target_of
from lifecycle.settings import Settings
from lifecycle.tracking import client as tracking
from tests.conftest import train_model, tree, write_news

RULES: list[tuple[dict[str, Any], type[MlopsError], int, str]] = [
    ({"SLICES": {"by": ["region"]}}, DataError, 3, "no column region"),
    ({"METRIC": "recall.sarcastic"}, ConfigError, 2, "no class 'sarcastic'"),
]


@pytest.fixture(params=RULES, ids=["a column", "a class"])
def rule(request: pytest.FixtureRequest) -> tuple[dict[str, Any], type[MlopsError], int, str]:
    return request.param


def ask(monkeypatch: pytest.MonkeyPatch, gate: dict[str, Any]) -> None:
    for name, value in gate.items():
        monkeypatch.setenv(f"MLOPS_GATE__{name}", value if isinstance(value, str) else json.dumps(value))


def test_nothing_is_trained(news: Settings, monkeypatch: pytest.MonkeyPatch, rule: Any) -> None:
    gate, kind, code, words = rule
    ask(monkeypatch, gate)
    before = tree(news.state)
    with pytest.raises(kind, match=words) as refused:
        train("news", "latest", "sentiment")
    assert refused.value.exit_code == code
    assert tracking.client(news.mlflow_uri).search_experiments(filter_string="name LIKE 'sentiment%'") == []
    assert tree(news.state).keys() == before.keys()


@pytest.fixture
def champion(news: Settings) -> ModelRef:
    """A champion of dev that was never evaluated."""
    model = train_model(news)
    promotion.promote(promotion.intend(target_of(news, "sentiment"), model, None, reason="the first"))
    return model


@pytest.mark.usefixtures("replayed_here")
def test_nothing_is_evaluated(news: Settings, champion: ModelRef, monkeypatch: pytest.MonkeyPatch, rule: Any) -> None:
    gate, kind, _, words = rule
    ask(monkeypatch, gate)
    with pytest.raises(kind, match=words):
        check("sentiment", env="dev", version=1)
    with pytest.raises(kind, match=words):
        promote("sentiment", "dev", "staging")
    assert evaluation.stored_names(champion) == set()
    tags = tracking.client(news.mlflow_uri).get_run(champion.run_id).data.tags
    assert not [name for name in tags if name.startswith(("gate.", "verdict."))]


def test_a_dataset_on_which_no_model_can_be_judged_says_so(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = write_news(home / "news.csv", 60)
    made = create_data("news", "1.0.0", str(source))
    assert made.rows_split == 60
    assert [line for line in caplog.messages if line.startswith("No model can be judged in dev on news 1.0.0")]
