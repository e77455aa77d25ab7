"""Which process writes something, so that what a dead one left half-written can be told from what is being written.

And which user, who has neither a name nor a home where a container runs under any number.
"""

import getpass
import os
import socket
import uuid
from pathlib import Path

OWNER = "mlops.owner"
START = uuid.uuid4().hex
NO_HOME = "/nonexistent"
"""What Debian gives to those without one. No folder that others can write to: libraries read settings there."""


def owner() -> str:
    """The present process, as a tag's value."""
    return f"{socket.gethostname()}:{os.getpid()}"


def this_process() -> str:
    """The present process and no other: containers give the same names and numbers again, a fork copies the rest."""
    return f"{owner()}:{START}"


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


def user() -> str:
    """The name of this process's user, or the number of one without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"


def name_the_user() -> None:
    """Put name and home into the environment where the system knows none: libraries ask, and stop without an answer."""
    os.environ.setdefault("LOGNAME", user())
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = NO_HOME
