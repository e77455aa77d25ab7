"""The three streams of a command: results go to stdout and nothing else does; everything for a person goes to stderr.

What libraries print is for a person, whether they use Python or write to descriptor 1 from native code. A reader that
goes away early changes nothing but what is read, and a console's code page shows what it cannot as `?`.
"""

import copy
import io
import logging
import os
import select
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from lifecycle.core.errors import TransientError

_out: TextIO | None = None
"""Where results go while `streams` holds; standard output may be given to the libraries meanwhile."""


_printed = False


def results() -> TextIO:
    """The stream of results."""
    return _out or sys.stdout


def holds_all() -> bool:
    """Whether the stream of results has a code for every character."""
    return (results().encoding or "").lower().startswith("utf")


def has_result() -> bool:
    """Whether anything of the result of this command has been printed."""
    return _printed


def echo(text: object = "", *, nl: bool = True) -> None:
    """Print a line of the result, at once: a command that goes on says by it where it serves."""
    global _printed  # noqa: PLW0603  a process has one standard output
    _printed = True
    results().write(f"{text}\n" if nl else str(text))
    results().flush()


def quiet() -> None:
    """From now on, what is printed without being a result goes to stderr."""
    if _out:
        sys.stdout = sys.stderr


@contextmanager
def streams() -> Iterator[None]:
    """Hold the streams for one command. Where they are not those of the process, as in a test, they stay."""
    global _out, _printed  # noqa: PLW0603  a process has one standard output
    _printed = False
    before = sys.stdout, sys.stderr
    if before == (sys.__stdout__, sys.__stderr__):
        _take_over()
    _out = sys.stdout
    try:
        yield
    finally:
        sys.stdout, _out = _out, None
        if before != (sys.__stdout__, sys.__stderr__):
            sys.stdout, sys.stderr = before


def without_tracebacks(*loggers: str) -> None:
    """Let what loggers print keep to sentences; their other handlers, as that of a flow run's log, tell all."""
    last = [logging.lastResort] if logging.lastResort else []
    for handler in (*last, *(each for name in loggers for each in logging.getLogger(name).handlers)):
        if getattr(handler, "stream", None) in {sys.stderr, sys.__stderr__} and not isinstance(
            handler.formatter, _Sentences
        ):
            handler.setFormatter(_Sentences(handler.formatter))


class _Sentences(logging.Formatter):
    """Formats a record as another formatter does, without the traceback."""

    def __init__(self, inner: logging.Formatter | None) -> None:
        super().__init__()
        self._inner = inner or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        bare = copy.copy(record)
        bare.exc_info = bare.exc_text = bare.stack_info = None
        return self._inner.format(bare)


def _take_over() -> None:
    """Keep descriptor 1 for results under another number: whoever writes to 1 writes to stderr."""
    for name in ("COLUMNS", "LINES", "TERMINAL_WIDTH"):
        if not os.environ.get(name, "1").strip("0").isdecimal():
            del os.environ[name]
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    kept = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = _text(kept, encoding, "replace")
    sys.stderr = _text(2, getattr(sys.stderr, "encoding", None) or encoding, "backslashreplace")
    sys.stdin = sys.stdin or open(0, encoding="utf-8")  # noqa: SIM115  closed by whoever started us
    logging.raiseExceptions = False  # a log line that cannot be written is not worth a traceback
    threading.excepthook = lambda _: None  # a thread that fails is told by whoever waits for it
    sys.unraisablehook = lambda _: None


def _text(descriptor: int, encoding: str, errors: str) -> TextIO:
    buffer = io.BufferedWriter(_Descriptor(descriptor))  # type: ignore[type-var]  # typeshed knows no raw stream of one's own
    return io.TextIOWrapper(buffer, encoding, errors, line_buffering=os.isatty(descriptor) or descriptor == 2)


class _Descriptor(io.RawIOBase):
    """A descriptor whose reader may go away: the rest is dropped, and the command ends as it would."""

    def __init__(self, number: int) -> None:
        self._number, self._lost = number, False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def write(self, data: "memoryview") -> int:  # type: ignore[override]
        if self._lost:
            return len(data)
        try:
            return os.write(self._number, data)
        except BlockingIOError:
            select.select([], [self._number], [])
            return self.write(data)
        except OSError as error:
            self._lost = True
            if not isinstance(error, BrokenPipeError) and self._number != 2:
                what = f"The result cannot be written to standard output: {error.strerror}."
                raise TransientError(what, "Direct it elsewhere, or make room, and try again.") from None
            return len(data)
