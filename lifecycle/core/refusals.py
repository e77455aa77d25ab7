"""What a library raises because of what the user gave, as an error of ours with the library's own sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

from lifecycle.core.errors import ConfigError, MlopsError, TransientError

LENGTH = 500
CANNOT_SCORE = "Look at the rows, or try the model on one of them: mlops model predict"


@contextmanager
def refused_by_the_library(where: str, kind: type[MlopsError], fix: str) -> Iterator[None]:
    """Turn whatever is raised within into an error of a kind; ours pass as they are.

    Only calls of a library belong within: what a line of ours raises there is a bug that would go unseen.
    """
    try:
        yield
    except MlopsError:
        raise
    except Exception as error:  # libraries raise whatever they like for what they were given
        is_transient = getattr(error, "is_transient", None)  # what a model asks elsewhere is no fault of the rows
        if is_transient is not None:
            raise (TransientError if is_transient else ConfigError)(f"{where}{sentence(error)}") from error
        raise kind(f"{where}{sentence(error)}", fix) from error


def sentence(error: Exception) -> str:
    """What an exception says, on one line and not longer than a screen; its type where that tells more."""
    said = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return f"the memory does not suffice ({said or 'MemoryError'})."
    if not said or isinstance(error, KeyError | IndexError | AttributeError | AssertionError | RecursionError):
        said = f"{type(error).__name__}: {said}".removesuffix(": ")
    return f"{said[:LENGTH].rstrip('.')}."
