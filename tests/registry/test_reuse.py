"""Whoever tries often on the same rows is counted: by run, in whatever environment, however the model is stored.

Promise: However many challengers are tried on the same rows, the risk of a wrong promotion stays below 5 %.
"""

import json

import pandas as pd
import pytest

from lifecycle.core.names import Side
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.evaluation.evaluate import EvaluateRequest
from lifecycle.gate import reuse
from lifecycle.gate.judge import JudgeRequest, judge
from lifecycle.gate.reuse import JUDGED, Asked
from lifecycle.gate.verdict import Verdict
from lifecycle.settings.gate_rules import GateRules
from lifecycle.tracking.client import client
from tests.conftest import make_dataset, write_news
from tests.registry.conftest import State

pytestmark = pytest.mark.usefixtures("replayed_here")

RULES = GateRules(min_rows=30, resamples=300)


def request(state: State, model: ModelRef, data_version: str = "1.0.0") -> EvaluateRequest:
    return evaluation.request_for(model, state.config.datasets, "news", data_version)


def judged(state: State, challenger: ModelRef, champion: ModelRef | None, **changes: object) -> Verdict:
    asked = {"env": "dev", "data_version": "1.0.0", "rules": RULES, "data_name": "news"} | changes
    return judge(
        JudgeRequest.model_validate(
            {
                **asked,
                "challenger": challenger,
                "champion": champion,
                "data_root": state.config.datasets,
                "evidence_root": state.config.state / "evidence",
            }
        )
    )


def another(model: ModelRef, artifact: str, **tags: str) -> ModelRef:
    """A run of the same model name whose model is another file."""
    mlflow = client(model.tracking_uri)
    experiment = mlflow.get_run(model.run_id).info.experiment_id
    named = {"mlops.model_name": "sentiment", "mlops.artifact_sha256": artifact} | tags
    run = mlflow.create_run(experiment, tags=named)
    return model.model_copy(update={"run_id": run.info.run_id, "artifact_sha256": artifact})


def test_every_challenger_has_a_place_that_it_keeps(state: State) -> None:
    asked = [(state.weak, state.bayes), (state.bayes, state.weak), (state.regression, state.weak)]
    found = [judged(state, *models) for models in asked]
    assert [verdict.judged_before for verdict in found] == [0, 1, 2]
    assert [verdict.risk for verdict in found] == pytest.approx([0.025, 0.025 / 4, 0.025 / 9])
    for env, champion in (("prod", state.weak), ("staging", state.weak), ("dev", state.regression)):
        again = judged(state, state.bayes, champion, env=env)
        assert (again.judged_before, again.risk) == (1, pytest.approx(0.025 / 4)), "one test in every environment"
    assert "1 other challenger was judged on these rows before" in again.terms[-1]
    assert judged(state, state.regression, state.weak) == found[-1]


def test_first_champions_and_gains_are_two_questions(state: State) -> None:
    assert judged(state, state.weak, None).judged_before == 0
    assert judged(state, state.bayes, state.weak).judged_before == 0
    assert judged(state, state.regression, None).judged_before == 1
    assert judged(state, state.regression, state.bayes).judged_before == 1


def test_the_same_file_is_one_challenger_and_another_name_is_another_story(state: State) -> None:
    reuse.note(request(state, another(state.bayes, "a" * 64)), "gain")
    reuse.note(request(state, another(state.bayes, "a" * 64)), "gain")
    reuse.note(request(state, another(state.bayes, state.regression.artifact_sha256)), "gain")
    reuse.note(request(state, another(state.bayes, "b" * 64, **{"mlops.model_name": "other"})), "gain")
    assert reuse.before(request(state, state.regression), "gain") == Asked(1, 1.0)


def test_who_is_deleted_has_been_judged_all_the_same(state: State) -> None:
    tried = another(state.bayes, "a" * 64)
    reuse.note(request(state, tried), "gain")
    client(tried.tracking_uri).delete_run(tried.run_id)
    assert reuse.before(request(state, state.regression), "gain") == Asked(1, 1.0)


@pytest.mark.parametrize("said", ["not JSON", "[1]", '{"news/abc": 1}', '{"news/a/holdout/gain": "long ago"}'])
def test_what_cannot_be_read_any_more_counts_as_everything(state: State, said: str) -> None:
    another(state.bayes, "a" * 64, **{JUDGED: f"news/ {said}"})
    damaged = another(state.bayes, "c" * 64, **{JUDGED: said})
    reuse.note(request(state, another(state.bayes, "b" * 64)), "gain")
    assert reuse.before(request(state, damaged), "gain").challengers >= 1, "it does not come first by being damaged"
    assert reuse.before(request(state, state.regression), "gain").challengers >= 2


