"""`mlops data …`: dataset versions."""

from typing import Annotated, Any

import typer

from cli import console, data_erase, options, runner, show
from lifecycle.core.names import Environment

app = typer.Typer(help="Dataset versions: create, list, show, validate; erase rows.", no_args_is_help=True)
app.command()(data_erase.erase)

DEV = Environment.DEV
DATA_PARAMETERS = (
    "data_name",
    "data_version",
    "text_column",
    "label_column",
    "test_size",
    "holdout",
    "holdout_size",
    "stratify",
    "group_column",
    "time_column",
    "parent",
)


def check_source(config: Any, parameters: dict[str, Any]) -> None:
    """Read the whole source before anything is started or written: a malformed table ends here, in a second."""
    from lifecycle.data import dataset
    from lifecycle.data.source import Source
    from lifecycle.settings.load import checked

    source = checked(
        Source,
        uri=parameters["source"],
        format=parameters.get("source_format"),
        encoding=parameters.get("encoding", "utf-8"),
        delimiter=parameters.get("delimiter", ","),
        sha256=parameters.get("sha256"),
    )
    request = dataset.state(
        config, source, **{name: parameters[name] for name in DATA_PARAMETERS if name in parameters}
    )
    if not (source.is_in_catalog and config.platform == "databricks"):  # the job reads it, and says what is wrong
        dataset.check_source(request)


@app.command()
def create(
    context: typer.Context,
    data_name: options.DataName,
    data_version: options.DataVersion,
    source: options.SourceFile,
    text_column: options.TextColumn = "text",
    label_column: options.LabelColumn = "label",
    test_size: options.TestSize = 0.2,
    holdout: options.Holdout = True,
    holdout_size: options.HoldoutSize = 0.2,
    stratify: options.Stratify = None,
    group_column: options.GroupColumn = None,
    time_column: options.TimeColumn = None,
    parent: Annotated[str | None, typer.Option(help="Version whose sides are kept; default the latest.")] = None,
    source_format: options.Format = None,
    encoding: options.Encoding = "utf-8",
    delimiter: options.Delimiter = ",",
    sha256: Annotated[str | None, typer.Option(help="Expected digest of the file.")] = None,
    env: options.Env = DEV,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Make an immutable dataset version from a table. The same command again changes nothing.

    Example: mlops data create --data-name fsa --data-version 1.0.0 --source news.csv --text-column Sentence
    --label-column Sentiment --stratify "['Sentiment']"
    """
    from lifecycle.data import piped
    from lifecycle.settings import load as settings

    config = settings.load(env)
    title = f"Creating dataset {data_name} {data_version}"
    with piped.kept(source, config.state) as path:
        parameters = options.parameters(context) | {"source": path}
        check_source(config, parameters)
        manifest = runner.run_flow("create_data", parameters, home=config.state, title=title, verbose=verbose)
    folder = str(config.datasets / data_name / data_version)
    show.print_json(manifest) if as_json else show.dataset(manifest, folder)


@app.command("list")
def list_(env: options.Env = DEV, as_json: options.Json = False) -> None:
    """List all dataset versions."""
    from lifecycle.data import dataset
    from lifecycle.settings import load as settings

    found = dataset.versions(settings.load(env).datasets)
    if as_json:
        show.print_json(found)
        return
    rows = [
        (
            m.data_name,
            m.data_version,
            f"{m.rows_split:,}",
            f"{m.rows_quarantined:,}",
            len(m.classes),
            m.parent,
            m.digest[:12],
        )
        for m in found
    ]
    show.table(("dataset", "version", "rows", "quarantined", "classes", "parent", "digest"), rows)


@app.command("show")
def show_(
    data_name: options.DataName,
    data_version: options.DataVersion,
    env: options.Env = DEV,
    as_json: options.Json = False,
) -> None:
    """Show a dataset version: rows per side and class, and quarantine by reason."""
    from lifecycle.data import dataset
    from lifecycle.settings import load as settings

    root = settings.load(env).datasets
    manifest = dataset.load(root, data_name, data_version)
    show.print_json(manifest) if as_json else show.dataset(manifest, str(root / data_name / data_version))


@app.command()
def validate(
    data_name: options.DataName,
    data_version: options.DataVersion,
    env: options.Env = DEV,
    as_json: options.Json = False,
) -> None:
    """Check a stored version: digests, counts, unique texts, one side per text. Exit code 7 if something differs."""
    from lifecycle.data import dataset
    from lifecycle.settings import load as settings

    manifest = dataset.verify(settings.load(env).datasets, data_name, data_version)
    if as_json:
        show.print_json(
            {"data_name": data_name, "data_version": data_version, "valid": True, "digest": manifest.digest}
        )
    else:
        console.echo(
            f"Dataset {data_name} {data_version} is what was published: {manifest.rows_in:,} rows, {manifest.digest}"
        )
