"""Failures on demand: calls that fail, hang or are cut off, and runs that end otherwise than their tasks do.

A fault waits for the call or the run that it is for. What is left when a test ends was planned and never met.
"""

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from databricks_emulator.errors import code_of, refusal, respond

ABORT = "emulator.abort"
"""Where the server leaves the function that cuts a call's connection."""

CONTROL = ("/emulator/faults", "/emulator/calls", "/emulator/rules")
"""What steers faults meets none, and is not in the log of calls."""

LINEAGE = "x-databricks-lineage-identifier"
"""The header in which MLflow's client says what a model was made of, by which Unity Catalog draws it."""

MOST_REMEMBERED = 64 * 1024


@dataclass(eq=False)
class CallFault:
    """What happens to `times` calls that match `METHOD path` (with `*`), after `skip` calls that nothing happens to.

    `text` is answered with status 200 in place of JSON: the page of a login, half an answer, nothing.
    The handler has its effect before the failure if `after` is set, otherwise it has none. A fault with neither a
    status nor `drop` only delays the reply.
    """

    match: str
    status: int | None = None
    error_code: str | None = None
    message: str | None = None
    headers: dict[str, str] | None = None
    delay: float = 0
    after: bool = False
    drop: bool = False
    text: str | None = None
    skip: int = 0
    times: int = 1

    @property
    def reply(self) -> Response | None:
        """What the client gets in place of the handler's answer."""
        if self.text is not None:
            return Response(self.text, self.status or 200, self.headers, media_type="text/html")
        if self.status is None:
            return None
        code = self.error_code or code_of(self.status)
        body = {"error_code": code, "message": self.message or f"injected fault on {self.match}"}
        return JSONResponse(body, self.status, self.headers)


@dataclass(eq=False)
class RunFault:
    """What happens to `times` runs of a job or a task: its name is `run`, the outcome comes `after_s` seconds in.

    `hold` keeps a run in a phase until the fault is cleared; `output_truncated` cuts what a task has written.
    """

    run: str
    outcome: str | None = None
    after_s: float = 0
    hold: str | None = None
    output_truncated: bool = False
    times: int = 1


class Faults:
    """The faults that wait for their calls and runs; one event loop uses them, so they need no lock."""

    def __init__(self) -> None:
        self._calls: list[CallFault] = []
        self._runs: list[RunFault] = []
        self._held: list[RunFault] = []

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/emulator/faults", self._plan, methods=["POST"]),
            Route("/emulator/faults", self._show, methods=["GET"]),
            Route("/emulator/faults", self._clear, methods=["DELETE"]),
        ]

    async def _plan(self, request: Request) -> Response:
        """Let a fault wait; one that names a `path` replaces those for that path, and with `times` 0 only clears."""
        asked = await request.json()
        try:
            self._add(asked)
        except (TypeError, ValueError) as error:
            return respond(request, refusal("INVALID_PARAMETER_VALUE", str(error)))
        return Response(status_code=204)

    def _add(self, asked: dict[str, Any]) -> None:
        if "run" in asked:
            self._runs.append(RunFault(outcome=asked.pop("as", None), **asked))
            return
        if "path" in asked:
            asked["match"] = f"* *{asked.pop('path')}"
            self._calls = [fault for fault in self._calls if fault.match != asked["match"]]
        fault = CallFault(**asked)
        if fault.reply is None and not (fault.drop or fault.delay):
            raise ValueError("A fault of a call needs a status, a delay or drop.")
        self._calls.append(fault)

    async def _show(self, _: Request) -> JSONResponse:
        """The faults that nothing has met yet, or not as often as planned."""
        waiting = [fault for fault in (*self._calls, *self._runs) if fault.times > 0 and fault not in self._held]
        return JSONResponse([asdict(fault) for fault in waiting])

    async def _clear(self, _: Request) -> Response:
        self._calls, self._runs, self._held = [], [], []
        return Response(status_code=204)

    def of_call(self, method: str, path: str) -> CallFault | None:
        """The fault that meets a call, used up by one; while the first that matches skips, none does."""
        call = f"{method} {path}"
        fault = next((fault for fault in self._calls if fault.times > 0 and fnmatchcase(call, fault.match)), None)
        if fault is None:
            return None
        if fault.skip > 0:
            fault.skip -= 1
            return None
        fault.times -= 1
        return fault

    def of_run(self, names: Collection[str]) -> RunFault | None:
        """The fault that ends a run which bears one of these names, used up by one."""
        return self._used(lambda fault: fault.run in names and fault.outcome is not None)

    def truncates(self, names: Collection[str]) -> bool:
        """Whether the output of a task is cut."""
        return self._used(lambda fault: fault.run in names and fault.output_truncated) is not None

    def holds(self, names: Collection[str], phase: str) -> bool:
        """Whether a run has to stay in a phase for now."""
        found = next((fault for fault in self._runs if fault.run in names and fault.hold == phase), None)
        if found is not None and found not in self._held:
            self._held.append(found)
        return found is not None

    def _used(self, meets: Callable[[RunFault], bool]) -> RunFault | None:
        fault = next((fault for fault in self._runs if fault.times > 0 and meets(fault)), None)
        if fault is not None:
            fault.times -= 1
        return fault


