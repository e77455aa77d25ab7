"""Rows of one group, such as a customer, are drawn and swapped together: a hundred of one say no more than it does."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from cli import next_steps
from lifecycle import settings
from lifecycle.data import dataset, division
from lifecycle.data.source import Source
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.evaluation import statistics
from lifecycle.gate import judge as gate
from lifecycle.gate.judge import JudgeRequest
from lifecycle.problems.classification.metrics import STANDARD
from lifecycle.problems.classification.scores import ClassScores
from lifecycle.settings import Settings
from lifecycle.tracking import runs
from lifecycle.training import train as training
from tasks.outcomes import Admission
from tests.unit.test_gate_decisions import case, judged, outcomes

LEVEL = {"confidence": 0.95, "resamples": 200}
ROWS = st.lists(st.tuples(*[st.integers(0, 2)] * 3, st.integers(1, 4)), min_size=2, max_size=30)
"""For each group: the truth, two labels, and how many rows are so."""


def scores(truth: np.ndarray, label: np.ndarray) -> ClassScores:
    return ClassScores(("a", "b", "c"), truth, label, np.ones(len(truth)), np.eye(3)[label])


@given(ROWS)
@examples(max_examples=25)
def test_rows_of_groups_that_are_each_as_large_and_all_alike_say_what_one_row_of_each_says(
    drawn: list[tuple[int, int, int, int]],
) -> None:
    truth, new, old, _ = np.array(drawn).T
    one = scores(truth, new), scores(truth, old)
    groups = np.repeat(np.arange(len(truth)), 3)
    many = scores(truth[groups], new[groups]), scores(truth[groups], old[groups])
    metrics = [STANDARD[name] for name in ("accuracy", "f1_macro", "log_loss")]
    alone = statistics.measure(metrics, *one, **LEVEL)
    grouped = statistics.measure(metrics, *many, **LEVEL, groups=groups)
    assert alone.gain.keys() == grouped.gain.keys()
    for name, gain in alone.gain.items():
        assert [*grouped.gain[name].model_dump().values()] == pytest.approx([*gain.model_dump().values()], abs=1e-9)
    p = statistics.randomised_p(STANDARD["accuracy"], *one, resamples=200)
    assert statistics.randomised_p(STANDARD["accuracy"], *many, resamples=200, groups=groups) == pytest.approx(p)


@given(ROWS)
@examples(max_examples=25)
def test_groups_of_one_row_are_rows(drawn: list[tuple[int, int, int, int]]) -> None:
    truth, new, old, _ = np.array(drawn).T
    models, each = (scores(truth, new), scores(truth, old)), np.arange(len(truth))
    metric = STANDARD["f1_macro"]
    alone, grouped = (statistics.measure([metric], *models, **LEVEL, groups=groups) for groups in (None, each))
    assert alone.gain == grouped.gain
    p = statistics.randomised_p(metric, *models, resamples=200)
    assert statistics.randomised_p(metric, *models, resamples=200, groups=each) == p
    spread = statistics.spread(metric, *models, **LEVEL)
    assert statistics.spread(metric, *models, **LEVEL, groups=each) == spread


@given(ROWS)
@examples(max_examples=25)
def test_the_gain_itself_is_that_of_all_rows_however_large_the_groups(drawn: list[tuple[int, int, int, int]]) -> None:
    truth, new, old, sizes = np.array(drawn).T
    groups = np.repeat(np.arange(len(truth)), sizes)
    models = scores(truth[groups], new[groups]), scores(truth[groups], old[groups])
    metric = STANDARD["accuracy"]
    alone, grouped = (statistics.measure([metric], *models, **LEVEL, groups=each) for each in (None, groups))
    assert grouped.gain["accuracy"].value == pytest.approx(alone.gain["accuracy"].value)


def test_fewer_groups_than_chance_needs_are_too_few_however_many_rows_they_have() -> None:
    truth = "abc" * 60
    asked = case(truth, truth, "a" * 180)
    assert judged(asked).decision == "promote"
    few, enough = (asked._replace(groups=np.arange(180) // 3 % count) for count in (5, 6))
    refused = judged(few)
    assert (refused.decision, outcomes(refused)["groups of rows"]) == ("not_enough_data", "not_enough_data")
    assert refused.reasons[0] == "too few groups to judge on: 5, where 6 are needed, in 180 rows that neither has seen"
    assert refused.reasons[1] == "5 groups of rows; 6 groups are needed to tell any difference from chance"
    accepted = judged(enough)
    assert (accepted.decision, outcomes(accepted)["groups of rows"]) == ("promote", "pass")


def test_what_one_group_repairs_is_no_gain() -> None:
    """Sixty rows are repaired, of one customer of ten: by rows that is beyond chance, by customers it is not."""
    truth = "abc" * 200
    old = "".join("b" if place % 10 == 0 else letter for place, letter in enumerate(truth))
    groups = np.arange(600) % 10
    asked = case(truth, truth, old)
    assert judged(asked).decision == "promote"
    assert judged(asked._replace(groups=groups)).decision == "cannot_tell"


@pytest.fixture
def by_customer(migrated: Path, tmp_path: Path) -> Settings:
    """A table of 15 customers with 20 rows each, whose holdout has three of them."""
    (tmp_path / "state").mkdir()
    shutil.copy(migrated, tmp_path / "state" / "mlflow.db")
    config = settings.load("dev", home=tmp_path / "state")
    r = np.random.default_rng(0)
    rows = pd.DataFrame({"customer": np.repeat(np.arange(15), 20), "size": r.normal(size=300)})
    rows.assign(late=np.where(rows["size"] > 0, "yes", "no")).to_csv(tmp_path / "rows.csv", index=False)
    made = {"problem": "tabular-classification", "target": "late", "group_column": "customer", "test_size": 0.2}
    wanted = {"data_name": "orders", "data_version": "1", **made, "holdout": True, "holdout_size": 0.2}
    dataset.create(dataset.plan(config, Source(uri=str(tmp_path / "rows.csv")), **wanted))
    return config


def test_a_version_by_group_is_judged_by_its_groups(by_customer: Settings, replayed_here: None) -> None:
    _ = replayed_here
    config, data = by_customer, {"data_name": "orders", "data_version": "1"}
    manifest = dataset.load(config.datasets, "orders", "1")
    rows = dataset.load_rows(config.datasets, "orders", "1", "holdout")
    groups = division.groups_of(manifest, rows)
    assert groups is not None
    assert groups.nunique() == 3
    request = training.plan(config, training.Training(**data, model_name="orders", algorithm="logistic_regression"))
    training.train(request)
    model = runs.trained(config.mlflow_uri, request.run_id)
    asked = JudgeRequest(
        env=config.env,
        challenger=model,
        champion=None,
        data_root=config.datasets,
        **data,
        rules=config.gate.model_copy(update={"selftest": False}),
        evidence_root=config.state / "evidence",
    )
    for each in gate.evaluations(asked):
        evaluation.evaluate(each)
    verdict = gate.judge(asked)
    assert verdict.decision == "not_enough_data"
    assert verdict.reasons[1].startswith("3 groups of rows; 6 groups are needed")
    refused = Admission(env=config.env, model="dev.ml.orders", challenger="run 1", verdict=verdict, message="")
    assert "  rows of more groups, as a new version: mlops release --model-name orders --source TABLE" in [
        *next_steps.after(refused)
    ]
