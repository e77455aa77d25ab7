"""MLflow tracking: the application of an unmodified `mlflow server`, in this process, under a workspace's rules."""

import json
import threading
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message

from databricks_emulator.auth import WORKSPACE_ID
from databricks_emulator.errors import not_emulated, refusal
from lifecycle.storage import database_templates

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
REGISTRY = ("registered-models", "model-versions", "unity-catalog")
ARTIFACTS = "dbfs:/databricks/mlflow-tracking"
"""Below it clients keep the files of runs themselves, through the Files API."""

NOTED_BY_ROUTING = {"app", "endpoint", "path_params", "router", "starlette.exception_handlers", "state", "extensions"}
"""What our own application has written on a call and another one must not read."""


class Tracking:
    """Experiments, runs and logged models in `<root>/mlflow.db`.

    The server is imported and started by the first call: it takes seconds, and many tests never track.
    """

    def __init__(self, root: Path) -> None:
        self._database = root / "mlflow.db"
        self._lock = threading.Lock()
        self._server: ASGIApp | None = None

    @property
    def routes(self) -> list[Route]:
        """Every call to MLflow but those to a registry: a workspace has none today beside Unity Catalog's."""
        refused = (Route(f"/api/2.0/mlflow/{name}/{{path:path}}", not_emulated, methods=METHODS) for name in REGISTRY)
        served = (
            Route(f"/api/{release}/mlflow/{{path:path}}", self._answer, methods=METHODS) for release in ("2.0", "3.0")
        )
        return [*refused, *served]

    async def _answer(self, request: Request) -> Response:
        """The server's reply to a call; what the server has no path for is not emulated."""
        body = await request.body()
        if request.url.path.endswith("/experiments/create"):
            _check_experiment(body)
        server = await run_in_threadpool(self._started)
        status, headers, content = await _call(server, request, body)
        if status in {404, 405} and "json" not in headers.get("content-type", ""):
            return not_emulated(request)
        return Response(content, status, headers | {"x-databricks-org-id": WORKSPACE_ID})

    def artifact_uri(self, run_id: str = "", model_id: str = "") -> str:
        """Where a run, or a logged model, keeps its files."""
        self._started()
        from mlflow.server import handlers

        store = handlers._get_tracking_store()
        found = (
            store.get_run(run_id).info.artifact_uri if run_id else store.get_logged_model(model_id).artifact_location
        )
        return str(found)

    def _started(self) -> ASGIApp:
        with self._lock:
            if self._server is None:
                self._server = _application(self._database)
            return self._server


def _application(database: Path) -> ASGIApp:
    """What `mlflow server` runs, over a database whose tables are copied where a copy is at hand."""
    if not database.exists():
        database_templates.copy("mlflow", database)
    from mlflow.server import handlers
    from mlflow.server.fastapi_app import app
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore.MODELS_FOLDER_NAME = "logged_models"  # as a workspace calls it, and clients know it by

    uri = f"sqlite:///{database}"
    handlers.initialize_backend_stores(uri, uri, ARTIFACTS)
    return app


async def _call(server: ASGIApp, request: Request, body: bytes) -> tuple[int, dict[str, str], bytes]:
    """Hand a call to another application and wait for the whole of its reply."""
    received: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        received.append(message)

    scope = {key: value for key, value in request.scope.items() if key not in NOTED_BY_ROUTING}
    await server(scope, receive, send)
    start = received[0]
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    content = b"".join(message.get("body", b"") for message in received[1:])
    return start["status"], headers, content


def _check_experiment(body: bytes) -> None:
    """Experiments are objects of the workspace: their names are paths."""
    name = json.loads(body or b"{}").get("name", "")
    if not str(name).startswith("/"):
        message = f"Got an invalid experiment name '{name}'. An experiment name must be an absolute path."
        raise refusal("INVALID_PARAMETER_VALUE", message)
