"""How an artifact of Prefect's UI is named and written."""

import re

from prefect.artifacts import create_markdown_artifact

from lifecycle.core.class_names import as_markdown

SHOWN = 20
"""Classes in a line of an artifact."""


def markdown(name: str, text: str, description: str) -> None:
    """Keep a text with the run, under a key made of a name."""
    create_markdown_artifact(markdown=text, key=key(name), description=description)


def key(text: str) -> str:
    """Artifact keys hold lower-case letters, digits and dashes only."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def counted(counts: dict[str, int]) -> str:
    """Counts by name, the largest first where there are too many to read."""
    shown = counts if len(counts) <= SHOWN else dict(sorted(counts.items(), key=lambda pair: -pair[1])[:SHOWN])
    more = f" and {len(counts) - len(shown)} more" if len(counts) > len(shown) else ""
    return ", ".join(f"{as_markdown(name)} {count:,}" for name, count in shown.items()) + more
