"""`mlops compare A B`: two models side by side on the same rows, by their stored predictions."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import Field

from cli import console, options, runner, show
from flows.request import Form
from lifecycle import settings
from lifecycle.core.errors import ConfigError
from lifecycle.core.names import Environment
from lifecycle.core.parameters import Name
from lifecycle.data import dataset
from lifecycle.registry import catalog
from lifecycle.registry.store import target_of

if TYPE_CHECKING:
    from lifecycle.core.references import ModelRef
    from lifecycle.gate.judge import JudgeRequest
    from lifecycle.settings import Settings

VERSION = re.compile(r"(?:(?P<env>dev|staging|prod)/)?v?(?P<number>[0-9]{1,3}|(?<=v)[0-9]+)")
WHICH = "A run or its first digits, a version such as 3 or prod/3, or dev, staging or prod for its champion."


class CompareRequest(Form):
    """Which two models, on which rows."""

    a: Annotated[str, typer.Argument(metavar="A", help=f"The challenger of the two. {WHICH}")]
    b: Annotated[str, typer.Argument(metavar="B", help="What it is compared with, likewise.")]
    model_name: options.ModelName
    env: Environment = Field(
        Environment.DEV, description="Environment of versions, and whose metrics and slices count."
    )
    data_name: Name | None = Field(None, description="Dataset to compare on; default the one that A was trained with.")
    data_version: Name | None = Field(None, description="Version of the dataset; likewise.")
    html: Path | None = Field(None, description="File to write the page with its plots to.")


@options.of_request
def compare(request: CompareRequest, as_json: options.Json = False) -> None:
    """Set two models side by side on the same rows: metrics, slices, rows that change.

    Rows that either was trained on are left out. Nothing is promoted, or counted by the gate. Predictions that are
    stored are reused; others are made once and stored.

    Example: mlops compare 5ea994b8 prod --html compared.html
    """
    runner.existing(request.env, request.model_name)
    config = settings.load(request.env, model_name=request.model_name)
    a, b = (_model(config, request.model_name, each) for each in (request.a, request.b))
    if a.artifact_sha256 == b.artifact_sha256:
        raise ConfigError(f"{a.label} and {b.label} are one model.", "Name two: mlops runs")
    from lifecycle.evaluation import evaluate as evaluation
    from lifecycle.gate import judge

    wanted = _judged(config, request, a, b)
    title = f"Comparing {a.label} with {b.label} on {wanted.data_name} {wanted.data_version}"
    with runner.progress(title, runner.UNCHANGED):
        for model in (a, b):
            evaluation.evaluate(evaluation.request_for(model, wanted.data_root, wanted.data_name, wanted.data_version))
        found, page = judge.compare(wanted)
    show.print_json(found) if as_json else show.comparison(found)
    if request.html:
        show.write_page(request.html, page)
    elif not as_json:
        console.echo("With plots: --html FILE")


def _model(config: "Settings", model_name: str, named: str) -> "ModelRef":
    """The model that a person means by the name of an environment, a version, or a run."""
    if named in {*Environment}:
        env = Environment(named)
        return catalog.resolve(target_of(settings.load(env, model_name=model_name), model_name))
    if found := VERSION.fullmatch(named):
        other = settings.load(Environment(found["env"]), model_name=model_name) if found["env"] else config
        return catalog.resolve(target_of(other, model_name), version=int(found["number"]))
    return catalog.resolve(target_of(config, model_name), run_id=named)


def _judged(config: "Settings", request: CompareRequest, a: "ModelRef", b: "ModelRef") -> "JudgeRequest":
    from lifecycle.gate.judge import JudgeRequest
    from lifecycle.training import train as training

    data_name, data_version = request.data_name, request.data_version
    if data_name is None:
        data_name, trained_with = training.trained_on(a.tracking_uri, a.run_id)
        data_version = data_version or trained_with
    return JudgeRequest(
        env=request.env,
        challenger=a,
        champion=b,
        data_root=config.datasets,
        data_name=data_name,
        data_version=dataset.resolve(config.datasets, data_name, data_version or "latest"),
        rules=config.gate,
        evidence_root=config.state / "evidence",
    )
