"""Signals whose exception is lost, so that what they should end goes on.

What a handler raises within a finaliser, or within a callback of C code, Python prints and drops.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

SECONDS_BETWEEN = 0.3
"""Until the signal comes again: by then what dropped it has been left."""

SignalOf = Callable[[BaseException | None], int | None]
"""The signal whose exception this is, or None if it is of none that matters."""


@contextmanager
def sent_again(signal_of: SignalOf) -> Iterator[None]:
    """Send signals once more whose exceptions are dropped within the block; only the main thread gets any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = sys.unraisablehook
    sys.unraisablehook = partial(_dropped, before, signal_of)
    try:
        yield
    finally:
        sys.unraisablehook = before


def _dropped(otherwise: "Callable[[UnraisableHookArgs], object]", of: SignalOf, dropped: "UnraisableHookArgs") -> None:
    if (number := of(dropped.exc_value)) is None:
        otherwise(dropped)
        return
    main = threading.main_thread().ident or 0  # another thread would wake nobody
    left = threading.Event()
    threading.Thread(target=_send, args=(left, main, number), daemon=True).start()
    left.set()  # what comes before, while the thread starts, would be dropped as well


def _send(left: threading.Event, main: int, number: int) -> None:
    left.wait()
    time.sleep(SECONDS_BETWEEN)
    signal.pthread_kill(main, number)
