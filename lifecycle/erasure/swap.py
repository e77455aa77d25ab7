"""Put a folder in the place of another one: an instant after a kill, `settle` ends with one of the two, whole.

build     .erasing-<name>   as it is to be, flushed to the disk
rename    <name>            to .erased-<name>
rename    .erasing-<name>   to <name>
remove    .erased-<name>
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lifecycle.storage.files import sync_tree

NEW, OLD = ".erasing-", ".erased-"
"""Not what other interrupted steps leave: `mlops doctor --repair` removes that."""


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of another one when the block ends well."""
    new = folder.with_name(NEW + folder.name)
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    yield new
    sync_tree(new)
    folder.rename(folder.with_name(OLD + folder.name))
    settle(folder)


def settle(folder: Path) -> None:
    """End what was interrupted: with the new folder if the old one is out of the way, else with the old one."""
    new, old = folder.with_name(NEW + folder.name), folder.with_name(OLD + folder.name)
    if not folder.exists() and new.exists():
        new.rename(folder)
        _sync(folder.parent)
    shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def interrupted(root: Path, depth: str) -> list[Path]:
    """The folders below a root, so many levels deep (`*/*`), whose replacement was interrupted."""
    found = [path for prefix in (NEW, OLD) for path in root.glob(f"{depth.removesuffix('*')}{prefix}*")]
    return sorted({path.with_name(path.name.removeprefix(NEW).removeprefix(OLD)) for path in found})


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
