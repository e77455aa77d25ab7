"""Some inputs of a batch, kept while it is scored for whoever measures it after: to read the table again costs more.

Which rows these are follows from their numbers alone: those that come first when the numbers are mixed. So a sample of
several parts is made of theirs, in whatever order these come.
"""

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd

from lifecycle.core.errors import MlopsError, NotFoundError
from lifecycle.storage import volumes

logger = logging.getLogger(__name__)

ROWS = 2_000
"""Enough to tell how a batch differs; of a smaller one it is every row."""


def of(rows: pd.DataFrame) -> pd.DataFrame:
    """The sample of some rows, which are indexed by their numbers."""
    if len(rows) <= ROWS:
        return rows
    mixed = rows.index.to_numpy(np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # modulo 2**64
    return rows.iloc[np.argpartition(mixed, ROWS)[:ROWS]]


def keep(path: Path, rows: pd.DataFrame, seconds: float | None = None) -> None:
    """Write a sample, and how long the whole batch took.

    JSON holds every cell that was read, halves of surrogate pairs included.

    A batch does not fail of it: who measures it then reads the table again.
    """
    cells = {str(name): rows[name].to_list() for name in rows}
    try:
        volumes.write(path, json.dumps({"rows": rows.index.to_list(), "cells": cells, "seconds": seconds}).encode())
    except (MlopsError, OSError) as error:
        logger.warning("No inputs are kept for monitoring: %s", error)


def take(path: Path) -> pd.DataFrame | None:
    """A sample that was kept, ordered by row; None if there is none, or only a part of it."""
    try:
        read = json.loads(volumes.read(path))
        return pd.DataFrame(read["cells"], index=pd.Index(read["rows"], name="row"), dtype=object).sort_index()
    except (NotFoundError, ValueError):
        return None


def seconds(path: Path) -> float | None:
    """How long it took to score the batch of a sample that was kept; None if nobody has said so."""
    try:
        found = json.loads(volumes.read(path)).get("seconds")
        return None if found is None else float(found)
    except (NotFoundError, ValueError):
        return None
