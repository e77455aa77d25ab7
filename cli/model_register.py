"""`mlops model create|register|register-(external|bert|vader)|copy`: every way into the registry but promotion."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import Field

from cli import console, options, runner, show
from flows.request import Form
from lifecycle import settings
from lifecycle.core.errors import ConfigError
from lifecycle.core.names import Environment
from lifecycle.models import loading
from lifecycle.models.external import external
from lifecycle.models.external.conversion import Pickled
from lifecycle.registry import catalog, registration, store, transfer

if TYPE_CHECKING:
    from lifecycle.core.references import ModelRef
    from lifecycle.registry.store import Target

DEV, STAGING = Environment.DEV, Environment.STAGING
Description = Annotated[str, typer.Option("--description", help="What it is, for people.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands under `mlops model`."""
    for command in (create, register, copy):
        app.command()(command)
    app.command("register-external")(register_external)
    app.command("register-bert")(register_bert)
    app.command("register-vader")(register_vader)


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
        None, description="The splits of that version that it saw: train; train,test; all (default). May be repeated."
    )
    memory_limit_mb: int = Field(2048, description="Memory of the process that reads it.")
    timeout_seconds: int = Field(120, description="Time of the process that reads it.")
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
        None, description="The splits of that version that it saw: train; train,test; all (default). May be repeated."
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


def _enter(target: "Target", env: Environment, model: "ModelRef", description: str, as_json: bool) -> None:

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
