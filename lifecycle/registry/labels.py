"""Tags and descriptions of models and versions, except the tags that the promotion log is made of."""

from lifecycle.errors import ConfigError, ConflictError, NotFoundError
from lifecycle.registry import log, store
from lifecycle.registry.store import Target

KEY_LENGTH, VALUE_LENGTH = 250, 1000
"""What every registry holds; Unity Catalog is the narrowest."""


def put(target: Target, key: str, value: str, number: int | None = None) -> None:
    """Set a tag of a version, or of the model where the number is None.

    Raises:
        ConfigError: Key or value is empty or too long.
        ConflictError: The tag belongs to the promotion log.
        NotFoundError: There is no such model or version.
    """
    if not key.strip() or len(key) > KEY_LENGTH or len(value) > VALUE_LENGTH:
        raise ConfigError(
            f"A tag needs a key of 1 to {KEY_LENGTH} characters and a value of at most {VALUE_LENGTH}; "
            f"given were {len(key)} and {len(value)}."
        )
    _own(target, key, number)
    store.tag(target, number, key, value)


def remove(target: Target, key: str, number: int | None = None) -> None:
    """Remove a tag of a version, or of the model where the number is None.

    Raises:
        ConflictError: The tag belongs to the promotion log.
        NotFoundError: There is no such model, version or tag.
    """
    if key not in _own(target, key, number):
        where = f"{target.name} v{number}" if number else target.name
        raise NotFoundError(f"{where} has no tag {key!r}.", "See: mlops model show")
    store.untag(target, number, key)


def describe(target: Target, text: str, number: int | None = None) -> None:
    """Set the description of a version, or of the model where the number is None; an empty one removes it.

    Raises:
        NotFoundError: There is no such model or version.
    """
    _tags(target, number)
    store.describe(target, number, text)


def _own(target: Target, key: str, number: int | None) -> dict[str, str]:
    if log.is_owned(key):
        raise ConflictError(
            f"The tag {key!r} belongs to the promotion log and is never changed by hand.",
            "Promote, roll back or adopt instead: mlops promote, mlops rollback, mlops model adopt",
        )
    return _tags(target, number)


def _tags(target: Target, number: int | None) -> dict[str, str]:
    if number is not None:
        return store.version(target, number).tags
    if found := store.model(target):
        return found.tags
    raise NotFoundError(f"There is no model {target.name}.", "See: mlops model list")
