"""What fitting has in common, whatever the problem: algorithms by name, their parameters, one seed, clear refusals.

`made`         an unfitted estimator; what is wrong with a parameter by itself is found here, before anything is written
`fit`          fits a pipeline of features and an estimator; what a library refuses only then is an error of ours too
`described`    every parameter of a pipeline in a form that is the same in every process
"""

import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lifecycle.core.errors import ConfigError, DataError
from lifecycle.core.refusals import refused_by_the_library
from lifecycle.problems.contract import Estimator

logger = logging.getLogger(__name__)

AT_MOST = {"n_estimators": 10_000, "n_jobs": 1_000, "ngram_range": 10}
"""Beyond these a training fills the memory before any library refuses it."""
CORRECT = "Correct --params."
SEEDS = 2**32
PER_CLASS = {"class_prior", "priors"}
"""Parameters that hold a probability for each class."""
SHOWN = 20


def algorithm_of(table: Mapping[str, Estimator], algorithm: str | None) -> str:
    """The name of an algorithm of a problem; without one its first.

    Raises:
        ConfigError: There is none of this name; those there are are named.
    """
    name = algorithm or next(iter(table))
    if name not in table:
        what = f"There is no algorithm {name!r:.80} for this problem: there are {', '.join(table)}."
        raise ConfigError(what, "Name one of them.")
    return str(name)


def made(
    table: Mapping[str, Estimator],
    algorithm: str,
    params: Mapping[str, Any],
    seed: int,
    beside: Sequence[str] = (),
    answer: str = "predict",
) -> Any:
    """An unfitted estimator, the seed in every `random_state` within it.

    A parameter of an estimator within it is taken by its own name where only one has it: `C` of a calibrated LinearSVC.
    Parameters that are `beside` are of something else, but may be. `answer` is what it must be able to say.

    Raises:
        ConfigError: An algorithm or parameter is unknown, its value is none that there can be, or it does not answer.
    """
    name = algorithm_of(table, algorithm)
    entry = table[name]
    estimator = entry.make(**entry.defaults)
    paths = _paths(estimator)
    _check(name, params, [*paths, *beside])
    require_seed(seed)
    seeds = {path: seed for path in estimator.get_params() if last(path) == "random_state"}
    own = {paths[option]: value for option, value in params.items() if option in paths}
    with refused_by_the_library(f"{name}: ", ConfigError, CORRECT):
        estimator.set_params(**seeds | own)
    validate(name, estimator)
    if not hasattr(estimator, answer):
        what = f"{name}: with loss={getattr(estimator, 'loss', None)!r:.80} it has no {answer}."
        raise ConfigError(what, "Choose log_loss or modified_huber.")
    return estimator


def require_per_class(algorithm: str, params: Mapping[str, Any], classes: Sequence[str]) -> None:
    """Refuse probabilities of classes that are not one for each class that there is to learn.

    Raises:
        ConfigError: They are more or fewer, or no probabilities.
    """
    for name, values in params.items():
        if last(name) not in PER_CLASS or not isinstance(values, list | tuple) or not classes:
            continue
        are_numbers = all(isinstance(value, int | float) and value >= 0 for value in values)
        if len(values) != len(classes) or not are_numbers:
            shown = ", ".join(map(repr, classes[:SHOWN])) + (", …" if len(classes) > SHOWN else "")
            has = f"{len(values)} values{'' if are_numbers else ', not all numbers from 0'}"
            what = f"{algorithm}: {name} has {has}; the data has {len(classes)} classes, in this order: {shown}."
            raise ConfigError(what, CORRECT)


def require_seed(seed: int) -> None:
    """Refuse a seed that no library takes.

    Raises:
        ConfigError: It is one.
    """
    if not 0 <= seed < SEEDS:
        raise ConfigError(f"{seed} is no seed: it must lie between 0 and {SEEDS - 1:,}.", "Correct --seed.")


def validate(algorithm: str, estimator: Any) -> None:
    """Check the parameters of an unfitted estimator and of those within it, each by itself.

    Raises:
        ConfigError: One is none that there can be.
    """
    for part in (estimator, *estimator.get_params().values()):
        if hasattr(part, "_validate_params"):
            with refused_by_the_library(f"{algorithm}: ", ConfigError, CORRECT):
                part._validate_params()


def last(path: str) -> str:
    """The name of a parameter, wherever the estimator is nested that has it."""
    return path.rpartition("__")[2]


def _paths(estimator: Any) -> dict[str, str]:
    """The paths of parameters by the names that they may be given: the paths, and last names that are only one's."""
    paths = list(estimator.get_params())
    names = [last(path) for path in paths]
    return {name: path for name, path in zip(names, paths, strict=True) if names.count(name) == 1} | {
        path: path for path in paths
    }


