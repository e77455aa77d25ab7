"""The contract of every text model: `predict(DataFrame{text}) -> DataFrame{label, score}`, same rows, same order.

This file travels inside each logged model (MLflow's models-from-code), so it imports nothing of this project: plain
`mlflow.pyfunc.load_model` runs it anywhere.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from zipfile import ZIP_DEFLATED

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

TRUSTED_TYPES = ["sklearn.tree._tree.Tree"]
"""What vectorisers and trees are made of beyond skops' own defaults. Our loader never asks a model's own list."""

PROBE = ("profit rose", "sales fell sharply", "the company held its meeting")


def column_of(pipeline: Any) -> str | None:
    """The column that a fitted pipeline reads its texts from; None if it takes the texts alone.

    A pipeline that remembers no column is asked: a vectoriser that is given a table reads the names of its columns and
    answers one row for three texts, so the texts alone are tried first.
    """
    names = getattr(pipeline, "feature_names_in_", None)
    if names is not None:
        return str(names[0])
    try:
        rows = len(pipeline.predict_proba(pd.Series(PROBE, dtype=object)))
    except Exception:
        return "text"
    return None if rows == len(PROBE) else "text"


def store(pipeline: Any, path: Any) -> None:
    """Write a fitted pipeline as a skops file, each vocabulary in it as one array; the pipeline stays as it is.

    Of a mapping skops writes, and reads, every entry as an object of its own: seconds and gigabytes for what is a list.
    """
    import skops.io  # whoever only names this class does not pay for it: it looks for each of its types everywhere

    held = [(part, part.vocabulary_) for part in parts(pipeline) if is_list(vars_of(part).get("vocabulary_"))]
    try:
        for part, vocabulary in held:
            part.vocabulary_ = packed(vocabulary)
        skops.io.dump(pipeline, path, compression=ZIP_DEFLATED, compresslevel=1)  # a tenth of the size, in no time
    finally:
        for part, vocabulary in held:
            part.vocabulary_ = vocabulary


def read(path: Any, trusted_types: Iterable[str] = ()) -> Any:
    """Read a pipeline from a skops file, also from one that holds vocabularies as mappings.

    A type outside skops' defaults and the lists is refused.

    Raises:
        ValueError: An array in the place of a vocabulary holds none.
    """
    import skops.io

    pipeline = skops.io.load(path, trusted=sorted({*TRUSTED_TYPES, *trusted_types}))
    for part in list(parts(pipeline)):
        vocabulary = vars_of(part).get("vocabulary_")
        if isinstance(vocabulary, np.ndarray):
            part.vocabulary_ = unpacked(vocabulary)
    return pipeline


def parts(pipeline: Any) -> Iterator[Any]:
    """A pipeline and everything that it is made of: its steps, what they hold, and theirs, each once."""
    seen: set[int] = set()
    left = [pipeline]
    while left:
        part = left.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        left.extend(part.values() if isinstance(part, dict) else part if isinstance(part, list | tuple) else ())
        left.extend(vars_of(part).values())


def vars_of(part: Any) -> dict[str, Any]:
    """What an object holds by name; a class and a module belong to nobody's pipeline."""
    return {} if isinstance(part, type | ModuleType) else getattr(part, "__dict__", {})


def is_list(vocabulary: Any) -> bool:
    """Whether a vocabulary is no more than a list of texts: each has its place, and no place is empty."""
    if type(vocabulary) is not dict or any(type(term) is not str for term in vocabulary):
        return False
    return set(vocabulary.values()) == set(range(len(vocabulary)))


def packed(vocabulary: dict[str, int]) -> Any:
    """The terms of a vocabulary, in the order of their places, as the bytes of a list in JSON.

    A term may hold half a character: an analyser of characters takes what the texts hold.
    """
    terms = sorted(vocabulary, key=vocabulary.__getitem__)
    return np.frombuffer(json.dumps(terms, ensure_ascii=False).encode("utf-8", "surrogatepass"), dtype=np.uint8)


def unpacked(array: Any) -> dict[str, int]:
    """The vocabulary that was packed.

    Raises:
        ValueError: It is none.
    """
    terms = json.loads(array.tobytes())
    if not isinstance(terms, list) or not all(isinstance(term, str) for term in terms):
        raise ValueError("its vocabulary is no list of texts")
    vocabulary = {term: place for place, term in enumerate(terms)}
    if len(vocabulary) != len(terms):
        raise ValueError("its vocabulary holds a term twice")
    return vocabulary


def forget_others(code: Path) -> None:
    """Let no code that came with another model be taken for that of this one, which MLflow puts first on the path."""
    own = {path.stem for path in code.iterdir()} if code.is_dir() else set()
    for name in [name for name in sys.modules if name.partition(".")[0] in own]:
        del sys.modules[name]


class TextModel(PythonModel):  # type: ignore[misc]  # mlflow is untyped
    """A scikit-learn pipeline, vectoriser and label names included, stored with skops; a foreign one may be pickled."""

    problem = "text-classification"
    inputs = ("text",)

    def __init__(self, pipeline: Any = None) -> None:
        self.use(pipeline)

    def use(self, pipeline: Any) -> None:
        """Predict with a fitted pipeline; it reads a table with one column or the texts alone."""
        self.pipeline = pipeline
        self.column = None if pipeline is None else column_of(pipeline)

    def load_context(self, context: Any) -> None:
        """Load the pipeline; from a skops file, a type that is not trusted is refused."""
        path = context.artifacts["pipeline"]
        if path.endswith(".pkl"):
            import joblib  # type: ignore[import-untyped]

            self.use(joblib.load(path))
        else:
            forget_others(Path(path).parents[1] / "code")
            self.use(read(path, (getattr(context, "model_config", None) or {}).get("trusted_types", ())))

    def probabilities(self, frame: pd.DataFrame) -> Any:
        """One row of probabilities for each text, in the order of the pipeline's classes."""
        values = pd.Series(list(frame["text"]), dtype=object)
        return self.pipeline.predict_proba(values if self.column is None else pd.DataFrame({self.column: values}))

    # mlflow warns about hints that it cannot turn into a schema, so the other parameters carry none
    def predict(self, context, model_input: pd.DataFrame, params=None):  # type: ignore[no-untyped-def]  # noqa: ARG002
        """Label each text with its most probable class (ties: the first in sorted order) and that probability."""
        if (params or {}).get("probabilities"):
            return self.probabilities(model_input)
        if model_input.empty:
            return pd.DataFrame({"label": pd.Series(dtype="str"), "score": pd.Series(dtype="float64")})
        return self.labelled(self.probabilities(model_input))

    def labelled(self, probabilities: Any) -> pd.DataFrame:
        """The most probable class of each row of probabilities, and how probable it is."""
        labels = np.asarray(self.pipeline.classes_)[probabilities.argmax(axis=1)].astype(str)
        return pd.DataFrame({"label": labels, "score": probabilities.max(axis=1)})


set_model(TextModel())
