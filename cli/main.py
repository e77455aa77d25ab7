"""The `mlops` command: its groups, its exit codes. Imports nothing heavy; each command imports what it needs."""

import sys
from typing import Annotated

import typer

from cli import (
    approve,
    console,
    data,
    databricks,
    databricks_deploy,
    deploy,
    ending,
    environment,
    gate,
    init,
    model,
    serving,
    steps,
    system,
    up,
)
from lifecycle.core import masking, writer_process
from mlops_lifecycle import start

app = typer.Typer(
    name="mlops",
    help="The whole life of a text model: data, training, gate, promotion, inference, rollback.",
    epilog="First steps: mlops demo. Exit codes: 0 ok, 1 bug, 2 usage, 3 bad data, 4 gate refused, 5 conflict, "
    "6 transient failure, 7 integrity.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data.app, name="data")
app.add_typer(model.app, name="model")
app.add_typer(gate.app, name="gate")
databricks.app.command()(databricks_deploy.deploy)
app.add_typer(databricks.app, name="databricks")
app.add_typer(system.config, name="config")
init.add_to(app)
steps.add_to(app)
approve.add_to(app)
up.add_to(app)
serving.add_to(app)
deploy.add_to(app)
system.add_to(app)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        console.echo(f"mlops {version('mlops-lifecycle')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command in this process."""
    masking.guard()
    environment.spare_loopback()
    with console.streams(), writer_process.temporary_folder():
        code = ending.of(app)
    sys.exit(code)


if __name__ == "__main__":
    start.main()
