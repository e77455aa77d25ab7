"""Prefect's database below a state directory, the history of runs: looked at before a server opens it.

Neither models nor data depend on it. What a server would only stumble over is said here in one line; one of an earlier
release is copied before the server changes its tables; one that cannot be read is set aside and a new one begun.
"""

import importlib.util
import logging
import os
import re
import shlex
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from lifecycle.core.errors import MAKE_ROOM, ConfigError, ConflictError, of_the_machine

NAME = "prefect.db"
DATABASES = ("PREFECT_API_DATABASE_CONNECTION_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL")
"""Variables by which a person puts Prefect's history elsewhere, for example into Postgres."""
BESIDE = ("-wal", "-shm")
"""What sqlite keeps beside a database that is in use; it belongs to no other one."""
CHECKED_BYTES = 200 * 2**20
"""Up to this size a history is read through before it is used: a tenth of a second for each 50 MB."""
REVISION = re.compile(r"^(down_revision|revision) = [\"'](\w+)[\"']", re.MULTILINE)

logger = logging.getLogger("lifecycle.history")  # shown by `runner.progress`


def is_elsewhere() -> bool:
    """Whether the environment names a database, so that the one in the folder is not used."""
    return any(os.environ.get(name) for name in DATABASES)


def prepare(folder: Path) -> None:
    """Make sure that the installed Prefect can use the history of a folder.

    Raises:
        ConfigError: It cannot be opened or written.
        ConflictError: It is of another release of Prefect, whose tables this one does not know.
    """
    database = folder / NAME
    if is_elsewhere():
        return
    try:
        if not database.exists():
            return
        found = _revision(database)
    except (sqlite3.OperationalError, PermissionError) as error:  # it cannot be opened: no fault of its content
        what, refused = f"Prefect's history {database} cannot be used: {error}.", of_the_machine(error, database)
        full = refused and refused.fix == MAKE_ROOM
        fix = MAKE_ROOM if full else "Make it writable, or name another folder: export PREFECT_HOME=…"
        raise ConfigError(what, fix) from None
    except sqlite3.DatabaseError as error:
        kept = _aside(database)
        logger.warning("Prefect's history was damaged (%s): it is now %s, and a new one begins", error, kept)
        return
    known = _known_revisions()
    if not found or not known or found == _head(known):
        return
    if found not in known:
        _refuse(database, found)
    _keep_copy(database, found)


def _revision(database: Path) -> str:
    """The revision of the tables, after a look at the whole of it; empty if there are none."""
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=rw", uri=True, timeout=1)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        _require_writable(connection)
        if database.stat().st_size <= CHECKED_BYTES:
            problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                raise sqlite3.DatabaseError(" ".join(str(problem).split()))
        if "alembic_version" not in tables:
            return ""
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(row[0]) if row else ""


def _require_writable(connection: sqlite3.Connection) -> None:
    try:
        number = connection.execute("PRAGMA user_version").fetchone()[0]
        connection.execute("BEGIN IMMEDIATE")  # which one that may only be read allows, too
        connection.execute(f"PRAGMA user_version = {number:d}")
        connection.rollback()
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):  # by another command, which is as it should be
            raise


def _known_revisions() -> dict[str, str]:
    """Each revision that the installed release knows, with the one before it; nothing if its files lie elsewhere."""
    spec = importlib.util.find_spec("prefect")
    places = list(spec.submodule_search_locations or []) if spec else []
    known: dict[str, str] = {}
    for place in places:
        for path in Path(place).glob("server/database/_migrations/versions/sqlite/*.py"):
            names = dict(REVISION.findall(path.read_text(encoding="utf-8")))
            if "revision" in names:
                known[names["revision"]] = names.get("down_revision", "")
    return known


def _head(known: dict[str, str]) -> str:
    """The revision that no other one is built on."""
    return next(iter(known.keys() - set(known.values())), "")


def _refuse(database: Path, revision: str) -> None:
    release = version("prefect")
    what = f"Prefect's history {database} was written by another release of Prefect (revision {revision}); "
    what += f"{release}, which is installed, cannot read it."
    aside = f"mv {shlex.quote(str(database))} {shlex.quote(f'{database}.{revision}')}"
    raise ConflictError(what, f"Install that release, or begin a new history, which no model depends on: {aside}")


def _keep_copy(database: Path, revision: str) -> None:
    """Copy a history before the server brings its tables up to date; a copy that is there is older, and stays."""
    copy = database.with_name(f"{database.name}.{revision}.copy")
    if not copy.exists():
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("VACUUM INTO ?", (str(copy),))
    logger.info("Prefect's history is of an earlier release; it is brought up to date, and was kept as %s", copy)


def _aside(database: Path) -> Path:
    """Give a history another name, with what sqlite keeps beside it."""
    kept = database.with_name(f"{database.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
    for suffix in ("", *BESIDE):
        path = database.with_name(database.name + suffix)
        if path.exists():
            path.rename(kept.with_name(kept.name + suffix))
    return kept
