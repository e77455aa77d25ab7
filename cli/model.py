"""`mlops model …`: what is registered."""

import typer

from cli import options, runner, show
from lifecycle.names import Environment

app = typer.Typer(help="Registered models: list, show, adopt.", no_args_is_help=True)

PROD = Environment.PROD


@app.command("list")
def list_(env: options.Env = PROD, as_json: options.Json = False) -> None:
    """List all registered models of all environments, with their champions."""
    from lifecycle import settings
    from lifecycle.registry import catalog

    config = settings.load(env)
    runner.quiet()
    found = catalog.models(config.mlflow_uri)
    if as_json:
        show.print_json(found)
        return
    rows = [
        (m["name"], m["versions"], f"v{m['champion']}" if m["champion"] else "", "yes" if m["settled"] else "no")
        for m in found
    ]
    show.table(("model", "versions", "champion", "alias settled"), rows)


@app.command("show")
def show_(model_name: options.ModelName, env: options.Env = PROD, as_json: options.Json = False) -> None:
    """Show one model: its versions with aliases, tags, run and source."""
    from lifecycle import settings
    from lifecycle.registry import catalog
    from lifecycle.registry.promotion import Target

    config = settings.load(env)
    runner.quiet()
    found = catalog.show(Target(tracking_uri=config.mlflow_uri, name=config.registered_name(model_name)))
    if as_json:
        show.print_json(found)
        return
    typer.echo(f"{found['name']}: champion v{found['champion']}, alias v{found['alias']}")
    for v in found["details"]:
        rows = [
            ("status", v["status"]),
            ("created", v["created_at"]),
            ("run", v["run_id"]),
            ("source", v["source"]),
            *v["tags"].items(),
        ]
        show.table(("", ""), rows, f"version {v['version']} {', '.join(v['aliases'])}".strip())


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
    from lifecycle import settings
    from lifecycle.registry import promotion

    config = settings.load(env)
    runner.quiet()
    target = promotion.Target(tracking_uri=config.mlflow_uri, name=config.registered_name(model_name))
    done = promotion.adopt(target, reason)
    show.print_json(done) if as_json else typer.echo(done.message)