def fit(
    algorithm: str,
    pipeline: Any,
    inputs: Any,
    target: Any,
    *,
    noun: str,
    params: tuple[Mapping[str, Any], Mapping[str, Any]],
) -> Any:
    """Fit features and estimator of a pipeline; returns the features of the rows that it was fitted on.

    A fitted forest predicts on one core: on several it adds up its trees in the order in which they finish, so that the
    last bit of a score would differ from run to run. Linear algebra keeps to one thread for the same reason and because
    several of them mostly wait for each other on vectors of this size: a fit took ten times the CPU. So does a boosted
    one of 100,000 rows on a machine that has other work.

    Args:
        algorithm: For messages.
        pipeline: Of two steps.
        inputs: A table.
        target: What is predicted of its rows.
        noun: What the inputs are, for messages.
        params: Those that a person has given, for the features and for the estimator.

    Raises:
        ConfigError: The parameters do not fit together, or not to these rows.
        DataError: No parameters were given, and the rows are not fit to learn from.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    features, estimator = (step for _, step in pipeline.steps)
    of_features, own = params
    with threadpool_limits(1), warnings_logged():
        with refused(f"{algorithm}, reading the {noun}: ", of_features):
            read = features.fit_transform(inputs)
        with refused(f"{algorithm}: ", own):
            estimator.fit(read, target)
            check_answers(estimator, read[:100])
    on_one_core(estimator)
    return read


def fit_whole(pipeline: Any, inputs: Any, target: Any) -> None:
    """Fit a pipeline of whatever steps; what is raised in it is for the caller to tell.

    Raises:
        ValueError: What it then predicts are no numbers.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings_logged():
        pipeline.fit(inputs, target)
        check_answers(pipeline, inputs[:100])
    on_one_core(pipeline)


def on_one_core(estimator: Any) -> None:
    """On several a forest adds up its trees in the order in which they finish, so that the last bit would differ."""
    if jobs := {path: 1 for path in estimator.get_params() if last(path) == "n_jobs"}:
        estimator.set_params(**jobs)


def described(value: Any) -> Any:
    """A parameter as JSON, the same in every process: of a pipeline all parameters of all its steps."""
    if isinstance(value, bool | int | float | str | None):
        return value
    if isinstance(value, Mapping):
        return sorted([repr(key), described(held)] for key, held in value.items())
    if isinstance(value, list | tuple):
        return [described(item) for item in value]
    if hasattr(value, "get_params") and not isinstance(value, type):
        return [_path(type(value)), described(value.get_params(deep=True))]
    return _path(value) if hasattr(value, "__qualname__") else repr(value)


def _path(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _check(algorithm: str, params: Mapping[str, Any], valid: Sequence[str]) -> None:
    if unknown := [name for name in params if name not in valid]:
        shown = ", ".join(f"{name!r:.80}" for name in unknown[:5])
        raise ConfigError(f"{algorithm} has no parameter {shown}; valid are {', '.join(sorted(valid))}.", CORRECT)
    require_usable(algorithm, params)


def require_usable(algorithm: str, params: Mapping[str, Any]) -> None:
    """Refuse values that no parameter can have.

    Raises:
        ConfigError: One is.
    """
    for name, value in params.items():
        if problem := next(_unusable(value), None):
            raise ConfigError(f"{algorithm}: {name}={value!r:.80}: {problem}.", CORRECT)
        largest = max(_numbers(value), default=0)
        if largest > AT_MOST.get(last(name), math.inf):
            raise ConfigError(f"{algorithm}: {name}={value!r:.80}: at most {AT_MOST[last(name)]:,}.", CORRECT)


def _unusable(value: Any) -> Iterator[str]:
    """What no parameter can be: it would not survive as JSON on the way to where the training runs."""
    if isinstance(value, Mapping):
        yield from (f"{key!r:.80} is no text, as a name must be" for key in value if not isinstance(key, str))
        yield from (problem for held in value.values() for problem in _unusable(held))
    elif isinstance(value, list | tuple):
        yield from (problem for item in value for problem in _unusable(item))
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
        yield from (number for part in value for number in _numbers(part))
    elif isinstance(value, int | float):
        yield value


def check_answers(estimator: Any, read: Any) -> None:
    """Refuse, with a ValueError, a model whose answers are no finite numbers."""
    import numpy as np

    what = "probabilities" if hasattr(estimator, "predict_proba") else "predictions"
    if not np.isfinite(estimator.predict_proba(read) if what == "probabilities" else estimator.predict(read)).all():
        raise ValueError(f"with these the model gives {what} that are no numbers")


@contextmanager
def refused(where: str, params: Mapping[str, Any]) -> Iterator[None]:
    """Blame the parameters for what a library refuses; without any the rows."""
    if params:
        with refused_by_the_library(where, ConfigError, CORRECT):
            yield
    else:
        with refused_by_the_library(where, DataError, "Look at the rows: mlops data show"):
            yield


@contextmanager
def warnings_logged() -> Iterator[None]:
    """What a library warns of while fitting, as lines of progress; a warning is no error, whoever asks for that."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for text in dict.fromkeys(" ".join(str(warning.message).split()) for warning in caught):
        logger.warning("scikit-learn: %.200s", text)
