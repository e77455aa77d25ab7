"""The guard of every server on loopback, over real sockets: who gets through to the application, and who does not.

Promise: No foreign web page and no other user reaches a server that we start; one click opens its UI (also
`tests/operations/test_services.py`).
"""

import base64
import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from threading import Thread
from typing import Any

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from lifecycle.core import guard
from lifecycle.core.guard import Guard

CREDENTIAL = guard.new_credential("mlops-test")
OTHER = "admin:of one's own"
SHOWN = guard.authorization(CREDENTIAL)
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


class Application:
    """What is to be guarded: it notes what reaches it, answers with the headers it sees, and echoes on websockets."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
        elif scope["type"] == "websocket":
            await self._echo(receive, send)
        else:
            self.reached.append(f"{scope['method']} {scope['path']}")
            seen = json.dumps([(name.decode(), value.decode("latin-1")) for name, value in scope["headers"]])
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": seen.encode()})

    async def _echo(self, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "nobody must see this before the credential is shown"})
        while (message := await receive())["type"] == "websocket.receive":
            self.reached.append(message["text"])
            await send({"type": "websocket.send", "text": f"heard {message['text']}"})


@dataclass
class Server:
    """A guarded application that listens."""

    port: int
    application: Application

    def ask(self, method: str, path: str, headers: Mapping[str, str | None]) -> tuple[int, dict[str, str], str]:
        """Send exactly these headers; `Host` is the server's unless it is given, and None leaves it out."""
        sent = {"Host": f"127.0.0.1:{self.port}"} | dict(headers)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=240)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                if value is not None:
                    connection.putheader(name, value.replace("PORT", str(self.port)))
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
        finally:
            connection.close()


def listening(**options: Any) -> Iterator[Server]:
    application = Application()
    guarded = Guard(application, hosts=["mlops.example.com", "localhost:8080"], **options)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(guarded, log_level="critical", lifespan="on"))
        thread = Thread(target=server.run, args=([listener],))
        thread.start()
        while not server.started:
            assert thread.is_alive()
        yield Server(listener.getsockname()[1], application)
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def closed() -> Iterator[Server]:
    """A server with a credential and pages outside of `/api`, as Prefect's is."""
    yield from listening(credentials=[CREDENTIAL, OTHER], pages=lambda path: not path.startswith("/api"))


@pytest.fixture(scope="module")
def open_to_programs() -> Iterator[Server]:
    """A server without a credential and without pages, as `mlops serve` is."""
    yield from listening()


