"""The names that our tags have in a registry: Unity Catalog takes no `.` in a key, so there they have `_` instead.

Everywhere else in this project they are called as in MLflow's own registries. Entries that were written with those
names before the rule was known are read as well, for ever; where both are there, the newer one counts.
"""

import re
from collections.abc import Mapping

from lifecycle.core.writer_process import OWNER

RESERVED_SIGNS = re.compile(r"[.,\-=/:]")
"""What the key of a tag in Unity Catalog must not hold."""
_PREFIXES = (("promotion.retired.", "promotion_retired_"), ("promotion.", "promotion_"))
_ALONE = {OWNER: OWNER.replace(".", "_")}
_OF_REGISTRY = {stored: name for name, stored in _ALONE.items()}


def stored(name: str) -> str:
    """What one of our tags is called in Unity Catalog; another's tag keeps its name."""
    for prefix, instead in _PREFIXES:
        if name.startswith(prefix):
            return instead + name.removeprefix(prefix)
    return _ALONE.get(name, name)


def ours(name: str) -> str:
    """The tag of ours that a name in Unity Catalog stands for, or the name itself."""
    for prefix, instead in _PREFIXES:
        if name.startswith(instead):
            return prefix + name.removeprefix(instead)
    return _OF_REGISTRY.get(name, name)


def read(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags of a model or version in Unity Catalog under the names by which we know them."""
    found = {name: value for name, value in tags.items() if ours(name) == name}
    return found | {ours(name): value for name, value in tags.items() if ours(name) != name}


def write(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags under the names that Unity Catalog takes, with values that neither begin nor end with a space."""
    return {stored(name): value.strip() for name, value in tags.items()}


def unfit(name: str) -> str:
    """The characters of a tag's name that Unity Catalog does not take, as they are to be said; empty if it takes it."""
    return " ".join(dict.fromkeys(RESERVED_SIGNS.findall(stored(name))))
