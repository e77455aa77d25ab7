"""A state directory that was moved, restored or copied: the addresses in its MLflow database follow it.

MLflow records absolute addresses. Beside an embedded database all artifacts lie in the folder `artifacts`, so where an
experiment of ours names another folder of that name, the state lay there before. What only the former place holds is
copied, never moved: it may be the original of a copy.
"""

import json
import logging
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from lifecycle.core.writer_process import OWNER
from lifecycle.storage.files import publish_folder

logger = logging.getLogger(__name__)

ARTIFACTS = "artifacts"
EXPERIMENTS = ("experiments", "artifact_location")
ADDRESSES = (
    EXPERIMENTS,
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
    ("datasets", "dataset_source"),
    ("trace_tags", "value"),
)
"""Table and column of whatever names a place; the experiments' are also where future runs will write."""
OURS = f"""
SELECT DISTINCT artifact_location FROM experiments AS e
WHERE name GLOB '*-dev' OR name GLOB '*-staging' OR name GLOB '*-prod' OR EXISTS (
  SELECT 1 FROM runs AS r JOIN tags AS t ON t.run_uuid = r.run_uuid
  WHERE r.experiment_id = e.experiment_id AND t.key = '{OWNER}')
"""  # noqa: S608  our own name
LOCK_SECONDS = 20


class Change(NamedTuple):
    """An address that names a former place: the row, what it holds now, and both places."""

    table: str
    column: str
    row: int
    text: str
    old: Path
    new: Path

    @property
    def rewritten(self) -> str:
        """What the row must hold: the same form with the new place."""
        if self.text.startswith("{"):
            return json.dumps({**json.loads(self.text), "uri": self.new.as_uri()})
        return self.new.as_uri() if self.text.startswith("file:") else str(self.new)


def former_places(database: Path) -> tuple[Path, ...]:
    """The state directories in which the experiments of a database say to lie, other than the one where it lies.

    A database that is itself behind a link belongs to the folder it lies in, whoever links to it.
    """
    if database.is_symlink():
        return ()
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=LOCK_SECONDS)) as connection:
        named = {local_path(text) for (text,) in connection.execute(OURS)}
    roots = {path.parent for path in named if path and path.name == ARTIFACTS}
    return tuple(sorted(root for root in roots if not _is_same(root, database)))


def reroot(database: Path) -> int:
    """Let every address that names a former place name the present one, in one transaction; tells how many.

    Who does it again, or after a kill, does what is left.
    """
    places = former_places(database)
    if not places:
        return 0
    with closing(sqlite3.connect(database, timeout=LOCK_SECONDS, isolation_level=None)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        changes = [each for place in places for each in _changes(connection, place, database.parent)]
        for change in changes:
            _bring(change)
            update = f"UPDATE {change.table} SET {change.column} = ? WHERE rowid = ?"  # noqa: S608  our own names
            connection.execute(update, (change.rewritten, change.row))
    logger.warning(
        "This state was moved from %s: %d addresses in %s name its present place now.",
        " and ".join(map(str, places)),
        len(changes),
        database,
    )
    return len(changes)


def local_path(address: str) -> Path | None:
    """The absolute path that an address names on this machine; None for any other kind of address."""
    try:
        path = Path(url2pathname(urlsplit(address).path) if address.startswith("file:") else address)
    except ValueError:
        return None
    return path if path.is_absolute() else None


def lies_within(address: str, folder: Path) -> bool:
    """Tell whether an address names something below a folder, with every link followed.

    Of the folder itself none is: what a link in its place leads to may be another state's.
    """
    path, place = local_path(address), Path(os.path.realpath(folder.parent), folder.name)
    return path is not None and place in Path(os.path.realpath(path)).parents


def _is_same(root: Path, database: Path) -> bool:
    """Tell whether a recorded place is where the database lies, by whatever link or mount it is reached."""
    if os.path.realpath(root) == os.path.realpath(database.parent):
        return True
    with suppress(OSError):
        return (root / database.name).samefile(database)
    return False


def _changes(connection: sqlite3.Connection, place: Path, here: Path) -> Iterator[Change]:
    for table, column in ADDRESSES:
        rows = connection.execute(f"SELECT rowid, {column} FROM {table} WHERE {column} LIKE '%/%'")  # noqa: S608
        for row, text in rows.fetchall():
            old = _named_by(text)
            if old and old.is_relative_to(place) and not old.is_relative_to(here) and ".." not in old.parts:
                yield Change(table, column, row, text, old, here / old.relative_to(place))


def _named_by(text: str) -> Path | None:
    """The path that a column names: an address, or a dataset's source that holds one."""
    if not text.startswith("{"):
        return local_path(text)
    with suppress(ValueError, TypeError, AttributeError):
        return local_path(json.loads(text).get("uri") or "")
    return None


def _bring(change: Change) -> None:
    """Copy the files of a run or model that are at the former place alone; what cannot be read there is lost."""
    wanted = (change.table, change.column) != EXPERIMENTS and change.table != "datasets"
    with suppress(PermissionError):
        if wanted and change.old.is_dir() and not change.new.exists():
            with publish_folder(change.new) as folder:
                shutil.copytree(change.old, folder, dirs_exist_ok=True)
            logger.info("Copied %s", change.old)
