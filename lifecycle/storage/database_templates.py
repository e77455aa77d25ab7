"""Empty databases of MLflow and Prefect with the tables of the installed release, kept in the user's cache.

To make the tables of a new database costs seconds, to copy them nothing. The cache is only a short cut: one that is
missing, damaged or not writable costs that time and nothing else.
"""

import logging
import os
import shutil
import sqlite3
import sys
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path

from lifecycle.core.writer_process import mark
from lifecycle.storage.files import TEMPORARY, cache_folder, publish_file

logger = logging.getLogger(__name__)


def template(product: str) -> Path:
    """Where the empty database of the installed release of a product is kept."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return cache_folder() / f"{product}-{version(product)}-python{python}.db"


def revision(product: str) -> str:
    """The revision of the tables of the installed release, if an empty database of it is kept; else empty."""
    try:
        return _check(template(product))
    except (OSError, RuntimeError, sqlite3.Error):
        return ""


def copy(product: str, database: Path) -> bool:
    """Begin a database as a copy; False if there is nothing to copy. One that appeared meanwhile is left as it is."""
    temporary = database.with_name(f"{TEMPORARY}{mark()}-{database.name}")
    try:
        shutil.copyfile(template(product), temporary)
        _check(temporary)
        with suppress(FileExistsError):
            os.link(temporary, database)
    except (OSError, RuntimeError, sqlite3.Error) as error:
        logger.debug("No empty database of %s to copy: %s", product, error)
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def keep(product: str, database: Path, *, without: tuple[str, ...] = ()) -> None:
    """Keep a database that was just migrated for the next `copy`, `without` the rows of some tables."""
    try:
        path = template(product)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with publish_file(path) as temporary:
            with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
                connection.execute("VACUUM INTO ?", (str(temporary),))
            with closing(sqlite3.connect(temporary)) as connection, connection:
                for table in without:
                    connection.execute(f"DELETE FROM {table}")  # noqa: S608  our own names
    except (OSError, RuntimeError, sqlite3.Error) as error:
        logger.debug("The empty database of %s is not kept: %s", product, error)


def _check(database: Path) -> str:
    """The revision of a whole database; raise unless it is one whose tables were made."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        if connection.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError(f"{database} is damaged")
        if found := connection.execute("SELECT version_num FROM alembic_version").fetchone():
            return str(found[0])
        raise sqlite3.DatabaseError(f"{database} has no tables")
