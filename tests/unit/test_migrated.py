"""The cache of empty databases saves time; whatever is wrong with it costs that time and nothing else."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from cli import guarded
from lifecycle.storage import database_templates
from lifecycle.tracking import client as tracking


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def make(path: Path, *, table: str = "alembic_version") -> Path:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"CREATE TABLE {table} (version_num TEXT)")
        connection.execute(f"INSERT INTO {table} VALUES ('head')")  # noqa: S608
        connection.execute("CREATE TABLE people (name TEXT)")
        connection.executemany("INSERT INTO people VALUES (?)", [("x" * 500,)] * 200)
    return path


def count(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608


def test_what_is_kept_is_copied_without_the_rows_that_are_left_out(tmp_path: Path) -> None:
    database_templates.keep("mlflow", make(tmp_path / "first.db"), without=("people",))
    assert database_templates.copy("mlflow", tmp_path / "second.db")
    assert (count(tmp_path / "second.db", "alembic_version"), count(tmp_path / "second.db", "people")) == (1, 0)
    assert count(tmp_path / "first.db", "people") == 200
    assert not database_templates.copy("prefect", tmp_path / "third.db")


def test_a_database_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    database_templates.keep("mlflow", make(tmp_path / "first.db"), without=("people",))
    assert database_templates.copy("mlflow", tmp_path / "first.db")
    assert count(tmp_path / "first.db", "people") == 200


@pytest.mark.parametrize("damage", ["missing", "empty", "junk", "cut", "overwritten", "tables"])
def test_a_damaged_one_is_not_copied_and_the_next_one_takes_its_place(tmp_path: Path, damage: str) -> None:
    database_templates.keep("mlflow", make(tmp_path / "first.db"))
    kept = database_templates.template("mlflow")
    content = kept.read_bytes()
    middle = len(content) // 2
    damaged = {
        "empty": b"",
        "junk": b"no database",
        "cut": content[:middle],
        "overwritten": content[: middle - 8192] + b"\xff" * 16384 + content[middle + 8192 :],
        "tables": make(tmp_path / "other.db", table="other").read_bytes(),
    }
    kept.unlink() if damage == "missing" else kept.write_bytes(damaged[damage])
    assert not database_templates.copy("mlflow", tmp_path / "second.db")
    assert {path.name for path in tmp_path.iterdir()} <= {"cache", "first.db", "other.db"}
    database_templates.keep("mlflow", tmp_path / "first.db")
    assert database_templates.copy("mlflow", tmp_path / "second.db")


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    database_templates.keep("mlflow", make(tmp_path / "first.db"))
    assert not database_templates.copy("mlflow", tmp_path / "second.db")


def test_a_database_that_is_not_there_is_not_kept(tmp_path: Path) -> None:
    database_templates.keep("mlflow", tmp_path / "nowhere.db")
    assert not database_templates.template("mlflow").exists()
    assert not (tmp_path / "nowhere.db").exists()


def test_the_second_database_of_mlflow_is_a_copy_and_works(tmp_path: Path) -> None:
    for name in ("first", "second"):
        tracking.client(f"sqlite:///{tmp_path / name / 'mlflow.db'}")
        with closing(sqlite3.connect(database_templates.template("mlflow"))) as connection:
            assert connection.execute("SELECT count(*) FROM experiments").fetchone() == (0,)
            marked = "CREATE TABLE IF NOT EXISTS copied (here TEXT)"
            connection.execute(marked)
    assert count(tmp_path / "second" / "mlflow.db", "copied") == 0
    mlflow = MlflowClient(f"sqlite:///{tmp_path / 'second' / 'mlflow.db'}")
    assert [each.name for each in mlflow.search_experiments()] == ["Default"]
    assert mlflow.get_run(mlflow.create_run(mlflow.create_experiment("more")).info.run_id)


def test_without_the_names_of_prefect_its_server_makes_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("prefect.server.database.provide_database_interface")
    guarded._make_tables(tmp_path / "prefect.db")
    assert not (tmp_path / "prefect.db").exists()
    assert not database_templates.template("prefect").exists()


def test_a_history_elsewhere_is_left_to_prefect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database_templates.keep("prefect", make(tmp_path / "first.db"))
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "postgresql+asyncpg://elsewhere/prefect")
    guarded._make_tables(tmp_path / "prefect.db")
    assert not (tmp_path / "prefect.db").exists()
