"""One regressor beside another: rows taken, rows swapped, and what scipy says of their errors."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lifecycle.problems.regression.scores import NumberScores, problems_of, scores_of

VALUES = st.floats(-1e3, 1e3).map(lambda value: round(value, 3))


def numbers(truth: list[float], prediction: list[float]) -> NumberScores:
    return NumberScores(np.array(truth, dtype=np.float64), np.array(prediction, dtype=np.float64))


@st.composite
def pairs(draw: st.DrawFn, least: int = 0) -> tuple[NumberScores, NumberScores]:
    rows = draw(st.integers(least, 12))
    truth, new, old = (draw(st.lists(VALUES, min_size=rows, max_size=rows)) for _ in range(3))
    return numbers(truth, new), numbers(truth, draw(st.just(new) | st.just(old)))


@given(pairs(), st.data())
def test_rows_that_are_taken_stay_whole(pair: tuple[NumberScores, NumberScores], data: st.DataObject) -> None:
    scores, rows = pair[0], len(pair[0].truth)
    index = np.array(data.draw(st.lists(st.integers(0, max(rows - 1, 0)), max_size=rows and 20)), dtype=np.int64)
    taken = scores.take(index)
    assert taken.truth.tolist() == [scores.truth[row] for row in index]
    assert taken.prediction.tolist() == [scores.prediction[row] for row in index]
    assert taken.errors.tolist() == [scores.errors[row] for row in index]


@given(pairs())
def test_interleaved_each_row_is_there_once_as_either_model_answers(pair: tuple[NumberScores, NumberScores]) -> None:
    new, old = pair
    both, rows = new.interleave(old), np.arange(len(new.truth))
    for place, model in enumerate(pair):
        alone = both.take(2 * rows + place)
        assert (alone.truth.tolist(), alone.prediction.tolist()) == (model.truth.tolist(), model.prediction.tolist())
    assert len(both.truth) == 2 * len(rows)


@given(pairs())
def test_a_row_flips_to_whoever_is_closer(pair: tuple[NumberScores, NumberScores]) -> None:
    new, old = pair
    flips, back = new.flips(old), old.flips(new)
    assert not (flips.broken & flips.repaired).any()
    assert (flips.broken | flips.repaired).tolist() == (new.errors != old.errors).tolist()
    assert (flips.broken.tolist(), flips.repaired.tolist()) == (back.repaired.tolist(), back.broken.tolist())
    assert new.severity(old).tolist() == (new.errors - old.errors).tolist()
    assert (flips.test, flips.words) == ("sign test", ("closer", "farther off"))
    assert new.changed(old) == int((new.prediction != old.prediction).sum())


@settings(deadline=None)
@given(pairs(least=2), st.sampled_from([0.8, 0.95]))
def test_the_quality_has_students_interval(pair: tuple[NumberScores, NumberScores], confidence: float) -> None:
    scores, everywhere = pair[0], np.ones(len(pair[0].truth), dtype=bool)
    found, errors = scores.quality(everywhere, confidence), np.abs(scores.truth - scores.prediction)
    assert found.value == pytest.approx(errors.mean())
    if np.ptp(errors) > 1e-9:
        test = stats.ttest_1samp(errors, 0).confidence_interval(confidence)
        assert found.low == pytest.approx(max(0, test.low), abs=1e-9)
        assert found.high == pytest.approx(test.high)
    assert 0 <= found.low <= found.value <= found.high


@settings(deadline=None)
@given(pairs(least=3))
def test_the_loss_on_a_slice_has_the_p_of_the_paired_t_test(pair: tuple[NumberScores, NumberScores]) -> None:
    new, old = pair
    mask = np.arange(len(new.truth)) > 0
    lost, p = new.slice_loss(old, mask)
    if np.ptp(new.errors[mask] - old.errors[mask]) > 1e-6 and old.errors[mask].mean() > 0:
        wanted = stats.ttest_rel(new.errors[mask], old.errors[mask], alternative="greater").pvalue
        assert p == pytest.approx(wanted, abs=1e-12)
        assert lost == pytest.approx(new.errors[mask].mean() / old.errors[mask].mean() - 1)
    assert 0 <= p <= 1


@pytest.mark.parametrize(
    ("new", "old", "lost", "p"),
    [
        ([], [], 0.0, 1.0),
        ([5.0], [1.0], 0.0, 1.0),
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], 0.0, 1.0),
        ([1.0, -2.0, 3.0], [-1.0, 2.0, 3.0], 0.0, 1.0),
        ([0.0, 0.0], [0.0, 0.0], 0.0, 1.0),
        ([1.0, 1.0, 1.0], [0.0, 0.0, 0.0], math.inf, 0.0),
        ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], -1.0, 1.0),
        ([2.0, 2.0, 2.0], [1.0, 1.0, 1.0], 1.0, 0.0),
        ([3.0, 2.0], [1.0, -1.0], 1.5, 0.5 - math.atan(3) / math.pi),
    ],
)
def test_losses_without_a_spread_are_certain_or_none(new: list[float], old: list[float], lost: float, p: float) -> None:
    """Of errors that differ by the same amount in every row the t-test knows no variance."""
    truth, everywhere = [0.0] * len(new), np.ones(len(new), dtype=bool)
    assert numbers(truth, new).slice_loss(numbers(truth, old), everywhere) == pytest.approx((lost, p))


@pytest.mark.parametrize(("errors", "value"), [([], 0.0), ([3.0], 3.0), ([2.0, -2.0], 2.0), ([0.0, 0.0], 0.0)])
def test_without_a_spread_the_quality_is_a_point(errors: list[float], value: float) -> None:
    found = numbers([0.0] * len(errors), errors).quality(np.ones(len(errors), dtype=bool), 0.95)
    assert (found.value, found.low, found.high) == (value, value, value)


def test_what_is_said_of_a_row() -> None:
    scores = numbers([12_345.6, 0.25, 0.0], [12_000.0, 0.5, 1e-7])
    assert [scores.said(row) for row in range(3)] == [("12,346", "12,000"), ("0.250", "0.500"), ("0.000", "1e-07")]
    assert [scores.certainty(row) for row in range(2)] == [pytest.approx(345.6), 0.25]
    assert (scores.classes, scores.right, scores.confusion()) == ((), None, ())
    first, group = scores.alike(scores)
    assert first.tolist() == group.tolist() == [0, 1, 2]


def test_whole_numbers_and_stored_ones_are_the_same_truth() -> None:
    truth = pd.Series([1, 2])
    models = scores_of(truth, {"challenger": pd.DataFrame({"prediction": [1, 3]})})
    assert models["challenger"].errors.tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (pd.DataFrame({"prediction": [1.0, 2.0]}), []),
        (pd.DataFrame({"prediction": [1, 2]}), []),
        (pd.DataFrame({"prediction": [], "key": []}, dtype=float), []),
        (pd.DataFrame({"label": ["a", "b"]}), ["lacks or repeats the column prediction"]),
        (
            pd.DataFrame([[1.0, 2.0]], columns=["prediction", "prediction"]),
            ["lacks or repeats the column prediction"],
        ),
        (pd.DataFrame({"prediction": ["1", "2"]}), ["has predictions that are no numbers"]),
        (pd.DataFrame({"prediction": [True, False]}), ["has predictions that are no numbers"]),
        (pd.DataFrame({"prediction": [1.0, math.nan]}), ["has a prediction that is not finite"]),
        (pd.DataFrame({"prediction": [1.0, -math.inf]}), ["has a prediction that is not finite"]),
    ],
)
def test_answers_that_are_no_numbers_are_not_judged(answers: pd.DataFrame, words: list[str]) -> None:
    assert problems_of(answers) == words
