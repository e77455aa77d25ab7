"""Vectors that trainings have made, on disk: a text that was read once is not read again by the next training.

Only trainings use them. What a registered model answers is computed from its own files each time, so the gate and a
batch depend on nothing that lies here, and the folder may be removed at any time.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import sha256
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from platform import machine
from typing import Any

import numpy as np
from joblib import cpu_count  # type: ignore[import-untyped]

from lifecycle.problems.embedding.encoders import Files
from lifecycle.problems.text_pair_classification.model import Encoder

logger = logging.getLogger(__name__)

MOST_BYTES = 256 * 2**20
"""Of the vectors of one encoder; those that no training has asked for the longest go first."""
BUSY_SECONDS = 30
ASKED_AT_ONCE, MADE_AT_ONCE = 500, 1000
"""Texts of one question to the database; texts after whose vectors these are kept, should the training be killed."""
TABLE = "CREATE TABLE IF NOT EXISTS vectors (text BLOB PRIMARY KEY, vector BLOB NOT NULL, used REAL NOT NULL)"


class KeptVectors:
    """The vectors of one encoder by the sha256 of the texts; of what cannot be read or written there is none."""

    def __init__(self, folder: Path, encoder: str) -> None:
        made_by = " ".join((encoder, version("onnxruntime"), version("tokenizers"), machine()))
        self.path = folder / f"{sha256(made_by.encode()).hexdigest()[:16]}.sqlite"

    def of(self, texts: Iterable[str]) -> dict[str, Any]:
        """The vectors of those texts that have one."""
        by_digest = {_digest(text): text for text in texts}
        found: dict[str, Any] = {}

        def look(database: sqlite3.Connection) -> None:
            for some in _some(by_digest):
                asked = f"text IN ({', '.join('?' * len(some))})"
                rows = database.execute(f"SELECT text, vector FROM vectors WHERE {asked}", some)  # noqa: S608  marks
                found.update({by_digest[digest]: np.frombuffer(vector, "<f4") for digest, vector in rows})
                database.execute(f"UPDATE vectors SET used = ? WHERE {asked}", (time.time(), *some))  # noqa: S608

        self._within(look)
        return found

    def add(self, vectors: Mapping[str, Any]) -> None:
        """Keep vectors, and no more than there is room for."""
        rows = [(_digest(text), np.asarray(vector, "<f4").tobytes(), time.time()) for text, vector in vectors.items()]
        most = MOST_BYTES // max((len(vector) for _, vector, _ in rows), default=1)
        oldest = "SELECT text FROM vectors ORDER BY used DESC, text LIMIT -1 OFFSET ?"

        def keep(database: sqlite3.Connection) -> None:
            database.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)
            database.execute(f"DELETE FROM vectors WHERE text IN ({oldest})", (most,))  # noqa: S608  nobody's value

        if rows:
            self._within(keep)

    def _within(self, work: Callable[[sqlite3.Connection], None]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=BUSY_SECONDS)) as database, database:
                database.execute(TABLE)
                work(database)
        except (sqlite3.Error, OSError, ValueError) as error:
            logger.warning("Vectors of texts cannot be kept in %s (%s): they are made anew", self.path, error)
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
                self.path.unlink(missing_ok=True)  # it is damaged; one that is locked or full is not


class Remembering(Encoder):
    """An encoder that reads each text once: rows are measured, and shuffled to tell what matters, after the fit.

    Texts are read on all cores, each alone, so their vectors are what they are one by one.
    """

    def __init__(self, files: Files, folder: Path | None) -> None:
        super().__init__(*files)
        self._known: dict[str, Any] = {}
        self._kept = KeptVectors(folder, files.digest) if folder else None

    def vectors(self, texts: Sequence[str]) -> Any:
        """As of any encoder; what earlier trainings have made is taken from them."""
        asked = {text for text in texts if text not in self._known}
        self._known |= self._kept.of(asked) if self._kept else {}
        missing = [text for text in dict.fromkeys(texts) if text not in self._known]
        with ThreadPoolExecutor(cpu_count()) as pool:
            for start in range(0, len(missing), MADE_AT_ONCE):
                some = missing[start : start + MADE_AT_ONCE]
                made = dict(zip(some, pool.map(self.vector, some), strict=True))
                self._known |= made
                if self._kept:
                    self._kept.add(made)
        return np.array([self._known[text] for text in texts], dtype="float64")


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def _some(digests: Iterable[bytes]) -> Iterator[tuple[bytes, ...]]:
    left = iter(digests)
    while some := tuple(islice(left, ASKED_AT_ONCE)):
        yield some
