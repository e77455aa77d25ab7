"""The steps of a model's life as commands: train, promote, rollback, history, infer, release, demo."""

import shutil
import sys
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cli import console, options, runner, show
from cli.data import check_source
from lifecycle.core.errors import ConfigError
from lifecycle.core.names import Environment, ModelType

DEV, STAGING, PROD = Environment.DEV, Environment.STAGING, Environment.PROD
LOGISTIC = ModelType.LOGISTIC_REGRESSION
REFUSED = 4


def add_to(app: typer.Typer) -> None:
    """Register the commands at the top level."""
    for command in (demo, release, train, promote, rollback, history, infer):
        app.command()(command)


def train(
    context: typer.Context,
    data_name: options.DataName,
    data_version: options.DataVersion,
    model_name: options.ModelName,
    model_type: options.Type = LOGISTIC,
    model_params: options.Params = "{}",
    seed: options.Seed = 0,
    env: options.Env = DEV,
    as_candidate: Annotated[
        bool, typer.Option("--register", help="Register it as a candidate first, with the alias challenger.")
    ] = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Train a challenger; if the gate accepts it, register and promote it. Exit code 4 if it is refused.

    Example: mlops train --data-name fsa --data-version 1.0.0 --model-name sentiment --model-type naive_bayes
    --model-params "{'alpha': 1.0}"
    """
    from lifecycle.data import dataset
    from lifecycle.problems.text_classification import estimators
    from lifecycle.settings import load as settings

    config = settings.load(env)
    dataset.load(config.datasets, data_name, dataset.resolve(config.datasets, data_name, data_version))
    parameters = options.parameters(context) | {"model_params": _params(model_params)}
    estimators.build(model_type, parameters["model_params"], seed)
    title = f"Training {model_name} as {model_type} on {data_name} {data_version}"
    outcome = runner.run_flow("train", parameters, home=config.state, title=title, verbose=verbose)
    _answer(outcome, as_json, show.admission)


def promote(
    context: typer.Context,
    model_name: options.ModelName,
    source_env: Annotated[Environment, typer.Option("--from", help="Environment whose champion is to move up.")] = DEV,
    target_env: Annotated[Environment, typer.Option("--to", help="Environment that judges and receives it.")] = STAGING,
    version: Annotated[int | None, typer.Option(help="Version to promote; default the champion of --from.")] = None,
    data_name: Annotated[str | None, typer.Option(help="Dataset to judge on; default the target's settings.")] = None,
    data_version: Annotated[str | None, typer.Option(help="Its version.")] = None,
    reason: options.Reason = "",
    skip_gate: Annotated[
        bool, typer.Option("--skip-gate", help="By hand, past the gate: only where settings allow it, with a reason.")
    ] = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Judge a model of one environment on the next one's data and promote it. Exit code 4 if it is refused.

    Example: mlops promote --model-name sentiment --from dev --to staging
    """
    from lifecycle.settings import load as settings

    config, parameters = settings.load(target_env), options.parameters(context)
    title = f"Promoting {model_name} from {source_env} to {target_env}"
    outcome = runner.run_flow("promote", parameters, home=config.state, title=title, verbose=verbose)
    _answer(outcome, as_json, show.admission)


def rollback(
    context: typer.Context,
    model_name: options.ModelName,
    env: options.Env = PROD,
    to_version: Annotated[int | None, typer.Option(help="A former champion; default the one before.")] = None,
    reason: options.Reason = "",
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Do everything but move the alias; mark the version rollback_ready.")
    ] = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Give the champion alias back to an earlier champion. Twice walks further back.

    Example: mlops rollback --model-name sentiment --env prod --reason "recall of negative fell"
    """
    from lifecycle.registry import promotion
    from lifecycle.registry.store import target_of
    from lifecycle.settings import load as settings

    config, parameters = settings.load(env), options.parameters(context)
    title = f"{'Rehearsing a rollback of' if rehearse else 'Rolling back'} {model_name} in {env}"
    done = runner.run_flow("rollback", parameters, home=config.state, title=title, verbose=verbose)
    show.print_json(done) if as_json else console.echo(done.message)
    if not rehearse:
        promotion.report(target_of(config, model_name))  # killed before, it is completed by the same command again


def history(
    model_name: options.ModelName,
    env: options.Env = PROD,
    at: Annotated[str | None, typer.Option(help="Who was champion then: an ISO time, UTC if it has no zone.")] = None,
    as_json: options.Json = False,
) -> None:
    """Tell who was champion when, why, and by whom.

    Example: mlops history --model-name sentiment --env prod --at 2026-05-03T14:00
    """
    from lifecycle.registry import catalog

    target = runner.registered(env, model_name)
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


def infer(
    context: typer.Context,
    model_name: options.ModelName,
    env: options.Env = PROD,
    alias: Annotated[str | None, typer.Option(help="Default champion.")] = None,
    version: Annotated[int | None, typer.Option(help="Version number.")] = None,
    run_id: Annotated[str | None, typer.Option(help="Training run.")] = None,
    input: Annotated[
        str | None, typer.Option(callback=options.sealed, help="Path or URL of the table to score.")
    ] = None,
    data_name: Annotated[str | None, typer.Option(help="Dataset to score, instead of a table.")] = None,
    data_version: Annotated[str | None, typer.Option(help="Its version.")] = None,
    text_column: options.TextColumn = "text",
    key_column: Annotated[str | None, typer.Option(help="Column that identifies a row; default its number.")] = None,
    source_format: options.Format = None,
    encoding: options.Encoding = "utf-8",
    delimiter: options.Delimiter = ",",
    output: Annotated[
        str | None, typer.Option(callback=options.folder, help="Folder of predictions; default the environment's.")
    ] = None,
    engine: Annotated[Literal["local", "spark"] | None, typer.Option(help="Default the environment's.")] = None,
    table: Annotated[
        str | None,
        typer.Option(
            callback=options.sealed, help="Delta table that gets them too: a path, a URL, or catalog.schema.table."
        ),
    ] = None,
    logical_date: Annotated[
        str | None,
        typer.Option(callback=options.day, help="Day of the batch; `{logical_date}` in --input stands for it."),
    ] = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Score a table with one pinned model and publish the predictions, whole or not at all. Again is a no-op.

    Example: mlops infer --model-name sentiment --env prod --input news.csv --text-column Sentence
    """
    from lifecycle.data import piped
    from lifecycle.settings import load as settings

    config, parameters = settings.load(env), options.parameters(context)
    title = f"Scoring {input or f'{data_name} {data_version}'} with {model_name} in {env}"
    with piped.kept(input, config.state) if input else nullcontext() as path:
        if path:
            _check_input(config, path.replace("{logical_date}", logical_date or "{logical_date}"), source_format)
            parameters["input"] = path
        done = runner.run_flow("batch_inference", parameters, home=config.state, title=title, verbose=verbose)
    show.print_json(done) if as_json else show.batch(done)


def release(
    context: typer.Context,
    source: options.SourceFile,
    data_name: options.DataName,
    data_version: options.DataVersion,
    model_name: options.ModelName,
    text_column: options.TextColumn = "text",
    label_column: options.LabelColumn = "label",
    test_size: options.TestSize = 0.2,
    holdout: options.Holdout = True,
    holdout_size: options.HoldoutSize = 0.2,
    stratify: options.Stratify = None,
    model_type: options.Type = LOGISTIC,
    model_params: options.Params = "{}",
    seed: options.Seed = 0,
    source_format: options.Format = None,
    encoding: options.Encoding = "utf-8",
    delimiter: options.Delimiter = ",",
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Take a table all the way: dataset, training, dev, staging, prod, predictions. Exit code 4 if a gate refuses.

    Example: mlops release --source news.csv --text-column Sentence --label-column Sentiment --data-name fsa
    --data-version 1.0.0 --model-name sentiment
    """
    parameters = options.parameters(context) | {"model_params": _params(model_params)}
    _release(parameters, as_json, verbose)


def demo(as_json: options.Json = False, verbose: options.Verbose = False) -> None:
    """Take the bundled sample all the way, in a fresh state directory of its own."""
    import os

    from lifecycle.settings import load as settings

    home = settings.load(DEV).state / "demo"
    if home.exists():
        shutil.rmtree(home)
    os.environ["MLOPS_HOME"] = str(home)
    sample = {
        "source": str(_sample()),
        "data_name": "financial_news",
        "data_version": "1.0.0",
        "model_name": "sentiment",
        "text_column": "Sentence",
        "label_column": "Sentiment",
        "model_type": LOGISTIC,
        "model_params": {},
        "seed": 0,
    }
    _release(sample, as_json, verbose)
    if not as_json:
        _next_steps(home)


def _release(parameters: dict[str, Any], as_json: bool, verbose: bool) -> None:
    from lifecycle.data import piped
    from lifecycle.problems.text_classification import estimators
    from lifecycle.settings import load as settings

    config = settings.load(DEV)
    title = f"Releasing {parameters['model_name']} from {parameters['source']}"
    with piped.kept(parameters["source"], config.state) as path:
        parameters = parameters | {"source": path}
        check_source(config, parameters)
        estimators.build(parameters["model_type"], parameters["model_params"], parameters["seed"])
        outcome = runner.run_flow("release", parameters, home=config.state, title=title, verbose=verbose)
    _answer(outcome, as_json, show.release)


def _sample() -> Path:
    """The bundled sample, beside our packages."""
    return Path(__file__).parents[1] / "examples" / "financial_news.csv"


def _next_steps(home: Path) -> None:
    """Print commands that can be pasted as they are, from where the demo was started."""
    here = Path.cwd()
    state = home.relative_to(here) if home.is_relative_to(here) else home
    folder = Path(sys.argv[0]).absolute().parent
    tools = folder.relative_to(here) if folder.is_relative_to(here) else folder
    mlops = f"MLOPS_HOME={state} {tools}/mlops"
    sample = _sample().relative_to(here) if _sample().is_relative_to(here) else _sample()
    steps = {
        "Who became champion in production, and why": f"{mlops} history --model-name sentiment",
        "A worse challenger is refused (exit code 4)": f"{mlops} train --data-name financial_news "
        "--data-version 1.0.0 --model-name sentiment --model-type random_forest --model-params \"{'max_depth': 1}\"",
        "A better one goes all the way": f"{mlops} release --source {sample} --text-column Sentence --label-column "
        "Sentiment --data-name financial_news --data-version 1.0.0 --model-name sentiment --model-type naive_bayes",
        "Roll production back": f"{mlops} rollback --model-name sentiment",
        "Open Prefect's and MLflow's UIs, with a worker and all deployments": f"{mlops} up",
        "Take your own table": f"{tools}/mlops release --source FILE.csv --text-column TEXT --label-column LABEL "
        "--data-name NAME --data-version 1.0.0 --model-name MODEL",
    }
    console.echo("\nNext:")
    for what, command in steps.items():
        console.echo(f"\n  {what}:\n    {command}")


def _check_input(config: Any, uri: str, source_format: str | None) -> None:
    """A table that is not there ends here, before Prefect is started; one of a catalog may be there for the job."""
    from lifecycle.data import ingest
    from lifecycle.data.source import Source
    from lifecycle.settings.load import checked

    source = checked(Source, uri=uri, format=source_format)
    if not (source.is_in_catalog and config.platform == "databricks"):
        ingest.require(source, config.data)


def _params(text: str) -> dict[str, Any]:
    from lifecycle.core.errors import ConfigError
    from lifecycle.core.parameters import literal

    try:
        value = literal(text)
    except ValueError as error:
        raise ConfigError(f"--model-params: {error}.") from None
    if not isinstance(value, dict):
        raise ConfigError(f"--model-params: {text!r} is not a mapping.", "Write \"{'name': value}\".")
    return value


def _answer(outcome: Any, as_json: bool, draw: Any) -> None:
    """Print a flow's outcome; a refusal ends in exit code 4."""
    show.print_json(outcome) if as_json else draw(outcome)
    if outcome.refused:
        raise typer.Exit(REFUSED)
