"""Challengers whose fate is known beforehand: one for every way to be bad, bad in that way alone, and honest ones.

They are real pipelines, fitted in memory on texts that are made up here, the same on every machine: the words of a text
tell its class, each desk that writes has words of its own, and some labels are wrong. The champion has learnt from few
texts; the better one from many. The others are the better one with one fault, so that nothing else speaks against them.
"""

import copy
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lifecycle.core.names import ModelType
from lifecycle.core.references import ModelRef
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.evaluation.comparable import comparable
from lifecycle.gate.contest import Contest
from lifecycle.gate.decide import Case
from lifecycle.gate.proof import infrastructure, replay
from lifecycle.gate.proof.infrastructure import Proof
from lifecycle.gate.verdict import Rule
from lifecycle.models import loading, storing, text_model
from lifecycle.models.text_model import TextModel
from lifecycle.problems.text_classification.identity import text_key
from lifecycle.training import estimators

SEED = 20_240_229
CLASSES = {"falling": 0.32, "rising": 0.32, "steady": 0.36}
"""How often each class is said."""
DESKS = {"flash": (0.25, (1, 5)), "wire": (0.5, (6, 12)), "report": (0.25, (16, 24))}
"""Who writes, how often, and how long the stock phrase is: the longest quarter of the texts are the reports."""
DESK = "source_desk"
WORDS_OF_A_CLASS = 50
"""Words that a desk has for a class."""
WRONG_LABELS = 0.1
TRAINED, EARLIER, SOME, FEW, HELD_OUT = 1200, 900, 150, 75, 800
"""Rows that taught the better model, the one to train again, the overconfident one, the champion, and nobody."""
RULES: dict[str, Rule] = {
    "constant": "first",
    "retrained": "retraining",
    "retrained on wrong labels": "retraining",
}
"""How those are compared that are not by their gain."""
SHARPER, STRETCHES, BALLAST_MB = 30.0, 40, 12


class Planted(NamedTuple):
    """One model, as an evaluation would have recorded it, and what its file holds if that is something else."""

    pipeline: Any
    trained_on: pd.DataFrame
    predictions: pd.DataFrame
    stored: Any = None
    damaged: bool = False


class Nursery:
    """The texts and the models, each of which is made when it is asked for."""

    def __init__(self) -> None:
        rng = np.random.default_rng(SEED)
        rows = _texts(rng, TRAINED + HELD_OUT)
        self.train, self.holdout = rows.iloc[:TRAINED], rows.iloc[TRAINED:].reset_index(drop=True)
        self._shuffled = rng.permutation(self.train["label"])

    @cached_property
    def champion(self) -> Planted:
        """What all others challenge."""
        return self._fitted(self.train.iloc[:FEW])

    @cached_property
    def earlier(self) -> Planted:
        """What was trained on fewer rows, for a retraining to stand beside."""
        return self._fitted(self.train.iloc[:EARLIER])

    @cached_property
    def better(self) -> Planted:
        """An honest model that has learnt from more."""
        return self._fitted(self.train)

    @cached_property
    def needs(self) -> tuple[float, float]:
        """Milliseconds for 1,000 rows and megabytes of the better model."""
        with tempfile.TemporaryDirectory(prefix="mlops-planted-") as temporary:
            megabytes = infrastructure.megabytes(_written(self.better, Path(temporary)))
        return _milliseconds(TextModel(self.better.pipeline), self.holdout), megabytes

    def case(self, name: str) -> Case:
        """The case of a planted challenger under the rule that it is there to test."""
        challenger, rule = self._made(name), RULES.get(name, "gain")
        champion = {"first": None, "gain": self.champion, "retraining": self.earlier}[rule]
        models = {"challenger": challenger} | ({"champion": champion} if champion else {})
        rows = comparable(
            self.holdout,
            {role: model.predictions for role, model in models.items()},
            {role: {*storing.short_keys(model.trained_on["key"])["key"]} for role, model in models.items()},
        )
        asked = TextModel(challenger.pipeline)
        return Case(
            **rows._asdict(),
            predict=lambda texts: asked.predict(None, texts),
            prove=lambda: _prove(name, challenger, self.holdout),
            contest=Contest(rule=rule, why="planted"),
        )

    def _made(self, name: str) -> Planted:
        train, better = self.train, self.better
        in_reports, falling = train[DESK] == "report", train["label"] == "falling"
        makers: Mapping[str, Callable[[], Planted]] = {
            "label-shuffled": lambda: self._fitted(train.assign(label=self._shuffled)),
            "constant": lambda: self._planted(_numbed(better.pipeline), train),
            "leaky": lambda: self._fitted(pd.concat([train, self.holdout])),
            "part-broken": lambda: self._fitted(_mislabelled(train, in_reports)),
            "class-broken": lambda: self._fitted(_mislabelled(train, falling & ~in_reports)),
            "overconfident": lambda: self._fitted(train.iloc[:SOME], _sharpened),
            "slow": lambda: better._replace(stored=_slowed(better.pipeline, train)),
            "heavy": lambda: better._replace(stored=_weighted(better.pipeline)),
            "other model in the file": lambda: better._replace(stored=self.champion.pipeline),
            "unreadable": lambda: better._replace(damaged=True),
            "better": lambda: better,
            "equal": lambda: self._fitted(train.iloc[:FEW]),
            "retrained": lambda: better,
            "retrained on wrong labels": lambda: self._fitted(_mislabelled(train, train["row"] % 3 == 0)),
            "as good": lambda: self._fitted(train.iloc[FEW : 2 * FEW]),
        }
        return makers[name]()

    def _fitted(self, rows: pd.DataFrame, change: Callable[[Any], Any] = lambda pipeline: pipeline) -> Planted:
        pipeline = estimators.fit(ModelType.LOGISTIC_REGRESSION, {}, 0, rows[["text"]], rows["label"])
        return self._planted(change(pipeline), rows)

    def _planted(self, pipeline: Any, trained_on: pd.DataFrame) -> Planted:
        known = self.holdout[["row", "key"]].assign(truth=self.holdout["label"])
        return Planted(pipeline, trained_on, known.join(evaluation.predicted(TextModel(pipeline), self.holdout)))


