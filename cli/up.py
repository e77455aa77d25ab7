"""Prefect's server, MLflow's UI and a worker on this machine: `mlops up`, `mlops down`, `mlops status`."""

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import console, options, runner, show
from flows.request import Form
from lifecycle import settings
from lifecycle.core.errors import TransientError
from lifecycle.core.names import Environment
from lifecycle.monitoring import probation, standings
from lifecycle.monitoring.findings import Standing
from lifecycle.monitoring.probation import Probation
from mlops_lifecycle import start

if TYPE_CHECKING:
    from cli.operations.stack import Plan
    from cli.operations.state import Stack

DEV = Environment.DEV
NOT_HEALTHY = 6
GOOD = {"healthy", "elsewhere"}
MODELS = ("model", "champion", "since (UTC)", "last batch", "drift", "performance", "open alerts", "probation")

Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of Prefect's API and UI.")]
MlflowPort = Annotated[int, typer.Option("--mlflow-port", min=1, max=65535, help="Port of MLflow's UI.")]


class UpRequest(Form):
    """What is brought up, and where."""

    env: options.Env = DEV
    port: Port = 4200
    mlflow_port: MlflowPort = 5000
    detach: Annotated[bool, typer.Option("--detach", "-d", help="In the background; mlops down ends it.")] = False
    deploy: Annotated[bool, typer.Option("--deploy/--no-deploy", help="Run mlops setup and mlops deploy.")] = True
    allowed_host: options.AllowedHosts = None
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Show the services' logs on stderr.")] = True


@options.of_request
def up(request: UpRequest, as_json: options.Json = False) -> None:
    """Bring up Prefect's server, MLflow's UI and a worker with the deployments; Ctrl-C stops them.

    Example: mlops up --detach
    """
    plan = _plan(request)
    if request.detach:
        _in_background(plan, as_json)
    else:
        _supervise(plan, request.follow, as_json)


def down(env: options.Env = DEV, as_json: options.Json = False) -> None:
    """Stop what `mlops up` runs, and what is left of one that was killed. Exit code 0 if nothing is up.

    Example: mlops down
    """
    from cli.operations import stack as services

    home = _home(env)
    with runner.progress(f"Stopping the services of {home}"):
        found = services.down(home)
    if as_json:
        show.print_json({"stopped": found})
    else:
        console.echo("Stopped." if found else "Nothing is up.")


def status(env: options.Env = DEV, as_json: options.Json = False) -> None:
    """Tell what is up, where, whether it answers, and whether schedules make runs. Exit code 6 unless all is well.

    Example: mlops status --json
    """
    from cli.operations import state

    home = _home(env)
    stack = state.read(home)
    rows = _rows(home, stack) if stack else []
    failure = _scheduling(home, stack, rows) if stack else None
    root = settings.load(env).measurements
    watched, champions = standings.every(root), probation.every(root)
    if as_json:
        phase, links = stack.phase if stack else "down", state.links(home)
        facts = {"phase": phase, "home": str(home), "services": rows, "open": links, "models": watched}
        facts["probations"] = champions
        show.print_json(facts)
    elif stack:
        show.table(("service", "state", "address", "pid", "since"), [tuple(row.values()) for row in rows])
        if stack.phase == "up":
            console.echo(_opening(home, stack))
    else:
        console.echo(f"Nothing is up for {home}.")
    if (watched or champions) and not as_json:
        show.table(MODELS, _models(watched, champions))
    if failure:
        raise failure
    if not stack or stack.phase != "up" or any(row["state"] not in GOOD for row in rows):
        raise typer.Exit(NOT_HEALTHY)


def _models(watched: list[Standing], champions: list[Probation]) -> list[tuple[str, ...]]:
    """Each model in one line: its champion, and what is known of its batches."""
    stands, known = {each.model: each for each in champions}, {each.model: each for each in watched}
    return [
        (name, *_champion(stands.get(name)), *_measured(known.get(name)), _probation(stands.get(name)))
        for name in sorted(stands | known)
    ]


def _champion(found: Probation | None) -> tuple[str, str]:
    if found is None:
        return "", ""
    return f"v{found.champion}", f"{found.champion_since:%Y-%m-%d %H:%M}" if found.champion_since else ""


def _measured(standing: Standing | None) -> tuple[str, ...]:
    """Its last batch, drift, performance and open alerts."""
    if standing is None:
        return "none yet", "", "", "none"
    line, metric = standing.worst, standing.performance
    worst = f"{line.name}: {line.measure} {line.value:.3g} (limit {line.limit:.3g})" if line and line.share else ""
    how = (
        f"estimated, {standing.trust or 'unconfirmed'}"
        if metric and metric.part == "estimate"
        else f"labels of {standing.answered}"
    )
    performance = f"{metric.name} {metric.now:.3g}, judged {metric.before:.3g} ({how})" if metric else ""
    alerts = ", ".join(f"{alert.kind} since {alert.since}" for alert in standing.alerts)
    return f"{standing.day} (v{standing.version})", worst, performance, alerts or "none"


def _probation(found: Probation | None) -> str:
    """What is to be said of the probation of its champion; of none nothing."""
    return found.told if found and found.state != "none" else ""


