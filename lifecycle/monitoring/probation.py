"""A new champion is on probation: by which rule, and where it stands; light, since `mlops status` reads it.

The champion before it scores the same batches in the shadow. What both have is the world's doing: what the new one
alone has is a reason to roll it back.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import ValidationError

from lifecycle.core.errors import IntegrityError
from lifecycle.core.frozen import Frozen
from lifecycle.monitoring.findings import Cause, Line
from lifecycle.storage import volumes

FILE = "probation.json"
State = Literal["none", "running", "passed", "broken", "rolled back"]
Key = tuple[str, str, str]


class Probation(Frozen):
    """Where the champion of a model stands: on probation or not, and why."""

    model: str
    state: State
    reason: str = ""
    """Why there is none, or what else is to be said."""
    entry: int = 0
    """The number of its promotion in the log."""
    version: int = 0
    former: int = 0
    since: datetime | None = None
    champion_since: datetime | None = None
    """When its champion became that."""
    previous: int | None = None
    """The champion that a rollback leads to; 0 if there is none, None if an earlier release has written this."""
    until: datetime | None = None
    batches: int = 0
    of: int = 0
    causes: tuple[Cause, ...] = ()

    @property
    def champion(self) -> int:
        """The version that is champion; 0 if there is none."""
        return self.former if self.state == "rolled back" else self.version

    @property
    def is_over(self) -> bool:
        """Whether its time has passed, whoever has looked since."""
        return self.until is not None and datetime.now(UTC) > self.until

    @property
    def told(self) -> str:
        """One sentence for people."""
        count = f"{self.batches} of {self.of} batches"
        if self.state == "none":
            return f"no probation: {self.reason}"
        if self.state == "rolled back":
            return f"v{self.version} was rolled back by itself to v{self.former}: {self.why}"
        if self.state == "broken":
            return f"v{self.version} has broken its probation ({count}): {self.why}"
        if self.state == "passed" or self.is_over:
            return f"v{self.version} has passed its probation ({count})"
        return f"v{self.version} is on probation: {count}, until {self.until:%Y-%m-%d}; v{self.former} in the shadow"

    @property
    def why(self) -> str:
        """What the version had that the former champion had not."""
        return "; ".join(cause.told for cause in self.causes) + f"; not so of v{self.former}"


class Pair(NamedTuple):
    """What was measured of one batch: of the champion's answers, and of those of the champion before it."""

    new: tuple[Line, ...]
    former: tuple[Line, ...]


def causes(pairs: Sequence[Pair], least: int) -> tuple[Cause, ...]:
    """What was beyond its limit in enough batches, and not of the former champion too; the most frequent first."""
    worse = [{_key(line): line for line in _worse(pair)} for pair in pairs]
    counts = Counter(key for found in worse for key in found)
    last = {key: line for found in worse for key, line in found.items()}
    broken = [(key, count) for key, count in counts.items() if count >= least]
    return tuple(
        Cause(part=key[0], name=key[1], measure=key[2], batches=count, value=last[key].value, limit=last[key].limit)
        for key, count in sorted(broken, key=lambda each: (-each[1], each[0]))
    )


def read(root: Path, name: str) -> Probation | None:
    """Where the champion of a model stood when it was last looked at; None if nobody ever did."""
    path = root / name / FILE
    if not volumes.exists(path):
        return None
    try:
        return Probation.model_validate_json(volumes.read(path))
    except ValidationError as error:
        raise IntegrityError(f"{path} is damaged: {error.errors()[0]['msg']}.", "Remove it.") from None


def every(root: Path) -> list[Probation]:
    """Where the champion of each model stood when it was last looked at; on a volume nobody is asked."""
    if volumes.on_volume(root):
        return []
    found = (read(root, path.parent.name) for path in sorted(volumes.glob(root, f"*/{FILE}")))
    return [each for each in found if each]


def _worse(pair: Pair) -> Iterator[Line]:
    also = {_key(line): line for line in _beyond(pair.former)}
    for line in _beyond(pair.new):
        theirs = also.get(_key(line))
        if theirs is None or (line.part == "performance" and _is_clearly_worse(line, theirs)):
            yield line


def _is_clearly_worse(new: Line, former: Line) -> bool:
    """Of two metrics that both fell: whether their intervals are apart. One that is beyond has moved the bad way."""
    if None in {new.before, new.now, new.low, new.high, former.low, former.high}:
        return False
    fell = (new.now or 0.0) < (new.before or 0.0)
    return (new.high or 0.0) < (former.low or 0.0) if fell else (new.low or 0.0) > (former.high or 0.0)


def _beyond(lines: Iterable[Line]) -> list[Line]:
    return [line for line in lines if line.beyond]


def _key(line: Line) -> Key:
    return line.part, line.name, line.measure
