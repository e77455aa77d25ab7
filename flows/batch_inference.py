"""One pinned model + one table → published predictions."""

from datetime import date, datetime
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from prefect import State, flow, runtime
from prefect.states import Completed

from lifecycle.core.errors import ConfigError
from lifecycle.core.names import Environment
from lifecycle.core.parameters import Delimiter, Format, Location, Name, VersionNumber
from lifecycle.data.source import Source
from lifecycle.inference import manifest as batches
from lifecycle.inference import tables
from lifecycle.inference.manifest import BatchRequest
from lifecycle.registry.store import target_of
from lifecycle.settings.load import Settings
from lifecycle.settings.rules import InferenceRules
from lifecycle.storage import files
from tasks import compute, data, inference, registry, reports
from tasks.outcomes import Batch

PLACEHOLDER = "{logical_date}"
INPUTS = ".inputs"
"""Beside the predictions on a volume: tables of this machine that a remote step scores."""


@flow(
    name="batch-inference", flow_run_name="infer {model_name} in {env}", persist_result=True, result_serializer="json"
)
def batch_inference(
    model_name: Name,
    env: Environment = Environment.PROD,
    alias: str | None = None,
    version: VersionNumber | None = None,
    run_id: str | None = None,
    input: Location | None = None,
    data_name: Name | None = None,
    data_version: Name | None = None,
    text_column: str = "text",
    key_column: str | None = None,
    source_format: Format | None = None,
    encoding: str = "utf-8",
    delimiter: Delimiter = ",",
    output: Location | None = None,
    engine: Literal["local", "spark"] | None = None,
    table: Location | None = None,
    logical_date: date | None = None,
    time_zone: str | None = None,
) -> State[Batch]:
    """Resolve a model once, score a table with exactly that version, and publish the predictions whole.

    Args:
        model_name: Name of the model, without environment.
        env: Environment of the model.
        alias: Default champion, read from the promotion log.
        version: Version number, instead of an alias.
        run_id: Training run, instead of a registered version.
        input: Path or URL of the table to score, or catalog.schema.table.
        data_name: Dataset to score, instead of a table.
        data_version: Its version.
        text_column: Column of the texts, of a table.
        key_column: Column that identifies a row to the reader; default its number, of a dataset its key.
        source_format: Default: by the suffix; delta for a Delta table at a path or URL.
        encoding: Of CSV and JSON Lines.
        delimiter: Of CSV: one character, or tab.
        output: Folder of predictions; default the environment's.
        engine: What scores: the cores of this machine, or Spark; default the environment's.
        table: Delta table that gets the predictions too: a path, a URL, or catalog.schema.table.
        logical_date: Day that the batch is for; `{logical_date}` in the input stands for it.
        time_zone: Without a logical date, the day is that of the scheduled start in this zone; without both, none.
    """
    config = compute.settings_of(env)
    output_root = files.folder_of(output) if output else config.predictions
    model = registry.resolve(target_of(config, model_name), alias=alias, version=version, run_id=run_id)
    day = logical_date or _scheduled_day(time_zone)
    if input is not None and data_name is None and data_version is None:
        uri = _dated(input, day)
        source = Source(uri=uri, format=source_format, encoding=encoding, delimiter=delimiter).absolute()
        columns = {text_column: "text"}
    elif input is None and data_name is not None and data_version is not None:
        found = data.load(config.datasets, data_name, data.resolve(config.datasets, data_name, data_version))
        source, columns, key_column = batches.of_version(config.datasets, found, key_column)
    else:
        raise ConfigError("Give either an input table or a dataset name and version.", "See: mlops infer --help")
    request = BatchRequest(
        model=model,
        input=data.brought(source, config.predictions / INPUTS, config.data),
        columns=columns,
        key_column=key_column,
        logical_date=day,
        output_root=output_root,
        rules=config.data,
        inference=_rules(config, engine, table),
    )
    request = inference.pinned(request)
    folder, _ = inference.locate(request)
    compute.run_step("infer", request, config)
    batch = Batch(folder=str(folder), manifest=inference.load(folder))
    reports.show_batch(batch)
    message = f"{batch.manifest.scored:,} predictions by {model.label} are in {batch.folder}"
    return Completed(message=message, data=batch)


def _rules(config: Settings, engine: Literal["local", "spark"] | None, table: str | None) -> InferenceRules:
    """The environment's rules, with what the caller chose."""
    rules = config.inference
    table = table or rules.table
    return rules.model_copy(update={"engine": engine or rules.engine, "table": table and tables.absolute(table)})


def _scheduled_day(time_zone: str | None) -> date | None:
    """The day for which this run was scheduled, however late it starts."""
    if time_zone is None:
        return None
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"{time_zone!r} is not a time zone.", "For example: Europe/Helsinki") from None
    scheduled: datetime = runtime.flow_run.scheduled_start_time
    return scheduled.astimezone(zone).date()


def _dated(input: str, day: date | None) -> str:
    """The input, with the day in place of `{logical_date}`."""
    if PLACEHOLDER in input and day is None:
        raise ConfigError(f"The input {input} needs a day.", "Give a logical date: --logical-date 2026-11-21")
    return input.replace(PLACEHOLDER, str(day))