def basic(text: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


FOREIGN: dict[str, tuple[str, str, dict[str, str | None]]] = {
    "another site": ("POST", "/api", {"Origin": "https://evil.example"}),
    "a page of no origin": ("POST", "/api", {"Origin": "null"}),
    "an origin that is no address": ("POST", "/api", {"Origin": "http://["}),
    "an empty origin": ("POST", "/api", {"Origin": ""}),
    "a page of another port": ("POST", "/api", {"Origin": "http://127.0.0.1:8888"}),
    "a page of this port by another name": ("POST", "/api", {"Origin": "http://localhost:PORT"}),
    "a page whose name begins like ours": ("POST", "/api", {"Origin": "http://127.0.0.1:PORT.evil.example"}),
    "a page whose user is called like us": ("POST", "/api", {"Origin": "http://127.0.0.1:PORT@evil.example"}),
    "cross-site without an origin": ("POST", "/api", {"Sec-Fetch-Site": "cross-site"}),
    "same-site, another port": ("GET", "/api", {"Sec-Fetch-Site": "same-site"}),
    "what browsers may say one day": ("GET", "/api", {"Sec-Fetch-Site": "sibling-site"}),
    "a form": (
        *("POST", "/api"),
        {"Origin": "https://evil.example", "Content-Type": "application/x-www-form-urlencoded", **NAVIGATION},
    ),
    "a form to a page, of a browser that names no origin": (
        *("POST", "/"),
        {"Sec-Fetch-Site": "cross-site", **NAVIGATION},
    ),
    "a simple request": ("POST", "/api", {"Origin": "https://evil.example", "Content-Type": "text/plain"}),
    "a request for its preflight": (
        *("OPTIONS", "/api"),
        {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"},
    ),
    "a GET with a side effect, as an image": (
        *("GET", "/api/do"),
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    ),
    "a GET with a side effect, as a link": ("GET", "/api/do", {"Sec-Fetch-Site": "cross-site", **NAVIGATION}),
    "a frame": (
        *("GET", "/"),
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    ),
    "a name that was bound here": ("GET", "/", {"Host": "evil.example:PORT"}),
    "a name that was bound here, with its own origin": (
        *("POST", "/api"),
        {"Host": "evil.example:PORT", "Origin": "http://evil.example:PORT", "Sec-Fetch-Site": "same-origin"},
    ),
    "a host with another port": ("GET", "/", {"Host": "127.0.0.1:1"}),
    "a host without a port": ("GET", "/", {"Host": "127.0.0.1"}),
    "a host that begins like ours": ("GET", "/", {"Host": "127.0.0.1.evil.example:PORT"}),
    "another address of loopback": ("GET", "/", {"Host": "127.0.0.2:PORT"}),
    "any address": ("GET", "/", {"Host": "0.0.0.0:PORT"}),
    "a configured name with another port": ("GET", "/", {"Host": "mlops.example.com:81"}),
    "a name below a configured one": ("GET", "/", {"Host": "evil.mlops.example.com"}),
}


@pytest.mark.parametrize("case", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("place", ["closed", "open_to_programs"])
def test_a_foreign_page_reaches_nothing_whatever_it_shows(
    case: tuple[str, str, dict[str, str | None]], place: str, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(place)
    method, path, headers = case
    server.application.reached.clear()
    status, answered, text = server.ask(method, path, {**SHOWN, "Cookie": cookie(), **headers})
    assert (status, server.application.reached) == (403, []), text
    assert "access-control-allow-origin" not in answered
    assert text.startswith("Refused: ")


def cookie() -> str:
    return f"mlops-test={guard._signed(CREDENTIAL, 'cookie')}"


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_request_that_names_no_host_reaches_nothing(open_to_programs: Server, version: str) -> None:
    open_to_programs.application.reached.clear()
    with socket.create_connection(("127.0.0.1", open_to_programs.port), timeout=240) as client:
        client.sendall(f"GET / HTTP/{version}\r\nConnection: close\r\n\r\n".encode())
        status = int(client.makefile().readline().split()[1])
    assert (400 <= status < 500, open_to_programs.application.reached) == (True, []), status


@pytest.mark.parametrize("name", ["Host", "Origin", "Sec-Fetch-Site"])
def test_of_two_headers_each_counts(open_to_programs: Server, name: str) -> None:
    """What one program takes from the first line, another may take from the last."""
    port = open_to_programs.port
    good = {"Host": f"127.0.0.1:{port}", "Origin": f"http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"}
    bad = {"Host": f"evil.example:{port}", "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    open_to_programs.application.reached.clear()
    for pair in ([good[name], bad[name]], [bad[name], good[name]]):
        others = [f"{key}: {value}" for key, value in good.items() if key != name]
        lines = ["GET / HTTP/1.1", *others, *(f"{name}: {value}" for value in pair), "Connection: close", "", ""]
        with socket.create_connection(("127.0.0.1", port), timeout=240) as client:
            client.sendall("\r\n".join(lines).encode())
            assert client.makefile().readline().split()[1] in {"400", "403"}
    assert open_to_programs.application.reached == []


OURS: dict[str, tuple[str, str, dict[str, str | None]]] = {
    "a program": ("POST", "/api", {}),
    "a program that sends plain text": ("POST", "/api", {"Content-Type": "text/plain"}),
    "localhost": ("GET", "/api", {"Host": "localhost:PORT"}),
    "in capitals": ("GET", "/api", {"Host": "LocalHost:PORT"}),
    "IPv6": ("GET", "/api", {"Host": "[::1]:PORT"}),
    "a proxy": ("GET", "/api", {"Host": "mlops.example.com"}),
    "a configured name with our port": ("GET", "/api", {"Host": "mlops.example.com:PORT"}),
    "a forwarded port": ("GET", "/api", {"Host": "localhost:8080"}),
    "our own page": ("POST", "/api", {"Origin": "http://127.0.0.1:PORT", "Sec-Fetch-Site": "same-origin"}),
    "our own page behind TLS": ("POST", "/api", {"Host": "mlops.example.com", "Origin": "https://mlops.example.com"}),
    "an address that was typed": ("GET", "/api", {"Sec-Fetch-Site": "none", **NAVIGATION}),
}


@pytest.mark.parametrize("case", OURS.values(), ids=OURS)
@pytest.mark.parametrize("place", ["closed", "open_to_programs"])
def test_programs_and_our_own_pages_get_through(
    case: tuple[str, str, dict[str, str | None]], place: str, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(place)
    method, path, headers = case
    shown = SHOWN if place == "closed" else {}
    server.application.reached.clear()
    status, _, text = server.ask(method, path, {**shown, **headers})
    assert (status, server.application.reached) == (200, [f"{method} {path}"]), text


WHO: dict[str, tuple[int, dict[str, str]]] = {
    "nobody": (401, {}),
    "our command": (200, SHOWN),
    "a login of one's own": (200, basic(OTHER)),
    "a browser": (200, {"Cookie": cookie()}),
    "a browser with other cookies": (200, {"Cookie": f'a={{"b": 1}}; {cookie()}; c=é'}),
    "a credential of a former start": (401, guard.authorization(guard.new_credential("mlops-test"))),
    "a cookie of a former start": (401, {"Cookie": f"mlops-test={guard._signed('mlops-test:before', 'cookie')}"}),
    "the credential as a cookie": (401, {"Cookie": f"mlops-test={CREDENTIAL}"}),
    "an empty cookie": (401, {"Cookie": "mlops-test="}),
    "the cookie's value under another name": (401, {"Cookie": cookie().replace("mlops-test=", "other=")}),
    "the user's part alone": (401, basic("mlops-test:")),
    "a part of it": (401, basic(CREDENTIAL[:-1])),
    "more than it": (401, basic(CREDENTIAL + "x")),
    "empty": (401, basic("")),
    "not encoded": (401, {"Authorization": f"Basic {CREDENTIAL}"}),
    "a key of Prefect Cloud": (401, {"Authorization": f"Bearer {CREDENTIAL}"}),
    "no scheme": (401, {"Authorization": CREDENTIAL}),
    "not a text": (401, {"Authorization": "Basic //79"}),
}


@pytest.mark.parametrize(("status", "headers"), WHO.values(), ids=WHO)
def test_only_who_shows_a_credential_gets_through(closed: Server, status: int, headers: dict[str, str]) -> None:
    closed.application.reached.clear()
    assert closed.ask("POST", "/api", headers)[0] == status
    assert bool(closed.application.reached) == (status == 200)


def test_the_application_does_not_see_what_was_shown(closed: Server) -> None:
    _, _, text = closed.ask("GET", "/", {**SHOWN, "Cookie": f"a=1; {cookie()}; b=2"})
    seen = dict(json.loads(text))
    assert (seen["cookie"], "authorization" in seen) == ("a=1; b=2", False)


def ticket(server: Server, credential: str = CREDENTIAL) -> str:
    address = f"http://127.0.0.1:{server.port}"
    return guard.link(credential, address).removeprefix(address)


def test_a_link_lets_one_browser_in_once(closed: Server) -> None:
    closed.application.reached.clear()
    path = ticket(closed)
    status, headers, _ = closed.ask("GET", path, {})
    given_cookie = headers["set-cookie"]
    assert (status, headers["location"]) == (303, "/")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(given_cookie.split("; "))
    mine = {"Cookie": given_cookie.partition(";")[0]}
    assert closed.ask("GET", "/", mine)[0] == 200
    assert closed.ask("GET", path, mine)[0] == 303  # who has it already may use it again
    status, headers, text = closed.ask("GET", path, {})
    assert (status, "set-cookie" in headers, "mlops status" in text) == (401, False, True)
    assert closed.application.reached == ["GET /"]
    assert CREDENTIAL not in given_cookie + path


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path[:-1] + ("0" if path[-1] != "0" else "1"),
        lambda path: path.replace("ticket=", "ticket=9"),
        lambda path: path.rpartition(".")[0],
        lambda _: "/?ticket=.",
        lambda _: "/?ticket=%ED%A0%80.%00",
        lambda path: path.replace("/?", "/api?"),
    ],
    ids=["signature", "a later hour", "no signature", "nothing", "no text", "elsewhere"],
)
def test_a_link_that_was_changed_lets_nobody_in(closed: Server, damage: Any) -> None:
    status, headers, _ = closed.ask("GET", damage(ticket(closed)), {})
    assert (status, "set-cookie" in headers) == (401, False)


def test_a_link_is_for_its_server_its_start_and_its_hour(closed: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for_another = guard.link(CREDENTIAL, "http://127.0.0.1:1").removeprefix("http://127.0.0.1:1")
    assert closed.ask("GET", for_another, {})[0] == 401
    assert closed.ask("GET", ticket(closed, guard.new_credential()), {})[0] == 401
    monkeypatch.setattr(guard, "LINK_SECONDS", -2)
    assert closed.ask("GET", ticket(closed), {})[0] == 401


def test_a_page_that_another_site_links_to_opens_after_the_browser_came_again(closed: Server) -> None:
    """A strict cookie is not sent along with such a link, but is as soon as our own page asks for itself."""
    closed.application.reached.clear()
    status, headers, text = closed.ask("GET", "/runs/1", {"Sec-Fetch-Site": "cross-site", **NAVIGATION})
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert ("location.reload()" in text, closed.application.reached) == (True, [])
    again = {"Sec-Fetch-Site": "same-origin", **NAVIGATION}
    assert closed.ask("GET", "/runs/1", {**again, "Cookie": cookie()})[0] == 200
    assert closed.ask("GET", "/runs/1", again)[0] == 401  # and no further round


def socket_to(server: Server, **headers: str) -> Any:
    return connect(f"ws://127.0.0.1:{server.port}/api/events/in", additional_headers=headers, proxy=None)


@pytest.mark.parametrize(
    "headers", [SHOWN, {"Cookie": cookie(), "Origin": "http://127.0.0.1:PORT"}], ids=("a program", "a browser")
)
def test_a_websocket_that_shows_the_credential_is_open(closed: Server, headers: dict[str, str]) -> None:
    mine = {name: value.replace("PORT", str(closed.port)) for name, value in headers.items()}
    with socket_to(closed, **mine) as client:
        client.recv(timeout=240)
        client.send("one")
        assert client.recv(timeout=240) == "heard one"


def test_a_websocket_may_show_it_in_its_first_message_as_prefects_clients_do(closed: Server) -> None:
    first = json.dumps({"type": "auth", "token": CREDENTIAL})
    with socket_to(closed) as client:
        client.send(first)
        assert client.recv(timeout=240) == f"heard {first}"


@pytest.mark.parametrize(
    "first",
    [
        json.dumps({"type": "auth", "token": "mlops-test:guess"}),
        json.dumps({"type": "auth", "token": None}),
        json.dumps({"type": "filter", "token": CREDENTIAL}),
        json.dumps({"type": "auth"}),
        json.dumps([CREDENTIAL]),
        CREDENTIAL,
        "",
        '{"type": "auth", "token": "\\ud800"}',
    ],
    ids=("guess", "nothing", "another kind", "no token", "in a list", "bare", "empty", "half a letter"),
)
def test_a_websocket_that_shows_something_else_is_closed_unheard(closed: Server, first: str) -> None:
    closed.application.reached.clear()
    with socket_to(closed) as client:
        client.send(first)
        with pytest.raises(ConnectionClosed) as error:
            client.recv(timeout=240)
        assert error.value.rcvd is not None
        assert error.value.rcvd.code == guard.POLICY_VIOLATION
    assert closed.application.reached == []


@pytest.mark.parametrize("place", ["closed", "open_to_programs"])
@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}], ids=str)
def test_a_websocket_of_a_foreign_page_is_none(
    place: str, headers: dict[str, str], request: pytest.FixtureRequest
) -> None:
    with pytest.raises(InvalidStatus) as error, socket_to(request.getfixturevalue(place), **SHOWN, **headers):
        pass
    assert error.value.response.status_code == 403


POOL = {
    "host": ["127.0.0.1:4200", "localhost:4200", "evil.example:4200", "evil.example", "127.0.0.1", ""],
    "origin": ["http://127.0.0.1:4200", "http://localhost:4200", "null", "https://evil.example", "http://[", ""],
    "sec-fetch-site": ["same-origin", "none", "same-site", "cross-site", ""],
    "sec-fetch-mode": ["navigate", "cors", "no-cors", "websocket"],
    "sec-fetch-dest": ["document", "iframe", "empty"],
    "authorization": [SHOWN["Authorization"], "Basic ", "Bearer x", "Basic é"],
    "cookie": [cookie(), "mlops-test=", "a=1"],
}
HEADERS = st.lists(
    st.sampled_from(sorted(POOL)).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from(POOL[name]) | st.text(max_size=9))
    ),
    max_size=7,
)


