"""The rows of a training: together, or in parts for what is fitted out of core."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from lifecycle.core.names import Side
from lifecycle.data import dataset
from lifecycle.data.manifest import Manifest
from lifecycle.problems.contract import inputs_of
from lifecycle.problems.known import named
from lifecycle.problems.learning import Parts

if TYPE_CHECKING:
    import pandas as pd

SAMPLE = 100_000
"""Where not all are held, so many rows of train tell what features learn, of test what predictions depend on."""
PART = 50_000
"""Rows that are in memory at a time."""
DIGITS = 8


class Rows(NamedTuple):
    """The rows of train and test of a dataset version.

    Attributes:
        manifest: Of the version.
        together: Whether they are held in memory, all of a split in one part.
        parts: The rows of a split, part by part.
    """

    manifest: Manifest
    together: bool
    parts: "Callable[[Side], Iterator[pd.DataFrame]]"

    @classmethod
    def of(cls, data_root: Path, manifest: Manifest, *, together: bool) -> Self:
        """Those of a version, after checking the digest of their file."""
        name, version, target = manifest.data_name, manifest.data_version, named(manifest.problem).learning.target
        if together:
            rows = dataset.load_rows(data_root, name, version, Side.TRAIN, Side.TEST)
            held = {split: rows[rows["split"] == split].reset_index(drop=True) for split in (Side.TRAIN, Side.TEST)}
            return cls(manifest, together, lambda split: iter([held[split]]))
        file = dataset.verified_rows(data_root, manifest)
        columns = ["key", "split", target, *(column.stored for column in manifest.inputs)]
        return cls(manifest, together, lambda split: _read(file, split, columns))

    @property
    def beside(self) -> dict[str, Any]:
        """What a training is given beside its rows: those of test, or all of them in parts."""
        if self.together:
            inputs, target = self._split(*self.parts(Side.TEST))
            return {"inputs": inputs, "target": target}
        counts = {Side(split): sum(rows.values()) for split, rows in self.manifest.counts.items()}
        return {"parts": Parts(lambda split: map(self._split, self.parts(split)), counts)}

    def sample(self, split: Side) -> "pd.DataFrame":
        """All rows that are held together; of others some, by their keys, which are hashes: so at random."""
        import pandas as pd

        total = sum(self.manifest.counts.get(split, {}).values())
        if self.together or total <= SAMPLE:
            return pd.concat(self.parts(split), ignore_index=True)
        below = f"{16**DIGITS * SAMPLE // total:0{DIGITS}x}"
        parts = (part[part["key"].str[:DIGITS] < below] for part in self.parts(split))
        return pd.concat(parts, ignore_index=True)

    def keys(self) -> "pd.Series[str]":
        """The keys of train, as much of each as a run keeps."""
        import pandas as pd

        return pd.concat([part["key"].str[:16] for part in self.parts(Side.TRAIN)], ignore_index=True)

    def _split(self, rows: "pd.DataFrame") -> "tuple[pd.DataFrame, pd.Series[Any]]":
        return inputs_of(rows, self.manifest.inputs), rows[named(self.manifest.problem).learning.target]


def _read(file: Path, split: Side, columns: list[str]) -> "Iterator[pd.DataFrame]":
    """The rows of one split, so many at a time as were read together."""
    from pyarrow import parquet

    with parquet.ParquetFile(file) as table:
        for batch in table.iter_batches(PART, columns=columns, use_threads=False):
            rows = batch.to_pandas()
            if len(rows := rows[rows["split"] == str(split)].reset_index(drop=True)):
                yield rows
