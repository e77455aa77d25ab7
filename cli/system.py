"""Commands about the installation: `mlops doctor`, `mlops config show|schema`."""

from typing import Annotated

import typer

from cli import options, runner, show
from lifecycle.core.names import Environment
from lifecycle.settings import definitions
from lifecycle.settings import load as settings
from lifecycle.settings.definitions import ModelDefinition
from lifecycle.settings.load import Settings

config = typer.Typer(help="Effective settings.", no_args_is_help=True)

DEV = Environment.DEV


def doctor(
    repair: Annotated[bool, typer.Option("--repair", help="Repair what can be repaired without a decision.")] = False,
    as_json: options.Json = False,
) -> None:
    """Check state, registry and data for inconsistencies. Exit code 7 if one remains.

    Example: mlops doctor --repair
    """
    from lifecycle import doctor as examination  # needs pandas, which `config` does not

    runner.quiet()
    findings = examination.examine([settings.load(env) for env in Environment], repair=repair)
    if as_json:
        show.print_json(findings)
    else:
        mark = {"ok": "ok", "problem": "PROBLEM", "repaired": "repaired"}
        show.table(("", "what", "finding"), [(mark[f.state], f.what, f.message) for f in findings])
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(7)


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


@config.command()
def schema(
    model: Annotated[
        bool, typer.Option("--model", help="Of the definition of a model: config/models/NAME.yaml.")
    ] = False,
) -> None:
    """Print the JSON schema of the settings, for editors and checks."""
    show.print_json((ModelDefinition if model else Settings).model_json_schema())
