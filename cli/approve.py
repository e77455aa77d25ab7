"""`mlops approve`: a person's answer to a verdict, from a terminal or from CI."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli import console, options, show
from lifecycle import settings
from lifecycle.core.errors import ConfigError, ConflictError
from lifecycle.core.names import Environment
from lifecycle.registry import log

if TYPE_CHECKING:
    from cli.operations.approvals import Waiting


def approve(
    flow_run: Annotated[
        str | None, typer.Argument(help="Number of the flow run that waits; its beginning is enough.")
    ] = None,
    reject: Annotated[bool, typer.Option("--reject", help="Do not let it promote.")] = False,
    reason: options.Reason = "",
    by: Annotated[
        str | None, typer.Option("--by", help="Who answers; default GITHUB_ACTOR, or the user of this process.")
    ] = None,
    verdict: Annotated[
        str | None, typer.Option("--verdict", help="Digest of the verdict that is meant, or its first 8 characters.")
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="Only list what waits; the default without a flow run.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Answer a promotion that waits for a person, or list those that do. The answer is for one verdict only.

    Exit code 5 if it does not wait any more, or waits with another verdict than --verdict.

    Example: mlops approve 0199d3a1 --reason "the broken rows are mislabelled" --by "Ada Lovelace"
    """
    from cli.operations import connection

    answered = reject or reason or verdict or by or flow_run == ""
    if answered and (listed or not flow_run):
        raise ConfigError("An answer needs the flow run that it is for.", "See which wait: mlops approve --list")
    if flow_run and not listed and not reason.strip():
        raise ConfigError("An answer needs a reason: it is recorded.", "Give one: --reason '…'")
    connection.connect(settings.load(Environment.DEV).state)
    from cli.operations import approvals

    with connection.client() as client:
        found = approvals.waiting(client)
        if listed or not flow_run:
            _list(found, as_json)
            return
        run = approvals.one_of(client, found, flow_run)
        _require(run, verdict)
        who = by or log.author()
        approvals.answer(client, run, approve=not reject, by=who, reason=reason)
    done = {"flow_run_id": str(run.flow_run_id), "name": run.name, "verdict_digest": run.verdict_digest}
    decision = "rejected" if reject else "approved"
    if as_json:
        show.print_json({**done, "decision": decision, "by": who, "reason": reason, "link": run.link})
    else:
        console.echo(f"{run.name}: {decision} by {who}. The run goes on. {run.link}".rstrip())


def _require(run: "Waiting", verdict: str | None) -> None:
    """What was looked at must be what is answered."""
    if verdict is None:
        return
    if len(verdict) < 8:
        raise ConfigError(f"--verdict {verdict!r} is too short to tell verdicts apart.", "Give at least 8 characters.")
    if not run.verdict_digest.startswith(verdict.lower()):
        what = f"{run.name} waits with verdict {run.verdict_digest[:16]}, not {verdict[:16]}: it was judged anew."
        raise ConflictError(what, "Look at it: mlops approve --list --json")


def _list(found: "list[Waiting]", as_json: bool) -> None:
    if as_json:
        show.print_json(found)
        return
    rows = [
        (
            str(each.flow_run_id),
            each.name,
            each.verdict_digest[:16],
            f"{each.since:%Y-%m-%d %H:%M}",
            f"{each.until:%Y-%m-%d %H:%M}" if each.until else "",
        )
        for each in found
    ]
    if rows:
        show.table(("flow run", "name", "verdict", "since (UTC)", "until"), rows)
    else:
        console.echo("Nothing waits for an approval.")
