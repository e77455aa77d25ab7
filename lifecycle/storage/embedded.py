"""The MLflow database in a state directory: made whole, upgraded after a backup, at home where it lies.

Every step works on a copy under a temporary name, or in one transaction, and under a lock: neither a kill nor two
processes that start at once leave anything half-done.
"""

import logging
import os
import shlex
import shutil
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from lifecycle.core.errors import ConfigError, IntegrityError, TransientError, of_the_machine
from lifecycle.storage import database_templates, moved_state
from lifecycle.storage.files import check_place, publish_file

logger = logging.getLogger(__name__)

LOCK_SECONDS = 20
BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def prepare(path: Path) -> None:
    """Make a database on first use, upgrade one of an older MLflow, and follow one that was moved.

    Raises:
        ConfigError: A newer MLflow made it, or its path cannot hold one.
        IntegrityError: What is there is no database of MLflow, or a damaged one; or there is none beside its models.
        TransientError: Another process holds it.
    """
    check_place(path)
    if not os.path.lexists(path):
        require_no_models(path)
        _make(path)
    if is_older(path):
        _upgrade(path)
    if moved_state.former_places(path):
        _follow(path)


def is_older(path: Path) -> bool:
    """Tell whether an older release of MLflow made a database.

    Raises:
        ConfigError: A newer one did.
        IntegrityError: What is there is no database of MLflow, or a damaged one.
    """
    found = revision(path)
    if found == database_templates.revision("mlflow"):  # saves reading all migrations
        return False
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    scripts = ScriptDirectory.from_config(_get_alembic_config(""))
    known = {script.revision for script in scripts.walk_revisions()}
    if found not in known:
        raise ConfigError(
            f"{path} has tables of revision {found}, which MLflow {version('mlflow')} does not know: a newer MLflow "
            "made it.",
            "Upgrade MLflow (pip install --upgrade mlflow), or restore the copy from before.",
        )
    return found not in scripts.get_heads()


def revision(path: Path) -> str:
    """The revision of a database's tables.

    Raises:
        IntegrityError: What is there is no database of MLflow, or a damaged one.
        TransientError: Another process holds it.
    """
    restore = f"Restore it from a copy; if nothing was ever trained here, remove it: rm -r {shlex.quote(str(path))}"
    if not path.exists():
        raise ConfigError(f"{path} is a link to {path.readlink()}, which is not there.", "Mount it, or mend the link.")
    if not path.is_file():
        raise IntegrityError(f"{path} is not a file, but MLflow's database belongs there.", restore)
    if not path.stat().st_size:
        raise IntegrityError(f"{path} is empty: it is no database.", restore)
    _roll_back(path)
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=LOCK_SECONDS)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not {"alembic_version", "experiments"} <= tables:
                raise IntegrityError(f"{path} is a database, but not one of MLflow.", restore)
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as error:
        if refused := of_the_machine(error, path):
            raise refused from error
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in BUSY:
            what = f"{path} has been held by another process for {LOCK_SECONDS} s."
            raise TransientError(what, "Try again when its command has ended.") from error
        raise IntegrityError(f"{path} is damaged, or no database: {error}.", restore) from error
    if not found:
        raise IntegrityError(f"{path} does not say of which revision its tables are: it is damaged.", restore)
    return str(found[0])


def _roll_back(path: Path) -> None:
    """Undo what a process that was killed within a transaction has left: who opens it to read alone may not do that."""
    if not path.with_name(f"{path.name}-journal").exists():
        return
    writable = f"{path.as_uri()}?mode=rw"
    with (
        suppress(sqlite3.Error),  # whoever may not write is told so by what comes next
        closing(sqlite3.connect(writable, uri=True, timeout=LOCK_SECONDS)) as connection,
    ):
        connection.execute("SELECT name FROM sqlite_master").fetchone()


def require_no_models(path: Path) -> None:
    """A new database would know nothing of them, and number its versions as if they had never been.

    Raises:
        IntegrityError: There are models whose database is gone.
    """
    artifacts = path.parent / moved_state.ARTIFACTS
    if any(artifacts.glob("models/m-*/artifacts/MLmodel")):
        what = f"{path} is missing, but the models that it describes are in {artifacts}."
        fix = "Restore it from a copy; to begin anew, move the state directory away: mv {0} {0}.old".format(
            shlex.quote(str(path.parent))
        )
        raise IntegrityError(what, fix)


def _make(path: Path) -> None:
    from filelock import FileLock
    from mlflow import MlflowClient

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(_lock(path)):
        if not path.exists():
            with publish_file(path) as temporary:
                copied = database_templates.copy("mlflow", temporary)
                MlflowClient(f"sqlite:///{temporary}").search_experiments(max_results=1)
            if not copied:  # its one experiment names a folder of this process
                database_templates.keep("mlflow", path, without=("experiments",))


def _upgrade(path: Path) -> None:
    """Upgrade a copy, keep what was there under a name of its own, and put the copy in its place."""
    from filelock import FileLock
    from mlflow.store.db.utils import _initialize_tables
    from sqlalchemy import create_engine
    from sqlalchemy.engine import URL

    with FileLock(_lock(path)):
        if not is_older(path):
            return
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        backup = path.with_name(f"{path.stem}-{revision(path)}-{moment}{path.suffix}")
        with publish_file(path) as temporary:
            with closing(sqlite3.connect(path, timeout=LOCK_SECONDS)) as connection:
                connection.execute("PRAGMA journal_mode = DELETE")  # nothing of it is left in another file
                connection.execute("VACUUM INTO ?", (str(temporary),))
            engine = create_engine(URL.create("sqlite", database=str(temporary)))
            _initialize_tables(engine)
            engine.dispose()
            with publish_file(backup) as copy:
                shutil.copyfile(path, copy)
    logger.warning(
        "Upgraded %s to the tables of MLflow %s; as it was it is kept in %s", path, version("mlflow"), backup
    )


def _follow(path: Path) -> None:
    """Bring a moved state's addresses along; one that cannot be written stays as it is, and can be read."""
    from filelock import FileLock

    try:
        with FileLock(_lock(path)):
            moved_state.reroot(path)
    except (OSError, sqlite3.OperationalError) as error:
        refused = of_the_machine(error, path)
        if refused is None:
            raise
        logger.warning("This state was moved, and its addresses still name the former place: %s", refused)


def _lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")
