"""A Delta table: of a folder, a URL or a catalog. Its version is its identity; a view has none."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lifecycle.core.errors import ConfigError, DataError
from lifecycle.data import delta
from lifecycle.data.opening import changed, check_scheme
from lifecycle.data.readers import Block, Problems, Reading, Wanted, parquet
from lifecycle.data.source import Source
from lifecycle.settings.rules import DataRules
from lifecycle.storage import volumes


@dataclass(frozen=True)
class DeltaTable:
    """Read by the version that its address names, else by the newest one."""

    source: Source
    rules: DataRules

    def brought(self, folder: Path) -> Source:
        """In the version that is to be read; who alone can ask a catalog for it, on a cluster, does so there."""
        remotely = volumes.on_volume(folder)
        if self.source.is_in_catalog and remotely and not delta.has_session():
            return self.source
        if remotely and self.source.is_path and not volumes.on_volume(Path(self.source.uri).absolute()):
            what = f"{self.source.uri}: a Delta table of this machine cannot be brought to {folder}."
            raise ConfigError(what, "Name a table of the catalog, a URL, a table on a volume, or a Parquet file.")
        return self.pinned()

    def pinned(self) -> Source:
        """In the version that it has now."""
        check_scheme(self.source, self.rules)
        return self.source.model_copy(update={"uri": delta.pinned(self.source.uri)})

    def require(self) -> None:
        """Ask for its version."""
        self.pinned()

    def digest(self) -> str:
        """That of its identity and version; of a view, of its rows."""
        with self.reading(Wanted({}, others=True), 0, Problems(self.source.name), None) as reading:
            for _ in reading.blocks if not reading.sha256 else ():
                pass
        return reading.sha256

    def count(self) -> int:
        """Its rows, as its log has them."""
        return delta.count(self.source.uri)

    @contextmanager
    def reading(self, wanted: Wanted, size: int, problems: Problems, sha256: str | None) -> Iterator[Reading]:
        """Its blocks, in the size in which they come; the rows of a view are digested as they pass."""
        _ = size
        check_scheme(self.source, self.rules)
        known = delta.identity(self.source.uri)
        total = hashlib.sha256()
        if known:
            total.update(json.dumps(known).encode() + b"\n")
            reading = Reading(self._blocks(wanted), total.hexdigest())
            self._require_expected(reading.sha256, sha256)
            yield reading
        else:
            reading = Reading(_digested(self._blocks(wanted._replace(others=True)), total))
            yield reading
            reading.sha256 = total.hexdigest()
            self._require_expected(reading.sha256, sha256)
        if problems:
            raise problems.error()

    def _blocks(self, wanted: Wanted) -> Iterator[Block]:
        names = parquet.chosen(self.source.name, delta.schema(self.source.uri), wanted)
        yield from parquet.of_batches(names, delta.batches(self.source.uri, names))

    def _require_expected(self, found: str, sha256: str | None) -> None:
        if sha256 not in (None, found):
            raise changed(self.source)
        if self.source.sha256 not in (None, found):
            what = f"{self.source.name}: sha256 is {found}, expected {self.source.sha256}."
            raise DataError(what, "Fetch the file again.")


def _digested(blocks: Iterator[Block], total: Any) -> Iterator[Block]:
    for block in blocks:
        for row in zip(*map(block.listed, block.cells), strict=True):
            total.update(json.dumps(row).encode() + b"\n")
        yield block
