"""The steps of a model's life as commands: train, promote, rollback, infer, release, demo."""

import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import typer

from cli import console, next_steps, options, runner, show
from cli.data import SAMPLE, check_source
from flows.flow_requests import (
    InferenceRequest,
    PromotionRequest,
    ReleaseRequest,
    RollbackRequest,
    TrainingRequest,
)
from flows.request import LOGICAL_DATE, required
from lifecycle import settings
from lifecycle.core.names import Environment, ProblemName
from lifecycle.data import dataset, ingest, piped
from lifecycle.data.manifest import LATEST
from lifecycle.problems.contract import DROP, Column, Columns
from lifecycle.registry import promotion
from lifecycle.registry.promotion import Promotion
from lifecycle.registry.store import target_of
from lifecycle.settings import Settings

DEV, PROD = Environment.DEV, Environment.PROD
REFUSED = 4


@options.of_request
def train(request: TrainingRequest, as_json: options.Json = False, verbose: options.Verbose = False) -> None:
    """Train a challenger; if the gate accepts it, register and promote it. Exit code 4 if it is refused.

    Example: mlops train --data-name fsa --data-version 1.0.0 --model-name sentiment --algorithm naive_bayes
    --params "{'alpha': 1.0}"
    """
    trained(request, as_json, verbose)


def trained(request: TrainingRequest, as_json: bool, verbose: bool) -> None:
    """Train and print what became of it; a refusal ends in its exit code."""
    request = request.completed()
    config = settings.load(request.env, model_name=request.model)
    data_name, wanted = request.dataset
    data_version = dataset.resolve(config.datasets, data_name, wanted)
    manifest = dataset.load(config.datasets, data_name, data_version)
    _require_algorithm(request, manifest.problem, manifest.inputs, [config.env], manifest.fitted_classes)
    title = f"Training {_what(request)} on {data_name} {data_version}"
    outcome = runner.run_flow("train", request.parameters, home=config.state, title=title, verbose=verbose)
    _answer(outcome, as_json, show.admission)


@options.of_request
def promote(request: PromotionRequest, as_json: options.Json = False, verbose: options.Verbose = False) -> None:
    """Judge a model of one environment on the next one's data and promote it. Exit code 4 if it is refused.

    Example: mlops promote --model-name sentiment --from dev --to staging
    """
    request = request.completed()
    home = settings.load(request.target_env, model_name=request.model).state
    title = f"Promoting {request.model} from {request.source_env} to {request.target_env}"
    outcome = runner.run_flow("promote", request.parameters, home=home, title=title, verbose=verbose)
    _answer(outcome, as_json, show.admission)


@options.of_request
def rollback(
    request: RollbackRequest, yes: options.Yes = False, as_json: options.Json = False, verbose: options.Verbose = False
) -> None:
    """Give the champion alias back to an earlier champion. Twice walks further back.

    Example: mlops rollback --model-name sentiment --env prod --reason "recall of negative fell"
    """
    was_named = "env" in request.model_fields_set or request.rehearse
    request = request.completed()
    runner.confirm(f"Roll back {request.model} in {request.env}?", yes or was_named, f"--env {request.env}, or --yes")
    config = settings.load(request.env, model_name=request.model)
    done = _rolled_back(request, config, verbose)
    show.print_json(done) if as_json else console.echo(done.message)
    if not request.rehearse:
        promotion.report(target_of(config, request.model))  # killed before, it is completed by the same command again


def _rolled_back(request: RollbackRequest, config: Settings, verbose: bool) -> Promotion:
    """What came of it: as a flow where a server shows it or more than this machine takes part, else in a moment."""
    title = f"{'Rehearsing a rollback of' if request.rehearse else 'Rolling back'} {request.model} in {request.env}"
    if runner.gains_by_prefect(config, request.model):
        done: Promotion = runner.run_flow(
            "rollback", request.parameters, home=config.state, title=title, verbose=verbose
        )
        return done
    with runner.at_once("rollback", title, config.state):
        from lifecycle.monitoring import subject  # pandas comes with these, which no help needs
        from lifecycle.registry import rollback as rollbacks

        wanted = rollbacks.Wanted.of(config, request.model, request.to_version, request.reason, request.rehearse)
        promoted = rollbacks.roll_back(wanted).promotion
        if not request.rehearse:
            subject.rolled_back(subject.Subject.of(config, wanted.target))
        return promoted


@options.of_request
def infer(request: InferenceRequest, as_json: options.Json = False, verbose: options.Verbose = False) -> None:
    """Score a table with one pinned model and publish the predictions, whole or not at all. Again is a no-op.

    Example: mlops infer --model-name sentiment --env prod --input news.csv --text-column Sentence
    """
    request = request.completed()
    config = settings.load(request.env, model_name=request.model)
    request.require_one_table()
    scored = request.input or f"{request.data_name} {request.data_version or LATEST}"
    title = f"Scoring {scored} with {request.model} in {request.env}"
    with piped.kept(request.input, config.state) if request.input else nullcontext() as path:
        if path:
            request = request.model_copy(update={"input": path})
            _check_input(config, request)
        done = runner.run_flow("batch_inference", request.parameters, home=config.state, title=title, verbose=verbose)
    show.print_json(done) if as_json else show.batch(done)


