"""`mlops serve`: answer single requests with a registered model on this machine."""

import json
import os
import shlex
import sys
from typing import Annotated, Any

import typer

from cli import console, options, runner
from lifecycle import settings
from lifecycle.core.errors import ConfigError
from lifecycle.core.names import Environment
from lifecycle.core.references import ModelRef
from lifecycle.models import scoring_server
from lifecycle.registry import catalog

CREDENTIAL = "MLOPS_SERVE_AUTH_STRING"
"""With it, only programs that show this `user:password` are answered, not every user of the machine."""


def serve(
    model_name: options.ModelName,
    env: options.Env = Environment.PROD,
    alias: Annotated[str | None, typer.Option(help="Default champion.")] = None,
    version: options.Version = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Change to the new champion as it comes, without a pause.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on loopback; 0 takes a free one.")] = 5001,
    allowed_host: options.AllowedHosts = None,
    as_json: options.Json = False,
) -> None:
    """Serve a verified model with MLflow's scoring server, on this machine only, until Ctrl-C.

    Example: mlops serve --model-name sentiment --env prod
    """
    credential = os.environ.get(CREDENTIAL, "")
    if follow and version is not None:
        raise ConfigError("--follow and --version exclude each other.", "A version stays: give one of them.")
    target, seconds = runner.existing(env, model_name), settings.load(env, model_name=model_name).serving.poll_seconds

    def newest() -> ModelRef:
        return catalog.resolve(target, alias=alias, version=version)

    model = newest()

    def ready(address: str, row: dict[str, Any]) -> None:
        facts = {"address": address, "model": model.name, "version": model.version}
        console.echo(json.dumps(facts) if as_json else address)
        body = json.dumps({"dataframe_split": {"columns": [*row], "data": [[*row.values()]]}})
        who = f'-u "${CREDENTIAL}" ' if credential else ""
        ask = f"curl -s {who}{address}/invocations -H 'Content-Type: application/json' -d {shlex.quote(body)}"
        sys.stderr.write(f"Serving {model.label} until Ctrl-C. Ask it:\n  {ask}\n")

    def tell(said: str) -> None:
        sys.stderr.write(f"{said}\n")

    following = scoring_server.Following(newest, seconds, tell)
    scoring_server.serve(
        model,
        port,
        ready,
        hosts=allowed_host or (),
        credential=credential,
        following=following if follow else None,
    )
