"""The gate's intervals, tests and decision are those of the textbooks, seen on real draws."""

import math
from itertools import product
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from benchmarks import gate_error_rates
from lifecycle.core.errors import MetricError
from lifecycle.evaluation import statistics
from lifecycle.problems import shares
from lifecycle.problems.classification import metrics
from lifecycle.problems.classification.metrics import STANDARD
from lifecycle.problems.classification.scores import ClassScores
from lifecycle.problems.findings import Interval
from lifecycle.problems.metric import OWN_RESAMPLES, Metric
from lifecycle.settings.gate_rules import GateRules

LEVEL = {"confidence": 0.95, "resamples": 300}
CODES = st.integers(0, 2)


def predictions(truth: list[int], label: list[int], probabilities: np.ndarray | None = None) -> ClassScores:
    score = np.full(len(truth), 0.8) if probabilities is None else probabilities.max(axis=1)
    classes = ("negative", "neutral", "positive")
    return ClassScores(classes, np.array(truth, dtype=np.int64), np.array(label, dtype=np.int64), score, probabilities)


def noisy(seed: int, *shares: float, rows: int = 120) -> list[ClassScores]:
    """One model for each share of right answers, on the same rows, with probabilities."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, rows, p=[0.2, 0.5, 0.3])

    def model(share: float) -> ClassScores:
        label = np.where(rng.random(rows) < share, truth, rng.choice(3, rows))
        sure = rng.uniform(0.4, 0.99, rows)[:, None]
        return predictions(truth, label, np.where(np.eye(3)[label] == 1, sure, (1 - sure) / 2))

    return [model(share) for share in shares]


def f1_macro(truth: np.ndarray, label: np.ndarray) -> float:
    """Scikit-learn's, over the classes that the rows have."""
    return float(f1_score(truth, label, labels=np.unique(truth), average="macro", zero_division=0))


def flips(broken: int, repaired: int, both: int, neither: int = 0) -> tuple[ClassScores, ClassScores]:
    """Challenger and champion with so many rows of each kind."""
    rows = [(0, 1, 0)] * broken + [(0, 0, 1)] * repaired + [(0, 0, 0)] * both + [(0, 1, 1)] * neither
    truth, new, old = (list(column) for column in zip(*rows, strict=True))
    return predictions(truth, new), predictions(truth, old)


# One bootstrap for everything


def test_intervals_are_the_percentiles_of_resampled_rows() -> None:
    new, old = noisy(1, 0.8, 0.5, rows=60)
    found = statistics.measure([STANDARD["f1_macro"]], new, old, **LEVEL)
    drawn = np.random.default_rng(statistics.SEED).integers(0, 60, (300, 60))
    each = np.array([[f1_macro(m.truth[rows], m.label[rows]) for m in (new, old)] for rows in drawn])
    differ = int((new.label != old.label).sum())
    further = NormalDist().cdf(-NormalDist().inv_cdf(0.975) - 1 / math.sqrt(differ))
    assert 0.01 < further < 0.025
    for interval, values, tail in (
        (found.challenger, each[:, 0], 0.025),
        (found.champion, each[:, 1], 0.025),
        (found.gain, each[:, 0] - each[:, 1], further),
    ):
        limits = np.quantile(values, [tail, 1 - tail])
        assert (interval["f1_macro"].low, interval["f1_macro"].high) == pytest.approx(tuple(limits), abs=1e-12)


def test_each_value_is_the_metric_on_the_rows_and_a_gain_is_above_zero_where_the_challenger_is_better() -> None:
    new, old = noisy(2, 0.95, 0.4)
    every = metrics.standard(new)
    found = statistics.measure(every, new, old, **LEVEL)
    assert list(found.gain) == list(found.challenger) == list(found.champion) == [metric.name for metric in every]
    assert found.unmeasurable == {}
    for metric in every:
        one, other = (float(metric.measure(model, np.ones(120))) for model in (new, old))
        assert (found.challenger[metric.name].value, found.champion[metric.name].value) == pytest.approx((one, other))
        assert found.gain[metric.name].value == pytest.approx(one - other if metric.higher else other - one)
        for interval in (found.challenger, found.champion, found.gain):
            assert interval[metric.name].low <= interval[metric.name].high
    assert all(found.gain[name].low > 0 for name in ("accuracy", "f1_macro", "roc_auc", "log_loss", "brier"))


