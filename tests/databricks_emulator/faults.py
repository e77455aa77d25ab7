"""Failures on demand: the next calls to a path fail, before or after they had their effect."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.databricks_emulator.errors import code_of


@dataclass
class Fault:
    """`times` calls whose path ends with `path` get `status` for a reply."""

    path: str
    status: int
    times: int = 1
    after: bool = False


class Faults:
    """The faults that wait for their calls; one event loop uses them, so they need no lock."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    @property
    def routes(self) -> list[Route]:
        return [Route("/emulator/faults", self._plan, methods=["POST"])]

    async def _plan(self, request: Request) -> Response:
        """Let a fault wait in place of an earlier one for the same path; one with `times` 0 only clears that."""
        fault = Fault(**await request.json())
        self._waiting = [waiting for waiting in self._waiting if waiting.path != fault.path] + [fault]
        return Response(status_code=204)

    def take(self, path: str) -> Fault | None:
        """The fault that meets a call to this path, used up by one."""
        fault = next((fault for fault in self._waiting if fault.times > 0 and path.endswith(fault.path)), None)
        if fault is not None:
            fault.times -= 1
        return fault


class FaultInjection:
    """Answers a call that meets a fault with the fault's status, whatever the application has done."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self._faults.take(scope["path"]) if scope["type"] == "http" else None
        if fault is None:
            await self._app(scope, receive, send)
            return
        if fault.after:
            await self._app(scope, receive, _unheard)
        else:
            await Request(scope, receive).body()
        body = {"error_code": code_of(fault.status), "message": f"injected fault on {scope['path']}"}
        await JSONResponse(body, fault.status)(scope, receive, send)


async def _unheard(_: Message) -> None:
    """Drop the reply: the effect has happened and the client does not learn of it."""
