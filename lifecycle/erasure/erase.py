"""`erase`: take a person's rows out of everything below the state directory that was made of them.

    lock       nobody reads meanwhile
    intent     written before anything is changed, so that a kill at any instant leaves something to complete
    tombstones so that no table brings the rows back
    history    Prefect's and MLflow's databases, results, logs
    artifacts  evaluations, training keys, verdicts, cards, examples of models
    requests   what servers of this machine have kept
    batches    predictions and the Delta tables that hold them
    datasets   every version of every dataset
    search     every file once more: what still holds a text is named

Each step does nothing where it was done, so the same again completes what was interrupted.
"""

import logging
import os
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from lifecycle.core.errors import ConfigError, NotFoundError
from lifecycle.data import dataset, lock, tombstones
from lifecycle.databricks import credentials
from lifecycle.erasure import artifacts, datasets, fitted, history, journal, predictions, requests, search
from lifecycle.erasure.forms import Forms
from lifecycle.erasure.journal import Erasure, Intent, Left, Touched
from lifecycle.erasure.predictions import Held
from lifecycle.erasure.wanted import Subject, Wanted, resolve
from lifecycle.inference import manifest as batches
from lifecycle.registry import log
from lifecycle.settings import Settings
from lifecycle.storage import volumes
from lifecycle.storage.files import leftovers
from lifecycle.tracking.client import database_path
from lifecycle.training.train import VECTORS

logger = logging.getLogger(__name__)

ELSEWHERE = "docs/erasure.md#elsewhere"
ABANDONED_SECONDS = 3600
TEMPORARY = ("mlops-run-", "mlops-model-", "mlops-publish-", "mlops-spark-", "mlops-external-")
"""Folders that a killed process may have left in the system's folder for such."""


class Places(NamedTuple):
    """Where rows may lie: folders, each once."""

    states: tuple[Path, ...]
    datasets: tuple[Path, ...]
    predictions: tuple[Path, ...]
    databases: tuple[Path, ...]

    @classmethod
    def of(cls, environments: Sequence[Settings]) -> "Places":
        """The places of some environments, all on this machine.

        Raises:
            ConfigError: One is elsewhere: what lies there cannot be proven to be erased from here.
        """
        for config in environments:
            _require_here(config)
        return cls(
            states=tuple(dict.fromkeys(config.state for config in environments)),
            datasets=tuple(dict.fromkeys(config.datasets for config in environments)),
            predictions=tuple(
                dict.fromkeys([*(c.predictions for c in environments), *(c.shadows for c in environments)])
            ),
            databases=tuple(dict.fromkeys(path for c in environments if (path := database_path(c.mlflow_uri)))),
        )

    @property
    def all(self) -> tuple[Path, ...]:
        """Every folder."""
        homes = [Path(os.environ[name]).expanduser() for name in ("PREFECT_HOME",) if os.environ.get(name)]
        beside = [path.parent for path in self.databases]
        found = dict.fromkeys([*self.states, *self.datasets, *self.predictions, *beside, *homes])
        return tuple(path for path in found if path.is_dir())

    @property
    def artifacts(self) -> tuple[Path, ...]:
        """Where MLflow keeps files."""
        return tuple(path.parent / artifacts.FOLDER for path in self.databases)

    def histories(self) -> Iterator[Path]:
        """The files that are none of the others: databases, results, logs, evidence; not those of a state inside."""
        apart = {*self.datasets, *self.predictions, *self.artifacts, *(root / journal.FOLDER for root in self.states)}
        inside = {path.parent for root in self.all for path in root.glob("*/**/mlflow.db")} - set(self.all)
        for path in search.files(self.all):
            own = path.name == tombstones.FILE or path.name.endswith(history.BESIDE)
            if not own and not (apart | inside) & set(path.parents):
                yield path


def erase(
    environments: Sequence[Settings],
    subject: Subject | None,
    *,
    reason: str = "",
    tables: Iterable[str] = (),
    dry_run: bool = False,
) -> Erasure:
    """Erase rows, or say what would be touched; without a subject, complete what was interrupted.

    Raises:
        ConfigError: Something lies where nothing can be erased from here.
        NotFoundError: Nothing holds the rows, and they were not erased before; or nothing was interrupted.
        TransientError: Another command reads or writes.
    """
    places = Places.of(environments)
    every = tuple(dict.fromkeys([*tables, *(c.inference.table for c in environments if c.inference.table)]))
    for table in every:
        predictions.require_table(table)
    state = places.states[0]
    with lock.alone(places.all):
        interrupted = journal.pending(state)
        if interrupted and not dry_run:
            completed = _carry_out(interrupted, places)
            if subject in {None, interrupted.subject}:
                return completed
        if subject is None:
            raise NotFoundError("No erasure was interrupted.", "Name the rows: see mlops data erase --help")
        return _erase(places, environments, subject, reason, every, dry_run)


