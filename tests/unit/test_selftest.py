"""The gate's selftest: every planted fault is refused for its reason, and a gate that is broken is found out."""

import json
from pathlib import Path

import numpy as np
import pytest

from lifecycle.core.errors import IntegrityError
from lifecycle.core.names import TEXT_CLASSIFICATION, Environment, ProblemName
from lifecycle.gate import checks, decide
from lifecycle.gate.selftest import planted, selftest
from lifecycle.gate.selftest.planted import PlantedModels
from lifecycle.gate.selftest.selftest import SelftestResult
from lifecycle.problems.known import named
from lifecycle.settings.gate_rules import BudgetRules, CalibrationRules, GateRules, RetrainingRules, SliceRules
from tests.conftest import exhaustive, some

PROBLEM = TEXT_CLASSIFICATION
TEXTS = named(PROBLEM)
PROD = Environment.PROD
BAD = {
    "shuffled target": "gain in",
    "constant": "gain in",
    "leaky": "comparable rows",
    "slice broken": "slices of the rows",
    "class broken": "slices of the rows",
    "overconfident": "calibration",
    "slow": "milliseconds",
    "heavy": "megabytes",
    "other model in the file": "loads and reproduces its predictions",
    "unreadable": "loads and reproduces its predictions",
    "retrained on wrong targets": "gain in",
}
HONEST = {"better": "promote", "retrained": "promote", "equal": "no_better", "as good": "cannot_tell"}
WORSE = {"shuffled target", "constant", "retrained on wrong targets"}
OF_PAIRS = {"first text alone", "second text alone", "texts exchanged"}
NOT_OF_NUMBERS = {"class broken", "overconfident"}
STRICT = GateRules.model_validate(
    {
        "mode": "dry_run",
        "metric": "cost",
        "min_gain": 40.0,
        "floors": {"f1_macro": 0.97, "recall.fraud": 0.99, "roc_auc": 0.99, "mcc": 0.9},
        "ceilings": {"log_loss": 0.01, "ece": 0.001, "own": 1.0},
        "confidence": 0.99,
        "min_rows": 50_000,
        "min_rows_per_class": 9000,
        "max_churn": 0.01,
        "slices": {"by": ["source_region", "text_length", "label"], "min_rows": 4000, "max_loss": 0.0, "floor": 0.9},
        "calibration": {"max_ece": 0.001, "max_ece_increase": 0.0},
        "budget": {"max_milliseconds_per_1000": 0.001, "max_megabytes": 0.001},
        "costs": {"matrix": {"fraud": {"fine": 900.0}}},
        "own_metrics": {"own": "-nowhere:none"},
        "behaviour": ["core"],
        "infrastructure": {"max_load_seconds": 0.001, "requirements": "enforce", "scoring_server": True},
        "selftest": True,
    }
)
"""Limits that only somebody's own data and machine can keep to."""
STRICT_ON_NUMBERS = GateRules.model_validate(
    {
        "mode": "dry_run",
        "metric": "mean_absolute_error",
        "min_gain": 0.9,
        "floors": {"r2": 0.999},
        "ceilings": {"root_mean_squared_error": 1e-6, "own": 1.0},
        "confidence": 0.99,
        "min_rows": 50_000,
        "slices": {"by": ["season", "target"], "min_rows": 4000, "max_loss": 0.0},
        "budget": {"max_milliseconds_per_1000": 0.001, "max_megabytes": 0.001},
        "own_metrics": {"own": "-nowhere:none"},
        "infrastructure": {"max_load_seconds": 0.001, "requirements": "enforce", "scoring_server": True},
    }
)
LAX = GateRules(
    min_gain=-0.5,
    floors={"f1_macro": 0.1},
    slices=SliceRules(by=()),
    calibration=CalibrationRules(max_ece_increase=None),
    budget=BudgetRules(max_milliseconds_per_1000=None),
)


@pytest.fixture(scope="module")
def strict() -> SelftestResult:
    return selftest.run(PROBLEM, STRICT, PROD)


