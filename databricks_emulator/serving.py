"""Model serving: endpoints that load the version they are told to and score with MLflow's own scoring code.

As on Databricks an endpoint takes a version's number and no alias, keeps serving what it served while it is updated,
and goes on doing so when the update fails.
"""

import json
import random
import re
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from databricks_emulator.auth import USER
from databricks_emulator.errors import refusal
from databricks_emulator.jobs import permission_entry
from databricks_emulator.unity_catalog import UnityCatalog

NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")
SIZES = {"Small", "Medium", "Large"}
OF_A_MODEL = {"entity_name", "entity_version", "workload_size", "workload_type", "scale_to_zero_enabled"}
KNOWN = {
    *OF_A_MODEL,
    *("name", "environment_vars", "instance_profile_arn", "burst_scaling_enabled", "provisioned_model_units"),
    *("min_provisioned_concurrency", "max_provisioned_concurrency"),
    *("min_provisioned_throughput", "max_provisioned_throughput"),
}
TYPES = {"CPU", "CPU_MEDIUM", "CPU_LARGE", "GPU_SMALL", "GPU_MEDIUM", "GPU_LARGE", "MULTIGPU_MEDIUM"}


@dataclass
class Endpoint:
    """What is served, what is to be served next, and how far that is."""

    name: str
    tags: list[dict[str, str]]
    created: int
    config: dict[str, Any] | None = None
    pending: dict[str, Any] | None = None
    update: str = "NOT_UPDATING"
    models: dict[str, Any] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    gateway: dict[str, Any] = field(default_factory=dict)
    permissions: list[dict[str, Any]] = field(default_factory=list)

    @property
    def description(self) -> dict[str, Any]:
        """The endpoint as the service describes it."""
        about = {"id": f"endpoint-{self.name}", "name": self.name, "creator": USER}
        times = {"creation_timestamp": self.created, "last_updated_timestamp": self.created}
        state = {"ready": "READY" if self.config else "NOT_READY", "config_update": self.update}
        given = {"tags": self.tags, "config": self.config, "pending_config": self.pending, "ai_gateway": self.gateway}
        return about | times | {"state": state} | {name: value for name, value in given.items() if value}


