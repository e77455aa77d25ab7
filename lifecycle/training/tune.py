"""Hyper-parameter search: cross-validation of candidates on the train split alone, each a run in MLflow.

The trials of one study (data, algorithm, seed, folds, metric) are children of one run. A trial is known by everything
that its result depends on, so the same search again goes on where it was killed, a larger one adds to it, and several
processes with the same command share the work. Test and holdout are never read: the best is trained and judged as any
other model is.
"""

import hashlib
import json
import logging
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pydantic import Field

from lifecycle.core.errors import ConfigError, DataError, MlopsError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import Side
from lifecycle.core.provenance import digest_of
from lifecycle.data import dataset, lock
from lifecycle.data.manifest import Manifest
from lifecycle.problems import own
from lifecycle.problems.contract import Estimator, inputs_of
from lifecycle.problems.known import Problem, named
from lifecycle.problems.learning import Beside, Spec
from lifecycle.problems.metric import Metric
from lifecycle.problems.own import OwnAlgorithm
from lifecycle.settings import Settings
from lifecycle.settings.gate_rules import GateRules
from lifecycle.tracking import runs
from lifecycle.tracking import trials as tried
from lifecycle.tracking.client import experiment
from lifecycle.training import bases, spaces
from lifecycle.training import train as training
from lifecycle.training.folds import Folds
from lifecycle.training.spaces import Search, Space
from lifecycle.training.train import Training

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

CODE = ("training/tune.py", "training/folds.py")
"""What decides what a trial measures, beside what decides what is fitted."""
TRIALS: Mapping[Search, int | None] = {"random": 20, "halving": 27, "grid": None}
"""The budget where none is given; a grid is tried as a whole."""
PATIENCE_SECONDS = 1.0


class Tuning(Training):
    """What is searched, and how long."""

    space: dict[str, Any] = Field(default_factory=dict, description="Default: that of the algorithm's entry.")
    search: Search = "random"
    trials: int | None = Field(None, ge=1, le=spaces.MOST)
    minutes: float | None = Field(None, gt=0)
    folds: int = Field(5, ge=2, le=50)
    metric: str = Field("", description="Default: what the gate of the environment decides by.")


class Trial(Frozen):
    """One candidate, measured."""

    params: dict[str, Any]
    """Those that are searched."""
    rows: int
    """Of train; fewer than all on the early rungs of halving."""
    value: float | None = None
    deviation: float | None = None
    """Of the values of the folds."""
    seconds: float = 0.0
    run_id: str = ""
    failure: str = ""


class Tuned(Frozen):
    """What a search found: the best trials first."""

    model_name: str
    algorithm: str
    data_name: str
    data_version: str
    metric: str
    higher_is_better: bool
    folds: int
    run_id: str
    fixed: dict[str, Any]
    trials: tuple[Trial, ...]
    new: int
    """Trials of this call; the others were there."""
    planned: int
    best: Trial | None
    """Of those on the most rows."""

    @property
    def params(self) -> dict[str, Any]:
        """With what a training gives the best model."""
        return self.fixed | (self.best.params if self.best else {})


class Study(NamedTuple):
    """What all trials of a search have in common."""

    config: Settings
    wanted: Tuning
    manifest: Manifest
    algorithm: str | OwnAlgorithm
    entry: Estimator | None
    rules: GateRules
    metric: Metric
    space: Space

    @property
    def problem(self) -> Problem:
        """That of the data."""
        return named(self.manifest.problem)

    @property
    def name(self) -> str:
        """Of the algorithm."""
        return self.algorithm.path if isinstance(self.algorithm, OwnAlgorithm) else self.algorithm

    @property
    def folds(self) -> Folds:
        """How it is measured."""
        return Folds(self.manifest, self.wanted.folds, self.wanted.seed)

    @property
    def key(self) -> str:
        """The digest of what makes trials comparable."""
        measured = self.rules.model_dump(mode="json", include={"own_metrics", "costs"})
        content = (self.manifest.digest, self.wanted.model_name, self.name, self.wanted.seed, self.wanted.folds)
        return _digest([*content, self.metric.name, measured])

    def build(self, params: Mapping[str, Any]) -> Any:
        """An unfitted pipeline of a candidate."""
        return self.problem.learning.build(self.spec(params))

    def spec(self, params: Mapping[str, Any]) -> Spec:
        """What a candidate is."""
        given = {**self.wanted.params, **params}
        return Spec(self.algorithm, given, self.wanted.seed, self.manifest.inputs)

    def trial_key(self, params: Mapping[str, Any], rows: int) -> str:
        """The digest of everything that the result of a trial depends on."""
        pipeline, given = self.build(params), {**self.wanted.params, **params}
        if isinstance(self.algorithm, OwnAlgorithm):
            pipeline = {"algorithm": self.name, "params": given, "code": self.algorithm.digest}
        trained = training.train_key(self.manifest, self.wanted.model_name, pipeline, self.wanted.seed, self.entry)
        code = digest_of(Path(__file__).parents[1], CODE)
        return _digest([self.key, trained, rows, code])