def _texts(rng: np.random.Generator, count: int) -> pd.DataFrame:
    """Texts of a stock phrase of the desk, three words that tell the class and one that may tell another."""
    telling, phrases = _vocabulary(rng)
    shares, lengths = zip(*DESKS.values(), strict=True)
    desks = rng.choice(len(DESKS), count, p=shares)
    said = rng.choice(len(CLASSES), count, p=list(CLASSES.values()))
    texts = []
    for desk, label in zip(desks, said, strict=True):
        own, any_class = telling[desk][label], telling[desk][rng.integers(len(CLASSES))]
        words = rng.permutation([*rng.choice(own, 3), rng.choice(any_class)])
        texts.append(" ".join([*phrases[desk][: rng.integers(*lengths[desk])], *(f"{word} na" for word in words)]))
    wrong = rng.random(count) < WRONG_LABELS
    labels = np.where(wrong, (said + rng.integers(1, len(CLASSES), count)) % len(CLASSES), said)
    frame = pd.DataFrame({"text": texts, "label": np.array(list(CLASSES))[labels], DESK: np.array(list(DESKS))[desks]})
    frame["key"] = frame["text"].map(text_key)
    return frame.astype("str").assign(row=range(count))


def _vocabulary(rng: np.random.Generator) -> tuple[list[list[list[str]]], list[list[str]]]:
    """Made-up words of one length: those that tell a class, by desk and class, and each desk's stock phrase."""
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    drawn = iter(rng.permutation([first + second for first in syllables for second in syllables]))
    telling = [[[str(next(drawn)) for _ in range(WORDS_OF_A_CLASS)] for _ in CLASSES] for _ in DESKS]
    return telling, [[str(next(drawn)) for _ in range(longest)] for _, (_, longest) in DESKS.values()]


def _mislabelled(rows: pd.DataFrame, which: "pd.Series[bool]") -> pd.DataFrame:
    """The rows with the next class as the label of some: what is learnt from them is wrong there."""
    following = dict(zip(CLASSES, [*list(CLASSES)[1:], *list(CLASSES)[:1]], strict=True))
    return rows.assign(label=rows["label"].where(~which, rows["label"].map(following)))


def _numbed(pipeline: Any) -> Any:
    """The same answer whatever the text says."""
    numb = copy.deepcopy(pipeline)
    numb[-1].coef_ *= 0
    return numb


def _sharpened(pipeline: Any) -> Any:
    """The same labels, each all but certain."""
    sharp = copy.deepcopy(pipeline)
    sharp[-1].coef_ *= SHARPER
    sharp[-1].intercept_ *= SHARPER
    return sharp


def _slowed(pipeline: Any, texts: pd.DataFrame) -> Any:
    """The same predictions, but each text is also taken apart into all its stretches, which then count for nothing."""
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.pipeline import FeatureUnion

    stretches = CountVectorizer(analyzer="char", ngram_range=(1, STRETCHES), vocabulary=["#"])
    idle = ColumnTransformer([("stretches", stretches, "text")]).fit(texts[["text"]].head(2))
    slow = copy.deepcopy(pipeline)
    slow.steps[0] = ("features", FeatureUnion([("useful", slow[0]), ("idle", idle)]))
    slow[-1].coef_ = np.pad(slow[-1].coef_, ((0, 0), (0, 1)))
    slow[-1].n_features_in_ += 1
    return slow


def _weighted(pipeline: Any) -> Any:
    """The same predictions from a larger file."""
    heavy = copy.deepcopy(pipeline)
    heavy[-1].ballast_ = np.random.default_rng(SEED).random(BALLAST_MB * 1_000_000 // 8)
    return heavy


def _prove(name: str, planted: Planted, holdout: pd.DataFrame) -> Proof:
    """What a fresh process does, in this one: read the model's file, predict again, compare and measure."""
    with tempfile.TemporaryDirectory(prefix="mlops-planted-") as temporary:
        folder = _written(planted, Path(temporary))
        digest = loading.artifact_digest(folder)
        ref = ModelRef(tracking_uri="", uri="", run_id=f"planted {name}", artifact_sha256=digest)
        megabytes = infrastructure.megabytes(folder)
        began = time.perf_counter()
        model = loading.load_verified(folder, ref)
        load_seconds = time.perf_counter() - began
    replay.compare(evaluation.predicted(model, holdout), planted.predictions)
    return Proof(
        outcome=f"{len(holdout)} predictions reproduced",
        load_seconds=load_seconds,
        milliseconds_per_1000=_milliseconds(model, holdout),
        megabytes=megabytes,
    )


def _milliseconds(model: Any, holdout: pd.DataFrame) -> float:
    """How long a loaded model takes for 1,000 of the texts."""
    return infrastructure.milliseconds_per_1000(lambda texts: model.predict(None, texts), list(holdout["text"]))


def _written(planted: Planted, folder: Path) -> Path:
    (folder / "artifacts").mkdir()
    flavour = "flavors: {python_function: {loader_module: mlflow.pyfunc.loaders.code_model}}\n"
    (folder / "MLmodel").write_text(flavour, encoding="utf-8")
    path = folder / "artifacts" / "pipeline.skops"
    text_model.store(planted.stored or planted.pipeline, path)
    if planted.damaged:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return folder