def _erase(
    places: Places,
    environments: Sequence[Settings],
    subject: Subject,
    reason: str,
    tables: tuple[str, ...],
    dry_run: bool,
) -> Erasure:
    state, wanted = places.states[0], resolve(subject, places.datasets)
    planned = _plan(places, environments, wanted, subject, reason)
    if dry_run:
        return planned
    if not planned.touched:
        return _nothing(places, subject, planned)
    _bury(places, wanted)
    planned = planned.model_copy(update={"fingerprint": subject.fingerprint(tombstones.load(places.datasets[0]).key)})
    texts, keys = tuple(sorted(wanted.texts)), tuple(sorted(wanted.keys))
    intent = Intent(subject=subject, texts=texts, keys=keys, tables=tables, planned=planned)
    journal.begin(state, intent)
    return _carry_out(intent, places)


def _plan(places: Places, environments: Sequence[Settings], wanted: Wanted, subject: Subject, reason: str) -> Erasure:
    forms = Forms(wanted.texts)
    runs = [run for root in places.artifacts for run in artifacts.fitted(root, wanted)]
    said = {run for root in places.artifacts for run in artifacts.with_keys(root)}
    touched, now = tuple(_touched(places, wanted, forms)), datetime.now(UTC)
    return Erasure(
        erasure=f"{now:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}",
        at=now.isoformat(timespec="seconds"),
        by=log.author(),
        reason=reason,
        touched=touched,
        unmet=wanted.unmet(subject, tombstones.load(places.datasets[0])),
        fitted=tuple(fitted.versions(environments, runs)),
        left=tuple(fitted.unsaid(environments, said)),
    )


def _nothing(places: Places, subject: Subject, planned: Erasure) -> Erasure:
    """Nothing holds the rows: they were erased before, or never were here."""
    graves = tombstones.load(places.datasets[0])
    before = graves.key and (
        any(each.fingerprint == subject.fingerprint(graves.key) for each in journal.known(places.states[0]))
        or (subject.texts and all(graves.hold(tombstones.TEXT, text) for text in subject.texts))
    )
    if before:
        return planned.model_copy(update={"done": True})
    fix = "Texts are compared without case and runs of blanks."
    if subject.ids:
        fix = f"Ids are looked for in {subject.id_column!r} of sources and of batches that have it as key: check both."
    raise NotFoundError("Nothing holds these rows.", fix)


def _bury(places: Places, wanted: Wanted) -> None:
    for root in (*places.datasets, *places.predictions):
        tombstones.add(root, wanted.buried)


def _carry_out(intent: Intent, places: Places) -> Erasure:
    planned, wanted = intent.planned, Wanted.of(intent.subject, intent.texts, intent.keys)
    forms, state = Forms(wanted.texts), places.states[0]
    roots = (*places.datasets, *places.predictions)
    for root in roots:
        lock.mark(root, planned.erasure)
    for root in places.datasets:
        datasets.settle(root)
    for root in places.predictions:
        predictions.settle(root)
    _bury(places, wanted)
    for root in places.states:  # nobody can say whose texts they were made of
        shutil.rmtree(root / VECTORS, ignore_errors=True)
    _from_history(places, forms)
    _from_runs(places, wanted, forms, planned)
    for held in list(requests.holding(places.states, wanted, forms)):
        requests.erase(held)
    left = [*planned.left, *_from_batches(places, wanted, forms, intent)]
    for root in places.datasets:
        for manifest, _ in list(datasets.holding(root, wanted)):
            datasets.erase(root, manifest, wanted, planned.facts)
    _sweep(roots)
    searched = [path for path in search.files(places.all) if path != state / journal.FOLDER / journal.PENDING]
    left += [
        *_remaining(searched, forms, places),
        *_own_files(places, forms),
        *_coming_again(places, wanted, planned),
        *_beyond(),
    ]
    done = planned.model_copy(update={"left": tuple(left), "searched": len(searched), "done": True})
    journal.complete(state, done)
    for root in roots:
        lock.unmark(root)
    journal.forget(state)
    return done


def _touched(places: Places, wanted: Wanted, forms: Forms) -> Iterator[Touched]:
    for root in places.datasets:
        for manifest, rows in datasets.holding(root, wanted):
            yield Touched(kind="dataset", what=f"{manifest.data_name} {manifest.data_version}", rows=rows)
    for root, data_root in _batches(places):
        for found in predictions.holding(root, wanted, forms, data_root):
            if isinstance(found, Held) and found.stored:
                yield Touched(kind="predictions", what=_shown(found.folder, places), rows=found.stored)
    for asked in requests.holding(places.states, wanted, forms):
        yield Touched(kind="requests", what=_shown(asked.path, places), rows={"requests": len(asked.places)})
    for root in places.artifacts:
        for thing in artifacts.holding(root, wanted, forms):
            yield Touched(
                kind=f"artifact ({thing.kind})", what=_shown(thing.path, places), rows={"entries": thing.rows}
            )
    for path in places.histories():
        entries = history.cells_with(path, forms) if history.is_database(path) else int(history.shows(path, forms))
        if entries:
            yield Touched(kind="history", what=_shown(path, places), rows={"entries": entries})