def plan(config: Settings, wanted: Tuning) -> Study:
    """State a search; everything that can be wrong with it is found here, and nothing is written.

    Raises:
        ConfigError: An algorithm, parameter, value or metric is none that there can be, or nothing is to be searched.
    """
    manifest = dataset.load(config.datasets, wanted.data_name, wanted.data_version)
    problem = named(manifest.problem)
    algorithm = own.algorithm_of(problem.learning.estimators, wanted.algorithm, config.trusted_modules)
    entry = None if isinstance(algorithm, OwnAlgorithm) else problem.learning.estimators[algorithm]
    given = wanted.space or (entry.space if entry else {})
    if not given:
        what = f"{wanted.algorithm or algorithm} has no parameters that are searched by default."
        raise ConfigError(what, spaces.EXAMPLE)
    space = spaces.parsed({name: values for name, values in given.items() if wanted.space or name not in wanted.params})
    params = bases.pinned(config, entry, wanted.params)
    rules = problem.judging.completed(config.gate)
    metric = problem.judging.named(wanted.metric or rules.metric, rules)
    wanted = wanted.model_copy(update={"params": params})
    study = Study(config, wanted, manifest, algorithm, entry, rules, metric, space)
    study.build({})
    spaces.require_known(space, study.build, params)
    if (rows := sum(manifest.counts[Side.TRAIN].values())) < study.folds.least:
        what = f"{wanted.data_name} {wanted.data_version}: {rows:,} rows of train are too few for {wanted.folds} folds."
        raise DataError(what, "Take fewer --folds, or more rows.")
    spaces.candidates(space, wanted.search, wanted.trials, wanted.seed)
    return study


def tune(study: Study) -> Tuned:
    """Try the candidates until they or the minutes are used up; what was tried before is taken as it is.

    Raises:
        ConfigError: No candidate could be fitted; or there are fewer rows, groups or classes than folds ask for.
    """
    config, wanted = study.config, study.wanted
    with lock.undisturbed(config.datasets):
        rows = dataset.load_rows(config.datasets, wanted.data_name, wanted.data_version, Side.TRAIN)
        study.folds.of(rows)
        where = experiment(config.mlflow_uri, f"{wanted.model_name}-{config.env}")
        tags = {tried.TUNED: wanted.model_name, "mlops.data_name": wanted.data_name, "mlops.algorithm": study.name}
        title = f"tune {wanted.model_name} {study.name} on {wanted.data_name} {wanted.data_version}"
        journal = tried.opened(config.mlflow_uri, where, study.key, title, tags | {"mlops.metric": study.metric.name})
        with journal.working():
            search = _Search(study, journal, rows)
            found = _ordered(study, search.run())
            best = next((trial for trial in found if trial.value is not None), None)
            if best:
                journal.conclude(
                    best.run_id, study.metric.name, float(best.value or 0), study.wanted.params | best.params
                )
    if found and best is None:
        raise ConfigError(f"No candidate could be fitted. {found[0].failure}", "Correct the space, or --params.")
    return Tuned(
        **wanted.model_dump(include={"model_name", "data_name", "data_version", "folds"}),
        algorithm=study.name,
        metric=study.metric.name,
        higher_is_better=study.metric.higher,
        run_id=journal.run_id,
        fixed=wanted.params,
        trials=tuple(found),
        new=search.new,
        planned=search.planned,
        best=best,
    )


