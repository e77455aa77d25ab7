"""`mlops history`: who was champion when. It only looks, and imports nothing of the steps of a model's life."""

from datetime import datetime
from typing import Annotated

import typer

from cli import console, options, runner, show
from lifecycle.core.errors import ConfigError
from lifecycle.core.names import Environment
from lifecycle.registry import catalog


def history(
    model_name: options.ModelName,
    env: options.Env = Environment.PROD,
    at: Annotated[str | None, typer.Option(help="Who was champion then: an ISO time, UTC if it has no zone.")] = None,
    as_json: options.Json = False,
) -> None:
    """Tell who was champion when, why, and by whom.

    Example: mlops history --model-name sentiment --env prod --at 2026-05-03T14:00
    """
    target = runner.existing(env, model_name)
    if at is not None:
        line = catalog.champion_at(target, _moment(at))
        lines = [line] if line else []
    else:
        lines = catalog.history(target)
    if as_json:
        show.print_json(lines)
        return
    rows = [
        (
            f"{line.version} (deleted)" if line.deleted else line.version,
            "not known" if line.missing else f"{line.at:%Y-%m-%d %H:%M:%S}",
            line.kind,
            line.outcome,
            show.version(line.expected),
            show.version(line.champion),
            f"{line.by}; approved by {line.approved_by}" if line.approved_by else line.by,
            f"{line.reason}; approved: {line.approval}" if line.approval else line.reason,
            f"gate {line.gate}" if line.gate else line.verdict_digest[:8],
            line.run_link or line.run_id[:8],
        )
        for line in lines
    ]
    columns = ("version", "at (UTC)", "kind", "outcome", "from", "champion", "by", "why", "verdict", "run")
    show.table(columns, rows, target.name)
    if at is not None and not lines:
        console.echo(f"{target.name} had no champion at {at}.")


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not an ISO time.", "For example: --at 2026-05-03T14:00+02:00") from None
