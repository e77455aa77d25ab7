"""Find what is inconsistent in the state, say what it means, and repair what needs no decision."""

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from lifecycle.core import writer_process
from lifecycle.core.errors import IntegrityError, MlopsError
from lifecycle.core.names import is_name
from lifecycle.data import dataset
from lifecycle.databricks import credentials
from lifecycle.doctor.definitions import examine_definitions
from lifecycle.doctor.endpoints import examine_endpoints
from lifecycle.doctor.finding import Finding, ok, problem, repairable
from lifecycle.doctor.models import examine_model
from lifecycle.inference import manifest as batches
from lifecycle.registry import store
from lifecycle.registry.store import Target
from lifecycle.settings import Settings, definitions
from lifecycle.storage import embedded, moved_state, volumes
from lifecycle.storage.files import leftovers
from lifecycle.tracking import runs
from lifecycle.tracking.client import database_path

__all__ = ["ABANDONED_SECONDS", "Finding", "examine"]

ABANDONED_SECONDS = 3600
"""A temporary file that nobody has touched for so long was left by a step that is over."""


def examine(environments: Sequence[Settings], *, repair: bool) -> list[Finding]:
    """Look at database, registry, runs, definitions, endpoints, datasets and predictions of all environments.

    With `repair`, an alias is set back to what the log says, also where a hand moved or removed it.
    """
    findings: list[Finding] = []
    for uri in dict.fromkeys(config.mlflow_uri for config in environments):
        database = list(_database(uri, repair=repair))
        findings += database
        if all(finding.state != "problem" for finding in database) and _exists(uri):
            try:
                findings += _registries([config for config in environments if config.mlflow_uri == uri], repair=repair)
            except IntegrityError as error:  # a table or a value that SQLite itself does not miss
                findings.append(problem("database", str(error)))
    findings += examine_definitions(environments)
    for config in environments:
        findings += examine_endpoints(config, repair=repair)
    for root in dict.fromkeys(config.datasets for config in environments):
        findings += _datasets(root)
    for root in dict.fromkeys(config.predictions for config in environments):
        findings += _predictions(root)
    for root in dict.fromkeys(config.state for config in environments):
        findings += _leftovers(root, repair=repair)
    return findings


def _database(uri: str, *, repair: bool) -> Iterator[Finding]:
    path = database_path(uri)
    if path is None:
        return
    try:
        if not os.path.lexists(path):
            embedded.require_no_models(path)
            yield ok("database", f"{path} is not there yet: nothing was trained.")
            return
        older, places = embedded.is_older(path), moved_state.former_places(path)
        answer = _integrity(path)
    except MlopsError as error:
        yield problem("database", str(error))
        return
    if answer != "ok":
        yield problem("database", f"{path} is damaged: {answer}. Restore it from a copy.")
        return
    yield ok("database", f"{path} is intact.")
    bring = partial(embedded.prepare, path)
    if older:
        message = f"{path} was made by an older MLflow; the next command upgrades it, and keeps a copy."
        yield repairable("database", message, repair, bring)
    if places:
        former = " and ".join(map(str, places))
        message = f"the state was moved: its addresses name {former}; the next command lets them name {path.parent}."
        yield repairable("database", message, repair, bring)


def _integrity(path: Path) -> str:
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    except sqlite3.DatabaseError as error:
        return str(error)


def _exists(uri: str) -> bool:
    path = database_path(uri)
    return path is None or path.exists()


def _registries(environments: Sequence[Settings], *, repair: bool) -> Iterator[Finding]:
    """All models of each registry, and those that are defined; of Unity Catalog those in the environments' schemas."""
    uri = environments[0].mlflow_uri
    for registry in dict.fromkeys(config.registry_uri or "" for config in environments):
        own = [config for config in environments if (config.registry_uri or "") == registry]
        defined = [config.registered_name(model) for config in own for model in definitions.names()]
        for name in dict.fromkeys([*store.names(uri, registry), *defined]):
            within = next((config for config in own if name.startswith(config.registered_name(""))), None)
            if within:
                yield from examine_model(store.target_of(within, "").named(name), repair=repair)
            elif not credentials.is_databricks(registry or uri):
                yield from examine_model(Target(tracking_uri=uri, registry_uri=registry, name=name), repair=repair)
    for run_id in runs.abandoned(uri):
        message = f"training run {run_id} is RUNNING, but its process has ended."
        yield repairable("run", message, repair, partial(runs.end_abandoned, uri, run_id))


def _datasets(root: Path) -> Iterator[Finding]:
    for folder in sorted(path.parent for path in volumes.glob(root, f"*/*/{dataset.MANIFEST}")):
        name, version = folder.parts[-2:]
        if not is_name(version):
            continue  # left by an interrupted step: see _leftovers
        try:
            manifest = dataset.verify(root, name, version)
        except MlopsError as error:
            yield problem(f"dataset {name} {version}", str(error))
        else:
            yield ok(f"dataset {name} {version}", f"{manifest.rows_in:,} rows as published.")


def _predictions(root: Path) -> Iterator[Finding]:
    for folder in sorted(path.parent for path in volumes.glob(root, f"*/*/*/{batches.MANIFEST}")):
        if folder.name.startswith("."):
            continue
        what = "predictions " + "/".join(folder.parts[-3:])
        try:
            manifest = batches.verify(folder)
        except MlopsError as error:
            yield problem(what, str(error))
        else:
            yield ok(what, f"{manifest.scored:,} rows as published.")


def _leftovers(root: Path, *, repair: bool) -> Iterator[Finding]:
    """What no process is writing any more: its own has ended, or it is old, where that cannot be told."""
    for path in leftovers(root):
        age = time.time() - max((each.lstat().st_mtime for each in [path, *path.rglob("*")]), default=0)
        if writer_process.is_left(path):
            message = f"{path} was left by a process that was killed."
            yield repairable("leftover", message, repair, partial(writer_process.remove, path))
        elif age < ABANDONED_SECONDS:
            yield ok("leftover", f"{path} is not published yet, or was left by a step that was interrupted just now.")
        else:
            message = f"{path} was left by an interrupted step, {age / 3600:.0f} hours ago."
            yield repairable("leftover", message, repair, partial(writer_process.remove, path))
