"""What a process leaves behind names it: it is cleared once that has surely ended, and never before."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lifecycle.core import writer_process
from lifecycle.storage import files

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def dead() -> str:
    """The mark of a process that was killed."""
    code = "from lifecycle.core import writer_process as owner; import os; "
    code += "print(owner.mark(), flush=True); os.kill(os.getpid(), 9)"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout.strip()


@pytest.fixture(scope="module")
def unnoticed() -> Iterator[str]:
    """The mark of one that has ended, which its parent has not noticed: a zombie."""
    code = "from lifecycle.core import writer_process as owner; print(owner.mark(), flush=True)"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        yield process.stdout.read().strip()


def changed(mark: str, place: int, value: str) -> str:
    parts = mark.split(".")
    return ".".join([*parts[:place], value, *parts[place + 1 :]])


NAMES: dict[str, tuple[Callable[[str], str], bool]] = {
    "killed": (lambda mark: f".tmp-{mark}", True),
    "a file of it": (lambda mark: f".tmp-{mark}-part-00001.parquet", True),
    "a temporary folder": (lambda mark: f"mlops-{mark}", True),
    "alive": (lambda _: f".tmp-{writer_process.mark()}", False),
    "its number given to another": (
        lambda _: f".tmp-{changed(changed(writer_process.mark(), 2, '1'), 3, '00000000')}",
        True,
    ),
    "another machine": (lambda mark: f".tmp-{changed(mark, 0, '01234567')}", False),
    "an earlier release": (lambda _: ".tmp-0123456789abcdef0123456789abcdef", False),
    "an earlier release's folder": (lambda _: "mlops-run-abc_d123", False),
    "no number": (lambda mark: f".tmp-{changed(mark, 1, 'x')}", False),
    "nothing": (lambda _: ".tmp-", False),
    "a process that may not be asked": (lambda mark: f".tmp-{changed(changed(mark, 1, '1'), 2, '0')}", True),
}


@pytest.mark.parametrize(("name", "left"), NAMES.values(), ids=NAMES)
def test_what_is_left_is_told_by_its_name(dead: str, tmp_path: Path, name: Callable[[str], str], left: bool) -> None:
    path = tmp_path / name(dead)
    path.mkdir()
    assert writer_process.is_left(path) is left


def test_one_that_has_ended_unnoticed_has_ended(unnoticed: str, tmp_path: Path) -> None:
    path = tmp_path / f".tmp-{unnoticed}"
    path.touch()
    assert writer_process.is_left(path)


def test_what_is_another_users_stays(dead: str, tmp_path: Path) -> None:
    path = tmp_path / f".tmp-{dead}"
    path.touch()
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
        assert not writer_process.is_left(path)
    assert not writer_process.is_left(tmp_path / f".tmp-{dead}-gone")


def test_a_link_is_removed_and_what_it_names_stays(dead: str, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (tmp_path / f"mlops-{dead}").symlink_to(precious)
    writer_process.clear(tmp_path, "mlops-")
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
    assert (precious / "file").exists()


def test_to_publish_clears_what_the_dead_left_beside_it(dead: str, tmp_path: Path) -> None:
    alive, theirs, other = (tmp_path / f".tmp-{mark}" for mark in (writer_process.mark(), dead, "by hand"))
    for folder in (alive, theirs, other):
        folder.mkdir()
    with files.publish_folder(tmp_path / "1.0.0") as folder:
        (folder / "x").touch()
    assert {path.name for path in tmp_path.iterdir()} == {alive.name, other.name, "1.0.0"}


def test_the_temporary_files_of_a_process_go_with_it_and_those_of_the_dead_before(
    dead: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"mlops-{dead}" / "mlops-run-1").mkdir(parents=True)
    (tmp_path / f"other-{dead}").mkdir()  # not ours by its name
    with writer_process.temporary_folder():
        [ours] = tmp_path.glob("mlops-*")
        made = Path(tempfile.mkdtemp())
        assert made.parent == ours
        assert ours.stat().st_mode & 0o777 == 0o700
        tempfile.NamedTemporaryFile(delete=False).close()
    assert [path.name for path in tmp_path.iterdir()] == [f"other-{dead}"]
    assert tempfile.gettempdir() == str(tmp_path)


def test_where_no_folder_can_be_made_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with writer_process.temporary_folder():
        assert tempfile.gettempdir() == str(tmp_path / "gone")


def test_a_process_of_a_process_has_a_mark_of_its_own() -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        theirs = pool.apply(writer_process.mark)
    assert theirs.split(".")[0] == writer_process.mark().split(".")[0]
    assert theirs.split(".")[1] != writer_process.mark().split(".")[1]
