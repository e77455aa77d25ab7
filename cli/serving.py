"""`mlops serve`: answer single requests with a registered model on this machine."""

import json
import os
import shlex
import sys
from typing import Any

from joblib import cpu_count  # type: ignore[import-untyped]
from pydantic import Field

from cli import console, options, runner
from flows.request import Form
from lifecycle import settings
from lifecycle.core.errors import ConfigError
from lifecycle.core.names import Environment
from lifecycle.core.references import ModelRef
from lifecycle.models import scoring_processes
from lifecycle.registry import catalog
from lifecycle.settings import definitions

CREDENTIAL = "MLOPS_SERVE_AUTH_STRING"
"""With it, only programs that show this `user:password` are answered, not every user of the machine."""


class ServeRequest(Form):
    """Which model answers, where, and whom."""

    model_name: options.ModelName
    env: Environment = Field(Environment.PROD, description="Environment.")
    alias: str | None = Field(None, description="Default champion.")
    version: options.Version = None
    follow: bool = Field(False, description="Change to the new champion as it comes, without a pause.")
    port: int = Field(5001, ge=0, le=65535, description="Port on loopback; 0 takes a free one.")
    workers: int | None = Field(
        None, ge=1, description="Processes that answer, each with the model; default one a core."
    )
    allowed_host: options.AllowedHosts = None


@options.of_request
def serve(request: ServeRequest, as_json: options.Json = False) -> None:
    """Serve a verified model with MLflow's scoring server, on this machine only, until Ctrl-C.

    Example: mlops serve --model-name sentiment --env prod
    """
    credential = os.environ.get(CREDENTIAL, "")
    if request.follow and request.version is not None:
        raise ConfigError("--follow and --version exclude each other.", "A version stays: give one of them.")
    target = runner.existing(request.env, request.model_name)

    def newest() -> ModelRef:
        return catalog.resolve(target, alias=request.alias, version=request.version)

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

    config = settings.load(request.env, model_name=request.model_name)
    following = scoring_processes.Following(newest, config.serving.poll_seconds) if request.follow else None
    kept = config.serving.requests
    definition = definitions.chosen(request.model_name)[1]
    key = definition.row_key if definition else None
    log = scoring_processes.Log(config.requests / target.name, kept, key) if kept.enabled else None
    hosts = tuple(request.allowed_host or ())
    where = scoring_processes.Where(request.port, hosts, credential, request.workers or cpu_count(), log)
    scoring_processes.serve(model, where, ready, tell, following)
