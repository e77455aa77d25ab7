"""What can be built of a folder of documents to answer questions from it, and from which score on it answers."""
# ruff: noqa: ARG002  the contract says what these do, and of their arguments not every problem needs all

import hashlib
import json
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.errors import ConfigError
from lifecycle.core.refusals import refused_by_the_library
from lifecycle.problems import fitting
from lifecycle.problems.chat import carried, documents, index, parameters, plots
from lifecycle.problems.chat.metrics import standard
from lifecycle.problems.chat.model import Chain, ChatModel
from lifecycle.problems.chat.scores import ChatScores, scores_of
from lifecycle.problems.chat.settings import BY_BOTH, BY_VECTORS, BY_WORDS, CONFIG
from lifecycle.problems.contract import Columns, Estimator
from lifecycle.problems.embedding import encoders
from lifecycle.problems.learning import NOTHING, Beside, Learning, Spec, StoredModel, Summary
from lifecycle.problems.metric import value_of
from lifecycle.problems.own import OwnAlgorithm

THRESHOLD, CHAIN = "threshold", "chain"
PACKAGES, OF_VECTORS, OF_ENDPOINTS = ("bm25s",), ("onnxruntime", "tokenizers"), ("openai",)
"""What its models need beyond the libraries of all: those that find by vectors, and those that ask an endpoint."""
NOT_ITS_OWN = (parameters.DOCUMENTS, parameters.ENCODER, parameters.TOKENIZER, "prompt")
"""Parameters that say where something lies; what a training depends on is its content."""


CODE = (
    *("carried", "chunks", "documents", "endpoint", "index", "learning"),
    *("messages", "model", "parameters", "settings", "words"),
)
"""The modules that decide what becomes of documents and questions."""


@dataclass(frozen=True)
class Recipe:
    """What a version is made of, before it is.

    Attributes:
        algorithm: How passages are found.
        params: How they are cut and answered from.
        seed: Of what is random, if anything is.
        read: The documents.
        prompt: What a language model is asked with.
        encoder: What makes vectors of passages, if they are found by them.
    """

    algorithm: str
    params: Mapping[str, Any]
    seed: int
    read: tuple[documents.Document, ...] = field(repr=False)
    prompt: str = index.USUAL_PROMPT
    encoder: encoders.Files | None = field(repr=False, default=None)

    @property
    def digest(self) -> str:
        """The sha256 of the documents."""
        return documents.digest(self.read)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """What its result depends on: of documents, prompt and encoder the content, wherever they lie."""
        told = {"algorithm": self.algorithm, **self.params, parameters.DOCUMENTS: self.digest}
        told["prompt"] = hashlib.sha256(self.prompt.encode()).hexdigest()
        return told | ({parameters.ENCODER: self.encoder.digest} if self.encoder else {})


class Built:
    """A chain in a folder of its own, which lasts as long as this."""

    def __init__(self, recipe: Recipe, kept: Path | None = None) -> None:
        self.recipe = recipe
        held = tempfile.mkdtemp(prefix="mlops-chain-")
        weakref.finalize(self, shutil.rmtree, held, ignore_errors=True)
        self.folder = Path(held) / CHAIN
        told = {name: value for name, value in recipe.params.items() if value is not None}
        told |= {"algorithm": recipe.algorithm, "prompt": recipe.prompt}
        index.build(recipe.read, self.folder, told, recipe.seed, recipe.encoder, kept)
        self.model = ChatModel.of(self.folder)

    def answer_from(self, threshold: float) -> None:
        """Answer from this score on, and refuse below."""
        path = self.folder / CONFIG
        config = json.loads(path.read_text(encoding="utf-8")) | {THRESHOLD: threshold}
        path.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
        self.model = ChatModel.of(self.folder)

    def refusing_nothing(self) -> ChatModel:
        """The same, answering everything with sentences: from which score on is learnt without a language model."""
        chain = self.model.chain
        settings = chain.settings._replace(threshold=0.0, language_model="")
        return ChatModel(Chain(chain.chunks, chain.index, chain.prompt, settings, chain.dense))

    @property
    def threshold(self) -> float:
        """The score from which on it answers."""
        config = json.loads((self.folder / CONFIG).read_text(encoding="utf-8"))
        return float(config[THRESHOLD])


