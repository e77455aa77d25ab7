"""The trials of a hyper-parameter search as MLflow's runs: children of one run, each known by its key.

They are no trainings: they hold no model, and no list of a model's trainings shows them. Whoever makes a trial says
each minute that it is at work: so a process that ended on another machine keeps nobody waiting for long.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from statistics import fmean, stdev
from threading import Event, Thread
from typing import Any, NamedTuple

from mlflow.entities import Metric, Param

from lifecycle.core.writer_process import OWNER, is_dead, owner
from lifecycle.tracking import runs
from lifecycle.tracking.client import client, translated

TUNED, STUDY, TRIAL, FAILURE = "mlops.tuned_model", "mlops.study", "mlops.trial", "mlops.trial_failure"
VALUE, DEVIATION, SECONDS = "value", "deviation", "seconds"
PARENT = "mlflow.parentRunId"
PAGE, MOST_SIGNS = 1000, 6000
LEASE = "mlops.lease"
"""The tag of a trial that is under way: when its process last said so, in seconds since 1970."""
LEASE_SECONDS = 600.0
"""Who has not said so for longer has ended, or is cut off; it is said ten times as often."""


class Recorder(NamedTuple):
    """One trial that is under way."""

    tracking_uri: str
    run_id: str

    def measured(self, values: Sequence[float], seconds: float) -> dict[str, Any]:
        """Record what it reached on each fold, and give the same."""
        found = {VALUE: fmean(values), DEVIATION: stdev(values), SECONDS: round(seconds, 2)}
        mlflow, now = client(self.tracking_uri), int(time.time() * 1000)
        metrics = [Metric("fold", value, now, fold) for fold, value in enumerate(values)]
        mlflow.log_batch(self.run_id, [*metrics, *(Metric(name, value, now, 0) for name, value in found.items())])
        mlflow.set_terminated(self.run_id, "FINISHED")
        return found | {"run_id": self.run_id}

    def failed(self, why: str) -> dict[str, Any]:
        """Record that it cannot be fitted; it is not tried again."""
        client(self.tracking_uri).set_tag(self.run_id, FAILURE, why[:1000])
        client(self.tracking_uri).set_terminated(self.run_id, "FAILED")
        return {"failure": why[:1000], "run_id": self.run_id}


class Journal:
    """The run of a study, and its trials."""

    def __init__(
        self, tracking_uri: str, experiment_id: str, study: str, run_id: str, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self.tracking_uri, self.experiment_id, self.study, self.run_id = tracking_uri, experiment_id, study, run_id
        self.lease_seconds = lease_seconds
        self._claimed: dict[str, str] = {}

    @contextmanager
    def working(self) -> Iterator[None]:
        """Open the run of the study within the block; how the block ends is how it ends."""
        with translated():
            client(self.tracking_uri).update_run(self.run_id, status="RUNNING")
            client(self.tracking_uri).set_tag(self.run_id, OWNER, owner())
        with runs.closed_on_failure(self.tracking_uri, self.run_id), translated():
            yield
        with translated():
            client(self.tracking_uri).set_terminated(self.run_id, "FINISHED")

    def conclude(self, best: str, metric: str, value: float, params: Mapping[str, Any]) -> None:
        """Say at the run of the study which trial is the best."""
        mlflow = client(self.tracking_uri)
        mlflow.log_metric(self.run_id, metric, value)
        mlflow.set_tag(self.run_id, "mlops.best_run", best)
        mlflow.set_tag(self.run_id, "mlops.best_params", json.dumps(params))

    def over(self) -> set[str]:
        """The runs of all trials of the study that have ended by themselves."""
        ended = _search(self.tracking_uri, self.experiment_id, self.study, "FINISHED", "FAILED")
        return {run.info.run_id for run in ended if TRIAL in run.data.tags}

    def known(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What is known of trials that are over, by their keys."""
        wanted, found = {*keys}, dict[str, dict[str, Any]]()
        for run in _search(self.tracking_uri, self.experiment_id, self.study, "FINISHED", "FAILED"):
            if (key := run.data.tags.get(TRIAL)) in wanted and key not in found and (told := _told(run)):
                found[key] = told | {"run_id": run.info.run_id}
        return found

    def free(self, keys: Sequence[str]) -> list[str]:
        """Those of some trials that nobody makes or has made."""
        held = self._holders()
        return [key for key in keys if key not in held]

    def claim(self, key: str) -> bool:
        """Begin a trial, unless another process has it or has made it; of two that begin it at once one has it."""
        mlflow = client(self.tracking_uri)
        if not self.free([key]):
            return False
        tags = {PARENT: self.run_id, STUDY: self.study, TRIAL: key, OWNER: owner(), LEASE: _now()}
        tags |= {"mlflow.source.name": "mlops tune"}
        run_id = mlflow.create_run(self.experiment_id, run_name=f"trial {key[:8]}", tags=tags).info.run_id
        if self._holders().get(key) != run_id:
            mlflow.delete_run(run_id)
            return False
        self._claimed[key] = run_id
        return True

    @contextmanager
    def trial(self, key: str, params: Mapping[str, Any]) -> Iterator[Recorder]:
        """Make a trial that was begun; one that ends in an error of no candidate's is made again."""
        run_id = self._claimed.pop(key)
        with runs.closed_on_failure(self.tracking_uri, run_id), self._leased(run_id):
            told = [Param(name, str(value)[:MOST_SIGNS]) for name, value in params.items()]
            client(self.tracking_uri).log_batch(run_id, params=told)
            yield Recorder(self.tracking_uri, run_id)

    @contextmanager
    def _leased(self, run_id: str) -> Iterator[None]:
        """Say by a thread that a trial is under way, until the block ends."""
        mlflow, over = client(self.tracking_uri), Event()

        def renew() -> None:
            while not over.wait(self.lease_seconds / 10):
                with suppress(Exception):  # whatever it is, the next one may be heard
                    mlflow.set_tag(run_id, LEASE, _now())

        Thread(target=renew, name="lease", daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def _holders(self) -> dict[str, str]:
        """The run of each trial that somebody makes or has made, by its key; what dead processes had begun is ended."""
        made, begun = dict[str, str](), dict[str, tuple[int, str]]()
        for run in _search(self.tracking_uri, self.experiment_id, self.study, "RUNNING", "FINISHED", "FAILED"):
            key, run_id = run.data.tags.get(TRIAL), str(run.info.run_id)
            if key is None:
                continue  # the run of the study
            if run.info.status != "RUNNING":
                made |= {key: run_id} if _told(run) else {}
            elif is_dead(run.data.tags.get(OWNER, "")) or self._has_lapsed(run):
                runs.end_abandoned(self.tracking_uri, run_id)
            else:
                mine = (run.info.start_time, run_id)
                begun[key] = min(begun.get(key, mine), mine)
        return {key: run_id for key, (_, run_id) in begun.items()} | made

    def _has_lapsed(self, run: Any) -> bool:
        """Whether nobody has said for long that a trial is under way; earlier releases never did after its start."""
        said = float(run.data.tags.get(LEASE) or run.info.start_time / 1000)
        return time.time() - said > self.lease_seconds


def opened(
    tracking_uri: str,
    experiment_id: str,
    study: str,
    title: str,
    tags: Mapping[str, str],
    lease_seconds: float = LEASE_SECONDS,
) -> Journal:
    """The journal of a study: its first run, or a new one; of two that are made at once one stays."""
    with translated():
        run_id = _first(tracking_uri, experiment_id, study)
        if run_id is None:
            own = {STUDY: study, OWNER: owner(), "mlflow.source.name": "mlops tune"}
            made = client(tracking_uri).create_run(experiment_id, run_name=title, tags={**tags, **own}).info.run_id
            if (run_id := _first(tracking_uri, experiment_id, study) or made) != made:
                client(tracking_uri).delete_run(made)
    return Journal(tracking_uri, experiment_id, study, run_id, lease_seconds)


def _first(tracking_uri: str, experiment_id: str, study: str) -> str | None:
    """The run of a study, if there is one."""
    found = _search(tracking_uri, experiment_id, study)
    there = [(run.info.start_time, run.info.run_id) for run in found if PARENT not in run.data.tags]
    return min(there)[1] if there else None


def _told(run: Any) -> dict[str, Any]:
    """What a trial that is over has reached, or why it cannot be fitted; nothing of one that ended otherwise."""
    tags, metrics = run.data.tags, run.data.metrics
    measured = {name: metrics[name] for name in (VALUE, DEVIATION, SECONDS) if name in metrics and VALUE in metrics}
    return measured | ({"failure": tags[FAILURE]} if FAILURE in tags else {})


def _now() -> str:
    return f"{time.time():.1f}"


def _search(tracking_uri: str, experiment_id: str, study: str, *statuses: str) -> Iterator[Any]:
    """The runs of a study, the oldest first."""
    condition, page = f"tags.`{STUDY}` = '{study}'", ""
    while True:
        found = client(tracking_uri).search_runs(
            [experiment_id],
            condition,
            max_results=PAGE,
            order_by=["attributes.start_time ASC"],
            page_token=page or None,
        )
        yield from (run for run in found if not statuses or run.info.status in statuses)
        if not (page := found.token or ""):
            return
