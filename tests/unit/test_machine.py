"""What the machine refuses, rights or room, is one line with the way out, whatever met it first.

Promise: A full disk, a missing right or a path that cannot hold state is one line, and nothing half-written stays.
"""

import errno
import os
import resource
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy
from mlflow.exceptions import MlflowException

from cli import ending, main
from lifecycle import settings
from lifecycle.core import writer_process
from lifecycle.core.errors import GET_RIGHTS, MAKE_ROOM, ConfigError, of_the_machine
from lifecycle.storage import files, volumes
from lifecycle.tracking import artifacts
from lifecycle.tracking import client as tracking
from tests.conftest import tree


def full_device(_: Path) -> None:
    with Path("/dev/full").open("w") as file:
        file.write("x")


def full_device_beneath_another_error(_: Path) -> None:
    try:
        full_device(_)
    except OSError as error:
        raise ValueError("the table could not be saved") from error


def full_device_while_something_else_was_handled(_: Path) -> None:
    try:
        full_device(_)
    finally:
        raise ValueError("nor could it be closed")


def full_database(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "full.db")) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("PRAGMA max_page_count = 3")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 4000,)] * 9)


def read_only_database(folder: Path) -> None:
    sqlite3.connect(folder / "x.db").execute("CREATE TABLE t (x)")
    with closing(sqlite3.connect(f"{(folder / 'x.db').as_uri()}?mode=ro", uri=True)) as connection:
        connection.execute("INSERT INTO t VALUES (1)")


def read_only_database_through_mlflow(folder: Path) -> None:
    sqlite3.connect(folder / "x.db").execute("CREATE TABLE t (x)")
    engine = sqlalchemy.create_engine(f"sqlite:///file:{folder}/x.db?mode=ro&uri=true")
    try:
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("INSERT INTO t VALUES (1)"))
    except sqlalchemy.exc.OperationalError as error:
        raise MlflowException(str(error)) from error


def database_in_no_folder(folder: Path) -> None:
    sqlite3.connect(folder / "no" / "x.db")


def file_beyond_the_limit(folder: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        (folder / "long").write_bytes(b"x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def raising(error: BaseException) -> Callable[[Path], None]:
    def run(_: Path) -> None:
        raise error

    return run


REFUSED: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "no space": (full_device, "A file: No space left on device.", MAKE_ROOM),
    "no space, beneath": (full_device_beneath_another_error, "A file: No space left on device.", MAKE_ROOM),
    "no space, before": (full_device_while_something_else_was_handled, "A file: No space left", MAKE_ROOM),
    "full database": (full_database, "A database: database or disk is full.", MAKE_ROOM),
    "beyond the limit": (file_beyond_the_limit, "A file: File too large.", MAKE_ROOM),
    "quota": (raising(OSError(errno.EDQUOT, "Disk quota exceeded", "/x")), "/x: Disk quota exceeded.", MAKE_ROOM),
    "no right": (raising(PermissionError(errno.EACCES, "Permission denied", "/x")), "/x: Permission", GET_RIGHTS),
    "not permitted": (raising(PermissionError(errno.EPERM, "Not permitted", "/x")), "/x: Not permitted", GET_RIGHTS),
    "read-only disk": (raising(OSError(errno.EROFS, "Read-only file system", "/x")), "/x: Read-only", GET_RIGHTS),
    "read-only database": (read_only_database, "A database: attempt to write a readonly", GET_RIGHTS),
    "read-only beneath MLflow": (read_only_database_through_mlflow, "A database: attempt to write", GET_RIGHTS),
    "database in no folder": (database_in_no_folder, "A database: unable to open database file.", GET_RIGHTS),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_the_machine_refuses_is_an_error_of_ours(tmp_path: Path, kind: str) -> None:
    meet, words, fix = REFUSED[kind]
    with pytest.raises(Exception) as met:  # noqa: PT011  what it is, the next line says
        meet(tmp_path)
    found = of_the_machine(met.value)
    assert found
    assert found.what.startswith(words)
    assert (found.fix, found.exit_code) == (fix, 2)


def suppressed() -> BaseException:
    try:
        try:
            full_device(Path())
        except OSError:
            raise ValueError("of its own accord") from None
    except ValueError as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        FileNotFoundError(errno.ENOENT, "No such file", "/x"),
        PermissionError(errno.EPERM, "Operation not permitted"),  # a signal to another's process
        ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
        sqlite3.OperationalError("database is locked"),
        OSError("without a number"),
        KeyboardInterrupt(),
        suppressed(),
    ],
)
def test_any_other_error_is_left_alone(error: BaseException) -> None:
    assert of_the_machine(error) is None


def test_errors_that_lead_to_each_other_end() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert of_the_machine(first) is None


