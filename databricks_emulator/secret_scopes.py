"""Secret scopes, below `/api/2.0/secrets`: values that a job reads by scope and key."""

import base64

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from databricks_emulator.errors import refusal


class SecretScopes:
    """The values by scope and key."""

    def __init__(self) -> None:
        self._scopes: dict[str, dict[str, bytes]] = {}

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/api/2.0/secrets/scopes/create", self._create, methods=["POST"]),
            Route("/api/2.0/secrets/put", self._put, methods=["POST"]),
            Route("/api/2.0/secrets/get", self._get, methods=["GET"]),
        ]

    async def _create(self, request: Request) -> JSONResponse:
        name = (await request.json())["scope"]
        if name in self._scopes:
            raise refusal("RESOURCE_ALREADY_EXISTS", f"Scope {name} already exists!")
        self._scopes[name] = {}
        return JSONResponse({})

    async def _put(self, request: Request) -> JSONResponse:
        asked = await request.json()
        self._scope(asked["scope"])[asked["key"]] = str(asked["string_value"]).encode()
        return JSONResponse({})

    async def _get(self, request: Request) -> JSONResponse:
        scope, key = request.query_params["scope"], request.query_params["key"]
        held = self._scope(scope)
        if key not in held:
            raise refusal("RESOURCE_DOES_NOT_EXIST", f"Secret does not exist with scope: {scope} and key: {key}")
        return JSONResponse({"key": key, "value": base64.b64encode(held[key]).decode()})

    def _scope(self, name: str) -> dict[str, bytes]:
        if name not in self._scopes:
            raise refusal("RESOURCE_DOES_NOT_EXIST", f"Scope {name} does not exist!")
        return self._scopes[name]
