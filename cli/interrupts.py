"""How a command ends when somebody ends it: in order, with nothing left behind, and the exit code that shells expect.

Ctrl-C, SIGTERM and a closed terminal unwind the command as an error would, so that whatever it has begun is removed.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lifecycle.core import lost_signals

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
BASE = 128
"""A shell reports the end by a signal as this and the signal's number."""

_received: list[int] = []
_kept: list[str] = []


@contextmanager
def orderly() -> Iterator[None]:
    """Run a command; one that was ended by a signal exits with 128 + its number and without a traceback.

    A signal that the caller ignores, as nohup does, is ignored here. Whatever error the command makes of the
    interruption is its consequence.
    """
    _received.clear()  # of a command that ran in this process before
    _kept.clear()
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        with lost_signals.sent_again(_taken_back):
            yield
    except BaseException:
        if not _received:
            raise
        _leave()
    if _received:  # typer makes an exit code of its own of Ctrl-C
        _leave()


@contextmanager
def keeping(sentence: str) -> Iterator[None]:
    """Say, if somebody ends what runs within, what is kept of it and how to go on."""
    _kept.append(sentence)
    yield
    _kept.remove(sentence)  # not where it was ended: that is told at the very end


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Only the first one unwinds; the second ends what takes too long to unwind."""
    if _received:
        os._exit(BASE + number)
    _received.append(number)
    raise KeyboardInterrupt


def _taken_back(error: BaseException | None) -> int | None:
    """The signal whose exception was lost: one of ours counts as not received, one that Prefect heard tells itself."""
    if isinstance(error, KeyboardInterrupt):
        return _received.pop() if _received else None
    return getattr(error, "signal", None)


def _leave() -> None:
    name = signal.Signals(_received[0]).name
    sys.stderr.write(f"\n{' '.join((f'Ended by {name}.', *_kept[-1:]))}\n" if sys.stderr else "")
    sys.exit(BASE + _received[0])
