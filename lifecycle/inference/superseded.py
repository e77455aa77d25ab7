"""A batch that another one takes the place of: it stays where it is, with a file beside its parts that says so.

Whoever reads predictions passes over a folder that holds `superseded.json`.
"""

import json
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from lifecycle.core.frozen import Frozen
from lifecycle.storage import volumes
from lifecycle.storage.files import write_json

FILE = "superseded.json"


class Replacement(Frozen):
    """What a batch takes the place of, and where the same predictions were made before, if they were."""

    folder: Path = Field(description="The published batch that is superseded.")
    made_aside: Path | None = Field(
        None, description="Predictions of the same table by the same model, which are published as they are."
    )
    reason: str


def mark(replaced: Replacement, instead: Path | None) -> None:
    """Say of a batch that it does not count any more; again changes nothing."""
    path = replaced.folder / FILE
    if volumes.exists(path):
        return
    said = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "reason": replaced.reason,
        "instead": str(instead) if instead else None,
    }
    if volumes.on_volume(path):
        volumes.write(path, json.dumps(said).encode())
    else:
        write_json(path, said)


def is_marked(folder: Path) -> bool:
    """Whether a published batch does not count any more."""
    return volumes.exists(folder / FILE)


def instead(folder: Path) -> str:
    """What has taken the place of a batch; empty if nothing has."""
    if not is_marked(folder):
        return ""
    return str(json.loads(volumes.read(folder / FILE)).get("instead") or "")


def unmark(folder: Path) -> None:
    """Let a batch count again: its version is champion again, because a person wants it."""
    volumes.remove(folder / FILE)
