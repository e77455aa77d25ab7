"""Every metric of the gate is scikit-learn's, on the rows as they were drawn."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from lifecycle.core.errors import ConfigError, MetricError
from lifecycle.problems.chat.metrics import STANDARD as OF_ANSWERS
from lifecycle.problems.classification import metrics
from lifecycle.problems.classification.metrics import PER_CLASS, STANDARD
from lifecycle.problems.classification.scores import ClassScores
from lifecycle.problems.metric import Weights
from lifecycle.problems.regression.metrics import STANDARD as OF_NUMBERS
from lifecycle.settings.gate_rules import HIGHER, JUDGED, LOWER, CostRules, GateRules

CLASSES = ("", "0", "neutral", "Ω")


def f_family(score: str, average: str) -> Callable[[ClassScores], float]:
    """Over the classes that the rows have: one that a model only says is no class of theirs."""
    function = getattr(sk, f"{score}_score")
    return lambda rows: function(rows.truth, rows.label, labels=np.unique(rows.truth), average=average, zero_division=0)


def one_versus_rest(score: Callable[..., float]) -> Callable[[ClassScores], float]:
    """The second of two classes; else the mean over those that have rows and lack some."""

    def of(rows: ClassScores) -> float:
        codes = [1] if len(rows.classes) == 2 else range(len(rows.classes))
        partly = [code for code in codes if 0 < (rows.truth == code).mean() < 1]
        each = [score(rows.truth == code, rows.probabilities[:, code]) for code in partly]
        return float(np.mean(each)) if each else np.nan

    return of


def calibration_error(rows: ClassScores) -> float:
    total = 0.0
    for lower in range(10):
        inside = (rows.score > lower / 10) & (rows.score <= (lower + 1) / 10) | ((lower == 0) & (rows.score == 0))
        if inside.any():
            total += inside.mean() * abs((rows.truth == rows.label)[inside].mean() - rows.score[inside].mean())
    return total


EXPECTED: dict[str, Callable[[ClassScores], float]] = {
    "accuracy": lambda rows: sk.accuracy_score(rows.truth, rows.label),
    "balanced_accuracy": lambda rows: sk.balanced_accuracy_score(rows.truth, rows.label),
    **{
        f"{score}_{average}": f_family(score, average)
        for score in ("precision", "recall", "f1")
        for average in ("macro", "weighted")
    },
    "mcc": lambda rows: sk.matthews_corrcoef(rows.truth, rows.label),
    "roc_auc": one_versus_rest(sk.roc_auc_score),
    "average_precision": one_versus_rest(sk.average_precision_score),
    "log_loss": lambda rows: sk.log_loss(rows.truth, rows.probabilities, labels=range(len(rows.classes))),
    "brier": lambda rows: sk.brier_score_loss(rows.truth, rows.probabilities, labels=range(len(rows.classes))),
    "ece": calibration_error,
}


def table(classes: int, truth: list[int], label: list[int], score: list[float], shares: list[list[int]]) -> ClassScores:
    counts = np.array(shares, dtype=float).reshape(len(truth), classes)
    counts[counts.sum(axis=1) == 0] = 1
    return ClassScores(
        CLASSES[:classes],
        np.array(truth, dtype=np.int64),
        np.array(label, dtype=np.int64),
        np.array(score),
        counts / counts.sum(axis=1, keepdims=True),
    )


@st.composite
def tables(draw: st.DrawFn) -> tuple[ClassScores, Weights]:
    """Few rows, few values: ties, absent classes, one class, perfect and constant predictions all come up."""
    classes, rows = draw(st.integers(2, 4)), draw(st.integers(1, 14))
    codes = st.integers(0, draw(st.integers(0, classes - 1)))
    truth = draw(st.lists(codes, min_size=rows, max_size=rows))
    label = draw(st.just(truth) | st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows))
    score = draw(st.lists(st.integers(0, 20).map(lambda part: part / 20), min_size=rows, max_size=rows))
    share = st.lists(st.integers(0, 3), min_size=classes, max_size=classes)
    shares = draw(st.lists(share, min_size=rows, max_size=rows))
    weights = draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows).filter(any))
    return table(classes, truth, label, score, shares), np.array(weights, dtype=float)


def repeated(rows: ClassScores, weights: Weights) -> ClassScores:
    index = np.repeat(np.arange(len(weights)), weights.astype(int))
    return ClassScores(rows.classes, *(part[index] for part in rows[1:]))


def expected(name: str, rows: ClassScores) -> float:
    with warnings.catch_warnings():  # scikit-learn warns of absent classes
        warnings.simplefilter("ignore")
        return EXPECTED[name](rows)


def test_every_metric_has_its_reference() -> None:
    assert set(EXPECTED) == set(STANDARD)


@given(tables())
def test_weighted_rows_give_scikit_learns_value_on_repeated_rows(drawn: tuple[ClassScores, Weights]) -> None:
    rows, weights = drawn
    for name, metric in STANDARD.items():
        wanted = expected(name, repeated(rows, weights))
        assert float(metric.measure(rows, weights)) == pytest.approx(wanted, abs=1e-9, nan_ok=True), name


@given(tables())
def test_each_class_has_scikit_learns_precision_recall_and_f1(drawn: tuple[ClassScores, Weights]) -> None:
    rows, weights = drawn
    alone = repeated(rows, weights)
    for score in PER_CLASS:
        every = getattr(sk, f"{score}_score")(
            alone.truth, alone.label, labels=range(len(rows.classes)), average=None, zero_division=0
        )
        for code, label in enumerate(rows.classes):
            metric = metrics._of_a_class(score, label)
            assert float(metric.measure(rows, weights)) == pytest.approx(every[code], abs=1e-9)


def test_where_all_classes_occur_the_curves_are_scikit_learns_own_macro_average() -> None:
    rng = np.random.default_rng(3)
    truth, shares = rng.integers(0, 4, 60), rng.integers(0, 6, (60, 4)) + np.eye(4, dtype=int)[rng.integers(0, 4, 60)]
    rows = table(4, list(truth), list(shares.argmax(axis=1)), [0.5] * 60, shares.tolist())
    ones = np.ones(60)
    auc = sk.roc_auc_score(truth, rows.probabilities, multi_class="ovr", average="macro")
    precision = sk.average_precision_score(np.eye(4)[truth], rows.probabilities, average="macro")
    assert float(STANDARD["roc_auc"].measure(rows, ones)) == pytest.approx(auc, abs=1e-12)
    assert float(STANDARD["average_precision"].measure(rows, ones)) == pytest.approx(precision, abs=1e-12)


@given(tables(), st.data())
def test_many_resamples_at_once_equal_one_at_a_time(drawn: tuple[ClassScores, Weights], data: st.DataObject) -> None:
    rows, weights = drawn
    each = data.draw(st.permutations(list(weights)).map(np.array)), weights, np.ones(len(weights))
    together = np.stack([np.stack(each), np.stack(each[::-1])])
    for name, metric in STANDARD.items():
        singles = [[float(metric.measure(rows, one)) for one in block] for block in together]
        assert metric.measure(rows, together).tolist() == [pytest.approx(block, nan_ok=True) for block in singles], name


def test_what_is_better_is_what_the_rules_say() -> None:
    known = {**STANDARD, **OF_NUMBERS, **OF_ANSWERS}
    assert {metric.name for metric in known.values() if metric.higher} == HIGHER - {JUDGED}
    assert {metric.name for metric in known.values() if not metric.higher} == LOWER - {"cost"}


ROWS = table(3, [0, 1, 2, 1], [0, 1, 1, 2], [0.9, 0.8, 0.6, 0.5], [[1, 0, 0], [0, 1, 0], [0, 1, 1], [0, 1, 2]])


def test_a_verdict_lists_what_can_be_measured() -> None:
    names = [metric.name for metric in metrics.standard(ROWS)]
    assert names == [
        *STANDARD,
        *(f"{score}.{label}" for label in CLASSES[:3] for score in ("precision", "recall", "f1")),
    ]
    bare = ROWS._replace(probabilities=None, truth=np.zeros(4, dtype=np.int64))
    without = {"roc_auc", "average_precision", "log_loss", "brier"}
    assert {metric.name for metric in metrics.standard(bare)} == set(STANDARD) - without | {
        "precision.",
        "recall.",
        "f1.",
    }


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("accuracy", ["label"]),
        ("ece", ["label", "score"]),
        ("brier", ["probabilities"]),
        ("roc_auc", ["probabilities"]),
    ],
)
def test_a_metric_depends_on_what_it_says_it_reads(name: str, fields: list[str]) -> None:
    other = {"label": ROWS.truth, "score": np.array([0.05] * 4), "probabilities": np.full((4, 3), 1 / 3)}
    metric, ones = STANDARD[name], np.ones(4)
    value = metric.measure(ROWS, ones)
    changed = [field for field in other if metric.measure(ROWS._replace(**{field: other[field]}), ones) != value]
    assert changed == fields == list(metric.reads)


# Costs


def test_costs_are_money_per_1000_rows() -> None:
    rules = GateRules(costs=CostRules(matrix={"neutral": {"0": 3.0}, "0": {"neutral": 10.0, "": 7.0}}))
    metric = metrics.named("cost", rules)
    assert (float(metric.measure(ROWS, np.array([1, 1, 1, 2.0]))), metric.higher) == (1000 * (3 + 2 * 10) / 5, False)


def test_costs_of_a_class_that_nobody_knows_are_refused() -> None:
    metric = metrics.named("cost", GateRules(costs=CostRules(matrix={"neutrl": {"0": 3.0}})))
    with pytest.raises(MetricError, match="no class 'neutrl', only , 0, neutral"):
        metric.measure(ROWS, np.ones(4))


# Names


@pytest.mark.parametrize("name", ["f2_macro", "cost", "recall.", "f1", "", "accuracy.0"])
def test_a_metric_that_there_is_not_is_a_setting_to_change(name: str) -> None:
    with pytest.raises(ConfigError, match=r"is not a metric: there are accuracy, .*, roc_auc, precision"):
        metrics.named(name, GateRules())


@pytest.mark.parametrize("label", [".", "a.", "..", "f1", "f1.", "https://x", "two\nlines", " "])
def test_a_class_of_any_name_has_its_metrics(label: str) -> None:
    rows = ROWS._replace(classes=("", label, "zz"))
    for score in ("precision", "recall", "f1"):
        measured = metrics.named(f"{score}.{label}", GateRules()).measure(rows, np.ones(4))
        assert measured == metrics.named(f"{score}.0", GateRules()).measure(ROWS, np.ones(4))


def test_a_class_may_have_a_dot_in_its_name() -> None:
    rows = ROWS._replace(classes=("a", "b.c", "d"))
    assert float(metrics.named("recall.b.c", GateRules()).measure(rows, np.ones(4))) == 0.5
    with pytest.raises(MetricError, match=r"no class 'b', only a, b\.c, d"):
        metrics.named("recall.b", GateRules()).measure(rows, np.ones(4))


# What cannot be measured


@pytest.mark.parametrize(
    ("probabilities", "words"),
    [
        (None, "gives no probabilities"),
        (np.array([[np.nan, 0, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0]]), "not a number"),
        (np.array([[np.inf, 0, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0]]), "not a number"),
        (np.array([[1.2, -0.2, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0]]), "not a number"),
        (np.array([[0.5, 0.1, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0]]), "do not sum to 1"),
    ],
)
@pytest.mark.parametrize("name", ["roc_auc", "average_precision", "log_loss", "brier"])
def test_unusable_probabilities_are_no_value(name: str, probabilities: np.ndarray | None, words: str) -> None:
    with pytest.raises(MetricError, match=words):
        STANDARD[name].measure(ROWS._replace(probabilities=probabilities), np.ones(4))


@pytest.mark.parametrize("score", [np.nan, -0.1, 1.1, np.inf])
def test_an_unusable_score_is_no_calibration(score: float) -> None:
    with pytest.raises(MetricError, match="a score is not a number in"):
        STANDARD["ece"].measure(ROWS._replace(score=np.array([0.5, 0.5, score, 0.5])), np.ones(4))


# One's own


OWN = """
import numpy as np