class Serving:
    """The endpoints of the workspace; each update loads its models in a thread of its own."""

    def __init__(self, catalog: UnityCatalog) -> None:
        self._catalog = catalog
        self._endpoints: dict[str, Endpoint] = {}
        self._seconds = 0.0
        self._loading = threading.Lock()  # MLflow hands a model's code its model through a global

    @property
    def routes(self) -> list[Route]:
        one = "/api/2.0/serving-endpoints/{name}"
        return [
            Route("/api/2.0/serving-endpoints", self._create, methods=["POST"]),
            Route("/api/2.0/serving-endpoints", self._list, methods=["GET"]),
            Route(one, self._get, methods=["GET"]),
            Route(one, self._delete, methods=["DELETE"]),
            Route(f"{one}/config", self._configure, methods=["PUT"]),
            Route(f"{one}/tags", self._tag, methods=["PATCH"]),
            Route(f"{one}/ai-gateway", self._put_gateway, methods=["PUT"]),
            Route("/api/2.0/permissions/serving-endpoints/endpoint-{name}", self._permit, methods=["GET", "PUT"]),
            Route(f"{one}/served-models/{{entity}}/build-logs", self._logs, methods=["GET"]),
            Route("/serving-endpoints/{name}/invocations", self._score, methods=["POST"]),
            Route("/serving-endpoints/{name}/served-models/{entity}/invocations", self._score, methods=["POST"]),
            Route("/emulator/serving", self._slow_down, methods=["POST"]),
        ]

    async def _create(self, request: Request) -> JSONResponse:
        asked = await request.json()
        name = str(asked.get("name", ""))
        if not NAME.fullmatch(name):
            raise refusal("INVALID_PARAMETER_VALUE", f"'{name}' is not a name of an endpoint.")
        if name in self._endpoints:
            raise refusal("RESOURCE_ALREADY_EXISTS", f"Endpoint with name '{name}' already exists.")
        endpoint = Endpoint(name, asked.get("tags", []), int(time.time() * 1000))
        self._begin(endpoint, asked.get("config", {}))
        self._endpoints[name] = endpoint
        return JSONResponse(endpoint.description)

    async def _list(self, _: Request) -> JSONResponse:
        return JSONResponse({"endpoints": [endpoint.description for endpoint in self._endpoints.values()]})

    async def _get(self, request: Request) -> JSONResponse:
        return JSONResponse(self._found(request).description)

    async def _delete(self, request: Request) -> JSONResponse:
        del self._endpoints[self._found(request).name]
        return JSONResponse({})

    async def _configure(self, request: Request) -> JSONResponse:
        endpoint = self._found(request)
        if endpoint.update == "IN_PROGRESS":
            raise refusal("RESOURCE_CONFLICT", f"Endpoint '{endpoint.name}' is being updated.")
        self._begin(endpoint, await request.json())
        return JSONResponse(endpoint.description)

    async def _tag(self, request: Request) -> JSONResponse:
        """What an operator sets beside the configuration, which an update leaves as it is."""
        endpoint, asked = self._found(request), await request.json()
        changed = {*asked.get("delete_tags", []), *(tag["key"] for tag in asked.get("add_tags", []))}
        endpoint.tags = [tag for tag in endpoint.tags if tag["key"] not in changed] + asked.get("add_tags", [])
        return JSONResponse({"tags": endpoint.tags})

    async def _put_gateway(self, request: Request) -> JSONResponse:
        endpoint = self._found(request)
        endpoint.gateway = await request.json()
        return JSONResponse(endpoint.gateway)

    async def _permit(self, request: Request) -> JSONResponse:
        endpoint = self._found(request)
        if request.method == "PUT":
            endpoint.permissions = (await request.json())["access_control_list"]
        entries = [permission_entry(entry) for entry in endpoint.permissions]
        about = {"object_id": f"/serving-endpoints/endpoint-{endpoint.name}", "object_type": "serving-endpoint"}
        return JSONResponse(about | {"access_control_list": entries})

    async def _logs(self, request: Request) -> JSONResponse:
        return JSONResponse({"logs": self._found(request).logs.get(request.path_params["entity"], "")})

    async def _score(self, request: Request) -> Response:
        """The answer of the served model that is named, or of one chosen by the routes' shares of the traffic."""
        endpoint = self._found(request)
        models = endpoint.models  # before the configuration: an update that ends meanwhile takes nothing out of it
        if not endpoint.config:
            raise refusal("INVALID_STATE", f"Endpoint '{endpoint.name}' is not ready.")
        shares = {r["served_entity_name"]: r["traffic_percentage"] for r in endpoint.config["traffic_config"]["routes"]}
        chosen = request.path_params.get("entity") or random.choices(list(shares), list(shares.values()))[0]
        if chosen not in models:
            raise refusal("RESOURCE_DOES_NOT_EXIST", f"Endpoint '{endpoint.name}' serves no '{chosen}'.")
        content = request.headers.get("content-type", "")
        body, status = await run_in_threadpool(_invoke, models[chosen], await request.body(), content)
        return Response(body, status, {"served-model-name": chosen}, "application/json")

    async def _slow_down(self, request: Request) -> Response:
        """Let every update, one under way too, take so many seconds more."""
        self._seconds = float((await request.json())["seconds"])
        return Response(status_code=204)

    def _found(self, request: Request) -> Endpoint:
        name = request.path_params["name"]
        if name not in self._endpoints:
            raise refusal("RESOURCE_DOES_NOT_EXIST", f"Endpoint with name '{name}' does not exist.")
        return self._endpoints[name]

    def _begin(self, endpoint: Endpoint, asked: dict[str, Any]) -> None:
        """Check a configuration and load its models; it takes the place of the present one when they are loaded."""
        pending = _checked(asked)
        folders = {
            entity["name"]: self._catalog.folder_of(entity["entity_name"], entity["entity_version"])
            for entity in pending["served_entities"]
        }
        version = (endpoint.config or {"config_version": 0})["config_version"] + 1
        endpoint.pending, endpoint.update = pending | {"config_version": version}, "IN_PROGRESS"
        threading.Thread(target=self._update, args=(endpoint, folders), daemon=True).start()

    def _update(self, endpoint: Endpoint, folders: dict[str, Path]) -> None:
        import mlflow.pyfunc

        begun = time.monotonic()
        while time.monotonic() < begun + self._seconds:  # who has asked for slowness may end it
            time.sleep(0.02)
        loaded = {}
        for name, folder in folders.items():
            try:
                with self._loading:
                    loaded[name] = mlflow.pyfunc.load_model(str(folder))
                endpoint.logs[name] = "Loaded the model.\n"
            except Exception:  # the model's own code runs here
                endpoint.logs[name] = traceback.format_exc()
                endpoint.update, endpoint.pending = "UPDATE_FAILED", None
                return
        endpoint.models |= loaded
        endpoint.config, endpoint.pending, endpoint.update = endpoint.pending, None, "NOT_UPDATING"
        endpoint.models = loaded


