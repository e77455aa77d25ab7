"""The page of a model in a real browser: it asks for nothing but itself, and fits a desk and a phone, day and night."""

import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lifecycle.monitoring import findings, report, trust
from lifecycle.monitoring.findings import Line, Measured
from lifecycle.monitoring.worst import WorstRow
from lifecycle.settings.rules import MonitoringRules

pytest.importorskip("playwright", reason="needs the extra `screenshots`")
pytest.importorskip("PIL", reason="needs the extra `screenshots`")

from docs.screenshots import BROWSERS, NO_BROWSER, window

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

RULES = MonitoringRules()


def history(days: int = 30) -> report.History:
    """A model whose inputs drift in the last days and whose labels contradict its estimates there."""
    drift, performance = [], []
    for number in range(days):
        bad, at = number >= days - 6, datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)
        about = {"model": "dev.ml.<b>bikes", "version": 1 + number // 20, "batch": f"b{number}", "baseline": ""}
        psi = Line(
            part="input", name="temp <i>", measure="psi", value=0.5 * bad, limit=0.1, rows=900, p=0.0, beyond=bad
        )
        whole = {"measure": "loss", "limit": 0.05, "before": 0.8, "rows": 900, "name": "accuracy"}
        estimate = Line(part="estimate", value=0, now=0.8, low=0.78, high=0.82, beyond=False, **whole)
        real = Line(
            part="performance",
            value=0.2 * bad,
            now=0.8 - 0.2 * bad,
            low=0.79 - 0.2 * bad,
            high=0.81 - 0.2 * bad,
            beyond=bad,
            **whole,
        )
        part = Line(
            part="slice",
            name="SEX = 1",
            measure="accuracy",
            value=0.1,
            limit=0,
            before=0.8,
            now=0.7,
            low=0.66,
            high=0.74,
            rows=300,
            beyond=False,
        )
        usual = {"day": at.date(), "at": at, "rows_in": 1000, "scored": 900, **about}
        drift.append(Measured(**usual, lines=(psi, estimate)))
        performance.append(Measured(**usual, lines=(real, part)))
    alerts = [*findings.alerts(drift, "drift", RULES), *findings.alerts(performance, "performance", RULES)]
    return report.History(
        name="dev.ml.<b>bikes",
        drift=drift,
        performance=performance,
        alerts=alerts,
        said=trust.statements(drift, performance, RULES),
        promotions=[
            report.Promotion(date(2026, 1, 1), 1, "promotion"),
            report.Promotion(date(2026, 1, 21), 2, "promotion"),
        ],
        worst=[WorstRow("b29", 7, "yes", "no", 0.99)],
    )


@pytest.fixture(scope="module")
def browser() -> Iterator["BrowserContext"]:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(NO_BROWSER)
    with window(path) as context:
        yield context


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_asks_for_nothing(browser: "BrowserContext", tmp_path: Path, width: int, scheme: str) -> None:
    path = tmp_path / "page.html"
    path.write_text(report.render(history()), encoding="utf-8")
    asked: list[str] = []
    with browser.new_page() as page:
        page.on("request", lambda request: asked.append(request.url))
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(path.as_uri())
        assert asked == [path.as_uri()]
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "only boxes scroll sideways"
        assert page.locator("svg.timeline .marker").count() == 60
        assert page.locator("svg.timeline .promotion").count() == 2
        assert page.locator("svg.timeline .alert").count() == 2
        assert page.locator("td.far").count() == 6
        assert page.get_by_text("do not trust", exact=True).count() >= 1
        assert page.locator("b, i").count() == 0, "names are no markup"
        page.screenshot(path=tmp_path / "page.png", full_page=True)
