"""`mlops model create|register|register-…|copy`: every way into the registry but promotion."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import Field

from cli import console, options, runner, show
from flows.request import Form
from lifecycle import settings
from lifecycle.core.errors import ConfigError
from lifecycle.core.names import Environment
from lifecycle.core.parameters import ColumnMap
from lifecycle.core.references import ModelRef
from lifecycle.models import loading
from lifecycle.models.external import external
from lifecycle.models.external.conversion import Pickled
from lifecycle.models.external.declared import Declared, Labels, Order
from lifecycle.registry import catalog, registration, store, transfer
from lifecycle.settings import definitions
from lifecycle.tracking.artifacts import download

if TYPE_CHECKING:
    from lifecycle.data.manifest import Manifest
    from lifecycle.registry.store import Target

DEV, STAGING = Environment.DEV, Environment.STAGING
Description = Annotated[str, typer.Option("--description", help="What it is, for people.")]


def create(
    model_name: options.ModelToChange,
    env: options.Env = DEV,
    description: Description = "",
    as_json: options.Json = False,
) -> None:
    """Make an empty registered model; versions come by `mlops model register`. Again changes nothing.

    Example: mlops model create --model-name sentiment --env dev --description "Tone of financial news"
    """
    target = runner.registered(env, model_name)
    made = store.create_model(target, description=description)
    if as_json:
        show.print_json({"model": target.name, "created": made})
    else:
        console.echo(f"{target.name} {'is created, without versions' if made else 'is there already'}.")


def register(
    model_name: options.ModelToChange,
    run_id: Annotated[str | None, typer.Option("--run-id", help="A finished training run.")] = None,
    source: Annotated[str | None, typer.Option("--source", help="models:/… or runs:/… URI.")] = None,
    env: options.Env = DEV,
    description: Description = "",
    as_json: options.Json = False,
) -> None:
    """Register a model as a candidate: it gets a version and changes nothing. Again gives the same version.

    Example: mlops model register --model-name sentiment --env dev --run-id 3f1c…
    """
    if (run_id is None) == (source is None):
        raise ConfigError("Say what to register: either --run-id or --source.")
    target = runner.registered(env, model_name)
    if run_id is not None:
        model = catalog.resolve(target, run_id=run_id)
    else:
        model = registration.described(target, source or "")
    _enter(target, env, model, description, as_json)


class FlavourRequest(Form):
    """A model that somebody logged or saved with MLflow, and what is known of it."""

    model_name: options.ModelToChange
    source: Annotated[str, typer.Argument(help="A folder as MLflow saves a model, or a runs:/… or models:/… URI.")]
    env: options.Env = DEV
    columns: ColumnMap | None = Field(
        None, description="Input of the data to the column that the model reads, as \"{'text': 'sentence'}\"."
    )
    order: Order | None = Field(
        None, description="Inputs in the order in which it reads them, as temp,hum, if it knows no names."
    )
    labels: Labels | None = Field(
        None, description="What it answers to the label that it means, as \"{0: 'no', 1: 'yes'}\"; never guessed."
    )
    data_name: str | None = Field(None, description="Dataset that it was trained on.")
    data_version: str | None = Field(None, description="Its version.")
    trained_on: list[str] | None = Field(
        None, description="Splits of that version that it saw: train; train,test; all (default); none. May be repeated."
    )
    description: Description = ""

    @property
    def declared(self) -> dict[str, Any]:
        """What cannot be known of it."""
        return self.model_dump(include={"columns", "order", "labels"}, exclude_none=True)


@options.of_request
def register_mlflow(request: FlavourRequest, as_json: options.Json = False) -> None:
    """Register a model of any MLflow flavour, if it keeps the contract of its problem: columns, types and answers.

    It is checked against the rows of train of the dataset that the model's definition names, or --data-name. Code in it
    (a pickle, a PythonModel, modules of its own) runs only where the settings trust its digest: trusted_models.

    What it saw the gate leaves out of the comparison: --data-name, --data-version and --trained-on say it. Without them
    no gate accepts it.

    Example: mlops model register-mlflow runs:/3f1c…/model --model-name sentiment --data-name news --data-version 1
    """
    from lifecycle.models.external import contract, incoming  # needs pandas and MLflow, which no help does

    target, config = runner.registered(request.env, request.model_name), settings.load(request.env)
    said = external.said(config, request.data_name, request.data_version, request.trained_on or ())
    manifest = _judged_on(config, request)
    with _files_of(target, request.source) as folder:
        trust = ModelRef(tracking_uri=target.tracking_uri, uri=request.source, run_id="", artifact_sha256="")
        trusted = trust.model_copy(update=target.trust)
        asked = contract.Asked(request.source, manifest, settings.checked(Declared, **request.declared))
        model = incoming.register(
            config, request.model_name, incoming.Incoming(folder, request.source, trusted), asked, said
        )
    _enter(target, request.env, model, request.description, as_json)


def _judged_on(config: settings.Settings, request: FlavourRequest) -> "Manifest":
    """The dataset version whose contract a model is to keep: the one that is named, else the latest of its model."""
    from lifecycle.data import dataset
    from lifecycle.data.manifest import LATEST

    definition = definitions.chosen(request.model_name)[1]
    name = request.data_name or (definition.data.name if definition else None)
    if name is None:
        what = f"{request.model_name} is not defined, so nothing says which data it is about."
        raise ConfigError(what, "Define it: mlops init TABLE, or name a dataset: --data-name … --data-version …")
    return dataset.load(config.datasets, name, request.data_version or dataset.resolve(config.datasets, name, LATEST))


@contextmanager
def _files_of(target: "Target", source: str) -> Iterator[Path]:
    """The files of a model: a folder here, or what a URI of the target's server names."""
    if not source.startswith(("models:/", "runs:/")):
        yield Path(source)
        return
    named = registration.described(target, source).uri
    with tempfile.TemporaryDirectory(prefix="mlops-model-") as temporary:
        yield download(target.tracking_uri, named, Path(temporary), target.registry_uri)


