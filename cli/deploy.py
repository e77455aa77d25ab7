"""`mlops setup|deploy|trigger|backfill`: let a Prefect server run this project by itself, and start its runs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field

from cli import console, options, runner, show
from flows.request import Form
from lifecycle import settings
from lifecycle.core.errors import ConfigError, MlopsError
from lifecycle.core.names import Environment

DEV, PROD = Environment.DEV, Environment.PROD
Parameters = Annotated[
    list[str] | None,
    typer.Option("--param", help="NAME=VALUE of the flow; may be repeated. Empty: the deployment's own."),
]
Timeout = Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait for the end; it runs on after that.")]
GOES_ON = "A run that was started goes on: see Prefect's UI, where it can be cancelled too."
Only = Annotated[list[Environment] | None, typer.Option("--env", help="Only this environment; may be repeated.")]


def setup(as_json: options.Json = False) -> None:
    """Make what deployments need on the Prefect server: work pool, limits, notification blocks, automations.

    Everything is found by name, so the command can be repeated. Notifications go to the block that an environment's
    settings name (`alerts`); a webhook that is not there yet is made from the variable MLOPS_ALERTS_URL.

    Example: mlops setup
    """
    from cli.operations import connection

    environments = [settings.load(env) for env in Environment]
    connection.connect(environments[0].state)
    from cli.operations import setup as preparation

    items = preparation.apply(environments)
    if as_json:
        show.print_json(items)
    else:
        show.table(("what", "name", "outcome", ""), [(i.kind, i.name, i.outcome, i.detail) for i in items])


def deploy(only: Only = None, as_json: options.Json = False) -> None:
    """Apply prefect.yaml: every flow for every environment, with its form, limits and schedules. Can be repeated.

    A project without a prefect.yaml of its own gets these deployments for each model that it defines.

    Schedules are active where the environment's settings say so (`schedules: true`).

    Example: mlops deploy --env prod
    """
    from cli.operations import connection

    environments = [settings.load(env) for env in Environment]
    connection.connect(environments[0].state)
    from cli.operations import deployments

    found = deployments.deploy(environments, only or ())
    if as_json:
        show.print_json(found)
        return
    rows = [(d.name, d.work_pool, d.schedule, ("active" if d.active else "off") if d.schedule else "") for d in found]
    show.table(("deployment", "work pool", "schedule", "is"), rows)


def trigger(
    deployment: Annotated[str, typer.Argument(help="Such as train/dev; see: mlops deploy")],
    pairs: Parameters = None,
    timeout: Timeout = 7200,
    summary: Annotated[
        Path | None, typer.Option(help="Append what happened as Markdown; in GitHub Actions the job's summary.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Start a run of a deployment, show its log and wait for its end. Exit code 4 if the gate refused.

    A failed run ends with the exit code of its error, one that crashed or was cancelled with 6.

    Example: mlops trigger promote/prod --param model_name=sentiment --param reason="approved in review"
    """
    from cli.operations import connection

    given = os.environ.get("GITHUB_STEP_SUMMARY")
    path = summary or (Path(given) if given else None)
    _append(path, "")  # before anything is started
    with runner.progress(f"Running {deployment}", GOES_ON), _explained(path, deployment):
        connection.connect(settings.load(DEV).state)
        from cli.operations import runs

        with connection.client() as client:
            found = runs.deployment_of(client, deployment)
            run = runs.start(client, found, runs.parsed(found, pairs or []))
            ended = runs.follow(client, deployment, run.id, timeout)
            _append(path, runs.summary(client, ended))
    if as_json:
        show.print_json(ended)
    else:
        console.echo(
            f"{ended.deployment}: {ended.state}. {ended.message.removeprefix(f'{ended.state}: ') or ended.name}"
        )
        console.echo(ended.link)
    raise typer.Exit(ended.exit_code)


class BackfillRequest(Form):
    """Which days are filled, and by which deployment."""

    first_day: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First day.")]
    last_day: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day, included.")]
    flow: str = Field("batch-inference", description="A flow that takes a logical date.")
    env: options.Env = PROD
    model_name: str | None = Field(None, description="Model whose deployment it is; default the only one defined.")
    pairs: Parameters = None
    timeout: Timeout = 86_400
    dry_run: options.DryRun = False

    @property
    def parameters(self) -> list[str]:
        """What every run is given, as NAME=VALUE."""
        return [*(self.pairs or ()), *([f"model_name={self.model_name}"] if self.model_name else ())]


@options.of_request
def backfill(request: BackfillRequest, as_json: options.Json = False) -> None:
    """Fill the days for which nothing was published, each once; again fills what is still missing.

    Example: mlops backfill --flow batch-inference --from 2026-11-01 --to 2026-11-10 --dry-run
    """
    from cli.operations import backfill as filling
    from cli.operations import connection, project

    config = settings.load(request.env)
    days = filling.days(request.first_day.date(), request.last_day.date())
    name = project.deployment_name(request.flow, request.env, request.model_name)
    connection.connect(config.state)
    with runner.progress(f"Filling {request.flow} in {request.env} from {days[0]} to {days[-1]}", GOES_ON):
        done = filling.fill(
            config, name, days, request.parameters, dry_run=request.dry_run, deadline_seconds=request.timeout
        )
    if as_json:
        show.print_json(done)
    else:
        show.table(("day", "", "detail"), [(each.day, each.outcome, each.detail) for each in done])
    raise typer.Exit(max(each.exit_code for each in done))


@contextmanager
def _explained(path: Path | None, deployment: str) -> Iterator[None]:
    """Let the summary say as well why there is no result: a job that failed is looked at there first."""
    try:
        yield
    except MlopsError as error:
        _append(path, f"## {deployment}: no result\n\n{error}\n")
        raise


def _append(path: Path | None, text: str) -> None:
    try:
        if path:
            with path.open("a", encoding="utf-8") as file:
                file.write(text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"The summary cannot be written: {error}.", "Name another file: --summary FILE") from None
