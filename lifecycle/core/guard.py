"""Who may ask a server on loopback: an application (ASGI) around another one that turns the others away.

Every web page in a browser of this machine reaches every port of it, a name that its owner chooses may point here (DNS
rebinding), and so does every other user of the machine. So each request must name this machine (`Host`), must not
come from a page of elsewhere (`Origin`, `Sec-Fetch-Site`) and, where a credential is asked for, must show it: a program
in `Authorization`, a websocket of Prefect's client in its first message, a browser in a cookie that a link from
`link` gave it.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

LOOPBACK = "127.0.0.1"
NAMES = (LOOPBACK, "localhost", "[::1]")
VARIABLE = "_MLOPS_CREDENTIAL"
"""The variable by which a server is told its credential: other users see command lines, but no environment."""
FLEETING = "_MLOPS_SERVER_OF_ONE_COMMAND"
"""Set where the server ends with the command that has started it: nobody can follow a link to it."""
LINK_SECONDS = 3600
POLICY_VIOLATION = 1008

WHO = "This server asks who you are: a program shows the credential, a browser comes by a link of `mlops status`.\n"
SPENT = "This link was used before, or is older than an hour. Get another one: mlops status\n"
AGAIN = '<!doctype html><meta charset="utf-8"><title>MLOps</title><script>location.reload()</script>'
"""A browser keeps a strict cookie to itself when another site has led it here, but not when we ask it to come again."""


def new_credential(name: str = "mlops") -> str:
    """A random credential, as `user:password`; the user's part also names the cookie."""
    return f"{name}:{secrets.token_urlsafe(32)}"


def authorization(credential: str) -> dict[str, str]:
    """The header by which a program shows its credential, as Prefect's and MLflow's clients send it."""
    return {"Authorization": f"Basic {base64.b64encode(credential.encode()).decode()}"} if credential else {}


def link(credential: str, address: str) -> str:
    """An address that lets one browser in, once, within an hour."""
    ticket = f"{int(time.time()) + LINK_SECONDS}.{secrets.token_urlsafe(9)}"
    return f"{address}/?ticket={ticket}.{_signed(credential, f'{urlsplit(address).port} {ticket}')}"


