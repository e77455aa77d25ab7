"""One pinned model + one table → published predictions."""

from pathlib import Path
from typing import Literal

from prefect import flow

from flows import monitor
from flows.flow_requests import InferenceRequest
from flows.parameters import PERSISTED, Outcome, flat, for_its_day, named
from lifecycle.data.manifest import LATEST
from lifecycle.inference import manifest as batches
from lifecycle.inference import tables
from lifecycle.inference.manifest import BatchRequest
from lifecycle.registry.store import target_of
from lifecycle.settings import Settings
from lifecycle.settings.rules import InferenceRules
from lifecycle.storage import files
from tasks import compute, data, inference, monitoring, probation, registry, reports
from tasks.outcomes import Batch

INPUTS = ".inputs"
"""Beside the predictions on a volume: tables of this machine that a remote step scores."""


def run(request: InferenceRequest) -> Outcome[Batch]:
    """Resolve the model once, pin the table, score it, look at what is published, and measure that."""
    request = for_its_day(request.completed())
    config = compute.settings_of(request.env, request.model)
    output_root = files.folder_of(request.output) if request.output else config.predictions
    target = target_of(config, request.model)
    model = registry.resolve(target, alias=request.alias, version=request.version, run_id=request.run_id)
    request.require_one_table()
    table = _table(config, request)
    planned = BatchRequest(
        model=model,
        input=data.brought(table.input, config.predictions / INPUTS, config.data),
        columns=table.columns,
        key_column=table.key_column,
        splits=table.splits,
        target=table.target,
        logical_date=request.logical_date,
        output_root=output_root,
        rules=config.data,
        inference=_rules(config, request.engine, request.table),
    )
    planned = monitoring.with_sample(inference.pinned(planned), config)
    folder, _ = inference.locate(planned)
    probation.before(planned, config, request.model)
    compute.run_step("infer", planned, config)
    batch = Batch(folder=str(folder), manifest=inference.load(folder))
    reports.show_batch(batch)
    monitor.after(planned, config, request.model)
    if instead := inference.instead(folder):  # its version was rolled back because of it
        batch = Batch(folder=instead, manifest=inference.load(Path(instead)))
    return Outcome(batch, f"{batch.manifest.scored:,} predictions by {batch.manifest.made_by} are in {batch.folder}")


@flow(name="batch-inference", flow_run_name=named("infer {model_name} in {env}", InferenceRequest), **PERSISTED)
@flat
def batch_inference(request: InferenceRequest) -> Outcome[Batch]:
    """Resolve a model once, score a table with exactly that version, and publish the predictions whole."""
    return run(request)


def _rules(config: Settings, engine: Literal["local", "spark"] | None, table: str | None) -> InferenceRules:
    """The environment's rules, with what the caller chose."""
    rules = config.inference
    table = table or rules.table
    return rules.model_copy(update={"engine": engine or rules.engine, "table": table and tables.absolute(table)})


def _table(config: Settings, request: InferenceRequest) -> batches.Table:
    """The table to score: that of the day, or a version of a dataset, whose manifest says what its columns are."""
    if not request.data_name:
        return batches.Table(request.source_of().absolute(), request.inputs, request.key_column)
    data_version = data.resolve(config.datasets, request.data_name, request.data_version or LATEST)
    manifest = data.load(config.datasets, request.data_name, data_version)
    return batches.of_version(config.datasets, manifest, request.key_column, request.split)
