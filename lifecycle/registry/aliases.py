"""Aliases: a small vocabulary, the same in upper and lower case, with `champion` out of reach of everybody but the log.

MLflow keeps `champion` and `Champion` apart; here a name is folded to lower case, and setting one form removes the
others.
"""

import re
from enum import StrEnum

from lifecycle.core.errors import ConfigError, ConflictError, NotFoundError
from lifecycle.core.names import CHAMPION
from lifecycle.registry import store
from lifecycle.registry.store import Target

PATTERN = re.compile(r"[a-z][a-z0-9_-]{0,63}")


class Alias(StrEnum):
    """What an alias can say of a version; settings may add names of one's own."""

    CHAMPION = CHAMPION
    CHALLENGER = "challenger"
    SHADOW = "shadow"
    CANARY = "canary"


MEANINGS = {
    Alias.CHAMPION: "what the world reads; moved by the promotion log alone",
    Alias.CHALLENGER: "the candidate under test",
    Alias.SHADOW: "scores beside the champion, its answers are not used",
    Alias.CANARY: "serves a small share of the traffic",
}


def checked(alias: str, custom: tuple[str, ...] = ()) -> str:
    """Fold an alias to lower case and check that it is known.

    Raises:
        ConfigError: MLflow reserves it, or it is neither in the vocabulary nor in the settings.
    """
    name = alias.lower()
    if name == "latest" or re.fullmatch(r"v\d+", name):
        what = f"{alias!r} is reserved: MLflow reads models:/<name>/latest and v<number> as version numbers."
        raise ConfigError(what, f"Choose one of: {', '.join(Alias)}.")
    known = [*Alias, *(each.lower() for each in custom)]
    if name not in known or not PATTERN.fullmatch(name):
        what = f"{alias!r} is not a known alias; known are {', '.join(known)}."
        raise ConfigError(what, f"To add one of your own, list it under `aliases` in config/<env>.yaml: [{name}]")
    return name


def get(target: Target, alias: str) -> int:
    """The version number behind an alias, whatever its case.

    Raises:
        NotFoundError: There is no such model or alias.
    """
    known = every(target)
    if alias.lower() not in known:
        has = ", ".join(known) or "none"
        raise NotFoundError(
            f"{target.name} has no alias {alias.lower()!r}; it has: {has}.", f"See: mlops model show {target.options}"
        )
    return known[alias.lower()]


def every(target: Target) -> dict[str, int]:
    """All aliases folded to lower case; where two forms differ, the lower-case one counts.

    Raises:
        NotFoundError: There is no such model.
    """
    found = store.model(target)
    if found is None:
        raise NotFoundError(f"There is no model {target.name}.", "See: mlops model list")
    folded = {alias.lower(): number for alias, number in found.aliases.items()}
    return dict(sorted((folded | {a: n for a, n in found.aliases.items() if a == a.lower()}).items()))


def put(target: Target, alias: str, number: int, custom: tuple[str, ...] = ()) -> int | None:
    """Let an alias point to a version; tells to which it pointed before.

    Raises:
        ConfigError: The alias is reserved or unknown.
        ConflictError: It is `champion`.
        NotFoundError: There is no such model or version.
    """
    name = _free(target, alias, custom)
    before = every(target).get(name)
    store.version(target, number)
    store.set_alias(target, name, number)
    _drop_other_cases(target, name)
    return before


def remove(target: Target, alias: str, custom: tuple[str, ...] = ()) -> int:
    """Remove an alias in every case it was written in; tells to which version it pointed.

    Raises:
        ConflictError: It is `champion`.
        NotFoundError: There is no such model or alias.
    """
    name = _free(target, alias, (*custom, *every(target)))
    number = get(target, name)
    _drop_other_cases(target, name)
    store.delete_alias(target, name)
    return number


def other_cases(target: Target) -> list[str]:
    """Aliases that are not written in lower case: somebody set them past this command."""
    found = store.model(target)
    return sorted(alias for alias in (found.aliases if found else {}) if alias != alias.lower())


def _drop_other_cases(target: Target, name: str) -> None:
    for alias in other_cases(target):
        if alias.lower() == name:
            store.delete_alias(target, alias)


def _free(target: Target, alias: str, custom: tuple[str, ...]) -> str:
    name = checked(alias, custom)
    if name == CHAMPION:
        raise ConflictError(
            f"The champion of {target.name} moves by an entry of the promotion log alone, never as an alias.",
            "Use: mlops promote, mlops rollback, or mlops model adopt",
        )
    return name