def _scheduling(home: Path, stack: "Stack", rows: list[dict[str, Any]]) -> TransientError | None:
    """What is wrong with the schedules of a server that is healthy else; its row says so too."""
    from cli.operations import scheduler, state

    service = stack.service("prefect")
    healthy = [row for row in rows if (row["service"], row["state"]) == ("prefect", "healthy")]
    try:
        if service and healthy:
            scheduler.require_runs(lambda *request: state.ask(home, stack, *request), stack.prefect, service)
    except TransientError as error:
        healthy[0]["state"] = "not scheduling"
        return error
    return None


def _supervise(plan: "Plan", follow: bool, as_json: bool) -> None:
    """Run the services until Ctrl-C, SIGTERM or the end of one of them."""
    from cli.operations import stack as services

    with services.claimed(plan) as other:
        if other:
            _announce(plan.home, other, as_json, "is up already")
            return
        services.interruptible()
        supervisor = services.Supervisor(plan)
        try:
            with runner.progress(f"Bringing up the services of {plan.home}"):
                supervisor.start()
            _announce(plan.home, supervisor.stack, as_json, "is up")
            supervisor.watch(_print_line if follow else None)
        except KeyboardInterrupt:
            sys.stderr.write("\n")
        finally:
            with runner.progress("Stopping"):
                supervisor.stop()


def _in_background(plan: "Plan", as_json: bool) -> None:
    """Start the supervisor in a session of its own and return once all is healthy, or with its error."""
    from cli.operations import state

    log = state.folder(plan.home) / "supervisor.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    deploy = "--deploy" if plan.deploy else "--no-deploy"
    ports = ["--port", str(plan.port), "--mlflow-port", str(plan.mlflow_port)]
    hosts = [f"--allowed-host={name}" for name in plan.allowed_hosts]
    command = start.command("cli.main", "up", "--env", plan.env, *ports, *hosts, deploy, "--no-follow")
    with log.open("ab") as output:  # two at once write one file, and both wait for the one that comes up
        said = output.tell()
        supervisor = subprocess.Popen(  # noqa: S603  our own interpreter and module
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=output, start_new_session=True
        )
    stack = _wait_until_up(plan.home, supervisor, log, said)
    _announce(plan.home, stack, as_json, "is up" if stack.supervisor.pid == supervisor.pid else "is up already")


def _wait_until_up(home: Path, supervisor: "subprocess.Popen[bytes]", log: Path, said: int) -> "Stack":
    """Show what is said in the log from there on until all is up; a failure is this command's, with its exit code."""
    from cli.operations import state

    try:
        with log.open(errors="replace") as lines:
            lines.seek(said)
            while True:
                ended = supervisor.poll()
                sys.stderr.writelines(lines)
                stack = state.read(home)
                if stack and stack.phase == "up" and (ended == 0 or stack.supervisor.pid == supervisor.pid):
                    return stack
                if ended is not None:
                    raise typer.Exit(ended or NOT_HEALTHY)
                time.sleep(0.1)
    except KeyboardInterrupt:
        supervisor.terminate()
        supervisor.wait()
        raise


def _plan(request: UpRequest) -> "Plan":
    runner.require_prefect()
    from cli.operations.stack import Plan

    config = settings.load(request.env)
    return Plan(
        home=config.state,
        env=str(request.env),
        tracking_uri=config.mlflow_uri,
        port=request.port,
        mlflow_port=request.mlflow_port,
        deploy=request.deploy,
        allowed_hosts=tuple(request.allowed_host or ()),
    )


def _home(env: Environment) -> Path:

    runner.require_prefect()
    return settings.load(env).state


def _announce(home: Path, stack: "Stack", as_json: bool, what: str) -> None:
    """Say where everything is, and how a browser gets in."""
    from cli.operations import state

    if as_json:
        facts = {"phase": stack.phase, "prefect": stack.prefect, "mlflow": stack.mlflow, "open": state.links(home)}
        show.print_json(facts)
        return
    console.echo(f"Everything {what}.\n{_opening(home, stack)}")


def _opening(home: Path, stack: "Stack") -> str:
    """The two UIs, each by a link that a browser needs once."""
    from cli.operations import state

    found = {"prefect": stack.prefect, "mlflow": stack.mlflow} | state.links(home)
    return f"  Prefect  {found['prefect']}\n  MLflow   {found['mlflow']}"


def _rows(home: Path, stack: "Stack") -> list[dict[str, Any]]:
    """The supervisor, then each service, with what a person asks of it."""
    from cli.operations.state import is_healthy

    def row(name: str, state: str, address: str, pid: int, created: float) -> dict[str, Any]:
        since = datetime.fromtimestamp(created, UTC).isoformat(timespec="seconds")
        return {"service": name, "state": state, "address": address, "pid": pid, "since": since}

    first = stack.supervisor
    rows = [row("supervisor", "healthy" if first.alive else "dead", "", first.pid, first.created)]
    for each in stack.services:
        found = "healthy" if is_healthy(home, stack, each) else "no answer" if each.alive else "dead"
        rows.append(row(each.name, found, each.address, each.pid, each.created))
    if stack.phase == "up" and not stack.service("mlflow"):
        rows.append({"service": "mlflow", "state": "elsewhere", "address": stack.mlflow, "pid": None, "since": None})
    return rows


def _print_line(service: str, line: str) -> None:
    sys.stderr.write(f"{service:>7} | {line}\n")