def test_without_a_champion_there_is_no_gain() -> None:
    (model,) = noisy(3, 0.7)
    found = statistics.measure(metrics.standard(model), model, None, **LEVEL)
    assert (found.champion, found.gain) == ({}, {})
    assert len(found.challenger) == len(metrics.standard(model))


def test_neither_the_size_of_a_batch_nor_the_company_of_other_metrics_changes_an_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    new, old = noisy(4, 0.8, 0.6, rows=50)
    together = statistics.measure(metrics.standard(new), new, old, **LEVEL)
    monkeypatch.setattr(statistics, "CELLS", 50 * 7)
    for name in ("f1_macro", "roc_auc", "ece"):
        alone = statistics.measure([STANDARD[name]], new, old, **LEVEL)
        for mine, theirs in zip(alone[:3], together[:3], strict=True):
            assert mine[name].model_dump() == pytest.approx(theirs[name].model_dump(), abs=1e-12)


@pytest.mark.parametrize("name", ["f1_macro", "mcc", "roc_auc", "log_loss", "ece"])
def test_an_interval_narrows_with_more_rows_and_widens_with_more_confidence(name: str) -> None:
    def width(rows: int, confidence: float) -> float:
        (model,) = noisy(5, 0.6, rows=rows)
        found = statistics.measure([STANDARD[name]], model, None, confidence=confidence, resamples=300).challenger[name]
        return found.high - found.low

    assert 0 < width(1500, 0.6) < width(1500, 0.99) < width(60, 0.99)


@given(st.lists(st.tuples(CODES, CODES, CODES), min_size=2, max_size=30))
@settings(max_examples=15, deadline=None)
def test_swapping_the_models_turns_the_comparison_round(rows: list[tuple[int, int, int]]) -> None:
    truth, *labels = (list(column) for column in zip(*rows, strict=True))
    one, other = (predictions(truth, label) for label in labels)
    every = metrics.standard(one)
    gain, loss = (
        statistics.measure(every, *models, confidence=0.9, resamples=100) for models in ((one, other), (other, one))
    )
    assert gain.challenger == loss.champion
    for name, found in gain.gain.items():
        turned = loss.gain[name]
        assert (found.value, found.low, found.high) == pytest.approx((-turned.value, -turned.high, -turned.low))
    assert statistics.discordance(one, other)[:2] == statistics.discordance(other, one)[1::-1]


def test_a_model_gains_nothing_over_itself() -> None:
    (model,) = noisy(6, 0.6)
    for gain in statistics.measure(metrics.standard(model), model, model, **LEVEL).gain.values():
        assert gain.model_dump() == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert statistics.discordance(model, model)[:3] == (0, 0, 1.0)
    assert statistics.randomised_p(STANDARD["f1_macro"], model, model, resamples=200) == 1.0


def test_pairing_makes_the_comparison_sharper_than_two_separate_intervals() -> None:
    (champion,) = noisy(7, 0.6)
    wrong = np.flatnonzero(champion.truth != champion.label)[:6]
    label = champion.label.copy()
    label[wrong] = champion.truth[wrong]
    found = statistics.measure([STANDARD["accuracy"]], champion._replace(label=label), champion, **LEVEL)
    assert found.gain["accuracy"].low > 0
    assert found.challenger["accuracy"].low < found.champion["accuracy"].high


# Shares


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(("right", "rows"), [(0, 12), (1, 2), (37, 50), (50, 50)])
def test_the_interval_of_accuracy_is_wilsons(right: int, rows: int, confidence: float) -> None:
    (model, _) = flips(rows - right, 0, right)
    found = statistics.measure([STANDARD["accuracy"]], model, None, confidence=confidence, resamples=200)
    z, share = NormalDist().inv_cdf(0.5 + confidence / 2), right / rows
    centre = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * math.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    interval = found.challenger["accuracy"]
    assert (interval.value, interval.low, interval.high) == pytest.approx((share, centre - half, centre + half))


def test_precision_and_recall_of_a_class_are_shares_of_its_rows() -> None:
    model = predictions([0] * 10 + [1] * 20, [0] * 7 + [1] * 3 + [0] * 2 + [1] * 18)
    found = statistics.measure(metrics.standard(model), model, None, **LEVEL).challenger
    assert found["recall.negative"] == shares.wilson(7, 10, 0.95)
    assert found["precision.negative"] == shares.wilson(7, 9, 0.95)
    assert found["f1.negative"].value == pytest.approx(14 / 19)


