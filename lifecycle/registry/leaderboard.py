"""The trainings of a model side by side: what was tried, how good it is by the stored verdicts, what became of it."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from lifecycle.core.errors import MlopsError, NotFoundError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import Environment
from lifecycle.core.references import ModelRef
from lifecycle.gate import records
from lifecycle.gate.present import rows
from lifecycle.gate.records import DIGITS, Record
from lifecycle.gate.verdict import Verdict
from lifecycle.problems.findings import Interval
from lifecycle.registry import binding, catalog
from lifecycle.registry.catalog import ModelFacts, VersionFacts
from lifecycle.registry.store import Target, target_of
from lifecycle.settings import Settings, load
from lifecycle.tracking.client import client, translated
from lifecycle.tracking.runs import ARTIFACT_SHA256, CHOSEN, MODEL_URI

MOST = 1000
"""Runs that are looked through; of so many no person asks which was the best."""
TEST = "test."
"""What the metrics of a training begin with that nobody has judged."""


class TrainingLine(Frozen):
    """One training with its latest verdict in an environment."""

    run_id: str
    at: datetime
    status: str
    algorithm: str
    params: dict[str, Any]
    """Those that were chosen; all others are the defaults."""
    dataset: str
    decision: str = ""
    """Empty if it was not judged there."""
    reason: str = ""
    judged_on: str = ""
    """The rows of the metrics: those of its verdict, else the test split of its training."""
    metrics: dict[str, float]
    """The deciding one first."""
    intervals: dict[str, Interval] = Field({})
    champion_of: tuple[Environment, ...] = ()


class Wanted(Frozen):
    """Which trainings; None is any."""

    algorithm: str | None = None
    data_name: str | None = None
    data_version: str | None = None

    def holds(self, run: Any) -> bool:
        """Whether a run is one of them."""
        tags = run.data.tags
        there = (run.data.params.get("model_type"), tags.get("mlops.data_name"), tags.get("mlops.data_version"))
        asked = (self.algorithm, self.data_name, self.data_version)
        return all(value in {None, has} for value, has in zip(asked, there, strict=True))


def trainings(config: Settings, model_name: str, wanted: Wanted, last: int) -> list[TrainingLine]:
    """The last trainings of a model with what the gate of an environment said of them; the newest first.

    Nothing is predicted: metrics and intervals are those that are stored.
    """
    champions = dict(_champions(config, model_name))
    kept = [run for run in _runs(config, model_name) if wanted.holds(run)][:last]
    return [_line(config, run, champions) for run in kept]


def algorithms(config: Settings, model_name: str) -> set[str]:
    """What a model was trained as so far."""
    return {run.data.params.get("model_type", "") for run in _runs(config, model_name)}


def _runs(config: Settings, model_name: str) -> Sequence[Any]:
    """MLflow's runs of a model's trainings, the newest first."""
    mlflow = client(config.mlflow_uri)
    with translated():
        experiments = [experiment.experiment_id for experiment in mlflow.search_experiments()]
        condition = f"tags.`mlops.model_name` = '{model_name}'"
        return list(
            mlflow.search_runs(experiments, condition, max_results=MOST, order_by=["attributes.start_time DESC"])
        )


def best_first(lines: list[TrainingLine], metric: str, *, more_is_better: bool) -> list[TrainingLine]:
    """The lines by a metric, those that lack it last."""
    sign = -1 if more_is_better else 1
    measured = [line for line in lines if metric in line.metrics]
    return sorted(measured, key=lambda line: sign * line.metrics[metric]) + [
        line for line in lines if metric not in line.metrics
    ]


def with_metrics(target: Target, facts: VersionFacts) -> VersionFacts:
    """A version with what it reached in the verdict that promoted it; as it is where no such verdict can be read."""
    model = ModelRef(
        tracking_uri=target.tracking_uri, uri=facts.source, run_id=facts.run_id, artifact_sha256=facts.artifact_sha256
    )
    try:
        record = records.named_by(model, facts.verdict_digest)
        judged = _judged(records.read(record)) if record else {}
    except MlopsError:
        return facts
    return facts.model_copy(update={"metrics": judged.get("intervals", {}), "judged_on": judged.get("judged_on", "")})


def of_champion(target: Target, model: ModelFacts) -> ModelFacts:
    """A model with the metrics of its champion; as it is where that was deleted past this command."""
    if not model.champion:
        return model
    try:
        champion = catalog.show_version(target, model.champion)
    except NotFoundError:
        return model
    return model.model_copy(update={"metrics": with_metrics(target, champion).metrics})


def _champions(config: Settings, model_name: str) -> Iterator[tuple[Environment, str]]:
    """The run of the champion of each environment that shares the tracking server."""
    for env in Environment:
        other = load(env, model_name=model_name)
        target = target_of(other, model_name)
        try:
            number = catalog.summary(target).champion if other.mlflow_uri == config.mlflow_uri else None
            if number:
                yield env, binding.version(target, number).run_id
        except MlopsError:  # there is none yet, or the registry does not say: that is told by `mlops doctor`
            continue


def _line(config: Settings, run: Any, champions: dict[Environment, str]) -> TrainingLine:
    tags, params = run.data.tags, run.data.params
    verdict = _verdict(config, run)
    return TrainingLine(
        run_id=run.info.run_id,
        at=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
        status=run.info.status,
        algorithm=params.get("model_type", ""),
        params=json.loads(tags.get(CHOSEN, "{}")),
        dataset=f"{tags.get('mlops.data_name', '')} {tags.get('mlops.data_version', '')}".strip(),
        champion_of=tuple(env for env, run_id in champions.items() if run_id == run.info.run_id),
        **(_judged(verdict) if verdict else _trained(run)),
    )


def _judged(verdict: Verdict) -> dict[str, Any]:
    names = [row.cells[0] for row in rows.metrics(verdict).rows if row.cells[0] in verdict.metrics]
    return {
        "decision": verdict.told,
        "reason": verdict.reasons[0] if verdict.reasons else "",
        "judged_on": f"{verdict.rows:,} {verdict.side} rows of {verdict.data_name} {verdict.data_version}",
        "metrics": {name: verdict.metrics[name].value for name in names},
        "intervals": {name: verdict.metrics[name] for name in names},
    }


def _trained(run: Any) -> dict[str, Any]:
    """What a training measured that has no verdict."""
    found = {name.removeprefix(TEST): value for name, value in run.data.metrics.items() if name.startswith(TEST)}
    return {"metrics": found, "judged_on": "test rows of its training" if found else ""}


def _verdict(config: Settings, run: Any) -> Verdict | None:
    """The latest verdict of an environment on the model of a run; None if there is none that can be relied on."""
    tags = run.data.tags
    digest = tags.get(f"verdict.{config.env}", "")[:DIGITS]
    if not digest or MODEL_URI not in tags:
        return None
    model = ModelRef(
        tracking_uri=config.mlflow_uri,
        uri=tags[MODEL_URI],
        run_id=run.info.run_id,
        artifact_sha256=tags.get(ARTIFACT_SHA256, ""),
    )
    try:
        return records.read(Record(model, config.env, digest))
    except MlopsError:
        return None
