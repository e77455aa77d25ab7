"""What all trials of a search have in common: planned once, and rebuilt from its request wherever trials are made.

A trial is known by everything that its result depends on. Code and libraries are named as they were where the search
was planned, so that all who make trials of it, in jobs too, call each by the same key.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from lifecycle.core import class_names, own_code
from lifecycle.core.errors import ConfigError, DataError
from lifecycle.core.names import Side
from lifecycle.core.provenance import digest_of
from lifecycle.data import dataset
from lifecycle.data.manifest import Manifest
from lifecycle.problems import fitting, own
from lifecycle.problems.contract import Estimator
from lifecycle.problems.known import Problem, named
from lifecycle.problems.learning import Spec
from lifecycle.problems.metric import Metric, own_digest
from lifecycle.problems.own import OwnAlgorithm
from lifecycle.settings import Settings
from lifecycle.settings.gate_rules import OF_A_CLASS, GateRules
from lifecycle.tracking import trials as tried
from lifecycle.tracking.client import experiment
from lifecycle.tracking.runs import PACKAGES
from lifecycle.training import bases, spaces
from lifecycle.training import train as training
from lifecycle.training.folds import Folds
from lifecycle.training.spaces import Search, Space
from lifecycle.training.train import Training

CODE = ("training/trial.py", "training/folds.py")
"""What decides what a trial measures, beside what decides what is fitted."""
MEASURED = ("own_metrics", "costs", "language_judge")
"""The rules of a gate that decide what a metric is."""


class Tuning(Training):
    """What is searched, and how long."""

    space: dict[str, Any] = Field(default_factory=dict, description="Default: that of the algorithm's entry.")
    search: Search = "random"
    trials: int | None = Field(None, ge=1, le=spaces.MOST)
    minutes: float | None = Field(None, gt=0)
    folds: int = Field(5, ge=2, le=50)
    metric: str = Field("", description="Default: what the gate of the environment decides by.")


class TuneRequest(Tuning):
    """One search, from which its trials are made anywhere; the same search is the same request but for the worker."""

    tracking_uri: str
    experiment_name: str
    data_root: Path
    algorithm: str
    rules: GateRules = Field(description="Of the gate's rules what its metric needs.")
    made_by: str = Field("", description="Digest of the code and the libraries where it was planned.")
    code: dict[str, str] = Field({}, description="The sha256 of a team's own code that it runs, by dotted path.")
    trusted_modules: tuple[str, ...] = ()
    registry_uri: str = Field("", description="Where the model that it begins with is registered, if elsewhere.")
    vectors: Path | None = Field(None, description="Where trainings keep what an encoder made of texts.")
    worker: int = Field(0, ge=0, description="Which one of those that share the work.")


class Study(NamedTuple):
    """What all trials of a search have in common."""

    request: TuneRequest
    manifest: Manifest
    algorithm: str | OwnAlgorithm
    entry: Estimator | None
    metric: Metric
    space: Space

    @classmethod
    def of(cls, request: TuneRequest) -> "Study":
        """The study of a request.

        Raises:
            ConfigError: An algorithm, parameter or metric is none that there can be here, or code is another one.
        """
        manifest = dataset.load(request.data_root, request.data_name, request.data_version)
        problem = named(manifest.problem)
        algorithm = own.algorithm_of(problem.learning.estimators, request.algorithm, request.trusted_modules)
        entry = None if isinstance(algorithm, OwnAlgorithm) else problem.learning.estimators[algorithm]
        for path, digest in request.code.items():
            if (here := own_code.digest(path)) != digest:
                what = f"{path}: its code digests to {here[:12]} here, the search was planned with {digest[:12]}."
                raise ConfigError(what, "Bring both to the same state, then search again.")
        metric = problem.judging.named(request.metric, request.rules)
        study = cls(request, manifest, algorithm, entry, metric, spaces.parsed(request.space))
        study.build({})
        return study

    @property
    def problem(self) -> Problem:
        """That of the data."""
        return named(self.manifest.problem)

    @property
    def folds(self) -> Folds:
        """How it is measured."""
        return Folds(self.manifest, self.request.folds, self.request.seed)

    @property
    def rows(self) -> int:
        """Those of train."""
        return sum(self.manifest.counts[Side.TRAIN].values())

    @property
    def key(self) -> str:
        """The digest of what makes trials comparable."""
        wanted, measured = self.request, self.request.rules.model_dump(mode="json", include={"own_metrics", "costs"})
        content = (self.manifest.digest, wanted.model_name, wanted.algorithm, wanted.seed, wanted.folds)
        return _digest([*content, self.metric.name, measured])

    def build(self, params: Mapping[str, Any]) -> Any:
        """An unfitted pipeline of a candidate."""
        return self.problem.learning.build(self.spec(params))

    def spec(self, params: Mapping[str, Any]) -> Spec:
        """What a candidate is."""
        given = {**self.request.params, **params}
        return Spec(self.algorithm, given, self.request.seed, self.manifest.inputs)

    def trial_key(self, params: Mapping[str, Any], rows: int) -> str:
        """The digest of everything that the result of a trial depends on; of code of a team's own the request's."""
        is_own = isinstance(self.algorithm, OwnAlgorithm)
        pipeline = {**self.request.params, **params} if is_own else self.build(params)
        of_rows = self.manifest.files.get(dataset.SPLIT), rows
        return _digest([self.key, *of_rows, fitting.described(pipeline), self.request.made_by])

    def opened(self) -> tried.Journal:
        """The journal of its trials."""
        wanted = self.request
        where = experiment(wanted.tracking_uri, wanted.experiment_name)
        tags = {
            tried.TUNED: wanted.model_name,
            "mlops.data_name": wanted.data_name,
            "mlops.algorithm": wanted.algorithm,
            "mlops.metric": self.metric.name,
        }
        title = f"tune {wanted.model_name} {wanted.algorithm} on {wanted.data_name} {wanted.data_version}"
        return tried.opened(wanted.tracking_uri, where, self.key, title, tags)


def plan(config: Settings, wanted: Tuning) -> TuneRequest:
    """State a search; everything that can be wrong with it is found here, and nothing is recorded.

    Raises:
        ConfigError: An algorithm, parameter, value or metric is none that there can be, or nothing is to be searched.
        DataError: There are fewer rows than folds ask for.
    """
    manifest = dataset.load(config.datasets, wanted.data_name, wanted.data_version)
    problem = named(manifest.problem)
    algorithm = own.algorithm_of(problem.learning.estimators, wanted.algorithm, config.trusted_modules)
    entry = None if isinstance(algorithm, OwnAlgorithm) else problem.learning.estimators[algorithm]
    name = algorithm.path if isinstance(algorithm, OwnAlgorithm) else algorithm
    params = bases.pinned(config, entry, wanted.params)
    rules = problem.judging.completed(config.gate)
    metric = problem.judging.named(wanted.metric or rules.metric, rules)
    code = _own_code(algorithm, rules.own_metrics.get(metric.name, ""))
    request = TuneRequest(
        **wanted.model_dump(exclude={"algorithm", "params", "space", "metric"}),
        tracking_uri=config.mlflow_uri,
        experiment_name=f"{wanted.model_name}-{config.env}",
        data_root=config.datasets,
        algorithm=name,
        params=params,
        space=wanted.space or _usual_space(name, entry, wanted.params),
        metric=metric.name,
        rules=GateRules(**config.gate.model_dump(include={*MEASURED})),
        code=code,
        trusted_modules=() if entry else config.trusted_modules,
        registry_uri=config.registry_uri or "" if entry and entry.base else "",
        vectors=config.state / training.VECTORS,
    )
    _require_possible(Study.of(request))
    made_by = _made_by(problem, entry, code)
    return request.model_copy(update={"made_by": made_by, "params": bases.brought(config, entry, params)})


def _require_possible(study: Study) -> None:
    """Refuse a space with a value that there cannot be, a metric of a class that there is not, and too few rows."""
    wanted = study.request
    if wanted.metric.startswith(OF_A_CLASS) and wanted.metric not in wanted.rules.own_metrics:
        _require_class(wanted.metric, study.manifest.counts[Side.TRAIN])
    spaces.require_known(study.space, study.build, wanted.params)
    if study.rows < study.folds.least:
        what = f"{wanted.data_name} {wanted.data_version}: {study.rows:,} rows of train are too few for "
        raise DataError(f"{what}{wanted.folds} folds.", "Take fewer --folds, or more rows.")
    spaces.candidates(study.space, wanted.search, wanted.trials, wanted.seed)


def _require_class(metric: str, classes: Iterable[str]) -> None:
    label, known = metric.partition(".")[2], sorted(map(class_names.canonical, classes))
    if label not in known:
        meant = class_names.nearest(label, known)
        asked = f" Did you mean {meant!r:.40}?" if meant is not None else ""
        what = f"{metric}: no row of train is of a class {label!r:.40}.{asked}"
        raise ConfigError(what, "Correct --metric, or gate.metric of the environment.")


def _usual_space(name: str, entry: Estimator | None, params: Mapping[str, Any]) -> dict[str, Any]:
    """What the entry of an algorithm says is tried, but for parameters that are given."""
    if not entry or not entry.space:
        raise ConfigError(f"{name} has no parameters that are searched by default.", spaces.EXAMPLE)
    return {parameter: values for parameter, values in entry.space.items() if parameter not in params}


def _own_code(algorithm: str | OwnAlgorithm, metric: str) -> dict[str, str]:
    """The code of a team's own that a search runs, with its sha256."""
    of_algorithm = {algorithm.path: algorithm.digest} if isinstance(algorithm, OwnAlgorithm) else {}
    of_metric = {metric.removeprefix("-"): own_digest(metric)} if metric else {}
    return of_algorithm | {path: digest for path, digest in of_metric.items() if digest}


def _made_by(problem: Problem, entry: Estimator | None, code: Mapping[str, str]) -> str:
    sources = (*training.sources(problem.learning), *(entry.sources if entry else ()), *CODE)
    packages = {package: version(package) for package in (*PACKAGES, *(entry.packages if entry else ()))}
    return _digest([digest_of(Path(__file__).parents[1], sources), packages, code])


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
