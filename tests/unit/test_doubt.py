"""What speaks against a declared claim: measured cases of models that were fitted on the holdout, and honest ones."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lifecycle.gate.doubt import TOO_FAR, TOO_GOOD, doubts
from lifecycle.problems.chat.expected import Expected
from lifecycle.problems.chat.scores import scores_of
from lifecycle.problems.classification.scores import ClassScores
from lifecycle.problems.shares import larger_p, rarer_p
from lifecycle.tracking.claims import Claim

DECLARED = Claim(origin="declared", words="trained on train of e 1, as ada says")
RECORDED = Claim(origin="recorded", words="recorded when it was trained")
NONE = Claim(origin="none", words="nobody said")


def model(right: int, rows: int, classes: int = 2) -> ClassScores:
    """A model that is right on the first rows; the classes are equally frequent."""
    truth = np.arange(rows) % classes
    label = np.where(np.arange(rows) < right, truth, (truth + 1) % max(classes, 2))
    return ClassScores(("a", "b", "c")[: max(classes, 2)], truth, label, np.ones(rows), None)


def failed(
    challenger: ClassScores, champion: ClassScores | None = None, test: tuple[int, int] | None = None
) -> list[str]:
    return [check.name for check in doubts(DECLARED, challenger, champion, test) if check.outcome == "fail"]


@pytest.mark.parametrize(
    ("challenger", "champion", "test", "expected"),
    [
        # fitted on the whole file, which the champion was not
        (model(100, 100), model(48, 100), None, [TOO_GOOD]),
        (model(100, 100), model(48, 100), (100, 100), [TOO_GOOD]),
        (model(100, 100), None, (100, 100), [TOO_GOOD]),
        (model(978, 1000), model(740, 1000), (980, 1000), [TOO_GOOD]),
        (model(176, 180), model(110, 180), (175, 180), [TOO_GOOD]),
        # fitted on train and holdout
        (model(100, 100), model(48, 100), (50, 100), [TOO_GOOD, TOO_FAR]),
        (model(96, 100), model(75, 100), (75, 100), [TOO_FAR]),
        (model(50, 50), model(40, 50), (43, 50), [TOO_GOOD]),
        # nothing to say against
        (model(81, 100), model(48, 100), (80, 100), []),
        (model(100, 100), model(99, 100), (100, 100), []),
        (model(50, 50), model(35, 50), (48, 50), []),
        (model(49, 49), model(20, 49), None, []),
        (model(100, 100, classes=1), None, None, []),
        (model(978, 1000), None, (980, 1000), []),
        (model(60, 100), model(59, 100), (95, 100), []),
        (model(90, 100), model(60, 100), (0, 0), []),
    ],
)
def test_what_is_doubted(
    challenger: ClassScores, champion: ClassScores | None, test: tuple[int, int] | None, expected: list[str]
) -> None:
    assert failed(challenger, champion, test) == expected


def test_easy_rows_are_no_ground_for_doubt_where_one_class_is_nearly_all() -> None:
    truth = np.zeros(1000, int)
    truth[:20] = 1
    assert failed(ClassScores(("a", "b"), truth, truth, np.ones(1000), None)) == []


def test_answers_to_questions_are_doubted_beside_a_refusal_of_each() -> None:
    """A chain of somebody's that would be the first champion: its truth are no classes."""
    truth = [Expected(f"What is {n}?", ("d.md",) if n % 4 else ()).cell for n in range(80)]
    told = {"answer": "It is so.", "sources": '["d.md"]', "passages": '["It is so."]', "score": 1.0}
    answers = pd.DataFrame([{**told, "refused": float(n % 4 == 0)} for n in range(80)])
    (good, _) = doubts(DECLARED, scores_of(pd.Series(truth), {"": answers})[""], None, (60, 80))
    assert (good.name, good.outcome) == (TOO_GOOD, "fail")
    assert good.detail.startswith("right on 100.0% of 80 rows, a refusal of every question on 25.0%; trained on")