class _Learning(Learning):
    target = "target"
    estimators: Mapping[str, Estimator] = {
        BY_WORDS: Estimator(dict, packages=PACKAGES, reads=NOT_ITS_OWN),
        BY_VECTORS: Estimator(dict, packages=(*PACKAGES, *OF_VECTORS), reads=NOT_ITS_OWN),
        BY_BOTH: Estimator(dict, packages=(*PACKAGES, *OF_VECTORS), reads=NOT_ITS_OWN),
    }
    sources = (
        *(f"problems/chat/{name}.py" for name in CODE),
        "problems/embedding/encoders.py",
        "problems/embedding/kept.py",
        "problems/text_pair_classification/model.py",
    )

    def build(self, spec: Spec) -> Recipe:
        if isinstance(spec.algorithm, OwnAlgorithm):
            there = ", ".join(self.estimators)
            what = f"{spec.algorithm.path}: a chain of one's own cannot be trained; there are {there}."
            raise ConfigError(
                what, "Answer by a service of your own: --params \"{'language_model': …, 'endpoint': …}\""
            )
        name = fitting.algorithm_of(self.estimators, spec.algorithm)
        chosen = parameters.checked(name, spec.params)
        fitting.require_seed(spec.seed)
        encoder = None if name == BY_WORDS else encoders.found(chosen.model_dump())
        read = documents.read(Path(chosen.documents).expanduser())
        own = chosen.model_dump(exclude={*NOT_ITS_OWN})
        return Recipe(name, own, spec.seed, read, index.prompt_of(chosen.prompt), encoder)

    def fit(self, spec: Spec, inputs: pd.DataFrame, target: "pd.Series[Any]", beside: Beside = NOTHING) -> Built:
        built = Built(self.build(spec), beside.vectors)
        if built.recipe.params[THRESHOLD] is None:
            built.answer_from(learnt_threshold(target, built.refusing_nothing().predict(None, inputs)))
        return built

    def parameters(self, pipeline: Built) -> dict[str, Any]:
        chosen = {**pipeline.recipe.get_params(), THRESHOLD: pipeline.threshold}
        return {f"model.{name}": value for name, value in chosen.items()} | {"documents": len(pipeline.recipe.read)}

    def answers(self, pipeline: Built, inputs: pd.DataFrame, columns: Columns) -> pd.DataFrame:
        with refused_by_the_library("The chain does not answer: ", ConfigError, fitting.CORRECT):
            told: pd.DataFrame = pipeline.model.predict(None, inputs)
        return told

    def store(self, pipeline: Built, columns: Columns, folder: Path) -> StoredModel:
        shutil.copytree(pipeline.folder, folder / CHAIN)
        recipe = pipeline.recipe
        packages = self.estimators[recipe.algorithm].packages
        packages += OF_ENDPOINTS if recipe.params["language_model"] else ()
        reads, example = {"messages": "any"}, ChatModel.example()  # a string or a list: MLflow has no type for either
        files = {CHAIN: folder / CHAIN}
        return StoredModel(carried.written(folder), files, reads, {"": "string"}, example, packages=packages)

    def summary(self, split: str, truth: "pd.Series[Any]", answers: pd.DataFrame) -> Summary:
        scores = scores_of(truth, {"": answers})[""]
        return Summary({f"{split}.{metric.name}": value_of(metric, scores) for metric in standard(scores)})

    def draw(self, truth: "pd.Series[Any]", answers: pd.DataFrame, folder: Path) -> None:
        plots.draw(scores_of(truth, {"": answers})[""], folder)


def learnt_threshold(truth: Iterable[str], answers: pd.DataFrame) -> float:
    """The score from which on to answer, so that most of these questions are treated rightly.

    Between two scores that are as good the middle is taken, of several such gaps the widest: there the next questions
    are least likely to fall on the wrong side.

    Args:
        truth: What is expected.
        answers: Of a chain that refuses nothing.
    """
    scores = scores_of(pd.Series([*truth], dtype=object), {"": answers})[""]
    limits = np.unique(np.r_[0.0, scores.score, 1.0])
    gaps = [*pairwise(limits.tolist())]
    right = [_right_from((low + high) / 2, scores) for low, high in gaps]
    low, high = max(zip(right, gaps, strict=True), key=lambda each: (each[0], each[1][1] - each[1][0]))[1]
    return round(float(low + high) / 2, 6)


def _right_from(threshold: float, scores: ChatScores) -> int:
    return int(scores._replace(refused=scores.score < threshold).right.sum())


LEARNING: Learning = _Learning()
