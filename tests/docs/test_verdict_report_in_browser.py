"""The report of a verdict in a real browser: it asks for nothing but itself, and every plot can be seen.

What needs no browser is in tests/unit/test_verdict_report.py, which always runs.
"""

import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from lifecycle.gate.present import report
from tests.unit.test_verdict_report import NEW, OLD, verdict

pytest.importorskip("playwright", reason="needs the extra `screenshots`")
pytest.importorskip("PIL", reason="needs the extra `screenshots`")

from docs.screenshots import BROWSERS, NO_BROWSER, window

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

SIZES = "plots => plots.map(plot => { const box = plot.getBoundingClientRect(); return [box.width, box.height] })"
INK = """plots => plots.map(plot => [...plot.querySelectorAll('.whisker, .line, .point')].map(
    each => getComputedStyle(each).stroke))"""
COLOURS = """['.whisker', 'h1'].map(each => getComputedStyle(document.querySelector(each))).map(
    style => style.stroke + style.color)"""


@pytest.fixture(scope="module")
def browser() -> Iterator["BrowserContext"]:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(NO_BROWSER)
    with window(path) as context:
        yield context


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "verdict.html"
    path.write_text(report.render(verdict(NEW, OLD), NEW, OLD), encoding="utf-8")
    return path


@pytest.fixture
def page(browser: "BrowserContext") -> Iterator["Page"]:
    with browser.new_page() as page:
        yield page


def test_it_asks_for_nothing_but_itself_and_complains_of_nothing(page: "Page", told: Path) -> None:
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(told.as_uri())
    page.wait_for_load_state("networkidle")
    assert asked == [told.as_uri()]
    assert said == []


def test_the_page_may_not_reach_out_even_if_a_text_would(page: "Page", told: Path) -> None:
    """The policy in its head stands behind the escaping."""
    asked: list[str] = []

    class Outside(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with ThreadingHTTPServer(("127.0.0.1", 0), Outside) as server:
        Thread(target=server.serve_forever).start()
        there = f"http://127.0.0.1:{server.server_port}"
        hostile = f"<img src={there}/a><link rel=stylesheet href={there}/b><script>document.title = 'ran'</script><h1>"
        path = told.with_name("hostile.html")
        path.write_text(told.read_text(encoding="utf-8").replace("<h1>", hostile), encoding="utf-8")
        page.goto(path.as_uri())
        page.wait_for_load_state("networkidle")
        server.shutdown()
    assert asked == []
    assert page.title() != "ran"


def test_every_plot_is_seen(page: "Page", told: Path) -> None:
    page.goto(told.as_uri())
    page.eval_on_selector_all("details", "all => all.forEach(each => each.open = true)")
    plots = "svg[role=img]"
    sizes = page.eval_on_selector_all(plots, SIZES)
    assert len(sizes) == 13
    assert all(width >= 190 and height >= 27 for width, height in sizes)
    for strokes in page.eval_on_selector_all(plots, INK):
        assert strokes
        assert not {"none", "rgb(0, 0, 0)"} & set(strokes), "a colour of the page is missing"


def test_day_and_night_differ(page: "Page", told: Path) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(told.as_uri())
        seen[scheme] = (page.evaluate(COLOURS), page.screenshot())
    (colours, picture), (by_night, picture_by_night) = seen["light"], seen["dark"]
    assert all(day != night for day, night in zip(colours, by_night, strict=True))
    assert picture != picture_by_night


def test_on_a_phone_only_tables_scroll_sideways(page: "Page", told: Path) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(told.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("[...document.querySelectorAll('.box')].some(box => box.scrollWidth > box.clientWidth)")