class _Search:
    """One call: its candidates, what is left of its minutes, and how many trials it has made itself."""

    def __init__(self, study: Study, journal: tried.Journal, rows: "pd.DataFrame") -> None:
        self.study, self.journal, self.rows = study, journal, rows
        self.until = time.monotonic() + 60 * (study.wanted.minutes or math.inf)
        self.new = self.planned = 0
        self.told = 0
        self.best: float | None = None

    def run(self) -> list[Trial]:
        """The trials of all rungs; of a search without halving there is one rung, of all rows."""
        wanted, count = self.study.wanted, len(self.rows)
        budget = wanted.trials or (None if wanted.minutes and wanted.search != "halving" else TRIALS[wanted.search])
        candidates = spaces.candidates(self.study.space, wanted.search, budget, wanted.seed)
        steps = [(len(candidates), count)]
        if wanted.search == "halving":
            steps = spaces.rungs(len(candidates), count, self.study.folds.least)
        self.planned, trials = sum(many for many, _ in steps), list[Trial]()
        for many, size in steps:
            rung = list(self._rung(candidates[:many], self.study.folds.some(self.rows, size)))
            trials += rung
            candidates = [trial.params for trial in _ordered(self.study, rung) if trial.value is not None]
            if len(rung) < many or not candidates:
                break
        return trials

    def _rung(self, candidates: list[dict[str, Any]], rows: "pd.DataFrame") -> Iterator[Trial]:
        """Each candidate on the same rows; those that another process has taken come last, and are waited for."""
        keys = [self.study.trial_key(params, len(rows)) for params in candidates]
        left, self.best = dict(zip(keys, candidates, strict=True)), None
        while left:
            known = self.journal.known([*left])
            for key in [key for key in left if key in known]:
                yield self._told(Trial(params=left.pop(key), rows=len(rows), **known[key]))
            if time.monotonic() > self.until:
                logger.info("The time is up: %s of %s trials are left", len(left), self.planned)
                return
            claimed = next(filter(self.journal.claim, left), None)
            if claimed:
                self.new += 1
                yield self._told(self._tried(claimed, left.pop(claimed), rows))
            elif left:
                time.sleep(PATIENCE_SECONDS)

    def _tried(self, key: str, params: dict[str, Any], rows: "pd.DataFrame") -> Trial:
        """Fit and measure one candidate, and record it; one that cannot be fitted is recorded as that."""
        start = time.monotonic()
        with self.journal.trial(key, {**self.study.wanted.params, **params, "rows": len(rows)}) as run:
            try:
                values = _measured(self.study, params, rows)
            except MlopsError as error:
                return Trial(params=params, rows=len(rows), **run.failed(str(error)))
            return Trial(params=params, rows=len(rows), **run.measured(values, time.monotonic() - start))

    def _told(self, trial: Trial) -> Trial:
        """One line of progress."""
        self.told += 1
        shown = ", ".join(f"{name}={value}" for name, value in trial.params.items())
        place, metric = f"Trial {self.told} of {self.planned}: {shown}", self.study.metric
        if trial.value is None:
            logger.warning("%s: %.200s", place, trial.failure)
            return trial
        ahead = max if metric.higher else min
        self.best = trial.value if self.best is None else ahead(self.best, trial.value)
        said = f"{metric.name} {trial.value:.4f} ± {trial.deviation or 0:.4f}"
        logger.info("%s: %s on %s rows (best %.4f)", place, said, f"{trial.rows:,}", self.best)
        return trial


def _measured(study: Study, params: Mapping[str, Any], rows: "pd.DataFrame") -> list[float]:
    """The metric of a candidate on each fold.

    Raises:
        ConfigError: The parameters do not fit together, or the metric is undefined.
    """
    learning, inputs = study.problem.learning, study.manifest.inputs
    given, places = {**study.wanted.params, **params}, (study.config.mlflow_uri, study.config.registry_uri or "")
    values = []
    with runs.not_autologged(), bases.fetched(study.entry, given, places) as base:
        for fit, measure in study.folds.of(rows):
            known, held = (rows.iloc[place].reset_index(drop=True) for place in (fit, measure))
            beside = Beside(base=base, vectors=study.config.state / training.VECTORS)
            pipeline = learning.fit(study.spec(params), inputs_of(known, inputs), known[learning.target], beside)
            answers = learning.answers(pipeline, inputs_of(held, inputs), inputs)
            scores = study.problem.judging.scores_of(held[learning.target], {"": answers})[""]
            value = float(study.metric.measure(scores, np.ones(len(held))))
            if not math.isfinite(value):
                raise ConfigError(f"{study.metric.name} is undefined on a fold of {len(held)} rows.", "Fewer --folds.")
            values.append(value)
    return values


def _ordered(study: Study, trials: list[Trial]) -> list[Trial]:
    """The best first: of those on the most rows, then of the earlier rungs; at last what could not be fitted."""
    sign = -1 if study.metric.higher else 1

    def rank(trial: Trial) -> tuple[bool, int, float]:
        return trial.value is None, -trial.rows, sign * (trial.value or 0.0)

    return sorted(trials, key=rank)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
