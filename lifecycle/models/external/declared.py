"""What a person declares of a foreign model, because it cannot be known of it and is never guessed."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from lifecycle.core.frozen import Frozen
from lifecycle.core.parameters import ColumnMap, literal


def _order(value: Any) -> Any:
    """Names between commas, or a list."""
    if isinstance(value, str) and "[" not in value:
        return tuple(name.strip() for name in value.split(","))
    return literal(value)


def _by_answer(value: Any) -> Any:
    """A mapping by answers: whole numbers are classes too, and `1` in a shell is no other one than 1."""
    told = literal(value)
    return {str(answer): label for answer, label in told.items()} if isinstance(told, Mapping) else told


Order = Annotated[tuple[str, ...], BeforeValidator(_order)]
Labels = Annotated[dict[str, str], BeforeValidator(_by_answer)]


class Declared(Frozen):
    """What a person says of a model that cannot be known of it, and is never guessed."""

    columns: ColumnMap = Field({})
    order: Order = ()
    labels: Labels = Field({})