def test_of_no_rows_nothing_is_known() -> None:
    assert shares.wilson(0, 0, 0.95) == Interval(value=0, low=0, high=1)


# The two tests


@given(broken=st.integers(0, 40), repaired=st.integers(0, 40), both=st.integers(2, 10))
def test_mcnemars_p_is_the_exact_binomial_tail(broken: int, repaired: int, both: int) -> None:
    discordant = broken + repaired
    tail = sum(math.comb(discordant, k) for k in range(min(broken, repaired) + 1)) / 2**discordant
    found = statistics.discordance(*flips(broken, repaired, both))
    assert found[:3] == (broken, repaired, pytest.approx(min(1.0, 2 * tail)))


@given(st.lists(st.tuples(CODES, CODES, CODES), min_size=2, max_size=5))
@settings(max_examples=15, deadline=None)
def test_the_randomisation_test_tries_every_swap_of_the_rows_that_differ(rows: list[tuple[int, int, int]]) -> None:
    truth, new, old = map(np.array, zip(*rows, strict=True))

    def gain(swapped: np.ndarray) -> float:
        mine, other = np.where(swapped, old, new), np.where(swapped, new, old)
        return float(np.subtract(*(f1_macro(truth, label) for label in (mine, other))))

    swaps = [np.array(each) for each in product([False, True], repeat=len(rows))]
    share = np.mean([gain(each) >= gain(swaps[0]) - 1e-9 for each in swaps])
    models = predictions(truth, new), predictions(truth, old)
    found = statistics.randomised_p(STANDARD["f1_macro"], *models, resamples=200)
    assert found == pytest.approx(share)


def test_of_many_rows_the_randomisation_test_draws_swaps() -> None:
    broken, repaired = 20, 34
    tail = sum(math.comb(54, k) for k in range(repaired, 55)) / 2**54
    found = statistics.randomised_p(STANDARD["accuracy"], *flips(broken, repaired, 100, 20), resamples=4000)
    assert found == pytest.approx(tail, abs=4 * math.sqrt(tail / 4000))


@pytest.mark.parametrize("name", ["log_loss", "roc_auc", "ece", "f1_macro"])
def test_a_clearly_better_model_has_a_small_p_and_a_worse_one_a_large(name: str) -> None:
    better, worse = noisy(8, 0.9, 0.4, rows=200)
    if name == "ece":
        worse = worse._replace(label=better.label, score=np.full(200, 0.1))
    metric = STANDARD[name]
    assert statistics.randomised_p(metric, better, worse, resamples=400) <= 0.01
    assert statistics.randomised_p(metric, worse, better, resamples=400) >= 0.9


def test_only_what_a_metric_reads_makes_rows_differ() -> None:
    (model,) = noisy(9, 0.7)
    surer = model._replace(probabilities=np.roll(model.probabilities, 1, axis=1))
    counts = {name: int(statistics.differing(STANDARD[name], surer, model).sum()) for name in ("accuracy", "log_loss")}
    assert counts == {"accuracy": 0, "log_loss": 120}
    assert statistics.differing(STANDARD["log_loss"], surer, model._replace(probabilities=None)).all()


# The decision


@pytest.mark.parametrize(
    ("low", "p", "min_gain", "accepted"),
    [
        (0.01, 0.025, 0.0, True),
        (0.01, 0.026, 0.0, False),  # the randomisation test objects
        (0.0, 0.001, 0.0, False),  # a tie keeps the champion
        (0.01, 0.001, 0.01, False),
        (0.02, 0.001, 0.01, True),
        (-0.019, 0.9, -0.02, True),  # a tolerated loss is not asked for a gain
        (-0.02, 0.9, -0.02, False),
        (math.nan, 0.001, 0.0, False),
        (math.inf, 0.001, 0.0, False),
        (0.01, math.nan, 0.0, False),
    ],
)
def test_a_gain_is_accepted_if_it_is_more_than_chance(low: float, p: float, min_gain: float, accepted: bool) -> None:
    gain = Interval(value=0.05, low=low, high=0.1)
    assert statistics.accepts_gain(gain, p, min_gain=min_gain, risk=0.025) is accepted


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_gain_that_is_no_number_is_refused(value: float) -> None:
    for gain in (Interval(value=value, low=0.1, high=0.2), Interval(value=0.1, low=0.1, high=value)):
        assert not statistics.accepts_gain(gain, 0.001, min_gain=0, risk=0.025)