def _checked(asked: dict[str, Any]) -> dict[str, Any]:
    """A configuration with its defaults filled in, as the service would accept it."""
    entities = [_entity(each) for each in asked.get("served_entities") or []]
    names = [entity["name"] for entity in entities]
    if not entities or len(set(names)) != len(names):
        raise refusal("INVALID_PARAMETER_VALUE", "A configuration needs served entities with different names.")
    whole = {"routes": [{"served_entity_name": names[0], "traffic_percentage": 100}]}
    routes = (asked.get("traffic_config") or whole)["routes"]
    if sum(int(route["traffic_percentage"]) for route in routes) != 100:
        raise refusal("INVALID_PARAMETER_VALUE", "The traffic percentages must add up to 100.")
    if unknown := {route["served_entity_name"] for route in routes} - set(names):
        raise refusal("INVALID_PARAMETER_VALUE", f"Traffic is routed to {sorted(unknown)}, which is not served.")
    kept = {name: asked[name] for name in ("auto_capture_config",) if asked.get(name)}
    return {"served_entities": entities, "traffic_config": {"routes": routes}, **kept}


def _entity(asked: dict[str, Any]) -> dict[str, Any]:
    if "external_model" in asked and OF_A_MODEL & asked.keys():
        raise refusal("INVALID_PARAMETER_VALUE", "Only one of external_model and entity_name can be specified.")
    if unknown := set(asked) - KNOWN:
        raise refusal("NOT_IMPLEMENTED", f"Served entities with {sorted(unknown)} are not emulated.")
    version = str(asked.get("entity_version", ""))
    if not re.fullmatch(r"[1-9][0-9]*", version):
        raise refusal("INVALID_PARAMETER_VALUE", f"'{version}' is not the number of a model version.")
    provisioned = {name for name in asked if name.endswith("_provisioned_concurrency")}
    if bool(provisioned) == bool(asked.get("workload_size")) or asked.get("workload_size", "Small") not in SIZES:
        message = f"workload_size must be one of {sorted(SIZES)}, or a provisioned concurrency stand in its place."
        raise refusal("INVALID_PARAMETER_VALUE", message)
    if asked.get("workload_type", "CPU") not in TYPES:
        raise refusal("INVALID_PARAMETER_VALUE", f"workload_type must be one of {sorted(TYPES)}.")
    name = asked.get("name") or f"{str(asked.get('entity_name')).rpartition('.')[2]}-{version}"
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise refusal("INVALID_PARAMETER_VALUE", f"'{name}' is not a name of a served entity.")
    return {"workload_type": "CPU", "scale_to_zero_enabled": False} | asked | {"name": name}


def _invoke(model: Any, body: bytes, content_type: str) -> tuple[str, int]:
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc import scoring_server

    try:
        answer = scoring_server.invocations(body, content_type, model, model.metadata.get_input_schema())
    except MlflowException as error:
        return json.dumps({"error_code": error.error_code, "message": error.message}), 400
    return answer.response, answer.status
