"""MLflow's scoring server on this machine's loopback, over a model that was verified before it was loaded."""

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from lifecycle.core.errors import ConfigError, IntegrityError
from lifecycle.core.guard import LOOPBACK, Guard
from lifecycle.core.references import ModelRef
from lifecycle.models import loading, mlmodel, request_log
from lifecycle.problems.contract import EXAMPLE, columns_of

if TYPE_CHECKING:
    import uvicorn

CONTENT_TYPE = b"content-type"
SERVED = "served-model-name"
"""The header in which Databricks says which served model has answered; ours says the same."""


def loaded(ref: ModelRef) -> tuple[Any, Any]:
    """A verified model, and the application that answers with it."""
    with loading.private_copy(ref) as folder:
        model = loading.load_verified(folder, ref)
        return model, _app(folder, model, ref)


def example(model: Any) -> dict[str, Any]:
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
    with closing(listener(0)) as taken:
        port, server = taken.getsockname()[1], guarded(_app(folder, model, ref), credential)
        thread = Thread(target=server.run, args=([taken],), name="scoring server", daemon=True)
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

    class Heard(PyFuncModel):  # type: ignore[misc]
        """As MLflow has it, with a look at what is asked before it is made to fit the signature."""

        def predict(self, data: Any, params: Any = None) -> Any:
            request_log.note_keys(data)
            return super().predict(data, params)

    described = mlmodel.as_mlflow(folder, ref.label)
    inputs = described.get_input_schema()
    if inputs:
        is_lax = any(isinstance(kind, AnyType) for kind in inputs.input_types())
        if is_lax or not {*model.inputs} <= {*inputs.input_names()}:
            described.signature = None
    app = scoring_server.init(Heard(described, _Contract(model)))
    return _named(app, f"{(ref.name or 'model').rpartition('.')[2]}-{ref.version}")


def guarded(app: Any, credential: str, hosts: Sequence[str] = ()) -> "uvicorn.Server":
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


def listener(port: int) -> socket.socket:
    """A socket on loopback, taken before the model is loaded: who is to wait for nothing should not."""
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError as error:
        raise ConfigError(f"Port {port} cannot be used: {error.strerror}.", "Name another: --port") from None