@options.of_request
def release(request: ReleaseRequest, as_json: options.Json = False, verbose: options.Verbose = False) -> None:
    """Take a table all the way: dataset, training, dev, staging, prod, predictions. Exit code 4 if a gate refuses.

    It stops in the environment of --to, and goes on from there when it is given again.

    Example: mlops release --source news.csv --text-column Sentence --label-column Sentiment --data-name fsa
    --data-version 1.0.0 --model-name sentiment
    """
    _release(request.completed(), as_json, verbose)


def demo(as_json: options.Json = False, verbose: options.Verbose = False) -> None:
    """Take the bundled sample all the way, in a fresh state directory of its own."""
    home = settings.load(DEV).state / "demo"
    if home.exists():
        shutil.rmtree(home)
    os.environ["MLOPS_HOME"] = str(home)
    sample = ReleaseRequest(
        source=str(SAMPLE),
        data_name="financial_news",
        data_version="1.0.0",
        model_name="sentiment",
        text_column="Sentence",
        label_column="Sentiment",
    )
    _release(sample, as_json, verbose)
    if not as_json:
        _next_steps(home)


def _release(request: ReleaseRequest, as_json: bool, verbose: bool) -> None:
    config = settings.load(DEV, model_name=request.model)
    source = required(request.source, "--source")
    title = f"Releasing {request.model} from {source} to {show.and_(request.environments)}"
    with piped.kept(source, config.state) as path:
        request = request.model_copy(update={"source": path}).versioned(config)
        planned = check_source(config, request)
        kinds = {name: kind for name, kind in planned.columns.items() if kind != DROP}
        columns = tuple(Column(name=name, kind=kind) for name, kind in kinds.items())
        _require_algorithm(request, planned.problem, columns, request.environments)
        outcome = runner.run_flow("release", request.parameters, home=config.state, title=title, verbose=verbose)
    _answer(outcome, as_json, show.release)


def _next_steps(home: Path) -> None:
    """Print commands that can be pasted as they are, from where the demo was started."""
    here = Path.cwd()
    state = home.relative_to(here) if home.is_relative_to(here) else home
    folder = Path(sys.argv[0]).absolute().parent
    tools = folder.relative_to(here) if folder.is_relative_to(here) else folder
    mlops = f"MLOPS_HOME={state} {tools}/mlops"
    sample = SAMPLE.relative_to(here) if SAMPLE.is_relative_to(here) else SAMPLE
    steps = {
        "Who became champion in production, and why": f"{mlops} history --model-name sentiment",
        "A worse challenger is refused (exit code 4)": f"{mlops} train --data-name financial_news "
        "--data-version 1.0.0 --model-name sentiment --algorithm random_forest --params \"{'max_depth': 1}\"",
        "A better one goes all the way": f"{mlops} release --source {sample} --text-column Sentence --label-column "
        "Sentiment --data-name financial_news --data-version 1.0.0 --model-name sentiment --algorithm naive_bayes",
        "Roll production back": f"{mlops} rollback --model-name sentiment --env prod",
        "Open Prefect's and MLflow's UIs, with a worker and all deployments": f"{mlops} up",
        "Take your own table: in its folder": f"{tools}/mlops init FILE.csv && {tools}/mlops release",
    }
    console.echo("\nNext:")
    for what, command in steps.items():
        console.echo(f"\n  {what}:\n    {command}")


def _check_input(config: Settings, request: InferenceRequest) -> None:
    """A table that is not there ends here, before Prefect is started; one of a catalog may be there for the job."""
    if LOGICAL_DATE in str(request.input) and request.logical_date is None:
        return  # the day is that of the flow run, which says so if it has none
    source = request.source_of()
    if not (source.is_in_catalog and config.platform == "databricks"):
        ingest.require(source, config.data)


def _require_algorithm(
    request: TrainingRequest | ReleaseRequest,
    problem: ProblemName,
    columns: Columns,
    envs: Sequence[Environment],
    classes: Sequence[str] = (),
) -> None:
    """An algorithm or a parameter that there is not ends here, and code that one of the environments does not trust."""
    if request.algorithm is None and not request.params and not request.seed:
        return  # the default as it is; its libraries take seconds, and are imported while Prefect's server starts
    from lifecycle.problems import fitting, own
    from lifecycle.problems.known import named  # needs pandas, which no help does
    from lifecycle.problems.learning import Spec

    learning = named(problem).learning
    for env in reversed(envs):
        trusted = settings.load(env, model_name=request.model).trusted_modules
        algorithm = own.algorithm_of(learning.estimators, request.algorithm, trusted)
    learning.build(Spec(algorithm, request.params or {}, request.seed or 0, columns))
    if isinstance(algorithm, str):
        fitting.require_per_class(algorithm, request.params or {}, classes)


def _what(request: TrainingRequest) -> str:
    return f"{request.model} as {request.algorithm}" if request.algorithm else request.model


def _answer(outcome: Any, as_json: bool, draw: Any) -> None:
    """Print a flow's outcome; a refusal ends in exit code 4."""
    show.print_json(outcome) if as_json else draw(outcome)
    if outcome.refused:
        if not as_json:
            last = getattr(outcome, "admissions", (outcome,))[-1]
            console.echo("\n".join(next_steps.after(last)))
        raise typer.Exit(REFUSED)
