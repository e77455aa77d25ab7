"""The trials of a hyper-parameter search as MLflow's runs: children of one run, each known by its key.

They are no trainings: they hold no model, and no list of a model's trainings shows them.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean, stdev
from typing import Any, NamedTuple

from mlflow.entities import Metric, Param

from lifecycle.core.writer_process import OWNER, is_dead, owner
from lifecycle.tracking import runs
from lifecycle.tracking.client import client, translated

TUNED, STUDY, TRIAL, FAILURE = "mlops.tuned_model", "mlops.study", "mlops.trial", "mlops.trial_failure"
VALUE, DEVIATION, SECONDS = "value", "deviation", "seconds"
PARENT = "mlflow.parentRunId"
PAGE, MOST_SIGNS = 1000, 6000


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

    def __init__(self, tracking_uri: str, experiment_id: str, study: str, run_id: str) -> None:
        self.tracking_uri, self.experiment_id, self.study, self.run_id = tracking_uri, experiment_id, study, run_id
        self._claimed: dict[str, str] = {}

    @contextmanager
    def working(self) -> Iterator[None]:
        """Keep the run of the study open within the block; how the block ends is how it ends."""
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

    def known(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What is known of trials that are over, by their keys."""
        wanted, found = {*keys}, dict[str, dict[str, Any]]()
        for run in _search(self.tracking_uri, self.experiment_id, self.study, "FINISHED", "FAILED"):
            tags, metrics = run.data.tags, run.data.metrics
            if (key := tags.get(TRIAL)) in wanted and key not in found:
                told = {name: metrics[name] for name in (VALUE, DEVIATION, SECONDS) if name in metrics}
                told |= {"failure": tags[FAILURE]} if FAILURE in tags else {}
                if VALUE in told or FAILURE in tags:
                    found[key] = told | {"run_id": run.info.run_id}
        return found

    def claim(self, key: str) -> bool:
        """Begin a trial, unless another process has it; of two that begin it at once one has it."""
        mlflow = client(self.tracking_uri)
        if self._holder(key):
            return False
        tags = {PARENT: self.run_id, STUDY: self.study, TRIAL: key, OWNER: owner(), "mlflow.source.name": "mlops tune"}
        run_id = mlflow.create_run(self.experiment_id, run_name=f"trial {key[:8]}", tags=tags).info.run_id
        if self._holder(key) != run_id:
            mlflow.delete_run(run_id)
            return False
        self._claimed[key] = run_id
        return True

    @contextmanager
    def trial(self, key: str, params: Mapping[str, Any]) -> Iterator[Recorder]:
        """Make a trial that was begun; one that ends in an error of no candidate's is made again."""
        run_id = self._claimed.pop(key)
        with runs.closed_on_failure(self.tracking_uri, run_id):
            told = [Param(name, str(value)[:MOST_SIGNS]) for name, value in params.items()]
            client(self.tracking_uri).log_batch(run_id, params=told)
            yield Recorder(self.tracking_uri, run_id)

    def _holder(self, key: str) -> str | None:
        """The run of the process that makes a trial; those of dead ones are ended."""
        holders = []
        for run in _search(self.tracking_uri, self.experiment_id, self.study, "RUNNING"):
            if run.data.tags.get(TRIAL) != key:
                continue
            if is_dead(run.data.tags.get(OWNER, "")):
                runs.end_abandoned(self.tracking_uri, run.info.run_id)
            else:
                holders.append((run.info.start_time, run.info.run_id))
        return min(holders)[1] if holders else None


def opened(tracking_uri: str, experiment_id: str, study: str, title: str, tags: Mapping[str, str]) -> Journal:
    """The journal of a study: its first run, opened again, or a new one."""
    with translated():
        mlflow = client(tracking_uri)
        there = [run for run in _search(tracking_uri, experiment_id, study) if PARENT not in run.data.tags]
        if there:
            run_id = str(there[0].info.run_id)
            mlflow.update_run(run_id, status="RUNNING")
            mlflow.set_tag(run_id, OWNER, owner())
        else:
            own = {STUDY: study, OWNER: owner(), "mlflow.source.name": "mlops tune"}
            run_id = mlflow.create_run(experiment_id, run_name=title, tags={**tags, **own}).info.run_id
    return Journal(tracking_uri, experiment_id, study, run_id)


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
