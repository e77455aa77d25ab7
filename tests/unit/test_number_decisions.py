"""The gate on regressors: every rule on both sides of its limit and exactly at it, on small cases made by hand."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle.core.errors import DataError, IntegrityError
from lifecycle.evaluation import slices as slices_of
from lifecycle.evaluation import statistics
from lifecycle.evaluation.comparable import comparable
from lifecycle.gate import checks
from lifecycle.gate.contest import Contest
from lifecycle.gate.decide import SHOWN_FLIPS, Comparison, Evidence, decide
from lifecycle.gate.proof.infrastructure import Proof
from lifecycle.gate.verdict import REPLAY, Verdict
from lifecycle.problems.contract import Column
from lifecycle.problems.findings import SliceLine
from lifecycle.problems.known import named
from lifecycle.problems.regression import metrics
from lifecycle.problems.regression.scores import NumberScores
from lifecycle.settings.gate_rules import GateRules, SliceRules

JUST = 1e-9
Answers = Sequence[float] | np.ndarray
NUMBERS = named("tabular-regression")
INPUTS = (Column(name="temp", kind="numeric"), Column(name="season", kind="categorical"))
PROOF = Proof(outcome="8 predictions reproduced", load_seconds=2.0, milliseconds_per_1000=4.0, megabytes=8.0)
ALONE = {"resamples": 400, "min_rows": 1, "slices": SliceRules(by=())}
"""Rules that ask for nothing but a gain."""
RMSE = "root_mean_squared_error"
RETRAINING = Contest(rule="retraining", why="the same again")
ROWS = 400
TRUTH = np.arange(ROWS, dtype=float) % 40


def answers(error: float, seed: int = 0, truth: np.ndarray = TRUTH) -> np.ndarray:
    """Predictions that are off by about so much."""
    return np.asarray(truth + error * np.random.default_rng(seed).normal(size=len(truth)))


def rows_of(truth: np.ndarray, **columns: Any) -> pd.DataFrame:
    temperatures = np.linspace(-5, 30, len(truth))
    return pd.DataFrame({"row": range(10, 10 + len(truth)), "temp": temperatures, "truth": truth}).assign(
        **{"season": "winter", **columns}
    )


def case(
    new: Answers,
    old: Answers | None = None,
    *,
    truth: Answers = TRUTH,
    contest: Contest | None = None,
    prove: Callable[[], Proof] = lambda: PROOF,
    **columns: object,
) -> Evidence:
    target = np.array(truth, dtype=float)
    return Evidence(
        problem=NUMBERS,
        inputs=INPUTS,
        rows=rows_of(target, **columns),
        challenger=NumberScores(target, np.array(new, dtype=float)),
        champion=None if old is None else NumberScores(target, np.array(old, dtype=float)),
        left_out={},
        predict=lambda inputs: inputs,
        prove=prove,
        contest=contest or Contest(rule="gain" if old is not None else "first"),
    )


def judged(asked: Evidence, **rules: object) -> Verdict:
    comparison = Comparison(
        env="dev",
        challenger="new",
        champion="old" if asked.champion else None,
        data_name="bikes",
        data_version="1.0.0",
        dataset_digest="d",
        side="holdout",
    )
    return decide(comparison, asked, GateRules.model_validate({**ALONE, **rules}))


def outcomes(verdict: Verdict) -> dict[str, str]:
    return {check.name: check.outcome for check in verdict.checks}


# The rows


@pytest.mark.parametrize(("rows", "outcome"), [(9, "pass"), (10, "pass"), (11, "not_enough_data")])
def test_numbers_have_no_rarest_class(rows: int, outcome: str) -> None:
    """Ten rows, no two of the same truth: of classes there would be one row each."""
    asked = case(range(10), range(10), truth=range(10))
    verdict = judged(asked, min_rows=rows, min_rows_per_class=5)
    assert outcomes(verdict)["comparable rows"] == outcome
    if outcome != "pass":
        assert verdict.decision == "not_enough_data"
        assert verdict.reasons == (
            "too few rows to judge on: 10 rows that neither has seen",
            "10 comparable rows; 11 rows are needed",
        )


def test_without_any_row_nothing_is_measured() -> None:
    for asked in (case([], [], truth=[]), case([], truth=[])):
        verdict = judged(asked)
        assert (verdict.decision, verdict.metrics, verdict.rows) == ("not_enough_data", {}, 0)


def stored(keys: Sequence[str], prediction: Sequence[float], truth: Sequence[float]) -> pd.DataFrame:
    return pd.DataFrame({"key": [key * 64 for key in keys], "prediction": prediction, "truth": truth})


def test_answers_are_joined_by_key_and_rows_that_either_has_seen_are_left_out() -> None:
    truth = pd.DataFrame({"key": [key * 64 for key in "abc"], "row": [1, 2, 3], "target": [1.0, 2.0, 3.0]})
    models = {"challenger": stored("cab", [3.5, 1.5, 2.5], [3, 1, 2]), "champion": stored("abc", [0, 0, 0], [1, 2, 3])}
    found = comparable(NUMBERS, truth, models, {"challenger": {int("b" * 16, 16)}, "champion": set()})
    assert found.rows["row"].tolist() == [1, 3]
    assert found.rows["truth"].tolist() == found.challenger.truth.tolist() == [1.0, 3.0]
    assert isinstance(found.challenger, NumberScores)
    assert found.challenger.prediction.tolist() == [1.5, 3.5]
    assert (found.left_out, found.knows) == ({"challenger": 1, "champion": 0}, {})
    other = {**models, "champion": stored("abc", [0, 0, 0], [1, 2, 3 + JUST])}
    with pytest.raises(IntegrityError, match="champion was evaluated against another truth"):
        comparable(NUMBERS, truth, other, {})
    infinite = {**models, "champion": stored("abc", [0, 0, math.inf], [1, 2, 3])}
    with pytest.raises(IntegrityError, match="champion are not usable: has a prediction that is not finite"):
        comparable(NUMBERS, truth, infinite, {})


# The first champion


@pytest.mark.parametrize("metric", [RMSE, "mean_absolute_error", "r2", "mean_pinball_loss"])
def test_a_first_champion_beats_what_takes_no_model(metric: str) -> None:
    verdict = judged(case(answers(5.0)), metric=metric)
    assert verdict.promote, verdict.reasons
    names = [name for name in outcomes(verdict) if name.startswith("gain in")]
    assert names in ([f"gain in {metric} over the {which} of these rows"] for which in ("mean", "median"))
    assert verdict.reasons == ("first champion: better than any constant answer on 400 rows it has not seen",)
    assert (verdict.classes, verdict.confusion, verdict.change_words) == ((), (), ("repaired", "broken"))


@pytest.mark.parametrize(
    ("metric", "best"),
    [(RMSE, "mean"), ("r2", "mean"), ("mean_absolute_error", "median"), ("mean_pinball_loss", "median")],
)
def test_the_better_one_of_mean_and_median_is_to_be_beaten(metric: str, best: str) -> None:
    skewed = TRUTH**3
    verdict = judged(case(answers(1.0, truth=skewed), truth=skewed), metric=metric)
    assert outcomes(verdict)[f"gain in {metric} over the {best} of these rows"] == "pass"


@pytest.mark.parametrize(
    ("prediction", "decision"),
    [
        (np.full(ROWS, TRUTH.mean()), "no_better"),
        (np.full(ROWS, 60.0), "worse"),
        (TRUTH[::-1], "worse"),
        (np.random.default_rng(0).permutation(TRUTH), "worse"),
    ],
)
def test_what_has_learnt_nothing_is_no_first_champion(prediction: np.ndarray, decision: str) -> None:
    verdict = judged(case(prediction))
    assert (verdict.decision, verdict.promote) == (decision, False)
    word = {"worse": "worse than the mean of these rows", "no_better": "no better than the mean of these rows by as"}
    assert verdict.reasons[0].startswith(word[decision])
    assert verdict.reasons[1].startswith("gain in root_mean_squared_error over the mean of these rows is ")


def test_where_all_rows_have_the_same_number_no_model_is_better() -> None:
    verdict = judged(case([3.0] * 40, truth=[3.0] * 40))
    assert verdict.decision == "no_better"
    assert "r2" not in verdict.metrics
    assert judged(case([3.0] * 40, truth=[3.0] * 40), metric="r2").decision == "keep"


# The gain


@pytest.mark.parametrize(
    ("new", "old", "decision"),
    [(2.0, 4.0, "promote"), (4.0, 2.0, "worse"), (2.0, 2.2, "cannot_tell"), (2.0, 2.0, "no_better")],
)
def test_a_gain_is_a_smaller_error(new: float, old: float, decision: str) -> None:
    seed = 0 if new == old else 1
    verdict = judged(case(answers(new), answers(old, seed)), worthwhile_gain=0.05)
    assert verdict.decision == decision, verdict.reasons
    gain = verdict.metrics[RMSE].value - verdict.champion_metrics[RMSE].value
    assert verdict.gains[RMSE].value == pytest.approx(-gain)


def test_the_sentence_of_a_gain_gives_both_errors() -> None:
    verdict = judged(case(TRUTH + 2, TRUTH + np.where(TRUTH > 20, 4, 3)))
    assert verdict.reasons == (
        "better than the champion old: root_mean_squared_error 2.000 instead of 3.511 on 400 rows that neither has "
        "seen",
    )
    (check,) = (check for check in verdict.checks if check.name == f"gain in {RMSE}")
    assert check.detail.startswith("400 rows closer, 0 farther off, sign test p = ")


@pytest.mark.parametrize(("share", "outcome"), [(0.5 - JUST, "pass"), (0.5 + JUST, "fail")])
def test_the_gain_that_is_asked_is_a_share_of_the_champions_error(share: float, outcome: str) -> None:
    """Every row is off by 2 instead of 4: the gain is half of the champion's error, without any chance."""
    for scale in (1.0, 1e-6, 1e6):
        truth = TRUTH * scale
        verdict = judged(case(truth + 2 * scale, truth + 4 * scale, truth=truth), min_gain=share)
        (check,) = (check for check in verdict.checks if check.name == f"gain in {RMSE}")
        assert check.outcome == outcome
        assert check.limit == pytest.approx(share * 4 * scale)


