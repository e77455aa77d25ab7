"""`mlops model …`: the registry. Here is what looks and adopts; registering, labels and removal have own modules."""

from typing import Annotated, Any

import typer

from cli import console, model_labels, model_register, model_remove, options, runner, show
from lifecycle.core.errors import DataError
from lifecycle.core.names import Environment
from lifecycle.core.refusals import refused_by_the_library
from lifecycle.models import loading
from lifecycle.registry import card as cards
from lifecycle.registry import catalog, promotion
from lifecycle.settings import load as settings

app = typer.Typer(
    help="The registry: register, find, describe, alias, delete, clean up, migrate.", no_args_is_help=True
)
model_register.add_to(app)
model_labels.add_to(app)
model_remove.add_to(app)

PROD = Environment.PROD


@app.command("list")
def list_(env: options.Env = PROD, as_json: options.Json = False) -> None:
    """List all registered models of the registry, of all environments that share it, with their champions."""
    config = settings.load(env)
    runner.quiet()
    found = catalog.models(config.mlflow_uri, config.registry_uri or "")
    if as_json:
        show.print_json(found)
        return
    rows = [
        (m.name, m.versions, show.version(m.latest), show.version(m.champion), "yes" if m.settled else "no")
        for m in found
    ]
    show.table(("model", "versions", "latest", "champion", "alias settled"), rows)


@app.command("show")
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
    target = runner.registered(env, model_name)
    if latest:
        version = catalog.latest(target).version
    if version is None and alias is None:
        page = catalog.show(target)
        show.print_json(page) if as_json else show.model(page)
        return
    ref = catalog.resolve(target, version=version, alias=alias)
    facts, signature = catalog.show_version(target, ref.version or 0), catalog.signature(ref)
    if as_json:
        show.print_json({**facts.model_dump(mode="json"), "signature": signature})
    else:
        show.model_version(facts, signature)


@app.command()
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
    target = runner.registered(env, model_name)
    number = catalog.resolve(target, version=version, alias=alias).version or 0
    text = (cards.write if write else cards.read)(settings.load(env), model_name, number)
    show.print_json({"model": target.name, "version": number, "card": text}) if as_json else console.echo(
        text, nl=False
    )


@app.command()
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
    runner.quiet()
    uris = config.mlflow_uri, config.registry_uri or ""
    found = catalog.search(*uris, name=name, tag=tag, run_id=run_id, dataset=dataset)
    if as_json:
        show.print_json(found)
        return
    rows = [(f.name, show.version(f.version), ", ".join(f.aliases), f.dataset, f.run_id, f.status) for f in found]
    show.table(("model", "version", "aliases", "dataset", "run", "status"), rows)


@app.command()
def predict(
    model_name: options.ModelName,
    text: Annotated[list[str], typer.Option("--text", help="A text to label; repeat it for several.")],
    env: options.Env = PROD,
    alias: options.AliasName = None,
    version: options.Version = None,
    run_id: Annotated[str | None, typer.Option("--run-id", help="Training run.")] = None,
    stage: Annotated[str | None, typer.Option("--stage", help="A former stage: Staging, Production.")] = None,
    as_json: options.Json = False,
) -> None:
    """Load a model by environment (its champion), alias, version, run or former stage, and label some texts.

    Example: mlops model predict --model-name sentiment --text "Profit rose by 5 %"
    """
    import pandas as pd

    target = runner.registered(env, model_name)
    ref = catalog.resolve(target, alias=alias, version=version, run_id=run_id, stage=stage)
    model = loading.load(ref)
    with refused_by_the_library(f"{ref.label} cannot score this: ", DataError, "Try another text."):
        answers = model.predict(None, pd.DataFrame({"text": text}))
    rows: list[dict[str, Any]] = answers.assign(text=text, model=ref.label).to_dict("records")
    if as_json:
        show.print_json(rows)
    else:
        cells = [(row["label"], f"{row['score']:.4f}", row["text"]) for row in rows]
        show.table(("label", "score", "text"), cells, ref.label)


@app.command()
def adopt(
    model_name: options.ModelName,
    reason: options.Reason,
    env: options.Env = PROD,
    as_json: options.Json = False,
) -> None:
    """Record a champion alias that was moved by hand as an entry of the promotion log.

    Example: mlops model adopt --model-name sentiment --env prod --reason "hotfix of 3 May"
    """
    done = promotion.adopt(runner.registered(env, model_name), reason)
    show.print_json(done) if as_json else console.echo(done.message)
