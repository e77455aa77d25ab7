"""All that is done about a published batch: measure it once, keep that, and see what is an alert now."""

import logging
from pathlib import Path

from lifecycle.core.errors import NotFoundError
from lifecycle.core.frozen import Frozen
from lifecycle.core.references import ModelRef, options_of
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.evaluation.baseline import Baseline, load
from lifecycle.inference import manifest as batches
from lifecycle.inference.manifest import BatchRequest
from lifecycle.monitoring import store
from lifecycle.monitoring.findings import Alert
from lifecycle.monitoring.measure import Published, measured, of_batch
from lifecycle.settings.gate_rules import GateRules
from lifecycle.settings.rules import MonitoringRules
from lifecycle.storage import volumes
from lifecycle.tracking import runs

logger = logging.getLogger(__name__)


class Watch(Frozen):
    """What is measured, by which rules, and where that lies."""

    batch: BatchRequest
    rules: MonitoringRules
    root: Path
    data_root: Path
    gate: GateRules = GateRules()


def watch(request: Watch) -> tuple[Alert, ...]:
    """Measure a published batch unless that is done; the open alerts of its model that nobody was told of.

    Raises:
        NotFoundError: Its version has no baseline, and none can be made.
    """
    try:
        return _watched(request)
    finally:
        if request.batch.sample:  # inputs are somebody's: they stay no longer than they are needed
            volumes.remove(request.batch.sample)


def _watched(request: Watch) -> tuple[Alert, ...]:
    batch, rules = request.batch, request.rules
    folder, _ = batches.locate(batch)
    published = Published(batch, folder, batches.load(folder))
    version, name = batch.model.version, batch.model.name
    if version is None or name is None:
        return ()
    if not volumes.exists(store.place(request.root, name, "drift", version, folder.name)):
        baseline = baseline_of(batch.model, request.data_root)
        if batch.splits or batch.input_sha256 == baseline.source_sha256:
            logger.info("Not measured: %s is what %s was made of", batch.input.name, batch.model.label)
            return ()
        found = measured(of_batch(published, baseline), baseline, rules, request.gate)
        store.keep(request.root, "drift", found)
        logger.info("Measured %s: %s", folder.name, found.told)
    return tuple(store.untold(request.root, name, rules))


def sample_of(batch: BatchRequest, root: Path) -> Path:
    """Where some inputs of a batch are kept until it is measured."""
    folder, _ = batches.locate(batch)
    return root / f"{batch.model.name}" / "inputs" / f"v{batch.model.version}-{folder.name}.json"


def next_command(alert: Alert) -> str:
    """What to do first about an alert."""
    return f"mlops monitor show {options_of(alert.model)}"


def baseline_of(model: ModelRef, data_root: Path, *, complete: bool = False) -> Baseline:
    """The baseline of a version; one that has none gets that of the dataset which it was trained on.

    Args:
        model: The version.
        data_root: Where datasets lie.
        complete: Whether one that does not tell how to estimate performance, as of an earlier release, is made anew.

    Raises:
        NotFoundError: It has none, and was not judged on rows that are there.
    """
    found = load(model)
    if found and (found.learnt or not complete):
        return found
    tags = runs.tags(model.tracking_uri, model.run_id)
    name, data_version = tags.get("mlops.data_name", ""), tags.get("mlops.data_version", "")
    try:
        return evaluation.later_baseline(evaluation.request_for(model, data_root, name, data_version))
    except NotFoundError:
        if found is None:
            raise
        return found
