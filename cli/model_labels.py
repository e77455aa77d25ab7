"""`mlops model alias …`, `mlops model tag …`, `mlops model describe`."""

from typing import Annotated

import typer

from cli import console, options, runner, show
from lifecycle import settings
from lifecycle.core.names import Environment
from lifecycle.registry import aliases, labels

alias = typer.Typer(help="Aliases other than champion: set, get, list, delete.", no_args_is_help=True)
tag = typer.Typer(help="Tags of a model or a version: set, delete.", no_args_is_help=True)

PROD = Environment.PROD
Number = Annotated[int, typer.Option("--version", help="Version number.")]
Name = Annotated[str, typer.Option("--alias", help="challenger, shadow, canary, or one from the settings.")]
Key = Annotated[str, typer.Option("--key", help="Name of the tag.")]


@alias.command("set")
def set_alias(
    model_name: options.ModelName,
    name: Name,
    version: Number,
    env: options.Env = PROD,
    as_json: options.Json = False,
) -> None:
    """Let an alias point to a version; upper and lower case are the same. `champion` moves by promotion only.

    Example: mlops model alias set --model-name sentiment --env dev --alias shadow --version 2
    """
    target = runner.registered(env, model_name)
    before = aliases.put(target, name, version, settings.load(env).aliases)
    done = {"model": target.name, "alias": name.lower(), "version": version, "before": before}
    was = f" (was v{before})" if before else ""
    show.print_json(done) if as_json else console.echo(f"{target.name}@{name.lower()} is v{version}{was}.")


@alias.command("get")
def get_alias(
    model_name: options.ModelName, name: Name, env: options.Env = PROD, as_json: options.Json = False
) -> None:
    """Print the version number behind an alias.

    Example: mlops model alias get --model-name sentiment --env prod --alias champion
    """
    target = runner.registered(env, model_name)
    number = aliases.get(target, name)
    show.print_json({"model": target.name, "alias": name.lower(), "version": number}) if as_json else console.echo(
        number
    )


@alias.command("list")
def list_aliases(model_name: options.ModelName, env: options.Env = PROD, as_json: options.Json = False) -> None:
    """List a model's aliases, and what each of the vocabulary means."""
    found = aliases.every(runner.registered(env, model_name))
    if as_json:
        show.print_json(found)
        return
    known = {str(name): meaning for name, meaning in aliases.MEANINGS.items()}
    rows = [(name, show.version(found.get(name)), known.get(name, "")) for name in {**known, **found}]
    show.table(("alias", "version", "meaning"), rows)


@alias.command("delete")
def delete_alias(
    model_name: options.ModelName, name: Name, env: options.Env = PROD, as_json: options.Json = False
) -> None:
    """Remove an alias; the version stays.

    Example: mlops model alias delete --model-name sentiment --env dev --alias shadow
    """
    target = runner.registered(env, model_name)
    number = aliases.remove(target, name, settings.load(env).aliases)
    done = {"model": target.name, "alias": name.lower(), "version": None, "before": number}
    show.print_json(done) if as_json else console.echo(f"{target.name}@{name.lower()} is gone (was v{number}).")


@tag.command("set")
def set_tag(
    model_name: options.ModelName,
    key: Key,
    value: Annotated[str, typer.Option("--value", help="At most 1,000 characters.")],
    version: options.Version = None,
    env: options.Env = PROD,
    as_json: options.Json = False,
) -> None:
    """Set a tag of a version, or of the model if no version is named. Tags of the promotion log are out of reach.

    Example: mlops model tag set --model-name sentiment --env dev --version 1 --key task --value sentiment
    """
    target = runner.registered(env, model_name)
    labels.put(target, key, value, version)
    _say(target.name, version, f"tag {key} is {value!r}", as_json, {"key": key, "value": value})


@tag.command("delete")
def delete_tag(
    model_name: options.ModelName,
    key: Key,
    version: options.Version = None,
    env: options.Env = PROD,
    as_json: options.Json = False,
) -> None:
    """Remove a tag of a version, or of the model if no version is named.

    Example: mlops model tag delete --model-name sentiment --env dev --version 1 --key task
    """
    target = runner.registered(env, model_name)
    labels.remove(target, key, version)
    _say(target.name, version, f"tag {key} is gone", as_json, {"key": key, "value": None})


def describe(
    model_name: options.ModelName,
    text: Annotated[str, typer.Option("--text", help="The description; an empty one removes it.")],
    version: options.Version = None,
    env: options.Env = PROD,
    as_json: options.Json = False,
) -> None:
    """Describe a version, or the model if no version is named.

    Example: mlops model describe --model-name sentiment --env prod --text "Tone of financial news"
    """
    target = runner.registered(env, model_name)
    labels.describe(target, text, version)
    _say(target.name, version, "description is set" if text else "description is gone", as_json, {"description": text})


def _say(name: str, version: int | None, what: str, as_json: bool, facts: dict[str, str | None]) -> None:
    if as_json:
        show.print_json({"model": name, "version": version, **facts})
    else:
        console.echo(f"{f'{name} v{version}' if version else name}: {what}.")
