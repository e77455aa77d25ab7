"""`mlops model …`: the registry. Here is what looks and adopts; registering, labels and removal have own modules."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import typer
from pydantic import Field

from cli import console, options, runner, show
from cli.lazy import LazyGroup, Place
from flows.request import Request
from lifecycle import settings
from lifecycle.core.errors import ConfigError, DataError
from lifecycle.core.names import Environment
from lifecycle.core.parameters import VersionNumber
from lifecycle.core.refusals import refused_by_the_library
from lifecycle.models import loading
from lifecycle.problems.contract import TEXT
from lifecycle.problems.known import named
from lifecycle.registry import adoption, catalog, leaderboard
from lifecycle.registry import card as cards
from lifecycle.registry.store import Target


class Models(LazyGroup):
    """Every command of `mlops model`: who only looks imports nothing of what registers."""

    places: ClassVar[Mapping[str, Place]] = {
        "create": Place("cli.model_register", "create"),
        "register": Place("cli.model_register", "register"),
        "copy": Place("cli.model_register", "copy"),
        "register-mlflow": Place("cli.model_register", "register_mlflow"),
        "register-external": Place("cli.model_register", "register_external"),
        "register-bert": Place("cli.model_register", "register_bert"),
        "register-vader": Place("cli.model_register", "register_vader"),
        "describe": Place("cli.model_labels", "describe"),
        "delete": Place("cli.model_remove", "delete"),
        "cleanup": Place("cli.model_remove", "cleanup"),
        "rename": Place("cli.model_remove", "rename"),
        "retire-missing": Place("cli.model_remove", "retire_missing"),
        "migrate-stages": Place("cli.model_remove", "migrate_stages"),
        "list": Place("cli.model", "list_"),
        "show": Place("cli.model", "show_"),
        "card": Place("cli.model", "card"),
        "search": Place("cli.model", "search"),
        "predict": Place("cli.model", "predict"),
        "adopt": Place("cli.model", "adopt"),
        "alias": Place("cli.model_labels", "alias"),
        "tag": Place("cli.model_labels", "tag"),
    }


app = typer.Typer(cls=Models, no_args_is_help=True)


@app.callback()
def _registry() -> None:
    """The registry: register, find, describe, alias, delete, clean up, migrate."""


PROD = Environment.PROD
MEASURED = 10
"""So many of a model's versions, the latest, are shown with their metrics: each is a file that is read."""


def list_(env: options.Env = PROD, as_json: options.Json = False) -> None:
    """List all registered models of the registry, of all environments that share it, with their champions."""
    config = settings.load(env)
    runner.require_state(config)
    runner.quiet()
    uris = {"tracking_uri": config.mlflow_uri, "registry_uri": config.registry_uri or ""}
    found = [
        leaderboard.of_champion(Target(**uris, name=model.name), model) for model in catalog.models(*uris.values())
    ]
    if as_json:
        show.print_json(found)
        return
    rows = [
        (
            m.name,
            m.versions,
            show.version(m.latest),
            show.version(m.champion),
            show.metrics(m.metrics, 1),
            "yes" if m.settled else "no",
        )
        for m in found
    ]
    show.table(("model", "versions", "latest", "champion", "metric of its verdict", "alias settled"), rows)


