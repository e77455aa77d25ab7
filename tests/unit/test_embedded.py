"""MLflow's database as others left it: upgraded after a backup, or named in one line with the way out."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy
from alembic import command
from mlflow.store.db.utils import _get_alembic_config

from cli import ending, main
from lifecycle import doctor, settings
from lifecycle.core.errors import ConfigError, ConflictError, IntegrityError, MlopsError, TransientError
from lifecycle.storage import database_templates, embedded
from lifecycle.tracking import client as tracking
from tests.conftest import ROOT, tree


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def revision(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def downgrade(path: Path, steps: int = 3) -> str:
    """Let a database be as a release of MLflow from some migrations ago left it."""
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(_get_alembic_config(""))
    chain = [each.revision for each in script.walk_revisions()]
    made = path.with_name("made.db")
    engine = sqlalchemy.create_engine(f"sqlite:///{made}")
    from mlflow.store.tracking.dbmodels.initial_models import Base

    Base.metadata.create_all(engine)
    config = _get_alembic_config(str(engine.url))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, chain[steps])
    engine.dispose()
    made.replace(path)
    return chain[steps]


def test_what_a_killed_process_left_within_a_transaction_is_undone(home: Path, tmp_path: Path) -> None:
    path, left = home / "mlflow.db", tmp_path / "left"
    left.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 1")  # so that pages reach the file before the end of the transaction
        connection.execute("BEGIN")
        for number in range(200):
            connection.execute("INSERT INTO experiments (name) VALUES (?)", (f"{number}" * 80,))
        for name in ("mlflow.db", "mlflow.db-journal"):
            shutil.copy(home / name, left / name)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        sqlite3.connect(f"{(left / 'mlflow.db').as_uri()}?mode=ro", uri=True).execute("SELECT * FROM experiments")
    embedded.prepare(left / "mlflow.db")
    assert revision(left / "mlflow.db") == revision(path)
    assert not (left / "mlflow.db-journal").exists()


@pytest.mark.parametrize("steps", [1, 3, 30])
def test_an_older_database_is_upgraded_and_kept_as_it_was(
    home: Path, steps: int, caplog: pytest.LogCaptureFixture
) -> None:
    path, head = home / "mlflow.db", revision(home / "mlflow.db")
    older = downgrade(path, steps)
    insert = "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage) VALUES (7, ?, ?, ?)"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(insert, ("of before", "/elsewhere/7", "active"))
    before = path.read_bytes()
    client = tracking.client(f"sqlite:///{path}")
    assert client.get_experiment_by_name("of before").artifact_location == "/elsewhere/7"
    assert revision(path) == head
    [backup] = home.glob(f"mlflow-{older}-*.db")
    assert backup.read_bytes() == before
    assert [str(backup) in each.getMessage() for each in caplog.records if "Upgraded" in each.getMessage()] == [True]
    embedded.prepare(path)
    assert len(list(home.glob("mlflow-*.db"))) == 1


def test_killed_before_the_upgraded_copy_took_its_place_nothing_has_happened(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / "mlflow.db"
    older = downgrade(path)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", _killed)
        with pytest.raises(InterruptedError):
            embedded.prepare(path)
    assert revision(path) == older
    embedded.prepare(path)
    assert not embedded.is_older(path)


def _killed(*_: object) -> None:
    raise InterruptedError


def test_two_that_meet_an_older_database_at_once_upgrade_it_once(home: Path) -> None:
    downgrade(home / "mlflow.db")
    script = "import sys; from pathlib import Path; from lifecycle.storage import embedded; "
    script += "embedded.prepare(Path(sys.argv[1]))"
    start = [sys.executable, "-c", script, str(home / "mlflow.db")]
    both = [subprocess.Popen(start, cwd=ROOT) for _ in range(2)]
    assert [each.wait(300) for each in both] == [0, 0]
    assert not embedded.is_older(home / "mlflow.db")
    assert len(list(home.glob("mlflow-*.db"))) == 1


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("unmounted.db"))


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def another_program(path: Path) -> None:
    path.unlink()
    execute(path, "CREATE TABLE people (name TEXT)")


def of_prefect(path: Path) -> None:
    """Alembic too, with tables of its own."""
    path.unlink()
    execute(path, "CREATE TABLE flow (id TEXT)", "CREATE TABLE alembic_version (version_num TEXT)")


def newer(path: Path) -> None:
    execute(path, "UPDATE alembic_version SET version_num = 'ffffffffffff'")


def unfinished(path: Path) -> None:
    execute(path, "DELETE FROM alembic_version")


def without_a_table(path: Path) -> None:
    execute(path, "DROP TABLE registered_models")


def overwritten(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(b"\xff" * 4096 + content[4096:])


UNUSABLE: dict[str, tuple[Callable[[Path], None], type[MlopsError], str]] = {
    "newer": (newer, ConfigError, "a newer MLflow made it. Upgrade MLflow"),
    "without a revision": (unfinished, IntegrityError, "does not say of which revision its tables are"),
    "empty": (lambda path: path.write_bytes(b"") and None, IntegrityError, "is empty"),
    "a text": (lambda path: path.write_text("not a database\n" * 300) and None, IntegrityError, "or no database"),
    "one byte": (lambda path: path.write_bytes(b"x") and None, IntegrityError, "Restore it from a copy"),
    "header alone": (lambda path: cut(path, 0.0003), IntegrityError, "Restore it from a copy"),
    "half": (lambda path: cut(path, 0.5), IntegrityError, "Restore it from a copy"),
    "last page missing": (lambda path: cut(path, 0.99), IntegrityError, "Restore it from a copy"),
    "first page overwritten": (overwritten, IntegrityError, "or no database"),
    "a folder": (a_folder, IntegrityError, "is not a file"),
    "a pipe": (a_pipe, IntegrityError, "is not a file"),
    "a dangling link": (a_dangling_link, ConfigError, "which is not there"),
    "without a table": (without_a_table, IntegrityError, "The MLflow database is damaged"),
    "of another program": (another_program, IntegrityError, "not one of MLflow"),
    "of Prefect": (of_prefect, IntegrityError, "not one of MLflow"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_what_cannot_be_used_is_named_with_the_way_out_and_stays_as_it_is(
    home: Path, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make, expected, words = UNUSABLE[kind]
    make(home / "mlflow.db")
    before = None if kind == "a pipe" else tree(home)
    with pytest.raises(expected, match=re.escape(words)), tracking.translated():
        tracking.client(f"sqlite:///{home / 'mlflow.db'}").get_registered_model("of_the_test")
    found = doctor.examine([settings.load("dev", home=home)], repair=True)
    assert [each.what for each in found if each.state == "problem"] == ["database"]
    assert words.split(".")[0] in found[-1].message
    for line in (["model", "list"], ["history", "--model-name", "sentiment"]):
        monkeypatch.setattr(sys, "argv", ["mlops", *line])
        assert ending.of(main.app) == expected.exit_code
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n"), "Traceback" in said.err) == ("", 1, False)
    assert before is None or tree(home) == before


@pytest.fixture
def without_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.usefixtures("without_cache")
def test_a_present_database_is_known_without_the_cache_too(home: Path) -> None:
    assert database_templates.revision("mlflow") == ""
    before = tree(home)
    embedded.prepare(home / "mlflow.db")
    assert tree(home) == before


def test_the_head_is_known_by_the_cache(home: Path) -> None:
    database_templates.keep("mlflow", home / "mlflow.db")
    assert database_templates.revision("mlflow") == revision(home / "mlflow.db")


def test_a_database_that_is_linked_to_is_used_where_it_is(home: Path, tmp_path: Path) -> None:
    shutil.move(home / "mlflow.db", tmp_path / "shared.db")
    (home / "mlflow.db").symlink_to(tmp_path / "shared.db")
    tracking.client(f"sqlite:///{home / 'mlflow.db'}").create_registered_model("x")
    assert (home / "mlflow.db").is_symlink()
    assert tracking.client(f"sqlite:///{tmp_path / 'shared.db'}").get_registered_model("x").name == "x"


def test_a_database_that_another_process_holds_is_waited_for_and_not_called_damaged(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "LOCK_SECONDS", 0.2)
    with closing(sqlite3.connect(home / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TransientError, match=r"mlflow\.db has been held by another process") as met:
            embedded.prepare(home / "mlflow.db")
        assert "rm " not in str(met.value)
        other.execute("ROLLBACK")
    embedded.prepare(home / "mlflow.db")


def test_a_missing_table_is_damage_and_not_waited_for(home: Path) -> None:
    execute(home / "mlflow.db", "DROP TABLE experiment_tags")
    with pytest.raises(IntegrityError, match="no such table: experiment_tags"), tracking.translated():
        tracking.client(f"sqlite:///{home / 'mlflow.db'}").get_experiment("0")


def test_an_experiment_that_was_deleted_is_named_with_what_restores_it(home: Path) -> None:
    uri = f"sqlite:///{home / 'mlflow.db'}"
    number = tracking.experiment(uri, "news-dev")
    tracking.client(uri).delete_experiment(number)
    with pytest.raises(ConflictError, match=r"'news-dev' was deleted in MLflow") as met:
        tracking.experiment(uri, "news-dev")
    assert met.value.fix.endswith(f"mlflow experiments restore --experiment-id {number}")
    tracking.client(uri).restore_experiment(number)
    assert tracking.experiment(uri, "news-dev") == number


def test_beside_models_no_database_is_begun_anew(tmp_path: Path) -> None:
    """It would number its versions as if those had never been."""
    folder = tmp_path / "my state" / "artifacts" / "models" / "m-1" / "artifacts"
    folder.mkdir(parents=True)
    path = tmp_path / "my state" / "mlflow.db"
    embedded.prepare(path)  # a folder that only looks like it
    path.unlink()
    (folder / "MLmodel").touch()
    before = tree(tmp_path)
    with pytest.raises(IntegrityError, match="is missing, but the models that it describes are in") as met:
        embedded.prepare(path)
    found = doctor.examine([settings.load("dev", home=path.parent)], repair=True)
    assert [(each.state, each.message) for each in found] == [("problem", str(met.value))]
    assert tree(tmp_path) == before
    subprocess.run(["bash", "-c", met.value.fix.rpartition(": ")[2]], check=True)
    embedded.prepare(path)
