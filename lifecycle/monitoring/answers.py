"""What a version has answered in a window of requests, kept for labels that come later.

`<root>/<registered model>/answers/v<version>/<window>.parquet` has each prediction under a digest of its row's key, and
in its metadata what the manifest of a batch says. Requests themselves are kept by whoever keeps them, and for as long.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from lifecycle.core.errors import IntegrityError
from lifecycle.inference.manifest import BatchManifest
from lifecycle.monitoring import store
from lifecycle.storage import volumes

KEY, ROW, MANIFEST = "key", "row", b"manifest"


class Answered(NamedTuple):
    """Predictions by the digest of the key: of which batch or window, and what its manifest says."""

    batch: str
    manifest: BatchManifest
    answers: pd.DataFrame


def digests(keys: Iterable[str]) -> pd.Index:
    """The digests of keys: they join, and say nobody's number."""
    return pd.Index([hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest()[:32] for key in keys])


def keep(root: Path, window: str, manifest: BatchManifest, answers: pd.DataFrame, keys: Iterable[str]) -> None:
    """Write what was answered in a window, whole, in place of what was written before.

    Args:
        root: Where measurements lie.
        window: Its name.
        manifest: What is to be said of it.
        answers: The predictions by row.
        keys: What identifies each row; a row without one is left out, since nothing joins it.
    """
    rows = answers.rename_axis(ROW).reset_index()
    rows = rows.assign(**{KEY: digests(keys)})[[bool(key) for key in keys]]
    table = pa.Table.from_pandas(rows, preserve_index=False)
    about = {MANIFEST: manifest.model_dump_json().encode()}
    store.put(_folder(root, manifest) / f"{window}.parquet", table.replace_schema_metadata(about))


def every(root: Path, name: str) -> Iterator[Answered]:
    """What all versions of a model have answered in windows of requests."""
    for path in store.tables(root, f"{name}/answers/*/*.parquet"):
        yield _read(path)


def of(root: Path, name: str, version: int, window: str) -> Answered | None:
    """What a version has answered in a window; None if nobody has kept it."""
    path = root / name / "answers" / f"v{version}" / f"{window}.parquet"
    return _read(path) if volumes.exists(path) else None


def _folder(root: Path, manifest: BatchManifest) -> Path:
    return root / manifest.model_name / "answers" / f"v{manifest.model_version}"


def _read(path: Path) -> Answered:
    try:
        table = pq.read_table(volumes.local(path))
        manifest = BatchManifest.model_validate_json((table.schema.metadata or {})[MANIFEST])
        return Answered(path.name.removesuffix(".parquet"), manifest, table.to_pandas().set_index(KEY))
    except (pa.ArrowException, ValidationError, KeyError) as error:
        raise IntegrityError(f"{path} holds no answers: {error!s:.200}.", "Remove it.") from None
