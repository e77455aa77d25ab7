"""The contract of every model of pairs: the two raw columns in, `label, score` out, same rows, same order.

This file travels inside each logged model (MLflow's models-from-code), so it imports nothing of this project: plain
`mlflow.pyfunc.load_model` runs it anywhere. What is learnt of a pair is computed here, of each row by itself; whatever
has to be fitted (weights of words, scales) is in the pipeline. With an encoder beside the pipeline vectors stand in the
place of words, and one text alone will do.
"""

import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel
from scipy.sparse import csr_matrix

Columns = Sequence[tuple[str, str]]
"""The inputs of a model, the first and the second text: the name and the kind of each."""
NETWORK, TOKENIZER = "model.onnx", "tokenizer.json"
"""The files of an encoder, as people call them."""
SHORTEST = 1e-12
"""A vector of this length is none, and stays as it is."""

FIRST, SECOND = "first", "second"
"""What the words of either text are called among the features, whatever the columns are called."""
WORD_SETS = ("shared", "lost", "added")
"""Words of both texts, of the first alone, and of the second alone."""

WORD = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17d3\u3040-\u30ff\u3400-\u9fff]"  # scripts that put no blanks between words
    r"|\w+(?:['’]\w+)?"
)
NEGATIONS = frozenset(
    {"no", "not", "never", "nobody", "nothing", "none", "nor", "neither", "nowhere", "without", "cannot", "hardly"}
    | {"nicht", "nichts", "nie", "niemals", "niemand", "kein", "keine", "keinen", "ohne", "ne", "pas", "jamais"}
    | {"sans", "nunca", "nadie", "sin", "niet", "geen"}
)
"""Words that turn a sentence round; a contraction with `n't` does too."""


class Words(NamedTuple):
    """A text as its words, in their order and each once."""

    order: tuple[str, ...]
    every: frozenset[str]
    following: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, text: str) -> "Words":
        """Cut a text into words, without regard to case."""
        order = tuple(WORD.findall(text.casefold()))
        return cls(order, frozenset(order), frozenset(pairwise(order)))

    @property
    def negations(self) -> int:
        """How often it says no."""
        return sum(word in NEGATIONS or word.endswith(("n't", "n’t")) for word in self.order)


def _share(part: frozenset[Any], whole: frozenset[Any]) -> float:
    return len(part) / len(whole) if whole else 0.0


def compared(first: Words, second: Words) -> dict[str, float]:
    """How alike two texts are, from either side, and what of this sort tells them apart."""
    both, either = first.every & second.every, first.every | second.every
    pairs = first.following & second.following
    longest, no = max(len(first.order), len(second.order), 1), (first.negations, second.negations)
    return {
        "overlap": _share(both, either),
        "first_in_second": _share(both, first.every),
        "second_in_first": _share(both, second.every),
        "pairs_first_in_second": _share(pairs, first.following),
        "pairs_second_in_first": _share(pairs, second.following),
        "same_words": float(first.every == second.every),
        "same_order": float(first.order == second.order),
        "none_lost": float(first.every <= second.every),
        "none_added": float(second.every <= first.every),
        "words_lost": math.log1p(len(first.every - second.every)),
        "words_added": math.log1p(len(second.every - first.every)),
        "first_length": math.log1p(len(first.order)),
        "second_length": math.log1p(len(second.order)),
        "longer": (len(second.order) - len(first.order)) / longest,
        "first_negated": float(no[0] > 0),
        "second_negated": float(no[1] > 0),
        "negated_once": float((no[0] > 0) != (no[1] > 0)),
        "first_negated_alone": float(no[0] > no[1]),
        "second_negated_alone": float(no[1] > no[0]),
    }


NUMBERS = tuple(compared(Words.of(""), Words.of("")))
"""The names of what is counted of a pair."""


def parted(first: Words, second: Words) -> dict[str, str]:
    """The words of a pair: those of either text as it has them, and by whose they are."""
    sets = (first.every & second.every, first.every - second.every, second.every - first.every)
    by_whose = {name: " ".join(sorted(words)) for name, words in zip(WORD_SETS, sets, strict=True)}
    return {FIRST: " ".join(first.order), SECOND: " ".join(second.order), **by_whose}


