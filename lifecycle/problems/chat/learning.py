"""What can be built of a folder of documents to answer questions from it, and from which score on it answers."""
# ruff: noqa: ARG002  the contract says what these do, and of their arguments not every problem needs all

import inspect
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
from lifecycle.problems import fitting
from lifecycle.problems.chat import documents, index, plots
from lifecycle.problems.chat.metrics import standard
from lifecycle.problems.chat.model import ChatModel
from lifecycle.problems.chat.scores import ChatScores, scores_of
from lifecycle.problems.contract import Columns, Estimator
from lifecycle.problems.learning import NOTHING, Beside, Learning, StoredModel, Summary
from lifecycle.problems.metric import value_of
from lifecycle.problems.own import OwnAlgorithm

DOCUMENTS, THRESHOLD, CHAIN, CONFIG = "documents", "threshold", "chain", "config.json"
USUAL: dict[str, Any] = {"chunk_size": 800, "top_k": 3, THRESHOLD: None}
"""The parameters, each with its default; without a threshold it is learnt."""
PACKAGES = ("bm25s",)
"""What its models need beyond the libraries of all."""
AT_LEAST = {"chunk_size": 50, "top_k": 1}
AT_MOST = {"chunk_size": 20_000, "top_k": 50}


@dataclass(frozen=True)
class Recipe:
    """What a version is made of, before it is.

    Attributes:
        algorithm: How passages are found.
        params: All of them, with their defaults.
        seed: Of what is random, if anything is.
        digest: The sha256 of the documents.
        read: The documents.
    """

    algorithm: str
    params: Mapping[str, Any]
    seed: int
    digest: str
    read: tuple[documents.Document, ...] = field(repr=False, default=())

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """What its result depends on: the documents by their digest, wherever they lie."""
        return {"algorithm": self.algorithm, **self.params, DOCUMENTS: self.digest}


class Built:
    """A chain in a folder of its own, which lasts as long as this."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        held = tempfile.mkdtemp(prefix="mlops-chain-")
        weakref.finalize(self, shutil.rmtree, held, ignore_errors=True)
        self.folder = Path(held) / CHAIN
        told = {name: value for name, value in recipe.params.items() if value is not None}
        index.build(recipe.read, self.folder, {"algorithm": recipe.algorithm, **told}, recipe.seed)
        self.model = ChatModel.of(self.folder)

    def answer_from(self, threshold: float) -> None:
        """Answer from this score on, and refuse below."""
        path = self.folder / CONFIG
        config = json.loads(path.read_text(encoding="utf-8")) | {THRESHOLD: threshold}
        path.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
        self.model = ChatModel.of(self.folder)

    @property
    def threshold(self) -> float:
        """The score from which on it answers."""
        config = json.loads((self.folder / CONFIG).read_text(encoding="utf-8"))
        return float(config[THRESHOLD])


class _Learning(Learning):
    target = "target"
    estimators: Mapping[str, Estimator] = {"bm25": Estimator(dict, USUAL, packages=PACKAGES)}
    sources = tuple(f"problems/chat/{name}.py" for name in ("chunks", "documents", "index", "learning", "model"))

    def build(
        self, algorithm: str | OwnAlgorithm | None, params: Mapping[str, Any], seed: int, columns: Columns
    ) -> Recipe:
        if isinstance(algorithm, OwnAlgorithm):
            what = f"{algorithm.path}: a chain of one's own is registered, not trained."
            raise ConfigError(what, "See: mlops model register --help")
        name = fitting.algorithm_of(self.estimators, algorithm)
        usual = self.estimators[name].defaults
        _check(name, params, usual)
        fitting.require_seed(seed)
        read = documents.read(_place(params))
        chosen = {**usual, **{option: value for option, value in params.items() if option != DOCUMENTS}}
        return Recipe(name, chosen, seed, documents.digest(read), read)

    def fit(
        self,
        algorithm: str | OwnAlgorithm | None,
        params: Mapping[str, Any],
        seed: int,
        inputs: pd.DataFrame,
        target: "pd.Series[Any]",
        columns: Columns,
        beside: Beside = NOTHING,
    ) -> Built:
        built = Built(self.build(algorithm, params, seed, columns))
        if built.recipe.params[THRESHOLD] is None:
            built.answer_from(0.0)
            built.answer_from(learnt_threshold(target, built.model.predict(None, inputs)))
        return built

    def parameters(self, pipeline: Built) -> dict[str, Any]:
        chosen = {**pipeline.recipe.get_params(), THRESHOLD: pipeline.threshold}
        return {f"model.{name}": value for name, value in chosen.items()} | {"documents": len(pipeline.recipe.read)}

    def answers(self, pipeline: Built, inputs: pd.DataFrame, columns: Columns) -> pd.DataFrame:
        told: pd.DataFrame = pipeline.model.predict(None, inputs)
        return told

    def store(self, pipeline: Built, columns: Columns, folder: Path) -> StoredModel:
        shutil.copytree(pipeline.folder, folder / CHAIN)
        return StoredModel(
            Path(inspect.getfile(ChatModel)),
            {CHAIN: folder / CHAIN},
            ChatModel.reads(),
            {"": "string"},
            ChatModel.example(),
            packages=PACKAGES,
        )

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


def _check(name: str, params: Mapping[str, Any], usual: Mapping[str, Any]) -> None:
    valid = {*usual, DOCUMENTS}
    if unknown := [option for option in params if option not in valid]:
        what = f"{name} has no parameter {', '.join(map(repr, unknown[:5]))}; valid are {', '.join(sorted(valid))}."
        raise ConfigError(what, fitting.CORRECT)
    fitting.require_usable(name, params)
    for option in AT_LEAST.keys() & params.keys():
        value, low, high = params[option], AT_LEAST[option], AT_MOST[option]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            what = f"{name}: {option}={value!r:.80}: it must be a whole number from {low} to {high:,}."
            raise ConfigError(what, fitting.CORRECT)
    threshold = params.get(THRESHOLD)
    if threshold is not None and not (isinstance(threshold, int | float) and 0 <= threshold <= 1):
        what = f"{name}: threshold={threshold!r:.80}: it must lie between 0 and 1."
        raise ConfigError(what, fitting.CORRECT)


def _place(params: Mapping[str, Any]) -> Path:
    """The folder of documents.

    Raises:
        ConfigError: None is named.
    """
    named = params.get(DOCUMENTS)
    if not isinstance(named, str) or not named:
        what = "There is no folder of documents to answer from."
        fix = (
            "Name it in the model's definition, data: {documents: FOLDER}, or with --params \"{'documents': 'FOLDER'}\""
        )
        raise ConfigError(what, fix)
    return Path(named).expanduser()


LEARNING: Learning = _Learning()
