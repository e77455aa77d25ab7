"""What an erasure intends, written before anything is changed, and what it did, kept for good.

`<state>/erasures/pending.json`   the intent, with the texts; it is there only while they are erased
`<state>/erasures/<name>.json`    what was touched, without them
"""

from pathlib import Path

from pydantic import Field, ValidationError

from lifecycle.core.errors import IntegrityError
from lifecycle.core.frozen import Frozen
from lifecycle.erasure.wanted import Subject
from lifecycle.storage.files import write_json

FOLDER, PENDING = "erasures", "pending.json"


class Touched(Frozen):
    """One thing that held rows, and how many."""

    kind: str
    what: str
    rows: dict[str, int] = Field(description="By split, quarantine, scored, rejected; entries elsewhere.")


class Fitted(Frozen):
    """A model that was fitted on erased rows: its parameters may hold their words, and nothing takes them out."""

    run_id: str
    model: str = Field(description="Registered name and version; empty if it was never registered.")
    version: int | None = None
    env: str = ""
    champion: bool = False
    command: str = Field(description="What retires or replaces it.")


class Left(Frozen):
    """Something that still holds rows, or of which nobody can say, and why."""

    what: str
    why: str


class Erasure(Frozen):
    """What was erased, where, and what is left."""

    erasure: str
    at: str
    by: str
    reason: str
    fingerprint: str = ""
    touched: tuple[Touched, ...] = ()
    fitted: tuple[Fitted, ...] = ()
    left: tuple[Left, ...] = ()
    unmet: dict[str, tuple[int, ...]] = Field(
        {}, description="Texts, keys and ids that no table held, by their places among those that were named, from 1."
    )
    searched: int = Field(0, description="Files that were looked into afterwards.")
    done: bool = False

    @property
    def facts(self) -> dict[str, str]:
        """What each manifest says of it."""
        return {"erasure": self.erasure, "at": self.at, "by": self.by, "reason": self.reason}


class Intent(Frozen):
    """An erasure that has begun."""

    subject: Subject
    texts: tuple[str, ...] = Field(repr=False)
    keys: tuple[str, ...] = Field((), repr=False)
    tables: tuple[str, ...] = ()
    planned: Erasure


def begin(state: Path, intent: Intent) -> None:
    """Write down what is about to be done; only its user may read it."""
    folder = state / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(folder / PENDING, intent.model_dump(mode="json"))


def pending(state: Path) -> Intent | None:
    """What was begun and not completed.

    Raises:
        IntegrityError: It cannot be read.
    """
    path = state / FOLDER / PENDING
    if not path.is_file():
        return None
    try:
        return Intent.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise IntegrityError(f"{path} cannot be read: {error.errors()[0]['msg']}.", "Restore it from a copy.") from None


def complete(state: Path, erasure: Erasure) -> None:
    """Keep what was done; the texts go last."""
    write_json(state / FOLDER / f"{erasure.erasure}.json", erasure.model_dump(mode="json"))


def forget(state: Path) -> None:
    """Remove the intent of an erasure that is complete."""
    (state / FOLDER / PENDING).unlink(missing_ok=True)


def known(state: Path) -> list[Erasure]:
    """All erasures that are complete, by name."""
    paths = sorted(path for path in (state / FOLDER).glob("*.json") if path.name != PENDING)
    return [Erasure.model_validate_json(path.read_bytes()) for path in paths]