def test_a_share_of_a_variance_is_in_no_units() -> None:
    verdict = judged(case(answers(2.0), answers(4.0, 1)), metric="r2", min_gain=0.01)
    (check,) = (check for check in verdict.checks if check.name == "gain in r2")
    assert (check.outcome, check.limit) == ("pass", 0.01)


@pytest.mark.parametrize(
    ("new", "old", "decision"),
    [(0.0, 2.0, "promote"), (2.0, 0.0, "worse"), (0.0, 0.0, "no_better")],
)
@pytest.mark.parametrize("contest", [Contest(rule="gain"), RETRAINING])
def test_who_makes_no_mistake_is_not_beaten(new: float, old: float, decision: str, contest: Contest) -> None:
    """Of an error of 0 every share is 0: then no loss is tolerated."""
    verdict = judged(case(answers(new), answers(old, 1), contest=contest))
    assert verdict.promote is (decision == "promote"), verdict.reasons
    if contest.rule == "gain" or new != old:
        assert verdict.decision == decision


def test_a_prediction_beyond_all_numbers_is_no_gain() -> None:
    """Its square is no number any more, so neither is its error."""
    absurd = np.where(TRUTH == 7, 1e200, TRUTH)
    for new, old in ((absurd, answers(1.0)), (absurd, None), (answers(1.0), absurd)):
        verdict = judged(case(new, old))
        assert verdict.decision == "keep", verdict.reasons
        assert any("cannot be measured: " in reason for reason in verdict.reasons)


