"""Commands for children of a zygote that has imported what they import: a command costs no start-up."""

import atexit
import importlib
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlops_lifecycle import start

IMPORTED = (
    "cli.approve",
    "cli.deploy",
    "cli.main",
    "cli.steps",
    "cli.system",
    "cli.operations.approvals",
    "cli.operations.backfill",
    "cli.operations.deployments",
    "cli.operations.runs",
    "cli.operations.setup",
    "prefect.blocks.notifications",
    "prefect.cli.events",
    "prefect.cli.flow_run",
)


def prepare() -> None:
    """Import everything in the zygote itself; the server of its environment is that of every command."""
    start.protect()
    from cli.operations import connection

    connection.connect(Path(os.environ["MLOPS_HOME"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in IMPORTED:
            importlib.import_module(module)


def run(
    module: str, arguments: Sequence[str], folder: str, environment: Mapping[str, str], said: Sequence[str]
) -> None:
    """Become the process that a shell would have started, its output and its errors in files."""
    for number, path in zip((1, 2), said, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    try:
        start.protect()
        _main(module)
    finally:
        atexit._run_exitfuncs()


def _main(module: str) -> Any:
    if module == "prefect":
        return importlib.import_module("prefect.cli").app()
    return importlib.import_module(module).main()
