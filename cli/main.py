"""The `mlops` command: its groups, its exit codes. A command's module is imported when it is called."""

import sys
from collections.abc import Mapping
from importlib.metadata import version as version_of
from typing import Annotated, ClassVar

import typer

from cli import console, ending, environment
from cli.lazy import LazyGroup, Place
from lifecycle.core import masking, writer_process
from mlops_lifecycle import start


class Root(LazyGroup):
    """Every command and group of the top level."""

    places: ClassVar[Mapping[str, Place]] = {
        "demo": Place(
            "cli.steps", "demo", "Take the bundled sample all the way, in a fresh state directory of its own."
        ),
        "init": Place(
            "cli.init",
            "init",
            "Look at a table, propose what a model of it is, and write that to config/models/NAME.yaml after a yes.",
        ),
        "release": Place(
            "cli.steps", "release", "Take a table all the way: dataset, training, dev, staging, prod, predictions."
        ),
        "train": Place("cli.steps", "train", "Train a challenger; if the gate accepts it, register and promote it."),
        "tune": Place(
            "cli.tune", "tune", "Search the parameters of an algorithm by cross-validation on the train split."
        ),
        "promote": Place(
            "cli.steps", "promote", "Judge a model of one environment on the next one's data and promote it."
        ),
        "rollback": Place("cli.steps", "rollback", "Give the champion alias back to an earlier champion."),
        "runs": Place(
            "cli.runs", "runs", "List the trainings of a model, the best first: parameters, metrics, verdicts."
        ),
        "compare": Place(
            "cli.compare", "compare", "Set two models side by side on the same rows: metrics, slices, rows that change."
        ),
        "history": Place("cli.champions", "history", "Tell who was champion when, why, and by whom."),
        "infer": Place(
            "cli.steps",
            "infer",
            "Score a table with one pinned model and publish the predictions, whole or not at all.",
        ),
        "approve": Place(
            "cli.approve", "approve", "Answer a promotion that waits for a person, or list those that do."
        ),
        "up": Place(
            "cli.up",
            "up",
            "Bring up Prefect's server, MLflow's UI and a worker with the deployments; Ctrl-C stops them.",
        ),
        "down": Place("cli.up", "down", "Stop what `mlops up` runs, and what is left of one that was killed."),
        "status": Place(
            "cli.up", "status", "Tell what is up, where, whether it answers, and whether schedules make runs."
        ),
        "serve": Place(
            "cli.serving",
            "serve",
            "Serve a verified model with MLflow's scoring server, on this machine only, until Ctrl-C.",
        ),
        "setup": Place(
            "cli.deploy",
            "setup",
            "Make what deployments need on the Prefect server: work pool, limits, notification blocks, automations.",
        ),
        "deploy": Place(
            "cli.deploy",
            "deploy",
            "Apply prefect.yaml: every flow for every environment, with its form, limits and schedules.",
        ),
        "trigger": Place("cli.deploy", "trigger", "Start a run of a deployment, show its log and wait for its end."),
        "backfill": Place(
            "cli.deploy",
            "backfill",
            "Fill the days for which nothing was published, each once; again fills what is still missing.",
        ),
        "doctor": Place("cli.system", "doctor", "Check state, registry, data and schedules for inconsistencies."),
        "data": Place("cli.data", "app", "Dataset versions: create, list, show, validate; erase rows."),
        "model": Place("cli.model", "app", "The registry: register, find, describe, alias, delete, clean up, migrate."),
        "gate": Place("cli.gate", "app", "The gate: judge, explain, prove that it refuses."),
        "monitor": Place("cli.monitor", "app", "Production: drift, performance, alerts, labels that come later."),
        "databricks": Place(
            "cli.databricks", "app", "Databricks: jobs, one-time runs, single steps, runs of killed flows."
        ),
        "config": Place("cli.system", "config", "Effective settings."),
    }


app = typer.Typer(
    name="mlops",
    cls=Root,
    help="The whole life of a model: data, training, gate, promotion, inference, rollback.",
    epilog="First steps: mlops demo. Exit codes: 0 ok, 1 bug, 2 usage, 3 bad data, 4 gate refused, 5 conflict, "
    "6 transient failure, 7 integrity, 8 alert.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        console.echo(f"mlops {version_of('mlops-lifecycle')}")
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