def show_(
    model_name: options.ModelName,
    env: options.Env = PROD,
    version: options.Version = None,
    alias: options.AliasName = None,
    latest: Annotated[bool, typer.Option("--latest", help="The version with the highest number.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show a model with all its versions, or one version with its signature and lineage.

    Example: mlops model show --model-name sentiment --env prod --alias champion
    """
    target = runner.existing(env, model_name)
    if latest:
        version = catalog.latest(target).version
    if version is None and alias is None:
        page = catalog.show(target)
        measured = [leaderboard.with_metrics(target, facts) for facts in page.details[-MEASURED:]]
        page = page.model_copy(update={"details": (*page.details[:-MEASURED], *measured)})
        show.print_json(page) if as_json else show.model(page)
        return
    ref = catalog.resolve(target, version=version, alias=alias)
    facts, signature = catalog.show_version(target, ref.version or 0), catalog.signature(ref)
    facts = leaderboard.with_metrics(target, facts)
    if as_json:
        show.print_json({**facts.model_dump(mode="json"), "signature": signature})
    else:
        show.model_version(facts, signature)


def card(
    model_name: options.ModelName,
    env: options.Env = PROD,
    version: options.Version = None,
    alias: options.AliasName = None,
    write: Annotated[bool, typer.Option("--write", help="Keep it in the run and the description as well.")] = False,
    as_json: options.Json = False,
) -> None:
    """Print the model card of a version, as markdown; default the champion.

    Example: mlops model card --model-name sentiment --env prod --version 1
    """
    target = runner.existing(env, model_name)
    number = catalog.resolve(target, version=version, alias=alias).version or 0
    text = (cards.write if write else cards.read)(settings.load(env), model_name, number)
    show.print_json({"model": target.name, "version": number, "card": text}) if as_json else console.echo(
        text, nl=False
    )


def search(
    name: Annotated[str, typer.Option("--name", help="Shell pattern over the full name, such as 'prod.*'.")] = "*",
    tag: Annotated[str | None, typer.Option("--tag", help="key or key=value, of the version or its model.")] = None,
    run_id: Annotated[str | None, typer.Option("--run-id", help="Training run.")] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Name, 'name version', or the beginning of a digest.")
    ] = None,
    env: options.Env = PROD,
    as_json: options.Json = False,
) -> None:
    """Find versions by name pattern, tag, run and dataset; conditions given together all hold.

    Example: mlops model search --name 'prod.*' --dataset 'fsa 1.0.0'
    """
    config = settings.load(env)
    runner.require_state(config)
    runner.quiet()
    uris = config.mlflow_uri, config.registry_uri or ""
    found = catalog.search(*uris, name=name, tag=tag, run_id=run_id, dataset=dataset)
    if as_json:
        show.print_json(found)
        return
    if not found:
        console.echo("No version is like that. All models: mlops model list")
        return
    rows = [(f.name, show.version(f.version), ", ".join(f.aliases), f.dataset, f.run_id, f.status) for f in found]
    show.table(("model", "version", "aliases", "dataset", "run", "status"), rows)


class PredictRequest(Request):
    """Which model is asked."""

    env: Environment = Field(PROD, description="Environment.")
    alias: str | None = Field(None, description="Alias, in any case; default champion.")
    version: VersionNumber | None = Field(None, description="Version number.")
    run_id: str | None = Field(None, description="Training run.")
    stage: str | None = Field(None, description="A former stage: Staging, Production.")


@options.of_request
def predict(
    request: PredictRequest,
    text: Annotated[list[str] | None, typer.Option("--text", help="A text; repeat it for several.")] = None,
    row: Annotated[
        list[str] | None, typer.Option("--row", help="The columns of a row as JSON; repeat it for several.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Load a model by environment (its champion), alias, version, run or former stage, and ask it.

    Example: mlops model predict --model-name sentiment --text "Profit rose by 5 %"
    Example: mlops model predict --model-name churn --row '{"tenure": 3, "contract": "monthly"}'
    """
    import pandas as pd

    rows = [*({TEXT: words} for words in text or ()), *map(_row, row or ())]
    if not rows:
        raise ConfigError("There is nothing to ask.", "Give a --text, or of a table a --row as JSON.")
    request = request.completed()
    which = request.model_dump(include={"alias", "version", "run_id", "stage"})
    ref = catalog.resolve(runner.existing(request.env, request.model), **which)
    model, inputs = loading.load(ref), pd.DataFrame(rows)
    if missing := [name for name in model.inputs if name not in inputs]:
        raise DataError(
            f"{ref.label} reads {', '.join(model.inputs)}; {missing[0]!r} is not given.", "Give all of them."
        )
    with refused_by_the_library(f"{ref.label} cannot score this: ", DataError, "Try another one."):
        answers = model.predict(None, inputs)
    told: list[dict[str, Any]] = answers.join(inputs).assign(model=ref.label).to_dict("records")
    if as_json:
        show.print_json(told)
    else:
        columns = [*named(model.problem).prediction, *model.inputs]  # all else an answer rests on is for --json
        show.table(columns, [[_cell(line[name]) for name in columns] for line in told], ref.label)


def _row(given: str) -> dict[str, Any]:
    try:
        row = json.loads(given)
    except ValueError as error:
        raise ConfigError(f"--row {given!r:.80} is no JSON: {error}.", "For example: --row '{\"age\": 42}'") from None
    if not isinstance(row, dict):
        raise ConfigError(f"--row {given!r:.80} is no object.", "For example: --row '{\"age\": 42}'")
    return row


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def adopt(
    model_name: options.ModelName,
    reason: options.Reason,
    env: options.Env = PROD,
    version: Annotated[int | None, typer.Option(help="Who is champion; default what the alias says.")] = None,
    as_json: options.Json = False,
) -> None:
    """Record a champion alias that was moved by hand as an entry of the promotion log. Exit code 7 if it cannot load.

    Where promotion tags were changed by hand it records who is champion.

    Example: mlops model adopt --model-name sentiment --env prod --reason "hotfix of 3 May"
    """
    from lifecycle.monitoring import shadow
    from lifecycle.monitoring.subject import Subject

    target = runner.registered(env, model_name)
    done = adoption.adopt(target, reason, version)
    shadow.stands(Subject.of(settings.load(env, model_name=model_name), target))  # `mlops status` reads that
    show.print_json(done) if as_json else console.echo(done.message)
