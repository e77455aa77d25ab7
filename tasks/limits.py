"""One change of a champion at a time: who comes second waits, and is then judged against the new champion.

This is courtesy, not safety: should the limit be lost, the promotion log still lets exactly one of them win.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

from httpx import HTTPStatusError, codes
from prefect.client.orchestration import get_client
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists

from lifecycle.core.errors import TransientError
from lifecycle.registry.store import Target

logger = logging.getLogger("lifecycle.limits")
_alone = ContextVar("alone", default=False)

WAIT_SECONDS = 1800
BUSY_SECONDS, PAUSE_SECONDS = 300, 2
"""So long a server that has no time is asked again: its database may be locked, and Prefect gives up after a minute."""
LEASE_SECONDS = 60
"""How long a killed process still holds the slot."""


def limit_name(target: Target) -> str:
    """The name of the global concurrency limit of a registered model."""
    return f"promotion:{target.name}"


@contextmanager
def alone() -> Iterator[None]:
    """Wait for nobody within the block: of a server that ends with its command no slot is ever given back if killed."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def is_alone() -> bool:
    """Whether this command is the only user of its server, which ends with it."""
    return _alone.get()


@contextmanager
def one_promotion(target: Target) -> Iterator[None]:
    """Hold the only slot of a model, so that its champion stays the same while a challenger is judged or promoted.

    Raises:
        TransientError: The slot was not free in time.
    """
    if _alone.get():
        yield
        return
    with ExitStack() as stack:
        _hold(stack, target)
        yield


def _hold(stack: ExitStack, target: Target) -> None:
    """Take the slot until the stack is left; a server that is too busy to answer is asked again."""
    name, until = limit_name(target), time.monotonic() + BUSY_SECONDS
    while True:
        try:
            _make(name)
            # a lost lease must not stop a promotion halfway: the log decides whether it still counts
            slot = concurrency(
                name,
                timeout_seconds=WAIT_SECONDS,
                strict=True,
                lease_duration=LEASE_SECONDS,
                raise_on_lease_renewal_failure=False,
            )
            stack.enter_context(slot)
            return
        except TimeoutError:
            what = f"Another change of {target.name} went on for {WAIT_SECONDS} s."
            free = f"If nobody does: prefect gcl update {name} --active-slots 0"
            raise TransientError(what, f"Look who holds it: prefect gcl inspect {name}. {free}") from None
        except (ConcurrencySlotAcquisitionError, HTTPStatusError) as error:
            if not _is_busy(error) or time.monotonic() > until:
                raise
            logger.warning("Prefect's server gave no slot of %s; asking again: %s", name, error)
            time.sleep(PAUSE_SECONDS)


def _is_busy(error: BaseException) -> bool:
    answer = error if isinstance(error, HTTPStatusError) else error.__cause__
    return isinstance(answer, HTTPStatusError) and answer.response.status_code == codes.SERVICE_UNAVAILABLE


def _make(name: str) -> None:
    """Make the limit unless it is there; of two that make it, one does."""
    with get_client(sync_client=True) as client:
        try:
            client.upsert_global_concurrency_limit_by_name(name, 1)
        except ObjectAlreadyExists:
            return
