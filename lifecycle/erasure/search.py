"""Look into every file below some folders for texts, also in archives, tables and databases: what is left is named."""

import gzip
import os
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lifecycle.erasure import history
from lifecycle.erasure.forms import Forms

PARQUET, ZIP, GZIP = b"PAR1", b"PK\x03\x04", b"\x1f\x8b"


def files(roots: Iterable[Path]) -> list[Path]:
    """Every file below some folders, once; no link is followed."""
    found: set[Path] = set()
    for root in roots:
        for folder, _, names in os.walk(root):
            found |= {path for name in names if (path := Path(folder, name)).is_file() and not path.is_symlink()}
    return sorted(found)


def holds(path: Path, forms: Forms) -> bool:
    """Whether one of the texts stands in a file, in whatever form; a file that goes meanwhile holds nothing."""
    try:
        with path.open("rb") as file:
            start = file.read(16)
        if start == history.SQLITE:
            return history.cells_with(path, forms) > 0
        if start.startswith(PARQUET):
            return any(forms.stand_in(cell) for cell in _cells(path))
        return any(forms.stand_in(text) for text in _texts(path, start))
    except FileNotFoundError:
        return False


def _texts(path: Path, start: bytes) -> Iterator[str]:
    if start.startswith(ZIP) and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (_decoded(archive.read(name)) for name in archive.namelist())
    elif start.startswith(GZIP):
        try:
            yield _decoded(gzip.decompress(path.read_bytes()))
        except (OSError, EOFError):
            yield ""
    else:
        yield _decoded(path.read_bytes())


def _decoded(content: bytes) -> str:
    return content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8", "replace")


def _cells(path: Path) -> Iterator[str]:
    try:
        parquet = pq.ParquetFile(path)
    except (pa.ArrowException, OSError):
        return
    with parquet:
        texts = [field.name for field in parquet.schema_arrow if _is_text(field.type)]
        for batch in parquet.iter_batches(columns=texts):
            for column in batch.columns:
                yield from (str(cell) for cell in column.cast("string").to_pylist() if cell)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind))
