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
"""

from lifecycle.masking import masked


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
    """An artifact is not what was registered, or holds a type that we do not load."""

    exit_code = 7


class MetricError(IntegrityError):
    """A metric cannot be measured on these predictions, or gives no number; the gate then refuses the challenger."""