# Retraining


@pytest.mark.parametrize(("margin", "promoted"), [(0.1 + 1e-6, True), (0.1 - 1e-6, False), (None, False), (0.2, True)])
def test_the_margin_of_a_retraining_is_a_share_of_the_champions_error(margin: float | None, promoted: bool) -> None:
    """Every row is off by 4.4 instead of 4: a tenth more, without any chance."""
    verdict = judged(case(TRUTH + 4.4, TRUTH + 4, contest=RETRAINING), retraining={"margin": margin})
    (check,) = (check for check in verdict.checks if check.name == f"gain in {RMSE}")
    assert check.limit == pytest.approx(-4 * (margin or 0.02))
    assert verdict.promote is promoted
    if promoted:
        assert margin is not None
        told = f"trained again and not worse than the champion old by as much as {4 * margin:.3g}: "
        assert verdict.reasons[0].startswith(told)


@pytest.mark.parametrize(("rows", "decision"), [(40, "cannot_tell"), (2000, "promote")])
def test_the_same_model_again_is_not_worse_if_there_are_rows_enough_to_tell(rows: int, decision: str) -> None:
    truth = np.arange(rows, dtype=float)
    same = answers(3.0, truth=truth)
    verdict = judged(case(same, same, truth=truth, contest=RETRAINING))
    assert verdict.decision == decision, verdict.reasons
    assert ("with as many more rows that differ as chance may have hidden" in verdict.reasons[-1]) is (rows == 40)


