"""Where models stand, as it was last written: the part of monitoring that a light command reads."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from lifecycle.core.errors import IntegrityError, NotFoundError
from lifecycle.monitoring.findings import Alert, Silence, Standing
from lifecycle.storage import volumes

T = TypeVar("T", bound=BaseModel)

FILE, SILENCES = "standing.json", "silences"


def read(root: Path, name: str) -> Standing:
    """Where a model stands.

    Raises:
        NotFoundError: No batch of it was measured yet.
    """
    path = root / name / FILE
    if not volumes.exists(path):
        what = f"No batch of {name} was measured yet."
        fix = "Score a table that it was not made of: mlops infer --input …; one that is scored already is measured by "
        fix += "the same command again. Is the name right? mlops model list"
        raise NotFoundError(what, fix)
    return _read(path, Standing)


def every(root: Path) -> list[Standing]:
    """Where each model stands of which a batch was measured, by name; on a volume nobody is asked."""
    if volumes.on_volume(root):
        return []
    return [_read(path, Standing) for path in volumes.glob(root, f"*/{FILE}")]


def silenced(root: Path, alert: Alert) -> Silence | None:
    """Who has silenced an alert, as long as that holds."""
    path = root / alert.model / SILENCES / f"{alert.id}.json"
    if not volumes.exists(path):
        return None
    found = _read(path, Silence)
    return found if found.until > datetime.now(UTC) else None


def _read(path: Path, kind: type[T]) -> T:
    try:
        return kind.model_validate_json(volumes.read(path))
    except ValidationError as error:
        raise IntegrityError(f"{path} is damaged: {error.errors()[0]['msg']}.", "Remove it.") from None
