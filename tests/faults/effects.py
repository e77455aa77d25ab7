"""What a process changes in a state directory, counted, and its end at one of the changes."""

import os
import re
import signal
import sys
from collections.abc import Callable
from typing import Any

CHANGES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree", "shutil.copyfile"}
WRITING = re.compile(r"\s*(INSERT|UPDATE|DELETE|REPLACE|CREATE|DROP|ALTER)", re.IGNORECASE)


def watch(
    home: str, kill_at: int | None, opened: bool = False, *, also: str = ""
) -> tuple[list[str], Callable[[], None]]:
    """Record side effects from now on and kill this process at one of them; the second answer ends the recording.

    A side effect is a commit that writes, a change below the state directory, or the audit event `also`. A commit of a
    transaction that only read leaves nothing behind, so a kill there is the kill before the next. The kill comes right
    before the effect or, with `opened`, where that is a file opened for writing, right after it: the file is there and
    empty. The effect after the last one is the end of the operation.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    effects: list[str] = []
    state = {"on": True}

    def effect(what: str, opening: Callable[[], object] | None = None) -> None:
        if not state["on"]:
            return
        effects.append(what)
        if len(effects) == kill_at:
            state["on"] = False
            if opened and opening:
                opening()
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(name: str, args: tuple[Any, ...]) -> None:
        if not state["on"]:
            return
        if name == "open":
            path, _, flags = args
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and str(path).startswith(home):
                effect(f"open {path}", lambda: os.open(path, flags, 0o600))
        elif name in CHANGES or name == also:
            path = str(args[1]) if name == "shutil.copyfile" else _whole(args)
            if path.startswith(home):
                effect(f"{name} {path.removeprefix(home)}")

    def executed(connection: Any, _: Any, statement: str, *__: Any) -> None:
        if WRITING.match(statement):
            connection.info["wrote"] = [*connection.info.get("wrote", []), " ".join(statement.split()[:3])]

    def committed(connection: Any) -> None:
        if wrote := connection.info.pop("wrote", None):
            effect(f"commit of {', '.join(dict.fromkeys(wrote))}")

    def rolled_back(connection: Any) -> None:
        connection.info.pop("wrote", None)

    def ended() -> None:
        effect("end")
        state["on"] = False

    sys.addaudithook(hook)
    event.listen(Engine, "before_cursor_execute", executed)
    event.listen(Engine, "commit", committed)
    event.listen(Engine, "rollback", rolled_back)
    return effects, ended


def _whole(args: tuple[Any, ...]) -> str:
    """The path of a change; `shutil.rmtree` names what it removes relative to an open directory."""
    path, directory = str(args[0]), args[-1]
    if os.path.isabs(path) or not isinstance(directory, int) or directory < 0:  # noqa: PTH117
        return path
    return f"{os.readlink(f'/proc/self/fd/{directory}')}/{path}"  # noqa: PTH115