def test_an_earlier_champion_may_not_be_lost_by_small_steps() -> None:
    def rival(label: str, error: float) -> checks.Rival:
        return checks.Rival(label, NumberScores(TRUTH, answers(4.0)), NumberScores(TRUTH, answers(error, 2)))

    asked = case(answers(4.0), answers(4.02, 0), contest=RETRAINING)
    verdict = judged(asked._replace(rivals=(rival("v1", 2.0), rival("v2", 6.0))), retraining={"margin": 0.05})
    assert verdict.decision == "worse"
    assert verdict.reasons[0].startswith("worse than the earlier champion v1")
    assert judged(asked, retraining={"margin": 0.05}).promote


# Slices


def sliced(new: Answers, old: Answers | None, **rules: object) -> tuple[SliceLine, ...]:
    columns = rules.pop("columns", {})
    asked = case(new, old, truth=[0.0] * len(new), **(columns if isinstance(columns, dict) else {}))
    if "truth" in rules:
        asked = case(new, old, truth=rules.pop("truth"))  # type: ignore[arg-type]
    confidence = float(str(rules.pop("confidence", 0.95)))
    by = {"by": ("season",), "min_rows": 1, "max_loss": 0.0} | rules
    checked = GateRules(slices=SliceRules.model_validate(by), confidence=confidence)
    completed = NUMBERS.judging.completed(checked)
    return slices_of.slices(NUMBERS, asked.inputs, asked.rows, asked.challenger, asked.champion, completed)


@pytest.mark.parametrize(("max_loss", "outcome"), [(0.5 + JUST, "pass"), (0.5, "pass"), (0.5 - JUST, "fail")])
def test_the_error_on_a_slice_may_grow_by_a_share(max_loss: float, outcome: str) -> None:
    (line,) = sliced([3.0, -3.0] * 8, [2.0, -2.0] * 8, max_loss=max_loss)
    assert (line.outcome, line.gain, line.quality) == (outcome, -0.5, "mean absolute error")
    assert line.champion is not None
    assert (line.challenger.value, line.champion.value) == (3.0, 2.0)


@pytest.mark.parametrize(("more", "outcome"), [(JUST, "fail"), (-JUST, "pass")])
def test_a_slice_fails_only_by_more_than_chance(more: float, outcome: str) -> None:
    new, old = [3.0, 2.0, 4.0, 1.0, 3.0], [2.0, 2.0, 2.0, 2.0, 2.0]
    (line,) = sliced(new, old)
    assert line.p is not None
    (line,) = sliced(new, old, confidence=1 - line.p - more)
    assert line.outcome == outcome


def test_a_slice_that_had_no_error_at_all_has_lost_everything() -> None:
    (line,) = sliced([1.0, 1.0, 2.0] * 4, [0.0] * 12, max_loss=1.0)
    assert (line.outcome, line.gain) == ("fail", -math.inf)
    (same,) = sliced([0.0] * 12, [0.0] * 12)
    assert (same.outcome, same.gain, same.p) == ("pass", 0.0, 1.0)


@pytest.mark.parametrize(("min_rows", "outcome"), [(12, "fail"), (13, "too_few")])
def test_a_small_slice_is_shown_and_not_judged(min_rows: int, outcome: str) -> None:
    (line,) = sliced([1.0, 1.0, 2.0] * 4, [0.0] * 12, min_rows=min_rows)
    assert (line.outcome, line.rows, line.p is None) == (outcome, 12, outcome == "too_few")


