"""The processes that a command starts: none of them outlives it, and how one ended is told in words.

`end_with`    what each of them calls first
`ended`       how a process ended, from its exit code
`from_outside`   whether somebody else ended it
`is_stopped`  whether somebody has stopped it (SIGSTOP)
"""

import os
import signal
import subprocess
import sys
import threading
import time

PR_SET_PDEATHSIG = 1
FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
"""What a person, a service manager or the system when memory is short sends; a crash of the process's own is none."""


def end_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends, however that ends, and also if this one is stopped.

    Linux counts the parent's thread: whoever starts a process waits for it in the same thread. Elsewhere a thread
    looks after the parent.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        _end_unless(parent)  # it may have ended before it was asked for
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def ended(code: int) -> str:
    """How a process ended: `was killed by SIGKILL`, `ended with exit code 3`."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}"


def from_outside(code: int) -> bool:
    """Tell whether a process was ended by somebody else, so that the same again may well work."""
    return -code in FROM_OUTSIDE


def is_stopped(process: "subprocess.Popen[str]") -> bool:
    """Tell whether a child is stopped: it neither works nor ends."""
    try:
        return os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def _end_unless(parent: int) -> None:
    if os.getppid() != parent:
        os._exit(1)


def _watch(parent: int) -> None:
    while True:
        _end_unless(parent)
        time.sleep(0.5)
