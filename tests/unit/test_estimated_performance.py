"""Performance without labels: what is estimated is what labels say later, or it is said not to be trusted."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli import up
from lifecycle.evaluation.estimates import FOLDS, Learnt, learnt
from lifecycle.monitoring import findings, store, trust
from lifecycle.monitoring.findings import Line, Measured
from lifecycle.problems.classification.confidence import Confidence
from lifecycle.problems.known import PROBLEMS, named
from lifecycle.problems.regression.loss import LearntLoss
from lifecycle.settings.rules import MonitoringRules

CLASSES, NUMBERS = named("tabular-classification"), named("tabular-regression")
RULES = MonitoringRules()


def labelled(rng: np.random.Generator, rows: int, *, sure: float = 1.0) -> pd.DataFrame:
    """Answers of a model that is too sure of itself, in three classes, beside their truth."""
    right = rng.beta(4, 1.5 / sure, rows)
    label = rng.integers(0, 3, rows)
    truth = np.where(rng.random(rows) < right, label, (label + rng.integers(1, 3, rows)) % 3)
    return pd.DataFrame({"truth": truth.astype(str), "label": label.astype(str), "score": right**0.3})


def numbers(rng: np.random.Generator, rows: int, *, shift: float = 0.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Features and answers, whose errors grow with an input and are larger in one shop."""
    x, shop = rng.uniform(0, 10, rows) + shift, rng.choice(["north", "south"], rows)
    prediction = 3 * x
    truth = prediction + rng.normal(size=rows) * (0.2 + 0.3 * x) * np.where(shop == "north", 1, 3)
    features = {"input x": x, "input shop": pd.Series(shop, dtype=object), "prediction prediction": prediction}
    return pd.DataFrame(features), pd.DataFrame({"truth": truth, "prediction": prediction})


def realised(problem: object, answers: pd.DataFrame) -> dict[str, float]:
    judging = problem.judging  # type: ignore[attr-defined]
    scores = judging.scores_of(answers["truth"], {"": answers})[""]
    return {each.name: float(each.measure(scores, np.ones(len(answers)))) for each in judging.standard(scores)}


def test_classes_are_estimated_by_calibrated_confidence_under_covariate_shift() -> None:
    rng = np.random.default_rng(0)
    known = learnt(CLASSES, pd.DataFrame(index=range(3000)), labelled(rng, 3000))
    assert known is not None
    assert all(check.holds for check in known.checks.values())
    assert Learnt.model_validate_json(known.model_dump_json()) == known
    surer = labelled(rng, 5000, sure=3.0)
    parts = [surer.head(2000), surer.tail(3000)]
    true = realised(CLASSES, surer)
    found = {each.metric.name: each for each, _ in known.estimates(CLASSES, pd.DataFrame(), parts)}
    assert {"accuracy", "f1_macro"} <= found.keys()
    assert "log_loss" not in found
    for name, estimate in found.items():
        assert estimate.value == pytest.approx(true[name], abs=3.3 * estimate.deviation), name
    assert true["accuracy"] - known.checks["accuracy"].realised > 0.1, "the shift is no small one"


def test_numbers_are_estimated_by_a_learnt_loss() -> None:
    rng = np.random.default_rng(1)
    features, answers = numbers(rng, 3000)
    known = learnt(NUMBERS, features, answers)
    assert known is not None
    assert all(check.holds for check in known.checks.values())
    assert Learnt.model_validate_json(known.model_dump_json()) == known
    others, later = numbers(rng, 4000)
    hard = (others["input x"] > 6) & (others["input shop"] == "south")
    others, later = others[hard].reset_index(drop=True), later[hard].reset_index(drop=True)
    others.loc[:2, "input x"] = np.nan
    true = realised(NUMBERS, later)
    found = {each.metric.name: each for each, _ in known.estimates(NUMBERS, others, [])}
    assert {"root_mean_squared_error", "mean_absolute_error", "r2"} <= found.keys()
    for name, estimate in found.items():
        assert estimate.value == pytest.approx(true[name], abs=3.3 * estimate.deviation), name
    assert true["mean_absolute_error"] > 1.5 * known.checks["mean_absolute_error"].realised


