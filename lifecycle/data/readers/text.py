"""Texts in their declared encoding, and what is said of one that is in another."""

import io
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from lifecycle.data.opening import open_bytes
from lifecycle.errors import ConfigError, DataError
from lifecycle.settings import DataRules

if TYPE_CHECKING:
    from lifecycle.data.ingest import Source


def decoded(source: "Source", file: IO[bytes]) -> IO[str]:
    """The file as text."""
    encoding = "utf-8-sig" if source.encoding.lower().replace("_", "-") in {"utf-8", "utf8"} else source.encoding
    try:
        return io.TextIOWrapper(file, encoding=encoding, errors="strict", newline="")
    except (LookupError, ValueError):
        raise ConfigError(f"--encoding {source.encoding!r} is not known to Python.", "Try utf-8 or cp1252.") from None


def undecodable(source: "Source", error: UnicodeError) -> DataError:
    """Find the place again in the whole file: the error itself counts from the start of a buffer."""
    with open_bytes(source, DataRules(allowed_schemes=(urlsplit(source.uri).scheme or "file",))) as file:
        raw = file.read()
    try:
        raw.decode(source.encoding)
    except UnicodeDecodeError as whole:
        line = raw[: whole.start].count(b"\n") + 1
        byte = raw[whole.start : whole.start + 1].hex()
        where = f"{source.name}, line {line}, byte offset {whole.start} (0x{byte})"
        return DataError(f"{where}: not {source.encoding}: {whole.reason}.", _encoding_hint(raw))
    except UnicodeError as whole:
        return DataError(f"{source.name}: not {source.encoding}: {whole}.", _encoding_hint(raw))
    return DataError(f"{source.name}: not {source.encoding}: {error}.", _encoding_hint(raw))


def _encoding_hint(raw: bytes) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "Declare --encoding utf-16."
    if raw.startswith(b"\x1f\x8b"):
        return "The file is gzip: name it with .gz."
    return "Declare the encoding it was written in, for example --encoding cp1252."
