"""Find what is inconsistent in the state, say what it means, and repair what needs no decision."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal

from lifecycle.data import dataset
from lifecycle.errors import AliasMovedError, IntegrityError, MlopsError
from lifecycle.files import leftovers
from lifecycle.inference import batch
from lifecycle.models import loading
from lifecycle.names import is_name
from lifecycle.registry import catalog, promotion
from lifecycle.registry.promotion import Target
from lifecycle.settings import Frozen, Settings
from lifecycle.tracking import database_path


class Finding(Frozen):
    """One thing that was looked at."""

    state: Literal["ok", "problem", "repaired"]
    what: str
    message: str


def examine(environments: Sequence[Settings], *, repair: bool) -> list[Finding]:
    """Look at database, registry, datasets and predictions of all environments.

    With `repair`, an alias is set back to what the log says, also where a hand moved or removed it.
    """
    findings: list[Finding] = []
    for uri in dict.fromkeys(config.mlflow_uri for config in environments):
        database = list(_database(uri))
        findings += database
        if all(finding.state == "ok" for finding in database) and _exists(uri):
            findings += _registry(uri, repair=repair)
    for root in dict.fromkeys(config.datasets for config in environments):
        findings += _datasets(root)
    for root in dict.fromkeys(config.predictions for config in environments):
        findings += _predictions(root)
    for root in dict.fromkeys(config.state for config in environments):
        findings += _leftovers(root)
    return findings


def _database(uri: str) -> Iterator[Finding]:
    path = database_path(uri)
    if path is None:
        return
    if not path.exists():
        yield Finding(state="ok", what="database", message=f"{path} is not there yet: nothing was trained.")
        return
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            answer = connection.execute("PRAGMA integrity_check").fetchone()[0]
    except sqlite3.DatabaseError as error:
        answer = str(error)
    fine = answer == "ok"
    message = f"{path} is intact." if fine else f"{path} is damaged: {answer}. Restore it from a copy."
    yield Finding(state="ok" if fine else "problem", what="database", message=message)


def _exists(uri: str) -> bool:
    path = database_path(uri)
    return path is None or path.exists()


def _registry(uri: str, *, repair: bool) -> Iterator[Finding]:
    for name in catalog.names(uri):
        target = Target(tracking_uri=uri, name=name)
        try:
            alias = _alias(target, repair=repair)
        except (AliasMovedError, IntegrityError) as error:
            alias = Finding(state="problem", what=name, message=str(error))
        yield alias
        if alias.state != "problem":
            yield _champion(target)


def _alias(target: Target, *, repair: bool) -> Finding:
    before = promotion.read_log(target)
    alias = promotion.alias_version(target)
    if alias == before.champion and not before.unsettled:
        message = f"alias and log agree: {f'v{alias}' if alias else 'no champion'}."
        return Finding(state="ok", what=target.name, message=message)
    interrupted = alias == before.champion or before.explains(alias)
    if interrupted and not repair:
        message = (
            f"an interrupted step left the alias at {alias}; the log says {before.champion}. Run: mlops doctor --repair"
        )
        return Finding(state="problem", what=target.name, message=message)
    now = promotion.settle(target, override_hand=repair)
    done = f"set from {alias} to v{now.champion}" if now.champion else f"removed from v{alias}"
    return Finding(state="repaired", what=target.name, message=f"alias {done}, as the log says.")


def _champion(target: Target) -> Finding:
    now = promotion.read_log(target)
    if now.champion is None:
        return Finding(state="ok", what=target.name, message="no champion yet.")
    try:
        loading.verify(promotion.reference(target, now.champion))
    except MlopsError as error:
        return Finding(state="problem", what=target.name, message=str(error))
    return Finding(
        state="ok", what=target.name, message=f"the files of champion v{now.champion} are what was registered."
    )


def _datasets(root: Path) -> Iterator[Finding]:
    for folder in sorted(path.parent for path in root.glob(f"*/*/{dataset.MANIFEST}")):
        name, version = folder.parts[-2:]
        if not is_name(version):
            continue  # left by an interrupted step: see _leftovers
        try:
            manifest = dataset.verify(root, name, version)
        except MlopsError as error:
            yield Finding(state="problem", what=f"dataset {name} {version}", message=str(error))
        else:
            yield Finding(
                state="ok", what=f"dataset {name} {version}", message=f"{manifest.rows_in:,} rows as published."
            )


def _predictions(root: Path) -> Iterator[Finding]:
    for folder in sorted(path.parent for path in root.glob(f"*/*/*/{batch.MANIFEST}")):
        if folder.name.startswith("."):
            continue
        what = "predictions " + "/".join(folder.parts[-3:])
        try:
            manifest = batch.verify(folder)
        except MlopsError as error:
            yield Finding(state="problem", what=what, message=str(error))
        else:
            yield Finding(state="ok", what=what, message=f"{manifest.scored:,} rows as published.")


def _leftovers(root: Path) -> Iterator[Finding]:
    for path in leftovers(root):
        message = f"{path} was left by an interrupted step; once no step is running it can be removed."
        yield Finding(state="ok", what="leftover", message=message)
