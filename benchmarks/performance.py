"""The page of figures, `docs/performance.md`, made of what was measured last: `python -m benchmarks.performance`.

A benchmark that is run with --write keeps what it measured in `benchmarks/figures/` and makes the page anew.
"""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.processes import ROOT

PAGE, FIGURES = ROOT / "docs" / "performance.md", Path(__file__).parent / "figures"


def keep(
    name: str, rounds: int, about: Mapping[str, Any], figures: Mapping[str, NamedTuple], *, beside: bool = False
) -> None:
    """Write what one benchmark measured, and the page; `beside` what it measured before, if that was a part of it."""
    path = FIGURES / f"{name}.json"
    head = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "cores": os.cpu_count(), "rounds": rounds, **about}
    measured = {of: each._asdict() for of, each in figures.items()}
    if beside:
        measured = json.loads(path.read_text())["figures"] | measured
    path.write_text(json.dumps(head | {"figures": measured}, indent=2) + "\n")
    PAGE.write_text(page())


def page() -> str:
    """The page, of the figures that are kept."""
    reports = {path.stem: json.loads(path.read_text()) for path in sorted(FIGURES.glob("*.json"))}
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return templates.get_template("performance.md.j2").render(reports)


if __name__ == "__main__":
    PAGE.write_text(page())
