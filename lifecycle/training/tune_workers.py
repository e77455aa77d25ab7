"""Processes of this machine that share the trials of a search.

This one is the first, and alone tells of trials, whoever has made them. None of the others outlives it; what one that
is killed had begun, another makes again.
"""

import logging
import os
import signal
import sys
from multiprocessing import get_context
from multiprocessing.context import SpawnProcess

from lifecycle.core import children, secrets
from lifecycle.core.errors import MlopsError, TransientError
from lifecycle.training import tune
from lifecycle.training.study import TuneRequest

logger = logging.getLogger(__name__)


def share(workers: int, request: TuneRequest) -> list[Exception]:
    """Let so many processes make trials, each of which holds the rows; what ended some of them early is the answer."""
    others = [_started(request.model_copy(update={"worker": number})) for number in range(1, workers)]
    try:
        tune.tune(request)
        if request.minutes:  # else all trials are there, and none of the others makes one
            for process in others:
                process.join()
        codes = [process.exitcode for process in others]
    finally:
        for process in others:
            process.kill()
            process.join()
    return [TransientError(f"A process that made trials {children.ended(code)}.") for code in codes if code]


def _started(request: TuneRequest) -> SpawnProcess:
    """A further process; Ctrl-C is for this one, whose end is that of the others."""
    servers = [secrets.reachable(uri) for uri in (request.tracking_uri, request.registry_uri)]
    process = get_context("spawn").Process(target=_work, args=(os.getpid(), servers, request))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return process


def _work(parent: int, servers: list[str], request: TuneRequest) -> None:
    """What a further process does; the credentials of servers are those of the first one."""
    children.end_with(parent)
    for address in servers:
        secrets.server(address)
    logging.getLogger(tune.__name__).setLevel(logging.CRITICAL)
    try:
        tune.tune(request)
    except MlopsError as error:
        logger.warning("Process %d of the search: %s", request.worker + 1, error)
        sys.exit(error.exit_code)
