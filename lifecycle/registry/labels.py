"""Tags and descriptions of models and versions, except the tags that the promotion log is made of."""

from collections.abc import Iterator
from contextlib import contextmanager

from lifecycle.core.errors import ConfigError, ConflictError, NotFoundError
from lifecycle.registry import log, store, tag_names
from lifecycle.registry.store import Target

KEY_LENGTH, VALUE_LENGTH, DESCRIPTION_LENGTH = 250, 1000, 5000
"""What every registry holds; of tags Unity Catalog is the narrowest, of descriptions MLflow's own database."""
MOST_TAGS = 50
"""How many Unity Catalog holds of one model or version."""
CARD = "**Model card**, written anew from facts; what stands above this line is kept."
"""What parts the words of people from the card in the description of a version."""
EARLIER_CARD = "<!-- Model card: written anew from facts. What stands above this line is kept. -->"
"""What the first releases wrote in its place, which lists of versions showed as it is."""


def put(target: Target, key: str, value: str, number: int | None = None) -> None:
    """Set a tag of a version, or of the model where the number is None.

    Raises:
        ConfigError: Key or value is empty or too long, or the key holds what the registry does not take.
        ConflictError: The tag belongs to the promotion log.
        NotFoundError: There is no such model or version.
    """
    if not key.strip() or len(key) > KEY_LENGTH or len(value) > VALUE_LENGTH:
        raise ConfigError(
            f"A tag needs a key of 1 to {KEY_LENGTH} characters and a value of at most {VALUE_LENGTH}; "
            f"given were {len(key)} and {len(value)}."
        )
    if target.in_unity_catalog and (signs := tag_names.unfit(key)):
        what = f"The tag {key!r} holds {signs}: Unity Catalog takes none of . , - = / : in the key of a tag."
        raise ConfigError(what, f"Call it {tag_names.RESERVED_SIGNS.sub('_', key)!r}.")
    if target.in_unity_catalog and (key, value) != (key.strip(), value.strip()):
        what = f"The tag {key!r} or its value begins or ends with a space, which Unity Catalog does not take."
        raise ConfigError(what, "Leave the space out.")
    held = _own(target, key, number)
    if target.in_unity_catalog and key not in held and len(held) >= MOST_TAGS:
        what = f"{target.name} has {len(held)} tags; Unity Catalog holds at most {MOST_TAGS}."
        raise ConfigError(what, "Remove one that nobody needs: mlops model tag delete")
    with _refused(key):
        store.tag(target, number, key, value)


@contextmanager
def _refused(key: str) -> Iterator[None]:
    """MLflow's own rules for keys, which are others than those of Unity Catalog, in its words."""
    try:
        yield
    except Exception as error:
        if getattr(error, "error_code", None) != "INVALID_PARAMETER_VALUE":
            raise
        said = " ".join(str(error).removeprefix("INVALID_PARAMETER_VALUE: ").split()).rstrip(".")
        raise ConfigError(f"MLflow takes no tag {key!r}: {said}.", "Call it by letters, digits and _ alone.") from None


def remove(target: Target, key: str, number: int | None = None) -> None:
    """Remove a tag of a version, or of the model where the number is None.

    Raises:
        ConflictError: The tag belongs to the promotion log.
        NotFoundError: There is no such model, version or tag.
    """
    if key not in _own(target, key, number):
        where = f"{target.name} v{number}" if number else target.name
        raise NotFoundError(f"{where} has no tag {key!r}.", f"See: mlops model show {target.options}")
    store.untag(target, number, key)


def describe(target: Target, text: str, number: int | None = None) -> None:
    """Set the description of a version, or of the model where the number is None; an empty one removes it.

    The model card of a version stays beneath it.

    Raises:
        ConfigError: It is too long.
        NotFoundError: There is no such model or version.
    """
    if len(text) > DESCRIPTION_LENGTH:
        raise ConfigError(f"A description has at most {DESCRIPTION_LENGTH:,} characters; given were {len(text):,}.")
    _tags(target, number)
    if number is not None:
        text = with_card(words(text), _parted(store.version(target, number).description)[1])
    store.describe(target, number, text)


def words(description: str) -> str:
    """What people wrote of a description."""
    return _parted(description)[0].rstrip()


def _parted(description: str) -> tuple[str, str]:
    """The words of people, and the card."""
    own, _, card = description.replace(EARLIER_CARD, CARD, 1).partition(CARD)
    return own, card


def with_card(text: str, card: str) -> str:
    """A description of the words of people and, beneath them, as much of a card as fits."""
    if not (card := card.strip()):
        return text
    head = f"{text}\n\n{CARD}\n\n" if text else f"{CARD}\n\n"
    if len(head) + len(card) <= DESCRIPTION_LENGTH:
        return head + card
    rest = "\n\n*The rest did not fit: `mlops model card`.*"
    room = DESCRIPTION_LENGTH - len(head) - len(rest)
    return head + card[:room].rpartition("\n")[0] + rest if room > 0 else text


def _own(target: Target, key: str, number: int | None) -> dict[str, str]:
    if log.is_owned(tag_names.ours(key) if target.in_unity_catalog else key):
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
