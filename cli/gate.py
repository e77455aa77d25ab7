"""`mlops gate …`: judge without promoting, show a verdict again, prove that the gate can refuse."""

import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field

from cli import console, options, runner, show
from flows.flow_requests import CheckRequest
from flows.request import Form
from lifecycle import settings
from lifecycle.core.errors import ConfigError
from lifecycle.core.names import TEXT_CLASSIFICATION, Environment, ProblemName
from lifecycle.gate import records
from lifecycle.gate.records import Record
from lifecycle.gate.selftest import selftest as planted
from lifecycle.gate.verdict import Verdict
from lifecycle.registry import catalog

app = typer.Typer(help="The gate: judge, explain, prove that it refuses.", no_args_is_help=True)

PROD = Environment.PROD
REFUSED = 4

Judge = Annotated[Environment, typer.Option("--env", help="Environment whose champion, data and rules judge.")]


@app.command()
@options.of_request
def check(request: CheckRequest, as_json: options.Json = False, verbose: options.Verbose = False) -> None:
    """Judge a model as a promotion would, and promote nothing. Exit code 4 if it would be refused.

    Without --version and --run-id: the champion of --from, else the version with the alias challenger.

    Example: mlops gate check --model-name sentiment --from dev --version 3 --env prod
    """
    _one_reference(request.version, request.run_id)
    request = request.completed()
    home = settings.load(request.env, model_name=request.model).state
    title = f"Judging {request.model} in {request.env}; nothing will be promoted"
    judged = runner.run_flow("check", request.parameters, home=home, title=title, verbose=verbose)
    show.print_json(judged) if as_json else show.verdict(judged)
    if not judged.promote:
        raise typer.Exit(REFUSED)


class ExplainRequest(Form):
    """Which verdict is shown, and how."""

    model_name: options.ModelName
    env: Judge = PROD
    source_env: Environment | None = Field(
        None, description="Environment where the model is registered; default the one that judges."
    )
    version: options.Version = None
    run_id: str | None = Field(None, description="Training run, instead of a version.")
    digest: str = Field("", description="Beginning of a verdict's digest; default the latest.")
    html: Path | None = Field(None, description="File to write the report with its plots to.")
    open: bool = Field(False, description="Show the report in the browser.")


@app.command()
@options.of_request
def explain(request: ExplainRequest, as_json: options.Json = False) -> None:
    """Show a stored verdict again, after checking that nobody has changed it. Without a reference: the champion's.

    Example: mlops gate explain --model-name sentiment --version 2 --env prod --html verdict.html
    """
    _one_reference(request.version, request.run_id)
    target = runner.existing(request.source_env or request.env, request.model_name)
    model = catalog.resolve(target, version=request.version, run_id=request.run_id)
    record = records.find(model, request.env, request.digest)
    verdict = records.read(record)
    show.print_json(verdict) if as_json else show.verdict(verdict)
    if request.html or request.open:
        _report(record, request.html, open_=request.open)
    if not as_json:
        promoted = catalog.show_version(target, model.version).verdict_digest if model.version else ""
        _others(records.every(model, request.env), verdict.digest, promoted)


def _others(known: list[Record], shown: str, promoted: str) -> None:
    """Which verdict was shown, and which others there are; the one that made the version a champion is marked."""
    console.echo(f"Verdict {shown}" + (", which promoted it" if shown == promoted else ""))
    names = [
        f"{each.digest} (promoted it)" if promoted.startswith(each.digest) else each.digest
        for each in known
        if not shown.startswith(each.digest)
    ]
    if names:
        console.echo(f"Other verdicts on it, to be shown with --digest: {', '.join(names)}")


def _report(record: Record, wanted: Path | None, *, open_: bool) -> None:
    """Write the report where it was asked for, else into the state directory, and show it."""
    path = wanted or settings.load(record.env).state / "reports" / f"{record.env}-{record.digest}.html"
    show.write_page(path, records.report(record))
    if open_ and not webbrowser.open(path.absolute().as_uri()):
        sys.stderr.write("There is no browser here; open the file yourself.\n")


@app.command()
def selftest(
    env: Judge = PROD,
    problem: Annotated[ProblemName, typer.Option(help="What the planted challengers are asked.")] = TEXT_CLASSIFICATION,
    as_json: options.Json = False,
) -> None:
    """Plant bad and honest challengers and see that the gate refuses each bad one for its fault. Exit code 4 if not.

    Example: mlops gate selftest --env prod
    """
    config = settings.load(env)
    runner.quiet()
    with runner.progress(f"Testing the gate of {env} with planted challengers", runner.UNCHANGED):
        result = planted.run(problem, config.gate, env)
    if as_json:
        show.print_json({**result.model_dump(mode="json"), "passed": result.passed})
    else:
        show.selftest(result)
    if not result.passed:
        raise typer.Exit(REFUSED)


@app.command()
def schema() -> None:
    """Print the JSON schema of a verdict, for whoever reads one."""
    show.print_json(Verdict.model_json_schema(mode="serialization"))


def _one_reference(version: int | None, run_id: str | None) -> None:
    if version is not None and run_id is not None:
        raise ConfigError("--version and --run-id exclude each other.", "Give one of them.")
