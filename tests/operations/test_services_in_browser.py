"""`mlops up` in a real browser: its links open both UIs, and a foreign page gets nothing.

What needs no browser is in tests/unit/test_guard.py and tests/operations/test_services.py, which always run.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from cli.operations import processes, state
from lifecycle.core import guard
from tests.operations.test_services import Place, a_place

pytest.importorskip("playwright", reason="needs the extra `screenshots`")
pytest.importorskip("PIL", reason="needs the extra `screenshots`")

from docs.screenshots import BROWSERS, NO_BROWSER, window

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.timeout(600)

ATTACK = """async address => {
    const told = [];
    const ask = async (path, options) => {
        try { const answer = await fetch(address + path, options); told.push(answer.type + (await answer.text())) }
        catch (error) { told.push(error.name) }
    };
    const json = {method: "POST", headers: {"content-type": "application/json"}, body: '{"name": "cats"}'};
    await ask("/api/flows/", json);
    await ask("/api/flows/", {...json, credentials: "include"});
    await ask("/api/flows/", {method: "POST", mode: "no-cors", body: '{"name": "cats"}', credentials: "include"});
    await ask("/api/health", {credentials: "include"});
    await new Promise(done => {
        const socket = new WebSocket(address.replace("http", "ws") + "/api/events/out", "prefect");
        socket.onopen = () => { told.push("open"); done() };
        socket.onerror = () => { told.push("closed"); done() };
    });
    return told;
}"""


@dataclass
class Foreign:
    """A site of somebody else, at an address of its own."""

    address: str
    links: dict[str, str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Place]:
    found = a_place(tmp_path_factory.mktemp("browser"), migrated)
    try:
        code, _, errors = found.run(*found.up, "--detach")
        assert code == 0, errors
        found.run("rollback", "--model-name", "nobody", "--env", "prod")  # a run to look at
        yield found
        found.run("down")
    finally:
        for process in processes.members(found.home):
            process.kill()


@pytest.fixture(scope="module")
def foreign(place: Place) -> Iterator[Foreign]:
    links = {
        "runs": f"{place.prefect}/runs",
        "mlflow": f"{place.mlflow}/#/experiments",
        "api": f"{place.prefect}/api/health",
    }

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            frame = f"<iframe id=frame src='{place.prefect}/'></iframe>"
            self.wfile.write("".join([frame, *(f"<a id={k} href='{v}'>{k}</a>" for k, v in links.items())]).encode())

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.2", 0), Page) as server:
        Thread(target=server.serve_forever).start()
        yield Foreign(f"http://127.0.0.2:{server.server_port}/", links)
        server.shutdown()


@pytest.fixture(scope="module")
def browser(place: Place) -> Iterator["BrowserContext"]:
    """A browser that has followed the link to Prefect's UI, and that one alone."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(NO_BROWSER)
    with window(path, "127.0.0.2") as context:
        page = context.new_page()
        page.goto(json.loads(place.run("status", "--json")[1])["open"]["prefect"])
        page.get_by_text("Dashboard").first.wait_for(timeout=60_000)
        yield context


@pytest.fixture
def page(browser: "BrowserContext") -> Iterator["Page"]:
    with browser.new_page() as page:
        yield page


def test_one_click_opens_prefects_ui_and_with_it_mlflows(page: "Page", place: Place) -> None:
    for ui in ("", "/v2"):
        page.goto(f"{place.prefect}{ui}/runs")
        page.get_by_text("roll back nobody in prod").first.wait_for(timeout=60_000)
    page.goto(f"{place.mlflow}/#/experiments")
    page.get_by_text("Default").first.wait_for(timeout=60_000)


def test_events_come_in_by_a_websocket(page: "Page", place: Place) -> None:
    page.goto(f"{place.prefect}/runs")
    heard = page.evaluate(
        """() => new Promise(done => {
            const socket = new WebSocket(location.origin.replace("http", "ws") + "/api/events/out", "prefect");
            socket.onopen = () => socket.send(JSON.stringify({type: "auth", token: null}));
            socket.onmessage = message => done(message.data);
            socket.onerror = () => done("closed");
        })"""
    )
    assert json.loads(heard) == {"type": "auth_success"}


def test_a_foreign_page_gets_nothing_even_where_the_browser_is_in(page: "Page", place: Place, foreign: Foreign) -> None:
    page.goto(foreign.address)
    assert page.evaluate(ATTACK, place.prefect) == ["TypeError", "TypeError", "opaque", "TypeError", "closed"]
    frame = page.frame_locator("#frame").locator("body")
    assert "Dashboard" not in frame.inner_text()
    assert flows(place) == ["rollback"]


def test_a_link_of_a_foreign_page_opens_pages_and_nothing_else(page: "Page", foreign: Foreign) -> None:
    for name, shown in {"runs": "roll back nobody in prod", "mlflow": "Default", "api": "Refused"}.items():
        page.goto(foreign.address)
        page.click(f"#{name}")
        page.get_by_text(shown).first.wait_for(timeout=60_000)
        assert page.url.startswith(foreign.links[name])


def flows(place: Place) -> list[str]:
    import requests

    shown = guard.authorization(state.credential(place.home))
    found = requests.post(f"{place.prefect}/api/flows/filter", json={}, headers=shown, timeout=240).json()
    return [each["name"] for each in found]
