"""`mlops serve`: one model behind one socket, answered by this process and, beside it, one for each other core.

All of them take from the same socket whatever comes next. This process follows the champion; the others are handed the
model that it has loaded and asked, and take their places again if somebody ends them. None of them outlives it.
"""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, NamedTuple

import pandas as pd
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lifecycle.core import children
from lifecycle.core.guard import LOOPBACK
from lifecycle.core.references import ModelRef
from lifecycle.models import scoring_server
from lifecycle.models.request_log import RequestLog
from lifecycle.settings.rules import RequestRules

LOOK_SECONDS = 0.5
"""How often a process looks for what it was handed, and this one for what has become of the others."""
PAUSE_SECONDS = 2.0
"""So long the place of a process that ended stays empty: what ends it may end the next one too."""


class Following(NamedTuple):
    """How a server keeps up with the champion: what to ask, and how often."""

    newest: Callable[[], ModelRef]
    seconds: float


class Log(NamedTuple):
    """Where requests are kept, and by which rules; each process writes files of its own."""

    folder: Path
    rules: RequestRules
    key: str | None = None
    """The column of a request that identifies a row, if the model's definition names one."""


class Where(NamedTuple):
    """Where a model is served, under which further names, to whom, by how many processes, and what is kept of it."""

    port: int = 0
    hosts: tuple[str, ...] = ()
    credential: str = ""
    workers: int = 1
    log: Log | None = None


def serve(
    ref: ModelRef,
    where: Where,
    ready: Callable[[str, dict[str, Any]], None],
    tell: Callable[[str], None],
    following: Following | None = None,
) -> None:
    """Answer `/invocations`, `/ping` and `/version` until SIGTERM or Ctrl-C.

    Args:
        ref: The model.
        where: At which port, for whom, and by how many processes.
        ready: Is told the address, and a row that the model answers.
        tell: Is told what happens meanwhile.
        following: How it changes the model while it answers; without it the model stays.

    Whoever shows the credential is answered, and without one everybody of this machine but foreign web pages.

    Raises:
        ConfigError: The port is taken.
        IntegrityError: The files are not those that were registered.
    """
    with closing(scoring_server.listener(where.port)) as listener:
        log = _log(where, tell)
        model, app = _loaded(ref, log)
        current = _Current(ref, app)
        server = scoring_server.guarded(current, where.credential, where.hosts)
        ready(f"http://{LOOPBACK}:{listener.getsockname()[1]}", scoring_server.example(model))
        with (
            log.writing() if log else nullcontext(),
            _beside(where, listener, current, tell),
            _keeping_up(current, following, tell, log) if following else nullcontext(),
        ):
            server.run(sockets=[listener])


def _log(where: Where, tell: Callable[[str], None]) -> RequestLog | None:
    return RequestLog(where.log.folder, where.log.rules, tell, where.log.key) if where.log else None


def _loaded(ref: ModelRef, log: RequestLog | None) -> tuple[Any, Any]:
    """A verified model, and the application that answers with it and keeps what it is asked."""
    model, app = scoring_server.loaded(ref)
    return model, log.kept(app, ref) if log else app


class _Current:
    """The application (ASGI) of the model that is served now. A request ends with the model that it began with."""

    def __init__(self, ref: ModelRef, app: Any) -> None:
        self.ref, self.app = ref, app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


@contextmanager
def _keeping_up(
    current: _Current, following: Following, tell: Callable[[str], None], log: RequestLog | None
) -> Iterator[None]:
    """Look for a newer model by a thread, and serve it once it is loaded and has answered, until the block ends."""
    over = Event()

    def look() -> None:
        told = ""
        while not over.wait(following.seconds):
            try:
                if (ref := following.newest()) == current.ref:
                    continue
                model, app = _loaded(ref, log)
                model.predict(None, pd.DataFrame([scoring_server.example(model)]))
            except Exception as error:  # the model's own code runs here; whatever it is, the former one goes on
                if (said := f"{type(error).__name__}: {error}") != told:
                    tell(f"Still serving {current.ref.label}: {said}")
                told = said
                continue
            current.ref, current.app, told = ref, app, ""
            tell(f"Serving {ref.label} now.")

    thread = Thread(target=look, name="newest model", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


@contextmanager
def _beside(where: Where, listener: socket.socket, current: _Current, tell: Callable[[str], None]) -> Iterator[None]:
    """Let further processes answer too, until the block ends; each then finishes what it has begun."""
    if where.workers == 1:
        yield
        return
    over = Event()
    helpers = [_Helper(where, listener, number, tell) for number in range(2, where.workers + 1)]
    # Their kernel ends them with the thread that has started them, so one thread does all for them.
    thread = Thread(target=_look_after, args=(helpers, current, over), name="further processes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _look_after(helpers: Sequence["_Helper"], current: _Current, over: Event) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # of them too: Ctrl-C is for us to pass on
    try:
        for helper in helpers:
            helper.look(current.ref)
        while not over.wait(LOOK_SECONDS):
            for helper in helpers:
                helper.look(current.ref)
    finally:
        for helper in helpers:
            helper.end()


class _Helper:
    """The place of one further process: who has it, and what it was handed."""

    def __init__(self, where: Where, listener: socket.socket, number: int, tell: Callable[[str], None]) -> None:
        self._where, self._listener, self._number, self._tell = where, listener, number, tell
        self._started: tuple[SpawnProcess, Connection] | None = None
        self._handed: ModelRef | None = None
        self._free = 0.0

    def look(self, ref: ModelRef) -> None:
        """See to it that a process answers, with this model."""
        if self._started is None:
            if time.monotonic() >= self._free:
                self._started, self._handed = self._start(ref), ref
            return
        process, pipe = self._started
        with suppress(OSError, EOFError):  # it has just ended
            if ref != self._handed:
                pipe.send(ref)
                self._handed = ref
            while pipe.poll():
                self._tell(f"Process {self._number}: {pipe.recv()}")
        if (code := process.exitcode) is not None:
            self._tell(f"Process {self._number} {children.ended(code)}; another one takes its place.")
            self._started, self._free = None, time.monotonic() + PAUSE_SECONDS

    def end(self) -> None:
        """Let it finish what it has begun."""
        if self._started is not None:
            process, _ = self._started
            process.terminate()
            process.join()

    def _start(self, ref: ModelRef) -> tuple[SpawnProcess, Connection]:
        ours, theirs = Pipe()
        given = os.getpid(), self._where, self._listener, ref, theirs
        process = get_context("spawn").Process(target=_answer, args=given)
        process.start()
        theirs.close()
        return process, ours


def _answer(parent: int, where: Where, listener: socket.socket, ref: ModelRef, pipe: Connection) -> None:
    """What a further process does: it answers on one core, and changes to the models that it is handed."""
    children.end_with(parent)
    threadpool_limits(1)
    last = ref

    def newest() -> ModelRef:
        nonlocal last
        while pipe.poll():
            last = pipe.recv()
        return last

    talking = Lock()

    def tell(said: str) -> None:
        with talking:  # who follows and who keeps requests are two threads
            pipe.send(said)

    log = _log(where, tell)
    current, following = _Current(ref, _loaded(ref, log)[1]), Following(newest, LOOK_SECONDS)
    with log.writing() if log else nullcontext(), _keeping_up(current, following, tell, log):
        scoring_server.guarded(current, where.credential, where.hosts).run(sockets=[listener])
