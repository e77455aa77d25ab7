"""Run erasures in forked children of a process that has imported everything; a child may kill itself on the way.

Orders come as JSON lines on stdin, exit codes go out on stdout. The kill comes right before the k-th side effect: a
file opened for writing, renamed, made or removed below the state directory, or a database opened.
"""

import itertools
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

EFFECTS = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree", "sqlite3.connect"}


def main() -> None:
    """Import everything once, then fork one child per order."""
    import mlflow  # noqa: F401
    import pandas  # noqa: F401

    import lifecycle.data.expectations
    import lifecycle.erasure.erase  # noqa: F401

    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _child(order)
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(json.dumps(os.waitstatus_to_exitcode(status)) + "\n")
        sys.stdout.flush()


def _child(order: dict[str, Any]) -> None:
    from lifecycle import settings
    from lifecycle.erasure.erase import erase
    from lifecycle.erasure.wanted import Subject

    numbers, last = itertools.count(1), 0

    def hook(name: str, args: tuple[Any, ...]) -> None:
        nonlocal last
        writes = name == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if (writes or name in EFFECTS) and str(args[0]).startswith(order["home"]):
            last = next(numbers)
            if last == order["kill_at"]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    code = 0
    try:
        erase([settings.load("dev", home=Path(order["home"]))], Subject.model_validate(order["subject"]))
    except BaseException:  # whatever: the parent must see that the child did not succeed
        import traceback

        traceback.print_exc()
        code = 1
    Path(order["count_file"]).write_text(str(last), encoding="utf-8")
    os._exit(code)


if __name__ == "__main__":
    main()
