"""The table of algorithms for texts. Adding one is one entry here.

`build`              an unfitted pipeline; what is wrong with a parameter by itself is found here
`fit`                the same, fitted
`text_parameters`    how it cuts texts into tokens
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVC

from lifecycle.problems import fitting, out_of_core, own
from lifecycle.problems.contract import Estimator
from lifecycle.problems.learning import NOTHING, Beside
from lifecycle.problems.own import OwnAlgorithm
from lifecycle.problems.text_classification import hashing, tokens

logger = logging.getLogger(__name__)

TFIDF, HASHING = "tfidf__", "hashing__"
"""What the parameters of the vectoriser begin with, beside those of the estimator: out of core it learns no words."""
OF_TEXTS = (
    "analyzer", "binary", "lowercase", "max_df", "max_features", "min_df", "ngram_range", "norm", "smooth_idf",
    "stop_words", "strip_accents", "sublinear_tf", "token_pattern", "use_idf",
)  # fmt: skip
"""Its parameters that are a person's choice; the others say where texts come from, or are code."""
OF_HASHES = (
    "alternate_sign", "analyzer", "binary", "lowercase", "n_features", "ngram_range", "norm", "stop_words",
    "strip_accents", "token_pattern",
)  # fmt: skip
COLUMNS = {"n_features": 2**18}
"""Half a megabyte of weights per class; more tell more words apart."""
C = {"C": (0.3, 1.0, 3.0, 10.0, 30.0, 100.0), "class_weight": (None, "balanced")}
"""What is tried of a logistic regression of words."""


def _linear_svm(**params: Any) -> Any:
    return CalibratedClassifierCV(LinearSVC(), **params)


ESTIMATORS: dict[str, Estimator] = {
    "logistic_regression": Estimator(LogisticRegression, {"C": 10.0, "max_iter": 1000}, space=C),
    "naive_bayes": Estimator(
        MultinomialNB, {"alpha": 0.1}, space={"alpha": (0.01, 0.03, 0.1, 0.3, 1.0), "fit_prior": (True, False)}
    ),
    "random_forest": Estimator(
        RandomForestClassifier,
        {"n_estimators": 200, "n_jobs": -1},
        ("sklearn.tree._tree.Tree",),
        space={"max_features": ("sqrt", 0.1), "min_samples_leaf": (1, 2, 5), "class_weight": (None, "balanced")},
    ),
    "linear_svm": Estimator(
        _linear_svm,
        trusted_types=(
            "sklearn.calibration._CalibratedClassifier",
            "sklearn.calibration._SigmoidCalibration",
        ),
        space={"C": (0.03, 0.1, 0.3, 1.0, 3.0)},
    ),
    "sgd": Estimator(
        SGDClassifier,
        out_of_core.CLASSIFIER,
        sources=out_of_core.SOURCES,
        space={"alpha": (1e-6, 3e-6, 1e-5, 3e-5, 1e-4), "class_weight": (None, "balanced")},
        out_of_core=True,
    ),
}
"""Algorithm to its entry; the first is the default."""


def build(algorithm: str | OwnAlgorithm | None, params: Mapping[str, Any], seed: int, texts: Sequence[str] = ()) -> Any:
    """Make an unfitted pipeline from a DataFrame with a column `text` to a class.

    Parameters of the vectoriser have `tfidf__` before their names. How texts are cut into tokens depends on `texts`,
    those that it will be fitted on.

    Raises:
        ConfigError: An algorithm or parameter is unknown, or its value is none that there can be.
    """
    if isinstance(algorithm, OwnAlgorithm):
        classifier = own.made(algorithm, params, seed, "predict_proba")
        return classifier if own.is_whole(classifier) else _pipeline(classifier, algorithm.path, texts, {})
    name = fitting.algorithm_of(ESTIMATORS, algorithm)
    prefix = HASHING if ESTIMATORS[name].out_of_core else TFIDF
    options = [f"{prefix}{option}" for option in _options(prefix)]
    classifier = fitting.made(ESTIMATORS, name, params, seed, beside=options, answer="predict_proba")
    return _pipeline(classifier, name, texts, _parted(params, prefix)[1], prefix)


def _options(prefix: str) -> tuple[str, ...]:
    return OF_HASHES if prefix == HASHING else OF_TEXTS


def _pipeline(
    classifier: Any, name: str, texts: Sequence[str], of_texts: Mapping[str, Any], prefix: str = TFIDF
) -> Any:
    """A classifier behind our features."""
    make, defaults = (HashingVectorizer, COLUMNS) if prefix == HASHING else (TfidfVectorizer, {"sublinear_tf": True})
    vectoriser = make(**{**defaults, **tokens.choice(texts, of_texts), **of_texts})
    fitting.validate(name, vectoriser)
    features = ColumnTransformer([(prefix.rstrip("_"), vectoriser, "text")])
    return Pipeline([("features", features), ("classifier", classifier)])


def fit(
    algorithm: str | OwnAlgorithm | None,
    params: Mapping[str, Any],
    seed: int,
    texts: Any,
    labels: Any,
    beside: Beside = NOTHING,
) -> Any:
    """Build and fit; what scikit-learn refuses is the fault of the parameters, or without any of the data.

    Raises:
        ConfigError: The parameters do not fit together, or not to these texts and labels.
        DataError: No parameters were given, and the texts or labels are not fit to learn from.
    """
    pipeline = build(algorithm, params, seed, list(texts["text"]))
    if isinstance(algorithm, OwnAlgorithm):
        own.fit(algorithm, pipeline, texts, labels)
        return pipeline
    name = fitting.algorithm_of(ESTIMATORS, algorithm)
    if ESTIMATORS[name].out_of_core:
        rows, (of_estimator, of_texts) = out_of_core.rows_of(texts, labels, beside, _same), _parted(params, HASHING)
        with hashing.quickly(pipeline):
            out_of_core.fit(name, pipeline, texts, rows, (of_texts, of_estimator), "texts")
        return pipeline
    of_estimator, of_texts = _parted(params)
    terms = fitting.fit(name, pipeline, texts, labels, noun="texts", params=(of_texts, of_estimator))
    if "analyzer" not in of_texts and tokens.mostly_whole((terms != 0).sum(axis=1)):
        logger.warning("%s", tokens.WHOLE_TEXTS)
    return pipeline


def _same(texts: Any) -> Any:
    return texts


def text_parameters(pipeline: Any) -> dict[str, Any]:
    """How a pipeline of ours cuts texts into tokens, as a person may choose it; by names such as `tfidf.min_df`."""
    name, vectoriser, _ = pipeline[0].transformers[0]
    chosen = vectoriser.get_params()
    return {f"{name}.{option}": chosen[option] for option in _options(f"{name}__")}


def _parted(params: Mapping[str, Any], prefix: str = TFIDF) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters of the estimator and those of the vectoriser; JSON has no tuples."""
    own = {name: value for name, value in params.items() if not name.startswith(prefix)}
    of_texts = {name.removeprefix(prefix): value for name, value in params.items() if name.startswith(prefix)}
    if isinstance(of_texts.get("ngram_range"), list):
        of_texts["ngram_range"] = tuple(of_texts["ngram_range"])
    return own, of_texts
