"""Flows for children of a zygote; a child may be told to kill itself on the way."""

import importlib
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from lifecycle.core.errors import MlopsError
from lifecycle.gate.proof import replay
from tasks import limits
from tests.faults.effects import watch


def carry_out(order: dict[str, Any]) -> None:
    """Run a flow, and write down how many side effects it had."""
    # the same replay, here: its fresh process has no side effect on the state, and starting it 60 times costs minutes
    replay._in_fresh_process, replay.ahead = replay.replay, lambda _=None: nullcontext()
    os.environ.update(order["env"])
    effects, finished = watch(order["env"]["MLOPS_HOME"], order["kill_at"])
    flow = getattr(importlib.import_module(f"flows.{order['flow']}"), order["flow"])
    try:
        # as a command with a server of its own; else a killed one would hold its slot for a minute
        with limits.alone():
            flow(**order["parameters"])
    except MlopsError as error:
        raise SystemExit(error.exit_code) from None
    finished()
    Path(order["count_file"]).write_text(str(len(effects)), encoding="utf-8")
