"""The order of a rollback, whatever carries out its steps: this process as it is, or Prefect by its policies."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

from lifecycle.gate.proof import replay
from lifecycle.gate.proof.infrastructure import Proof
from lifecycle.registry import promotion
from lifecycle.registry.promotion import Intent, Promotion
from lifecycle.registry.store import Target, target_of
from lifecycle.settings import Settings


class Wanted(NamedTuple):
    """What is to be rolled back, where to and why, and where the rows and the earlier proofs lie."""

    target: Target
    to_version: int | None
    reason: str
    rehearse: bool
    datasets: Path
    evidence: Path

    @classmethod
    def of(cls, config: Settings, model_name: str, to_version: int | None, reason: str, rehearse: bool) -> Self:
        """A rollback of a model in an environment."""
        target, why = target_of(config, model_name), reason or "rolled back by hand"
        return cls(target, to_version, why, rehearse, config.datasets, config.state / "evidence")


class Steps(NamedTuple):
    """What the steps are carried out by."""

    intend: Callable[..., Intent | Promotion] = promotion.intend_rollback
    reproduces: Callable[..., Proof] = replay.reproduces
    mark_ready: Callable[[Intent], Promotion] = promotion.mark_ready
    register: Callable[[Intent], int] = promotion.register
    promote: Callable[[Intent], Promotion] = promotion.promote


class RolledBack(NamedTuple):
    """What came of it; not `is_new` where it was done before, is not needed, or was only rehearsed."""

    promotion: Promotion
    is_new: bool = False


PLAIN = Steps()


def roll_back(wanted: Wanted, request: str = "", steps: Steps = PLAIN) -> RolledBack:
    """Give the champion alias back to an earlier champion that is proven first, or only prove that it could be.

    The same `request`, such as a flow run that is rerun, is carried out once.

    Raises:
        IntegrityError: That version's files differ, it does not load or predicts something else; or versions are
            missing.
        NotFoundError: There is no champion, or nothing to prove the version by.
        ConflictError: There is nothing to roll back to.
    """
    intent = steps.intend(wanted.target, wanted.to_version, wanted.reason, rehearse=wanted.rehearse, request=request)
    if isinstance(intent, Promotion):
        return RolledBack(intent)
    steps.reproduces(intent.model, wanted.datasets, wanted.evidence, anew=wanted.rehearse)
    if wanted.rehearse:
        return RolledBack(steps.mark_ready(intent))
    steps.register(intent)
    return RolledBack(steps.promote(intent), is_new=True)