class ExternalRequest(Form):
    """A model that was not trained here, and what is known of it."""

    model_name: options.ModelToChange
    file: Annotated[Path, typer.Argument(help="A scikit-learn model stored with pickle or joblib.")]
    sha256: str = Field(description="Its digest, from whoever made it: sha256sum FILE.")
    env: options.Env = DEV
    allow_pickle: bool = Field(False, description="Keep it as a pickle if skops cannot hold it.")
    data_name: str | None = Field(None, description="Dataset that it was trained on.")
    data_version: str | None = Field(None, description="Its version.")
    trained_on: list[str] | None = Field(
        None, description="Splits of that version that it saw: train; train,test; all (default); none. May be repeated."
    )
    memory_limit_mb: int = Field(2048, ge=1, le=1_048_576, description="Memory of the process that reads it.")
    timeout_seconds: int = Field(120, ge=1, le=86_400, description="Time of the process that reads it.")
    description: Description = ""

    @property
    def pickled(self) -> Pickled:
        """The file, and how it is read."""
        return Pickled(path=self.file, **self.model_dump(include={*Pickled.model_fields}))


@options.of_request
def register_external(request: ExternalRequest, as_json: options.Json = False) -> None:
    """Register a scikit-learn model that was pickled outside MLflow, converted to skops. Exit code 7 if it cannot be.

    A pickle can run any code when it is loaded: that is why its digest is needed, and why it is loaded in a process of
    its own with a limit on memory and time.

    What it saw the gate leaves out of the comparison: --data-name, --data-version and --trained-on say it. Without them
    no gate accepts it.

    Example: mlops model register-external model.pkl --sha256 9f86d0… --model-name sentiment --env dev
    """
    target, config = runner.registered(request.env, request.model_name), settings.load(request.env)
    said = external.said(config, request.data_name, request.data_version, request.trained_on or ())
    model = external.register(config, request.model_name, request.pickled, said)
    _enter(target, request.env, model, request.description, as_json)


