"""Which rows are to be erased: by their text, by the key of it, or by what identifies a person in a column.

A row is told by its text in normalised form, as everywhere in this project. So whoever names a row otherwise names all
rows of the same text with it.
"""

import hmac
import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from pydantic import Field, model_validator

from lifecycle.core.errors import ConfigError
from lifecycle.core.frozen import Frozen
from lifecycle.data import dataset
from lifecycle.data.dataset import QUARANTINE, SPLIT
from lifecycle.problems.text_classification.identity import text_key

if TYPE_CHECKING:
    import pandas as pd

KEY = re.compile("[0-9a-f]{16,64}")
MOST = 500
"""Rows that one erasure looks for in reports and databases, each in all its forms."""


class Subject(Frozen):
    """Whose rows: what a person says. It is shown in no message, log or error."""

    texts: tuple[str, ...] = Field((), repr=False)
    keys: tuple[str, ...] = Field((), description="Keys of texts, or their first 16 digits and more.", repr=False)
    id_column: str = Field("", description="Column of the source, or key column of a batch, that holds `ids`.")
    ids: tuple[str, ...] = Field((), repr=False)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not (self.texts or self.keys or self.ids):
            raise ValueError("no row is named: a text, a key or an id is needed")
        if bool(self.ids) != bool(self.id_column):
            raise ValueError("ids and the column that holds them are named together")
        if bad := [key for key in self.keys if not KEY.fullmatch(key)]:
            raise ValueError(f"{bad[0]} is no key: 16 to 64 digits of the sha256 in the column `key`")
        if len(self.texts) + len(self.keys) + len(self.ids) > MOST:
            raise ValueError(f"more than {MOST} rows at once")
        return self

    def fingerprint(self, key: str) -> str:
        """The same for the same rows, and of use to nobody who lacks the key."""
        content = "\0".join([*sorted(map(text_key, self.texts)), *sorted(self.keys), self.id_column, *sorted(self.ids)])
        return hmac.new(bytes.fromhex(key), content.encode(), sha256).hexdigest()[:16]


class Wanted(NamedTuple):
    """The rows that are looked for: every text that is known to belong to them, and the ids that they were named by."""

    texts: frozenset[str]
    keys: frozenset[str]
    prefixes: tuple[str, ...]
    id_column: str
    ids: frozenset[str]

    @classmethod
    def of(cls, subject: Subject, texts: Iterable[str] = ()) -> Self:
        """What a person says, with the texts that were found of it."""
        known = frozenset([*subject.texts, *texts])
        keys = frozenset(map(text_key, known))
        return cls(known, keys, subject.keys, subject.id_column, frozenset(subject.ids))

    def has_text(self, text: str) -> bool:
        """Whether a text is one of theirs."""
        key = text_key(text)
        return key in self.keys or key.startswith(self.prefixes)

    def among(self, rows: "pd.DataFrame", *, ids_in: str = "") -> "pd.Series[bool]":
        """Which rows of a stored table are theirs; `ids_in` is the column that holds ids there."""
        import pandas as pd

        found = pd.Series(data=False, index=rows.index)
        if "text" in rows:
            found |= rows["text"].map(lambda text: bool(text) and self.has_text(str(text))).astype(bool)
        if self.ids and ids_in in rows:
            found |= rows[ids_in].map(str).isin(self.ids)
        return found


def resolve(subject: Subject, data_roots: Iterable[Path]) -> Wanted:
    """Find in all dataset versions the texts that a key or an id stands for, as they are written there.

    Raises:
        ConfigError: More rows are meant than one erasure looks for.
    """
    wanted = Wanted.of(subject)
    texts = {text for root in data_roots for text in _texts(root, wanted)}
    if len(texts) > MOST:
        raise ConfigError(f"{len(texts):,} texts are meant, more than {MOST} at once.", "Name them in several steps.")
    return Wanted.of(subject, texts)


def source_column(wanted: Wanted) -> str:
    """What the column with the ids is called in a dataset version."""
    return f"source_{wanted.id_column}"


def _texts(root: Path, wanted: Wanted) -> Iterator[str]:
    import pandas as pd

    for manifest in dataset.versions(root):
        for name in (SPLIT, QUARANTINE):
            rows = pd.read_parquet(root / manifest.data_name / manifest.data_version / name)
            found = wanted.among(rows, ids_in=source_column(wanted))
            yield from (str(text) for text in rows.loc[found, "text"] if text)
