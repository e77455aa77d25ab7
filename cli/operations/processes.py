"""The processes of a state directory's services, and how they are stopped.

Each carries a mark in its environment that names the directory, and so does whatever it starts: by it a flow run that
is a session of its own is found, and what a killed supervisor left. A process number alone is never trusted.
"""

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from lifecycle.core.errors import TransientError

MARK = "_MLOPS_SERVICE"
STOP_SECONDS = 10
EXEC_SECONDS = 0.3
"""A process that is just becoming another program shows no environment for a moment, and is seen after that."""
STOP_ORDER = {"database": 0, "setup": 0, "deploy": 0, "worker": 30, "mlflow": 0, "prefect": 0}
"""What is stopped first, and the seconds that what it has started may take to end: flow runs, while all is up."""

log = logging.getLogger("lifecycle.services")  # shown by `runner.progress`


def marked(home: Path, name: str) -> dict[str, str]:
    """The variable by which the processes of a service are known."""
    return {MARK: f"{name}@{home.resolve()}"}


def members(home: Path, name: str = "") -> list[psutil.Process]:
    """The processes of a home's services, or of one of them, whoever their parent is."""
    suffix, found = marked(home, name)[MARK], []
    for process in psutil.process_iter():
        try:
            mark = process.environ().get(MARK, "")
        except (psutil.Error, OSError):  # it ended meanwhile, or is another user's
            continue
        if mark == suffix or (not name and mark.endswith(suffix)):
            found.append(process)
    return found


def stop(home: Path) -> None:
    """End every process of a home's services, in order; an interrupt meanwhile kills what is left.

    Raises:
        TransientError: A process would not end.
    """
    try:
        for name, seconds in STOP_ORDER.items():
            _end(home, name, seconds)
    except KeyboardInterrupt:
        log.info("Killing what is left")
    for process in members(home):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    if left := _until_none(lambda: members(home)):
        raise TransientError(f"Process {left[0].pid} does not end.", "Try again: mlops down")
    time.sleep(EXEC_SECONDS)
    if members(home):
        stop(home)


def _end(home: Path, name: str, seconds: int) -> None:
    """Let what a service has started end, ask it to end, then the service itself.

    That order because Prefect's worker kills its flow runs without a word when it is asked first; asked themselves,
    they still report that they crashed.
    """
    if not members(home, name):
        return
    log.info("Stopping %s", name)
    if seconds and (started := _started(home, name)):
        log.info("%d processes of %s have %d s to end; Ctrl-C ends them at once", len(started), name, seconds)
        psutil.wait_procs(started, seconds)
    firsts = _firsts(home, name)
    _terminate(process for process in _started(home, name) if _parent(process) in firsts)
    _until_none(lambda: _started(home, name))
    _terminate(members(home, name))
    _until_none(lambda: members(home, name))


def _firsts(home: Path, name: str) -> set[int]:
    """The numbers of the processes of a service that no other one of it has started."""
    group = {process.pid: process for process in members(home, name)}
    return {pid for pid, process in group.items() if _parent(process) not in group}


def _started(home: Path, name: str) -> list[psutil.Process]:
    """The other ones: flow runs under a worker, for example."""
    firsts = _firsts(home, name)
    return [process for process in members(home, name) if process.pid not in firsts]


def _until_none(group: Callable[[], list[psutil.Process]]) -> list[psutil.Process]:
    """Wait until there is none; the processes that are there still after a while."""
    deadline = time.monotonic() + STOP_SECONDS
    while (left := group()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def _terminate(group: Iterable[psutil.Process]) -> None:
    for process in list(group):
        with suppress(psutil.NoSuchProcess):
            process.terminate()


def _parent(process: psutil.Process) -> int:
    try:
        return int(process.ppid())
    except psutil.NoSuchProcess:
        return 0
