"""Who reads rows shares a folder; who erases them has it alone.

The lock is the kernel's, on the folder itself: it leaves no file, and ends with its process. An erasure that was
interrupted leaves a mark, and until it is completed nobody reads what may be half erased. Volumes know no locks, and
nothing is erased there.
"""

import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import TypeVar

from lifecycle.core.errors import ConflictError, TransientError
from lifecycle.storage import volumes
from lifecycle.storage.files import write_json

MARK = ".erasing.json"
PATIENCE_SECONDS = 10.0
"""How long an erasure waits for those that read."""

R = TypeVar("R")
T = TypeVar("T")

logger = logging.getLogger(__name__)


@contextmanager
def undisturbed(*roots: Path) -> Iterator[None]:
    """Read rows below folders: an erasure waits until the block ends, and the block for an erasure that has begun.

    Raises:
        ConflictError: An erasure was interrupted here.
    """
    with ExitStack() as stack:
        for root in roots:
            if not volumes.on_volume(root):
                stack.enter_context(_held(root, fcntl.LOCK_SH))
                _require_whole(root)
        yield


def while_reading(root: str) -> Callable[[Callable[[R], T]], Callable[[R], T]]:
    """Make a step undisturbed below the folder that its request names so."""

    def decorate(step: Callable[[R], T]) -> Callable[[R], T]:
        @wraps(step)
        def locked(request: R) -> T:
            with undisturbed(getattr(request, root)):
                return step(request)

        return locked

    return decorate


@contextmanager
def alone(roots: Iterable[Path], patience: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Have folders without anybody who reads rows there.

    Raises:
        TransientError: Somebody still reads when the patience is over.
    """
    with ExitStack() as stack:
        for root in sorted(set(roots)):
            stack.enter_context(_held(root, fcntl.LOCK_EX, time.monotonic() + patience))
        yield


def mark(root: Path, erasure: str) -> None:
    """Say that an erasure has begun below a folder."""
    if root.is_dir():
        write_json(root / MARK, {"erasure": erasure})


def unmark(root: Path) -> None:
    """Say that it is complete."""
    (root / MARK).unlink(missing_ok=True)


def marked(root: Path) -> str | None:
    """The erasure that was interrupted below a folder."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        return str(json.loads((root / MARK).read_text(encoding="utf-8"))["erasure"])
    return None


def _require_whole(root: Path) -> None:
    if erasure := marked(root):
        what = f"The erasure {erasure} was interrupted below {root}, and what it holds is not whole."
        raise ConflictError(what, "Complete it: give the same command again (mlops data erase)")


@contextmanager
def _held(root: Path, kind: int, deadline: float | None = None) -> Iterator[None]:
    try:
        folder = os.open(root, os.O_RDONLY)
    except OSError:  # nothing is there that could be read or erased
        yield
        return
    try:
        _acquire(folder, root, kind, deadline)
        yield
    finally:
        os.close(folder)  # which gives the lock back


def _acquire(folder: int, root: Path, kind: int, deadline: float | None) -> None:
    waiting = False
    while True:
        try:
            fcntl.flock(folder, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if deadline is not None and time.monotonic() > deadline:
                what = f"Another command reads or writes below {root}."
                raise TransientError(what, "Try again when it has ended.") from None
            if not waiting:
                logger.info("Waiting for another command below %s", root)
            waiting = True
            time.sleep(0.1)
        except OSError:  # a file system without locks
            return
        else:
            return