class Guard:
    """The application behind its guard.

    `hosts` are further names that people give this server, such as a proxy's. `credentials` let in, any of them; the
    first is ours and signs links and cookies. Without one, whoever is no foreign web page gets in. `pages` says which
    paths a link of another site may open.
    """

    def __init__(
        self,
        app: App,
        *,
        credentials: Sequence[str] = (),
        hosts: Sequence[str] = (),
        pages: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._app, self._credentials, self._hosts, self._pages = app, credentials, hosts, pages
        self._spent: dict[str, int] = {}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer, or let the application answer."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif reason := self._refusal(scope):
            await _answer(scope, send, 403, f"Refused: {reason}.\n")
        elif not self._credentials:
            await self._app(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == "/" and (ticket := _ticket(scope)):
            await self._open(ticket, scope, send)
        elif self._is_shown(scope):
            await self._app(self._without_credential(scope), receive, send)
        elif scope["type"] == "websocket":
            await self._app(scope, *self._once_shown(receive, send))
        elif self._is_led_here(scope):
            await _answer(scope, send, 200, AGAIN, ("content-type", "text/html; charset=utf-8"))
        else:
            await _answer(scope, send, 401, WHO)

    def _refusal(self, scope: Message) -> str:
        """Why a request is a foreign page's; empty if it is not."""
        hosts = [value.lower() for value in _values(scope, "host")]
        if len(hosts) != 1 or hosts[0] not in self._names(scope):
            return f"{', '.join(hosts) or 'no host'} is not this server's name; --allowed-host adds one"
        ours = {f"{scheme}://{hosts[0]}" for scheme in ("http", "https")}
        if origins := [value for value in _values(scope, "origin") if value.lower() not in ours]:
            return f"the request comes from a page of {origins[0] or 'no origin'}"
        sites = set(_values(scope, "sec-fetch-site")) - {"same-origin", "none"}
        if sites and not self._is_led_here(scope):
            return f"the request comes from a page of elsewhere ({', '.join(sorted(sites))})"
        return ""

    def _names(self, scope: Message) -> set[str]:
        """What `Host` may say; the port is the one that was connected to, left out where it is HTTP's own."""
        port = scope["server"][1]
        known = {name.lower() for name in self._hosts}
        return known | {f"{name}:{port}" for name in {*NAMES, *known}} | (set(NAMES) if port == 80 else set())

    def _is_led_here(self, scope: Message) -> bool:
        """Whether a person follows a link of another site to a page of ours, which that site sees nothing of."""
        asked = {name: _values(scope, name) for name in ("sec-fetch-mode", "sec-fetch-dest", "origin")}
        navigates = asked == {"sec-fetch-mode": ["navigate"], "sec-fetch-dest": ["document"], "origin": []}
        foreign = set(_values(scope, "sec-fetch-site")) - {"same-origin", "none"}
        return bool(foreign) and navigates and scope.get("method") == "GET" and self._pages(scope["path"])

    def _is_shown(self, scope: Message) -> bool:
        """Whether the request shows a credential, or the cookie of this start."""
        cookie = (self._cookie_name, _signed(self._credentials[0], "cookie"))
        if any(name == cookie[0] and _same(value, cookie[1]) for name, value in _cookies(scope)):
            return True
        return any(self._is_known(_decoded(value)) for value in _values(scope, "authorization"))

    def _is_known(self, credential: str) -> bool:
        return any(_same(credential, known) for known in self._credentials)

    @property
    def _cookie_name(self) -> str:
        """The same at each start: browsers keep cookies for all ports of an address, and this one is replaced."""
        return self._credentials[0].partition(":")[0]

    async def _open(self, ticket: str, scope: Message, send: Send) -> None:
        """Take a ticket, or the cookie of whoever has used it before, for the first page."""
        headers = [("location", "/")]
        if self._spend(ticket, scope["server"][1]):
            value = _signed(self._credentials[0], "cookie")
            headers.append(("set-cookie", f"{self._cookie_name}={value}; Path=/; HttpOnly; SameSite=Strict"))
        elif not self._is_shown(scope):
            await _answer(scope, send, 401, SPENT)
            return
        await _answer(scope, send, 303, "", *headers)

    def _spend(self, ticket: str, port: int) -> bool:
        """Whether a ticket is good for the server at this port, which it is once."""
        fact, _, signature = ticket.rpartition(".")
        if not _same(signature, _signed(self._credentials[0], f"{port} {fact}")):
            return False
        now, expires = time.time(), int(fact.partition(".")[0])
        self._spent = {each: until for each, until in self._spent.items() if until >= now}
        if expires < now or fact in self._spent:
            return False
        self._spent[fact] = expires
        return True

    def _without_credential(self, scope: Message) -> Message:
        """The request as the application sees it: what it does not know, it cannot log."""
        kept = [(name, value) for name, value in scope["headers"] if name not in {b"authorization", b"cookie"}]
        others = "; ".join(f"{name}={value}" for name, value in _cookies(scope) if name != self._cookie_name)
        return {**scope, "headers": [*kept, (b"cookie", others.encode("latin-1"))] if others else kept}

    def _once_shown(self, receive: Receive, send: Send) -> tuple[Receive, Send]:
        """A websocket on which nothing is said or done unless its first message shows a credential."""
        shown: bool | None = None

        async def hear() -> Message:
            nonlocal shown
            message = await receive()
            if shown is None and message["type"] == "websocket.receive":
                shown = self._is_known(_token(message))
                if not shown:
                    await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": "Invalid token"})
            return {"type": "websocket.disconnect", "code": POLICY_VIOLATION} if shown is False else message

        async def say(message: Message) -> None:
            if shown or (shown is None and message["type"] != "websocket.send"):
                await send(message)

        return hear, say


async def _answer(scope: Message, send: Send, status: int, text: str, *headers: tuple[str, str]) -> None:
    """Answer in place of the application; a websocket is refused before it is one."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": POLICY_VIOLATION})
        return
    ours = {
        "content-type": "text/plain; charset=utf-8",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }
    named = [(name.encode(), value.encode()) for name, value in (ours | dict(headers)).items()]
    await send({"type": "http.response.start", "status": status, "headers": named})
    await send({"type": "http.response.body", "body": text.encode()})


def _values(scope: Message, name: str) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name.encode()]


def _cookies(scope: Message) -> Iterator[tuple[str, str]]:
    for header in _values(scope, "cookie"):
        for each in header.split(";"):
            name, _, value = each.strip().partition("=")
            yield name, value


def _ticket(scope: Message) -> str:
    query: str = scope["query_string"].decode("latin-1")
    return parse_qs(query).get("ticket", [""])[0]


def _decoded(value: str) -> str:
    """What `Authorization` says in Prefect's and MLflow's way; empty if it says something else."""
    scheme, _, text = value.partition(" ")
    try:
        return base64.b64decode(text).decode() if scheme.lower() == "basic" else ""
    except ValueError:
        return ""


def _token(message: Message) -> str:
    """What the first message on a websocket says, as Prefect's clients send it; empty if it says something else."""
    try:
        said = json.loads(message.get("text") or message.get("bytes") or "")
        return str(said["token"] if said["type"] == "auth" else "")
    except (ValueError, LookupError, TypeError):
        return ""


def _signed(credential: str, text: str) -> str:
    return hmac.new(credential.encode(), text.encode(), hashlib.sha256).hexdigest()[:32]


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(*(text.encode(errors="backslashreplace") for text in (one, other)))
