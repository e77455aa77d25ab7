"""docs/tutorial.md and what programs read of it: every command and program runs, in its order, in an empty folder."""

from pathlib import Path

from tests.conftest import ROOT, exhaustive
from tests.docs.conftest import Walk

PAGES = [ROOT / "docs/tutorial.md", ROOT / "docs/reference/python.md"]
"""The second reads what the first has made."""


@exhaustive  # the README goes the same way with fewer commands
def test_every_command_and_program_runs_in_the_order_of_the_page(walk: Walk) -> None:
    walk("\n".join(page.read_text(encoding="utf-8") for page in PAGES))
    assert sorted(path.name for path in Path().iterdir()) == [
        ".mlops",
        "cells.csv",
        "config",
        "news.csv",
        "verdict.html",
    ]
