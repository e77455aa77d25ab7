"""MLflow's scoring server on this machine's loopback, over a model that was verified before it was loaded."""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from lifecycle.core.errors import ConfigError, IntegrityError
from lifecycle.core.guard import LOOPBACK, Guard
from lifecycle.core.references import ModelRef
from lifecycle.models import loading, mlmodel, request_log
from lifecycle.models.request_log import RequestLog
from lifecycle.problems.contract import EXAMPLE, columns_of

if TYPE_CHECKING:
    import uvicorn

CONTENT_TYPE = b"content-type"
SERVED = "served-model-name"
"""The header in which Databricks says which served model has answered; ours says the same."""


class Following(NamedTuple):
    """How a server keeps up with the champion: what to ask, how often, and who is told."""

    newest: Callable[[], ModelRef]
    seconds: float
    tell: Callable[[str], None]


def serve(
    ref: ModelRef,
    port: int,
    ready: Callable[[str, dict[str, Any]], None],
    *,
    hosts: Sequence[str] = (),
    credential: str = "",
    following: Following | None = None,
    log: RequestLog | None = None,
) -> None:
    """Answer `/invocations`, `/ping` and `/version` until SIGTERM or Ctrl-C.

    Args:
        ref: The model.
        port: On loopback; 0 takes a free one.
        ready: Is told the address, and a row that the model answers.
        hosts: Further names by which it is reached.
        credential: Without one everybody of this machine is answered.
        following: How it changes the model while it answers; without it the model stays.
        log: Keeps what is asked and answered.

    Whoever shows the credential is answered, and without one everybody of this machine but foreign web pages.

    Raises:
        ConfigError: The port is taken.
        IntegrityError: The files are not those that were registered.
    """
    with closing(_listener(port)) as listener:
        model, app = _loaded(ref, log)
        current = _Current(ref, app)
        server = _guarded(current, credential, hosts)
        ready(f"http://{LOOPBACK}:{listener.getsockname()[1]}", _example(model))
        keeping_up = _keeping_up(current, following, log) if following else nullcontext()
        with log.writing() if log else nullcontext(), keeping_up:
            server.run(sockets=[listener])


class _Current:
    """The application (ASGI) of the model that is served now. A request ends with the model that it began with."""

    def __init__(self, ref: ModelRef, app: Any) -> None:
        self.ref, self.app = ref, app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


@contextmanager
def _keeping_up(current: _Current, following: Following, log: RequestLog | None) -> Iterator[None]:
    """Look for a newer model by a thread, and serve it once it is loaded and has answered, until the block ends."""
    over = Event()

    def look() -> None:
        told = ""
        while not over.wait(following.seconds):
            try:
                if (ref := following.newest()) == current.ref:
                    continue
                model, app = _loaded(ref, log)
                model.predict(None, pd.DataFrame([_example(model)]))
            except Exception as error:  # the model's own code runs here; whatever it is, the former one goes on
                if (said := f"{type(error).__name__}: {error}") != told:
                    following.tell(f"Still serving {current.ref.label}: {said}")
                told = said
                continue
            current.ref, current.app, told = ref, app, ""
            following.tell(f"Serving {ref.label} now.")

    thread = Thread(target=look, name="newest model", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


def _loaded(ref: ModelRef, log: RequestLog | None) -> tuple[Any, Any]:
    """A verified model, and the application that answers with it."""
    with loading.private_copy(ref) as folder:
        model = loading.load_verified(folder, ref)
        app = _app(folder, model, ref)
        return model, log.kept(app, ref) if log else app


def _example(model: Any) -> dict[str, Any]:
    """A row of nobody as a model is served it: its own, or a cell of each of its columns."""
    if hasattr(model, "example"):
        row: dict[str, Any] = model.example().iloc[0].to_dict()
        return row
    return {column.name: EXAMPLE[column.kind] for column in columns_of(model)}


@contextmanager
def serving(folder: Path, model: Any, ref: ModelRef, credential: str) -> Iterator[int]:
    """Serve a model that was loaded from a verified folder, by a thread, until the block ends; yields the port.

    Only whoever shows the credential is answered.

    Raises:
        IntegrityError: The server did not start.
    """
    with closing(_listener(0)) as listener:
        port, server = listener.getsockname()[1], _guarded(_app(folder, model, ref), credential)
        thread = Thread(target=server.run, args=([listener],), name="scoring server", daemon=True)
        thread.start()
        try:
            while not server.started:
                if not thread.is_alive():
                    raise IntegrityError(f"{ref.label}: MLflow's scoring server did not start.")
                time.sleep(0.01)
            yield port
        finally:
            server.should_exit = True
            thread.join()


def _app(folder: Path, model: Any, ref: ModelRef) -> Any:
    """MLflow's scoring server with the signature that the model was logged with: MLflow checks each query by it.

    Columns of any type it would only count, and for them refuse CSV; and a model may read its inputs in a further form
    than the one that it was logged with. Such a model checks its columns itself.
    """
    from mlflow.pyfunc import PyFuncModel, scoring_server
    from mlflow.types.schema import AnyType

    described = mlmodel.as_mlflow(folder, ref.label)
    inputs = described.get_input_schema()
    if inputs:
        is_lax = any(isinstance(kind, AnyType) for kind in inputs.input_types())
        if is_lax or not {*model.inputs} <= {*inputs.input_names()}:
            described.signature = None
    app = scoring_server.init(PyFuncModel(described, _Contract(model)))
    return _named(app, f"{(ref.name or 'model').rpartition('.')[2]}-{ref.version}")


def _guarded(app: Any, credential: str, hosts: Sequence[str] = ()) -> "uvicorn.Server":
    """A server that answers whom it may."""
    import uvicorn

    guarded = Guard(app, credentials=[credential] if credential else [], hosts=hosts)
    return uvicorn.Server(uvicorn.Config(guarded, log_level="warning"))


class _Contract:
    """A model as MLflow calls it; it ignores parameters, which no model of ours has."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def predict(self, data: Any) -> Any:
        return request_log.note(data, lambda rows: self._model.predict(None, rows))


def _named(app: Any, name: str) -> Any:
    """The same application (ASGI), whose replies say which version has answered."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        async def answer(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (SERVED.encode(), name.encode())]
            await send(message)

        await app(_with_a_kind(scope), receive, answer)

    return call


def _with_a_kind(scope: Any) -> Any:
    """The request with the media type of its content in lower case, which MLflow asks for, and with one at all."""
    if scope["type"] != "http":
        return scope
    kinds = [value.lower() for name, value in scope["headers"] if name == CONTENT_TYPE] or [b"application/octet-stream"]
    others = [(name, value) for name, value in scope["headers"] if name != CONTENT_TYPE]
    return {**scope, "headers": [*others, *((CONTENT_TYPE, kind) for kind in kinds)]}


def _listener(port: int) -> socket.socket:
    """A socket on loopback, taken before the model is loaded: who is to wait for nothing should not."""
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError as error:
        raise ConfigError(f"Port {port} cannot be used: {error.strerror}.", "Name another: --port") from None
