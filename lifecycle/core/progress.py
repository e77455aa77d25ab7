"""How far a long step is. A step reports; whoever runs it may listen: Prefect's UI does, a remote job does not."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[float], None]

_listener: ContextVar[Listener | None] = ContextVar("progress", default=None)


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
