"""Examine the models that are defined: what the training of each one reads and needs must be here."""

from collections.abc import Iterator, Sequence

from lifecycle.core.errors import ConfigError, MlopsError
from lifecycle.doctor.finding import Finding, ok, problem
from lifecycle.models import requirements
from lifecycle.problems.contract import Column
from lifecycle.problems.known import named
from lifecycle.problems.learning import Spec
from lifecycle.settings import Settings, definitions
from lifecycle.settings.definitions import ModelDefinition
from lifecycle.training.train import unfitted


def examine_definitions(environments: Sequence[Settings]) -> Iterator[Finding]:
    """What each definition says, by the settings of those environments whose trainings run here."""
    for name in definitions.names():
        what, here = f"definition {name}", [config for config in environments if config.platform == "local"]
        try:
            defined = definitions.load(name)
            for config in here:
                _require(config, defined)
        except MlopsError as error:
            yield problem(what, str(error))
        else:
            yield ok(what, "can be trained: what it reads and needs is here.")


def _require(config: Settings, defined: ModelDefinition) -> None:
    """Refuse a definition whose training would be refused here before it begins.

    Raises:
        ConfigError: What it names is unknown, missing or not trusted.
    """
    learning, training = named(defined.problem).learning, defined.training
    columns = tuple(Column(name=name, kind=kind) for name, kind in defined.data.columns.items() if kind != "drop")
    algorithm, *_ = unfitted(config, learning, Spec(training.algorithm, defined.params, training.seed, columns))
    entry = learning.estimators.get(algorithm) if isinstance(algorithm, str) else None
    if entry and (missing := [name for name in entry.packages if requirements.problems(name)]):
        what = f"{algorithm} needs {', '.join(missing)}, which is not installed."
        raise ConfigError(what, f"Install it: pip install {' '.join(missing)}")
