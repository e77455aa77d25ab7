"""Hyper-parameter search: cross-validation of candidates on the train split alone, each a run in MLflow.

The trials of one study (data, algorithm, seed, folds, metric) are children of one run. A trial is known by everything
that its result depends on, so the same search again goes on where it was killed, a larger one adds to it, and several
processes, on whatever machines, share the work. Test and holdout are never read: the best is trained and judged as any
other model is.

`search`   a search from one request: whoever makes the trials, what was found is read of MLflow
`tune`     makes the trials that nobody else makes
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lifecycle.core.errors import ConfigError, MlopsError, TransientError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import Side
from lifecycle.data import dataset, lock
from lifecycle.tracking import trials as tried
from lifecycle.tracking.client import translated
from lifecycle.training import spaces
from lifecycle.training.spaces import Search
from lifecycle.training.study import Study, TuneRequest
from lifecycle.training.trial import measured

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

TRIALS: Mapping[Search, int | None] = {"random": 20, "halving": 27, "grid": None}
"""The budget where none is given; a grid is tried as a whole."""
AT_ONCE = 200
"""Candidates whose keys are computed together."""
PATIENCE_SECONDS, LONGEST_PATIENCE = 1.0, 8.0
"""Between two looks at what others make: a server is not to be asked by many all the time."""
GO_ON = "The same command goes on from there."
OTHER_CODE = "Job and caller must run the same code: mlops databricks deploy."
Work = Callable[[TuneRequest], Sequence[Exception]]
"""What has the trials of a request made, by whomever; what went wrong with some of those who did is its answer."""


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
    """Trials that were not there before."""
    planned: int
    left: int = 0
    """Trials that nobody has made, of all or of the first rung that is not whole."""
    best: Trial | None
    """Of those on the most rows."""

    @property
    def params(self) -> dict[str, Any]:
        """With what a training gives the best model."""
        return self.fixed | (self.best.params if self.best else {})


def search(request: TuneRequest, work: Work) -> Tuned:
    """Let the trials be made, and tell what was found; what was tried before is taken as it is.

    Raises:
        ConfigError: No candidate could be fitted; or there are fewer rows, groups or classes than folds ask for.
        MlopsError: Somebody failed at it, and trials are left.
    """
    study = Study.of(request)
    journal = study.opened()
    with lock.undisturbed(request.data_root), journal.working():
        before = journal.over()
        failures = work(request)
        there = _Search(study, journal, makes=False)
        found = _ordered(study, there.run())
        _require_complete(there, len(found), failures)
        best = next((trial for trial in found if trial.value is not None), None)
        if best:
            journal.conclude(best.run_id, study.metric.name, float(best.value or 0), request.params | best.params)
    if found and best is None:
        what = f"No candidate could be fitted and measured: {found[0].failure.rstrip('.')}."
        raise ConfigError(what, "Correct the space, --params or --metric.")
    return Tuned(
        **request.model_dump(include={"model_name", "data_name", "data_version", "folds", "algorithm", "metric"}),
        higher_is_better=study.metric.higher,
        run_id=journal.run_id,
        fixed=request.params,
        trials=tuple(found),
        new=sum(trial.run_id not in before for trial in found),
        planned=there.planned,
        left=there.left,
        best=best,
    )


def _require_complete(there: "_Search", made: int, failures: Sequence[Exception]) -> None:
    """Refuse a search that lacks trials though its time was not up; where none is missing, failures are only told."""
    if there.left and not there.study.request.minutes:
        first = failures[0] if failures else ConfigError("The trials that were made have other keys.", OTHER_CODE)
        error = first if isinstance(first, MlopsError) else MlopsError(f"{type(first).__name__}: {first}.")
        raise type(error)(f"{error.what} {made} of {there.planned} trials are there.", f"{error.fix} {GO_ON}".strip())
    for failure in failures:
        logger.warning("One who made trials failed, and others made them: %s", failure)


@lock.while_reading("data_root")
def tune(request: TuneRequest) -> None:
    """Make trials until all are there or the minutes are used up, beside whoever else makes trials of the same search.

    Raises:
        ConfigError: There are fewer rows, groups or classes than folds ask for.
    """
    study = Study.of(request)
    with translated():
        work = _Search(study, study.opened())
        study.folds.of(work.rows)
        work.run()


class _Search:
    """One way through the trials: those that are there are told, and the others made, if any are to be made."""

    def __init__(self, study: Study, journal: tried.Journal, *, makes: bool = True) -> None:
        self.study, self.journal, self.makes = study, journal, makes
        self.until = time.monotonic() + 60 * (study.request.minutes or math.inf)
        self.planned = self.left = 0
        self.told = 0
        self.best: float | None = None

    @cached_property
    def rows(self) -> "pd.DataFrame":
        """Those of train."""
        wanted = self.study.request
        return dataset.load_rows(wanted.data_root, wanted.data_name, wanted.data_version, Side.TRAIN)

    def run(self) -> list[Trial]:
        """The trials of all rungs; of a search without halving there is one rung, of all rows."""
        wanted, count = self.study.request, self.study.rows
        budget = wanted.trials or (None if wanted.minutes and wanted.search != "halving" else TRIALS[wanted.search])
        candidates = spaces.candidates(self.study.space, wanted.search, budget, wanted.seed)
        steps = [(len(candidates), count)]
        if wanted.search == "halving":
            steps = spaces.rungs(len(candidates), count, self.study.folds.least)
        self.planned, trials = sum(many for many, _ in steps), list[Trial]()
        for many, size in steps:
            rung = list(self._rung(candidates[:many], size))
            trials += rung
            candidates = [trial.params for trial in _ordered(self.study, rung) if trial.value is not None]
            if len(rung) < many or not candidates:
                break
        return trials

    def _rung(self, candidates: list[dict[str, Any]], size: int) -> Iterator[Trial]:
        """Each candidate on the same rows, some after the others: a search that only its minutes end has thousands."""
        rows = self.study.folds.some(self.rows, size) if size < self.study.rows else None
        self.best = None
        for first in range(0, len(candidates), AT_ONCE):
            yield from self._some(candidates[first : first + AT_ONCE], rows)
            if self.left:
                self.left += len(candidates[first + AT_ONCE :])
                return

    def _some(self, candidates: list[dict[str, Any]], rows: "pd.DataFrame | None") -> Iterator[Trial]:
        """Each of these; those that another process has taken come last, and are waited for."""
        count = self.study.rows if rows is None else len(rows)
        left, pause = {self.study.trial_key(params, count): params for params in candidates}, PATIENCE_SECONDS
        while left:
            known = self.journal.known([*left])
            for key in [key for key in left if key in known]:
                yield self._told(Trial(params=left.pop(key), rows=count, **known[key]))
            self.left = len(left)
            if not self.makes:
                return
            if left and time.monotonic() > self.until:
                logger.info("The time is up: %s of %s trials are left", self.planned - self.told, self.planned)
                return
            free, place = self.journal.free([*left]), self.study.request.worker
            # at different places: of two that reach for one trial at the same moment both may get it
            claimed = next(filter(self.journal.claim, free[place:] + free[:place]), None)
            if claimed:
                pause = PATIENCE_SECONDS
                yield self._told(self._tried(claimed, left.pop(claimed), self.rows if rows is None else rows))
            elif left:
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PATIENCE)
        self.left = 0

    def _tried(self, key: str, params: dict[str, Any], rows: "pd.DataFrame") -> Trial:
        """Fit and measure one candidate, and record it; one that cannot be fitted is recorded as that."""
        start = time.monotonic()
        with self.journal.trial(key, {**self.study.request.params, **params, "rows": len(rows)}) as run:
            try:
                values = measured(self.study, params, rows)
            except TransientError:
                raise  # it says nothing about the candidate
            except MlopsError as error:
                return Trial(params=params, rows=len(rows), **run.failed(str(error)))
            return Trial(params=params, rows=len(rows), **run.measured(values, time.monotonic() - start))

    def _told(self, trial: Trial) -> Trial:
        """One line of progress, where trials are made."""
        if not self.makes:
            return trial
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


def _ordered(study: Study, trials: list[Trial]) -> list[Trial]:
    """The best first: of those on the most rows, then of the earlier rungs; at last what could not be fitted."""
    sign = -1 if study.metric.higher else 1

    def rank(trial: Trial) -> tuple[bool, int, float]:
        return trial.value is None, -trial.rows, sign * (trial.value or 0.0)

    return sorted(trials, key=rank)
