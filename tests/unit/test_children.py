"""No process outlives the one that started it, however that ends, and how it ended is told in words.

Promise: No process outlives its command; Ctrl-C, SIGTERM and a closed terminal end it in order, 128 + the signal
(also `tests/unit/test_interrupts.py`).
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lifecycle.core import children

ROOT = Path(__file__).parents[2]

CHILD = """
import os, sys, time
from lifecycle.core import children
children.end_with(int(sys.argv[1]))
print(os.getpid(), flush=True)
{what}
"""
PARENT = """
import os, signal, subprocess, sys, time
command = [sys.executable, "-c", sys.argv[1], str(os.getpid())]
child = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True)
print(child.stdout.readline().strip(), flush=True)
{how}
"""
BUSY = {"asleep": "time.sleep(600)", "computing": "sum(range(10**12))", "stopped": "os.kill(os.getpid(), 19)"}
ENDS = {
    "SIGKILL": "time.sleep(600)",
    "SIGTERM": "time.sleep(600)",
    "its end": "sys.exit(3)",
    "a crash": "os.abort()",
    "an exit past all handlers": "os._exit(0)",
}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("busy", BUSY)
def test_a_child_ends_with_its_parent(end: str, busy: str) -> None:
    command = [sys.executable, "-c", PARENT.format(how=ENDS[end]), CHILD.format(what=BUSY[busy])]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        if end.startswith("SIG"):
            assert alive(child)
            parent.send_signal(signal.Signals[end])
        parent.wait()
    deadline = time.monotonic() + 240
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(child)


def test_one_whose_parent_has_gone_before_ends_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD.format(what=""), "1"], cwd=ROOT, capture_output=True)
    assert (done.returncode, done.stdout) == (1, b"")


@pytest.mark.parametrize(
    ("code", "said", "from_outside"),
    [
        (0, "ended with exit code 0", False),
        (3, "ended with exit code 3", False),
        (137, "ended with exit code 137", False),
        (-signal.SIGKILL, "was killed by SIGKILL", True),
        (-signal.SIGTERM, "was killed by SIGTERM", True),
        (-signal.SIGHUP, "was killed by SIGHUP", True),
        (-signal.SIGINT, "was killed by SIGINT", True),
        (-signal.SIGQUIT, "was killed by SIGQUIT", True),
        (-signal.SIGSEGV, "was killed by SIGSEGV", False),
        (-signal.SIGABRT, "was killed by SIGABRT", False),
        (-signal.SIGBUS, "was killed by SIGBUS", False),
        (-signal.SIGXCPU, "was killed by SIGXCPU", False),
        (-40, "was killed by signal 40", False),
    ],
)
def test_how_a_process_ended(code: int, said: str, from_outside: bool) -> None:
    assert (children.ended(code), children.from_outside(code)) == (said, from_outside)


@pytest.mark.parametrize(
    ("act", "stopped"),
    [
        (lambda process: process.poll(), False),
        (lambda process: process.send_signal(signal.SIGSTOP), True),
        (lambda process: [process.send_signal(number) for number in (signal.SIGSTOP, signal.SIGCONT)], False),
        (lambda process: process.kill(), False),
    ],
    ids=["running", "stopped", "going on", "dead"],
)
def test_whether_a_process_is_stopped(act: Callable[["subprocess.Popen[str]"], object], stopped: bool) -> None:
    with subprocess.Popen(["sleep", "600"], text=True) as process:
        act(process)
        deadline = time.monotonic() + 240
        while children.is_stopped(process) is not stopped and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        assert children.is_stopped(process) is stopped
        assert children.is_stopped(process) is stopped  # to ask changes nothing
        os.kill(process.pid, signal.SIGKILL)