def test_rows_that_a_new_version_adds_count_anew(state: State) -> None:
    config = state.config
    make_dataset(config, write_news(config.state / "more.csv", 480), data_version="2.0.0")
    keys = {v: {*dataset.load_rows(config.datasets, "news", v, Side.HOLDOUT)["key"]} for v in ("1.0.0", "2.0.0")}
    old = len(keys["1.0.0"] & keys["2.0.0"]) / len(keys["2.0.0"])
    assert 0.4 < old < 0.6
    for number in range(4):
        reuse.note(request(state, another(state.bayes, f"{number}" * 64)), "gain")
    found = reuse.before(request(state, state.regression, "2.0.0"), "gain")
    assert (found.challengers, found.share) == (4, pytest.approx(4 * old))
    assert reuse.before(request(state, state.regression), "gain") == Asked(4, 4.0)


def test_of_a_version_that_is_gone_nobody_knows_which_rows_it_had(state: State) -> None:
    value = json.dumps({"news/0123456789abcdef/holdout/gain": 1.0, "reviews/0123456789abcdef/holdout/gain": 1.0})
    another(state.bayes, "a" * 64, **{JUDGED: value})
    only_other = json.dumps({"reviews/0123456789abcdef/news/": 1.0}).replace("/news/", "/holdout/gain")
    another(state.bayes, "b" * 64, **{JUDGED: only_other})
    assert reuse.before(request(state, state.regression), "gain") == Asked(1, 1.0)


def test_a_model_remembers_the_latest_rows_only_as_a_tag_can_hold(state: State) -> None:
    many = {f"news/{number:016x}/holdout/gain": float(number) for number in range(200)}
    client(state.weak.tracking_uri).set_tag(state.weak.run_id, JUDGED, json.dumps(many)[:8000].rpartition(",")[0] + "}")
    reuse.note(request(state, state.weak), "gain")
    tag = client(state.weak.tracking_uri).get_run(state.weak.run_id).data.tags[JUDGED]
    assert len(json.loads(tag)) == reuse.KEPT
    assert len(tag) < 5000
    assert reuse.place_of(request(state, state.weak), "gain") in tag


def test_what_was_not_measured_is_not_counted(state: State) -> None:
    assert judged(state, state.weak, None, rules=RULES.model_copy(update={"min_rows": 1000})).rule == "first"
    assert reuse.before(request(state, state.regression), "gain") == Asked(0, 0)


def test_a_lucky_one_of_many_equal_challengers_is_kept_out(state: State) -> None:
    """The tenth challenger repairs six rows and breaks none: enough for the first, not for the tenth."""
    rows = evaluation.stored(request(state, state.weak))
    lucky = luckier(rows, 7)
    for number in range(9):
        reuse.note(request(state, another(state.bayes, f"{number}" * 64)), "gain")
    challenger = posed(state, lucky)
    spent = judged(state, challenger, state.weak)
    told = judged(state, challenger, state.weak, rules=RULES.model_copy(update={"reuse": "count"}))
    assert (spent.decision, spent.judged_before) == ("cannot_tell", 9)
    assert (told.judged_before, told.risk) == (9, pytest.approx(0.025))
    gains = [next(c.outcome for c in verdict.checks if c.name == "gain in f1_macro") for verdict in (spent, told)]
    assert gains == ["fail", "pass"]


def luckier(rows: pd.DataFrame, repaired: int) -> pd.DataFrame:
    wrong = rows.index[rows["truth"] != rows["label"]][:repaired]
    kept = rows[["row", "key", "truth", "label", "score"]].copy()
    kept.loc[wrong, "label"] = kept.loc[wrong, "truth"]
    return kept


def posed(state: State, predictions: pd.DataFrame) -> ModelRef:
    model = another(state.weak, "f" * 64)
    asked = request(state, model)
    folder = state.config.state / "posed"
    (folder / "evaluations").mkdir(parents=True)
    predictions.to_parquet(folder / asked.artifact, index=False)
    (folder / "training").mkdir()
    pd.DataFrame({"key": pd.Series(dtype="uint64")}).to_parquet(folder / evaluation.TRAINED_KEYS, index=False)
    client(model.tracking_uri).log_artifacts(model.run_id, str(folder))
    return model
