"""Which process writes something, so that what a dead one left half-written can be told from what is being written.

`owner`, `is_dead`      as the value of a tag, which other machines see too
`mark`, `has_ended`, `is_left`   within the name of a file or folder, or a label, of this machine alone
`temporary_folder`      one place for all that a command puts into the system's temporary folder
`user`, `name_the_user`   the user, who has neither a name nor a home where a container runs under any number
"""

import getpass
import hashlib
import os
import re
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

OWNER = "mlops.owner"
START = uuid.uuid4().hex
FOLDER = "mlops-"
MARK = re.compile(r"(?P<machine>[0-9a-f]{8})\.(?P<pid>\d+)\.(?P<started>\d+)\.[0-9a-f]{8}")
"""Machine, process and the time at which that started: no later process has the same three."""
NO_HOME = "/nonexistent"
"""What Debian gives to those without one. No folder that others can write to: libraries read settings there."""


def owner() -> str:
    """The present process, as a tag's value."""
    return f"{socket.gethostname()}:{os.getpid()}"


def this_process() -> str:
    """The present process and no other: containers give the same names and numbers again, a fork copies the rest."""
    return f"{owner()}:{START}"


def is_dead(name: str) -> bool:
    """Tell whether a process of this machine has ended; of other machines' processes nothing is known."""
    host, _, pid = name.rpartition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    return not _exists(int(pid))


def mark() -> str:
    """A part for the name of something that the present process makes, different each time."""
    return f"{_machine()}.{os.getpid()}.{_started(os.getpid())}.{os.urandom(4).hex()}"


def has_ended(made: str) -> bool:
    """Tell whether the process of a `mark`, alone or within a name, was one of this machine and has ended."""
    found = MARK.search(made)
    if not found or found["machine"] != _machine():
        return False
    pid, started = int(found["pid"]), int(found["started"])
    return not _exists(pid) or _started(pid) != started


def is_left(path: Path) -> bool:
    """Tell whether what has a `mark` in its name was made on this machine by a process of this user that has ended."""
    try:
        mine = path.lstat().st_uid == os.geteuid()
    except OSError:
        return False
    return mine and has_ended(path.name)


def user() -> str:
    """The name of this process's user, or the number of one without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"


def name_the_user() -> None:
    """Put name and home into the environment where the system knows none: libraries ask, and stop without an answer."""
    os.environ.setdefault("LOGNAME", user())
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = NO_HOME


def clear(folder: Path, beginning: str) -> None:
    """Remove what dead processes have left in a folder under names with this beginning."""
    with suppress(OSError):
        for path in folder.iterdir():
            if path.name.startswith(beginning) and is_left(path):
                remove(path)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all in it; of a link the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


@contextmanager
def temporary_folder() -> Iterator[None]:
    """Put all temporary files of this process into one folder that goes with the block, or with a later command.

    That clears what is left of those that were killed. Where no such folder can be made, nothing changes.
    """
    before, around = tempfile.tempdir, Path(tempfile.gettempdir())
    clear(around, FOLDER)
    folder = around / f"{FOLDER}{mark()}"
    try:
        folder.mkdir(mode=0o700)
    except OSError:
        yield
        return
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
        shutil.rmtree(folder, ignore_errors=True)


def temporary_place() -> Path:
    """Where what must outlive this process can lie: around the folder that goes with it."""
    folder = Path(tempfile.gettempdir())
    return folder.parent if MARK.search(folder.name) else folder


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _state(pid)[0] != "Z"  # one that has ended, which its parent has not noticed


def _started(pid: int) -> int:
    """When a process started, in ticks since the machine did; 0 where the system does not say."""
    return int(_state(pid)[1])


def _state(pid: int) -> tuple[str, str]:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, LookupError):
        return "", "0"


@cache
def _machine() -> str:
    """Name this machine since it was started, with the process numbers that are seen here: a container has its own."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
        parts.append(os.readlink("/proc/self/ns/pid"))  # noqa: PTH115  no path
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
