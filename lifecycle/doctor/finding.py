"""What an examination answers: one finding for each thing that was looked at."""

from collections.abc import Callable
from typing import Literal

from lifecycle.core.frozen import Frozen


class Finding(Frozen):
    """One thing that was looked at."""

    state: Literal["ok", "problem", "repaired"]
    what: str
    message: str


def ok(what: str, message: str) -> Finding:
    """Nothing is wrong here."""
    return Finding(state="ok", what=what, message=message)


def problem(what: str, message: str) -> Finding:
    """Something is wrong that a person must decide on."""
    return Finding(state="problem", what=what, message=message)


def repairable(what: str, message: str, repair: bool, action: Callable[[], object]) -> Finding:
    """Something is wrong that needs no decision: with `repair` it is put right."""
    if not repair:
        return problem(what, f"{message} Run: mlops doctor --repair")
    action()
    return Finding(state="repaired", what=what, message=message)
