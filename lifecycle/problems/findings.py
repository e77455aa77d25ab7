"""What an evaluation finds: estimates with their intervals, and lines per slice and behaviour check."""

from typing import Literal

from pydantic import Field

from lifecycle.core.frozen import Frozen


def shown(value: float, sign: str = "") -> str:
    """A number as a person reads it: three decimals where these say something, and no more than that."""
    if abs(value) >= 1000:
        return format(value, f"{sign},.0f")
    return format(value, f"{sign}.3f" if value == 0 or abs(value) >= 0.001 else f"{sign}.3g")


def briefly(value: float, digits: int = 3) -> str:
    """A limit as a person would set it: no decimals but those that say something."""
    return f"{value + 0:,.0f}" if abs(value) >= 1000 else f"{value + 0:.{digits}g}"


class Interval(Frozen):
    """An estimate with its confidence interval."""

    value: float
    low: float
    high: float


class SliceLine(Frozen):
    """A slice of the rows: how well both models do there, and whether the challenger is worse by more than chance."""

    name: str
    quality: str = Field("accuracy", description="What is measured of both models.")
    rows: int
    challenger: Interval
    champion: Interval | None = None
    gain: float | None = None
    p: float | None = Field(None, description="Adjusted for the number of parts (Benjamini-Hochberg).")
    outcome: Literal["pass", "fail", "too_few"]


class BehaviourLine(Frozen):
    """One behaviour check: how many of its cases failed, with Wilson's interval of that share, and examples."""

    suite: str
    name: str
    kind: Literal["invariance", "direction", "minimum_functionality", "relation"]
    cases: int
    failures: int
    low: float
    high: float
    limit: float
    outcome: Literal["pass", "fail"]
    examples: tuple[dict[str, str], ...] = ()
