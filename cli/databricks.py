"""`mlops databricks …`: runs on Databricks by hand, and order among them."""

from pathlib import Path
from typing import Annotated

import typer

from cli import console, databricks_deploy, options, runner, show
from lifecycle import settings
from lifecycle.core.errors import ConfigError
from lifecycle.core.names import Environment, StepName

app = typer.Typer(help="Databricks: jobs, one-time runs, single steps, runs of killed flows.", no_args_is_help=True)

app.command()(databricks_deploy.deploy)

DEV, PROD = Environment.DEV, Environment.PROD


@app.command()
def submit(
    file: Annotated[
        Path,
        typer.Option(
            "--json",
            exists=True,
            dir_okay=False,
            help="Payload of runs/submit, as Databricks takes it, or of run-now with a job_id.",
        ),
    ],
    env: options.Env = DEV,
    verbose: options.Verbose = False,
) -> None:
    """Run a one-time run just as its JSON says, follow it to its end, and print what it was as JSON.

    `results` in it are what the notebooks exited with, by their tasks, such as the run id of a training. A number, a
    boolean or null among the parameters is sent as text. The run is cancelled if this command ends before it. A
    notebook, a file or a wheel that fails ends with the exit code of its error.

    Example: mlops databricks submit --json examples/databricks/run_train_model.json
    """
    config, parameters = settings.load(env), {"file": file.absolute(), "env": env}
    done = runner.run_flow("submit", parameters, home=config.state, title=f"Running {file.name}", verbose=verbose)
    show.print_json(done)


@app.command()
def run(
    step: Annotated[StepName, typer.Argument(help="The heavy step.")],
    request: Annotated[str, typer.Option(help="Its request as JSON, or @ and the path of a file that holds it.")],
    env: options.Env = DEV,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Run one heavy step alone, where the settings say, from the JSON of its request.

    Example: mlops databricks run train --request @request.json
    """
    config, parameters = settings.load(env), {"step": step, "request": _text(request), "env": env}
    runner.run_flow("run_step", parameters, home=config.state, title=f"Running {step} in {env}", verbose=verbose)
    if as_json:
        show.print_json({"step": step, "env": env})
    else:
        console.echo(f"{step} is done in {env}.")


@app.command()
def reconcile(
    env: options.Env = PROD,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Cancel the runs on Databricks that nobody waits for; a flow that was killed could not do so itself.

    Nobody does where the flow run has ended, or its process was killed on this machine. A run whose flow run goes on,
    or is to be run again, is left: that comes back to it.

    Example: mlops databricks reconcile --env prod
    """
    config, parameters = settings.load(env), {"env": env, "dry_run": dry_run}
    title = f"Looking for runs of {env} without a flow run"
    found = runner.run_flow("reconcile", parameters, home=config.state, title=title, verbose=verbose)
    if as_json:
        show.print_json(found)
        return
    rows = [(each.run_id, each.name, each.flow_run_id, each.flow_state, each.outcome) for each in found]
    show.table(("run", "name", "flow run", "is", "outcome"), rows)


def _text(given: str) -> str:
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The request cannot be read: {error}.", "Name a file: --request @request.json") from None
