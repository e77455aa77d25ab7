"""What the rows of a version hold: counts, classes, the range of a number, and what their inputs are like."""

import logging
from typing import TYPE_CHECKING, Any

from lifecycle.core.names import Side
from lifecycle.data.manifest import Manifest, departed
from lifecycle.problems.contract import Columns
from lifecycle.problems.tabular import learnt

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)


def described(rows: "pd.DataFrame", inputs: Columns) -> dict[str, Any]:
    """What a manifest says of the rows of a version."""
    values: dict[str, Any] = {"counts": counts_of(rows), "classes": ()}
    if "label" in rows:
        values["classes"] = tuple(sorted(rows["label"].unique()))
    elif rows["target"].dtype.kind in "fiu":
        ranges = rows.groupby("split")["target"].agg(["min", "max", "mean"])
        values["target_range"] = {str(split): of.to_dict() for split, of in ranges.iterrows()}
    if not all(column.is_text for column in inputs):
        values["learnt"] = learnt.learn(rows[rows["split"] == Side.TRAIN], inputs)
    return values


def departures(rows: "pd.DataFrame", inputs: Columns, parent: Manifest | None) -> dict[str, dict[str, int]]:
    """Warn of values that the parent's train does not hold: no reason to stop, and good to know."""
    unlike = learnt.departures(parent.learnt, rows, inputs) if parent else {}
    if parent and unlike:
        logger.warning("Unlike %s %s: %s", parent.data_name, parent.data_version, "; ".join(departed(unlike)))
    return unlike


def counts_of(rows: "pd.DataFrame") -> dict[str, dict[str, int]]:
    """Rows per side and class, or of all where there are no classes; a side without rows is left out."""
    counted = rows[[name for name in ("split", "label") if name in rows]]  # which is not to copy the others
    per_side = {str(side): counted[counted["split"] == side] for side in Side}
    if "label" not in rows:
        return {side: {"rows": len(of_side)} for side, of_side in per_side.items() if len(of_side)}
    counts = {side: of_side["label"].value_counts().sort_index() for side, of_side in per_side.items()}
    return {side: {str(label): int(n) for label, n in of.items()} for side, of in counts.items() if len(of)}
