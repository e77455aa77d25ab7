"""Erase rows from published batches, and from the Delta tables that they were entered in.

A batch holds no inputs but the cells for which rows were rejected. Which of its rows is whose, its input says, which is
read again if it still digests to what was scored; a dataset version that was scored says it also after an erasure. A
row that is named by its id, or its key, in the key column needs no input.
"""

import logging
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lifecycle.core.errors import ConfigError, MlopsError
from lifecycle.data import dataset, delta, ingest
from lifecycle.data.dataset import SPLIT
from lifecycle.data.erased import Erased
from lifecycle.data.source import Source
from lifecycle.erasure import swap
from lifecycle.erasure.forms import Forms
from lifecycle.erasure.wanted import Wanted
from lifecycle.inference import manifest as batches
from lifecycle.inference import superseded, tables
from lifecycle.inference.manifest import MANIFEST, REJECTED, BatchManifest
from lifecycle.inference.predictions import Tally
from lifecycle.settings.rules import DataRules
from lifecycle.storage.files import sha256_of, write_json

logger = logging.getLogger(__name__)

ENCODINGS = ("utf-8", "cp1252", "latin-1", "utf-16", "utf-8-sig", "iso-8859-1", "ascii")
DELIMITERS = (",", ";", "\t", "|")
KINDS = ("csv", "jsonl", "parquet")


class Held(NamedTuple):
    """The rows of one batch that are looked for, by their number in its input."""

    folder: Path
    manifest: BatchManifest
    rows: frozenset[int]
    stored: dict[str, int]
    """Those of them that are in its files: scored and rejected."""


def settle(root: Path) -> None:
    """End what an erasure before this one was interrupted in, and what scoring was: it is scored again."""
    for folder in swap.interrupted(root, "*/*/*"):
        swap.settle(folder)
    for partial in root.glob("*/*/.partial-*"):
        shutil.rmtree(partial)


def holding(root: Path, wanted: Wanted, forms: Forms, data_root: Path) -> Iterator[Held | tuple[Path, str]]:
    """The batches that hold rows which are looked for; and those of which nobody can say, with the reason."""
    for path in sorted(root.glob(f"*/*/*/{MANIFEST}")):
        folder = path.parent
        if folder.name.startswith("."):
            continue
        manifest = batches.load(folder)
        rows, unknown = _from_input(manifest, wanted, data_root)
        unknown = "" if _is_told_by_id(manifest, wanted) else unknown
        rows |= _from_files(folder, manifest, wanted, forms)
        stored = _stored(folder, manifest, rows)
        if rows:
            yield Held(folder, manifest, frozenset(rows), stored)
        if unknown:
            yield folder, unknown


def _is_told_by_id(manifest: BatchManifest, wanted: Wanted) -> bool:
    """Whether the ids of its own rows, which its files hold, tell all that is looked for: no text of a row does."""
    return bool(wanted.ids) and manifest.key_column == wanted.id_column and not manifest.text_columns


def erase(held: Held, facts: dict[str, str], delta_tables: Iterable[str]) -> None:
    """Take the rows of a batch out of the Delta tables, then out of its files."""
    for table in delta_tables:
        _from_table(table, held)
    if not held.stored:
        return
    with swap.replacing(held.folder) as new:
        kept = {name: _without(held.folder / name, new / name, held.rows) for name in held.manifest.parts}
        rejected = Counter(str(reason) for reason in kept.pop(REJECTED)["reason"].to_pylist())
        tally = Tally.merged(Tally.of(table, held.manifest.problem) for table in kept.values())
        after = {path.name: sha256_of(path) for path in sorted(new.glob("*.parquet"))}
        entry = Erased(**facts, rows=held.stored, before=held.manifest.parts, after=after)
        changed = held.manifest.model_copy(
            update={
                "scored": tally.rows,
                "labels": dict(sorted(tally.labels.items())),
                "numbers": tally.numbers,
                "rejected": dict(sorted(rejected.items())),
                "rows_erased": held.manifest.rows_erased + sum(held.stored.values()),
                "parts": after,
                "erased": (*held.manifest.erased, entry),
            }
        )
        write_json(new / MANIFEST, changed.model_dump(mode="json"))
        if superseded.is_marked(held.folder):
            shutil.copyfile(held.folder / superseded.FILE, new / superseded.FILE)
    logger.info("Erased %d rows from the predictions in %s", sum(held.stored.values()), held.folder)


def _without(old: Path, new: Path, rows: frozenset[int]) -> pa.Table:
    """Write a file of a batch without some rows; what stays."""
    table = pq.read_table(old)
    kept = table.filter(pc.invert(pc.is_in(table["row"], pa.array(sorted(rows), pa.int64()))))
    pq.write_table(kept, new)
    return kept


def _stored(folder: Path, manifest: BatchManifest, rows: set[int]) -> dict[str, int]:
    found = Counter[str]()
    for name in manifest.parts:
        there = rows & set(pq.read_table(folder / name, columns=["row"])["row"].to_pylist())
        found["rejected" if name == REJECTED else "scored"] += len(there)
    return {place: count for place, count in found.items() if count}


