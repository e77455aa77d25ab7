"""Open a table, wherever it lies."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast
from urllib.parse import urlsplit

from lifecycle import volumes
from lifecycle.errors import ConfigError
from lifecycle.settings import DataRules

if TYPE_CHECKING:
    from lifecycle.data.ingest import Source


@contextmanager
def open_bytes(source: "Source", rules: DataRules, *, decompress: bool = True) -> Iterator[IO[bytes]]:
    """Open a path or an allowed URL for reading; gzip is unpacked when the name ends in `.gz`."""
    import fsspec

    check_scheme(source, rules)
    uri = source.uri if "://" in source.uri else str(volumes.local(Path(source.uri)))
    try:
        file = fsspec.open(uri, "rb").open()
    except (ConnectionError, TimeoutError):
        raise  # waiting may cure it
    except OSError as error:
        reasons = {FileNotFoundError: "does not exist", IsADirectoryError: "is a folder"}
        reason = reasons.get(type(error), f"is not readable ({error.strerror or type(error).__name__})")
        raise ConfigError(f"{source.public_uri} {reason}.", "Check --source or --input.") from None
    except (ImportError, TypeError) as error:  # TypeError: a scheme's file system that lacks its credentials
        raise ConfigError(f"{source.public_uri}: {error}", "Install the package that serves this scheme.") from None
    with file:
        packed = decompress and source.name.endswith(".gz")
        yield cast(IO[bytes], gzip.GzipFile(fileobj=file)) if packed else file


def check_scheme(source: "Source", rules: DataRules) -> None:
    """Refuse a URL whose scheme is not allowed."""
    scheme = urlsplit(source.uri).scheme if "://" in source.uri else "file"
    if scheme not in rules.allowed_schemes and not source.is_in_catalog:
        allowed = ", ".join(rules.allowed_schemes)
        raise ConfigError(f"{source.public_uri}: scheme {scheme!r} is not allowed (data.allowed_schemes: {allowed}).")
