"""Which rows are to be erased: by their text, by the key of it, or by what identifies a person in a column.

A row of texts is told by its text in normalised form, as everywhere in this project; one of a table by its key. So
whoever names a row otherwise names all rows of the same text, or of the same key in another version, with it.
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
from lifecycle.data import dataset, tombstones
from lifecycle.data.dataset import QUARANTINE, SPLIT
from lifecycle.data.manifest import Manifest
from lifecycle.problems.contract import TEXT
from lifecycle.problems.text_classification.identity import text_key

if TYPE_CHECKING:
    import pandas as pd

KEY = re.compile("[0-9a-f]{16,64}")
MOST = 500
"""Rows that one erasure looks for in reports and databases, each in all its forms."""


class Subject(Frozen):
    """Whose rows: what a person says. It is shown in no message, log or error."""

    texts: tuple[str, ...] = Field((), repr=False)
    keys: tuple[str, ...] = Field((), description="Keys of rows, or their first 16 digits and more.", repr=False)
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
    met: set[str]
    """The ids and keys of it that some table held so far."""

    @classmethod
    def of(cls, subject: Subject, texts: Iterable[str] = (), keys: Iterable[str] = ()) -> Self:
        """What a person says, with the texts and keys that were found of it."""
        known = frozenset([*subject.texts, *texts])
        every_key = frozenset([*map(text_key, known), *keys])
        return cls(known, every_key, subject.keys, subject.id_column, frozenset(subject.ids), set())

    @property
    def buried(self) -> dict[str, frozenset[str]]:
        """What keeps them away from now on, by the column that it stands in; a text tells its key."""
        by_key = {key for key in self.keys if key.startswith(self.prefixes)} - {*map(text_key, self.texts)}
        columns = {tombstones.TEXT: self.texts, tombstones.KEY: frozenset(by_key)}
        return columns | ({self.id_column: self.ids} if self.ids else {})

    def has_text(self, text: str) -> bool:
        """Whether a text is one of theirs."""
        return self.has_key(text_key(text))

    def has_key(self, key: object) -> bool:
        """Whether a key is one of theirs."""
        theirs = isinstance(key, str) and (key in self.keys or key.startswith(self.prefixes))
        if theirs:
            self.met.add(str(key))
        return theirs

    def has_id(self, value: object) -> bool:
        """Whether a value of the column with the ids is one of theirs."""
        theirs = spelled(value) in self.ids
        if theirs:
            self.met.add(spelled(value))
        return theirs

    def unmet(self, subject: Subject, graves: tombstones.Tombstones) -> dict[str, tuple[int, ...]]:
        """Which of the texts, keys and ids that a person named no table held, by their places from 1.

        What was erased before is none of them.
        """
        known = {
            "texts": [text_key(text) in self.met or graves.hold(tombstones.TEXT, text) for text in subject.texts],
            "keys": [any(each.startswith(key) for each in self.met) for key in subject.keys],
            "ids": [each in self.met or graves.hold(subject.id_column, each) for each in subject.ids],
        }
        places = {
            kind: tuple(place for place, is_met in enumerate(met, 1) if not is_met) for kind, met in known.items()
        }
        return {kind: which for kind, which in places.items() if which}

    def in_version(self, rows: "pd.DataFrame", manifest: Manifest) -> "pd.Series[bool]":
        """Which rows of a dataset version are theirs, of pairs by either text."""
        texts = tuple(column.stored for column in manifest.inputs if column.is_text)
        return self.among(rows, ids_in=source_column(self, manifest), texts_in=texts)

    def among(
        self, rows: "pd.DataFrame", *, ids_in: str = "", keys_in: str = "key", texts_in: Iterable[str] = (TEXT,)
    ) -> "pd.Series[bool]":
        """Which rows of a stored table are theirs, by the columns that hold ids, keys and texts."""
        import pandas as pd

        theirs = pd.Series(data=False, index=rows.index)
        for column in texts_in:
            if column in rows:
                theirs |= rows[column].map(lambda text: bool(text) and self.has_text(str(text))).astype(bool)
        if keys_in in rows:
            theirs |= rows[keys_in].map(self.has_key).astype(bool)
        if self.ids and ids_in in rows:
            theirs |= rows[ids_in].map(self.has_id).astype(bool)
        return theirs


def spelled(value: object) -> str:
    """An id as a person writes it, also where a table holds it as a number."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def resolve(subject: Subject, data_roots: Iterable[Path]) -> Wanted:
    """Find in all dataset versions the texts and keys that a key or an id stands for, as they are written there.

    Raises:
        ConfigError: More rows are meant than one erasure looks for.
    """
    wanted, texts, keys = Wanted.of(subject), set[str](), set[str]()
    for rows in (rows for root in data_roots for rows in _theirs(root, wanted)):
        texts |= {str(text) for text in rows.get("text", ()) if text}
        keys |= {key for key in rows.get("key", ()) if isinstance(key, str) and key}
    for count, what in ((len(texts), "texts"), (len(keys), "rows")):
        if count > MOST:
            raise ConfigError(f"{count:,} {what} are meant, more than {MOST} at once.", "Name them in several steps.")
    return Wanted.of(subject, texts, keys)


def source_column(wanted: Wanted, manifest: Manifest) -> str:
    """What the column with the ids is called in a dataset version."""
    named = {column.name: column.stored for column in manifest.inputs if column.stored != "text"}
    return named.get(wanted.id_column, f"source_{wanted.id_column}")


def _theirs(root: Path, wanted: Wanted) -> "Iterator[pd.DataFrame]":
    import pandas as pd

    for manifest in dataset.versions(root):
        for name in (SPLIT, QUARANTINE):
            rows = pd.read_parquet(root / manifest.data_name / manifest.data_version / name)
            yield rows[wanted.in_version(rows, manifest)]
