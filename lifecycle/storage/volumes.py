"""Files on Unity Catalog volumes, `/Volumes/<catalog>/<schema>/<volume>/…`, by the same calls as any other path.

`exists`, `read`, `write`, `remove`, `upload`, `glob`, `digest`   as one expects, wherever the path leads
`local`                                                 the file or folder on this machine
`publishing`, `publish`, `is_published`, `place`        folders that appear whole or not at all
`staging`                                               where to build such a folder over several attempts
`bring`                                                 a file of this machine, where every machine can read it

Where volumes are mounted, as on a cluster, their files are ordinary ones. Elsewhere the Files API reaches them, and
what is read stays in a mirror below the user's cache, which may be removed at any time.

A volume knows no rename, no lock and no append. So what is published there lies in a folder named after the digest of
its manifest, and exists as soon as the manifest lies beside that folder, written last and only if there is none:

    <final>/manifest.json
    <final>/3f5c0a91b2d4e6f8/{manifest.json, split.parquet, …}

Who publishes the same writes the same bytes to the same place; who publishes something else writes elsewhere, and one
manifest comes first. An upload that was killed leaves a folder that no manifest names, and nobody reads it.
"""

import hashlib
import io
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar
from urllib.parse import urlsplit

from lifecycle.core.errors import ConfigError, ConflictError, IntegrityError, NotFoundError, TransientError
from lifecycle.databricks.client import answers, client
from lifecycle.storage.files import (
    TEMPORARY,
    cache_folder,
    move_whole,
    publish_file,
    publish_folder,
    sha256_of,
    tree_digest,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

VOLUMES = Path("/Volumes")
MANIFEST = "manifest.json"
TRANSFERS = 8
"""Files of one folder that are sent or fetched at a time."""

RACY_SECONDS = 2
"""A file may change again in the second that its time of modification names, so a younger mirror is not trusted."""


class Stat(NamedTuple):
    """By what a file is told from a later one in its place."""

    size: int
    modified: int


def on_volume(path: Path) -> bool:
    """Tell whether a path leads into a Unity Catalog volume, and not to a disk that a Mac shows in the same place.

    Raises:
        ConfigError: It climbs with `..`, or names no volume.
    """
    if not path.is_relative_to(VOLUMES) or (_is_mounted(path) and "DATABRICKS_RUNTIME_VERSION" not in os.environ):
        return False
    names = path.relative_to(VOLUMES).parts
    if len(names) < 3 or any(name == ".." or "\0" in name for name in names):
        raise ConfigError(f"{path} is not in a volume.", "Name one: /Volumes/<catalog>/<schema>/<volume>/…")
    return True


def exists(path: Path) -> bool:
    """Tell whether there is a file or a folder."""
    return _stat(path) is not None or _is_folder(path)


def read(path: Path) -> bytes:
    """The content of a small file as it is now, past any mirror.

    Raises:
        NotFoundError: There is no such file.
        IntegrityError: It is a folder.
    """
    if _is_remote(path):
        with answers(path), _download(path) as stream:
            return stream.read()
    try:
        return path.read_bytes()
    except IsADirectoryError:
        raise IntegrityError(f"{path} is a folder where a file belongs.", "Restore it from a copy.") from None
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(f"{path} is not there.") from None


def write(path: Path, content: bytes, *, overwrite: bool = True) -> None:
    """Write a small file and the folders above it.

    Raises:
        ConflictError: It is there already, and must not be overwritten.
    """
    _make_folder(path.parent)
    if _is_remote(path):
        _send(io.BytesIO(content), path, overwrite=overwrite)
        return
    try:
        with path.open("wb" if overwrite else "xb") as file:
            file.write(content)
    except FileExistsError:
        raise ConflictError(f"{path} is there already.") from None


def remove(path: Path) -> None:
    """Remove a file; one that is gone already is no error."""
    if not _is_remote(path):
        path.unlink(missing_ok=True)
        return
    with suppress(NotFoundError), answers(path):
        client().files.delete(str(path))


def upload(source: Path, path: Path) -> None:
    """Copy a file of this machine to a path, in place of what is there."""
    _make_folder(path.parent)
    _copy(source, path)


def glob(root: Path, pattern: str) -> list[Path]:
    """The paths below a root that match a pattern, sorted; none if there is no such root. It knows no `**`.

    A folder that may not be read is an error: to pass over it, as Python does, is to say that there is nothing.
    """
    *folders, last = Path(pattern).parts
    found = [root]
    for part in folders:
        found = [child for folder in found for child in _matching(folder, part)]
    return sorted(child for folder in found for child in _matching(folder, last) if child.name != last or exists(child))


def local(path: Path) -> Path:
    """The file or folder on this machine; of a published folder, the one that holds its files.

    Raises:
        NotFoundError: It is on a volume, where nothing is there.
    """
    if not on_volume(path):
        return path
    if _is_mounted(path):
        return place(path)
    found = _stat(path)
    return _fetch(path, found) if found else _fetch_folder(place(path))


def digest(path: Path) -> str | None:
    """The sha256 of a file; None if there is none."""
    try:
        found = local(path)
    except NotFoundError:
        return None
    return sha256_of(found) if found.is_file() else None


def is_published(final: Path) -> bool:
    """Tell whether there is a published folder: on a volume, its manifest."""
    return exists(final / MANIFEST) if on_volume(final) else final.exists()


def place(final: Path) -> Path:
    """Where the files of a published folder lie; for a folder that was copied to a volume by hand, in itself."""
    if not on_volume(final):
        return final
    try:
        inner = final / _name_of(read(final / MANIFEST))
    except NotFoundError:
        return final
    return inner if _is_folder(inner) else final


@contextmanager
def publishing(final: Path) -> Iterator[Path]:
    """Yield a temporary folder; on success it is published as `final`, on any error nothing is.

    If `final` appeared meanwhile it stays as it is: the caller compares and decides.
    """
    if not on_volume(final):
        with publish_folder(final) as folder:
            yield folder
        return
    with tempfile.TemporaryDirectory(prefix="mlops-publish-") as temporary:
        yield Path(temporary)
        publish(Path(temporary), final)


def publish(staged: Path, final: Path) -> None:
    """Publish a folder that is complete, with its manifest, as `publishing` does; it is gone from where it was."""
    if not on_volume(final):
        move_whole(staged, final)
        return
    manifest = (staged / MANIFEST).read_bytes()
    inner = final / _name_of(manifest)
    files = [path for path in staged.rglob("*") if path.is_file() and not path.name.startswith(TEMPORARY)]
    for folder in sorted({path.parent for path in files}):
        _make_folder(inner / folder.relative_to(staged))
    _in_parallel(lambda path: _copy(path, inner / path.relative_to(staged)), files)
    try:
        write(final / MANIFEST, manifest, overwrite=False)
    except ConflictError:  # also after a lost reply to a manifest that was accepted
        logger.info("%s was published meanwhile", final)
    shutil.rmtree(staged)


def staging(final: Path) -> Path:
    """Where to build a published folder over several attempts: itself, or for a volume a place in the cache."""
    return _private(_cached(final, "staging")) if on_volume(final) else final


def bring(path: Path, folder: Path) -> Path:
    """A file or folder of this machine where those who read `folder` can: on a volume, a copy named by its content."""
    if not on_volume(folder) or on_volume(path):
        return path
    if path.is_dir():
        return _bring_folder(path, folder)
    with tempfile.TemporaryDirectory(prefix="mlops-bring-") as private:
        copy = Path(private, "copy")  # what is digested is what is sent, whoever writes to the file meanwhile
        shutil.copyfile(path, copy)
        target = folder / sha256_of(copy)[:16] / path.name
        found = _stat(target)
        if found is None or found.size != copy.stat().st_size:
            upload(copy, target)
    return target


def _bring_folder(path: Path, folder: Path) -> Path:
    """The files of a folder as they are at one moment; those that are there already are not sent again."""
    with tempfile.TemporaryDirectory(prefix="mlops-bring-") as private:
        copy = shutil.copytree(path, Path(private, "copy"))
        target = folder / tree_digest(copy)[:16] / path.name
        places = {target / each.relative_to(copy): each for each in copy.rglob("*") if each.is_file()}
        sizes = [found.size if found else None for found in _in_parallel(_stat, places)]
        wanted = zip(places.items(), sizes, strict=True)
        lacking = {place: each for (place, each), size in wanted if size != each.stat().st_size}
        for parent in sorted({place.parent for place in lacking}):
            _make_folder(parent)
        _in_parallel(lambda pair: _copy(pair[1], pair[0]), lacking.items())
    return target


def _name_of(manifest: bytes) -> str:
    return hashlib.sha256(manifest).hexdigest()[:16]


def _is_mounted(path: Path) -> bool:
    """Whether the catalog of a volume is a folder here, as it is on a cluster for those who may use it."""
    return VOLUMES.joinpath(*path.relative_to(VOLUMES).parts[:1]).is_dir()


def _is_remote(path: Path) -> bool:
    return on_volume(path) and not _is_mounted(path)


def _stat(path: Path) -> Stat | None:
    """Size and time of modification of a file; None if there is none."""
    if not _is_remote(path):
        return Stat(path.stat().st_size, int(path.stat().st_mtime)) if path.is_file() else None
    try:
        with answers(path):
            found = client().files.get_metadata(str(path))
    except NotFoundError:
        return None
    modified = parsedate_to_datetime(found.last_modified).timestamp() if found.last_modified else time.time()
    return Stat(found.content_length or 0, int(modified))


def _is_folder(path: Path) -> bool:
    if not _is_remote(path):
        return path.is_dir()
    try:
        with answers(path):
            client().files.get_directory_metadata(str(path))
    except NotFoundError:
        return False
    return True


def _matching(folder: Path, pattern: str) -> list[Path]:
    """The children of a folder that match; one that a pattern without wildcards names is not looked for."""
    if not re.search(r"[*?\[]", pattern):
        return [folder / pattern]
    try:
        children = [path for path, _ in _children(folder)] if _is_remote(folder) else folder.iterdir()
        return [path for path in children if fnmatchcase(path.name, pattern)]
    except (NotFoundError, FileNotFoundError, NotADirectoryError):
        return []


def _children(folder: Path) -> list[tuple[Path, Stat | None]]:
    """What a folder holds: files with their state, folders with none. A name is data, and must not lead elsewhere."""
    with answers(folder):
        entries = list(client().files.list_directory_contents(str(folder)))
    found = []
    for entry in entries:
        name = entry.name or ""
        if name in {"", ".", ".."} or "/" in name or "\0" in name:
            raise IntegrityError(f"{folder} holds an entry with the name {name!r}.", "Remove it.")
        stat = Stat(entry.file_size or 0, (entry.last_modified or 0) // 1000)
        found.append((folder / name, None if entry.is_directory else stat))
    return found


def _fetch_folder(folder: Path) -> Path:
    """Make the mirror of a folder hold what the folder holds, and nothing else."""
    files, waiting = list[tuple[Path, Stat]](), [folder]
    while waiting:
        for path, stat in _children(waiting.pop()):
            if stat is None:
                waiting.append(path)
            else:
                files.append((path, stat))
    current = set(_in_parallel(lambda file: _fetch(*file), files))
    mirror = _cached(folder, "volumes")
    for path in mirror.rglob("*"):
        if path.is_file() and path not in current and not path.name.startswith(TEMPORARY):
            path.unlink(missing_ok=True)
    return mirror


def _fetch(path: Path, stat: Stat) -> Path:
    """The mirror of a file, fetched unless it is the same already; it is replaced in one step, never half."""
    mirror = _private(_cached(path, "volumes"))
    if mirror.is_file() and Stat(mirror.stat().st_size, int(mirror.stat().st_mtime)) == stat:
        return mirror
    with publish_file(mirror) as temporary:
        with answers(path), _download(path) as stream, temporary.open("wb") as file:
            shutil.copyfileobj(stream, file)
        if temporary.stat().st_size != stat.size:
            raise TransientError(f"{path} changed while it was fetched.", "Try again.")
        settled = stat.modified + RACY_SECONDS < time.time()
        os.utime(temporary, (stat.modified, stat.modified) if settled else (0, 0))
    return mirror


def _make_folder(folder: Path) -> None:
    if not _is_remote(folder):
        folder.mkdir(parents=True, exist_ok=True)
        return
    with answers(folder):
        client().files.create_directory(str(folder))


def _copy(source: Path, path: Path) -> None:
    if not _is_remote(path):
        shutil.copyfile(source, path)
        return
    with source.open("rb") as file:
        _send(file, path, overwrite=True)


def _download(path: Path) -> BinaryIO:
    content = client().files.download(str(path)).contents
    if content is None:
        raise TransientError(f"{path}: the workspace sent no content.", "Try again.")
    return content


def _send(content: BinaryIO, path: Path, *, overwrite: bool) -> None:
    with answers(path):
        client().files.upload(str(path), content, overwrite=overwrite)


def _in_parallel(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    with ThreadPoolExecutor(TRANSFERS) as pool:
        return list(pool.map(work, items))


def _cached(path: Path, kind: str) -> Path:
    """Where the cache keeps what belongs to a path of this workspace."""
    workspace = "mounted" if _is_mounted(path) else urlsplit(client().config.host).netloc
    return cache_folder() / kind / re.sub(r"[^\w.-]", "_", workspace) / path.relative_to("/")


def _private(path: Path) -> Path:
    """Make the folders above a path in the cache; only their user may look into them."""
    for folder in reversed(path.parents):
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
    return path
