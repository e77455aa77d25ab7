"""Models that are made of code of a team's own, which they bring with them in the folder that MLflow calls `code`."""

from collections.abc import Iterable, Sequence
from importlib.metadata import packages_distributions
from pathlib import Path

from lifecycle.core import own_code
from lifecycle.core.errors import ConfigError, IntegrityError
from lifecycle.core.refusals import sentence
from lifecycle.problems.learning import StoredModel
from lifecycle.problems.own import OwnAlgorithm

CODE = "code"


def code_of(folder: Path) -> own_code.Sources:
    """The sources that a model folder holds."""
    return own_code.carried(folder / CODE)


def needed(code: own_code.Sources, types: Iterable[str]) -> own_code.Sources:
    """The sources of the packages that types are from: nothing else that lies beside a model is ever imported."""
    tops = {_top(kind) for kind in types}
    return {name: content for name, content in code.items() if own_code.tops([name]) <= tops}


def trusted(types: Iterable[str], code: own_code.Sources, trusted_modules: Sequence[str]) -> list[str]:
    """Those types whose modules are trusted, and either come with the model or belong to an installed package."""
    tops = own_code.tops(code)
    named = [kind for kind in types if own_code.is_trusted(_module(kind), trusted_modules)]
    if all(_top(kind) in tops for kind in named):
        return named
    return [kind for kind in named if _top(kind) in tops or _top(kind) in packages_distributions()]


def require_defined(types: Iterable[str], code: own_code.Sources, label: str) -> None:
    """Refuse types of a model's code that are not defined there; it is being imported.

    Raises:
        IntegrityError: One is not.
    """
    own_code.require_own([kind for kind in types if _top(kind) in own_code.tops(code)], label)


def with_code(
    stored: StoredModel,
    algorithm: OwnAlgorithm,
    untrusted: Sequence[str],
    trusted_modules: Sequence[str],
    ours: list[str],
) -> StoredModel:
    """A model as it was written, with the code that it brings along, after it was read again.

    Args:
        stored: What was written.
        algorithm: Made it.
        untrusted: The types in it that are not `ours`.
        trusted_modules: Of the environment.
        ours: Types that are trusted in any model.

    Raises:
        ConfigError: It is made of what is not trusted, or of what cannot be stored.
    """
    import skops.io

    types = trusted(untrusted, algorithm.code, trusted_modules)
    if foreign := [kind for kind in untrusted if kind not in types]:
        what = f"{algorithm.path} gave a model of types that are not trusted: {', '.join(foreign[:5])}."
        raise ConfigError(what, "If their code may run, name their modules in the environment's trusted_modules.")
    try:
        with own_code.importing(algorithm.code):
            require_defined(types, algorithm.code, algorithm.path)
            skops.io.load(stored.artifacts["pipeline"], trusted=[*ours, *types])
    except Exception as error:  # skops raises whatever it runs into, and so does code that is not ours
        said = error.what if isinstance(error, IntegrityError) else f"{algorithm.path}: {sentence(error)}"
        fix = "Define what the model is made of at the top of a module, by a name of its own; no lambda."
        raise ConfigError(f"Its model cannot be loaded again. {said}", fix) from None
    return stored._replace(own=algorithm.code, trusted_types=tuple(types))


def _module(kind: str) -> str:
    return kind.rpartition(".")[0]


def _top(kind: str) -> str:
    return kind.partition(".")[0]