def third(truth, labels, probabilities):
    assert all(type(label) is str for label in truth + labels)
    return probabilities["0"].sum() if probabilities is not None else sum(map(str.__eq__, truth, labels))

def broken(truth, labels, probabilities):
    return 1 / 0

def leaves(truth, labels, probabilities):
    raise SystemExit(3)

def nothing(truth, labels, probabilities):
    return None

def nan(truth, labels, probabilities):
    return float("nan")

def yes(truth, labels, probabilities):
    return True

def small(truth, labels, probabilities):
    return np.float32(0.5)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], metrics.Metric]:
    (tmp_path / "my_metrics.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "my_metrics", raising=False)
    return lambda path: metrics.named("mine", GateRules(own_metrics={"mine": path}))


def test_ones_own_function_gets_labels_and_probabilities_of_the_rows_drawn(own) -> None:
    metric = own("my_metrics:third")
    assert (metric.name, metric.higher) == ("mine", True)
    assert metric.measure(ROWS, np.array([[1, 1, 1, 1], [0, 2, 0, 0.0]])).tolist() == pytest.approx(
        [1 + 1 / 2 + 1 / 3, 2]
    )
    assert metric.measure(ROWS._replace(probabilities=None), np.ones(4)) == 2
    assert own("my_metrics:small").measure(ROWS, np.ones(4)) == 0.5


def test_a_minus_before_the_path_says_that_less_is_better(own) -> None:
    metric = own("-my_metrics:third")
    assert (metric.higher, metric.measure(ROWS._replace(probabilities=None), np.ones(4))) == (False, 2)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("my_metrics:broken", "my_metrics:broken failed: ZeroDivisionError: division by zero"),
        ("my_metrics:leaves", "my_metrics:leaves failed: SystemExit: 3"),
        ("my_metrics:nothing", "my_metrics:nothing gave None, which is no number"),
        ("my_metrics:nan", "my_metrics:nan gave nan, which is no number"),
        ("my_metrics:yes", "my_metrics:yes gave True, which is no number"),
        ("my_metrics:absent", "my_metrics:absent failed: AttributeError"),
        ("no_such_module:f", "no_such_module:f failed: ModuleNotFoundError"),
        ("-no_such_module:f", "no_such_module:f failed: ModuleNotFoundError"),
        ("sklearn.metrics:accuracy_score", "sklearn.metrics:accuracy_score failed: TypeError"),
    ],
)
def test_ones_own_function_that_gives_no_number_cannot_be_measured(own, path: str, words: str) -> None:
    with pytest.raises(MetricError, match=words):
        own(path).measure(ROWS, np.ones(4))


