"""The child process in which a pickle from outside is read: to unpickle is to run whatever code the file brings.

`lifecycle.models.external.conversion` starts it with a request as its argument, in a folder of its own, with an
environment that holds no secrets. It leaves `answer.json` there and, if the model converts, `pipeline.skops`.
"""

import json
import resource
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lifecycle.core import children
from lifecycle.core.errors import DataError
from lifecycle.problems.fitting import on_one_core

ANSWER, CONVERTED = "answer.json", "pipeline.skops"
TOLERANCE = 1e-9
"""How far a probability may move by being stored: the order of floating-point sums, nothing more."""


class Origin(NamedTuple):
    """A model as the file held it, and the versions of scikit-learn that it was pickled with, if another."""

    model: Any
    versions: tuple[str, ...]

    @property
    def note(self) -> str:
        """What is said about the versions; empty if they are the same."""
        import sklearn

        if not self.versions:
            return ""
        return f"It was pickled with scikit-learn {', '.join(self.versions)}; this is {sklearn.__version__}."


def limit(memory_mb: int, seconds: int) -> None:
    """Bound this process for good: memory, processor time and the size of a file.

    Not a sandbox: it stops an accident and a bomb, not code that means to reach other files.
    """
    size = memory_mb * 2**20
    wanted = {resource.RLIMIT_FSIZE: size, resource.RLIMIT_CPU: seconds, resource.RLIMIT_CORE: 0}
    if sys.platform != "darwin":  # which has no such limit
        wanted[resource.RLIMIT_AS] = size
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, bound))


def examine(source: Path, samples: Sequence[str], folder: Path) -> dict[str, Any]:
    """Read the file, check that it is a text classifier, and store it with skops if that holds all of it.

    Raises:
        DataError: It is not a fitted scikit-learn classifier of texts.
    """
    origin = _unpickled(source)
    try:
        classes, expected = _answers(origin.model, samples)
    except DataError as error:
        raise DataError(f"{error.what} {origin.note}".strip(), error.fix) from None
    untrusted, reason = _convert(origin.model, samples, expected, folder / CONVERTED)
    notes = [origin.note] if origin.note else []
    return {"classes": classes, "notes": notes, "untrusted": untrusted, "reason": reason}


def _unpickled(source: Path) -> Origin:
    """Read a pickle or a joblib file, compressed or not."""
    import joblib  # type: ignore[import-untyped]

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = joblib.load(source)
        except MemoryError:
            raise
        except BaseException as error:  # unpickling raises whatever the code in it raises, SystemExit too
            fix = "Install what it needs; functions of a script or notebook travel only with cloudpickle."
            raise DataError(f"it cannot be unpickled: {_short(error)}.", fix) from None
    found = {getattr(each.message, "original_sklearn_version", "") for each in caught}
    return Origin(model, tuple(sorted(str(version) for version in found if version)))


def _answers(model: Any, samples: Sequence[str]) -> tuple[list[str], Any]:
    """The classes of a model as texts, and its probabilities for the samples."""
    import numpy as np
    from sklearn.base import BaseEstimator

    kind = type(model).__name__
    if not isinstance(model, BaseEstimator):
        raise DataError(f"it holds a {kind}, not a scikit-learn estimator.", "Pickle the fitted pipeline alone.")
    columns = getattr(model, "feature_names_in_", None)
    if columns is not None and len(columns) != 1:
        what = f"{kind} reads {len(columns)} columns ({', '.join(map(str, columns[:5]))}); a text model reads one."
        raise DataError(what, "Pickle a pipeline that starts from the text.")
    classes, probabilities = _probabilities(model, samples)
    names = [str(name) for name in classes]
    shape, right = np.shape(probabilities), (len(samples), len(names))
    if shape != right or len(set(names)) != len(names):
        raise DataError(f"{kind} answers {len(samples)} texts with a table of {shape}, not {right}.")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise DataError(f"{kind} answers with numbers that are no probabilities.")
    return names, probabilities


def _probabilities(model: Any, samples: Sequence[str]) -> tuple[Any, Any]:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    kind = type(model).__name__
    fix = "Pickle a fitted classifier with predict_proba, its vectoriser included."
    if not hasattr(model, "predict_proba"):
        last = type(model[-1]).__name__ if hasattr(model, "steps") else kind
        raise DataError(f"{last} has no predict_proba.", fix)
    try:
        check_is_fitted(model)
        on_one_core(model)
        from lifecycle.problems.text_classification.model import TextModel

        return model.classes_, TextModel(model).probabilities(_table(samples))
    except MemoryError:
        raise
    except NotFittedError:
        raise DataError(f"{kind} is not fitted.", fix) from None
    except Exception as error:
        raise DataError(f"{kind} does not answer texts: {_short(error)}.", fix) from None


def _table(samples: Sequence[str]) -> Any:
    import pandas as pd

    return pd.DataFrame({"text": list(samples)}, dtype=object)


def _convert(model: Any, samples: Sequence[str], expected: Any, path: Path) -> tuple[list[str], str]:
    """Store with skops and read back; returns the types that are not trusted and why it cannot be used, if so."""
    import numpy as np

    from lifecycle.models.pipelines import trusted_types, untrusted_types
    from lifecycle.problems.text_classification import model as text_model

    try:
        text_model.store(model, path)
        if untrusted := untrusted_types(path):
            return untrusted, f"holds types that are not trusted: {', '.join(untrusted[:5])}"
        again = text_model.TextModel(text_model.read(path, trusted_types())).probabilities(_table(samples))
    except MemoryError:
        raise
    except Exception as error:
        return [], f"cannot be stored with skops: {_short(error)}"
    if not np.allclose(again, expected, rtol=0, atol=TOLERANCE):
        return [], "predicts something else once it is stored with skops"
    return [], ""


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _main() -> None:
    request = json.loads(sys.argv[1])
    children.end_with(request["parent"])
    limit(request["memory_limit_mb"], request["timeout_seconds"])
    try:
        answer = examine(Path(request["source"]), request["samples"], Path.cwd())
    except DataError as error:
        answer = {"error": error.what, "fix": error.fix}
    except MemoryError:
        answer = {"error": f"it needs more than {request['memory_limit_mb']} MB.", "fix": request["more_memory"]}
    Path(ANSWER).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    _main()
