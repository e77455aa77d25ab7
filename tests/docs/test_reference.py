"""docs/reference/settings.md is what the models say that read the settings."""

import runpy

from tests.conftest import ROOT

REFERENCE = ROOT / "docs/reference"


def test_the_committed_page_is_what_the_script_makes() -> None:
    made = runpy.run_path(str(REFERENCE / "generate.py"))["page"]()
    assert made == (REFERENCE / "settings.md").read_text(encoding="utf-8"), "Run: python docs/reference/generate.py"
