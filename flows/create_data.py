"""Raw table → immutable dataset version."""

from prefect import State, flow
from prefect.states import Completed

from lifecycle.core.names import Environment
from lifecycle.core.parameters import Columns, Delimiter, Flag, Format, Fraction, Location, Name
from lifecycle.data.manifest import Manifest
from lifecycle.data.source import Source
from tasks import compute, data, gate, reports


@flow(
    name="create-data", flow_run_name="create {data_name} {data_version}", persist_result=True, result_serializer="json"
)
def create_data(
    data_name: Name,
    data_version: Name,
    source: Location,
    text_column: str = "text",
    label_column: str = "label",
    test_size: Fraction = 0.2,
    holdout: Flag = True,
    holdout_size: Fraction = 0.2,
    stratify: Columns | None = None,
    group_column: str | None = None,
    time_column: str | None = None,
    parent: Name | None = None,
    source_format: Format | None = None,
    encoding: str = "utf-8",
    delimiter: Delimiter = ",",
    sha256: str | None = None,
    env: Environment = Environment.DEV,
) -> State[Manifest]:
    """Read a table strictly, validate it, set bad rows aside, and split it into a new dataset version.

    Args:
        data_name: Name of the dataset.
        data_version: Name of the version; it never changes once made.
        source: Path or URL of the table, or catalog.schema.table.
        text_column: Column of the texts.
        label_column: Column of the labels.
        test_size: Fraction of the whole.
        holdout: Whether to keep a holdout for the gate.
        holdout_size: Fraction of the whole.
        stratify: Columns that every side keeps in proportion; default the label.
        group_column: Column of which no value is on two sides.
        time_column: Column by which the newest rows are held out: ISO dates or numbers.
        parent: Version whose sides are kept; default the latest.
        source_format: Default: by the suffix; delta for a Delta table at a path or URL.
        encoding: Of CSV and JSON Lines.
        delimiter: Of CSV: one character, or tab.
        sha256: Expected digest of the file.
        env: Environment whose settings and data root are used.
    """
    config = compute.settings_of(env)
    table = Source(uri=source, format=source_format, encoding=encoding, delimiter=delimiter, sha256=sha256)
    request = data.plan(
        config,
        table,
        data_name=data_name,
        data_version=data_version,
        text_column=text_column,
        label_column=label_column,
        test_size=test_size,
        holdout=holdout,
        holdout_size=holdout_size,
        stratify=stratify,
        group_column=group_column,
        time_column=time_column,
        parent=parent,
    )
    compute.run_step("create-data", request, config)
    manifest = data.load(config.datasets, data_name, data_version)
    gate.warn_of_too_few(config, manifest)
    reports.show_dataset(manifest, str(request.folder))
    return Completed(message=f"Dataset {data_name} {data_version}: {manifest.rows_split:,} rows", data=manifest)
