"""`mlops data …`: dataset versions."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cli import console, data_erase, options, runner, show
from flows.flow_requests import DatasetRequest, TableRequest
from flows.request import required
from lifecycle import settings
from lifecycle.core.errors import ConfigError, ConflictError
from lifecycle.core.names import Environment
from lifecycle.data import dataset, piped
from lifecycle.data.manifest import CreateDataRequest, Manifest
from lifecycle.settings import Settings
from lifecycle.storage.files import publish_file

app = typer.Typer(help="Dataset versions: create, list, show, validate; erase rows.", no_args_is_help=True)
app.command()(data_erase.erase)

DEV = Environment.DEV
SAMPLE = Path(__file__).parents[1] / "examples" / "financial_news.csv"
"""The bundled table, beside our packages."""


def check_source(config: Settings, request: TableRequest) -> CreateDataRequest:
    """Read the whole source before anything is started or written: a malformed table ends here, in a second."""
    planned = dataset.state(config, request.source_of(), **request.arguments)
    if not (
        planned.source.is_in_catalog and config.platform == "databricks"
    ):  # the job reads it, and says what is wrong
        dataset.check_source(planned)
    return planned


@app.command()
@options.of_request
def create(request: DatasetRequest, as_json: options.Json = False, verbose: options.Verbose = False) -> None:
    """Make an immutable dataset version from a table. The same command again changes nothing.

    Example: mlops data create --data-name fsa --data-version 1.0.0 --source news.csv --text-column Sentence
    --label-column Sentiment --stratify "['Sentiment']"
    """
    request = request.completed()
    config = settings.load(request.env, model_name=request.model_name)
    with piped.kept(required(request.source, "--source"), config.state) as path:
        request = request.model_copy(update={"source": path}).versioned(config)
        check_source(config, request)
        title = f"Creating dataset {request.data_name} {request.data_version}"
        manifest = runner.run_flow("create_data", request.parameters, home=config.state, title=title, verbose=verbose)
    folder = str(config.datasets / manifest.data_name / manifest.data_version)
    show.print_json(manifest) if as_json else show.dataset(manifest, folder)


@app.command()
def sample(
    file: Annotated[Path, typer.Argument(help="Where to write it.")] = Path(SAMPLE.name), as_json: options.Json = False
) -> None:
    """Write the bundled table of financial news, to try things with. A file of other content is left alone.

    Example: mlops data sample news.csv
    """
    content = SAMPLE.read_bytes()
    if not file.parent.is_dir():
        raise ConfigError(f"There is no folder {file.parent}.", f"Make it first: mkdir -p {file.parent}")
    if not file.exists():
        with publish_file(file) as path:
            path.write_bytes(content)
    elif not file.is_file() or file.read_bytes() != content:
        raise ConflictError(f"{file} is there already, and is not the sample.", "Name another file.")
    facts = {"file": str(file), "rows": content.count(b"\n") - 1, "next": f"mlops init {file}"}
    show.print_json(facts) if as_json else console.echo(f"{file} has {facts['rows']:,} rows. Next: {facts['next']}")


@app.command("list")
def list_(env: options.Env = DEV, as_json: options.Json = False) -> None:
    """List all dataset versions. Exit code 7 if there is one that cannot be read, after those that can."""
    found, damaged = dataset.readable(settings.load(env).datasets)
    show.print_json(found) if as_json else _list(found)
    for error in damaged[:-1]:
        sys.stderr.write(f"Error: {error}\n")
    if damaged:
        raise damaged[-1]


def _list(found: Sequence[Manifest]) -> None:
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
    """Show a dataset version: rows per split and class, and quarantine by reason."""
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
    """Check a stored version: digests, counts, unique texts, one split per text. Exit code 7 if something differs."""
    manifest = dataset.verify(settings.load(env).datasets, data_name, data_version)
    if as_json:
        show.print_json(
            {"data_name": data_name, "data_version": data_version, "valid": True, "digest": manifest.digest}
        )
    else:
        console.echo(
            f"Dataset {data_name} {data_version} is what was published: {manifest.rows_in:,} rows, {manifest.digest}"
        )
