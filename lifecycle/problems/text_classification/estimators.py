"""The table of model types. Adding one is one entry here and one name in `ModelType`.

`build`        an unfitted pipeline; what is wrong with a parameter by itself is found here, before anything is written
`fit`          the same, fitted; what a library refuses only then is an error of ours too
`described`    every parameter of a pipeline in a form that is the same in every process
"""

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lifecycle.core.errors import ConfigError, DataError
from lifecycle.core.names import ModelType
from lifecycle.core.refusals import refused_by_the_library
from lifecycle.problems.text_classification import tokens

logger = logging.getLogger(__name__)

TFIDF = "tfidf__"
"""What the parameters of the vectoriser begin with, beside those of the estimator."""
OF_TEXTS = (
    "analyzer", "binary", "lowercase", "max_df", "max_features", "min_df", "ngram_range", "norm", "smooth_idf",
    "stop_words", "strip_accents", "sublinear_tf", "token_pattern", "use_idf",
)  # fmt: skip
"""Its parameters that are a person's choice; the others say where texts come from, or are code."""
AT_MOST = {"n_estimators": 10_000, "n_jobs": 1_000, "tfidf__ngram_range": 10}
"""Beyond these a training fills the memory before any library refuses it."""
CORRECT = "Correct --model-params."
SEEDS = 2**32


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


def build(model_type: ModelType, params: Mapping[str, Any], seed: int, texts: Sequence[str] = ()) -> Any:
    """Make an unfitted pipeline from a DataFrame with a column `text` to a class.

    Parameters of the vectoriser have `tfidf__` before their names. How texts are cut into tokens depends on `texts`,
    those that it will be fitted on.

    Raises:
        ConfigError: A parameter is unknown, or its value is none that there can be.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import Pipeline

    make, defaults = BUILDERS[model_type]
    valid = make().get_params()
    _check(model_type, params, [*valid, *(f"{TFIDF}{name}" for name in OF_TEXTS)])
    if not 0 <= seed < SEEDS:
        raise ConfigError(f"{seed} is no seed: it must lie between 0 and {SEEDS - 1:,}.", "Correct --seed.")
    seeded = {"random_state": seed} if "random_state" in valid else {}
    own, of_texts = _parted(params)
    vectoriser = TfidfVectorizer(**{"sublinear_tf": True, **tokens.choice(texts, of_texts), **of_texts})
    classifier = make(**{**defaults, **seeded, **own})
    for step in (vectoriser, classifier):
        with refused_by_the_library(f"{model_type}: ", ConfigError, CORRECT):
            step._validate_params()
    features = ColumnTransformer([("tfidf", vectoriser, "text")])
    return Pipeline([("features", features), ("classifier", classifier)])


def fit(model_type: ModelType, params: Mapping[str, Any], seed: int, texts: Any, labels: Any) -> Any:
    """Build and fit; what scikit-learn refuses is the fault of the parameters, or without any of the data.

    A fitted forest predicts on one core: on several it adds up its trees in the order in which they finish, so that the
    last bit of a score would differ from run to run. Linear algebra keeps to one thread for the same reason and because
    several of them mostly wait for each other on vectors of this size: a fit took ten times the CPU.

    Raises:
        ConfigError: The parameters do not fit together, or not to these texts and labels.
        DataError: No parameters were given, and the texts or labels are not fit to learn from.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    pipeline = build(model_type, params, seed, list(texts["text"]))
    features, classifier = (step for _, step in pipeline.steps)
    own, of_texts = _parted(params)
    with threadpool_limits(1, user_api="blas"), _warnings_logged():
        with _refused(f"{model_type}, reading the texts: ", of_texts):
            terms = features.fit_transform(texts)
        with _refused(f"{model_type}: ", own):
            classifier.fit(terms, labels)
            _check_scores(classifier.predict_proba(terms[:100]))
    if "n_jobs" in classifier.get_params():
        classifier.set_params(n_jobs=1)
    if "analyzer" not in of_texts and tokens.mostly_whole((terms != 0).sum(axis=1)):
        logger.warning("%s", tokens.WHOLE_TEXTS)
    return pipeline