def test_the_target_and_numeric_columns_make_quarters_and_others_their_levels() -> None:
    truth = np.arange(12, dtype=float)
    lines = sliced(truth + 1, truth + 1, by=("target",), truth=truth)
    assert {line.name: line.rows for line in lines} == {
        "target = 0 to 2": 3,
        "target = 3 to 5": 3,
        "target = 6 to 8": 3,
        "target = 9 to 11": 3,
    }
    assert sliced(truth + 1, truth + 1, by=None, truth=truth) == lines, "the target is usual"
    quarters = {line.name: line.rows for line in sliced(truth, None, by=("temp",))}
    assert quarters == dict.fromkeys(
        ("temp = -5 to 1.36364", "temp = 4.54545 to 10.9091", "temp = 14.0909 to 20.4545", "temp = 23.6364 to 30"), 3
    )
    seasons = {"season": ["spring", "summer"] * 5 + [None] * 2}
    levels = {line.name: line.rows for line in sliced(truth, None, columns=seasons)}
    assert levels == {"season = spring": 5, "season = summer": 5}
    few = {"workingday": [0.0, 1.0] * 6, "doors": [2, 3, 4, 5] * 3, "source_city": ["Oslo", "Rome", "Oslo"] * 4}
    assert {line.name for line in sliced(truth, None, by=("workingday", "doors", "city"), columns=few)} == {
        *(f"doors = {number}" for number in (2, 3, 4, 5)),
        "workingday = 0",
        "workingday = 1",
        "city = Oslo",
        "city = Rome",
    }
    with pytest.raises(DataError, match="no column wind to make slices of"):
        sliced(truth, None, by=("wind",))


def test_a_number_that_most_rows_share_makes_fewer_than_four_parts() -> None:
    """Where many rows are 0, as amounts are, quarters would overlap; no row is in two parts, and none is lost."""
    truth = np.array([0.0] * 9 + [1.0, 2.0, 3.0, 4.0, 5.0])
    lines = sliced(truth, None, by=("target",), truth=truth)
    assert sum(line.rows for line in lines) == len(truth)
    assert {line.name: line.rows for line in lines} == {"target = 0 to 2": 11, "target = 3 to 5": 3} or len(lines) > 1


def test_a_better_model_that_breaks_a_slice_is_refused_in_words_of_errors() -> None:
    new, old = answers(2.0), answers(4.0, 1)
    summer = TRUTH >= 36
    new[summer] = TRUTH[summer] + 9
    seasons = np.where(summer, "summer", "winter")
    verdict = judged(case(new, old, season=seasons), slices=SliceRules(by=("season",)), metric="mean_absolute_error")
    assert verdict.decision == "keep"
    plain, reason = verdict.reasons
    assert plain == "it is much worse on a slice of the rows"
    assert reason.startswith("slices of the rows: season = summer: mean absolute error from 3.")
    assert " to 9.000 on 40 rows (p = " in reason
    assert [(line.name, line.outcome) for line in verdict.slices] == [
        ("season = summer", "fail"),
        ("season = winter", "pass"),
    ]


# Floors and ceilings


@pytest.mark.parametrize(("more", "outcome"), [(JUST, "fail"), (-JUST, "pass")])
@pytest.mark.parametrize(
    ("place", "metric", "sign"), [("floors", "r2", 1), ("ceilings", RMSE, -1), ("ceilings", "mean_absolute_error", -1)]
)
def test_floors_and_ceilings_are_in_the_metrics_own_units(
    place: str, metric: str, sign: int, more: float, outcome: str
) -> None:
    asked = case(answers(3.0), answers(6.0, 1))
    value = judged(asked).metrics[metric].value
    verdict = judged(asked, **{place: {metric: value + sign * more}})
    assert outcomes(verdict)[f"{place.removesuffix('s')} {metric}"] == outcome
    assert verdict.promote is (outcome == "pass")
    if outcome == "fail":
        word = "it does not reach what the rules ask for" if place == "floors" else "it does not keep to what the rules"
        assert verdict.reasons[0].startswith(word)
        assert verdict.reasons[1].startswith(f"{place.removesuffix('s')} {metric}: ")


# The verdict


