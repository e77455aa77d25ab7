"""`report.html`: what a dataset version holds, and examples of the rows that were set aside."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from lifecycle.data.manifest import Manifest


def write(manifest: "Manifest", quarantine: "pd.DataFrame", path: Path) -> None:
    """Write the report of a version."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("lifecycle"), autoescape=True)
    examples = list(_examples(quarantine))
    path.write_text(environment.get_template("dataset.html").render(m=manifest, examples=examples), encoding="utf-8")


def _examples(quarantine: "pd.DataFrame", limit: int = 5) -> Iterator[dict[str, Any]]:
    for reason, rows in quarantine.groupby("reason"):
        yield {"reason": reason, "count": len(rows), "rows": rows.head(limit).to_dict("records")}
