"""The pages of a dataset version in a real browser: they ask for nothing, and fit day, night and a phone."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("playwright", reason="needs the extra `screenshots`")
pytest.importorskip("PIL", reason="needs the extra `screenshots`")

from docs.screenshots import BROWSERS, NO_BROWSER, window
from tests.unit.test_data_docs import made

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

GROUND = (
    "getComputedStyle(document.documentElement).colorScheme + getComputedStyle(document.querySelector('.ok')).color"
)


@pytest.fixture(scope="module")
def browser() -> Iterator["BrowserContext"]:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(NO_BROWSER)
    with window(path) as context:
        yield context


def test_every_page_is_read_without_a_network_by_day_by_night_and_on_a_phone(
    browser: "BrowserContext", tmp_path: Path
) -> None:
    for path in sorted(made(tmp_path).rglob("*.html")):
        asked, said, seen = list[str](), list[str](), set[str]()
        with browser.new_page() as page:
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.on("console", lambda message, said=said: said.append(message.text))
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                page.set_viewport_size({"width": 360, "height": 740})
                page.goto(path.as_uri())
                assert page.inner_text("body").count("Accepted") == 1
                assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
                seen.add(page.evaluate(GROUND))
        assert ({*asked}, said, len(seen)) == ({path.as_uri()}, [], 2), path
