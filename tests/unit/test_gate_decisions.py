"""Every rule of the gate on both sides of its limit and exactly at it, on small cases made by hand.

Promise: A first champion beats any constant answer and chance; a retraining is not worse; any other challenger is
better (also `tests/registry/test_retrained.py`).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest

from lifecycle.core.errors import DataError, IntegrityError, TransientError
from lifecycle.core.names import Environment
from lifecycle.evaluation import slices as parts_of
from lifecycle.evaluation import statistics
from lifecycle.evaluation.comparable import comparable
from lifecycle.evaluation.statistics import Measured
from lifecycle.gate import checks
from lifecycle.gate.contest import Contest, Terms
from lifecycle.gate.decide import SHOWN_FLIPS, Comparison, Evidence, decide, decision_of
from lifecycle.gate.present import advice
from lifecycle.gate.proof.infrastructure import Proof
from lifecycle.gate.verdict import REPLAY, Check, Verdict
from lifecycle.problems.classification import metrics
from lifecycle.problems.classification.scores import ClassScores
from lifecycle.problems.contract import TEXT_COLUMNS
from lifecycle.problems.findings import BehaviourLine, Interval, SliceLine
from lifecycle.problems.known import named
from lifecycle.settings.gate_rules import (
    BudgetRules,
    CalibrationRules,
    CostRules,
    GateRules,
    InfrastructureRules,
    SliceRules,
)

JUST = 1e-9
"""Far less than any limit here, far more than rounding."""
PROOF = Proof(outcome="8 predictions reproduced", load_seconds=2.0, milliseconds_per_1000=4.0, megabytes=8.0)
QUICK = {"resamples": 200, "min_rows": 1, "min_rows_per_class": 1}
GAIN = Contest(rule="gain")


def terms(rules: GateRules) -> Terms:
    completed = TEXTS.judging.completed(rules)
    return Terms(metrics.named(completed.metric, completed), completed, GAIN)


TEXTS = named("text-classification")
PASS, FAIL, FEW = (Check(name="x", outcome=outcome) for outcome in ("pass", "fail", "not_enough_data"))  # type: ignore[arg-type]
ALONE = {**QUICK, "slices": SliceRules(by=()), "calibration": CalibrationRules(max_ece_increase=None)}
"""Rules that ask for nothing but a gain."""


def predictions(truth: str, labels: str, scores: Sequence[float] | None = None, *, sure: bool = False) -> ClassScores:
    """One letter per row; the score of a label is 0.75, or certain."""
    classes = tuple("abc")
    codes = np.array([classes.index(letter) for letter in labels])
    score = np.array(scores if scores is not None else [1.0 if sure else 0.75] * len(labels))
    probabilities = np.repeat(((1 - score) / 2)[:, None], 3, axis=1)
    probabilities[np.arange(len(codes)), codes] = score
    return ClassScores(classes, np.array([classes.index(letter) for letter in truth]), codes, score, probabilities)


def rows_of(truth: str, **columns: object) -> pd.DataFrame:
    texts = [f"text {number}" for number in range(len(truth))]
    return pd.DataFrame({"row": range(10, 10 + len(truth)), "text": texts, "truth": list(truth)}).assign(**columns)


def case(
    truth: str,
    new: str,
    old: str | None = None,
    *,
    prove: Callable[[], Proof] = lambda: PROOF,
    left_out: dict[str, int] | None = None,
    rows: pd.DataFrame | None = None,
    contest: Contest | None = None,
) -> Evidence:
    return Evidence(
        problem=TEXTS,
        inputs=TEXT_COLUMNS,
        rows=rows_of(truth) if rows is None else rows,
        challenger=predictions(truth, new),
        champion=None if old is None else predictions(truth, old),
        left_out=left_out or {},
        predict=lambda texts: texts,
        prove=prove,
        contest=contest or Contest(rule="gain" if old is not None else "first"),
    )


def judged(asked: Evidence, **rules: object) -> Verdict:
    comparison = Comparison(
        env=Environment.DEV,
        challenger="new",
        champion="old" if asked.champion else None,
        data_name="news",
        data_version="1.0.0",
        dataset_digest="d",
        side="holdout",
    )
    return decide(comparison, asked, GateRules.model_validate({**ALONE, **rules}))


def outcomes(verdict: Verdict) -> dict[str, str]:
    return {check.name: check.outcome for check in verdict.checks}


def interval(value: float, low: float | None = None) -> Interval:
    return Interval(value=value, low=value if low is None else low, high=value)


def measured(
    challenger: dict[str, float], champion: dict[str, float] | None = None, gain: dict[str, Interval] | None = None
) -> Measured:
    new, old = ({name: interval(value) for name, value in each.items()} for each in (challenger, champion or {}))
    return Measured(new, old, gain or {}, {"f1_macro": "for this reason"})


# The rows


def stored(score: float, sums: Sequence[float] | None) -> pd.DataFrame:
    """Stored predictions of two rows, the second of which is usual."""
    frame = pd.DataFrame({"row": [0, 1], "key": ["a" * 64, "b" * 64], "truth": ["a", "b"], "label": ["a", "b"]})
    frame["score"] = [score, 0.5]
    if sums is not None:
        frame[[f"probability.{name}" for name in "abc"]] = [list(sums), [0.5, 0.25, 0.25]]
    return frame


@pytest.mark.parametrize(
    ("score", "probabilities", "words"),
    [
        (0.5, None, ""),
        (0.0, None, ""),
        (1.0, None, ""),
        (1.0 + JUST, None, "score outside"),
        (-JUST, None, "score outside"),
        (math.nan, None, "score outside"),
        (0.5, (1.0, 0.0, 0.0), ""),
        (0.5, (0.5, 0.25, 0.25 + 5e-7), ""),
        (0.5, (0.5, 0.25, 0.25 + 5e-6), "do not add up to 1"),
        (0.5, (0.5, 0.25, 0.25 - 5e-6), "do not add up to 1"),
        (0.5, (1.5, -0.5, 0.0), "do not add up to 1"),
        (0.5, (0.6, 0.6, -0.2), "do not add up to 1"),
        (0.5, (math.nan, 0.5, 0.5), "do not add up to 1"),
        (0.5, (0.0, 0.0, 0.0), "do not add up to 1"),
    ],
)
def test_what_no_probability_can_be_is_not_judged(
    score: float, probabilities: Sequence[float] | None, words: str
) -> None:
    truth = stored(0.5, None)[["row", "key"]].assign(text=["x", "y"], label=["a", "b"])
    models = {"challenger": stored(score, probabilities), "champion": stored(0.5, None)}
    for found in (models, dict(zip(models, reversed(models.values()), strict=True))):
        if words:
            with pytest.raises(IntegrityError, match=words):
                comparable(TEXTS, truth, found, {})
        else:
            assert len(comparable(TEXTS, truth, found, {}).rows) == 2


@pytest.mark.parametrize(
    ("truth", "rows", "of_a_class", "outcome"),
    [
        ("aaaabbbbb", 9, 4, "pass"),
        ("aaaabbbbb", 10, 4, "not_enough_data"),
        ("aaaabbbbb", 9, 5, "not_enough_data"),
        ("aaaabbbbb", 8, 3, "pass"),
        ("aaaaa", 5, 5, "pass"),
        ("", 1, 1, "not_enough_data"),
    ],
)
def test_comparable_rows(truth: str, rows: int, of_a_class: int, outcome: str) -> None:
    found = checks.enough_rows(rows_of(truth), {}, GateRules(min_rows=rows, min_rows_per_class=of_a_class))
    assert (found.outcome, found.value, found.limit) == (outcome, len(truth), rows)
    assert found.detail == f"{min(map(truth.count, set(truth)), default=0)} of the rarest class (at least {of_a_class})"


def test_rows_left_out_are_told_by_whose_they_are() -> None:
    found = checks.enough_rows(rows_of("ab"), {"challenger": 0, "champion": 1234}, GateRules())
    assert found.detail.endswith("(at least 5); 1,234 left out because the champion was trained on them")


def test_with_too_few_rows_nothing_else_is_asked() -> None:
    asked = case("aaaabbbb", "aaaabbbb", "bbbbaaaa", prove=lambda: pytest.fail("no process may start"))
    for mode in ("enforce", "dry_run"):
        verdict = judged(asked, min_rows=9, mode=mode)
        assert verdict.decision == "not_enough_data"
        assert outcomes(verdict) == {"comparable rows": "not_enough_data"}
        assert not verdict.promote
        assert verdict.metrics == verdict.champion_metrics == verdict.gains == {}
        assert verdict.slices == verdict.behaviour == ()
        assert (verdict.broken_rows, verdict.repaired_rows) == (0, 8)
    assert verdict.reasons[1] == "too few rows to judge on: 8 rows that neither has seen"
    assert "to see a difference of 0.02 in f1_macro with a power of 80% takes about" in verdict.reasons[2]


@pytest.mark.parametrize(
    ("asked", "told"), [(case("ab", "ab"), False), (case("a", "a", "b"), False), (case("ab", "ab", "ba"), True)]
)
def test_how_many_rows_it_takes_is_told_where_two_models_can_tell(asked: Evidence, told: bool) -> None:
    assert ("takes about" in judged(asked, min_rows=9).reasons[1]) is told


@pytest.mark.parametrize(("rows", "decision"), [(40, "cannot_tell"), (200, "promote"), (2000, "promote")])
def test_nothing_lost_on_few_rows_excludes_no_small_loss(rows: int, decision: str) -> None:
    """Two models that say the same everywhere: of 80 rows, chance may have hidden one in twenty that differ."""
    same = "aaaabbbb" * (rows // 4)
    verdict = judged(case(same, same, same, contest=RETRAINING))
    assert verdict.decision == decision, verdict.reasons
    assert (
        "with as many more rows that differ as chance may have hidden it begins at -0.0" in verdict.reasons[-1]
    ) is (decision == "cannot_tell")


def test_an_interval_that_excludes_the_loss_needs_no_further_rows() -> None:
    """However many rows it takes to be rather sure of such an interval beforehand: this one is there."""
    asked = case(*flipped(90, 90), contest=RETRAINING)
    assert judged(asked).promote
    assert asked.champion is not None
    metric = metrics.named("f1_macro", GateRules())
    variance = statistics.spread(metric, asked.challenger, asked.champion, confidence=0.95, resamples=400)
    assert statistics.rows_needed(variance, margin=0.02, risk=0.025, power=0.8) > ROWS


@pytest.mark.parametrize(("min_gain", "decision"), [(-0.25, "promote"), (-0.05, "cannot_tell")])
def test_a_smaller_margin_needs_more_rows(min_gain: float, decision: str) -> None:
    """In a quarter of the rows the two differ, as often in favour of the one as of the other."""
    truth, new, old = ("aaaabbbb" * 20, ("aaaabbbb" * 3 + "aaabbbbb") * 5, ("aaaabbbb" * 3 + "aaaabbba") * 5)
    verdict = judged(case(truth, new, old), min_gain=min_gain)
    assert verdict.decision == decision
    if decision == "promote":
        assert verdict.reasons[0].startswith(
            "not worse than the champion old by more than the 0.25 that is tolerated: "
        )
    else:
        assert "; 0.05 takes about " in verdict.reasons[0]


# Floors and ceilings


@pytest.mark.parametrize(
    ("value", "floor", "ceiling"),
    [
        (0.5, "pass", "pass"),
        (0.5 + JUST, "pass", "fail"),
        (0.5 - JUST, "fail", "pass"),
        (math.nan, "fail", "fail"),
        (None, "fail", "fail"),
    ],
)
def test_floor_and_ceiling(value: float | None, floor: str, ceiling: str) -> None:
    found = measured({} if value is None else {"accuracy": value, "ece": value})
    rules = GateRules(floors={"accuracy": 0.5}, ceilings={"ece": 0.5})
    low, high = checks.floors(found, rules)
    assert (low.name, low.outcome, low.limit) == ("floor accuracy", floor, 0.5)
    assert (high.name, high.outcome, high.limit) == ("ceiling ece", ceiling, 0.5)
    if value is None:
        assert low.detail == high.detail == "cannot be measured: it is not among the metrics of these rows"
    else:
        assert [low.value, low.low, low.high] == pytest.approx([value] * 3, nan_ok=True)


def test_a_floor_that_cannot_be_measured_gives_the_reason() -> None:
    (found,) = checks.floors(measured({}), GateRules(floors={"f1_macro": 0.1}))
    assert (found.outcome, found.detail) == ("fail", "cannot be measured: for this reason")


@pytest.mark.parametrize("limit", ["floors", "ceilings"])
def test_one_broken_limit_is_enough(limit: str) -> None:
    rules = {"floors": {"accuracy": 0.5, "f1_macro": 0.99}} if limit == "floors" else {"ceilings": {"ece": 0.1}}
    verdict = judged(case("aaaabbbb" * 5, "aaabbbbb" * 5, "bbbbbbbb" * 5), **rules)
    name = "floor f1_macro" if limit == "floors" else "ceiling ece"
    assert [key for key, outcome in outcomes(verdict).items() if outcome == "fail"] == [name]
    word = "below 0.99" if limit == "floors" else "above 0.1"
    assert verdict.decision == "keep"
    assert verdict.reasons[0].startswith("it does not ")
    assert verdict.reasons[1].endswith(word)


def test_what_cannot_be_measured_refuses_and_says_why() -> None:
    verdict = judged(case("ab" * 20, "ab" * 20, "ba" * 20), floors={"recall.none": 0.5})
    assert verdict.decision == "keep"
    assert [reason.partition("measured")[0] for reason in verdict.reasons[1:]] == ["floor recall.none: cannot be "]


# The gain


@pytest.mark.parametrize(
    ("low", "p", "min_gain", "accepted"),
    [
        (JUST, 0.0, 0.0, True),
        (0.0, 0.0, 0.0, False),
        (-JUST, 0.0, 0.0, False),
        (0.25, 0.0, 0.25, False),
        (0.25 + JUST, 0.0, 0.25, True),
        (0.5, 0.125, 0.0, True),
        (0.5, 0.125 + JUST, 0.0, False),
        (0.5, 0.125 + JUST, 0.25, False),
        (-0.25, 1.0, -0.25, False),
        (-0.25 + JUST, 1.0, -0.25, True),
        (-0.25 + JUST, 0.0, -0.25, True),
        (math.nan, 0.0, 0.0, False),
        (math.inf, 0.0, 0.0, False),
    ],
)
def test_a_gain_that_is_no_chance(low: float, p: float, min_gain: float, accepted: bool) -> None:
    gain = Interval(value=0.5, low=low, high=0.9)
    assert statistics.accepts_gain(gain, p, min_gain=min_gain, risk=0.125) is accepted


@pytest.mark.parametrize("field", ["value", "high"])
def test_a_gain_that_is_no_number_is_none(field: str) -> None:
    gain = Interval(value=0.5, low=0.4, high=0.6).model_copy(update={field: math.nan})
    assert not statistics.accepts_gain(gain, 0.0, min_gain=0.0, risk=0.125)


@pytest.mark.parametrize(
    ("new", "old", "min_gain", "outcome"),
    [
        ("aaaaaaaaaa", "aaaabbbbbb", 0.0, "pass"),
        ("aaaabbbbbb", "aaaaaaaaaa", 0.0, "fail"),
        ("aaaaaaaabb", "bbaaaaaaaa", 0.0, "fail"),
        ("aaaabbbbbb", "aaaabbbbbb", 0.0, "fail"),
        ("aaaabbbbbb", "aaaabbbbbb", -0.5, "fail"),
        ("aaaaaaaabb", "bbaaaaaaaa", -0.5, "pass"),
        ("aaaaaaaaab", "aaaaaaaaaa", -0.5, "pass"),
        ("aaaaaaaaaa", "aaaabbbbbb", 0.6, "fail"),
    ],
)
def test_gain(new: str, old: str, min_gain: float, outcome: str) -> None:
    """Rows of ten, of which `a` is right, four times; a tie never passes, also where a loss is tolerated."""
    challenger, champion = predictions("a" * 40, new * 4), predictions("a" * 40, old * 4)
    rules = GateRules(metric="accuracy", min_gain=min_gain, resamples=400)
    value = (new.count("a") - old.count("a")) / 10
    found = measured({}, {}, {"accuracy": Interval(value=value, low=value - 0.15, high=value + 0.15)})
    check = checks.gain(found, (challenger, champion), terms(rules))
    assert (check.name, check.outcome, check.limit) == ("gain in accuracy", outcome, min_gain)
    assert check.value == pytest.approx(value)
    broken = sum(a == "b" and b == "a" for a, b in zip(new, old, strict=True)) * 4
    repaired = sum(a == "a" and b == "b" for a, b in zip(new, old, strict=True)) * 4
    assert check.detail.startswith(f"{repaired} rows repaired, {broken} broken, McNemar p = ")


def test_a_champion_in_a_smaller_form_may_answer_the_same_where_few_predictions_may_change() -> None:
    same = case("ab" * 200, "ab" * 200, "ab" * 200)
    for rules, outcome in (
        ({"min_gain": -0.1, "max_churn": 0.005}, "pass"),
        ({"min_gain": -0.1}, "fail"),
        ({"min_gain": 0.0, "max_churn": 0.005}, "fail"),
    ):
        assert outcomes(judged(same, metric="accuracy", **rules))["gain in accuracy"] == outcome, rules


def test_a_handful_of_lucky_rows_is_no_gain() -> None:
    """Four repaired rows and none broken: every bootstrap gains, but chance does that once in sixteen."""
    found = judged(case("ab" * 20, "ab" * 20, "ba" * 2 + "ab" * 18))
    (check,) = (check for check in found.checks if check.name.startswith("gain"))
    assert check.low is not None
    assert check.low > 0
    assert check.outcome == "fail"
    assert found.decision == "cannot_tell"
    assert found.reasons[0].startswith("these 40 rows cannot tell whether it beats the champion old: they show a diff")
    assert found.reasons[1].startswith("gain in f1_macro is +0.100 [+0.0")


def test_probabilities_alone_are_a_difference_only_to_a_metric_that_reads_them() -> None:
    champion, sure = predictions("ab" * 20, "ab" * 20), predictions("ab" * 20, "ab" * 20, sure=True)
    asked = case("ab" * 20, "ab" * 20, "ab" * 20)._replace(challenger=sure, champion=champion)
    assert outcomes(judged(asked, metric="accuracy", min_gain=-0.5))["gain in accuracy"] == "fail"
    assert outcomes(judged(asked, metric="log_loss"))["gain in log_loss"] == "pass"


def test_a_gain_that_cannot_be_measured_fails() -> None:
    model = predictions("ab", "ab")
    check = checks.gain(measured({}), (model, model), terms(GateRules()))
    assert (check.outcome, check.value, check.detail) == ("fail", None, "cannot be measured: for this reason")


# The first champion


def test_a_first_champion_is_compared_with_answers_that_take_no_model() -> None:
    verdict = judged(case("ab" * 20, "ab" * 20))
    assert outcomes(verdict) == {
        "comparable rows": "pass",
        "gain in f1_macro over always 'a'": "pass",
        "gain in f1_macro over chance": "pass",
        "classes never found": "pass",
        REPLAY: "pass",
        "seconds to load": "pass",
        "milliseconds per 1,000 rows": "pass",
    }
    told = "first champion: better than any constant answer and than chance on 40 rows it has not seen"
    assert (verdict.decision, verdict.reasons, verdict.rule) == ("promote", (told,), "first")
    assert verdict.champion_confusion == ()


@pytest.mark.parametrize("metric", ["f1_macro", "accuracy", "recall.a", "mcc", "log_loss", "ece", "balanced_accuracy"])
def test_a_constant_answer_is_no_first_champion_by_any_metric(metric: str) -> None:
    """Nine tenths are `a`: always `a` has an accuracy of 0.9 and finds every `a`."""
    verdict = judged(case("a" * 270 + "b" * 30, "a" * 300), metric=metric)
    assert not verdict.promote
    assert outcomes(verdict)["classes never found"] == "fail"
    assert {outcome for name, outcome in outcomes(verdict).items() if "over always" in name} == {"fail"}


def test_a_constant_answer_is_worse_than_chance_and_as_good_as_itself() -> None:
    verdict = judged(case("ab" * 40, "a" * 80))
    assert verdict.decision == "worse"
    assert verdict.reasons[0].startswith("worse than chance")
    assert advice.enough(verdict, 0.95) == "", "no gain of nothing would have been enough"


@pytest.mark.parametrize("metric", ["f1_macro", "accuracy", "mcc", "recall.a", "log_loss", "roc_auc"])
def test_an_honest_model_that_is_far_from_good_is_a_first_champion(metric: str) -> None:
    """Right in half of the rows of four times as many answers: well above chance, well below any usual floor."""
    rng = np.random.default_rng(5)
    truth = "abc" * 200
    new = "".join(letter if rng.random() < 0.4 else "abc"[rng.integers(3)] for letter in truth)
    asked = case(truth, new)._replace(challenger=predictions(truth, new, [0.6] * len(truth)))
    verdict = judged(asked, metric=metric)
    assert verdict.promote, verdict.reasons
    assert verdict.metrics["f1_macro"].value < 0.65


def test_answers_that_only_look_like_a_model_are_chance() -> None:
    """The truth dealt to other rows has every class as often as it should be."""
    rng = np.random.default_rng(6)
    truth = "aaab" * 60
    verdict = judged(case(truth, "".join(rng.permutation(list(truth)))))
    assert not verdict.promote
    assert outcomes(verdict)["gain in f1_macro over chance"] == "fail"


@pytest.mark.parametrize(
    ("rows", "asked", "outcome"), [(29, 30, "pass"), (30, 30, "fail"), (31, 30, "fail"), (31, None, "")]
)
def test_a_class_of_sufficient_size_must_be_found_once(rows: int, asked: int | None, outcome: str) -> None:
    truth = "a" * 200 + "b" * 200 + "c" * rows
    verdict = judged(case(truth, truth.replace("c", "b")), missed_class_rows=asked)
    assert outcomes(verdict).get("classes never found", "") == outcome
    assert verdict.promote is (outcome != "fail")
    if outcome == "fail":
        assert f"classes never found: none of its rows is found: c (0 of {rows})" in verdict.reasons
    assert all(check.limit == 0 for check in verdict.checks if check.name == "classes never found")
    found_once = judged(case(truth, truth.replace("c", "b")[:-1] + "c"), missed_class_rows=asked)
    assert found_once.promote


def test_of_several_classes_that_are_never_found_two_are_named() -> None:
    truth = "a" * 40 + "b" * 40 + "c" * 40
    (two,) = checks.never_found(predictions(truth, "a" * 120), GateRules())
    assert two.detail == "none of its rows is found: b (0 of 40), c (0 of 40)"
    (three,) = checks.never_found(predictions(truth, "b" * 40 + "a" * 80), GateRules())
    assert three.detail == "none of its rows is found: a (0 of 40), b (0 of 40) and 1 more"


def test_what_cannot_be_measured_makes_no_first_champion() -> None:
    bare = case("ab" * 20, "ab" * 20)
    verdict = judged(bare._replace(challenger=bare.challenger._replace(probabilities=None)), metric="log_loss")
    assert verdict.decision == "keep"
    assert "gain in log_loss over any constant answer: cannot be measured: gives no probabilities" in verdict.reasons
    assert next(check.limit for check in verdict.checks if check.name.startswith("gain in")) == 0


# Retraining


RETRAINING = Contest(rule="retraining", why="the same again")
ROWS = 1500


def flipped(broken: int, repaired: int) -> tuple[str, str, str]:
    """Truth, challenger and champion of many rows: the one breaks some, and repairs some others."""
    truth = "ab" * (ROWS // 2)
    wrong = truth.translate(str.maketrans("ab", "ba"))
    new = wrong[:broken] + truth[broken:]
    old = truth[:-repaired] + wrong[-repaired:] if repaired else truth
    return truth, new, old


@pytest.mark.parametrize(
    ("broken", "repaired", "decision"),
    [
        (20, 20, "promote"),
        (0, 0, "promote"),
        (14, 20, "promote"),
        (30, 8, "worse"),
        (90, 90, "promote"),
        (140, 140, "cannot_tell"),
    ],
)
def test_a_retraining_must_not_be_worse(broken: int, repaired: int, decision: str) -> None:
    truth, new, old = flipped(broken, repaired)
    verdict = judged(case(truth, new, old, contest=RETRAINING))
    assert verdict.decision == decision, verdict.reasons
    assert (verdict.rule, verdict.rule_reason) == ("retraining", "the same again")
    if decision == "promote":
        assert verdict.reasons[0].startswith("trained again and not worse than the champion old by as much as 0.02")
    other = judged(case(truth, new, old))
    assert not other.promote, "any other challenger must be better"


def test_a_retraining_that_is_better_is_called_better() -> None:
    truth, new, old = flipped(0, 40)
    verdict = judged(case(truth, new, old, contest=RETRAINING))
    assert verdict.reasons[0].startswith("better than the champion old: ")


@pytest.mark.parametrize(("margin", "decision"), [(0.1, "promote"), (None, "cannot_tell"), (0.001, "cannot_tell")])
def test_the_margin_of_a_retraining_is_a_setting(margin: float | None, decision: str) -> None:
    truth, new, old = flipped(140, 140)
    verdict = judged(case(truth, new, old, contest=RETRAINING), retraining={"margin": margin})
    assert verdict.decision == decision, verdict.reasons
    assert verdict.promote or verdict.reasons[1].endswith("; gate.retraining.margin tolerates more")
    (check,) = (check for check in verdict.checks if check.name == "gain in f1_macro")
    assert check.limit == -(margin or 0.02)


def rival(label: str, broken: int) -> checks.Rival:
    """An earlier champion against which the challenger breaks some rows and repairs none."""
    truth, new, old = flipped(broken, 0)
    return checks.Rival(label, predictions(truth, new), predictions(truth, old))


@pytest.mark.parametrize(
    ("rivals", "decision"),
    [
        ((), "promote"),
        ((("v1", 5), ("v2", 0)), "promote"),
        ((("v1", 60), ("v2", 0)), "worse"),
        ((("v1", 0), ("v2", 60)), "worse"),
    ],
)
def test_a_margin_is_not_walked_down_by_small_steps(rivals: tuple[tuple[str, int], ...], decision: str) -> None:
    """As good as the champion, but much worse than a champion before it."""
    truth, new, old = flipped(20, 20)
    asked = case(truth, new, old, contest=RETRAINING)._replace(rivals=tuple(rival(*each) for each in rivals))
    verdict = judged(asked)
    assert verdict.decision == decision, verdict.reasons
    named = [name for name in outcomes(verdict) if "earlier champion" in name]
    worst = max(rivals, key=lambda each: each[1], default=None)
    assert named == ([f"gain in f1_macro over the earlier champion {worst[0]}"] if worst else [])
    if decision == "worse":
        assert worst
        assert verdict.reasons[0].startswith(f"worse than the earlier champion {worst[0]}")
    assert judged(asked._replace(contest=GAIN)).rule == "gain"


def test_an_earlier_champion_that_cannot_be_measured_is_not_beaten() -> None:
    truth, new, old = flipped(0, 40)
    bare = rival("v1", 0)
    unknown = bare._replace(scores=bare.scores._replace(probabilities=None))
    asked = case(truth, new, old, contest=RETRAINING)._replace(rivals=(rival("v2", 0), unknown))
    verdict = judged(asked, metric="log_loss")
    assert outcomes(verdict)["gain in log_loss over the earlier champion v1"] == "fail"


# How often the same rows were asked


@pytest.mark.parametrize(("spent", "risk"), [(0, 0.025), (1, 0.00625), (4, 0.001), (9, 0.00025), (0.5, 0.025 / 2.25)])
def test_each_challenger_on_the_same_rows_has_less_of_the_risk(spent: float, risk: float) -> None:
    rules = GateRules()
    for rule in ("gain", "first"):
        assert Contest(rule=rule, spent=spent).risk(rules) == pytest.approx(risk)
    assert Contest(rule="retraining", spent=spent).risk(rules) == rules.risk
    assert Contest(rule="gain", spent=spent).risk(GateRules(reuse="count")) == rules.risk


def test_all_challengers_together_risk_less_than_one_in_twenty() -> None:
    assert sum(Contest(rule="gain", spent=k).risk(GateRules()) for k in range(100_000)) < 0.05


def test_a_gain_that_would_do_for_the_first_does_not_for_the_twentieth() -> None:
    truth, new, old = flipped(20, 45)
    first, twentieth = (
        judged(case(truth, new, old, contest=Contest(rule="gain", judged_before=n, spent=n))) for n in (0, 19)
    )
    assert (first.decision, twentieth.decision) == ("promote", "cannot_tell")
    assert (first.risk, twentieth.risk, twentieth.judged_before) == (
        pytest.approx(0.025),
        pytest.approx(0.025 / 400),
        19,
    )
    assert twentieth.gains == first.gains, "what is shown is the interval of the rules"
    assert (
        "widened for the challengers that were judged on these rows before, it begins at -0.0" in twentieth.reasons[1]
    )
    assert "after 19 others they show a difference of 0.028 or more" in twentieth.reasons[0]
    assert twentieth.reasons[0].endswith(" rows that no verdict has used, as a new version adds")
    assert twentieth.terms[-1].startswith("19 other challengers were judged on these rows before: the risk")
    clear = judged(case(*flipped(0, 60), contest=Contest(rule="gain", spent=19)))
    assert clear.decision == "promote"
    worse = judged(case(*flipped(60, 20), contest=Contest(rule="gain", spent=19)))
    assert "widened" not in worse.reasons[1], "it would not have been accepted anyway"


def test_a_first_champion_is_the_hundredth_try_too() -> None:
    rng = np.random.default_rng(11)
    truth = "ab" * 40
    new = "".join(letter if rng.random() < 0.25 else "ab"[rng.integers(2)] for letter in truth)
    fresh, worn = (judged(case(truth, new, contest=Contest(rule="first", judged_before=n, spent=n))) for n in (0, 99))
    assert (fresh.promote, worn.promote) == (True, False), fresh.reasons
    assert worn.reasons[0].endswith(": after 99 others it takes rows that no verdict has used, as a new version adds")


# Worse, no better, cannot tell


def checked(
    low: float, high: float, limit: float = 0.0, outcome: str = "fail", name: str = "gain in f1_macro"
) -> Check:
    value = (low + high) / 2
    return Check.model_validate(
        {"name": name, "outcome": outcome, "value": value, "low": low, "high": high, "limit": limit}
    )


@pytest.mark.parametrize(
    ("done", "decision"),
    [
        ((checked(-0.2, -JUST),), "worse"),
        ((checked(-0.2, 0.0),), "no_better"),
        ((checked(-0.2, 0.25 - JUST),), "no_better"),
        ((checked(-0.2, 0.25),), "cannot_tell"),
        ((checked(0.1, 0.45, 0.5),), "no_better"),
        ((checked(0.1, 0.5, 0.5),), "cannot_tell"),
        ((checked(-0.3, 0.1, -0.1),), "cannot_tell"),
        ((checked(-0.3, -0.01, -0.1),), "worse"),
        ((checked(-0.2, 0.1), checked(-0.2, 0.3, name="gain in f1_macro over chance")), "cannot_tell"),
        ((checked(-0.2, 0.1), checked(-0.2, 0.1, name="gain in f1_macro over chance")), "no_better"),
        ((checked(-0.2, 0.1), checked(-0.2, -0.1, name="gain in f1_macro over chance")), "worse"),
        ((checked(0.1, 0.2, outcome="pass"),), "promote"),
        ((checked(-0.2, -0.1, -0.3, outcome="pass"),), "promote"),
    ],
)
def test_a_comparison_that_fails_says_what_it_found(done: tuple[Check, ...], decision: str) -> None:
    assert decision_of(done, 0.25) == decision
    if decision not in {"promote", "worse"}:
        assert decision_of((*done, FAIL), 0.25) == "keep"
    if decision != "promote":
        assert decision_of((*done, FEW), 0.25) == ("worse" if decision == "worse" else "not_enough_data")


def test_each_answer_has_a_name_and_a_plain_sentence_before_its_numbers() -> None:
    truth = "ab" * 1000
    wrong = truth.translate(str.maketrans("ab", "ba"))
    pairs = {"worse": (wrong[:40] + truth[40:], truth), "no better": (truth, wrong[:1] + truth[1:])}
    pairs["cannot tell"] = (truth[:-60] + wrong[-60:], wrong[:85] + truth[85:])
    for answer, (new, old) in pairs.items():
        verdict = judged(case(truth, new, old))
        assert (verdict.title, verdict.told) == ("Refused", f"Refused: {answer}"), verdict.reasons
        assert not verdict.promote
        plain = verdict.reasons[0]
        assert not any(word in plain for word in ("McNemar", "p =", "[", "interval")), plain
        assert verdict.reasons[1].startswith("gain in f1_macro is ")


# The classes of the champion


@pytest.mark.parametrize(("setting", "decision"), [("refuse", "keep"), ("allow", "promote")])
@pytest.mark.parametrize(
    ("new", "old", "lost"), [("ab", "ab", False), ("abc", "ab", False), ("ab", "abc", True), ("cd", "ab", True)]
)
def test_a_challenger_that_cannot_say_what_the_champion_says_is_refused(
    setting: str, decision: str, new: str, old: str, lost: bool
) -> None:
    asked = case("ab" * 60, "ab" * 60, "bb" * 60)._replace(knows={"challenger": set(new), "champion": set(old)})
    verdict = judged(asked, lost_classes=setting)
    assert verdict.decision == (decision if lost else "promote")
    assert ("classes of the champion" in outcomes(verdict)) is lost
    assert all(check.limit == 0 for check in verdict.checks if check.name == "classes of the champion")
    if lost and setting == "refuse":
        assert verdict.reasons[0] == "it does not know every class that the champion knows"
        assert "set gate.lost_classes to allow" in verdict.reasons[-1]
        assert sum("gone 'a'" in reason or "gone 'c'" in reason for reason in verdict.reasons) == 1, "told once"


# Calibration, churn, behaviour


@pytest.mark.parametrize(
    ("new", "old", "ece", "increase"),
    [
        (0.25, 0.125, "pass", "pass"),
        (0.25 + JUST, 0.125 + 2 * JUST, "fail", "pass"),
        (0.25 - JUST, 0.125 - 2 * JUST, "pass", "fail"),
        (0.125, 0.25, "pass", "pass"),
        (None, 0.25, "fail", "fail"),
        (0.25, None, "pass", "fail"),
        (math.nan, 0.25, "fail", "fail"),
    ],
)
def test_calibration(new: float | None, old: float | None, ece: str, increase: str) -> None:
    champion = {"accuracy": 0.5} | ({} if old is None else {"ece": old})
    found = measured({} if new is None else {"ece": new}, champion)
    rules = GateRules(calibration=CalibrationRules(max_ece=0.25, max_ece_increase=0.125))
    first, second = checks.calibration(found, rules)
    assert (first.name, first.outcome, first.limit) == ("calibration", ece, 0.25)
    assert (second.name, second.outcome, second.limit) == ("calibration against the champion", increase, 0.125)
    told = (
        "cannot be measured"
        if None in {new, old}
        else f"expected calibration error from {old:.3f} to {new:.3f}; it may rise by 0.125"
    )
    assert second.detail.startswith(told)


def test_calibration_is_asked_as_far_as_there_are_limits_and_a_champion() -> None:
    both = CalibrationRules(max_ece=0.5, max_ece_increase=0.5)
    assert [c.name for c in checks.calibration(measured({"ece": 0.1}), GateRules(calibration=both))] == ["calibration"]
    neither = CalibrationRules(max_ece=None, max_ece_increase=None)
    assert not list(checks.calibration(measured({"ece": 1.0}, {"ece": 0.0}), GateRules(calibration=neither)))


@pytest.mark.parametrize(("changed", "outcome"), [(0, "pass"), (1, "pass"), (2, "pass"), (3, "fail"), (8, "fail")])
def test_churn(changed: int, outcome: str) -> None:
    new, old = predictions("a" * 8, "b" * changed + "a" * (8 - changed)), predictions("a" * 8, "a" * 8)
    (check,) = checks.churn(new, old, GateRules(max_churn=0.25))
    assert (check.name, check.outcome, check.value) == ("changed predictions", outcome, changed / 8)
    assert check.low is not None
    assert check.high is not None
    assert check.low <= changed / 8 <= check.high
    assert not list(checks.churn(new, old, GateRules()))


def line_of(name: str, outcome: str, suite: str = "core") -> BehaviourLine:
    return BehaviourLine(
        suite=suite, name=name, kind="invariance", cases=9, failures=4, low=0, high=1, limit=0.5, outcome=outcome
    )


def test_behaviour() -> None:
    lines = (line_of("case", "pass"), line_of("blanks", "fail"), line_of("names", "pass", "other"))
    core, other = checks.behaviour(lines)
    assert (core.name, core.outcome, core.value, core.limit) == ("behaviour core", "fail", 1, 0)
    assert core.detail == "blanks (4 of 9)"
    assert (other.name, other.outcome, other.value, other.detail) == ("behaviour other", "pass", 0, "1 tests")
    assert not list(checks.behaviour(()))


# Parts of the rows


TOLD = "label = a: accuracy from 0.750 to 0.500 on 40 rows (p = 0.01)"


def part(outcome: str, *, champion: float | None = 0.75, p: float | None = 0.01) -> SliceLine:
    old = None if champion is None else interval(champion)
    return SliceLine(name="label = a", rows=40, challenger=interval(0.5), champion=old, gain=None, p=p, outcome=outcome)


@pytest.mark.parametrize(
    ("lines", "outcome", "value", "detail"),
    [
        (("pass", "pass"), "pass", 0, "2 judged"),
        (("pass", "fail"), "fail", 1, TOLD),
        (("pass", "too_few"), "pass", 0, "1 judged; 1 of fewer than 30 rows not judged"),
        (("too_few",), "pass", 0, "0 judged; 1 of fewer than 30 rows not judged"),
        (("fail", "fail"), "fail", 2, f"{TOLD}; {TOLD}"),
        (("fail", "fail", "fail"), "fail", 3, f"{TOLD}; {TOLD}; and 1 more"),
    ],
)
def test_parts_of_the_rows(lines: tuple[str, ...], outcome: str, value: int, detail: str) -> None:
    check = checks.slices(tuple(map(part, lines)), GateRules())
    assert (check.outcome, check.value, check.limit, check.detail) == (outcome, value, 0, detail)


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        (part("fail", champion=None), "label = a: accuracy 0.500 of 40 rows"),
        (part("fail", p=None), "label = a: accuracy from 0.750 to 0.500 on 40 rows"),
    ],
)
def test_a_part_that_fails_tells_what_is_known(line: SliceLine, detail: str) -> None:
    assert checks.slices((line,), GateRules()).detail == detail


def sliced(new: str, old: str | None, rows: pd.DataFrame | None = None, **rules: object) -> tuple[SliceLine, ...]:
    """Rows of which `a` is right, in one part unless there are columns."""
    truth = "a" * len(new)
    champion = None if old is None else predictions(truth, old)
    asked = {"by": ("label",), "min_rows": 1, "max_loss": 0.0} | rules
    confidence = asked.pop("confidence", 0.9375)
    checked = GateRules(slices=SliceRules.model_validate(asked), confidence=float(str(confidence)))
    return parts_of.slices(
        TEXTS,
        TEXT_COLUMNS,
        rows_of(truth) if rows is None else rows,
        predictions(truth, new),
        champion,
        TEXTS.judging.completed(checked),
    )


@pytest.mark.parametrize(
    ("broken", "confidence", "outcome"),
    [(4, 0.9375, "fail"), (3, 0.9375, "pass"), (5, 0.9375, "fail"), (4, 0.9375 + JUST, "pass"), (1, 0.75, "pass")],
)
def test_a_part_fails_only_by_more_than_chance(broken: int, confidence: float, outcome: str) -> None:
    """`k` broken rows and none repaired have the one-sided p of 1 / 2^k."""
    (line,) = sliced("b" * broken + "a" * 8, "a" * (8 + broken), confidence=confidence)
    assert (line.outcome, line.p) == (outcome, 0.5**broken)
    assert line.gain == pytest.approx(-broken / (8 + broken))


@pytest.mark.parametrize(("max_loss", "outcome"), [(0.5, "pass"), (0.5 - JUST, "fail"), (0.0, "fail"), (1.0, "pass")])
def test_a_part_may_lose_what_is_allowed(max_loss: float, outcome: str) -> None:
    (line,) = sliced("b" * 8 + "a" * 8, "a" * 16, max_loss=max_loss)
    assert (line.outcome, line.gain) == (outcome, -0.5)


@pytest.mark.parametrize(
    ("new", "old", "p"), [("a" * 8, "b" * 8, 1.0), ("a" * 8, "a" * 8, 1.0), ("abababab", "babababa", 163 / 256)]
)
def test_a_part_that_loses_nothing_passes(new: str, old: str, p: float) -> None:
    (line,) = sliced(new, old)
    assert line.outcome == "pass"
    assert line.p == pytest.approx(p)


@pytest.mark.parametrize(("min_rows", "outcome"), [(11, "fail"), (12, "fail"), (13, "too_few")])
def test_a_part_with_too_few_rows_is_shown_but_not_judged(min_rows: int, outcome: str) -> None:
    (line,) = sliced("b" * 12, "a" * 12, min_rows=min_rows, floor=0.5)
    assert (line.outcome, line.rows) == (outcome, 12)
    assert (line.p is None) is (outcome == "too_few")


@pytest.mark.parametrize("old", ["bbbb", None])
@pytest.mark.parametrize(("floor", "outcome"), [(0.75, "pass"), (0.75 + JUST, "fail"), (None, "pass"), (0.5, "pass")])
def test_a_part_must_reach_the_floor_champion_or_not(floor: float | None, outcome: str, old: str | None) -> None:
    (line,) = sliced("aaab", old, floor=floor)
    assert line.outcome == outcome
    assert (line.champion is None, line.gain is None, line.p is None) == (old is None,) * 3


def test_the_p_of_many_parts_is_adjusted_and_only_judged_parts_count() -> None:
    """Five broken rows in one of four judged parts: p = 1/32 becomes 1/8 and is chance; alone it is none."""
    new, old = "b" * 5 + "a" * 20, "a" * 25
    rows = rows_of(new, source_desk=[f"desk {number // 5}" for number in range(25)])
    lines = sliced(new, old, rows.assign(source_desk=rows["source_desk"]), by=("desk",), min_rows=5)
    assert (lines[0].name, lines[0].outcome) == ("desk = desk 0", "pass")
    assert lines[0].p == pytest.approx(5 / 32)
    small = rows.assign(source_desk=["desk 0"] * 5 + [f"desk {number}" for number in range(1, 21)])
    lines = sliced(new, old, small, by=("source_desk",), min_rows=5)
    assert (lines[0].name, lines[0].outcome, lines[0].p) == ("source_desk = desk 0", "fail", 1 / 32)
    assert {line.outcome for line in lines[1:]} == {"too_few"}


def test_what_fails_comes_first_then_what_loses_most() -> None:
    new, old = "aaaa" + "bbbb" + "aaab" + "b" * 6, "bbbb" + "bbbb" + "aaaa" + "a" * 6
    desks = ["w"] * 4 + ["x"] * 4 + ["y"] * 4 + ["z"] * 6
    lines = sliced(new, old, rows_of(new, source_desk=desks), by=("desk",))
    assert [(line.name[-1], line.outcome) for line in lines] == list(zip("zyxw", ["fail", *["pass"] * 3], strict=True))
    assert [line.gain for line in lines] == [-1, -0.25, 0, 1]


def test_lengths_make_quarters() -> None:
    texts = ["x" * length for length in range(1, 13)]
    lines = sliced("a" * 12, "b" * 12, rows_of("a" * 12, text=texts), by=("text_length",))
    assert sorted((line.name, line.rows) for line in lines) == [
        ("text_length = 1 to 3", 3),
        ("text_length = 10 to 12", 3),
        ("text_length = 4 to 6", 3),
        ("text_length = 7 to 9", 3),
    ]
    (one,) = sliced("aaaa", "bbbb", rows_of("aaaa", text=["same"] * 4), by=("text_length",))
    assert (one.name, one.rows) == ("text_length = 4", 4)
    most = ["four", *["fives"] * 8]
    few = sliced("a" * 9, "b" * 9, rows_of("a" * 9, text=most), by=("text_length",))
    assert sorted((line.name, line.rows) for line in few) == [("text_length = 4", 1), ("text_length = 5", 8)]


@pytest.mark.parametrize(("most", "refused"), [(3, True), (4, False), (5, False)])
def test_a_column_of_too_many_values_makes_no_parts(most: int, refused: bool) -> None:
    rows = rows_of("aaaa", source_desk=list("wxyz"))
    if refused:
        with pytest.raises(DataError, match="has 4 values, too many"):
            sliced("aaaa", None, rows, by=("desk",), max_values=most)
    else:
        assert len(sliced("aaaa", None, rows, by=("desk",), max_values=most)) == 4


@pytest.mark.parametrize(
    ("most", "parts"),
    [
        (2, {"label = b": 4, "the 3 smaller classes": 6}),
        (3, {"label = b": 4, "label = a": 3, "the 2 smaller classes": 3}),
        (4, {"label = b": 4, "label = a": 3, "label = d": 2, "label = c": 1}),
        (5, {"label = b": 4, "label = a": 3, "label = d": 2, "label = c": 1}),
    ],
)
def test_of_too_many_classes_the_smaller_ones_are_one_part(most: int, parts: dict[str, int]) -> None:
    rows = rows_of("a" * 10).assign(truth=list("bbbbaaaddc"))
    lines = sliced("b" * 7 + "a" * 3, None, rows, max_values=most)
    assert {line.name: line.rows for line in lines} == parts
    right = {line.name: line.challenger.value for line in lines}
    if most == 3:
        assert right == {"label = b": 0, "label = a": 0, "the 2 smaller classes": 1}


def test_rows_without_a_value_are_in_no_part_and_an_unknown_column_is_an_error() -> None:
    rows = rows_of("aaaa", source_desk=["x", "x", None, None])
    assert [(line.name, line.rows) for line in sliced("aaaa", None, rows, by=("desk",))] == [("desk = x", 2)]
    with pytest.raises(DataError, match="no column team to make slices of; it has source_desk"):
        sliced("aaaa", None, rows, by=("team",))
    with pytest.raises(DataError, match="it has none of its own"):
        sliced("aaaa", None, by=("team",))


def test_parts_are_judged_in_a_verdict_and_one_that_breaks_refuses_a_better_model() -> None:
    truth = "a" * 30 + "b" * 60
    new, old = "b" * 12 + "a" * 18 + "b" * 60, "a" * 30 + "a" * 50 + "b" * 10
    verdict = judged(case(truth, new, old), slices=SliceRules(by=("label",)))
    assert [name for name, outcome in outcomes(verdict).items() if outcome == "fail"] == ["slices of the rows"]
    assert verdict.decision == "keep"
    plain, reason = verdict.reasons
    assert plain == "it is much worse on a slice of the rows"
    assert reason.startswith("slices of the rows: label = a: accuracy from 1.000 to 0.600 on 30 rows (p = 0.0")
    assert [(line.name, line.outcome) for line in verdict.slices] == [("label = a", "fail"), ("label = b", "pass")]
    assert judged(case(truth, new, old)).decision == "promote"


@pytest.mark.parametrize(
    ("new", "old", "told"),
    [
        ("abc", "abc", None),
        ("abc", "ab", "new 'c'"),
        ("ab", "abc", "gone 'c'"),
        ("AB", "ab", "new 'A', 'B'; gone 'a', 'b'; none stays the same"),
        ("abc", None, None),
        (None, "abc", None),
        ("abc", "", None),
        ("", "abc", None),
    ],
)
def test_other_classes_than_the_champions_are_told(new: str | None, old: str | None, told: str | None) -> None:
    knows = {role: set(known) for role, known in (("challenger", new), ("champion", old)) if known is not None}
    for truth, labels, champion in (("ab" * 30, "ab" * 30, "bb" * 30), ("ab" * 30, "bb" * 30, "ab" * 30)):
        verdict = judged(case(truth, labels, champion)._replace(knows=knows), lost_classes="allow")
        found = [reason for reason in verdict.reasons if "classes differ" in reason]
        assert found == ([f"the classes differ from the champion's: {told}"] if told else [])


# The fresh process


@pytest.mark.parametrize(
    ("field", "name", "limit"),
    [
        ("load_seconds", "seconds to load", 2.0),
        ("milliseconds_per_1000", "milliseconds per 1,000 rows", 4.0),
        ("megabytes", "megabytes", 8.0),
    ],
)
@pytest.mark.parametrize(("more", "outcome"), [(0.0, "pass"), (JUST, "fail"), (-JUST, "pass"), (math.nan, "fail")])
def test_budgets(field: str, name: str, limit: float, more: float, outcome: str) -> None:
    rules = GateRules(
        infrastructure=InfrastructureRules(max_load_seconds=2.0),
        budget=BudgetRules(max_milliseconds_per_1000=4.0, max_megabytes=8.0),
    )
    found = {
        check.name: check for check in checks.infrastructure(PROOF.model_copy(update={field: limit + more}), rules)
    }
    assert {check.name for check in found.values() if check.outcome == "fail"} == (
        {name} if outcome == "fail" else set()
    )
    assert found[name].limit == limit


def test_what_is_not_asked_is_not_checked() -> None:
    rules = GateRules(budget=BudgetRules(max_milliseconds_per_1000=None, max_megabytes=None))
    assert [check.name for check in checks.infrastructure(PROOF, rules)] == [REPLAY, "seconds to load"]


@pytest.mark.parametrize(("asked", "outcome"), [("report", "pass"), ("enforce", "fail")])
def test_requirements_that_are_not_met(asked: str, outcome: str) -> None:
    proof = PROOF.model_copy(update={"requirements": ("numpy 1", "scipy 2"), "scoring_server": "8 repeated"})
    rules = GateRules(infrastructure=InfrastructureRules.model_validate({"requirements": asked}))
    found = {check.name: check for check in checks.infrastructure(proof, rules)}
    last = found["requirements"]
    assert (last.outcome, last.value, last.limit, last.detail) == (outcome, 2, 0, "numpy 1; scipy 2")
    assert found[REPLAY].detail == "8 predictions reproduced; 8 repeated"


def refusing() -> Proof:
    raise IntegrityError("3 predictions differ.")


@pytest.mark.parametrize(
    ("new", "mode", "started"),
    [("good", "enforce", True), ("bad", "enforce", False), ("good", "dry_run", True), ("bad", "dry_run", True)],
)
def test_the_process_starts_only_for_whom_nothing_else_speaks_against(new: str, mode: str, started: bool) -> None:
    starts: list[str] = []

    def prove() -> Proof:
        starts.append("started")
        return PROOF

    good, bad = "aaaabbbb" * 5, "aaabbbba" * 5
    asked = case(good, good, bad, prove=prove) if new == "good" else case(good, bad, good, prove=prove)
    verdict = judged(asked, mode=mode)
    assert bool(starts) is started
    assert verdict.decision == ("promote" if new == "good" else "worse")
    assert verdict.promote is (new == "good" or mode == "dry_run")
    assert ("DRY RUN, nothing is protected" in verdict.reasons) is (new == "bad" and mode == "dry_run")
    assert verdict.mode == mode


@pytest.mark.parametrize("mode", ["enforce", "dry_run"])
def test_a_model_that_does_not_reproduce_its_predictions_goes_nowhere(mode: str) -> None:
    verdict = judged(case("aaaabbbb" * 5, "aaaabbbb" * 5, "aaabbbba" * 5, prove=refusing), mode=mode)
    assert outcomes(verdict)[REPLAY] == "fail"
    assert verdict.decision == "keep"
    assert verdict.reasons[-1] == f"{REPLAY}: 3 predictions differ."
    assert not verdict.promote


def test_a_machine_that_fails_is_no_verdict() -> None:
    def prove() -> Proof:
        raise TransientError("The process did not end in time.")

    with pytest.raises(TransientError):
        judged(case("ab" * 20, "ab" * 20, prove=prove))


# The verdict


@pytest.mark.parametrize(
    ("done", "decision"),
    [
        ((), "keep"),
        ((PASS,), "promote"),
        ((PASS, PASS), "promote"),
        ((PASS, FAIL), "keep"),
        ((FAIL, PASS), "keep"),
        ((FAIL,), "keep"),
        ((FEW,), "not_enough_data"),
        ((PASS, FEW), "not_enough_data"),
        ((FAIL, FEW), "not_enough_data"),
    ],
)
def test_only_checks_that_all_passed_promote(done: tuple[Check, ...], decision: str) -> None:
    assert decision_of(done, 0.02) == decision


@pytest.mark.parametrize("who", ["old", None])
def test_a_champion_without_predictions_is_no_first_champion(who: str | None) -> None:
    parties = judged(case("ab", "ab")).model_dump(include=set(Comparison.model_fields)) | {"champion": who}
    asked = case("ab", "ab", None if who else "ba")
    with pytest.raises(IntegrityError, match="champion"):
        decide(Comparison.model_validate(parties), asked, GateRules.model_validate(ALONE))


def test_flips_are_counted_in_whole_and_shown_the_surest_first() -> None:
    count = SHOWN_FLIPS + 5
    truth, new, old = "a" * 2 * count, "b" * count + "a" * count, "a" * count + "c" * count
    scores = [0.5 + number / 1000 for number in range(count)] + [0.4] * count
    text = "y" * (200 + 1)
    asked = case(truth, new, old, rows=rows_of(truth, text=text))
    asked = asked._replace(challenger=predictions(truth, new, scores), champion=predictions(truth, old, scores[::-1]))
    verdict = judged(asked)
    assert (verdict.broken_rows, verdict.repaired_rows) == (count, count)
    assert (len(verdict.broken), len(verdict.repaired)) == (SHOWN_FLIPS, SHOWN_FLIPS)
    first, last = verdict.broken[0], verdict.repaired[0]
    assert (first.row, first.truth, first.champion, first.challenger) == (10 + count - 1, "a", "a", "b")
    assert first.score == scores[count - 1]
    assert (last.row, last.truth, last.champion, last.challenger) == (10 + count, "a", "c", "a")
    assert [flip.score for flip in verdict.broken] == sorted((flip.score for flip in verdict.broken), reverse=True)
    assert first.text == text[:200]


def test_equally_sure_mistakes_come_in_the_order_of_the_rows() -> None:
    verdict = judged(case("aaaa", "bbbb", "aaaa"))
    assert [flip.row for flip in verdict.broken] == [10, 11, 12, 13]


def test_the_confusion_has_truth_in_rows() -> None:
    verdict = judged(case("aabc", "abbb", "cccc"))
    assert verdict.classes == ("a", "b", "c")
    assert verdict.confusion == ((1, 1, 0), (0, 1, 0), (0, 1, 0))
    assert verdict.champion_confusion == ((0, 0, 2), (0, 0, 1), (0, 0, 1))


def test_a_verdict_holds_what_it_rests_on() -> None:
    asked = case("aaaabbbb" * 5, "aaaabbbb" * 5, "aaabbbba" * 5, left_out={"challenger": 3, "champion": 0})
    costs = CostRules(matrix={"a": {"b": 8.0}, "b": {"a": 8.0}})
    verdict = judged(asked, costs=costs, metric="cost", floors={"accuracy": 0.5})
    assert verdict.reasons == (
        "better than the champion old: cost 0.000 instead of 2,000 on 40 rows that neither has seen",
    )
    assert (verdict.rows, verdict.left_out) == (40, {"challenger": 3, "champion": 0})
    assert (verdict.broken_rows, verdict.repaired_rows) == (0, 10)
    assert {flip.champion for flip in verdict.repaired} == {"a", "b"}
    assert verdict.metrics["cost"].value == 0
    assert verdict.champion_metrics["cost"].value == pytest.approx(2000)
    assert verdict.gains["cost"].value == pytest.approx(2000)
    assert {"accuracy", "f1_macro", "recall.a", "log_loss"} <= verdict.metrics.keys()
    assert "cost" not in judged(asked).metrics
