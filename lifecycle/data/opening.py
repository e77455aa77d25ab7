"""Open a table, wherever it lies, and vouch that what was read of it is one content.

Whatever is not a file of this machine is fetched first, once. A file is held open while it is read: what its name leads
to later does not matter, and whoever writes into it meanwhile is noticed, because the bytes are digested as they are
read and the file must be at the end what it was at the start.
"""

import gzip
import hashlib
import io
import os
import shlex
import stat
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from lifecycle.core import class_names, secrets, spark
from lifecycle.core.errors import (
    CHECK_PLACE,
    ConfigError,
    ConflictError,
    DataError,
    TransientError,
    of_the_machine,
)
from lifecycle.data.source import Source
from lifecycle.settings.rules import DataRules
from lifecycle.storage import volumes

GZIP = b"\x1f\x8b"
BLOCK = 1 << 20
NOT_FOUND, BUSY = 404, {408, 425, 429}
"""Answers of a server that waiting may cure, beside its own failures."""


class Content:
    """The bytes of a table: read from the start as often as one likes, and the same each time, or it is an error."""

    def __init__(self, source: Source, file: BinaryIO, expected: str | None) -> None:
        self._source, self._file, self._expected = source, file, expected
        self._state = _state(file)
        self._passes: list[_Digesting] = []
        self._found: set[str] = set()
        self._in_any_order = False

    def head(self, size: int = 512) -> bytes:
        """The first bytes, as they lie there."""
        self._finish()
        self._file.seek(0)
        return self._file.read(size)

    def stream(self) -> IO[bytes]:
        """The bytes from the start, in order; gzip is unpacked when the name ends in `.gz`."""
        self._finish()
        if self._source.name.endswith(".gz"):
            _require_gzip(self._source, self.head(2))
        self._file.seek(0)
        self._passes = [_Digesting(self._file)]
        buffered = io.BufferedReader(self._passes[0], BLOCK)
        return cast(IO[bytes], gzip.GzipFile(fileobj=buffered)) if self._source.name.endswith(".gz") else buffered

    def whole(self) -> BinaryIO:
        """The file itself, to be read in any order."""
        self._found.add(self._digest())
        self._in_any_order = True
        self._file.seek(0)
        return self._file

    def settle(self) -> str:
        """The sha256 of what was read.

        Raises:
            ConflictError: It changed while it was read, or since its digest was taken.
        """
        self._finish()
        if self._in_any_order or not self._found:
            self._found.add(self._digest())
        found = min(self._found)
        if len(self._found) > 1 or _state(self._file) != self._state or self._expected not in (None, found):
            raise changed(self._source)
        if self._source.sha256 not in (None, found):
            what = f"{self._source.name}: sha256 is {found}, expected {self._source.sha256}."
            raise DataError(what, "Fetch the file again.")
        return found

    def _finish(self) -> None:
        for each in self._passes:
            self._found.add(each.finish())
        self._passes = []

    def _digest(self) -> str:
        self._file.seek(0)
        return hashlib.file_digest(cast(io.BufferedReader, self._file), "sha256").hexdigest()


def changed(source: Source) -> ConflictError:
    """The error about a table that became another one meanwhile."""
    what = f"{source.public_uri} changed while it was read; nothing was published."
    return ConflictError(what, "Run the command again when nobody writes to it.")


