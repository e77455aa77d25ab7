"""Commands about the installation: `mlops doctor`, `mlops config show|schema`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import console, options, runner, show
from lifecycle import settings
from lifecycle.core.errors import MlopsError
from lifecycle.core.names import Environment
from lifecycle.settings import Settings, definitions, files
from lifecycle.settings.definitions import ModelDefinition

if TYPE_CHECKING:
    from lifecycle.doctor import Finding

config = typer.Typer(help="Effective settings.", no_args_is_help=True)

DEV = Environment.DEV


def doctor(
    repair: Annotated[bool, typer.Option("--repair", help="Repair what can be repaired without a decision.")] = False,
    as_json: options.Json = False,
) -> None:
    """Check state, registry, data and schedules for inconsistencies. Exit code 7 if one remains.

    Example: mlops doctor --repair
    """
    from lifecycle import doctor as examination  # needs pandas, which `config` does not

    runner.require_state(settings.load(DEV))
    runner.quiet()
    findings = examination.examine([settings.load(env) for env in Environment], repair=repair)
    findings += _schedules(settings.load(DEV).state) if runner.has_prefect() else ()
    if as_json:
        show.print_json(findings)
    else:
        mark = {"ok": "ok", "problem": "PROBLEM", "repaired": "repaired"}
        show.table(("", "what", "finding"), [(mark[f.state], f.what, f.message) for f in findings])
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(7)


def _schedules(home: Path) -> Iterator["Finding"]:
    """Whether the server that commands use starts what is scheduled."""
    from cli.operations import scheduler
    from lifecycle.doctor.finding import ok, problem

    try:
        if address := scheduler.check(home):
            yield ok("schedules", f"{address} has a run to come for each that is active.")
    except MlopsError as error:
        yield problem("schedules", str(error))


@config.command("show")
def show_(
    env: options.Env = DEV,
    model_name: Annotated[
        str | None, typer.Option("--model-name", help="Show them as they are for this model.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Show every setting of an environment, its value and where it comes from, and which models are defined.

    Example: mlops config show --env prod --model-name bikes
    """
    values = settings.origins(env, model_name)
    values["definitions"] = (list(definitions.names()), "config/models")
    if as_json:
        show.print_json({key: {"value": value, "origin": origin} for key, (value, origin) in values.items()})
    else:
        show.table(("setting", "value", "from"), [(key, value, origin) for key, (value, origin) in values.items()])
        read = sorted({origin.partition(",")[0] for _, origin in values.values() if origin.endswith(".yaml")})
        for name in read:
            console.echo(f"{name} is {files.located(name.removeprefix('config/'))}")
        for sentence in (*files.unread(), *definitions.unmatched()):
            console.echo(sentence)


@config.command()
def schema(
    model: Annotated[
        bool, typer.Option("--model", help="Of the definition of a model: config/models/NAME.yaml.")
    ] = False,
) -> None:
    """Print the JSON schema of the settings, for editors and checks."""
    show.print_json((ModelDefinition if model else Settings).model_json_schema())