@settings(max_examples=25, deadline=None)
@given(st.integers(400, 800), st.integers(0, 2**31))
def test_of_the_rows_that_it_was_learnt_of_an_estimate_is_what_they_are(rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    answers = labelled(rng, rows)
    likely = Confidence.learnt(pd.DataFrame(), answers).likely(pd.DataFrame(), [answers])
    assert likely.weights.sum() == pytest.approx(rows)
    assert likely.replicates.sum(axis=1) == pytest.approx(rows, abs=1.01 * 3)
    right = (likely.truth == likely.answers["label"]).to_numpy()
    assert likely.weights[right].sum() / rows == pytest.approx((answers["truth"] == answers["label"]).mean(), abs=0.03)
    features, answers = numbers(rng, rows)
    likely = LearntLoss.learnt(features, answers).likely(features, [])
    assert (likely.weights.sum(), {*likely.replicates.sum(axis=1)}) == (pytest.approx(rows), {float(rows)})
    errors = likely.truth - likely.answers["prediction"]
    squares = ((answers["truth"] - answers["prediction"]) ** 2).mean()
    assert (errors**2 * likely.weights).sum() / rows == pytest.approx(squares)


def test_a_label_that_the_baseline_never_saw_and_a_model_of_one_class_are_no_error() -> None:
    rng = np.random.default_rng(2)
    known = Confidence.learnt(pd.DataFrame(), labelled(rng, 300))
    assert known.likely(pd.DataFrame(), [pd.DataFrame({"label": ["new"] * 9, "score": 0.5})]).weights.sum() == 9
    one = pd.DataFrame({"truth": ["a"] * 200, "label": ["a"] * 200, "score": [1.0] * 200})
    (estimate,) = [
        each
        for each, _ in learnt(CLASSES, one[[]], one).estimates(CLASSES, one[[]], [one])
        if each.metric.name == "accuracy"
    ]  # type: ignore[union-attr]
    assert estimate.value == pytest.approx(1)


def test_of_too_few_rows_and_of_answers_in_words_nothing_is_learnt() -> None:
    few = labelled(np.random.default_rng(3), 99)
    assert learnt(CLASSES, few[[]], few) is None
    assert PROBLEMS["chat"].judging.estimating is None
    assert FOLDS > 1


def line(part: str, name: str = "accuracy", measure: str = "loss", **changes: object) -> Line:
    usual = {"value": 0.0, "limit": 0.05, "now": 0.8, "low": 0.78, "high": 0.82, "rows": 500, "beyond": False}
    return Line(**({"part": part, "name": name, "measure": measure} | usual | changes))


def day(number: int, *lines: Line, version: int = 1) -> Measured:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)
    about = {"model": "m", "batch": f"b{number}", "baseline": "", "rows_in": 500, "scored": 500}
    return Measured(version=version, day=at.date(), at=at, lines=lines, **about)


BAD = {"now": 0.6, "low": 0.57, "high": 0.63, "value": 0.2, "beyond": True}


def test_what_labels_contradict_is_not_believed_until_they_agree_again() -> None:
    drift = [day(number, line("estimate")) for number in range(5)]
    few = day(3, line("performance", rows=10, **BAD))
    performance = [day(0, line("performance")), day(1, line("performance", **BAD)), few]
    verdicts = [each.verdict for each in trust.statements(drift, performance, RULES).values()]
    assert verdicts == ["confirmed", *["do not trust"] * 4]
    assert "labels of 2026-01-02 contradict" in trust.statements(drift, performance, RULES)[1, "b4"].told
    verdicts = [
        each.verdict
        for each in trust.statements(drift, [*performance[:2], day(3, line("performance"))], RULES).values()
    ]
    assert verdicts[3:] == ["confirmed", "unconfirmed"]
    (other,) = trust.statements([day(4, line("estimate"), version=2)], performance, RULES).values()
    assert other.told == "unconfirmed; it holds only if inputs mean what they did: no labels have come yet"


def test_what_is_unlike_the_baseline_or_was_badly_estimated_there_is_not_believed() -> None:
    unlike = line("input", "age", "outside", now=0.4, before=0.01, beyond=True)
    check = line("estimate", "accuracy", "check", beyond=True)
    said = trust.statements([day(0, line("estimate"), unlike), day(1, check, line("estimate")), day(2)], [], RULES)
    assert [each.verdict for each in said.values()] == ["do not trust"] * 2
    assert "age is unlike any row of the baseline in 40% of the rows" in said[1, "b0"].told


def test_status_tells_no_estimate_without_whether_to_believe_it(tmp_path: Path) -> None:
    unlike = line("input", "age", "outside", now=0.4, before=0.01, beyond=True)
    for number, lines in enumerate(((), (unlike,))):
        store.keep(tmp_path, "drift", day(number, line("estimate", before=0.8), *lines))
        standing = store.refresh(tmp_path, "m", RULES)
        assert standing is not None
        verdict = ("unconfirmed", "do not trust")[number]
        assert any(f"(estimated, {verdict})" in cell for cell in up._measured(standing))


def test_an_estimate_alarms_only_while_it_is_believed_and_counts_with_what_labels_say() -> None:
    worse = {"value": 0.2, "beyond": True}
    drift = [day(number, line("estimate", **worse)) for number in range(3)]
    (alert,) = findings.alerts(trust.answered(drift, [], RULES), "performance", RULES)
    assert "accuracy: estimated loss 0.2" in alert.told
    assert findings.alerts(drift, "drift", RULES) == []
    labels_agree = [day(2, line("performance", now=0.8, **worse))]
    (alert,) = findings.alerts(trust.answered(drift, labels_agree, RULES), "performance", RULES)
    assert "accuracy: loss 0.2" in alert.told
    contradicted = [day(0, line("performance", now=0.95, low=0.94, high=0.96))]
    assert findings.alerts(trust.answered(drift, contradicted, RULES), "performance", RULES) == []


def test_a_batch_of_far_more_or_fewer_rows_than_those_before_is_noticed() -> None:
    rows = [500, 520, 480, 510, 20, 500, 9000]
    batches = [day(number).model_copy(update={"rows_in": count}) for number, count in enumerate(rows)]
    found = findings.with_volume(reversed(batches), RULES)
    assert [[each.beyond for each in batch.lines] for batch in found] == [[], [], [], [False], [True], [False], [True]]
