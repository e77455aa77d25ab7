"""Files that are whole or not there: published by rename, after their content has reached the disk."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.request import url2pathname

from lifecycle.core.errors import ConfigError
from lifecycle.core.writer_process import clear, mark

TEMPORARY = ".tmp-"
MISREAD = re.compile(r"\?|%[0-9A-Fa-f]{2}")
"""What the addresses of databases read as something else than part of a path."""


def check_place(path: Path) -> None:
    """Check that state can lie at a path, before anything is written there.

    Raises:
        ConfigError: Databases would be made elsewhere, or something on the way there is not a folder.
    """
    fix = "Choose another folder: MLOPS_HOME=…"
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{os.fsencode(path)!r} is not UTF-8, so no database can lie there.", fix) from None
    if found := MISREAD.search(str(path)):
        raise ConfigError(f"{path} holds {found[0]!r}, which the address of a database cannot hold.", fix)
    above = next((each for each in path.parents if os.path.lexists(each)), None)
    if above and not above.is_dir():
        raise ConfigError(f"{above} is not a folder, so {path} cannot be used.", fix)


@contextmanager
def publish_folder(final: Path) -> Iterator[Path]:
    """Yield a temporary folder; on success it becomes `final` in one step, on any error it is gone without a trace.

    If `final` appeared meanwhile the work is dropped: the caller compares and decides. What killed processes have left
    beside it is cleared.
    """
    created = _missing_parents(final.parent)
    clear(final.parent, TEMPORARY)
    folder = final.parent / f"{TEMPORARY}{mark()}"
    folder.mkdir(parents=True)
    try:
        yield folder
        move_whole(folder, final)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        for parent in created:
            _remove_if_empty(parent)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def move_whole(folder: Path, final: Path) -> None:
    """Flush a folder to the disk, then give it its final name in one step, unless that is taken."""
    sync_tree(folder)
    if not final.exists():
        _rename(folder, final)


@contextmanager
def publish_file(final: Path) -> Iterator[Path]:
    """Yield a temporary path; on success it replaces `final` in one step."""
    temporary = final.with_name(f"{TEMPORARY}{mark()}-{final.name}")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(final)
        _sync(final.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a value as readable JSON with sorted keys, whole or not at all."""
    with publish_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_digest(
    folder: Path, ignore: frozenset[str] = frozenset(), instead: Mapping[str, tuple[int, str]] = MappingProxyType({})
) -> str:
    """The sha256 over the sorted list of (relative path, size, sha256) of all files in a folder.

    `ignore` names files, by their relative path, that do not count; `instead` those that count with another size and
    sha256 than they have.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [(path.relative_to(folder).as_posix(), path) for path in files]
    entries = [(name, *instead.get(name, (p.stat().st_size, sha256_of(p)))) for name, p in names]
    listing = json.dumps([entry for entry in entries if entry[0] not in ignore])
    return hashlib.sha256(listing.encode()).hexdigest()


def leftovers(root: Path) -> list[Path]:
    """Temporary files and folders that an interrupted step left below `root`."""
    return sorted(root.rglob(f"{TEMPORARY}*")) if root.is_dir() else []


def cache_folder() -> Path:
    """What may be removed at any time, for all projects of this user: below `$XDG_CACHE_HOME`, else `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlops-lifecycle"


def sync_tree(folder: Path) -> None:
    """Flush every file and folder of a tree to the disk."""
    for path in [*folder.rglob("*"), folder]:
        _sync(path)


def _rename(folder: Path, final: Path) -> None:
    try:
        folder.rename(final)
    except OSError:
        if not final.exists():  # lost to another writer is fine, anything else is not
            raise
    _sync(final.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _missing_parents(folder: Path) -> list[Path]:
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return


def folder_of(given: str) -> Path:
    """The absolute folder that a path, or the URL of a file, names.

    Raises:
        ConfigError: It is a URL of another kind.
    """
    scheme, separator, path = given.partition("://")
    if separator and scheme != "file":
        raise ConfigError(f"{given} is no folder: predictions are published to a disk or a volume.", "Give a path.")
    return Path(url2pathname(path.removeprefix("localhost")) if separator else given).absolute()
