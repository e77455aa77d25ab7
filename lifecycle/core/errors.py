"""Every error that this project raises on purpose.

MlopsError                    catch this to catch ours and nothing else      exit code
├── ConfigError               a person must change a setting or an argument        2
│   └── NotFoundError         a dataset, model, version or run that is not there   2
├── DataError                 the data is wrong; running again cannot help         3
├── ConflictError             the state of the registry or a dataset forbids it    5
│   ├── LostRaceError         another promotion came first                         5
│   └── AliasMovedError       the champion alias was moved by hand                 5
├── TransientError            waiting may cure it: the only one that is retried    6
└── IntegrityError            a digest is wrong or a type is not trusted           7
    └── MetricError           a metric cannot be measured on a model's predictions 7

A refused challenger is not an error: it is a `Verdict` whose decision is not `promote` (exit code 4).

Each message says what, with the value, and why; then the command that gets out of it. Constructors hand their
arguments to `Exception`, so that errors survive pickling between processes; `__str__` renders. What a message quotes
may hold a secret, as addresses in the words of a library do: it is masked here, before anybody shows or stores it.

What the machine refuses (rights, room) is raised by whatever meets it: `of_the_machine` translates it where it shows.
"""

import errno
import sqlite3
from collections.abc import Iterator

from lifecycle.core.masking import masked

GET_RIGHTS = "Give this user the right to it (ls -ld, chown, chmod), or choose another folder: MLOPS_HOME=…"
CHECK_PLACE = "Check the path or the address."
MAKE_ROOM = "Make room on the disk, or raise the limit (df -h, quota, ulimit -f), and run the same command again."
REFUSALS = {
    errno.EACCES: GET_RIGHTS,
    errno.EPERM: GET_RIGHTS,
    errno.EROFS: GET_RIGHTS,
    errno.ENOSPC: MAKE_ROOM,
    errno.EDQUOT: MAKE_ROOM,
    errno.EFBIG: MAKE_ROOM,
}
OTHER_PATH = "Name another one: a part of it is too long, is a file where a folder belongs, or the other way round."
NO_PLACES = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP}
SQLITE_REFUSALS = {
    sqlite3.SQLITE_PERM: GET_RIGHTS,
    sqlite3.SQLITE_READONLY: GET_RIGHTS,
    sqlite3.SQLITE_CANTOPEN: GET_RIGHTS,
    sqlite3.SQLITE_FULL: MAKE_ROOM,
    sqlite3.SQLITE_IOERR: MAKE_ROOM,
}


class MlopsError(Exception):
    """Base of all our errors: what happened, and what to do about it."""

    exit_code = 1

    def __init__(self, what: str, fix: str = "") -> None:
        self.what, self.fix = masked(what), masked(fix)
        super().__init__(self.what, self.fix)

    def __str__(self) -> str:
        return f"{self.what} {self.fix}".strip()


class ConfigError(MlopsError):
    """A setting, an argument or the environment must be changed by a person."""

    exit_code = 2


class NotFoundError(ConfigError):
    """A dataset, model, version or run was named that does not exist."""


class DataError(MlopsError):
    """The data is wrong; running again cannot help. The message names file, row and column as far as they are known."""

    exit_code = 3


class ConflictError(MlopsError):
    """The present state of the registry or of a dataset forbids the request."""

    exit_code = 5


class LostRaceError(ConflictError):
    """Another promotion or rollback was entered first; the champion is not the one this step was decided against."""


class AliasMovedError(ConflictError):
    """The champion alias differs from the promotion log and no interrupted step explains it: a hand moved it."""


class TransientError(MlopsError):
    """A remote or local service failed in a way that waiting may cure."""

    exit_code = 6


class IntegrityError(MlopsError):
    """An artifact is not what was registered or holds a type that we do not load, or versions are missing."""

    exit_code = 7


class MetricError(IntegrityError):
    """A metric cannot be measured on these predictions, or gives no number; the gate then refuses the challenger."""


def of_the_machine(error: BaseException, where: object = "") -> ConfigError | None:
    """Our error for what the machine refused beneath any other error: a right, or room; None if it was neither.

    `where` names the file if the error does not. Room too is for a person to make: it is not retried.
    """
    for each in beneath(error):
        place = getattr(each, "filename", None) or where
        fix = _way_out(each)
        if fix == MAKE_ROOM or (fix and (place or isinstance(each, sqlite3.Error))):
            said = getattr(each, "strerror", None) or each
            unnamed = "A database" if isinstance(each, sqlite3.Error) else "A file"
            return ConfigError(f"{place or unnamed}: {said}.", fix)
    return None


def of_a_path(error: BaseException) -> ConfigError | None:
    """Our error for a path that a person gave and that cannot be one; None if it was anything else."""
    if not isinstance(error, OSError) or error.errno not in NO_PLACES or not error.filename:
        return None
    return ConfigError(f"{str(error.filename)!r:.300} cannot be used: {error.strerror}.", OTHER_PATH)


def _way_out(error: BaseException) -> str:
    """What to do about a refusal; empty if it is none."""
    if isinstance(error, sqlite3.Error):
        return SQLITE_REFUSALS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "")  # the rest says in which call
    return REFUSALS.get(error.errno or 0, "") if isinstance(error, OSError) else ""


def beneath(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that led to it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
