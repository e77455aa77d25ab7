"""A process that carries out each order in a child forked from it: what it has imported costs no order a start-up.

Orders come as JSON lines on stdin, `{function, arguments, here}`, exit codes go out on what was stdout. An order with
`here` is carried out in the process itself, so that all later children inherit what it made ready.
"""

import gc
import importlib
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

Ordered = Callable[..., None]


@dataclass(frozen=True)
class Zygote:
    """The process, as who gives orders sees it."""

    process: "subprocess.Popen[str]"

    def run(self, function: Ordered, *arguments: Any, here: bool = False) -> int:
        """Call a function of some module in a fresh child; 0, 1 after an exception, or minus the signal it died of."""
        assert self.process.stdin
        assert self.process.stdout
        order = {"function": [function.__module__, function.__name__], "arguments": arguments, "here": here}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@contextmanager
def zygote(*modules: str, environment: Mapping[str, str] | None = None) -> Iterator[Zygote]:
    """Start one that has imported these modules; it ends with the block."""
    command = [sys.executable, "-m", "tests.zygote", *modules]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes) as process:
        try:
            yield Zygote(process)
        finally:
            process.kill()


def main() -> None:
    """Import everything once, then fork one child per order."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for module in sys.argv[1:]:
        importlib.import_module(module)
    for line in sys.stdin:
        order = json.loads(line)
        module, name = order["function"]
        function = getattr(importlib.import_module(module), name)
        gc.freeze()  # what is there stays: no child looks through it
        answers.write(f"{_here(function, order) if order['here'] else _in_a_child(function, order)}\n")
        answers.flush()


def _in_a_child(function: Ordered, order: dict[str, Any]) -> int:
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(_here(function, order))


def _here(function: Ordered, order: dict[str, Any]) -> int:
    try:
        function(*order["arguments"])
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # whatever else: who gave the order must see that it was not carried out
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    main()