@pytest.mark.parametrize("decimals", [1, 2, 9])
@pytest.mark.parametrize("rows", [90, 400])
def test_curves_of_many_rows_with_and_without_ties_are_scikit_learns(rows: int, decimals: int) -> None:
    rng = np.random.default_rng(rows + decimals)
    truth, score = rng.integers(0, 2, rows), rng.random(rows).round(decimals)
    both = np.stack([1 - score, score], axis=1)
    model = ClassScores(("a", "b"), truth, both.argmax(axis=1), both.max(axis=1), both)
    weights = rng.poisson(1.0, (4, rows)).astype(float)
    for name, known in (("roc_auc", sk.roc_auc_score), ("average_precision", sk.average_precision_score)):
        wanted = [known(truth, score, sample_weight=each) for each in weights]
        assert STANDARD[name].measure(model, weights).tolist() == pytest.approx(wanted, abs=1e-12), name


def test_what_is_found_once_belongs_to_its_rows_alone() -> None:
    ones = np.ones(4)
    for name in ("roc_auc", "log_loss", "brier", "ece"):
        before = float(STANDARD[name].measure(ROWS, ones))
        turned = ROWS._replace(truth=ROWS.truth[::-1].copy())
        fresh = ClassScores(*turned)
        assert float(STANDARD[name].measure(turned, ones)) == float(STANDARD[name].measure(fresh, ones))
        assert float(STANDARD[name].measure(ROWS, ones)) == before
