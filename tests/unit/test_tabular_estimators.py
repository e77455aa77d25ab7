"""Algorithms for columns: whatever cells are missing or never seen, seeds and parameters wherever they belong."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle.core.errors import ConfigError, DataError
from lifecycle.problems import fitting
from lifecycle.problems.contract import Column, Estimator
from lifecycle.problems.learning import Learning, Spec
from lifecycle.problems.tabular import estimators
from lifecycle.problems.tabular.learning import CLASSIFICATION, REGRESSION
from lifecycle.problems.tabular.model import read, store
from tests.tables import INPUTS, sales

TABLE = sales()
CASES = [(CLASSIFICATION, name) for name in CLASSIFICATION.estimators]
CASES += [(REGRESSION, name) for name in REGRESSION.estimators]
every_algorithm = pytest.mark.parametrize(("learning", "algorithm"), CASES)


def fitted(learning: Learning, algorithm: str | None, seed: int = 0, **params: Any) -> Any:
    truth = TABLE["class"] if learning is CLASSIFICATION else TABLE["price"]
    return learning.fit(Spec(algorithm, params, seed, INPUTS), TABLE, truth)


@every_algorithm
def test_it_learns_and_answers_what_it_has_never_seen(learning: Learning, algorithm: str) -> None:
    pipeline = fitted(learning, algorithm)
    answers = learning.answers(pipeline, TABLE, INPUTS)
    if learning is CLASSIFICATION:
        assert [*answers] == ["label", "score", "probability.high", "probability.low"]
        assert (answers["label"] == TABLE["class"]).mean() > 0.85
    else:
        assert [*answers] == ["prediction"]
        assert np.corrcoef(answers["prediction"], TABLE["price"])[0, 1] > 0.85
    strange = pd.DataFrame({"size": [None, "1e9"], "colour": ["violet", None], "is_new": ["?", None]})
    strange = strange.assign(sold=[None, "9999-12-31"], label=[np.nan, "z"])
    assert learning.answers(pipeline, strange, INPUTS).notna().all(axis=None)


@every_algorithm
def test_the_same_seed_gives_the_same_bytes_of_predictions(learning: Learning, algorithm: str) -> None:
    first, second = (learning.answers(fitted(learning, algorithm, 3), TABLE, INPUTS) for _ in range(2))
    numbers = first.select_dtypes("number")
    assert numbers.to_numpy().tobytes() == second[numbers.columns].to_numpy().tobytes()


@every_algorithm
def test_what_is_stored_answers_the_same_and_holds_trusted_types_alone(
    learning: Learning, algorithm: str, tmp_path: Path
) -> None:
    pipeline = fitted(learning, algorithm)
    store(pipeline, tmp_path / "pipeline.skops")
    again = read(tmp_path / "pipeline.skops", learning.estimators[algorithm].trusted_types)
    pd.testing.assert_frame_equal(
        learning.answers(again, TABLE, INPUTS), learning.answers(pipeline, TABLE, INPUTS), check_exact=True
    )


def test_columns_of_one_kind_or_without_a_cell_are_enough() -> None:
    truth = TABLE["class"]
    for algorithm in ("hist_gradient_boosting", "logistic_regression"):
        for column in INPUTS:
            one = CLASSIFICATION.fit(Spec(algorithm, {}, 0, (column,)), TABLE, truth)
            assert len(CLASSIFICATION.answers(one, TABLE, (column,))) == len(TABLE)
    empty = (Column(name="size", kind="numeric"), Column(name="colour", kind="categorical"))
    cells = TABLE.assign(size=None)
    for algorithm in ("hist_gradient_boosting", "logistic_regression"):
        pipeline = CLASSIFICATION.fit(Spec(algorithm, {}, 0, empty), cells, truth)
        assert CLASSIFICATION.answers(pipeline, TABLE, empty)["score"].notna().all()


def test_the_seed_reaches_every_estimator_within_another() -> None:
    pipeline = CLASSIFICATION.build(Spec("linear_svm", {}, 7, INPUTS))
    seeds = {name: value for name, value in pipeline[-1].get_params().items() if fitting.last(name) == "random_state"}
    assert seeds == {"estimator__random_state": 7}
    assert CLASSIFICATION.build(Spec("linear_svm", {"random_state": 9}, 7, INPUTS))[-1].estimator.random_state == 9


def test_a_parameter_of_an_estimator_within_another_is_taken_by_its_name() -> None:
    for params in ({"C": 0.5}, {"estimator__C": 0.5}):
        pipeline = CLASSIFICATION.build(Spec("linear_svm", params, 0, INPUTS))
        assert (pipeline[-1].estimator.C, pipeline[-1].cv) == (0.5, None)
    with pytest.raises(ConfigError, match="linear_svm: The 'C' parameter of LinearSVC"):
        CLASSIFICATION.build(Spec("linear_svm", {"C": -1.0}, 0, INPUTS))


def _voting(**params: Any) -> Any:
    from sklearn.ensemble import VotingClassifier
    from sklearn.linear_model import LogisticRegression

    return VotingClassifier([("a", LogisticRegression()), ("b", LogisticRegression())], voting="soft", **params)


def test_a_parameter_that_two_estimators_have_needs_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(estimators.CLASSIFIERS, "voting", Estimator(_voting))
    assert CLASSIFICATION.build(Spec("voting", {"a__C": 2.0}, 5, INPUTS))[-1].get_params()["a__C"] == 2.0
    assert {
        CLASSIFICATION.build(Spec("voting", {}, 5, INPUTS))[-1].get_params()[f"{name}__random_state"] for name in "ab"
    } == {5}
    with pytest.raises(ConfigError, match=r"voting has no parameter 'C'; valid are .*a__C.*b__C"):
        CLASSIFICATION.build(Spec("voting", {"C": 2.0}, 5, INPUTS))


@pytest.mark.parametrize(
    ("algorithm", "params", "words"),
    [
        ("hist_gradient_boosting", {"max_itre": 5}, "max_itre.*valid are .*max_iter"),
        ("hist_gradient_boosting", {"learning_rate": "fast"}, "learning_rate"),
        ("hist_gradient_boosting", {"categorical_features": ["nobody"]}, "."),
        ("logistic_regression", {"C": float("nan")}, "finite"),
        ("random_forest", {"n_estimators": 10**9}, "at most 10,000"),
        ("boosting", {}, "no algorithm 'boosting'.*hist_gradient_boosting, logistic_regression"),
    ],
)
def test_what_cannot_be_is_the_users_to_change(algorithm: str, params: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        fitted(CLASSIFICATION, algorithm, **params)


def test_rows_that_nothing_can_be_learnt_from_are_bad_data() -> None:
    with pytest.raises(DataError, match="class"):
        CLASSIFICATION.fit(
            Spec("logistic_regression", {}, 0, INPUTS), TABLE, TABLE["class"].where(TABLE["price"] < 0, "x")
        )


def test_columns_without_a_single_cell_are_bad_data() -> None:
    with pytest.raises(DataError):
        CLASSIFICATION.fit(Spec("logistic_regression", {}, 0, INPUTS[:1]), TABLE.assign(size=None), TABLE["class"])


def test_the_first_algorithm_is_the_default() -> None:
    assert type(REGRESSION.build(Spec(None, {}, 0, INPUTS))[-1]).__name__ == "HistGradientBoostingRegressor"


def test_a_column_with_many_categories_stays_small() -> None:
    table = pd.DataFrame({"colour": [f"c{n % 5_000}" for n in range(10_000)]})
    truth = pd.Series(["a", "b"] * 5_000)
    column = (Column(name="colour", kind="categorical"),)
    for algorithm in ("logistic_regression", "hist_gradient_boosting"):
        pipeline = CLASSIFICATION.fit(Spec(algorithm, {}, 0, column), table, truth)
        assert pipeline[0].transform(table.head(1)).shape[1] <= estimators.CATEGORIES
