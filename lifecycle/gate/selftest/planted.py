"""Challengers whose fate is known beforehand: one for every way to be bad, bad in that way alone, and honest ones.

They are real pipelines, fitted in memory on rows that are made up here. The champion has learnt from few rows; the
better one from many. The others are the better one with one fault, so that nothing else speaks against them.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lifecycle.core.references import ModelRef
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.evaluation.comparable import comparable
from lifecycle.gate.contest import Contest
from lifecycle.gate.decide import Evidence
from lifecycle.gate.proof import infrastructure, replay
from lifecycle.gate.proof.infrastructure import Proof
from lifecycle.gate.verdict import Rule
from lifecycle.models import loading, storing
from lifecycle.problems.contract import inputs_of
from lifecycle.problems.known import Problem
from lifecycle.problems.planted import DESK, SEED

TRAINED, EARLIER, SOME, FEW, HELD_OUT = 1200, 900, 150, 75, 800
"""Rows that taught the better model, the one to train again, the overconfident one, the champion, and nobody."""
RULES: dict[str, Rule] = {
    "constant": "first",
    "retrained": "retraining",
    "retrained on wrong targets": "retraining",
}
"""How those are compared that are not by their gain."""


class Planted(NamedTuple):
    """One model, as an evaluation would have recorded it, and what its file holds if that is something else."""

    pipeline: Any
    trained_on: pd.DataFrame
    answers: pd.DataFrame
    stored: Any = None
    damaged: bool = False


class PlantedModels:
    """The rows and the models, each of which is made when it is asked for."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.material, rng = problem, problem.planted, np.random.default_rng(SEED)
        rows = self.material.rows(rng, TRAINED + HELD_OUT)
        self.train, self.holdout = rows.iloc[:TRAINED], rows.iloc[TRAINED:].reset_index(drop=True)
        self._shuffled = self.material.shuffled(self.train, rng)

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
            megabytes = infrastructure.megabytes(self._written(self.better, Path(temporary)))
        return self._milliseconds(self.material.model(self.better.pipeline)), megabytes

    def evidence(self, name: str) -> Evidence:
        """What the gate is shown of a planted challenger, under the rule that it is there to test."""
        challenger, rule = self._made(name), RULES.get(name, "gain")
        champion = {"first": None, "gain": self.champion, "retraining": self.earlier}[rule]
        models = {"challenger": challenger} | ({"champion": champion} if champion else {})
        rows = comparable(
            self.problem,
            self.holdout,
            {role: model.answers for role, model in models.items()},
            {role: {*storing.short_keys(model.trained_on["key"])["key"]} for role, model in models.items()},
        )
        asked = self.material.model(challenger.pipeline)
        return Evidence(
            problem=self.problem,
            inputs=self.material.inputs,
            **rows._asdict(),
            predict=lambda inputs: asked.predict(None, inputs),
            prove=lambda: self._prove(name, challenger),
            contest=Contest(rule=rule, why="planted"),
        )

    def _made(self, name: str) -> Planted:
        train, better, mistaken = self.train, self.better, self.material.mistaken
        in_reports = train[DESK] == "report"
        makers: Mapping[str, Callable[[], Planted]] = {
            "shuffled target": lambda: self._fitted(self._shuffled),
            "constant": lambda: self._planted(self._changed("constant", better), train),
            "leaky": lambda: self._fitted(pd.concat([train, self.holdout])),
            "slice broken": lambda: self._fitted(mistaken(train, in_reports)),
            "class broken": lambda: self._fitted(mistaken(train, self._of_first_class & ~in_reports)),
            "overconfident": self._overconfident,
            "slow": lambda: better._replace(stored=self._changed("slow", better)),
            "heavy": lambda: better._replace(stored=self._changed("heavy", better)),
            "other model in the file": lambda: better._replace(stored=self.champion.pipeline),
            "unreadable": lambda: better._replace(damaged=True),
            "better": lambda: better,
            "equal": lambda: self._fitted(train.iloc[:FEW]),
            "retrained": lambda: better,
            "retrained on wrong targets": lambda: self._fitted(mistaken(train, train["row"] % 3 == 0)),
            "as good": lambda: self._fitted(train.iloc[FEW : 2 * FEW]),
        }
        if name in self.material.own:
            return self._planted(self.material.own[name](train), train)
        return makers[name]()

    @property
    def _of_first_class(self) -> pd.Series:
        labels = self.train[self.problem.target]
        return pd.Series(labels == labels.min())

    def _overconfident(self) -> Planted:
        some = self._fitted(self.train.iloc[:SOME])
        return self._planted(self._changed("overconfident", some), some.trained_on)

    def _changed(self, name: str, model: Planted) -> Any:
        return self.material.changes[name](model.pipeline, model.trained_on)

    def _fitted(self, rows: pd.DataFrame) -> Planted:
        return self._planted(self.material.fit(rows), rows)

    def _planted(self, pipeline: Any, trained_on: pd.DataFrame) -> Planted:
        answers = evaluation.predicted(self.material.model(pipeline), self._inputs)
        known = self.holdout[["row", "key"]].assign(truth=self.holdout[self.problem.target])
        return Planted(pipeline, trained_on, known.join(answers))

    @property
    def _inputs(self) -> pd.DataFrame:
        return inputs_of(self.holdout, self.material.inputs)

    def _prove(self, name: str, planted: Planted) -> Proof:
        """What a fresh process does, in this one: read the model's file, predict again, compare and measure."""
        with tempfile.TemporaryDirectory(prefix="mlops-planted-") as temporary:
            folder = self._written(planted, Path(temporary))
            digest = loading.artifact_digest(folder)
            ref = ModelRef(tracking_uri="", uri="", run_id=f"planted {name}", artifact_sha256=digest)
            megabytes = infrastructure.megabytes(folder)
            began = time.perf_counter()
            model = loading.load_verified(folder, ref)
            load_seconds = time.perf_counter() - began
        replay.compare(evaluation.predicted(model, self._inputs), planted.answers)
        return Proof(
            outcome=f"{len(self.holdout)} predictions reproduced",
            load_seconds=load_seconds,
            milliseconds_per_1000=self._milliseconds(model),
            megabytes=megabytes,
        )

    def _milliseconds(self, model: Any) -> float:
        """How long a loaded model takes for 1,000 of the rows."""
        return infrastructure.milliseconds_per_1000(lambda rows: model.predict(None, rows), self._inputs)

    def _written(self, planted: Planted, folder: Path) -> Path:
        artifacts = folder / "artifacts"
        artifacts.mkdir()
        flavour = "flavors: {python_function: {loader_module: mlflow.pyfunc.loaders.code_model}}\n"
        (folder / "MLmodel").write_text(flavour, encoding="utf-8")
        self.material.store(planted.stored or planted.pipeline, artifacts)
        if planted.damaged:
            files = (path for path in artifacts.rglob("*") if path.is_file())
            path = max(files, key=lambda path: path.stat().st_size)
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return folder