def test_a_doubt_says_what_it_rests_on_and_what_to_do() -> None:
    good, far = doubts(DECLARED, model(100, 100), model(48, 100), (50, 100))
    assert good.detail.startswith("right on 100.0% of 100 rows, the champion on 48.0%; trained on")
    assert far.detail.startswith("right on 100.0% of 100 rows, and on 50.0% of 100 on the test split, p = ")
    for check in (good, far):
        assert "as ada says" in check.detail
        assert all(way in check.detail for way in ("--trained-on", "mlops train", "skip_gate"))
        assert (check.value, check.high) == (1.0, pytest.approx(1.0))


def test_where_doubts_are_not_enforced_they_are_told_all_the_same() -> None:
    case = (DECLARED, model(100, 100), model(48, 100), (50, 100))
    told = doubts(*case, enforce=False)
    assert [check.outcome for check in told] == ["pass", "pass"]
    assert [check.detail for check in told] == [f"warning: {check.detail}" for check in doubts(*case)]


@given(st.integers(0, 100), st.integers(0, 100), st.none() | st.integers(0, 100))
def test_what_a_training_recorded_is_never_refused_and_of_no_claim_nothing_is_said(
    right: int, before: int, hits: int | None
) -> None:
    test = None if hits is None else (hits, 100)
    warned = doubts(RECORDED, model(right, 100), model(before, 100), test)
    assert all(check.outcome == "pass" and check.detail.startswith("warning: ") for check in warned)
    assert bool(warned) == (hits is not None and larger_p((right, 100), (hits, 100)) < 0.001)
    assert doubts(NONE, model(right, 100), model(before, 100), test) == ()


@given(st.integers(1, 200), st.integers(1, 200), st.data())
def test_fisher_s_test_is_the_hypergeometric_tail(rows: int, others: int, data: st.DataObject) -> None:
    one, other = data.draw(st.integers(0, rows)), data.draw(st.integers(0, others))
    tail = stats.hypergeom(rows + others, one + other, rows).sf(one - 1)
    assert larger_p((one, rows), (other, others)) == pytest.approx(tail, abs=1e-9)


@given(st.integers(1, 200), st.integers(0, 200), st.data())
def test_a_share_is_rarer_by_more_than_chance_only_where_it_is_rarer(
    rows: int, others: int, data: st.DataObject
) -> None:
    few, many = data.draw(st.integers(0, rows)), data.draw(st.integers(0, others))
    p = rarer_p((few, rows), (many, others), 5)
    assert 0 <= p <= 1
    if p < 0.001:
        assert few / rows < many / others / 5
    if few:
        assert rarer_p((few - 1, rows), (many, others), 5) <= p or many == 0


@given(st.integers(1, 300), st.integers(1, 300), st.data())
def test_more_mistakes_are_never_more_suspect_without_the_test_side(
    rows: int, mistakes: int, data: st.DataObject
) -> None:
    champion = model(data.draw(st.integers(0, rows)), rows)
    right = data.draw(st.integers(0, rows))
    if failed(model(max(right - mistakes, 0), rows), champion):
        assert failed(model(right, rows), champion)


def rate(accuracy: float, before: float | None, rows: int, draws: int) -> float:
    """How often an honest model is doubted whose test side and holdout are drawn alike."""
    rng = np.random.default_rng(7)
    found = 0
    for _ in range(draws):
        right, hits = rng.binomial(rows, accuracy, 2)
        champion = None if before is None else model(int(rng.binomial(rows, before)), rows)
        found += bool(failed(model(int(right), rows), champion, (int(hits), rows)))
    return found / draws


@pytest.mark.parametrize(
    ("accuracy", "before", "rows", "highest"),
    [
        (0.60, 0.50, 50, 0.01),
        (0.80, 0.70, 100, 0.01),
        (0.90, 0.70, 50, 0.01),
        (0.90, None, 50, 0.01),
        (0.90, 0.60, 1000, 0.01),
        (0.95, 0.85, 200, 0.01),
        (0.95, 0.80, 50, 0.03),
        (0.97, 0.80, 50, 0.10),
    ],
)
def test_an_honest_model_is_almost_never_doubted(
    accuracy: float, before: float | None, rows: int, highest: float
) -> None:
    """On few rows of an easy task it may be right on all: that is the price, and docs/gate.md states it."""
    assert rate(accuracy, before, rows, 400) <= highest
