"""Great Expectations' pages of a version need no network and say what was decided; so does our report beside them."""

import re
from pathlib import Path

import pandas as pd
import pytest

from lifecycle import settings
from lifecycle.data import expectations, validation
from tests.conftest import make_dataset, write_news

FETCHED = re.compile(r"<(script|link|img|iframe)\b|url\(|@import", re.IGNORECASE)


def made(folder: Path) -> Path:
    """A version of which two rows fail an expectation."""
    source = write_news(folder / "news.csv", 60)
    source.write_text(source.read_text() + " ,neutral\n\u3000,positive\n")
    config = settings.load("dev", home=folder)
    make_dataset(config, source)
    return config.datasets / "news" / "1.0.0"


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("version"))


def test_every_page_is_whole_and_tells_the_decision(version: Path) -> None:
    pages = sorted(version.rglob("*.html"))
    assert {path.relative_to(version).parts[:2] for path in pages} == {
        ("report.html",),
        ("data_docs", "index.html"),
        ("data_docs", "validations"),
        ("data_docs", "expectations"),
    }
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert not FETCHED.search(text), path
        assert re.search(r"Accepted</strong>.*62 rows in = 60 \w+ \+ 2 in quarantine", text), path
        for place in re.findall(r'href="([^"#:]+)"', text):
            assert (path.parent / place).is_file(), f"{path}: {place}"
    assert {path.suffix for path in (version / "data_docs").rglob("*") if path.is_file()} == {".html"}


def test_what_rows_fail_is_not_called_failed(version: Path) -> None:
    (results,) = (version / "data_docs" / "validations").rglob("*.html")
    text = results.read_text(encoding="utf-8")
    assert "some rows fail: set aside" in text
    assert not re.search(r"Status:[^.]*Failed", text)


RULE = {
    "type": "expect_column_values_to_be_in_set",
    "kwargs": {"column": "label", "value_set": ["good"]},
    "severity": "warning",
    "meta": {"reason": "unknown"},
}


def test_cells_stand_there_as_text_and_what_no_file_can_hold_as_a_question_mark(tmp_path: Path) -> None:
    rows = pd.DataFrame({"label": ["good", "<img src=x>", "half \udc80"]}, dtype=object)
    assert validation.check(rows, (RULE,), tmp_path).quarantine == {1: "unknown", 2: "unknown"}
    text = (tmp_path / "validations" / "rows.html").read_text(encoding="utf-8")
    assert "&lt;img src=x&gt;" in text
    assert "<img src=x>" not in text
    assert "half ?" in text


def test_a_page_that_cannot_be_rendered_costs_that_page_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(expectations.ValidationResultsPageRenderer, "render")  # as of another release
    assert validation.check(pd.DataFrame({"label": ["bad"]}), (RULE,), tmp_path).quarantine == {0: "unknown"}
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.html")] == ["expectations/rows.html"]
    assert "did not render its page of validations" in caplog.text
