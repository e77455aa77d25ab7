"""Which two columns of a table are a pair of texts, by their names or because there are no other texts."""

import re
from collections.abc import Mapping, Sequence

COUPLES = (
    ("premise", "hypothesis"),
    ("question", "answer"),
    ("question", "sentence"),
    ("question", "passage"),
    ("question", "context"),
    ("query", "document"),
    ("query", "passage"),
    ("claim", "evidence"),
    ("headline", "body"),
    ("title", "body"),
    ("source", "translation"),
)
"""What the two texts of a pair are called, in the order in which people say them."""
SIDES = (("a", "b"), ("1", "2"), ("x", "y"), ("left", "right"), ("first", "second"))
"""What ends the names of two columns that are called alike."""


def pair_of(texts: Sequence[str], may_be: Sequence[str]) -> tuple[str, str] | None:
    """Two columns, in the order of the table.

    Args:
        texts: Columns of free text.
        may_be: Columns of texts, also of short ones, such as answers; one of the two is free text.
    """
    spelled = {name: re.sub("[^a-z0-9]", "", name.lower()) for name in may_be}
    every = ((one, other) for one in may_be for other in may_be if one != other and {one, other} & {*texts})
    coupled = [both for both in every if _are_couple(*both, spelled)]
    chosen = coupled[0] if len(coupled) == 1 else (texts[0], texts[1]) if len(texts) == 2 else None
    return chosen and (min(chosen, key=may_be.index), max(chosen, key=may_be.index))


def _are_couple(one: str, other: str, spelled: Mapping[str, str]) -> bool:
    first, second = spelled[one], spelled[other]
    if (first, second) in COUPLES:
        return True
    return any(
        first.endswith(left) and second.endswith(right) and first.removesuffix(left) == second.removesuffix(right)
        for left, right in SIDES
    )
