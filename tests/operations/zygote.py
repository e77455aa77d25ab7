"""Run commands in forked children of a process that has imported what they import: a command costs no start-up.

Orders come as JSON lines on stdin, `{module, arguments, environment, folder, output, errors}`, the last two the files
that a command writes to; exit codes go out on stdout. The server of the environment is that of every command.
"""

import atexit
import importlib
import json
import os
import sys
import warnings
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


def main() -> None:
    """Import everything once, then fork one child per order."""
    answers = os.fdopen(os.dup(1), "w")
    start.protect()
    from cli.operations import connection

    connection.connect(Path(os.environ["MLOPS_HOME"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in IMPORTED:
            importlib.import_module(module)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _child(order)
        _, status = os.waitpid(pid, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
        answers.flush()


def _child(order: dict[str, Any]) -> None:
    """Become the process that a shell would have started."""
    for number, name in ((1, "output"), (2, "errors")):
        os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = [order["module"], *order["arguments"]]
    code: Any = 1
    try:
        start.protect()
        code = _run(order["module"])
    except SystemExit as error:
        code = error.code
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else code is not None)


def _run(module: str) -> Any:
    if module == "prefect":
        return importlib.import_module("prefect.cli").app()
    return importlib.import_module(module).main()


if __name__ == "__main__":
    main()