TEXTS = (FIRST, SECOND, *WORD_SETS)


def features(first: Iterable[str], second: Iterable[str]) -> pd.DataFrame:
    """What a pipeline is given for pairs: their words, also by whose they are, and how alike they are.

    The same pair gives the same features, whatever stands in the other rows.
    """
    words = [(Words.of(one), Words.of(other)) for one, other in zip(first, second, strict=True)]
    table = pd.DataFrame([parted(*pair) | compared(*pair) for pair in words], columns=[*TEXTS, *NUMBERS])
    return table.astype(dict.fromkeys(TEXTS, object) | dict.fromkeys(NUMBERS, "float64"))


class Encoder:
    """A frozen network that makes a vector of a text: ONNX Runtime's, and the tokenizer that belongs to it.

    Each text is read alone, on one thread and without padding. Some quantised networks answer otherwise beside longer
    texts, and any may in the last digit; so the same text has the same vector in every batch and on every engine.
    """

    def __init__(self, network: bytes, tokenizer: str) -> None:
        import onnxruntime  # type: ignore[import-untyped]
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # warnings about the graph help nobody who scores
        self._session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_str(tokenizer)
        self._tokenizer.no_padding()
        self._kinds = {
            known.name: "int32" if "int32" in known.type else "int64" for known in self._session.get_inputs()
        }

    def vectors(self, texts: Sequence[str]) -> Any:
        """A vector of length 1 for each text, in their order; equal texts are read once."""
        vectors = {text: self.vector(text) for text in dict.fromkeys(texts)}
        return np.array([vectors[text] for text in texts], dtype="float64")

    def vector(self, text: str) -> Any:
        """The mean of what the network says of the tokens, or its one answer, with length 1."""
        tokens = self._tokenizer.encode(text).ids or [0]
        told = {"attention_mask": np.ones((1, len(tokens))), "input_ids": np.array([tokens])}
        given = {name: told.get(name, np.zeros((1, len(tokens)))).astype(kind) for name, kind in self._kinds.items()}
        answer = np.asarray(self._session.run(None, given)[0][0], dtype="float32")
        vector = answer.mean(axis=0) if answer.ndim == 2 else answer
        return vector / max(float(np.linalg.norm(vector)), SHORTEST)


def embedded(texts: Sequence[Sequence[str]], encoder: Encoder) -> Any:
    """What a pipeline is given for columns of texts with an encoder: of one the vectors, of two how they are alike.

    Rows as scikit-learn reads sparse ones: it sums each by itself, in one order, whatever stands in the others.
    """
    vectors = [encoder.vectors(column) for column in texts]
    if len(vectors) == 1:
        return csr_matrix(vectors[0])
    words = ((Words.of(one), Words.of(other)) for one, other in zip(*texts, strict=True))
    numbers = np.array([[*compared(*pair).values()] for pair in words], dtype="float64")
    one, other = vectors
    return csr_matrix(np.hstack([np.abs(one - other), one * other, numbers]))


def read(path: Any, trusted_types: Iterable[str] = ()) -> Any:
    """Read a pipeline from a skops file; a type outside skops' defaults and the list is refused.

    A vocabulary is stored as one array, the bytes of a list in JSON.
    """
    import skops.io  # whoever only names this class does not pay for it: it looks for each of its types everywhere

    pipeline = skops.io.load(path, trusted=sorted(trusted_types))
    for part in list(_parts(pipeline)):
        if isinstance(terms := _vars(part).get("vocabulary_"), np.ndarray):
            part.vocabulary_ = {term: place for place, term in enumerate(json.loads(terms.tobytes()))}
    return pipeline


def _parts(pipeline: Any) -> Iterator[Any]:
    """A pipeline and everything that it is made of, each once."""
    seen, left = set[int](), [pipeline]
    while left:
        part = left.pop()
        if id(part) not in seen:
            seen.add(id(part))
            yield part
            left.extend(part.values() if isinstance(part, dict) else part if isinstance(part, list | tuple) else ())
            left.extend(_vars(part).values())