@given(HEADERS, st.sampled_from(["GET", "POST", "OPTIONS"]), st.sampled_from(["/", "/api/flows", "/runs"]))
def test_law_whoever_reaches_the_application_names_it_is_not_foreign_and_showed_the_credential(
    headers: list[tuple[str, str]], method: str, path: str
) -> None:
    sent = [(name.encode(), value.encode("utf-8", "surrogatepass")) for name, value in headers]
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": sent}
    application, answers = Application(), []

    async def send(message: Any) -> None:
        answers.append(message)

    asked = Guard(application, credentials=[CREDENTIAL], pages=lambda each: not each.startswith("/api"))
    run(asked({**scope, "server": ("127.0.0.1", 4200)}, None, send))  # type: ignore[arg-type]
    assert [each["type"] for each in answers] == ["http.response.start", "http.response.body"]
    if not application.reached:
        return
    found = {name: [value for key, value in headers if key == name] for name in POOL}
    (host,) = found["host"]
    assert host.lower() in {"127.0.0.1:4200", "localhost:4200", "[::1]:4200"}
    assert all(origin.lower().endswith(f"//{host.lower()}") for origin in found["origin"])
    assert SHOWN["Authorization"] in found["authorization"] or any(cookie() in each for each in found["cookie"])
    foreign = set(found["sec-fetch-site"]) - {"same-origin", "none"}
    assert not foreign or (method, path in {"/", "/runs"}, found["origin"]) == ("GET", True, [])


def run(coroutine: Any) -> None:
    """Run a coroutine that waits for nothing."""
    with pytest.raises(StopIteration):
        coroutine.send(None)