@pytest.mark.parametrize(("repaired", "above", "accepted"), [(4, False, False), (5, True, False), (6, True, True)])
def test_a_handful_of_lucky_rows_is_not_a_gain(repaired: int, above: bool, accepted: bool) -> None:
    """The chance of being so lucky is 1 in 16, 32 and 64; the interval alone lets 1 in 32 pass as 1 in 40."""
    models = flips(0, repaired, 80, 30)
    gain = statistics.measure([STANDARD["accuracy"]], *models, confidence=0.95, resamples=2000).gain["accuracy"]
    p = statistics.randomised_p(STANDARD["accuracy"], *models, resamples=2000)
    assert (gain.low > 0, p) == (above, 0.5**repaired)
    assert statistics.accepts_gain(gain, p, min_gain=0.0, risk=0.025) is accepted


@pytest.mark.parametrize("risk", [(1 - 0.95) / 2, (1 - 0.95) / 3, 0.01, 0.001, 1e-5])
def test_an_interval_of_less_risk_is_wider_as_the_normal_quantiles_are(risk: float) -> None:
    found = statistics.at_risk(Interval(value=0.1, low=0.05, high=0.2), 0.95, risk)
    wider = NormalDist().inv_cdf(1 - risk) / NormalDist().inv_cdf(0.975)
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.1 - 0.05 * wider, 0.1 + 0.1 * wider))


@pytest.mark.parametrize("risk", [0.025, 0.001])
def test_a_gain_is_above_the_normal_limit_of_its_variance(risk: float) -> None:
    found = statistics.careful_low(0.01, 0.09, 900, risk=risk)
    assert found == pytest.approx(0.01 - 0.01 * NormalDist().inv_cdf(1 - risk))


@pytest.mark.parametrize(("broken", "repaired"), [(20, 80), (40, 110), (5, 30)])
def test_a_far_tail_is_as_small_as_the_exact_one(broken: int, repaired: int) -> None:
    """Of so many swaps none is drawn that gains as much; the binomial distribution tells how rare that is."""
    models = flips(broken, repaired, 300)
    exact = binomtest(repaired, broken + repaired, alternative="greater").pvalue
    found = statistics.randomised_p(STANDARD["accuracy"], *models, resamples=2000)
    assert exact < 1e-4
    assert exact / 4 < found < exact * 4


def test_a_tail_that_can_be_counted_is_counted() -> None:
    """Six repaired rows have 64 swaps, of which one gains as much; of 60 rows the share is drawn."""
    assert statistics.randomised_p(STANDARD["accuracy"], *flips(0, 6, 60), resamples=2000) == 1 / 64
    drawn = statistics.randomised_p(STANDARD["accuracy"], *flips(22, 38, 60), resamples=2000)
    assert drawn * 2001 == pytest.approx(round(drawn * 2001))
    assert drawn > 5 / 2001


# What cannot be measured


def test_a_champion_without_probabilities_leaves_the_challengers_metric() -> None:
    new, old = noisy(10, 0.8, 0.6)
    found = statistics.measure(metrics.standard(new), new, old._replace(probabilities=None), **LEVEL)
    without = ("roc_auc", "average_precision", "log_loss", "brier")
    assert found.unmeasurable == dict.fromkeys(without, "champion: gives no probabilities")
    assert set(found.challenger) - set(found.champion) == set(found.challenger) - set(found.gain) == set(without)


def test_one_probability_that_is_no_number_leaves_nothing_to_trust() -> None:
    new, old = noisy(11, 0.8, 0.6)
    new.probabilities[17, 1], new.score[17] = np.nan, np.nan
    found = statistics.measure(metrics.standard(new), new, old, **LEVEL)
    bad = {"roc_auc", "average_precision", "log_loss", "brier", "ece"}
    assert {name for name, why in found.unmeasurable.items() if why.startswith("challenger: a ")} == bad
    assert not bad & (set(found.challenger) | set(found.gain))
    assert bad < set(found.champion)
    with pytest.raises(MetricError, match="a probability is not a number"):
        statistics.randomised_p(STANDARD["log_loss"], new, old, resamples=200)


