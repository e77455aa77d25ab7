"""The table of model types. Adding one is one entry here and one name in `ModelType`."""

from collections.abc import Callable, Mapping
from typing import Any

from lifecycle.errors import ConfigError
from lifecycle.names import ModelType

TOKENS = r"(?u)\w+|[%$€£₹+-]"
"""Words, numbers and the signs that carry direction in financial text; no stop words: `not` and `up` matter."""


def _naive_bayes(**params: Any) -> Any:
    from sklearn.naive_bayes import MultinomialNB

    return MultinomialNB(**params)


def _random_forest(**params: Any) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(**params)


def _logistic_regression(**params: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(**params)


BUILDERS: dict[ModelType, tuple[Callable[..., Any], dict[str, Any]]] = {
    ModelType.NAIVE_BAYES: (_naive_bayes, {"alpha": 0.1}),
    ModelType.RANDOM_FOREST: (_random_forest, {"n_estimators": 200, "n_jobs": -1}),
    ModelType.LOGISTIC_REGRESSION: (_logistic_regression, {"C": 10.0, "max_iter": 1000}),
}
"""Model type to estimator and the defaults in which ours differ from scikit-learn's."""


def build(model_type: ModelType, params: Mapping[str, Any], seed: int) -> Any:
    """Make an unfitted pipeline from a DataFrame with a column `text` to a class.

    Raises:
        ConfigError: A parameter is unknown to the estimator; the valid ones are named.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import Pipeline

    make, defaults = BUILDERS[model_type]
    valid = make().get_params()
    if unknown := sorted(set(params) - set(valid)):
        what = f"{model_type} has no parameter {', '.join(map(repr, unknown))}; valid are {', '.join(sorted(valid))}."
        raise ConfigError(what, "Correct --model-params.")
    seeded = {"random_state": seed} if "random_state" in valid else {}
    vectoriser = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=TOKENS)
    return Pipeline(
        [
            ("features", ColumnTransformer([("tfidf", vectoriser, "text")])),
            ("classifier", make(**{**defaults, **seeded, **params})),
        ]
    )


def fit(model_type: ModelType, params: Mapping[str, Any], seed: int, texts: Any, labels: Any) -> Any:
    """Build and fit; a parameter value that the estimator refuses is a `ConfigError`.

    A fitted forest predicts on one core: on several it adds up its trees in the order in which they finish, so that the
    last bit of a score would differ from run to run. Linear algebra keeps to one thread for the same reason and because
    several of them mostly wait for each other on vectors of this size: a fit took ten times the CPU.
    """
    from sklearn.utils._param_validation import InvalidParameterError
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    pipeline = build(model_type, params, seed)
    try:
        with threadpool_limits(1, user_api="blas"):
            pipeline.fit(texts, labels)
    except (InvalidParameterError, TypeError) as error:
        raise ConfigError(f"{model_type}: {error}", "Correct --model-params.") from None
    if "n_jobs" in pipeline[-1].get_params():
        pipeline[-1].set_params(n_jobs=1)
    return pipeline
