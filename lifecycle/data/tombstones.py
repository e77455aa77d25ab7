"""What keeps erased rows away: of each, a keyed digest of its text, its key or its value in a column, beside the data.

`<root>/.erased.json` of datasets and of predictions holds a random key and the digests. A table that still holds an
erased row leads to a dataset version without it, and to predictions without it. Who can read the file can test a guess,
and who deletes it lets erased rows in again.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, ValidationError

from lifecycle.core.errors import IntegrityError
from lifecycle.core.frozen import Frozen
from lifecycle.problems.text_classification.identity import normalised
from lifecycle.storage import volumes
from lifecycle.storage.files import write_json

if TYPE_CHECKING:
    import pandas as pd

FILE = ".erased.json"
TEXT = ""
"""In place of a column's name: the text of a row, whatever its column is called."""
KEY = "\0key"
"""In its place too: the key of a row of a table, which no column of a source is called."""


class Tombstones(Frozen):
    """The rows that were erased below a folder."""

    key: str = Field("", repr=False)
    columns: dict[str, frozenset[str]] = Field({}, description="Digests by the column of what they are of.")

    def digest(self, column: str, value: str) -> str:
        """The keyed digest of a cell."""
        content = f"{column}\0{normalised(value) if column == TEXT else value}"
        return hmac.new(bytes.fromhex(self.key), content.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def hold(self, column: str, value: str) -> bool:
        """Whether the row with this cell was erased."""
        return column in self.columns and self.digest(column, value) in self.columns[column]

    def among(self, frame: "pd.DataFrame", text_columns: Iterable[str]) -> "pd.Series[bool]":
        """Which rows of a table were erased; its columns are called as in the source, and it may have no texts."""
        import pandas as pd

        erased = pd.Series(data=False, index=frame.index)
        for column in self.columns:
            for name in text_columns if column == TEXT else (column,):
                if name in frame:
                    erased |= frame[name].map(lambda cell, column=column: self.hold(column, str(cell))).astype(bool)
        return erased


def load(root: Path) -> Tombstones:
    """The rows that were erased below a folder; none on a volume.

    Raises:
        IntegrityError: The file is damaged, and what was erased would come in again.
    """
    path = root / FILE
    if volumes.on_volume(root) or not path.is_file():
        return Tombstones()
    try:
        return Tombstones.model_validate_json(path.read_bytes())
    except ValidationError as error:
        what = f"{path} is damaged: {error.errors()[0]['msg']}."
        raise IntegrityError(what, "Restore it from a copy: without it erased rows come in again.") from None


def add(root: Path, cells: Mapping[str, Iterable[str]]) -> None:
    """Record that rows with these cells were erased, by column; `TEXT` stands for the text."""
    known = load(root)
    known = known if known.key else Tombstones(key=secrets.token_hex(32))
    columns = {column: set(digests) for column, digests in known.columns.items()}
    for column, values in cells.items():
        columns.setdefault(column, set()).update(known.digest(column, value) for value in values)
    kept = {column: sorted(digests) for column, digests in columns.items() if digests}
    root.mkdir(parents=True, exist_ok=True)
    write_json(root / FILE, json.loads(json.dumps({"key": known.key, "columns": kept})))
