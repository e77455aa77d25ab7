"""Erase texts from databases and from files that hold text: what Prefect and MLflow keep of runs, logs, evidence.

In a database every cell of every table is looked at, whatever release has made it, and the file is written anew
afterwards: what was deleted stays in free pages until then.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from lifecycle.core.errors import TransientError
from lifecycle.erasure.forms import Forms
from lifecycle.storage.files import publish_file

SQLITE = b"SQLite format 3\0"
BESIDE = ("-wal", "-shm", "-journal")
"""How files of sqlite's end that belong to a database and go with it."""
BUSY_SECONDS = 10


def is_database(path: Path) -> bool:
    """Whether a file is a sqlite database."""
    with path.open("rb") as file:
        return file.read(len(SQLITE)) == SQLITE


def text_of(path: Path) -> str | None:
    """The content of a file that holds text; None for any other one."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def cells_with(path: Path, forms: Forms) -> int:
    """How many cells of a database hold one of the texts, or show a row of them."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as database:
        return sum(1 for _ in _changes(database, forms))


def clean_database(path: Path, forms: Forms) -> int:
    """Take the texts out of all cells, in one transaction, and let nothing of them stay in the file.

    Raises:
        TransientError: Another process has the database open and is busy with it.
    """
    with closing(sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)) as database:
        try:
            database.execute("PRAGMA secure_delete = ON")
            database.execute("BEGIN IMMEDIATE")
            changes = list(_changes(database, forms))
            for table, column, row, kind, cleaned in changes:
                change = f"UPDATE {table} SET {column} = CAST(? AS {kind}) WHERE rowid = ?"  # noqa: S608
                database.execute(change, (cleaned, row))
            database.execute("COMMIT")
            database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.OperationalError as error:
            raise TransientError(f"{path}: {error}.", "Stop what uses it (mlops down), and try again.") from None
    return len(changes)


def clean_file(path: Path, forms: Forms) -> bool:
    """Take the texts out of a file that holds text, in one step; tells whether it held one."""
    before = text_of(path)
    after = None if before is None else forms.cleaned(before)
    if after is None or after == before:
        return False
    with publish_file(path) as temporary:
        temporary.write_text(after, encoding="utf-8", newline="")
        temporary.chmod(path.stat().st_mode & 0o777)
    return True


def shows(path: Path, forms: Forms) -> bool:
    """Whether `clean_file` would change a file."""
    before = text_of(path)
    return before is not None and forms.cleaned(before) != before


def _changes(database: sqlite3.Connection, forms: Forms) -> Iterator[tuple[str, str, int, str, bytes]]:
    """Each cell that must change: table, column, row, type and new content."""
    for (table,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
        name = _quoted(table)
        for _, column, *_ in database.execute(f"PRAGMA table_info({name})").fetchall():
            cell = _quoted(column)
            read = f"SELECT rowid, typeof({cell}), CAST({cell} AS BLOB) FROM {name}"  # noqa: S608
            for row, kind, content in database.execute(f"{read} WHERE typeof({cell}) IN ('text', 'blob')"):
                text = content.decode("utf-8", "surrogateescape")
                cleaned = forms.cleaned(text)
                if cleaned != text:
                    yield name, cell, row, kind, cleaned.encode("utf-8", "surrogateescape")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