class NetworkRequest(Form):
    """A fine-tuned network that was made elsewhere, and what is known of it."""

    model_name: options.ModelToChange
    folder: Annotated[Path, typer.Argument(help="A folder of save_pretrained: config, safetensors, tokenizer.")]
    env: options.Env = DEV
    data_name: str | None = Field(None, description="Dataset that it was fine-tuned on.")
    data_version: str | None = Field(None, description="Its version.")
    trained_on: list[str] | None = Field(
        None, description="Splits of that version that it saw: train; train,test; all (default); none. May be repeated."
    )
    description: Description = ""


@options.of_request
def register_bert(request: NetworkRequest, as_json: options.Json = False) -> None:
    """Register a fine-tuned BERT, or another network of texts, from its files; none of them may be code.

    What it saw the gate leaves out of the comparison: --data-name, --data-version and --trained-on say it. Without them
    no gate accepts it.

    Example: mlops model register-bert finbert --model-name sentiment --env dev
    """
    target, config = runner.registered(request.env, request.model_name), settings.load(request.env)
    said = external.said(config, request.data_name, request.data_version, request.trained_on or ())
    experiment = f"{request.model_name}-{request.env}"
    model = external.log_network(config.mlflow_uri, experiment, request.model_name, request.folder, said)
    _enter(target, request.env, model, request.description, as_json)


def register_vader(
    model_name: options.ModelToChange,
    env: options.Env = DEV,
    description: Description = "",
    as_json: options.Json = False,
) -> None:
    """Register VADER, a sentiment lexicon without training, as a model like any other: a baseline to beat.

    Example: mlops model register-vader --model-name vader --env dev
    """
    target, config = runner.registered(env, model_name), settings.load(env)
    model = external.log_vader(config.mlflow_uri, f"{model_name}-{env}", model_name)
    _enter(target, env, model, description, as_json)


def copy(
    model_name: options.ModelToChange,
    source_env: Annotated[Environment, typer.Option("--from", help="Environment to copy from.")] = DEV,
    target_env: Annotated[Environment, typer.Option("--to", help="Environment to copy to.")] = STAGING,
    version: options.Version = None,
    description: Description = "",
    as_json: options.Json = False,
) -> None:
    """Copy a version (default the champion) to another environment as a candidate, without tags and aliases.

    Between different servers the files are downloaded, verified and uploaded. To make it champion: mlops promote.

    Example: mlops model copy --model-name sentiment --from dev --to staging --version 2
    """
    source, target = runner.registered(source_env, model_name), runner.registered(target_env, model_name)
    if source == target:
        raise ConfigError(f"--from and --to are both {source_env}.", "Name two environments.")
    model = catalog.resolve(source, version=version)
    loading.verify(model)
    _enter(target, target_env, transfer.bring(model, target), description, as_json)


def _enter(target: "Target", env: Environment, model: ModelRef, description: str, as_json: bool) -> None:

    number = registration.candidate(target, model, description=description)
    _announce(target.name, env, number)
    done: dict[str, Any] = {"model": target.name, "version": number, "artifact_sha256": model.artifact_sha256}
    if as_json:
        show.print_json(done)
    else:
        console.echo(f"Registered {target.name} v{number} as a candidate ({model.artifact_sha256[:12]}).")


def _announce(name: str, env: Environment, number: int) -> None:
    """Emit the event where a Prefect server is there to hear it."""
    if not (address := os.environ.get("PREFECT_API_URL", "")):
        return
    from cli.operations.state import login

    os.environ |= login(settings.load(env).state, address)
    from tasks import events

    events.emit("registered", name, env, version=number)
