"""What is said of a dataset version on which no model could ever be judged; who makes one imports no model for it."""

import logging
import math
from collections.abc import Collection, Iterator

from lifecycle.core.names import Side
from lifecycle.data.manifest import Manifest
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.settings import Settings
from lifecycle.settings.gate_rules import GateRules

logger = logging.getLogger(__name__)


def warn(config: Settings, manifest: Manifest) -> None:
    """Say so if the gate judges on a dataset version that has too few rows for it, whatever the model."""
    chosen, rules, name = config.gate_data, config.gate, f"{manifest.data_name} {manifest.data_version}"
    if f"{chosen.data_name or manifest.data_name} {chosen.data_version or manifest.data_version}" != name:
        return
    side = evaluation.judged_side(manifest)
    counts = manifest.counts.get(side, {})
    if lacking := [*_lacking(counts, manifest.classes, rules)]:
        share = max(sum(counts.values()), 1) / manifest.rows_split
        rows, of_a_class = (math.ceil(limit / share) for limit in (rules.min_rows, rules.min_rows_per_class))
        option = "--holdout-size" if side == Side.HOLDOUT else "--test-size"
        needed = f"{rows:,} rows" + (f", and {of_a_class:,} of each class" if manifest.classes else "")
        logger.warning(
            "No model can be judged in %s on %s: its %s has %s. At this size it takes %s: "
            "add rows, raise %s, or lower these limits",
            *(config.env, name, side, " and ".join(lacking), needed, option),
        )


def _lacking(counts: dict[str, int], classes: Collection[str], rules: GateRules) -> Iterator[str]:
    if (rows := sum(counts.values())) < rules.min_rows:
        yield f"{rows:,} rows (gate.min_rows={rules.min_rows})"
    rarest = min(counts, key=lambda label: counts[label], default=None)
    if classes and rarest is not None and counts[rarest] < rules.min_rows_per_class:
        yield f"{counts[rarest]:,} of class {rarest!r:.40} (gate.min_rows_per_class={rules.min_rows_per_class})"
