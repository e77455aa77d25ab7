"""Erase rows from the versions of all datasets: each is made again without them, under its name and digest.

Report, Data Docs and the results of the expectations are made again of the rows that stay, with the suite that the
manifest holds: they show rows as examples.
"""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from lifecycle.core.errors import ConfigError, DataError
from lifecycle.data import contents, dataset, division, report, validation
from lifecycle.data.dataset import MANIFEST, QUARANTINE, REPORT, SPLIT
from lifecycle.data.erased import Erased
from lifecycle.data.manifest import Manifest
from lifecycle.erasure import swap
from lifecycle.erasure.wanted import Wanted
from lifecycle.problems.known import named
from lifecycle.storage.files import sha256_of, write_json

logger = logging.getLogger(__name__)

FILES = (SPLIT, QUARANTINE)
NO_DOCS = (
    "<!doctype html><title>Erased</title><p>Rows were erased, and what stays does not pass the suite any more.</p>"
)


def settle(root: Path) -> None:
    """End what an erasure before this one was interrupted in."""
    for folder in swap.interrupted(root, "*/*"):
        swap.settle(folder)


def holding(root: Path, wanted: Wanted) -> Iterator[tuple[Manifest, dict[str, int]]]:
    """The versions that hold rows which are looked for, and how many on each side and in quarantine."""
    for manifest in dataset.versions(root):
        kept = _read(_folder(root, manifest))
        if rows := _counted(kept, {name: wanted.in_version(rows, manifest) for name, rows in kept.items()}):
            yield manifest, rows


def erase(root: Path, manifest: Manifest, wanted: Wanted, facts: dict[str, str]) -> None:
    """Make one version again without the rows; `facts` are name, time, author and reason of the erasure."""
    folder = _folder(root, manifest)
    rows = _read(folder)
    gone = {name: wanted.in_version(table, manifest) for name, table in rows.items()}
    kept = {name: table[~gone[name]].reset_index(drop=True) for name, table in rows.items()}
    with swap.replacing(folder) as new:
        for name, table in kept.items():
            table.to_parquet(new / name, index=False)
        after = {name: sha256_of(new / name) for name in FILES}
        entry = Erased(
            **facts,
            rows=_counted(rows, gone),
            positions=tuple(int(place) + 1 for place in gone[SPLIT].to_numpy().nonzero()[0]),
            before=manifest.files,
            after=after,
        )
        results = _validated(kept, manifest, new / "data_docs")
        changed = _manifest(manifest, kept, entry).model_copy(update={"validation": results})
        report.write(changed, kept[QUARANTINE], new / REPORT)
        write_json(new / MANIFEST, changed.model_dump(mode="json"))
    logger.info("Erased %d rows from dataset %s %s", sum(entry.rows.values()), *_names(manifest))


def _folder(root: Path, manifest: Manifest) -> Path:
    return root.joinpath(*_names(manifest))


def _names(manifest: Manifest) -> tuple[str, str]:
    return manifest.data_name, manifest.data_version


def _read(folder: Path) -> dict[str, pd.DataFrame]:
    return {name: pd.read_parquet(folder / name) for name in FILES}


def _counted(rows: dict[str, pd.DataFrame], gone: "dict[str, pd.Series[bool]]") -> dict[str, int]:
    sides = rows[SPLIT].loc[gone[SPLIT], "split"].value_counts().to_dict()
    counted = {str(side): int(count) for side, count in sides.items()} | {"quarantine": int(gone[QUARANTINE].sum())}
    return {place: count for place, count in counted.items() if count}


def _manifest(manifest: Manifest, kept: dict[str, pd.DataFrame], entry: Erased) -> Manifest:
    reasons = kept[QUARANTINE]["reason"].value_counts().sort_index()
    return manifest.model_copy(
        update={
            "rows_split": len(kept[SPLIT]),
            "rows_quarantined": len(kept[QUARANTINE]),
            "rows_erased": manifest.rows_erased + sum(entry.rows.values()),
            "quarantined": {str(reason): int(count) for reason, count in reasons.items()},
            **contents.described(kept[SPLIT], manifest.inputs),
            "near_duplicates": division.recounted(manifest.near_duplicates, kept[SPLIT], manifest.inputs),
            "files": entry.after,
            "erased": (*manifest.erased, entry),
        }
    )


def _validated(kept: dict[str, pd.DataFrame], manifest: Manifest, docs: Path) -> tuple[dict[str, Any], ...]:
    """The results of the version's own suite on the rows that stay; without its examples where that fails."""
    own = {"row", "key", "split", "reason", "kept_row"}
    tables = [table[[name for name in table if name not in own]].set_axis(table["row"]) for table in kept.values()]
    frame = pd.concat([table for table in tables if len(table)] or tables).sort_index()
    rows_of = named(manifest.problem).table
    try:
        suite = tuple(manifest.parameters["suite"]) or rows_of.suite(manifest.inputs)
        return validation.check(frame[frame[rows_of.target].notna()], suite, docs).results
    except (DataError, ConfigError):
        shutil.rmtree(docs, ignore_errors=True)
        docs.mkdir()
        (docs / "index.html").write_text(NO_DOCS, encoding="utf-8")
        return tuple({**result, "examples": []} for result in manifest.validation)
