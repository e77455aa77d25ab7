"""What an evaluation finds: estimates with their intervals, and lines per slice and behaviour check."""

from typing import Literal

from pydantic import Field

from lifecycle.core.frozen import Frozen


class Interval(Frozen):
    """An estimate with its confidence interval."""

    value: float
    low: float
    high: float


class SliceLine(Frozen):
    """One part of the rows: accuracy of both models there, and whether the challenger is worse by more than chance."""

    name: str
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
    kind: Literal["invariance", "direction", "minimum_functionality"]
    cases: int
    failures: int
    low: float
    high: float
    limit: float
    outcome: Literal["pass", "fail"]
    examples: tuple[dict[str, str], ...] = ()