def test_a_class_so_rare_that_resamples_lack_it_leaves_a_metric_undefined() -> None:
    truth = [0] * 3 + [1] * 37
    model = ClassScores(("a", "b"), np.array(truth), np.array(truth), np.ones(40), np.eye(2)[truth])
    found = statistics.measure([STANDARD["roc_auc"], STANDARD["f1_macro"]], model, None, **LEVEL)
    assert list(found.challenger) == ["f1_macro"]
    assert found.unmeasurable["roc_auc"].startswith("undefined in 1")
    assert found.unmeasurable["roc_auc"].endswith("of 300 resamples, a class is too rare")


def test_a_metric_that_is_undefined_on_the_rows_has_a_reason() -> None:
    """One class only: there is nothing to tell it from."""
    model = predictions([1] * 20, [1] * 20, np.eye(3)[[1] * 20])
    found = statistics.measure([STANDARD["roc_auc"], STANDARD["f1_macro"]], model, model, **LEVEL)
    assert found.unmeasurable == {"roc_auc": "undefined on these rows"}
    with pytest.raises(MetricError, match="roc_auc is undefined on these rows"):
        statistics.randomised_p(STANDARD["roc_auc"], model, model, resamples=200)


@pytest.mark.parametrize("rows", [0, 1])
def test_without_rows_nothing_can_be_measured(rows: int) -> None:
    model = predictions([0] * rows, [0] * rows)
    found = statistics.measure([STANDARD["accuracy"]], model, model, **LEVEL)
    assert found == ({}, {}, {}, {"accuracy": "there are fewer than two rows"})
    with pytest.raises(MetricError, match="fewer than two rows"):
        statistics.randomised_p(STANDARD["accuracy"], model, model, resamples=200)