@pytest.fixture(scope="module")
def evidence_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the result for the lax rules is kept, for the test that looks there too."""
    return tmp_path_factory.mktemp("evidence")


@pytest.fixture(scope="module")
def lax(evidence_root: Path) -> SelftestResult:
    return selftest.ensure(PROBLEM, LAX, PROD, evidence_root)


def test_each_planted_fault_is_refused_for_its_reason_and_an_honest_model_is_not(strict: SelftestResult) -> None:
    assert strict.passed
    assert strict.reasons == ()
    assert {line.name: line.outcome for line in strict.lines} == dict.fromkeys([*BAD, *HONEST], "caught")
    by_name = {line.name: line for line in strict.lines}
    for name, reason in BAD.items():
        known = dict.fromkeys(WORSE, "worse") | {"leaky": "not_enough_data"}
        assert by_name[name].decision == known.get(name, "keep")
        assert by_name[name].expected_reason == reason
        assert any(told.startswith(reason) or reason in told for told in by_name[name].reasons), by_name[name]
    assert {name: by_name[name].decision for name in HONEST} == HONEST
    assert "800 left out because the challenger was trained on them" in by_name["leaky"].reasons[1]
    for name in ("slow", "heavy", "other model in the file", "unreadable"):
        assert len(by_name[name].reasons) == 2, "nothing else speaks against it"


@pytest.mark.parametrize("rules", ["default", pytest.param("strict", marks=exhaustive)])
@pytest.mark.parametrize(
    "problem",
    [*some("tabular-regression", "tabular-classification", "text-pair-classification", always=1)],
)
def test_the_gate_of_other_problems_refuses_each_fault_for_its_reason_too(problem: ProblemName, rules: str) -> None:
    numbers = problem == "tabular-regression"
    strict = STRICT_ON_NUMBERS if numbers else STRICT.model_copy(update={"behaviour": ()})
    result = selftest.run(problem, strict if rules == "strict" else GateRules(), PROD)
    assert result.passed, result.reasons
    planted_here = [name for name in (*BAD, *HONEST) if not (numbers and name in NOT_OF_NUMBERS)]
    unguarded = {line.name for line in result.lines if line.outcome == "unguarded"}
    own = OF_PAIRS if problem == "text-pair-classification" else set()
    assert {line.name for line in result.lines} == {*planted_here, *own}
    assert {line.outcome for line in result.lines if line.name in own} <= {"caught"}
    assert unguarded <= {"heavy", "slice broken"} if rules == "default" else not unguarded
    for line in result.lines:
        if line.name in BAD and line.name not in unguarded:
            assert line.expected_reason == BAD[line.name]
            assert any(line.expected_reason in reason for reason in line.reasons), line
        assert (line.decision == "promote") is (HONEST.get(line.name) == "promote"), line


def test_rules_of_other_data_are_replaced_and_named(strict: SelftestResult) -> None:
    replaced = dict(line.split(": ", 1) for line in strict.replaced)
    assert replaced["gate.mode"] == "dry_run became enforce"
    assert replaced["gate.metric"] == "cost became f1_macro"
    assert replaced["gate.floors.f1_macro"] == "0.97 became 0.5"
    assert replaced["gate.floors.recall.fraud"] == "0.99 became None"
    assert replaced["gate.min_rows"] == "50000 became 400"
    assert "source_desk" in replaced["gate.slices.by"]
    assert {"gate.costs", "gate.own_metrics.own", "gate.behaviour", "gate.max_churn"} <= replaced.keys()
    assert not {"gate.confidence", "gate.slices.max_loss", "gate.resamples"} & replaced.keys()


def test_a_limit_is_never_made_stricter() -> None:
    """Only time and size get a limit of their own."""
    wide = LAX.model_copy(update={"metric": "f1_macro", "min_rows": 3, "retraining": RetrainingRules(margin=0.07)})
    assert selftest.stand_in(wide, PlantedModels(TEXTS)) == wide
    assert selftest.stand_in(GateRules(), PlantedModels(TEXTS)).margin == selftest.GAIN
    assert selftest.stand_in(GateRules(min_gain=-0.01), PlantedModels(TEXTS)).min_gain == -selftest.LOSS


def test_what_the_rules_do_not_guard_against_is_told_and_not_tried(lax: SelftestResult) -> None:
    outcomes = {line.name: line.outcome for line in lax.lines}
    unguarded = {"shuffled target", "slice broken", "class broken", "overconfident", "slow", "heavy"}
    assert {name for name, outcome in outcomes.items() if outcome == "unguarded"} == unguarded
    assert lax.passed
    for line in lax.lines:
        assert (line.decision is None) is (line.outcome == "unguarded")
        assert line.reasons
    assert "as good" not in outcomes


@pytest.mark.parametrize(
    ("rules", "name", "unguarded"),
    [
        ({"min_gain": -0.1}, "shuffled target", False),
        ({"min_gain": -0.11}, "shuffled target", True),
        ({"retraining": {"margin": 0.1}}, "retrained on wrong targets", False),
        ({"retraining": {"margin": 0.11}}, "retrained on wrong targets", True),
        ({}, "constant", False),
        ({"slices": {"by": ["label"]}}, "slice broken", True),
        ({"slices": {"by": ["label"]}}, "class broken", False),
        ({"slices": {"by": ["region"]}}, "slice broken", False),
        ({"slices": {"by": ["region"]}}, "class broken", True),
        ({"slices": {"max_loss": 0.15}}, "slice broken", False),
        ({"slices": {"max_loss": 0.16}}, "slice broken", True),
        ({"slices": {"max_loss": 0.16}}, "class broken", True),
        ({"calibration": {"max_ece": 0.2, "max_ece_increase": None}}, "overconfident", False),
        ({"calibration": {"max_ece": 0.21, "max_ece_increase": None}}, "overconfident", True),
        ({"calibration": {"max_ece": 0.21, "max_ece_increase": 0.2}}, "overconfident", False),
        ({"budget": {"max_megabytes": 1.0}}, "heavy", False),
        ({}, "heavy", True),
        ({}, "leaky", False),
    ],
)
def test_where_a_guard_begins(rules: dict[str, object], name: str, unguarded: bool) -> None:
    expected = selftest.expectations(TEXTS, TEXTS.judging.completed(GateRules.model_validate(rules)))
    assert bool(expected[name].unguarded) is unguarded


def test_a_gate_that_lets_everything_in_is_found_out_and_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = tmp_path / "evidence"
    monkeypatch.setattr(decide, "decision_of", lambda done, worthwhile: "promote")  # noqa: ARG005
    result = selftest.ensure(PROBLEM, LAX, PROD, evidence)
    missed = {line.name for line in result.lines if line.outcome == "MISSED"}
    assert missed == {
        *("constant", "leaky", "other model in the file", "unreadable", "equal"),
        "retrained on wrong targets",
    }
    assert not result.passed
    assert len(result.reasons) == len(missed)
    told = "the gate missed the planted challenger 'leaky': promote instead of refused for its comparable rows"
    assert any(reason.startswith(told) for reason in result.reasons)
    assert not evidence.exists()


def test_what_has_passed_is_not_repeated(
    lax: SelftestResult, evidence_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lax.passed
    (kept,) = evidence_root.iterdir()
    monkeypatch.setattr(PlantedModels, "evidence", None)  # nothing can be judged any more
    assert selftest.ensure(PROBLEM, LAX, PROD, evidence_root) == lax
    assert not selftest.ensure(PROBLEM, LAX, Environment.DEV, evidence_root).passed, "another environment"
    other = LAX.model_copy(update={"min_rows": 51})
    assert not selftest.ensure(PROBLEM, other, PROD, evidence_root).passed, "other rules"
    content = kept.read_text(encoding="utf-8")
    for useless in (content.replace('"caught"', '"MISSED"', 1), content[:-9], "[]"):
        kept.write_text(useless, encoding="utf-8")
        assert not selftest.ensure(PROBLEM, LAX, PROD, evidence_root).passed, "this proves nothing"
    assert kept.read_text(encoding="utf-8") == "[]", "a failure is not kept"


def test_a_gate_that_refuses_everything_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "decision_of", lambda done, worthwhile: "keep")  # noqa: ARG005
    result = selftest.run(PROBLEM, LAX, PROD)
    assert {line.name for line in result.lines if line.outcome == "MISSED"} == {"better", "retrained"}


def test_a_gate_that_breaks_has_refused_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("no rows")

    monkeypatch.setattr(checks, "floors", broken)
    result = selftest.run(PROBLEM, LAX, PROD)
    missed = [line for line in result.lines if line.outcome == "MISSED"]
    assert {line.name for line in missed} >= {"better", "equal", "unreadable"}
    assert {line.reasons for line in missed} == {("could not be judged: ZeroDivisionError: no rows",)}
    assert not result.passed


# What is planted


def test_the_planted_are_what_their_names_say() -> None:
    models = PlantedModels(TEXTS)
    better, equal = models.evidence("better"), models.evidence("equal")
    assert better.champion is not None
    assert equal.champion is not None
    accuracy = {
        name: float(np.mean(models.evidence(name).challenger.label == better.challenger.truth))
        for name in ("better", "as good", "slice broken", "class broken", "overconfident", "shuffled target")
    }
    champion = float(np.mean(better.champion.label == better.champion.truth))
    assert accuracy["better"] > champion + 0.2
    assert accuracy["as good"] == pytest.approx(champion, abs=0.03)
    assert accuracy["shuffled target"] < champion - 0.2
    for name in ("slice broken", "class broken", "overconfident"):
        assert accuracy[name] > champion + 0.03, f"{name} is better on the whole"
    assert np.array_equal(equal.challenger.label, equal.champion.label)
    assert len({*models.evidence("constant").challenger.label}) == 1
    assert len(models.evidence("leaky").rows) == 0
    assert len(better.rows) == planted.HELD_OUT
    assert models.evidence("overconfident").challenger.score.mean() > 0.95


def test_the_same_texts_and_models_every_time() -> None:
    first, second = PlantedModels(TEXTS), PlantedModels(TEXTS)
    assert first.train.equals(second.train)
    assert first.holdout.equals(second.holdout)
    one, other = first.evidence("better").challenger, second.evidence("better").challenger
    assert np.array_equal(one.label, other.label)
    assert not set(first.train["key"]) & set(first.holdout["key"])


def test_a_file_that_is_not_the_models_own_is_no_proof() -> None:
    models = PlantedModels(TEXTS)
    assert models.evidence("better").prove().outcome == "800 predictions reproduced"
    for name, words in (("other model in the file", "predictions differ"), ("unreadable", "not a pipeline stored")):
        with pytest.raises(IntegrityError, match=words):
            models.evidence(name).prove()


def test_a_result_is_plain_json(strict: SelftestResult) -> None:
    assert SelftestResult.model_validate(json.loads(strict.model_dump_json())) == strict