def test_a_verdict_of_numbers_holds_what_it_rests_on() -> None:
    asked = case(answers(2.0), answers(4.0, 1))
    verdict = judged(asked, slices=SliceRules(by=None))
    assert verdict.problem == "tabular-regression"
    assert {name: outcome for name, outcome in outcomes(verdict).items() if outcome != "pass"} == {}
    assert {*outcomes(verdict)} == {
        "comparable rows",
        f"gain in {RMSE}",
        "slices of the rows",
        REPLAY,
        "seconds to load",
        "milliseconds per 1,000 rows",
    }, "nothing is asked that numbers do not have"
    assert (
        verdict.metrics.keys() == verdict.gains.keys() == metrics.STANDARD.keys() - {"mean_absolute_percentage_error"}
    )
    assert len(verdict.slices) == 4
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


def test_the_worst_rows_are_shown_with_their_inputs() -> None:
    truth, count = np.zeros(60), SHOWN_FLIPS + 5
    new, old = np.zeros(60), np.zeros(60)
    new[:count], old[30:33] = np.arange(1, count + 1), [7, 8, 9]
    verdict = judged(case(new, old, truth=truth))
    assert verdict.change_words == ("closer", "farther off")
    assert (verdict.broken_rows, verdict.repaired_rows) == (count, 3)
    assert [flip.row for flip in verdict.broken] == list(range(10 + count - 1, 10 + count - 1 - SHOWN_FLIPS, -1))
    assert [flip.row for flip in verdict.repaired] == [42, 41, 40]
    worst = verdict.broken[0]
    assert (worst.truth, worst.champion, worst.challenger, worst.score) == ("0.000", "0.000", "25.000", 25.0)
    assert worst.text == "temp=9.23729, season=winter"
    assert verdict.repaired[0].score == 9.0, "the error of who is farther off"


def test_equally_bad_rows_come_in_their_order() -> None:
    verdict = judged(case([1.0] * 5, [0.0] * 5, truth=[0.0] * 5))
    assert [flip.row for flip in verdict.broken] == [10, 11, 12, 13, 14]


@pytest.mark.parametrize("mode", ["enforce", "dry_run"])
def test_a_model_that_does_not_reproduce_its_numbers_goes_nowhere(mode: str) -> None:
    def prove() -> Proof:
        raise IntegrityError("3 predictions differ.")

    verdict = judged(case(answers(2.0), answers(4.0, 1), prove=prove), mode=mode)
    assert (verdict.decision, verdict.promote, verdict.reasons[-1]) == (
        "keep",
        False,
        f"{REPLAY}: 3 predictions differ.",
    )


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"costs": {"matrix": {"a": {"b": 1.0}}}}, ["gate.costs"]),
        ({"max_churn": 0.5}, ["gate.max_churn"]),
        ({"calibration": {"max_ece": 0.1}}, ["gate.calibration.max_ece"]),
        ({"slices": {"floor": 0.5}}, ["gate.slices.floor"]),
        ({"behaviour": ["core"]}, ["gate.behaviour"]),
        ({"behaviour": ["core"], "max_churn": 0.5}, ["gate.behaviour", "gate.max_churn"]),
        ({"max_churn": 0.0}, ["gate.max_churn"]),
        ({"slices": {"floor": 0.0}}, ["gate.slices.floor"]),
        ({"missed_class_rows": 3, "min_rows_per_class": 9, "lost_classes": "allow"}, []),
        ({}, []),
    ],
)
def test_rules_that_numbers_do_not_have(rules: dict[str, Any], told: list[str]) -> None:
    """What is set and would never be asked; what is a default of classifications is simply not asked."""
    assert [*NUMBERS.judging.inapplicable(GateRules.model_validate(rules))] == told


def test_how_many_rows_it_takes_does_not_depend_on_the_unit() -> None:
    metric = metrics.named(RMSE, GateRules())
    needed = set()
    for scale in (1e-3, 1.0, 1e3):
        asked = case(answers(2.0) * scale, answers(2.02, 1) * scale, truth=TRUTH * scale)
        assert asked.champion is not None
        variance = statistics.spread(metric, asked.challenger, asked.champion, confidence=0.95, resamples=400)
        margin = 0.02 * float(metric.measure(asked.champion, np.ones(ROWS)))
        needed.add(statistics.rows_needed(variance, margin=margin, risk=0.025, power=0.8))
        assert judged(asked).decision == "cannot_tell"
    assert max(needed) - min(needed) <= 1