def _vars(part: Any) -> dict[str, Any]:
    return {} if isinstance(part, type | ModuleType) else getattr(part, "__dict__", {})


def forget_others(code: Path) -> None:
    """Let no code that came with another model be taken for that of this one, which MLflow puts first on the path."""
    own = {path.stem for path in code.iterdir()} if code.is_dir() else set()
    for name in [name for name in sys.modules if name.partition(".")[0] in own]:
        del sys.modules[name]


class PairModel(PythonModel):  # type: ignore[misc]  # mlflow is untyped
    """A scikit-learn pipeline stored with skops, and the names of the two columns that it reads, in their order.

    With an encoder it reads one column or two.
    """

    def __init__(
        self, pipeline: Any = None, columns: Columns = (), problem: str = "", encoder: Encoder | None = None
    ) -> None:
        self.pipeline, self.columns, self.problem, self.encoder = pipeline, columns, problem, encoder

    def load_context(self, context: Any) -> None:
        """Load the pipeline and its columns; from a skops file, a type that is not trusted is refused."""
        described = json.loads(Path(context.artifacts["columns"]).read_text(encoding="utf-8"))
        self.problem = described["problem"]
        self.columns = [(column["name"], column["kind"]) for column in described["columns"]]
        trusted_types = (getattr(context, "model_config", None) or {}).get("trusted_types", ())
        forget_others(Path(context.artifacts["pipeline"]).parents[1] / "code")
        self.pipeline = read(context.artifacts["pipeline"], trusted_types)
        if "network" in context.artifacts:
            network, tokenizer = (Path(context.artifacts[name]) for name in ("network", "tokenizer"))
            self.encoder = Encoder(network.read_bytes(), tokenizer.read_text(encoding="utf-8"))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that the model reads; further ones are ignored."""
        return tuple(name for name, _ in self.columns)

    def features(self, frame: pd.DataFrame) -> Any:
        """What the pipeline is given for raw columns: features, or if it asks for them the two texts as they are.

        Raises:
            ValueError: A column is missing, appears twice, or holds what is no text.
        """
        texts = [_texts(frame, name, self.inputs) for name in self.inputs]
        if self.encoder is not None:
            return embedded(texts, self.encoder)
        if getattr(self.pipeline, "takes_inputs_", False):
            return pd.DataFrame(dict(zip(self.inputs, texts, strict=True)), dtype=object)
        return features(*texts)

    def probabilities(self, frame: pd.DataFrame) -> Any:
        """One row of probabilities for each row, in the order of the pipeline's classes."""
        return self.pipeline.predict_proba(self.features(frame))

    # mlflow warns about hints that it cannot turn into a schema, so the other parameters carry none
    def predict(self, context, model_input: pd.DataFrame, params=None):  # type: ignore[no-untyped-def]  # noqa: ARG002
        """Label each pair with its most probable class (ties: the first in sorted order) and that probability."""
        if (params or {}).get("probabilities"):
            return self.probabilities(model_input)
        read = self.features(model_input)
        if not len(model_input):
            return pd.DataFrame({"label": pd.Series(dtype="str"), "score": pd.Series(dtype="float64")})
        return self.labelled(self.pipeline.predict_proba(read))

    def labelled(self, probabilities: Any) -> pd.DataFrame:
        """The most probable class of each row of probabilities, and how probable it is."""
        labels = np.asarray(self.pipeline.classes_)[probabilities.argmax(axis=1)].astype(str)
        return pd.DataFrame({"label": labels, "score": probabilities.max(axis=1)})


def _texts(frame: pd.DataFrame, name: str, names: Sequence[str]) -> list[str]:
    """The cells of one column, of which there must be exactly one: a text that is lost would go unnoticed."""
    count = list(frame.columns).count(name)
    if count != 1:
        what = "is missing" if count == 0 else "appears twice"
        raise ValueError(f"the column {name!r} {what}; the model reads {', '.join(names)}")
    cells = frame[name].tolist()
    if wrong := [cell for cell in cells if not isinstance(cell, str)]:
        raise ValueError(f"the column {name!r} holds {wrong[0]!r:.60}, which is no text")
    return cells


set_model(PairModel())
