"""The gate's numbers are those of scikit-learn and of the textbooks."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from lifecycle.gate import statistics

LABELS = st.sampled_from(["negative", "neutral", "positive", "", "0", "Ω"])
PAIRS = st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=60)
TRIPLES = st.lists(st.tuples(LABELS, LABELS, LABELS), min_size=2, max_size=40)


def columns(rows: list[tuple[str, ...]]) -> list[list[str]]:
    return [list(column) for column in zip(*rows, strict=True)]


def noisy(seed: int, share: float, rows: int = 120) -> tuple[list[str], list[str]]:
    """Labels and guesses of which a share is right."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(["negative", "neutral", "positive"], rows, p=[0.2, 0.5, 0.3])
    guesses = np.where(rng.random(rows) < share, truth, rng.choice(["negative", "neutral", "positive"], rows))
    return list(truth), list(guesses)


def measured(metric: str, truth: list[str], predicted: list[str]) -> float:
    (y, p), labels = statistics.encode(truth, predicted)
    return float(statistics.METRICS[metric](y, p, labels))


@given(PAIRS)
def test_metrics_equal_scikit_learn(rows) -> None:
    truth, predicted = columns(rows)
    f1 = f1_score(truth, predicted, average="macro", zero_division=0)
    assert measured("f1_macro", truth, predicted) == pytest.approx(f1, abs=1e-12)
    assert measured("accuracy", truth, predicted) == pytest.approx(accuracy_score(truth, predicted), abs=1e-12)


@given(TRIPLES, st.data())
def test_many_resamples_at_once_equal_one_at_a_time(rows, data) -> None:
    (y, p, _), labels = statistics.encode(*columns(rows))
    index = st.integers(0, len(rows) - 1)
    drawn = np.array(data.draw(st.lists(st.lists(index, min_size=7, max_size=7), min_size=1, max_size=5)))
    for measure in statistics.METRICS.values():
        single = [float(measure(y[row], p[row], labels)) for row in drawn]
        assert measure(y[drawn], p[drawn], labels).tolist() == pytest.approx(single)


def test_a_label_that_only_another_column_uses_does_not_count() -> None:
    (y, p, _), labels = statistics.encode(["a", "b"], ["a", "b"], ["c", "c"])
    assert labels == 3
    assert statistics.f1_macro(y, p, labels) == 1.0


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(("right", "rows"), [(0, 12), (1, 2), (37, 50), (50, 50)])
def test_the_interval_of_accuracy_is_wilsons(right: int, rows: int, confidence: float) -> None:
    truth, predicted = ["a"] * rows, ["a"] * right + ["b"] * (rows - right)
    found = statistics.metric_interval("accuracy", truth, predicted, confidence=confidence, resamples=200)
    z, share = NormalDist().inv_cdf(0.5 + confidence / 2), right / rows
    centre = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * math.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    assert found.value == share
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9, 1.0])
@pytest.mark.parametrize("metric", statistics.METRICS)
def test_an_interval_contains_the_value_and_narrows_with_more_rows(metric: str, share: float) -> None:
    few, many = (
        statistics.metric_interval(metric, *noisy(1, share, rows), confidence=0.95, resamples=400)
        for rows in (60, 1500)
    )
    for found in (few, many):
        assert found.low - 1e-12 <= found.value <= found.high + 1e-12
    assert many.high - many.low <= few.high - few.low


def test_a_higher_confidence_gives_a_wider_interval() -> None:
    narrow, wide = (
        statistics.metric_interval("f1_macro", *noisy(2, 0.5), confidence=confidence, resamples=400)
        for confidence in (0.6, 0.99)
    )
    assert wide.low < narrow.low <= narrow.high < wide.high


@given(TRIPLES, st.sampled_from(sorted(statistics.METRICS)))
@settings(max_examples=30)
def test_swapping_the_models_turns_the_comparison_round(rows, metric) -> None:
    truth, one, other = columns(rows)
    gain, loss = (
        statistics.compare(metric, truth, *models, confidence=0.95, resamples=200)
        for models in ((one, other), (other, one))
    )
    assert gain.gain.value == -loss.gain.value
    assert (gain.gain.low, gain.gain.high) == pytest.approx((-loss.gain.high, -loss.gain.low), abs=1e-9)
    assert (gain.broken, gain.repaired) == (loss.repaired, loss.broken)
    assert gain.mcnemar_p == pytest.approx(loss.mcnemar_p)


@pytest.mark.parametrize("metric", statistics.METRICS)
def test_a_model_gains_nothing_over_itself(metric: str) -> None:
    truth, guesses = noisy(3, 0.6)
    paired = statistics.compare(metric, truth, guesses, guesses, confidence=0.95, resamples=200)
    assert paired.gain.model_dump() == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert (paired.broken, paired.repaired, paired.mcnemar_p) == (0, 0, 1.0)


def test_the_gain_is_the_difference_of_the_two_models_metrics() -> None:
    truth, good = noisy(4, 0.9)
    bad = noisy(4, 0.2)[1]
    paired = statistics.compare("f1_macro", truth, good, bad, confidence=0.95, resamples=200)
    expected = measured("f1_macro", truth, good) - measured("f1_macro", truth, bad)
    assert paired.gain.value == pytest.approx(expected)
    assert 0 < paired.gain.low < paired.gain.value < paired.gain.high
    assert paired.repaired > paired.broken


def test_pairing_makes_the_comparison_sharper_than_two_separate_intervals() -> None:
    truth, champion = noisy(5, 0.6)
    wrong = [i for i, (t, c) in enumerate(zip(truth, champion, strict=True)) if t != c]
    challenger = [truth[i] if i in wrong[:6] else guess for i, guess in enumerate(champion)]
    paired = statistics.compare("accuracy", truth, challenger, champion, confidence=0.95, resamples=400)
    one, other = (
        statistics.metric_interval("accuracy", truth, guesses, confidence=0.95, resamples=400)
        for guesses in (challenger, champion)
    )
    assert paired.gain.low > 0
    assert one.low < other.high


@given(broken=st.integers(0, 40), repaired=st.integers(0, 40), both=st.integers(2, 10))
def test_mcnemars_p_is_the_exact_binomial_tail(broken: int, repaired: int, both: int) -> None:
    rows = [("a", "b", "a")] * broken + [("a", "a", "b")] * repaired + [("a", "a", "a")] * both
    paired = statistics.compare("accuracy", *columns(rows), confidence=0.9, resamples=20)
    discordant = broken + repaired
    tail = sum(math.comb(discordant, k) for k in range(min(broken, repaired) + 1)) / 2**discordant
    assert (paired.broken, paired.repaired) == (broken, repaired)
    assert paired.mcnemar_p == pytest.approx(min(1.0, 2 * tail))


def test_the_same_rows_give_the_same_intervals() -> None:
    truth, guesses = noisy(6, 0.6)
    other = noisy(6, 0.5)[1]
    first, again = (
        (
            statistics.metric_interval("f1_macro", truth, guesses, confidence=0.95, resamples=300),
            statistics.compare("f1_macro", truth, guesses, other, confidence=0.95, resamples=300),
        )
        for _ in range(2)
    )
    assert first == again