class FaultInjection:
    """Lets a call meet its fault, whatever the application does or has done."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = scope["type"] == "http" and not scope["path"].startswith(CONTROL)
        fault = self._faults.of_call(scope["method"], scope["path"]) if asked else None
        if fault is None:
            await self._app(scope, receive, send)
            return
        replies: list[Message] = []
        body = b"" if fault.after else await Request(scope, receive).body()
        if fault.after:
            await self._app(scope, receive, _keeping(replies))
        await asyncio.sleep(fault.delay)
        if fault.drop:
            scope[ABORT]()
            while (await receive())["type"] != "http.disconnect":
                pass  # until the server knows of it, it would answer for us
        elif fault.reply is not None:
            await fault.reply(scope, receive, send)
        elif fault.after:
            for message in replies:
                await send(message)
        else:  # the client may be gone by now; what it has asked for happens all the same
            await self._app(scope, _repeating(body, receive), send)


class Calls:
    """What clients have asked for, in order: tests read which calls were made, and how often."""

    def __init__(self) -> None:
        self._made: list[dict[str, Any]] = []

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/emulator/calls", self._show, methods=["GET"]),
            Route("/emulator/calls", self._clear, methods=["DELETE"]),
        ]

    async def _show(self, _: Request) -> JSONResponse:
        return JSONResponse(self._made)

    async def _clear(self, _: Request) -> Response:
        self._made.clear()
        return Response(status_code=204)

    def note(self, scope: Scope) -> dict[str, Any]:
        """Enter a call; its reply is added later, so that one which is still waiting is seen as well."""
        call = {"at": time.time(), "method": scope["method"], "path": scope["path"]}
        call["query"] = scope["query_string"].decode()
        if lineage := Headers(scope=scope).get(LINEAGE):
            call["lineage"] = json.loads(base64.b64decode(lineage))
        self._made.append(call)
        return call


class CallLog:
    """Enters each call with its status, its JSON body where it changes a job or a run, and what it says of lineage.

    No other header is entered.
    """

    def __init__(self, app: ASGIApp, calls: Calls) -> None:
        self._app = app
        self._calls = calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(CONTROL):
            await self._app(scope, receive, send)
            return
        call, body = self._calls.note(scope), bytearray()

        async def received() -> Message:
            message = await receive()
            if "/jobs/" in scope["path"] and len(body) < MOST_REMEMBERED:
                body.extend(message.get("body", b""))
            return message

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                call["status"] = message["status"]
            await send(message)

        try:
            await self._app(scope, received, sent)
        finally:
            call["body"] = _parsed(bytes(body))


def _keeping(messages: list[Message]) -> Callable[[Message], Awaitable[None]]:
    """A way to send that sends nothing: the effect has happened and the client does not learn of it yet."""

    async def keep(message: Message) -> None:
        messages.append(message)

    return keep


def _repeating(body: bytes, receive: Receive) -> Receive:
    """A way to receive a body that has been received."""
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def again() -> Message:
        return next(messages, None) or await receive()

    return again


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return None
