"""A challenger of the champion's definition on a newer version of its data is a retraining; nothing else is."""

import shutil
from pathlib import Path

import pytest

from lifecycle.core.references import ModelRef
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.gate import retrained
from lifecycle.gate.judge import JudgeRequest, judge
from lifecycle.registry import promotion
from lifecycle.settings.gate_rules import GateRules
from lifecycle.tracking.client import client
from lifecycle.tracking.runs import DEFINITION
from tests.conftest import make_dataset, train_model, write_news
from tests.registry.conftest import State

RULES = GateRules()


def rule(state: State, challenger: ModelRef, champion: ModelRef | None, **rules: object) -> tuple[str, str]:
    asked = GateRules.model_validate(RULES.model_dump() | rules)
    found = retrained.rule_for(challenger, champion, state.config.datasets, asked)
    return found.rule, found.why


@pytest.fixture(scope="module")
def grown_once(original: State, tmp_path_factory: pytest.TempPathFactory) -> State:
    """A second and a third version of the dataset, each with more rows, and what was trained on them."""
    made = original.moved(tmp_path_factory.mktemp("grown") / "state")
    for number, rows in ((2, 300), (3, 360)):
        path = write_news(made.config.state / f"{number}.csv", rows)
        make_dataset(made.config, path, data_version=f"{number}.0.0")
        train_model(made.config, data_version=f"{number}.0.0")
    return made


@pytest.fixture
def grown(grown_once: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    """A copy of it: training the same again finds the run."""
    found = grown_once.moved(tmp_path / "state")
    monkeypatch.setenv("MLOPS_HOME", str(found.config.state))
    return found


def test_the_same_definition_on_newer_data_is_a_retraining(grown: State) -> None:
    again = train_model(grown.config, data_version="2.0.0")
    later = train_model(grown.config, data_version="3.0.0")
    assert rule(grown, again, grown.bayes) == (
        "retraining",
        "the champion's definition, trained on news 2.0.0, a later version of its 1.0.0",
    )
    assert rule(grown, later, grown.bayes)[0] == rule(grown, later, again)[0] == "retraining"


def test_the_same_on_the_same_data_is_one_where_the_champions_files_are_gone(state: State) -> None:
    shutil.rmtree(next(state.config.state.glob(f"artifacts/models/{state.bayes.uri.removeprefix('models:/')}")))
    again = train_model(state.config, "naive_bayes")
    assert again.run_id != state.bayes.run_id, "its run is of no use any more"
    why = "the champion's definition, trained again on news 1.0.0, since its files are gone"
    assert rule(state, again, state.bayes) == ("retraining", why)
    assert train_model(state.config, "naive_bayes") == again
    assert rule(state, state.weak, state.bayes)[0] == rule(state, state.bayes, again)[0] == "gain"


def test_everything_else_is_compared_by_its_gain(grown: State) -> None:
    again = train_model(grown.config, data_version="2.0.0")
    assert rule(grown, grown.bayes, None) == ("first", "there is no champion yet")
    assert rule(grown, grown.bayes, again) == ("gain", "news 1.0.0 does not descend from news 2.0.0")
    assert rule(grown, grown.bayes, grown.bayes)[1] == "trained on the same dataset version as the champion"
    for other in (
        train_model(grown.config, data_version="2.0.0", alpha=0.7),
        train_model(grown.config, "logistic_regression", data_version="2.0.0"),
        train_model(grown.config, seed=1, data_version="2.0.0"),
    ):
        assert rule(grown, other, grown.bayes) == ("gain", "another definition than the champion's")
    switched_off = rule(grown, again, grown.bayes, retraining={"rule": "gain"})
    assert switched_off == ("gain", "gate.retraining.rule is gain")


@pytest.mark.parametrize("role", ["challenger", "champion"])
@pytest.mark.parametrize("tag", [DEFINITION, "mlops.dataset_digest"])
def test_what_nobody_recorded_is_no_retraining(grown: State, role: str, tag: str) -> None:
    models = {"challenger": train_model(grown.config, data_version="2.0.0"), "champion": grown.bayes}
    client(models[role].tracking_uri).delete_tag(models[role].run_id, tag)
    found = rule(grown, models["challenger"], models["champion"])
    assert found == ("gain", f"nobody recorded how the {role} was defined and on what it was trained")


def test_a_version_that_is_gone_or_another_one_proves_no_descent(grown: State) -> None:
    later = train_model(grown.config, data_version="3.0.0")
    manifest = grown.config.datasets / "news" / "2.0.0" / "manifest.json"
    content = manifest.read_text(encoding="utf-8")
    manifest.write_text(content.replace('"digest": "', '"digest": "0', 1), encoding="utf-8")
    assert rule(grown, later, grown.bayes)[0] == "gain", "2.0.0 is another one than 3.0.0 was made from"
    manifest.unlink()
    assert rule(grown, later, grown.bayes)[0] == "gain"


@pytest.mark.usefixtures("replayed_here")
def test_a_retraining_is_judged_as_one_and_spends_nothing(grown: State) -> None:
    again = train_model(grown.config, data_version="2.0.0")
    for model in (again, grown.bayes):
        evaluation.evaluate(evaluation.request_for(model, grown.config.datasets, "news", "2.0.0"))
    rules = GateRules(min_rows=30, resamples=300, retraining={"margin": 0.3})
    request = JudgeRequest(
        env=grown.config.env,
        challenger=again,
        champion=grown.bayes,
        data_root=grown.config.datasets,
        data_name="news",
        data_version="2.0.0",
        rules=rules,
        evidence_root=grown.config.state / "evidence",
    )
    verdict = judge(request)
    assert (verdict.decision, verdict.rule, verdict.judged_before) == ("promote", "retraining", 0), verdict.reasons
    assert "trained on news 2.0.0, a later version of its 1.0.0" in verdict.rule_reason
    assert "mlops.judged" not in client(again.tracking_uri).get_run(again.run_id).data.tags
    with_rival = judge(request.model_copy(update={"rivals": (grown.bayes,)}))
    assert f"gain in f1_macro over the earlier champion {grown.bayes.label}" in [c.name for c in with_rival.checks]
    by_gain = rules.model_copy(update={"retraining": rules.retraining.model_copy(update={"rule": "gain"})})
    assert not judge(request.model_copy(update={"rules": by_gain})).promote


def test_the_earlier_champions_are_those_that_a_rollback_would_walk_back_to(state: State) -> None:
    target = state.target
    for model in (state.weak, state.bayes, state.weak, state.regression):
        promotion.promote(promotion.intend(target, model, promotion.champion(target), reason="next"))
    champion = promotion.champion(target)
    assert champion
    found = promotion.earlier_champions(champion, 5)
    assert [model.artifact_sha256 for model in found] == [state.weak.artifact_sha256, state.bayes.artifact_sha256]
    assert [model.version for model in found] == [3, 2]
    assert len(promotion.earlier_champions(champion, 1)) == 1
    assert promotion.earlier_champions(champion, 0) == ()
