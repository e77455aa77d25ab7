"""Every file, heading and path of ours that a page names exists."""

import csv
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md")])
CODE = re.compile(r"^```.*?^```", re.S | re.M)
OURS = re.compile(r"`((?:tests|lifecycle|tasks|flows|cli|config(?!/models/)|docs|examples)/[\w./-]+\.\w+)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, heading = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), target
        assert not heading or heading in _headings(linked), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_of_ours_exists(page: Path) -> None:
    assert [path for path in OURS.findall(page.read_text(encoding="utf-8")) if not (ROOT / path).exists()] == []


def test_every_document_that_answers_a_question_exists() -> None:
    with (ROOT / "examples" / "docs_questions.csv").open(encoding="utf-8") as file:
        named = [name for row in csv.DictReader(file) for name in row["documents"].split(";") if name]
    assert len(named) > 60
    assert [name for name in named if not (ROOT / "docs" / name).exists()] == []


def _headings(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", page.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
