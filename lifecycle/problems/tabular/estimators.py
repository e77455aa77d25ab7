"""The tables of algorithms for columns: classes and numbers. Adding one is one entry here.

`behind_features`    an unfitted pipeline of features, by the names of columns, and an estimator
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier, SGDRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils import get_tags

from lifecycle.problems import out_of_core
from lifecycle.problems.contract import Estimator

CATEGORIES = 100
"""So many categories of a column are told apart; the rarer ones count as one."""

NUMBERS = ("numpy.dtype",)
"""What an imputer remembers."""
TREE = (*NUMBERS, "sklearn.tree._tree.Tree")
BOOSTED = (*NUMBERS, "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor")
CALIBRATED = (*NUMBERS, "sklearn.calibration._CalibratedClassifier", "sklearn.calibration._SigmoidCalibration")


def _linear_svm(**params: Any) -> Any:
    return CalibratedClassifierCV(LinearSVC(), **params)


FOREST = {"n_estimators": 200, "min_samples_leaf": 2, "n_jobs": -1}
BOOSTING: dict[str, Sequence[Any]] = {
    "learning_rate": (0.03, 0.1, 0.3),
    "max_iter": (100, 300),
    "max_leaf_nodes": (15, 31, 63),
    "min_samples_leaf": (5, 20, 60),
    "l2_regularization": (0.0, 1.0),
}
BAGGING: dict[str, Sequence[Any]] = {"max_features": ("sqrt", 0.3, 0.6, 1.0), "min_samples_leaf": (1, 2, 5, 10)}
C: dict[str, Sequence[Any]] = {"C": (0.01, 0.1, 1.0, 10.0, 100.0)}
ALPHA: dict[str, Sequence[Any]] = {"alpha": (1e-6, 1e-5, 1e-4, 1e-3)}
BALANCED: dict[str, Sequence[Any]] = {"class_weight": (None, "balanced")}
"""What is tried by default when a search names nothing."""

CLASSIFIERS: dict[str, Estimator] = {
    "hist_gradient_boosting": Estimator(HistGradientBoostingClassifier, trusted_types=BOOSTED, space=BOOSTING),
    "logistic_regression": Estimator(LogisticRegression, {"max_iter": 1000}, NUMBERS, space=C | BALANCED),
    "random_forest": Estimator(RandomForestClassifier, FOREST, TREE, space=BAGGING | BALANCED),
    "linear_svm": Estimator(_linear_svm, trusted_types=CALIBRATED, space=C),
    "sgd": Estimator(
        SGDClassifier,
        out_of_core.CLASSIFIER,
        NUMBERS,
        sources=out_of_core.SOURCES,
        space=ALPHA | BALANCED,
        out_of_core=True,
    ),
}
REGRESSORS: dict[str, Estimator] = {
    "hist_gradient_boosting": Estimator(HistGradientBoostingRegressor, trusted_types=BOOSTED, space=BOOSTING),
    "linear_regression": Estimator(Ridge, trusted_types=NUMBERS, space={"alpha": (0.01, 0.1, 1.0, 10.0, 100.0)}),
    "random_forest": Estimator(RandomForestRegressor, FOREST, TREE, space=BAGGING),
    "sgd": Estimator(
        SGDRegressor, out_of_core.REGRESSOR, NUMBERS, sources=out_of_core.SOURCES, space=ALPHA, out_of_core=True
    ),
}
"""Algorithm to its entry; the first is the default."""


def behind_features(estimator: Any, features: Mapping[str, bool]) -> Any:
    """An unfitted estimator behind what it can learn from: features by name, and whether each is categorical."""
    categorical = [name for name, is_categorical in features.items() if is_categorical]
    numeric = [name for name, is_categorical in features.items() if not is_categorical]
    encode, scale = _codes() if _takes_missing(estimator) else _one_hot()
    steps = [("categorical", encode, categorical), ("numeric", scale, numeric)]
    read = ColumnTransformer([step for step in steps if step[2]], verbose_feature_names_out=False)
    return Pipeline([("features", read), ("estimator", estimator)])


def _takes_missing(estimator: Any) -> bool:
    """Whether it learns from missing values by itself, as trees do, which need no scale and no column per category."""
    return bool(get_tags(estimator).input_tags.allow_nan)


def _codes() -> tuple[Any, Any]:
    """For trees: a category is its number; an unseen one counts as missing."""
    nan = math.nan
    codes = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=nan, encoded_missing_value=nan, max_categories=CATEGORIES
    )
    return codes, "passthrough"


def _one_hot() -> tuple[Any, Any]:
    """For sums of weighted features: a column per category, and numbers on one scale, the missing ones marked."""
    imputer = SimpleImputer(strategy="median", add_indicator=True)
    numbers = Pipeline([("missing", imputer), ("scale", StandardScaler())])
    return OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=CATEGORIES), numbers
