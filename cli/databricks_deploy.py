"""`mlops databricks deploy`: bring the jobs to a workspace without Databricks' own command."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from cli import options, show
from lifecycle.bundle import definition, publish
from lifecycle.core.errors import ConfigError


def deploy(
    target: Annotated[str | None, typer.Option(help="dev, staging or prod; default that of databricks.yml.")] = None,
    variables: Annotated[
        list[str] | None, typer.Option("--var", help="NAME=VALUE of the bundle; may be repeated.")
    ] = None,
    wheel: Annotated[Path | None, typer.Option(help="A wheel that is built already; default the checkout's.")] = None,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Bring wheel, notebooks and jobs of databricks.yml to the workspace. The same again changes nothing.

    Example: mlops databricks deploy --target dev --dry-run
    """
    from cli.operations import project

    if wheel and not wheel.is_file():
        raise ConfigError(f"There is no wheel {wheel}.", "Build one: make wheel")
    root = project.folder()
    bundle = definition.read(root, target, _pairs(variables or []))
    with tempfile.TemporaryDirectory(prefix="mlops-wheel-") as folder:
        built = wheel or publish.build_wheel(root, Path(folder))
        items = publish.deploy(bundle, built, root, dry_run=dry_run)
    if as_json:
        show.print_json(items)
        return
    title = f"{'Would be deployed' if dry_run else 'Deployed'} to {bundle.target}"
    show.table(("what", "name", "outcome", ""), [(i.kind, i.name, i.outcome, i.detail) for i in items], title)


def _pairs(texts: list[str]) -> dict[str, str]:
    if wrong := [text for text in texts if not text.partition("=")[1]]:
        raise ConfigError(f"--var {wrong[0]} is not NAME=VALUE.", "For example: --var admins=data-team")
    return {name: value for name, _, value in (text.partition("=") for text in texts)}