class _Digesting(io.RawIOBase):
    """A file that is digested as it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._total = file, hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        block = self._file.read(len(view))
        view[: len(block)] = block
        self._total.update(block)
        return len(block)

    def finish(self) -> str:
        """The digest of the whole, also of what nobody asked for, such as the bytes after the end of a gzip."""
        for block in iter(lambda: self._file.read(BLOCK), b""):
            self._total.update(block)
        return self._total.hexdigest()


@contextmanager
def opened(source: Source, rules: DataRules, sha256: str | None = None) -> Iterator[Content]:
    """Open a path or an allowed URL; whoever has read it asks `settle`.

    An error of the reader is one of a change, if there was one: half of a new file after half of an old one.

    Args:
        source: What to open.
        rules: Which schemes are allowed.
        sha256: What the content was when it was last looked at; another one is a change.

    Raises:
        ConfigError: It does not exist, or its scheme is not allowed.
        ConflictError: It changed while it was read.
    """
    check_scheme(source, rules)
    with _fetched(source) as file:
        content = Content(source, file, sha256)
        try:
            yield content
        except (DataError, EOFError, OSError, ValueError, zlib.error):
            content.settle()
            raise


def check_scheme(source: Source, rules: DataRules) -> None:
    """Refuse a URL whose scheme is not allowed.

    Raises:
        ConfigError: It is not.
    """
    try:
        scheme = urlsplit(source.public_uri).scheme if "://" in source.public_uri else "file"
    except ValueError as error:  # such as half of an IPv6 address
        raise ConfigError(f"{source.public_uri!r:.300} is no address: {error}.", CHECK_PLACE) from None
    if scheme not in rules.allowed_schemes and not source.is_in_catalog:
        allowed = ", ".join(rules.allowed_schemes)
        raise ConfigError(f"{source.public_uri}: scheme {scheme!r} is not allowed (data.allowed_schemes: {allowed}).")


def _meant(path: Path | None) -> str:
    """A file beside a path that is not there which it may have been meant to be; empty if there is none."""
    if path is None:
        return ""
    with suppress(OSError, ValueError):  # what is no path has nothing beside it
        beside = [] if path.exists() else [each.name for each in path.absolute().parent.iterdir() if each.is_file()]
        if near := class_names.nearest(path.name, beside):
            return f" Did you mean {path.with_name(near)}?"
    return ""


def _as_one_file(folder: Path) -> str:
    """How a folder of Parquet files, as Spark and others write a table, becomes a table that is read; else empty."""
    if not any(folder.glob("*.parquet")):
        return ""
    return f"Write its files as one: pandas.read_parquet({str(folder)!r}).to_parquet('table.parquet')"


@contextmanager
def _fetched(source: Source) -> Iterator[BinaryIO]:
    """The table as an open file of this machine; of a URL, a copy that is gone at the end."""
    uri = secrets.revealed(source.uri)
    path = _local_path(uri)
    try:
        file = _regular(source, path) if path is not None else _downloaded(source, uri)
    except (ConnectionError, TimeoutError):
        raise  # waiting may cure it
    except OSError as error:
        if refusal := _refusal(source, error):
            raise refusal from None
        reasons = {FileNotFoundError: "does not exist", IsADirectoryError: "is a folder"}
        reason = reasons.get(type(error), f"is not readable ({error.strerror or type(error).__name__})")
        way_out = path and isinstance(error, IsADirectoryError) and _as_one_file(path)
        raise ConfigError(f"{source.public_uri} {reason}.", way_out or f"{CHECK_PLACE}{_meant(path)}") from None
    except (ImportError, TypeError) as error:  # TypeError: a scheme's file system that lacks its credentials
        raise ConfigError(f"{source.public_uri}: {error}", "Install the package that serves this scheme.") from None
    except ValueError as error:  # such as a NUL in a path
        raise ConfigError(f"{source.public_uri!r} is no path: {error}.", CHECK_PLACE) from None
    with file:
        yield file


def _local_path(uri: str) -> Path | None:
    """The path of a file, taken as it is: `*`, `[x]`, `#`, `%20` and `::` are characters like any others."""
    if "://" not in uri:
        return volumes.local(Path(uri))
    scheme, _, path = uri.partition("://")
    if scheme.lower() != "file":
        return None
    plain = Path("/" + path.removeprefix("localhost").lstrip("/"))
    return plain if plain.exists() else Path(unquote(str(plain)))


def _regular(source: Source, path: Path) -> BinaryIO:
    kind = path.stat().st_mode
    if stat.S_ISDIR(kind):
        raise IsADirectoryError
    if not stat.S_ISREG(kind):
        what = f"{source.public_uri} is a pipe or a device, which can be read only once."
        raise ConfigError(what, "Write it to a file first, or give it to the command mlops, which keeps it meanwhile.")
    return path.open("rb")


def _downloaded(source: Source, uri: str) -> BinaryIO:
    """A copy of a URL; none of its characters chains to another one or is a pattern."""
    import fsspec

    kind = fsspec.get_filesystem_class(urlsplit(uri).scheme)
    system = kind(**kind._get_kwargs_from_urls(uri))
    with ExitStack() as unfinished:
        copy = unfinished.enter_context(tempfile.NamedTemporaryFile(prefix="mlops-fetched-"))
        try:
            system.get_file(kind._strip_protocol(uri), copy.name)
        except (FileNotFoundError, IsADirectoryError, PermissionError, ImportError, TypeError):
            raise
        except OSError as error:
            what = f"{source.public_uri} cannot be reached: {error.strerror or type(error).__name__}."
            raise of_the_machine(error) or TransientError(what, _unreached()) from None
        except Exception as error:  # each scheme has its own; what they say may hold a signed URL
            what = f"{source.public_uri} cannot be fetched: {type(error).__name__}."
            raise _refusal(source, error) or TransientError(what, _unreached()) from None
        unfinished.pop_all()  # whoever reads it closes it
    return cast(BinaryIO, copy)


def _unreached() -> str:
    """What to do where a URL is not reached; a job without a cluster may not go everywhere."""
    if spark.is_serverless():
        return "Jobs without a cluster reach trusted addresses alone: put the file on the volume, or try again."
    return "Check the URL, or try again."


def _refusal(source: Source, error: Exception) -> ConfigError | TransientError | None:
    """What a server's answer means to us, if it is one: the libraries of the schemes have its status in common."""
    cause: BaseException | None = error
    while cause and not isinstance(getattr(cause, "status", None), int):
        cause = cause.__cause__
    status: int = getattr(cause, "status", NOT_FOUND)
    if status == NOT_FOUND:
        return None
    what = f"{source.public_uri}: its server answers {status}."
    if status in BUSY or status >= 500:
        return TransientError(what, "Try again.")
    return ConfigError(what, "Check the user and the signature in the address.")


def _state(file: BinaryIO) -> tuple[int, int, int]:
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _require_gzip(source: Source, head: bytes) -> None:
    if head and head != GZIP:
        new = source.uri.removesuffix(".gz")
        fix = "Name it without .gz." if "://" in new else f"Name it so: mv {shlex.quote(source.uri)} {shlex.quote(new)}"
        raise DataError(f"{source.name}: the name ends in .gz, but the content is not gzip.", fix)