@pytest.mark.parametrize("name", ["what?", "?", "a?mode=memory", "100%25", "%20", "x%aFy", "deep/%00/er"])
def test_a_path_that_an_address_cannot_hold_is_refused_by_name_before_anything_is_written(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for home in (tmp_path / name, Path(name)):
        monkeypatch.setenv("MLOPS_HOME", str(home))
        for line in (
            ["data", "list"],
            ["doctor"],
            ["train", "--data-name", "d", "--data-version", "1", "--model-name", "m"],
        ):
            monkeypatch.setattr(sys, "argv", ["mlops", *line])
            assert ending.of(main.app) == 2
            said = capsys.readouterr()
            assert said.err.startswith(f"Error: {tmp_path / name}")
            assert "Choose another folder: MLOPS_HOME" in said.err
    assert list(tmp_path.iterdir()) == []


def test_a_working_directory_with_such_a_path_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "100%25 done").mkdir()
    monkeypatch.chdir(tmp_path / "100%25 done")
    with pytest.raises(ConfigError, match="holds '%25'"):
        settings.load("dev")


def test_what_is_no_folder_or_no_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("file", "file/state", "dangling", "dangling/state"):
        with pytest.raises(ConfigError, match="is not a folder"):
            settings.load("dev", home=tmp_path / name)
    with pytest.raises(ConfigError, match="is not UTF-8"):
        settings.load("dev", home=Path(os.fsdecode(bytes(tmp_path) + b"/a\xff")))
    with pytest.raises(ConfigError, match="No folder for state: ~nobody-of-that-name"):
        settings.load("dev", home="~nobody-of-that-name/state")


@pytest.mark.parametrize(
    "name",
    ["a b", "état", "日本", "C#", "100% done", "%", "50%off", "a'b", 'a"b', "a;b", "a@b:c", "$HOME", "~x", "a\nb"],
)
def test_any_other_path_holds_a_registry_and_its_files(tmp_path: Path, name: str) -> None:
    uri = settings.load("dev", home=tmp_path / name).mlflow_uri
    client, experiment = tracking.client(uri), tracking.experiment(uri, "m-dev")
    run = client.create_run(experiment).info.run_id
    client.log_text(run, "said", "folder/file.txt")
    assert {p.name for p in tmp_path.iterdir()} == {name}
    assert [p.read_text() for p in (tmp_path / name).rglob("file.txt")] == ["said"]
    (tmp_path / name / "got").mkdir()
    assert (artifacts.download(uri, f"runs:/{run}/folder", tmp_path / name / "got") / "file.txt").read_text() == "said"


def test_a_file_that_is_not_written_whole_is_not_there(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            files.write_json(tmp_path / "x.json", ["long"] * 1000)
        with pytest.raises(OSError, match="File too large"), files.publish_folder(tmp_path / "folder") as folder:
            (folder / "x").write_bytes(b"x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert tree(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_glob_finds_what_python_finds_and_does_not_pass_over_what_it_may_not_read(tmp_path: Path) -> None:
    for name in ("a/1/manifest.json", "a/2/other", "b/1/manifest.json", ".c/1/manifest.json", "file"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    for pattern in ("*/*/manifest.json", "a/*/manifest.json", "*", "a/[12]/*", "file/*", "no/*", "*.*"):
        assert volumes.glob(tmp_path, pattern) == sorted(tmp_path.glob(pattern)), pattern
    assert volumes.glob(tmp_path / "nowhere", "*/*") == []
    for unreadable in ("b", "b/1"):
        assert seen_by_another(tmp_path, tmp_path / unreadable, "*/*/manifest.json") == errno.EACCES


def seen_by_another(root: Path, unreadable: Path, pattern: str) -> int:
    """The number of the error in which looking through a folder ends for who may not read a part of it."""
    unreadable.chmod(0)
    root.chmod(0o755)
    child = os.fork()
    if not child:
        os.chdir(root)  # the folders above are none of that user's business
        if os.getuid() == 0:
            os.setresuid(65534, 65534, 65534)
        try:
            volumes.glob(Path(), pattern)
        except OSError as error:
            os._exit(error.errno or 255)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    unreadable.chmod(0o755)
    return code


def test_a_user_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME", "HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert writer_process.user() == "uid-54321"
    writer_process.name_the_user()
    assert (os.environ["LOGNAME"], os.environ["HOME"]) == ("uid-54321", writer_process.NO_HOME)


def test_a_user_with_a_name_and_a_home_keeps_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "somebody")
    monkeypatch.setenv("HOME", "/home/somebody")
    writer_process.name_the_user()
    assert (os.environ["LOGNAME"], os.environ["HOME"], writer_process.user()) == (
        "somebody",
        "/home/somebody",
        "somebody",
    )


def test_this_process_is_told_from_one_with_its_host_and_number() -> None:
    assert writer_process.this_process() == writer_process.this_process()
    assert writer_process.this_process() not in {writer_process.owner(), f"{socket.gethostname()}:{os.getpid()}"}
