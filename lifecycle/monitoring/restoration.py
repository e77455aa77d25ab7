"""A champion that has broken its probation is rolled back, and what it has published since is superseded, once each.

decision      written down first, with what it rests on
rollback      an entry of the promotion log that names the promotion it undoes: whatever a person did since wins
replacement   each recorded batch is published by the former champion, and that of the other version marked
done          written down last, once everybody was told

Each is safe to repeat and to kill at any instant; the next run goes on where the one before was killed.
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from pydantic import ValidationError

from lifecycle.core.errors import ConflictError, DataError, IntegrityError, LostRaceError, NotFoundError
from lifecycle.core.frozen import Frozen
from lifecycle.core.references import ModelRef
from lifecycle.inference import manifest as batches
from lifecycle.inference import superseded
from lifecycle.inference.manifest import BatchRequest
from lifecycle.inference.superseded import Replacement
from lifecycle.monitoring import shadow, store
from lifecycle.monitoring.probation import Probation
from lifecycle.monitoring.shadow import DECISION
from lifecycle.monitoring.subject import DONE, FOLDER, Subject
from lifecycle.registry import promotion, story
from lifecycle.registry.promotion import Intent, Promotion
from lifecycle.storage import volumes

logger = logging.getLogger(__name__)

Outcome = Literal["rolled back", "overtaken"]
BY = "probation"
"""In the log, what has let the rollback pass: no gate and no person."""


class Decision(Frozen):
    """A probation that was broken: who goes, who comes back, why."""

    probation: Probation
    model: ModelRef
    at: datetime

    @property
    def reason(self) -> str:
        """What the log and everybody is told."""
        return f"automatic: {self.probation.told}"


class Restored(Frozen):
    """What became of a decision: a rollback with its replaced batches, or nothing because a person came first."""

    outcome: Outcome
    decision: Decision
    replaced: int = 0
    lost: tuple[str, ...] = ()
    """Batches that could not be scored again: they are superseded all the same."""


def decide(subject: Subject, found: Probation) -> Decision:
    """Write down that a probation is broken; what was written down before stays as it is."""
    path = subject.folder(found.entry) / DECISION
    if not volumes.exists(path):
        model = promotion.reference(subject.target, found.former)
        decision = Decision(probation=found, model=model, at=datetime.now(UTC))
        store.write_json(path, decision.model_dump(mode="json"))
    return _read(subject, found.entry)


def open_decisions(subject: Subject, found: Probation) -> list[Decision]:
    """What was decided and is not done, the oldest first; so is that of which a batch was published late."""
    entries = [int(path.parent.name) for path in volumes.glob(subject.root / subject.name, f"{FOLDER}/*/{DECISION}")]
    return [
        decision
        for decision in (_read(subject, entry) for entry in sorted(entries))
        if not volumes.exists(subject.folder(decision.probation.entry) / DONE)
        or (
            found.state == "rolled back" and found.entry == decision.probation.entry and replacements(subject, decision)
        )
    ]


def intent(subject: Subject, decision: Decision) -> Intent | None:
    """The rollback, stated against the promotion that it undoes; None if somebody has changed the champion since."""
    now, found = promotion.read_log(subject.target), decision.probation
    story.refuse_if_missing(subject.target, now)
    stated = Intent(
        target=subject.target,
        model=decision.model,
        kind="rollback",
        expected=found.version,
        head=found.entry,
        version=found.former,
        reason=decision.reason,
        gate=BY,
    )
    ours = now.entry_of(stated.key)
    last = now.changes[-1].number if now.changes else 0
    if last == (ours.number if ours else found.entry):
        return stated
    return stated if ours and now.champion != found.version else None


def replacements(subject: Subject, decision: Decision) -> list[BatchRequest]:
    """What is to be published instead of each batch since the promotion that still counts."""
    found, asked = decision.probation, []
    for batch in shadow.recorded(subject, found.entry):
        folder, _ = batches.locate(batch)
        if volumes.is_published(folder) and not superseded.is_marked(folder):
            made_aside, _ = batches.locate(shadow.aside(subject, found, batch))
            replaces = Replacement(folder=folder, made_aside=made_aside, reason=decision.reason)
            asked.append(batch.model_copy(update={"model": decision.model, "replaces": replaces}))
    return asked


def roll_back(subject: Subject, decision: Decision) -> Promotion | None:
    """Enter the rollback in the log; None if a person was faster."""
    stated = intent(subject, decision)
    if stated is None:
        return None
    try:
        return promotion.promote(stated)
    except LostRaceError as error:
        logger.warning("%s", error)
        return None


def replace(subject: Subject, decision: Decision, score: Callable[[BatchRequest], None]) -> Restored:
    """Put the former champion's predictions in the place of each batch since the promotion.

    One whose table is gone, or another one now, counts no more all the same.
    """
    for batch in replacements(subject, decision):
        try:
            score(batch)
            _measured(subject, batch)
        except (NotFoundError, ConflictError, DataError) as error:
            logger.warning("Superseded, but not scored again: %s", error)
            if batch.replaces:
                superseded.mark(batch.replaces, None)
    every = {batches.locate(batch)[0] for batch in shadow.recorded(subject, decision.probation.entry)}
    marked = {folder for folder in every if superseded.is_marked(folder)}
    alone = {folder for folder in marked if not superseded.instead(folder)}
    lost = tuple(sorted(str(folder) for folder in alone))
    return Restored(outcome="rolled back", decision=decision, replaced=len(marked - alone), lost=lost)


def _measured(subject: Subject, batch: BatchRequest) -> None:
    """What was measured in the shadow is now of the predictions that count."""
    name, version = batches.locate(batch)[0].name, batch.model.version or 0
    path = store.place(subject.root, subject.name, "shadow", version, name)
    if volumes.exists(path):
        store.keep(subject.root, "drift", store.read(path))


def finish(subject: Subject, restored: Restored) -> None:
    """Write down what became of a decision, once everybody was told."""
    entry = restored.decision.probation.entry
    store.write_json(subject.folder(entry) / DONE, restored.model_dump(mode="json"))
    shadow.stands(subject)


def _read(subject: Subject, entry: int) -> Decision:
    path = subject.folder(entry) / DECISION
    try:
        return Decision.model_validate_json(volumes.read(path))
    except ValidationError as error:
        raise IntegrityError(f"{path} is damaged: {error.errors()[0]['msg']}.", "Remove it.") from None