OWN = """
def share(truth, labels, probabilities):
    return sum(map(str.__eq__, truth, labels)) / len(truth)

def moody(truth, labels, probabilities):
    if len(set(zip(truth, labels))) < 4:
        raise ValueError("too few kinds of rows")
    return 1.0

calls = 0
def counted(truth, labels, probabilities):
    global calls
    calls += 1
    return calls
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Metric]:
    (tmp_path / "own_statistics.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "own_statistics", raising=False)
    rules = GateRules(own_metrics={name: f"own_statistics:{name}" for name in ("share", "moody", "counted")})
    return [metrics.named(name, rules) for name in rules.own_metrics]


def test_a_metric_of_ones_own_has_an_interval_and_a_p(own: list[Metric]) -> None:
    new, old = (model._replace(probabilities=None) for model in noisy(12, 0.8, 0.5, rows=40))
    mine, theirs = own[0], STANDARD["accuracy"]
    found = statistics.measure([mine, theirs], new, old, confidence=0.95, resamples=5000)
    same = statistics.measure([theirs], new, old, confidence=0.95, resamples=OWN_RESAMPLES)
    assert found.gain["share"] == same.gain["accuracy"]
    assert found.gain["share"] != found.gain["accuracy"]  # which had more resamples
    models = flips(1, 7, 12)
    assert statistics.randomised_p(mine, *models, resamples=2000) == pytest.approx(9 / 256, abs=0.03)


def test_a_metric_of_ones_own_is_called_no_more_often_than_it_says(own: list[Metric]) -> None:
    new, old = noisy(13, 0.8, 0.5, rows=20)
    assert statistics.measure([own[2]], new, old, confidence=0.95, resamples=5000).unmeasurable == {}
    assert __import__("sys").modules["own_statistics"].calls == 2 * (1 + OWN_RESAMPLES)


def test_a_metric_of_ones_own_that_fails_on_some_resample_is_left_out(own: list[Metric]) -> None:
    rows = [(0, 0, 0)] * 8 + [(1, 1, 1)] * 8 + [(2, 2, 2)] * 8 + [(0, 1, 1)]
    truth, new, old = (list(column) for column in zip(*rows, strict=True))
    found = statistics.measure(own[:2], predictions(truth, new), predictions(truth, old), **LEVEL)
    assert list(found.gain) == ["share"]
    assert found.unmeasurable == {"moody": "challenger: own_statistics:moody failed: ValueError: too few kinds of rows"}


# Rows that are needed


def needed(models: tuple[ClassScores, ClassScores], margin: float = 0.05, **changes: float) -> int:
    level = {"risk": 0.025, "power": 0.8} | changes
    variance = statistics.spread(STANDARD["accuracy"], *models, confidence=0.95, resamples=1000)
    rows = statistics.rows_needed(variance, margin=margin, **level)
    assert statistics.visible(variance, rows, **level) <= margin < statistics.visible(variance, rows - 1, **level)
    return rows


@given(broken=st.integers(0, 30), repaired=st.integers(0, 30), both=st.integers(20, 300))
def test_never_fewer_rows_are_asked_for_than_the_textbook_does(broken: int, repaired: int, both: int) -> None:
    """The paired test of two shares needs (z_a sqrt(d) + z_b sqrt(d - m^2))^2 / m^2 rows, of which d discordant."""
    rows = broken + repaired + both
    discordant = (broken + repaired) / rows
    z_a, z_b = NormalDist().inv_cdf(0.975), NormalDist().inv_cdf(0.8)
    textbook = (z_a * math.sqrt(discordant) + z_b * math.sqrt(max(0, discordant - 0.05**2))) ** 2 / 0.05**2
    assert needed(flips(broken, repaired, both)) >= textbook


def test_of_many_rows_about_the_textbooks_number_is_asked_for() -> None:
    assert needed(flips(450, 450, 5100)) == pytest.approx(0.15 * 7.849 / 0.05**2, rel=0.12)


def test_rows_that_hardly_differ_are_no_evidence_that_few_would_do() -> None:
    few, many = (needed(flips(0, 0, rows)) for rows in (50, 5000))
    assert few == pytest.approx(shares.wilson(0, 50, 0.95).high * 7.8489 / 0.05**2, abs=1)
    assert many < few


def test_a_smaller_margin_more_power_and_more_confidence_take_more_rows() -> None:
    models = flips(20, 30, 250)
    usual = needed(models)
    assert needed(models, 0.025) == pytest.approx(4 * usual, abs=4)
    assert needed(models, power=0.9) > usual
    assert needed(models, risk=0.005) > usual


def test_a_metric_that_cannot_be_measured_still_gets_a_number_of_rows() -> None:
    models = noisy(14, 0.8, 0.5)
    bare = [model._replace(probabilities=None) for model in models]
    variance = statistics.spread(STANDARD["log_loss"], *bare, confidence=0.95, resamples=200)
    assert statistics.rows_needed(variance, margin=0.05, risk=0.025, power=0.8) > 0


# Many tests at once


@given(st.lists(st.floats(0, 1), max_size=12))
def test_p_values_are_adjusted_as_benjamini_and_hochberg_say(values: list[float]) -> None:
    ranked = sorted(values)
    expected = [
        min([1.0, *(p * len(values) / rank for rank, p in enumerate(ranked, start=1) if p >= value)])
        for value in values
    ]
    assert shares.adjusted(values) == pytest.approx(expected)


# The simulation that measures the error rates


@pytest.mark.parametrize(("discordance", "gain"), [(0.15, -0.05), (0.05, 0.03)])
def test_simulated_models_differ_by_the_gain_that_is_claimed(discordance: float, gain: float) -> None:
    rng = np.random.default_rng(5)
    new, old = gate_error_rates.simulate(gate_error_rates.Setting("gain", 200_000, discordance, gain), rng)
    ones = np.ones(200_000)
    for name in ("accuracy", "f1_macro"):
        values = [float(STANDARD[name].measure(model, ones)) for model in (new, old)]
        assert values == pytest.approx([0.7 + gain, 0.7], abs=0.004)
        assert values[0] - values[1] == pytest.approx(gain, abs=0.003)
    assert ((new.label == new.truth) != (old.label == old.truth)).mean() == pytest.approx(discordance, abs=0.003)


@pytest.mark.parametrize("name", ["f1_macro", "roc_auc", "log_loss"])
def test_how_many_swaps_are_made_at_once_changes_no_p(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    new, old = noisy(11, 0.72, 0.7, rows=80)
    usual = statistics.randomised_p(STANDARD[name], new, old, resamples=500)
    assert 0.01 < usual < 0.99
    for together, cells in ((1, 80 * 7), (3, 80 * 11), (8, 1)):
        monkeypatch.setattr(statistics, "TOGETHER", together)
        monkeypatch.setattr(statistics, "CELLS", cells)
        assert statistics.randomised_p(STANDARD[name], new, old, resamples=500) == usual