def described(value: Any) -> Any:
    """A parameter as JSON, the same in every process: of a pipeline all parameters of all its steps."""
    if isinstance(value, bool | int | float | str | None):
        return value
    if isinstance(value, Mapping):
        return sorted([repr(key), described(each)] for key, each in value.items())
    if isinstance(value, list | tuple):
        return [described(each) for each in value]
    if hasattr(value, "get_params") and not isinstance(value, type):
        return [_path(type(value)), described(value.get_params(deep=True))]
    return _path(value) if hasattr(value, "__qualname__") else repr(value)


def text_parameters(pipeline: Any) -> dict[str, Any]:
    """How a pipeline of ours cuts texts into tokens, as a person may choose it."""
    chosen = pipeline[0].transformers[0][1].get_params()
    return {name: chosen[name] for name in OF_TEXTS}


def _path(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _parted(params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters of the estimator and those of the vectoriser; JSON has no tuples."""
    own = {name: value for name, value in params.items() if not name.startswith(TFIDF)}
    of_texts = {name.removeprefix(TFIDF): value for name, value in params.items() if name.startswith(TFIDF)}
    if isinstance(of_texts.get("ngram_range"), list):
        of_texts["ngram_range"] = tuple(of_texts["ngram_range"])
    return own, of_texts


def _check(model_type: ModelType, params: Mapping[str, Any], valid: Sequence[str]) -> None:
    if unknown := [name for name in params if name not in valid]:
        shown = ", ".join(f"{name!r:.80}" for name in unknown[:5])
        raise ConfigError(f"{model_type} has no parameter {shown}; valid are {', '.join(sorted(valid))}.", CORRECT)
    for name, value in params.items():
        if problem := next(_unusable(value), None):
            raise ConfigError(f"{model_type}: {name}={value!r:.80}: {problem}.", CORRECT)
        largest = max(_numbers(value), default=0)
        if largest > AT_MOST.get(name, math.inf):
            raise ConfigError(f"{model_type}: {name}={value!r:.80}: at most {AT_MOST[name]:,}.", CORRECT)


def _unusable(value: Any) -> Iterator[str]:
    """What no parameter can be: it would not survive as JSON on the way to where the training runs."""
    if isinstance(value, Mapping):
        yield from (f"{key!r:.80} is no text, as a name must be" for key in value if not isinstance(key, str))
        yield from (problem for each in value.values() for problem in _unusable(each))
    elif isinstance(value, list | tuple):
        yield from (problem for each in value for problem in _unusable(each))
    elif isinstance(value, bool | str | None):
        return
    elif not isinstance(value, int | float):
        yield f"a {type(value).__name__} is no number, text, list or mapping"
    elif isinstance(value, float) and not math.isfinite(value):
        yield "it must be a finite number"
    elif abs(value) >= 2**63 and isinstance(value, int):
        yield "it is too large a whole number"


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, list | tuple):
        yield from (each for part in value for each in _numbers(part))
    elif isinstance(value, int | float):
        yield value


def _check_scores(probabilities: Any) -> None:
    import numpy as np

    if not np.isfinite(probabilities).all():
        raise ValueError("with these the model gives probabilities that are no numbers")


@contextmanager
def _refused(where: str, given: Mapping[str, Any]) -> Iterator[None]:
    if given:
        with refused_by_the_library(where, ConfigError, CORRECT):
            yield
    else:
        with refused_by_the_library(where, DataError, "Look at the texts and labels: mlops data show"):
            yield


@contextmanager
def _warnings_logged() -> Iterator[None]:
    """What a library warns of while fitting, as lines of progress; a warning is no error, whoever asks for that."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        yield
    for text in dict.fromkeys(" ".join(str(each.message).split()) for each in told):
        logger.warning("scikit-learn: %.200s", text)
