"""MLflow's scoring server on this machine's loopback, over a model that was verified before it was loaded."""

import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle.errors import ConfigError
from lifecycle.models import loading
from lifecycle.models.loading import ModelRef

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel

LOOPBACK = "127.0.0.1"
SERVED = "served-model-name"
"""The header in which Databricks says which served model has answered; ours says the same."""


def serve(ref: ModelRef, port: int, ready: Callable[[str], None]) -> None:
    """Answer `/invocations`, `/ping` and `/version` until SIGTERM or Ctrl-C; `ready` is told the address.

    Raises:
        ConfigError: The port is taken.
        IntegrityError: The files are not those that were registered.
    """
    import uvicorn
    from mlflow.pyfunc import scoring_server

    with closing(_listener(port)) as listener:
        app = _named(scoring_server.init(_model(ref)), f"{(ref.name or 'model').rpartition('.')[2]}-{ref.version}")
        ready(f"http://{LOOPBACK}:{listener.getsockname()[1]}")
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


class _Contract:
    """A text model as MLflow calls it; it ignores parameters, which no text model has."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def predict(self, data: Any) -> Any:
        return self._model.predict(None, data)


def _model(ref: ModelRef) -> "PyFuncModel":
    """The verified model, read by our classes, with the signature that it was logged with: MLflow checks each query."""
    from mlflow.models import Model
    from mlflow.pyfunc import PyFuncModel

    with loading.private_copy(ref) as folder:
        return PyFuncModel(Model.load(str(folder)), _Contract(loading.load_verified(Path(folder), ref)))


def _named(app: Any, name: str) -> Any:
    """The same application (ASGI), whose replies say which version has answered."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        async def answer(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (SERVED.encode(), name.encode())]
            await send(message)

        await app(scope, receive, answer)

    return call


def _listener(port: int) -> socket.socket:
    """A socket on loopback, taken before the model is loaded: who is to wait for nothing should not."""
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError as error:
        raise ConfigError(f"Port {port} cannot be used: {error.strerror}.", "Name another: --port") from None