def _shown(path: Path, places: Places) -> str:
    """A path as people see it: below the state directory."""
    return next((str(path.relative_to(root)) for root in places.states if path.is_relative_to(root)), str(path))


def _batches(places: Places) -> Iterator[tuple[Path, Path]]:
    """Each folder of predictions, with where the datasets lie that were scored."""
    return (
        (root, places.datasets[min(place, len(places.datasets) - 1)]) for place, root in enumerate(places.predictions)
    )


def _from_history(places: Places, forms: Forms) -> None:
    for path in places.histories():
        if history.is_database(path):
            if entries := history.clean_database(path, forms):
                logger.info("Erased %d entries from %s", entries, path)
        elif history.clean_file(path, forms):
            logger.info("Erased entries from %s", path)


def _from_runs(places: Places, wanted: Wanted, forms: Forms, planned: Erasure) -> None:
    for database in places.databases:
        uri, root = f"sqlite:///{database}", database.parent / artifacts.FOLDER
        for found in list(artifacts.holding(root, wanted, forms)):
            artifacts.erase(found, wanted, forms, uri)
            logger.info("Erased %s from %s", found.kind, found.path)
        for run_id in {model.run_id for model in planned.fitted}:
            fitted.mark(uri, run_id, planned.erasure)
        for run_id in {model.run_id for model in planned.fitted if not model.model}:
            fitted.drop(uri, run_id)


def _from_batches(places: Places, wanted: Wanted, forms: Forms, intent: Intent) -> list[Left]:
    left = []
    for root, data_root in _batches(places):
        for found in list(predictions.holding(root, wanted, forms, data_root)):
            if isinstance(found, Held):
                predictions.erase(found, intent.planned.facts, intent.tables)
            else:
                why = f"{found[1]}: name its rows by their ids in the key column (--id-column, --ids-from)"
                left.append(Left(what=str(found[0]), why=why))
    return left


def _sweep(roots: Iterable[Path]) -> None:
    """Remove what killed steps have left: nobody else is here."""
    for path in [path for root in roots for path in leftovers(root)]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for path in Path(tempfile.gettempdir()).glob("mlops-*"):
        with suppress(FileNotFoundError):  # another process has just removed its own
            state = path.lstat()
            old = path.name.startswith(TEMPORARY) and time.time() - state.st_mtime > ABANDONED_SECONDS
            if old and stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid():
                shutil.rmtree(path, ignore_errors=True)


def _remaining(paths: Iterable[Path], forms: Forms, places: Places) -> Iterator[Left]:
    folders = {folder for root in places.artifacts for folder in artifacts.models(root)}
    for path in paths:
        if search.holds(path, forms):
            in_model = folders & set(path.parents)
            why = (
                "the model itself holds the text: retire it" if in_model else "it is no file of this state's: erase it"
            )
            yield Left(what=str(path), why=why)


def _own_files(places: Places, forms: Forms) -> Iterator[Left]:
    """Tables that versions and batches were made of, where they still hold the rows."""
    sources = [manifest.source for root in places.datasets for manifest in dataset.versions(root)]
    folders = [path.parent for root in places.predictions for path in root.glob(f"*/*/*/{batches.MANIFEST}")]
    sources += [batches.load(folder).input for folder in folders if not folder.name.startswith(".")]
    for source in dict.fromkeys(sources):
        path = Path(source)
        inside = any(path.is_relative_to(root) for root in places.all)
        if path.is_absolute() and path.is_file() and not inside and search.holds(path, forms):
            yield Left(what=source, why="a file of yours that data was made of; from it the rows do not come in again")


def _coming_again(places: Places, wanted: Wanted, planned: Erasure) -> Iterator[Left]:
    """Tables whose rows were named by keys alone: by these they are not known in a batch of a file."""
    for manifest in (manifest for root in places.datasets for manifest in dataset.versions(root)):
        is_text = any(column.name == "text" for column in manifest.inputs)
        if not (wanted.ids or wanted.texts or is_text) and any(
            entry.erasure == planned.erasure for entry in manifest.erased
        ):
            why = (
                "a batch of it scores the rows again: name them by the value of a column too (--id-column, --ids-from)"
            )
            yield Left(what=manifest.source, why=why)


def _beyond() -> Iterator[Left]:
    if url := os.environ.get("PREFECT_API_URL"):
        yield Left(what=url.rpartition("@")[2], why=f"the history of this Prefect server is not reached: {ELSEWHERE}")


def _require_here(config: Settings) -> None:
    remote = {
        "its datasets are on a volume": volumes.on_volume(config.datasets),
        "its predictions are on a volume": volumes.on_volume(config.predictions),
        f"its MLflow is the server {config.mlflow_uri.rpartition('@')[2]}": database_path(config.mlflow_uri) is None,
        "its models are in Unity Catalog": credentials.is_databricks(config.registry_uri or ""),
    }
    if found := [why for why, holds in remote.items() if holds]:
        what = (
            f"Nothing was erased: of the environment {config.env}, {', '.join(found)}, which is not reached from here."
        )
        raise ConfigError(what, f"Name the environments that are here (--env); for the others see {ELSEWHERE}")
