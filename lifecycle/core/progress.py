"""How far a long step is. A step reports; whoever runs it may listen: Prefect's UI does, a remote job does not."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[float], None]

_listener: ContextVar[Listener | None] = ContextVar("progress", default=None)


class Pace:
    """When a long step should say again how far it is: after some seconds."""

    def __init__(self, seconds: float = 5.0) -> None:
        self._seconds, self._said = seconds, time.monotonic()

    def is_due(self) -> bool:
        """Whether it is time; then it counts as said."""
        if time.monotonic() - self._said < self._seconds:
            return False
        self._said = time.monotonic()
        return True


def report(done: int, total: int) -> None:
    """Say how much of a step is done, as far as the total is known."""
    if (listener := _listener.get()) and total:
        listener(min(1.0, done / total))


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Pass on what is reported within the block, in this thread, as a fraction in [0, 1]."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
