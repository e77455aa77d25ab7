"""Great Expectations' pages as they are kept with a dataset version: whole, and beginning with what was decided here.

Theirs say *Failed* where rows were set aside, and load styles and programs from other sites.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.data.manifest import Manifest

if TYPE_CHECKING:
    from jinja2 import Environment

ELSEWHERE = re.compile(
    r"<(script|style|footer|button)\b.*?</\1>|<link\b[^>]*>|<img\b[^>]*>|<base\b[^>]*>", re.DOTALL | re.IGNORECASE
)
"""What is fetched, or does nothing without what is fetched."""
UP = re.compile(r"(\.\./)+(?=(expectations/)?\w+\.html)")
"""From one of their pages to another: those of results lie deeper in a site of theirs."""
FAILED = re.compile(r"(Status:\s*</span>\s*<i [^>]*></i>)\s*Failed")
LABELS = {"validations": "Results on the rows of the source", "expectations": "The expectations"}


def finish(folder: Path, manifest: Manifest, environment: "Environment") -> None:
    """Make the pages of a version, as Great Expectations wrote them, whole."""
    pages = sorted(path for kind in LABELS for path in (folder / kind).rglob("*.html"))
    for path in pages:
        up = "../" * len(path.relative_to(folder).parts)
        path.write_text(_page(path.read_text(encoding="utf-8"), up, manifest, environment), encoding="utf-8")
    if not pages:
        return  # an erasure has left a page that says why there are none
    index = environment.get_template("data_docs.html").render(m=manifest, up="../", pages=list(_links(folder, pages)))
    (folder / "index.html").write_text(index, encoding="utf-8")


def _page(text: str, up: str, manifest: Manifest, environment: "Environment") -> str:
    """Their page between a head and a beginning of ours."""
    body = re.split(r"<body[^>]*>|</body>", UP.sub(up.removeprefix("../"), ELSEWHERE.sub("", text)))
    inner = FAILED.sub(r"\1 some rows fail: set aside", body[1] if len(body) > 1 else body[0])
    return environment.get_template("data_docs.html").render(m=manifest, up=up, body=inner)


def _links(folder: Path, pages: list[Path]) -> Iterator[tuple[str, str]]:
    for path in pages:
        place = path.relative_to(folder)
        yield place.as_posix(), LABELS[place.parts[0]]
