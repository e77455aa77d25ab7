"""`mlops tune`: which parameters of an algorithm are the best, by cross-validation on the train split alone."""

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from pydantic import Field

from cli import console, options, runner, show, steps
from cli.server import own_server
from flows.flow_requests import Fitting, TrainingRequest
from flows.request import required
from lifecycle import settings
from lifecycle.core.errors import ConfigError
from lifecycle.core.names import Environment
from lifecycle.core.parameters import Name
from lifecycle.data import dataset
from lifecycle.data.manifest import LATEST
from lifecycle.settings.definitions import ModelDefinition

if TYPE_CHECKING:
    from lifecycle.settings import Settings
    from lifecycle.training.study import TuneRequest as Planned
    from lifecycle.training.tune import Trial, Tuned

SHOWN = 10
RUNS = 4
"""Of a job at once where nothing is said; the Free Edition of Databricks has room for five."""


class TuneRequest(Fitting):
    """What is searched; the rest is as in a training."""

    first = ("data_name", "data_version", "model_name")

    data_name: Name | None = Field(None, description="Name of the dataset.")
    data_version: Name | None = Field(None, description="Version whose train split is searched on; default the latest.")
    env: Environment = Field(Environment.DEV, description="Environment whose settings and metric count.")
    search: Literal["random", "grid", "halving"] = Field(
        "random",
        description="random draws of the space, grid tries all of it, halving tries many on few rows and the best "
        "third on three times as many.",
    )
    trials: int | None = Field(
        None, description="So many candidates; default 20, of halving 27, of a grid all.", ge=1, le=10_000
    )
    minutes: float | None = Field(None, description="No trial begins later than this.", gt=0, le=525_600)
    folds: int = Field(5, description="Folds of the cross-validation.", ge=2, le=50)
    metric: str = Field("", description="Metric to search by; default the one that the gate decides by.")
    param: Annotated[
        list[str] | None,
        typer.Option("--param", help="Values of a parameter to try, as C=0.1,1,10; may be repeated."),
    ] = None
    workers: int | None = Field(
        None,
        description="Processes that share the trials, each of which holds the rows; on Databricks runs of the job "
        "<env>-mlops-tune at once; default 1, on Databricks 4.",
        ge=1,
        le=100,
    )
    space: Path | None = Field(
        None, description="File (YAML) of values by name, or ranges, as C: {from: 0.1, to: 100, scale: log}."
    )

    def defined_by(self, definition: ModelDefinition) -> dict[str, object]:
        """The dataset, and what is fitted."""
        return {"data_name": definition.data.name} | self.fitted_by(definition)


@options.of_request
def tune(
    request: TuneRequest,
    train: Annotated[bool, typer.Option("--train", help="Train the best, and let the gate judge it.")] = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Search the parameters of an algorithm by cross-validation on the train split. The same again goes on.

    The same command on several machines with one tracking server shares the trials too.

    Example: mlops tune --model-name sentiment --algorithm logistic_regression --param C=0.1,1,10 --search grid
    """
    given = request.params
    request = request.completed()
    config = settings.load(request.env, model_name=request.model)
    runner.quiet(verbose=verbose)
    planned = _planned(config, request, given)
    with _one_server(config) if train and config.platform == "databricks" else nullcontext():
        found = _searched(config, planned, request.workers, verbose)
        if not (as_json and train):
            show.print_json(_as_json(found, request)) if as_json else _show(found, request)
        if train:
            steps.trained(_training(found, request), as_json, verbose)


@contextmanager
def _one_server(config: "Settings") -> Iterator[None]:
    """Prefect's server for the flows of both search and training: a process knows only one of its own."""
    runner.require_prefect()
    with own_server(config.state) as server:
        server.wait()
        yield


def _searched(config: "Settings", planned: "Planned", workers: int | None, verbose: bool) -> "Tuned":
    """What a search found, made by processes of this machine or by runs of its job."""
    from lifecycle.training import tune, tune_workers
    from lifecycle.training.folds import Folds

    manifest = dataset.load(config.datasets, planned.data_name, planned.data_version)
    title = f"Tuning {planned.algorithm} on the train split of {planned.data_name} {planned.data_version}"
    title = f"{title}, {planned.folds} folds, {Folds(manifest, planned.folds, planned.seed).kind}"
    if config.platform == "databricks":
        wanted = {"request": planned, "workers": workers or RUNS, "env": config.env}
        found: Tuned = runner.run_flow("tune", wanted, home=config.state, title=title, verbose=verbose)
        return found
    with runner.progress(title, runner.KEPT["tune"]):
        return tune.search(planned, partial(tune_workers.share, workers or 1))


def _planned(config: "Settings", request: TuneRequest, given: "dict[str, object] | None") -> "Planned":
    """The search, checked; parameters that a definition fixes may be searched, those that were given may not."""
    from lifecycle.training import spaces, study

    if request.space and request.param:
        raise ConfigError("--space and --param are one thing.", "Give one of them.")
    space = spaces.read(request.space) if request.space else spaces.written(request.param or [])
    fixed = {name: value for name, value in (request.params or {}).items() if given or name not in space}
    data_name = required(request.data_name, "--data-name")
    wanted = study.Tuning(
        data_name=data_name,
        data_version=dataset.resolve(config.datasets, data_name, request.data_version or LATEST),
        model_name=request.model,
        algorithm=request.algorithm,
        params=fixed,
        seed=request.seed or 0,
        space=space,
        **request.model_dump(include={"search", "trials", "minutes", "folds", "metric"}),
    )
    return study.plan(config, wanted)


def _training(found: "Tuned", request: TuneRequest) -> TrainingRequest:
    """The training of the best."""
    return TrainingRequest(
        data_name=found.data_name,
        data_version=found.data_version,
        model_name=found.model_name,
        env=request.env,
        algorithm=found.algorithm,
        params=found.params,
        seed=request.seed,
    )


def _command(found: "Tuned", request: TuneRequest) -> str:
    wanted = _training(found, request)
    parts = ["mlops", "train", "--model-name", found.model_name, "--data-name", found.data_name]
    parts += [
        "--data-version",
        found.data_version,
        "--algorithm",
        found.algorithm,
        "--params",
        json.dumps(found.params),
    ]
    parts += ["--seed", str(wanted.seed)] if wanted.seed else []
    return shlex.join([*parts, *(["--env", request.env] if request.env != Environment.DEV else [])])


def _as_json(found: "Tuned", request: TuneRequest) -> dict[str, object]:
    return found.model_dump(mode="json") | {"command": _command(found, request) if found.best else None}


def _show(found: "Tuned", request: TuneRequest) -> None:
    """The best trials as a table, and the command that trains the best."""
    names = list(found.trials[0].params) if found.trials else []
    rows = [(*(str(trial.params[name]) for name in names), *_reached(trial)) for trial in found.trials[:SHOWN]]
    more = f", the best {SHOWN}" if len(found.trials) > SHOWN else ""
    said = f"{len(found.trials)} trials of {found.planned} ({found.new} new){more}"
    show.table((*names, f"{found.metric} ± deviation", "rows", "seconds", "run"), rows, said)
    if found.best:
        console.echo("Measured on folds of train, so as the best of several a little too well; the gate will tell.")
        console.echo(f"Train the best: {_command(found, request)}")


def _reached(trial: "Trial") -> tuple[str, str, str, str]:
    value = "failed: " + trial.failure[:80] if trial.value is None else f"{trial.value:.4f} ± {trial.deviation:.4f}"
    return value, f"{trial.rows:,}", f"{trial.seconds:.1f}", trial.run_id[:8]
