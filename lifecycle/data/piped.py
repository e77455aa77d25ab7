"""What comes through a pipe can be read once: it is kept in a file while a command needs it.

The file lies in a folder of its own below the state, so that what a kill leaves there is found like any other leftover;
its path ends as that of the pipe, by which messages and manifests call it.
"""

import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lifecycle.core.errors import CHECK_PLACE, ConfigError
from lifecycle.storage.files import TEMPORARY

KEPT = re.compile(rf".*/{re.escape(TEMPORARY)}piped-[0-9a-f]{{32}}(/.*)", re.DOTALL)


@contextmanager
def kept(uri: str, state: Path) -> Iterator[str]:
    """The path of a table that can be read as often as one likes: that of a file as it is, of a pipe a copy.

    Raises:
        ConfigError: It is a device, which has no end.
    """
    path = Path(uri)
    if "://" in uri or not _is_pipe(path):
        yield uri
        return
    created = [folder for folder in (state, *state.parents) if not folder.exists()]
    folder = state / f"{TEMPORARY}piped-{uuid.uuid4().hex}"
    copy = folder / path.absolute().relative_to("/")
    try:
        copy.parent.mkdir(parents=True)
        folder.chmod(0o700)
        _copy(path, copy)
        yield str(copy)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for made in created:
            if made.is_dir() and not any(made.iterdir()):
                made.rmdir()


def _copy(pipe: Path, copy: Path) -> None:
    try:
        with pipe.open("rb") as source, copy.open("wb") as file:
            shutil.copyfileobj(source, file)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"{pipe} is not readable ({reason}).", CHECK_PLACE) from None


def original(path: str) -> str:
    """What a kept table was called by whoever gave it; any other path as it is."""
    found = KEPT.fullmatch(path)
    return found[1] if found else path


def _is_pipe(path: Path) -> bool:
    try:
        kind = path.stat().st_mode
    except (OSError, ValueError):
        return False  # who opens it says why
    if stat.S_ISCHR(kind) and str(path) != "/dev/stdin":
        raise ConfigError(f"{path} is a device, not a table.", CHECK_PLACE)
    return stat.S_ISFIFO(kind) or stat.S_ISCHR(kind) or str(path).startswith(("/dev/fd/", "/dev/stdin", "/proc/"))
