"""Run flows in forked children of a process that has imported everything: a kill test costs seconds, not start-ups.

Orders come as JSON lines on stdin, exit codes go out on stdout. A child can be told to kill itself with SIGKILL right
before its k-th side effect: a file opened for writing, renamed, made or removed below the state directory, or a commit
to a database.
"""

import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

EFFECTS = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree", "shutil.copyfile"}


def main() -> None:
    """Import everything once, then fork one child per order."""
    import matplotlib.figure  # noqa: F401
    import mlflow.pyfunc  # noqa: F401
    import skops.io  # noqa: F401

    import lifecycle.data.expectations  # noqa: F401
    from lifecycle.gate.proof import replay

    # the same replay, here: its fresh process has no side effect on the state, and starting it 60 times costs minutes
    replay._in_fresh_process, replay.ahead = replay.replay, lambda _=None: nullcontext()
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _child(order)
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(json.dumps(os.waitstatus_to_exitcode(status)) + "\n")
        sys.stdout.flush()


def _child(order: dict[str, Any]) -> None:
    import importlib

    from lifecycle.core.errors import MlopsError
    from tasks import limits

    os.environ.update(order["env"])
    seen = _count_effects(order["env"]["MLOPS_HOME"], order["kill_at"])
    flow = getattr(importlib.import_module(f"flows.{order['flow']}"), order["flow"])
    code = 0
    try:
        with (
            limits.alone()
        ):  # as a command with a server of its own; else a killed one would hold its slot for a minute
            flow(**order["parameters"])
    except MlopsError as error:
        code = error.exit_code
    except BaseException:  # whatever else: the parent must see that the child did not succeed
        import traceback

        traceback.print_exc()
        code = 1
    with open(order["count_file"], "w") as file:  # noqa: PTH123  not an effect on the state
        json.dump(seen(), file)
    os._exit(code)


def _count_effects(home: str, kill_at: int | None) -> Callable[[], int]:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    numbers, last = itertools.count(1), [0]

    def effect(*_: Any) -> None:
        last[0] = next(numbers)
        if last[0] == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(name: str, args: tuple[Any, ...]) -> None:
        if name == "open":
            path, _, flags = args
            if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and str(path).startswith(home):
                effect()
        elif name in EFFECTS and str(args[0]).startswith(home):
            effect()

    sys.addaudithook(hook)
    event.listen(Engine, "commit", effect)
    return lambda: last[0]


if __name__ == "__main__":
    main()
