"""Record what a hand did: a champion alias that was moved, or promotion tags that were changed, past this project."""

from lifecycle.core.errors import ConflictError, LostRaceError
from lifecycle.models import loading
from lifecycle.registry import log, promotion, registration, store, story
from lifecycle.registry.log import Log
from lifecycle.registry.promotion import Intent, Promotion, numbered
from lifecycle.registry.store import Target


def adopt(target: Target, reason: str, version: int | None = None) -> Promotion:
    """Record a champion alias that was moved by hand as an entry of the log.

    `version` is who is champion where promotion tags were changed; the default is what the alias says.

    Raises:
        ConflictError: The alias was removed or points to what was deleted, so that there is nothing to record; or a
            version is named that neither alias nor log speaks of.
        IntegrityError: Versions are missing, or the files are none that this environment loads.
    """
    intent = intend_adoption(target, reason, version)
    if isinstance(intent, Promotion):
        return intent
    loading.load(intent.model)
    return enter_adoption(intent)


def intend_adoption(target: Target, reason: str, version: int | None = None) -> Intent | Promotion:
    """State an adoption; where nothing was moved by hand, that is the answer."""
    now, alias = promotion.read_log(target), store.alias_version(target)
    if not now.altered:
        story.refuse_if_missing(target, now)
    number = _to_adopt(target, now, alias, version)
    if not now.altered and (number == now.champion or now.explains(alias)):
        message = f"{target.name} {numbered(promotion.settle(target).champion)} is champion; nothing was moved by hand."
        return promotion.outcome_of(target, promotion.read_log(target), changed=False, message=message)
    model = promotion.reference(target, number)
    return Intent(
        target=target, model=model, kind="adopt", expected=now.champion, head=now.head, version=number, reason=reason
    )


def enter_adoption(intent: Intent) -> Promotion:
    """Carry out an adoption; one that another change of champion forestalled moves nothing.

    Raises:
        LostRaceError: Another entry came first.
    """
    target, number = intent.target, promotion.register(intent)
    registration.await_earlier(target, number)
    if number not in {entry.number for entry in promotion.read_log(target).applied}:
        promotion.note(target, number, log.LOST)
        raise LostRaceError(f"{target.name}: another change of champion came first.", "Look again: mlops history")
    if store.alias_version(target) != intent.version:
        promotion.settle(target, override_hand=True)
    return promotion.promote(intent)


def _to_adopt(target: Target, now: Log, alias: int | None, version: int | None) -> int:
    restore = "To restore the alias: mlops doctor --repair"
    if version is not None and version not in {alias, now.champion, now.altered}:
        what = f"{target.name} v{version} is champion neither by the alias ({numbered(alias)}) nor by the log."
        raise ConflictError(what, "To make it champion: mlops promote")
    number = version or alias
    if number is None:
        what = f"{target.name} has no champion alias to adopt; the log says {numbered(now.champion)}."
        raise ConflictError(what, restore)
    if number in now.retired:
        raise ConflictError(f"{target.name} v{number} was deleted.", restore)
    return number
