"""A history of runs that the installed Prefect cannot use is named, kept or set aside before a server opens it.

Promise: Prefect's history and MLflow's database of another release are kept before they are changed, or named with
the way out (also `tests/unit/test_embedded.py`).
"""

import logging
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from cli import history
from lifecycle.core.errors import ConfigError, ConflictError, MlopsError
from tests.conftest import ROOT, exhaustive


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as connection, connection:
        yield connection


def of_revision(path: Path, revision: str) -> None:
    with opened(path) as database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
        database.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
        database.execute("CREATE TABLE flow_run (name VARCHAR, note VARCHAR)")
        database.executemany("INSERT INTO flow_run VALUES (?, ?)", [(f"run {i}", "x" * 500) for i in range(200)])


def head() -> str:
    known = history._known_revisions()
    return history._head(known)


def overwritten(path: Path, start: int, content: bytes) -> None:
    of_revision(path, head())
    with path.open("r+b") as file:
        file.seek(start)
        file.write(content)


def truncated(path: Path) -> None:
    of_revision(path, head())
    os.truncate(path, path.stat().st_size // 2)


USED_AS_IT_IS: dict[str, Callable[[Path], object]] = {
    "none": lambda path: path.with_name("other.db").touch(),
    "an empty file": lambda path: path.touch(),
    "an empty database": lambda path: sqlite3.connect(path).execute("VACUUM").connection.close(),
    "of this release": lambda path: of_revision(path, head()),
}
SET_ASIDE: dict[str, Callable[[Path], object]] = {
    "a text": lambda path: path.write_text("no database, although it is long enough to have a header" * 20),
    "zeros": lambda path: path.write_bytes(bytes(8192)),
    "another kind of file": lambda path: path.write_bytes(b"PK\x03\x04" + bytes(5000)),
    "half of it": truncated,
    "a page of noise": lambda path: overwritten(path, 4096, b"\xa5" * 4096),
    "noise in the middle": lambda path: overwritten(path, 6 * 4096, b"\xa5" * 8192),
    "a damaged schema": lambda path: overwritten(path, 100, b"\xff" * 60),
    "a damaged header": lambda path: overwritten(path, 0, b"SQLite format 4\x00"),
}
REFUSED: dict[str, tuple[Callable[[Path], object], type[MlopsError], str]] = {
    "of a newer release": (lambda path: of_revision(path, "ffffffffffff"), ConflictError, "revision ffffffffffff"),
    "of a fork": (lambda path: of_revision(path, "it's mine"), ConflictError, "another release of Prefect"),
    "a folder": (lambda path: path.mkdir(), ConfigError, "cannot be used"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in history.DATABASES:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize("made", USED_AS_IT_IS.values(), ids=USED_AS_IT_IS)
def test_what_can_be_used_is_left_alone(folder: Path, made: Callable[[Path], object]) -> None:
    made(folder / "prefect.db")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    history.prepare(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("made", SET_ASIDE.values(), ids=SET_ASIDE)
def test_what_nothing_can_read_is_set_aside_and_kept(
    folder: Path, made: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    made(folder / "prefect.db")
    (folder / "prefect.db-wal").write_bytes(b"of the old one")
    before = (folder / "prefect.db").read_bytes()
    with caplog.at_level(logging.INFO, "lifecycle"):
        history.prepare(folder)
    assert not (folder / "prefect.db").exists()
    assert not (folder / "prefect.db-wal").exists()  # or the next one would be damaged by it
    [kept] = [path for path in folder.glob("prefect.db.damaged-*") if not path.name.endswith(("-wal", "-shm"))]
    assert kept.read_bytes() == before
    assert str(kept) in caplog.text


@pytest.mark.parametrize(("made", "kind", "said"), REFUSED.values(), ids=REFUSED)
def test_what_another_release_may_need_is_named_and_stays(
    folder: Path, made: Callable[[Path], object], kind: type[MlopsError], said: str
) -> None:
    made(folder / "prefect.db")
    with pytest.raises(kind, match=said) as raised:
        history.prepare(folder)
    assert "\n" not in str(raised.value)
    assert (folder / "prefect.db").exists()
    if kind is ConflictError:  # the way out is a command that works when it is pasted
        command = shlex.split(str(raised.value.fix).rpartition(": ")[2])
        assert subprocess.run(command).returncode == 0
        history.prepare(folder)
        assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("rights", [0o555, 0o000])
def test_one_that_may_not_be_written_is_named(rights: int) -> None:
    place = Path(tempfile.mkdtemp())
    try:
        of_revision(place / "prefect.db", head())
        (place / "prefect.db").chmod(0o444)
        place.chmod(rights)
        with another_user(), pytest.raises(ConfigError, match=r"readonly|unable to open|Permission denied"):
            history.prepare(place)
    finally:
        place.chmod(0o700)
        shutil.rmtree(place)


@contextmanager
def another_user() -> Iterator[None]:
    """Root may write everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_database_elsewhere_is_none_of_ours(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "prefect.db").write_text("text")
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "postgresql+asyncpg://db.example/prefect")
    history.prepare(folder)
    assert (folder / "prefect.db").read_text() == "text"


def test_one_that_another_command_writes_is_used(folder: Path) -> None:
    of_revision(folder / "prefect.db", head())
    with closing(sqlite3.connect(folder / "prefect.db")) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")
        history.prepare(folder)
    assert (folder / "prefect.db").exists()


UPGRADE = """
import asyncio, sys
from prefect.server.database.alembic_commands import alembic_upgrade
from prefect.utilities.asyncutils import run_sync_in_worker_thread
asyncio.run(run_sync_in_worker_thread(alembic_upgrade, sys.argv[1]))
"""


@exhaustive  # the upgrade: tests/unit/test_embedded.py
def test_one_of_an_earlier_release_is_kept_before_it_is_brought_up_to_date(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Made by Prefect's own migrations up to the last but one, and finished by them."""
    older = history._known_revisions()[head()]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
        "PYTHONPATH": str(ROOT),
    }

    def upgrade(revision: str) -> None:
        command = [sys.executable, "-c", UPGRADE, revision]
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    upgrade(older)
    with caplog.at_level(logging.INFO, "lifecycle"):
        history.prepare(folder)
        history.prepare(folder)  # one copy is enough
    [copy] = folder.glob("prefect.db.*.copy")
    assert str(copy) in caplog.text
    assert history._revision(copy) == older
    upgrade("head")
    assert history._revision(folder / "prefect.db") == head()
    before = sorted(folder.iterdir())
    history.prepare(folder)
    assert sorted(folder.iterdir()) == before


def test_the_revisions_are_those_that_prefect_knows() -> None:
    """It does not promise where its migrations lie; should they move, an unknown one is not told from a known one."""
    import prefect.server.database
    from alembic.script import ScriptDirectory

    folder = Path(prefect.server.database.__file__).parent / "_migrations"
    scripts = ScriptDirectory(folder, version_locations=[folder / "versions" / "sqlite"])
    assert head() == scripts.get_current_head()
    assert history._known_revisions().keys() == {script.revision for script in scripts.walk_revisions()}
