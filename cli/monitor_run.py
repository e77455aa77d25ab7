"""`mlops monitor run`: tell of alerts, and act on the probation of a champion, as the flow does after each batch."""

from typing import TYPE_CHECKING

import typer

from cli import console, options, runner, show
from flows.flow_requests import MonitorRequest
from lifecycle import settings
from lifecycle.monitoring import standings

if TYPE_CHECKING:
    from tasks.outcomes import Monitored

ALERT = 8


def add_to(app: typer.Typer) -> None:
    """Add the command to its group."""
    app.command()(run)


@options.of_request
def run(request: MonitorRequest, as_json: options.Json = False, verbose: options.Verbose = False) -> None:
    """Tell of new alerts, and roll back a champion that breaks its probation. Exit code 8 if it did, or one is open.

    Every batch does so by itself; by hand it is for labels that came since, and for what was interrupted.

    Example: mlops monitor run --model-name sentiment --env prod
    """
    request = request.completed()
    from lifecycle.monitoring.examples import with_keys

    config = settings.load(request.env, model_name=request.model)
    title = f"Looking at {request.model} in {request.env}"
    done: Monitored = runner.run_flow("monitor", request.parameters, home=config.state, title=title, verbose=verbose)
    found = done.standing.alerts if done.standing else ()
    alerts = [with_keys(alert, config.predictions) for alert in found]
    if done.standing:
        done = done.model_copy(update={"standing": done.standing.model_copy(update={"alerts": tuple(alerts)})})
    heard = [alert for alert in alerts if not standings.silenced(config.measurements, alert)]
    if as_json:
        show.print_json(done)
    else:
        for alert in alerts:
            console.echo(f"ALERT {alert.id}: {alert.told}" + ("" if alert in heard else " (silenced)"))
        for restored in done.restored:
            console.echo(f"{restored.outcome}: {restored.decision.reason} ({restored.replaced} batches replaced)")
        console.echo(f"{done.model}: {done.probation.told}")
        if done.served:
            console.echo(done.served.message)
    if heard or any(restored.outcome == "rolled back" for restored in done.restored):
        raise typer.Exit(ALERT)