def _from_files(folder: Path, manifest: BatchManifest, wanted: Wanted, forms: Forms) -> set[int]:
    """The rows that its files tell: by the id or key in the key column, and by the cell of a rejected row."""
    by_id = "input_key" if manifest.key_column == wanted.id_column else ""
    by_key = "input_key" if manifest.key_column == "key" else ""
    named = f"{manifest.columns.get(wanted.id_column)}: "

    def is_shown(cell: object) -> bool:
        text = str(cell)
        return forms.is_row(text) or (text.startswith(named) and wanted.has_id(text.removeprefix(named)))

    found: set[int] = set()
    for name in manifest.parts:
        rows = pd.read_parquet(folder / name)
        theirs = wanted.among(rows, ids_in=by_id, keys_in=by_key)
        if name == REJECTED:
            theirs |= rows["text"].map(is_shown).astype(bool)
        found |= {int(row) for row in rows.loc[theirs, "row"]}
    return found


def _from_input(manifest: BatchManifest, wanted: Wanted, data_root: Path) -> tuple[set[int], str]:
    """The rows that the input of a batch tells, or why it does not."""
    path = Path(manifest.input)
    if path.name == SPLIT and path.is_relative_to(data_root):
        return _from_version(manifest, wanted, data_root, *path.relative_to(data_root).parts[:2])
    by_text = len(manifest.text_columns) == 1 or (wanted.texts and manifest.text_columns)
    if not (by_text or wanted.ids):
        by_key_alone = wanted.prefixes and not wanted.texts
        return set(), f"rows of its input {manifest.input} are not told by a key" if by_key_alone else ""
    if not path.is_absolute() or not path.is_file():
        return set(), f"its input {manifest.input} cannot be read here"
    content = sha256_of(path)
    source = next((form for form in _sources(path) if _is_input(manifest, content, form)), None)
    if source is None:
        return set(), f"its input {manifest.input} has changed since"
    found, columns = set[int](), [*manifest.columns]
    try:
        for chunk in ingest.stream(source, DataRules(), columns, rows_per_chunk=20_000, also=[wanted.id_column]):
            theirs = wanted.among(chunk, ids_in=wanted.id_column, texts_in=manifest.text_columns)
            found |= {int(row) for row in chunk.index[theirs]}
    except MlopsError:
        return found, f"its input {manifest.input} cannot be read to its end"
    return found, ""


def _from_version(
    manifest: BatchManifest, wanted: Wanted, data_root: Path, data_name: str, data_version: str
) -> tuple[set[int], str]:
    """The rows of a dataset version that was scored, as it was then: what was erased since has left its place."""
    with suppress(MlopsError):
        version = dataset.load(data_root, data_name, data_version)
        rows = pd.read_parquet(data_root / data_name / data_version / SPLIT)
        theirs = wanted.in_version(rows, version)
        places: list[int] = [*range(len(rows))]
        source, content = Source(uri=manifest.input), version.files[SPLIT]
        for entry in (None, *reversed(version.erased)):
            if entry:
                content, places = entry.before[SPLIT], _before(places, entry)
            if _is_input(manifest, content, source):
                return {places[i] + 1 for i in theirs.to_numpy().nonzero()[0]}, ""
    return set(), f"its input {manifest.input} has changed since"


def _before(places: list[int], entry: Erased) -> list[int]:
    """Where rows stood, from 0, before an erasure."""
    gone = {place - 1 for place in entry.positions}
    stayed = [place for place in range(max(places, default=0) + 1 + len(gone)) if place not in gone]
    return [stayed[place] for place in places]


def _sources(path: Path) -> Iterator[Source]:
    """A file in every form that it may have been declared in."""
    kind = Source(uri=str(path)).kind
    for form in dict.fromkeys((kind, *KINDS)):
        for encoding in ENCODINGS:
            for delimiter in DELIMITERS if form == "csv" else (",",):
                yield Source.model_validate(
                    {"uri": str(path), "format": form, "encoding": encoding, "delimiter": delimiter}
                )


def _is_input(manifest: BatchManifest, content: str, source: Source) -> bool:
    """Whether a content in a form is what was scored."""
    digest = batches.input_digest(
        content, source, manifest.columns, manifest.key_column, manifest.splits, form=manifest.form
    )
    return digest == manifest.input_digest


def _from_table(table: str, held: Held) -> None:
    """Delete rows of a batch from a Delta table at a path, and the files of its earlier versions.

    Raises:
        ConfigError: The package that writes it is missing.
    """
    if not Path(table).is_dir():
        return
    delta.require_package()
    import deltalake

    opened = deltalake.DeltaTable(table)
    rows = ", ".join(map(str, sorted(held.rows)))
    deleted = opened.delete(f"{tables.predicate(held.folder, held.manifest)} AND row IN ({rows})")
    opened = deltalake.DeltaTable(table)
    opened.create_checkpoint()
    opened.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    logger.info("Deleted %s rows from the table %s", deleted.get("num_deleted_rows", 0), table)


def require_table(table: str) -> None:
    """Refuse a table that cannot be changed from here, before anything is.

    Raises:
        ConfigError: It is one of a catalog, or at a URL.
    """
    if delta.is_name(table) or "://" in table:
        what = f"{table} cannot be changed from here."
        raise ConfigError(what, "Delete its rows there: docs/erasure.md#elsewhere")
