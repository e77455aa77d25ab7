"""The table of algorithms for pairs, those of texts, behind features of a pair. Adding one is one entry here.

`behind_features`    an unfitted pipeline of an estimator
`read_by`            which text a pipeline reads
`parted`             the parameters of the estimator and those of the features
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler

from lifecycle.core.errors import ConfigError
from lifecycle.problems import fitting
from lifecycle.problems.contract import Estimator
from lifecycle.problems.text_classification.estimators import ESTIMATORS as OF_TEXTS
from lifecycle.problems.text_classification.estimators import TFIDF
from lifecycle.problems.text_pair_classification.model import FIRST, NUMBERS, SECOND, WORD_SETS

ESTIMATORS: dict[str, Estimator] = {
    **OF_TEXTS,
    "logistic_regression": OF_TEXTS["logistic_regression"]._replace(defaults={"C": 1.0, "max_iter": 1000}),
}
"""Algorithm to its entry; the first is the default."""
READS = "reads"
"""The parameter that says which text is read."""
READ = {"both": WORD_SETS, FIRST: (FIRST,), SECOND: (SECOND,)}
"""What it may be, and whose words are then learnt from. One text alone is a baseline, which no good model is near."""
CUT = r"\S+"
"""Between blanks: texts were cut into words before."""
OF_WORDS = ("binary", "max_df", "max_features", "min_df", "norm", "smooth_idf", "sublinear_tf", "use_idf")
"""Parameters of the vectorisers that are a person's choice."""
BESIDE = (READS, *(f"{TFIDF}{option}" for option in OF_WORDS))


def behind_features(estimator: Any, name: str, of_words: Mapping[str, Any], there: Iterable[str]) -> Any:
    """An unfitted estimator behind what is learnt from: words by whose they are, and how alike the texts are.

    Args:
        estimator: A classifier.
        name: Its algorithm, for messages.
        of_words: Parameters of the vectorisers with `tfidf__` before their names, and `reads`.
        there: The features of words that hold any.

    Raises:
        ConfigError: A parameter is none that there can be.
    """
    reads = of_words.get(READS, "both")
    if not isinstance(reads, str) or reads not in READ:
        raise ConfigError(f"{name}: {READS}={reads!r:.80}: choose {', '.join(READ)}.", fitting.CORRECT)
    options = {option.removeprefix(TFIDF): value for option, value in of_words.items() if option != READS}
    vectoriser = TfidfVectorizer(**{"token_pattern": CUT, "lowercase": False, "sublinear_tf": True, **options})
    fitting.validate(name, vectoriser)
    held = {*there}
    steps: list[tuple[str, Any, Any]] = [(words, vectoriser, words) for words in READ[reads] if words in held]
    if reads == "both":  # between 0 and 1, as naive Bayes needs it
        steps.append(("alike", MinMaxScaler(clip=True), [*NUMBERS]))
    return Pipeline([("features", ColumnTransformer(steps)), ("classifier", estimator)])


def read_by(pipeline: Any) -> str:
    """Which text a pipeline of ours reads."""
    named = {name for name, _, _ in pipeline[0].transformers}
    return FIRST if FIRST in named else SECOND if SECOND in named else "both"


def parted(params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters of the features and those of the estimator."""
    of_words = {name: value for name, value in params.items() if name in BESIDE}
    return of_words, {name: value for name, value in params.items() if name not in BESIDE}
