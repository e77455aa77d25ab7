"""Which process writes something, so that what a dead one left half-written can be told from what is being written."""

import os
import socket

OWNER = "mlops.owner"


def owner() -> str:
    """The present process, as a tag's value."""
    return f"{socket.gethostname()}:{os.getpid()}"


def is_dead(name: str) -> bool:
    """Tell whether a process of this machine has ended; of other machines' processes nothing is known."""
    host, _, pid = name.rpartition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
