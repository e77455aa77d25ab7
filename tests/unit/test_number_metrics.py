"""Every metric of numbers is scikit-learn's, on the rows as they were drawn."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from lifecycle.core.errors import ConfigError, MetricError
from lifecycle.problems.metric import Weights, value_of
from lifecycle.problems.regression import metrics
from lifecycle.problems.regression.metrics import STANDARD
from lifecycle.problems.regression.scores import NumberScores
from lifecycle.settings.gate_rules import GateRules

OWN = "tests.unit.test_number_metrics"
EXPECTED: dict[str, Callable[..., float]] = {
    "root_mean_squared_error": sk.root_mean_squared_error,
    "mean_absolute_error": sk.mean_absolute_error,
    "r2": sk.r2_score,
    "mean_absolute_percentage_error": sk.mean_absolute_percentage_error,
    "mean_pinball_loss": sk.mean_pinball_loss,
}


def numbers(truth: list[float], prediction: list[float]) -> NumberScores:
    return NumberScores(np.array(truth, dtype=np.float64), np.array(prediction, dtype=np.float64))


def measured(name: str, scores: NumberScores, weights: Weights | None = None) -> float:
    ones = np.ones(len(scores.truth))
    return float(metrics.named(name, GateRules()).measure(scores, ones if weights is None else weights))


@st.composite
def drawn_rows(draw: st.DrawFn) -> tuple[NumberScores, Weights]:
    """Few rows of few values: ties, zeros, constant truths and perfect predictions all come up."""
    rows, middle = draw(st.integers(1, 12)), draw(st.sampled_from([0.0, 3.5, -1e6, 1e9]))
    values = st.lists(st.integers(-4, 4).map(lambda step: middle + step / 4), min_size=rows, max_size=rows)
    truth = draw(values)
    prediction = draw(st.just(truth) | values)
    weights = draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows).filter(any))
    return numbers(truth, prediction), np.array(weights, dtype=float)


def test_every_metric_has_its_reference() -> None:
    assert set(EXPECTED) == set(STANDARD)


@given(drawn_rows())
def test_metrics_equal_scikit_learn_on_the_rows_repeated_by_their_weights(drawn: tuple[NumberScores, Weights]) -> None:
    scores, weights = drawn
    alone = scores.take(np.repeat(np.arange(len(weights)), weights.astype(int)))
    for name, reference in EXPECTED.items():
        value = measured(name, scores, weights)
        if name == "r2" and len(np.unique(alone.truth)) < 2:
            assert math.isnan(value), "of equal truths there is no variance to explain"
        else:
            assert value == pytest.approx(float(reference(alone.truth, alone.prediction)), rel=1e-9, abs=1e-12), name


@given(drawn_rows(), st.data())
def test_many_resamples_at_once_equal_one_at_a_time(drawn: tuple[NumberScores, Weights], data: st.DataObject) -> None:
    scores, weights = drawn
    resamples = data.draw(st.permutations(list(weights)).map(np.array)), weights, np.ones(len(weights))
    together = np.stack([np.stack(resamples), np.stack(resamples[::-1])])
    for name in STANDARD:
        singles = [[measured(name, scores, one) for one in block] for block in together]
        found = metrics.named(name, GateRules()).measure(scores, together)
        assert found.tolist() == [pytest.approx(block, nan_ok=True) for block in singles], name


@pytest.mark.parametrize("middle", [0.0, 1e6, 1e12, -1e12])
def test_large_numbers_lose_no_digits(middle: float) -> None:
    steps, answers = [0.0, 1.0, 2.0, 3.0] * 25, [0.5, 1.0, 2.5, 2.0] * 25
    near, far = numbers(steps, answers), numbers([middle + x for x in steps], [middle + x for x in answers])
    for name in STANDARD.keys() - {"mean_absolute_percentage_error"}:
        assert measured(name, far) == pytest.approx(measured(name, near), rel=1e-9), name


def test_an_outlier_that_is_not_drawn_costs_the_others_no_digits() -> None:
    rows, outlier = numbers([0, 1, 2, 3], [0, 1, 2, 2]), numbers([0, 1, 2, 3, 1e12], [0, 1, 2, 2, 0])
    assert measured("r2", outlier, np.array([1, 1, 1, 1, 0.0])) == pytest.approx(measured("r2", rows))


@pytest.mark.parametrize("truth", [0.0, 0.1, 1e9 + 0.1])
def test_what_explains_a_variance_needs_one(truth: float) -> None:
    same, two = numbers([truth] * 7, [1.0] * 7), numbers([truth] * 6 + [truth + 1], [1.0] * 7)
    assert math.isnan(measured("r2", same))
    assert math.isnan(measured("r2", two, np.array([1.0] * 6 + [0.0]))), "the row that differs was not drawn"
    assert not math.isnan(measured("r2", two))
    percentage = {"mean_absolute_percentage_error"} if truth == 0 else set()
    assert {metric.name for metric in metrics.standard(same)} == STANDARD.keys() - {"r2"} - percentage
    assert {metric.name for metric in metrics.standard(two)} == STANDARD.keys() - percentage


def test_of_no_rows_nothing_is_known() -> None:
    for name in STANDARD:
        assert math.isnan(measured(name, numbers([1, 2], [1, 3]), np.zeros(2))), name


def test_a_percentage_of_nothing_is_huge_and_still_a_number() -> None:
    error = measured("mean_absolute_percentage_error", numbers([0.0, 1.0], [1.0, 1.0]))
    assert error == pytest.approx(sk.mean_absolute_percentage_error([0.0, 1.0], [1.0, 1.0]))
    assert 1e14 < error < math.inf


def test_metrics_in_units_of_the_target_grow_with_it_and_others_do_not() -> None:
    metres = numbers([1, 2, 4, 8], [2, 2, 5, 6])
    millimetres = NumberScores(metres.truth * 1000, metres.prediction * 1000)
    grown = {name for name in STANDARD if measured(name, millimetres) == pytest.approx(1000 * measured(name, metres))}
    assert grown == {name for name, metric in STANDARD.items() if metric.in_units}
    assert grown == {"root_mean_squared_error", "mean_absolute_error", "mean_pinball_loss"}
    for name in STANDARD.keys() - grown:
        assert measured(name, millimetres) == pytest.approx(measured(name, metres)), name


def test_limits_in_units_are_shares_of_what_the_champion_reaches() -> None:
    rules = GateRules.model_validate({"min_gain": 0.1, "worthwhile_gain": 0.2, "retraining": {"margin": 0.05}})
    scaled = rules.in_units(40.0)
    assert (scaled.min_gain, scaled.worthwhile_gain, scaled.margin) == (4.0, 8.0, 2.0)
    assert GateRules(worthwhile_gain=0.2).in_units(40.0).margin == 8.0
    assert (rules.min_gain, rules.margin) == (0.1, 0.05), "the rules themselves stay"


def test_more_is_better_in_the_sign_of_the_value() -> None:
    scores = numbers([1, 2, 4], [1, 3, 4])
    assert value_of(STANDARD["mean_absolute_error"], scores) == pytest.approx(-1 / 3)
    assert value_of(STANDARD["r2"], scores) == pytest.approx(sk.r2_score(scores.truth, scores.prediction))


def largest_error(truth: list[float], prediction: list[float]) -> float:
    return max(abs(one - other) for one, other in zip(truth, prediction, strict=True))


def test_a_metric_of_ones_own_is_called_with_truth_and_predictions() -> None:
    metric = metrics.named("largest", GateRules(own_metrics={"largest": f"-{OWN}:largest_error"}))
    scores = numbers([1, 2, 4], [1, 3, 9])
    assert (float(metric.measure(scores, np.ones(3))), metric.higher) == (5.0, False)
    assert float(metric.measure(scores, np.array([1.0, 1.0, 0.0]))) == 1.0
    with pytest.raises(MetricError, match="failed: ValueError"):
        metric.measure(scores, np.zeros(3))


@pytest.mark.parametrize("name", ["f1_macro", "accuracy", "recall.a", "rmse", ""])
def test_a_metric_of_classes_is_none_of_numbers(name: str) -> None:
    with pytest.raises(ConfigError, match=r"is not a metric: there are mean_absolute_error, .*, root_mean_squared"):
        metrics.named(name, GateRules())
