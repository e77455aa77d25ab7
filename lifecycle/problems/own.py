"""Algorithms of a team's own: `package.module:factory`, called with parameters and a seed, gives what is fitted.

A factory gives an estimator, which takes our features as every algorithm does; or a `sklearn.pipeline.Pipeline`, which
takes the inputs themselves: the column `text` of texts, of a table its columns in the form of `tabular.model.typed`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from lifecycle.core import own_code
from lifecycle.core.errors import ConfigError
from lifecycle.problems import fitting
from lifecycle.problems.contract import Estimator

CORRECT = "Correct the code, or the parameters."


class OwnAlgorithm(NamedTuple):
    """A factory, and the code that it is made of."""

    path: str
    code: own_code.Sources

    @property
    def digest(self) -> str:
        """The sha256 of its code."""
        return own_code.digest_of(self.code)


def algorithm_of(
    table: Mapping[str, Estimator], name: str | OwnAlgorithm | None, trusted_modules: tuple[str, ...]
) -> str | OwnAlgorithm:
    """An algorithm of a problem by its name, without one its first, or one of a team by its path if it is not read yet.

    Raises:
        ConfigError: There is none of this name; or it is code that is not trusted, or not there.
    """
    if isinstance(name, OwnAlgorithm):
        return name
    if name is not None and own_code.is_path(name):
        return algorithm(name, trusted_modules)
    return fitting.algorithm_of(table, name)


def algorithm(path: str, trusted_modules: tuple[str, ...]) -> OwnAlgorithm:
    """Read the code behind a dotted path, if it is trusted; none of it is run.

    Raises:
        ConfigError: It is not trusted, or there is no such module.
    """
    own_code.require_trusted(path, trusted_modules)
    return OwnAlgorithm(path, own_code.sources(path))


def made(own: OwnAlgorithm, params: Mapping[str, Any], seed: int, answer: str) -> Any:
    """What a factory gives, unfitted; every `random_state` in it that is left open gets the seed.

    Raises:
        ConfigError: It cannot be imported, it fails, or gives what cannot be fitted or does not have an `answer`.
    """
    fitting.require_seed(seed)
    fitting.require_usable(own.path, params)
    factory = own_code.attribute(own.path, own.code)
    with own_code.running(own.path, ConfigError, CORRECT):
        estimator = factory(dict(params), seed)
    lacking = [name for name in ("fit", "get_params", "predict", answer) if not hasattr(estimator, name)]
    if isinstance(estimator, type) or lacking:
        kind = f"the class {estimator.__name__}" if isinstance(estimator, type) else f"a {type(estimator).__name__}"
        what = f"{own.path} gave {kind}, which has no {lacking[0]}." if lacking else f"{own.path} gave {kind}."
        raise ConfigError(what, f"It must return an unfitted scikit-learn estimator with fit and {answer}.")
    with own_code.running(own.path, ConfigError, CORRECT):
        left_open = {name for name, value in estimator.get_params().items() if value is None}
        seeds = {name: seed for name in left_open if fitting.last(name) == "random_state"}
        estimator.set_params(**seeds)
    return estimator


def is_whole(estimator: Any) -> bool:
    """Whether it takes the inputs themselves."""
    from sklearn.pipeline import Pipeline

    return isinstance(estimator, Pipeline)


def fit(own: OwnAlgorithm, pipeline: Any, inputs: Any, target: Any) -> None:
    """Fit a pipeline with code of a team's own in it.

    Raises:
        ConfigError: It fails, or gives what are no numbers.
    """
    with own_code.running(own.path, ConfigError, CORRECT):
        fitting.fit_whole(pipeline, inputs, target)
