"""A class may be called anything: how its name is written where not every text may stand.

`canonical`     the form in which two labels are the same class, and `canonicals` that of a column
`as_metric`     in the name of a metric, and `from_metric` back; no two classes share a name there
`as_plotted`    in a plot
`as_markdown`   in markdown, and so for any other text
`difference`    which classes are new and which are gone, in words
`nearest`       the class that a name may have been meant to be
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

METRIC_LENGTH = 200
"""What MLflow holds in the name of a metric, 250, without what stands before the class."""
ENCODED = r"_x[0-9A-F]{4,}_"
"""How a letter that may not stand is written, by its code, as in Office Open XML; a digest has sixteen digits."""
NOT_IN_A_METRIC = re.compile(
    rf"""[^\w\ .:/-]            # what MLflow refuses
    | ^\ | \ $                  # blanks that nobody sees
    | /(?=[/.]|$) | (?<=\ )\    # what would be another path when shortened, and runs of blanks
    | _(?={ENCODED[1:]})        # what looks as if it was written so""",
    re.VERBOSE,
)
MARKUP = re.compile(r"[\\|`*<>$]|^#|(?<=\])[(\[]|(?<!\w)_|_(?!\w)")
"""What would not be shown as it stands: a `#` at the start, the brackets of a link, but not those of an interval.

`<` could begin a tag.
"""
PLOTTED = 30
NAMED = 5


def canonical(label: str) -> str:
    """One label in two Unicode normal forms, or with blanks around it, is one class."""
    return unicodedata.normalize("NFC", label.strip())


def canonicals(labels: "pd.Series[str]") -> "pd.Series[str]":
    """The form of each label of a column, made once for those that are alike; what is missing stays so."""
    return labels.map({label: canonical(label) for label in labels.dropna().unique()}).astype(labels.dtype)


def as_metric(label: str) -> str:
    """A label as part of a metric's name: as it is if it is plain, else with `_x002B_` in place of a `+`.

    One that is too long is cut and ends in its digest; `from_metric` cannot bring it back.
    """
    encoded = NOT_IN_A_METRIC.sub(lambda found: f"_x{ord(found[0]):04X}_", label)
    if len(encoded) <= METRIC_LENGTH:
        return encoded
    return f"{encoded[: METRIC_LENGTH - 19]}_x{hashlib.sha256(label.encode()).hexdigest()[:16].upper()}_"


def from_metric(name: str) -> str:
    """The label that `as_metric` has written.

    Raises:
        ValueError: It was too long to be written whole.
    """
    try:
        return re.sub(ENCODED, lambda found: chr(int(found[0][2:-1], 16)), name)
    except (ValueError, OverflowError):
        raise ValueError(f"{name!r} is the digest of a longer label") from None


def as_plotted(label: str) -> str:
    """A label on one line of a plot, without what matplotlib takes for a formula or leaves out of a legend."""
    line = " ".join(label.split())
    short = line if len(line) <= PLOTTED else f"{line[: PLOTTED - 1]}…"
    return re.sub(r"^_", " _", short.replace("$", r"\$"))


def as_markdown(text: str) -> str:
    """A text that stays on its line and in its cell and is no markup, whoever wrote it."""
    line = re.sub(r"\s+", " ", text)
    return MARKUP.sub(lambda found: "&lt;" if found[0] == "<" else f"\\{found[0]}", line)


def difference(before: Iterable[str], after: Iterable[str]) -> str:
    """Which classes are new and which are gone; empty if none."""
    old, new = set(before), set(after)
    parts = [f"{word} {_some(names)}" for word, names in (("new", new - old), ("gone", old - new)) if names]
    if old and new and not old & new:
        parts.append("none stays the same")
    return "; ".join(parts)


def nearest(label: str, classes: Iterable[str]) -> str | None:
    """The class whose name is most like a label, whatever their case; None if none is much like it."""
    folded = {name.casefold(): name for name in sorted(classes, reverse=True)}
    found = get_close_matches(label.casefold(), folded, n=1)
    return folded[found[0]] if found else None


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - NAMED} more" if len(ordered) > NAMED else ""
    return ", ".join(f"{name!r:.40}" for name in ordered[:NAMED]) + more
