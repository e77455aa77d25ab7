"""`report.html`: what a dataset version holds, and examples of the rows that were set aside."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle.data import data_docs
from lifecycle.data.manifest import Manifest
from lifecycle.problems.known import named

if TYPE_CHECKING:
    import pandas as pd
    from jinja2 import Environment

EXAMPLES = 5
"""Rows that are shown of those with one reason."""


def write(manifest: Manifest, quarantine: "pd.DataFrame", path: Path) -> None:
    """Write the report of a version, and make Great Expectations' pages beside it whole."""
    environment = _templates()
    examples, shown = list(_examples(quarantine, manifest.quarantined)), _shown(manifest, quarantine)
    page = environment.get_template("dataset.html").render(m=manifest, examples=examples, columns=shown)
    path.write_text(page, encoding="utf-8")
    data_docs.finish(path.parent / "data_docs", manifest, environment)


@cache
def _templates() -> "Environment":
    """The templates, compiled once for all versions of a process."""
    from jinja2 import Environment, PackageLoader

    return Environment(loader=PackageLoader("lifecycle"), autoescape=True)


def _shown(manifest: Manifest, quarantine: "pd.DataFrame", most: int = 8) -> list[str]:
    """The columns of which examples are shown: the inputs, as far as there is room, and the target."""
    names = [*(column.stored for column in manifest.inputs[:most]), named(manifest.problem).target]
    key = f"source_{manifest.parameters['key']}" if manifest.parameters.get("key") else ""
    return [name for name in (key, *names) if name in quarantine]


def _examples(quarantine: "pd.DataFrame", counts: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    for reason, rows in quarantine.groupby("reason"):
        yield {"reason": reason, "count": counts[str(reason)], "rows": rows.head(EXAMPLES).to_dict("records")}
