"""A table in a file: CSV, JSON Lines or Parquet, of this machine, a volume or a URL."""

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lifecycle.core.errors import DataError
from lifecycle.data.opening import Content, opened
from lifecycle.data.readers import Block, Problems, Reading, Wanted, csv, jsonl, parquet, text
from lifecycle.data.source import Source
from lifecycle.settings.rules import DataRules
from lifecycle.storage import volumes


@dataclass(frozen=True)
class _Format:
    """How the rows of a file are read, and how many there are at most."""

    blocks: Callable[[Source, Content, Wanted, int, Problems], Iterator[Block]]
    count: Callable[[Content], int]


FORMATS = {
    "csv": _Format(csv.blocks, text.lines),
    "jsonl": _Format(jsonl.blocks, text.lines),
    "parquet": _Format(parquet.blocks, parquet.count),
}
"""A new format of files is one entry."""


@dataclass(frozen=True)
class FileTable:
    """It has no versions, so its bytes are its identity."""

    source: Source
    rules: DataRules

    def brought(self, folder: Path) -> Source:
        """Copied to a folder, if that is on a volume."""
        if not (volumes.on_volume(folder) and self.source.is_path):
            return self.source
        self.require()
        return self.source.model_copy(update={"uri": str(volumes.bring(Path(self.source.uri).absolute(), folder))})

    def pinned(self) -> Source:
        """As it is."""
        return self.source

    def require(self) -> None:
        """Open it."""
        with opened(self.source, self.rules):
            pass

    def digest(self) -> str:
        """The sha256 of its bytes."""
        with opened(self.source, self.rules) as content:
            content.whole()
            return content.settle()

    def count(self) -> int:
        """Rows of a Parquet table, lines of a text."""
        with opened(self.source, self.rules) as content:
            return FORMATS[self.source.kind].count(content)

    @contextmanager
    def reading(self, wanted: Wanted, size: int, problems: Problems, sha256: str | None) -> Iterator[Reading]:
        """Its blocks; at the end it must have been one content."""
        with opened(self.source, self.rules, sha256) as content:
            blocks = FORMATS[self.source.kind].blocks(self.source, content, wanted, size, problems)
            reading = Reading(blocks)
            with _translating(self.source, content):
                yield reading
            if problems:
                raise _explained(self.source, content, problems)
            reading.sha256 = content.settle()


def _explained(source: Source, content: Content, problems: Problems) -> DataError:
    """All problems as one error; of bytes that do not decode the place and the way out."""
    if found := problems.kinds.get(text.ENCODING):
        what, fix = text.undecodable(source, content, found.line)
        problems.kinds[text.ENCODING] = found._replace(what=what, fix=fix)
    return problems.error()


@contextmanager
def _translating(source: Source, content: Content) -> Iterator[None]:
    """Turn the libraries' errors about the content of a file into ours."""
    import pyarrow as pa

    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{source.name}: damaged gzip: {error}.", "Fetch the file again.") from None
    except (UnicodeError, OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and (type(error) is not OSError or error.errno or source.kind != "parquet"):
            raise  # the disk or the network; Arrow raises a bare OSError for damaged content
        if isinstance(error, UnicodeError) and source.kind != "parquet":
            what, fix = text.undecodable(source, content)
            raise DataError(f"{source.name}, {what}.", fix) from None
        reason = " ".join(str(error).split())[:200]
        if content.head()[:4] != b"PAR1":
            what = f"{source.name}: this is no Parquet."
            raise DataError(what, "If it is a text, declare its form: --format csv, or --format jsonl.") from None
        raise DataError(f"{source.name}: damaged Parquet: {reason.rstrip('.')}.", "Fetch the file again.") from None
