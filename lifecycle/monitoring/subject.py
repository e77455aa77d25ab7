"""A registered model as monitoring knows it, and where its champion stands as far as the promotion log alone says it.

No measurement is read here, so a rollback, which nothing has to wait for, can say what it has made of a probation.
"""

import json
import logging
from datetime import UTC, datetime
from pathlib import Path

from lifecycle.core.frozen import Frozen
from lifecycle.monitoring import standings, store
from lifecycle.monitoring.probation import FILE, Probation
from lifecycle.registry import promotion
from lifecycle.registry import store as registry
from lifecycle.registry.log import Log
from lifecycle.registry.store import Target
from lifecycle.settings import Settings
from lifecycle.settings.gate_rules import GateRules
from lifecycle.settings.rules import MonitoringRules
from lifecycle.storage import volumes

logger = logging.getLogger("lifecycle.monitoring")

FOLDER, DONE = "probation", "done.json"


class Subject(Frozen):
    """A registered model, its rules, and where lies what is known of its batches."""

    target: Target
    root: Path
    shadows: Path
    data_root: Path
    rules: MonitoringRules
    gate: GateRules = GateRules()

    @classmethod
    def of(cls, config: Settings, target: Target) -> "Subject":
        """A registered model under the settings of its environment."""
        return cls(
            target=target,
            root=config.measurements,
            shadows=config.shadows,
            data_root=config.datasets,
            rules=config.monitoring,
            gate=config.gate,
        )

    @property
    def name(self) -> str:
        """The registered name."""
        return self.target.name

    def folder(self, entry: int) -> Path:
        """Where lies what is known of the probation that began with an entry of the log."""
        return self.root / self.name / FOLDER / str(entry)


def by_log(subject: Subject, now: Log) -> Probation | None:
    """Where the champion stands if it is on no probation, or on one that was undone; None if it may be on one."""
    if undone := _undone(subject, now):
        return undone
    reason = _no_probation(subject, now)
    return Probation(model=subject.name, state="none", reason=reason, version=now.champion or 0) if reason else None


def noted(subject: Subject, now: Log, found: Probation) -> Probation:
    """The same with when its champion became that and who was before, written down if there is a champion."""
    if found.champion and now.changes:
        last = registry.version(subject.target, now.changes[-1].number)
        at = datetime.fromtimestamp(last.created_at / 1000, UTC)
        found = found.model_copy(update={"champion_since": at, "previous": now.previous or 0})
        store.write_json(subject.root / subject.name / FILE, found.model_dump(mode="json"))
    return found


def rolled_back(subject: Subject) -> None:
    """Write down, and say, where the champion stands after a rollback, which does not fail of it."""
    try:
        now = promotion.read_log(subject.target)
        if found := by_log(subject, now):
            logger.info("%s: %s", subject.name, noted(subject, now, found).told)
    except Exception as error:  # also of a library
        logger.warning("Nothing is known of a probation: %s", error)


def forget(root: Path, name: str) -> None:
    """Let light commands no longer tell of a model that is gone; what was measured of it stays."""
    volumes.remove(root / name / standings.FILE)
    unseat(root, name)


def unseat(root: Path, name: str) -> None:
    """Let light commands no longer tell who is champion, since that changed."""
    volumes.remove(root / name / FILE)


def _no_probation(subject: Subject, now: Log) -> str:
    """Why the champion is on none, if it is so."""
    if not (subject.rules.enabled and subject.rules.probation.batches):
        return "the settings want none"
    if not now.changes or now.champion is None:
        return "there is no champion"
    if now.changes[-1].kind != "promotion":
        return f"v{now.champion} is champion by {'a rollback' if now.changes[-1].kind == 'rollback' else 'hand'}"
    return "" if now.previous else f"there was no champion before v{now.champion}"


def _undone(subject: Subject, now: Log) -> Probation | None:
    """The probation that has ended in the rollback which is the last change of the champion."""
    if len(now.changes) < 2 or now.changes[-1].kind != "rollback":
        return None
    done = subject.folder(now.changes[-2].number) / DONE
    if not volumes.exists(done):
        return None
    said = json.loads(volumes.read(done))
    if said["outcome"] != "rolled back":
        return None
    return Probation.model_validate(said["decision"]["probation"] | {"state": "rolled back"})
