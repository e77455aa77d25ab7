"""`mlops serve`: answer single requests with a registered model on this machine."""

import json
import os
import shlex
import sys
from typing import Annotated, Any

import typer

from cli import console, options, runner
from lifecycle.core.names import Environment
from lifecycle.models import scoring_server
from lifecycle.registry import catalog

CREDENTIAL = "MLOPS_SERVE_AUTH_STRING"
"""With it, only programs that show this `user:password` are answered, not every user of the machine."""


def serve(
    model_name: options.ModelName,
    env: options.Env = Environment.PROD,
    alias: Annotated[str | None, typer.Option(help="Default champion.")] = None,
    version: options.Version = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on loopback; 0 takes a free one.")] = 5001,
    allowed_host: options.AllowedHosts = None,
    as_json: options.Json = False,
) -> None:
    """Serve a verified model with MLflow's scoring server, on this machine only, until Ctrl-C.

    Example: mlops serve --model-name sentiment --env prod
    """
    credential = os.environ.get(CREDENTIAL, "")
    model = catalog.resolve(runner.existing(env, model_name), alias=alias, version=version)

    def ready(address: str, row: dict[str, Any]) -> None:
        facts = {"address": address, "model": model.name, "version": model.version}
        console.echo(json.dumps(facts) if as_json else address)
        body = json.dumps({"dataframe_split": {"columns": [*row], "data": [[*row.values()]]}})
        who = f'-u "${CREDENTIAL}" ' if credential else ""
        ask = f"curl -s {who}{address}/invocations -H 'Content-Type: application/json' -d {shlex.quote(body)}"
        sys.stderr.write(f"Serving {model.label} until Ctrl-C. Ask it:\n  {ask}\n")

    scoring_server.serve(model, port, ready, hosts=allowed_host or (), credential=credential)
