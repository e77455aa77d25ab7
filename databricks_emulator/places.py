"""Schemas, volumes, tables and grants of Unity Catalog, below `/api/2.1/unity-catalog`.

Every catalog, schema, volume and table is there, unless `/emulator/rules` says that it is absent; making it ends that.
"""

from typing import Any
from uuid import NAMESPACE_URL, uuid5

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from databricks_emulator.errors import refusal
from databricks_emulator.rules import ABSENT, Rules

ROOT = "/api/2.1/unity-catalog"
OF_MLFLOW = "/api/2.0/unity-catalog"
"""Where MLflow's client asks for a table."""
LEVELS = {"schemas": ("catalog_name", "name"), "volumes": ("catalog_name", "schema_name", "name")}
PARENTS = {"schemas": ("USE CATALOG", "CREATE SCHEMA"), "volumes": ("USE CATALOG", "USE SCHEMA", "CREATE VOLUME")}


class Places:
    """What there is below a catalog, by its name, and who was granted what on it."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._grants: dict[str, dict[str, set[str]]] = {}

    @property
    def routes(self) -> list[Route]:
        return [
            *(Route(f"{ROOT}/{kind}/{{name}}", self._get, methods=["GET"]) for kind in LEVELS),
            *(Route(f"{ROOT}/{kind}/{{name}}", self._delete, methods=["DELETE"]) for kind in LEVELS),
            *(Route(f"{ROOT}/{kind}", self._create, methods=["POST"]) for kind in LEVELS),
            *(Route(f"{root}/tables/{{name}}", self._table, methods=["GET"]) for root in (ROOT, OF_MLFLOW)),
            Route(f"{ROOT}/permissions/{{kind}}/{{name}}", self._granted, methods=["GET"]),
            Route(f"{ROOT}/permissions/{{kind}}/{{name}}", self._grant, methods=["PATCH"]),
        ]

    async def _get(self, request: Request) -> JSONResponse:
        levels = request.path_params["name"].split(".")
        self._rules.require_there(levels)
        return JSONResponse(_described(levels))

    async def _delete(self, request: Request) -> JSONResponse:
        """Take away a volume, or a schema with all in it: nothing below it is there any more."""
        name = request.path_params["name"]
        self._rules.require_there(name.split("."))
        self._rules.absent |= {name}
        return JSONResponse({})

    async def _create(self, request: Request) -> JSONResponse:
        asked, kind = await request.json(), request.url.path.rpartition("/")[2]
        levels = [str(asked.get(level, "")) for level in LEVELS[kind]]
        name, (_, noun) = ".".join(levels), ABSENT[len(levels)]
        self._rules.require_there(levels[:-1])
        self._rules.require(PARENTS[kind], f"{noun} '{name}'")
        if name not in self._rules.absent:
            raise refusal("RESOURCE_ALREADY_EXISTS", f"{noun} '{name}' already exists.")
        self._rules.absent -= {name}
        return JSONResponse(_described(levels))

    async def _table(self, request: Request) -> JSONResponse:
        name = request.path_params["name"]
        self._rules.require_there(name.split(".")[:2])
        return JSONResponse({**_described(name.split(".")), "table_id": str(uuid5(NAMESPACE_URL, name))})

    async def _grant(self, request: Request) -> JSONResponse:
        held = self._grants.setdefault(request.path_params["name"], {})
        for change in (await request.json()).get("changes", []):
            kept = held.get(change["principal"], set()) - set(change.get("remove", []))
            held[change["principal"]] = kept | set(change.get("add", []))
        return await self._granted(request)

    async def _granted(self, request: Request) -> JSONResponse:
        held = self._grants.get(request.path_params["name"], {})
        each = [{"principal": who, "privileges": sorted(what)} for who, what in held.items()]
        return JSONResponse({"privilege_assignments": each})


def _described(levels: list[str]) -> dict[str, Any]:
    names = dict(zip(("catalog_name", "schema_name"), levels[:-1], strict=False))
    return {**names, "name": levels[-1], "full_name": ".".join(levels)}
