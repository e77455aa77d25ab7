"""What tests of probation share: a champion that reads a meter, which breaks, and the one before it, without."""

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lifecycle import settings
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset
from lifecycle.data.source import Source
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.inference import batch as inference
from lifecycle.inference import manifest as batches
from lifecycle.inference.manifest import BatchRequest
from lifecycle.monitoring import restoration, served, shadow, watch
from lifecycle.monitoring.restoration import Restored
from lifecycle.monitoring.subject import Subject
from lifecycle.registry import promotion
from lifecycle.registry.store import Target, target_of
from lifecycle.settings import Settings
from lifecycle.settings.rules import DataRules, InferenceRules, MonitoringRules, ProbationRules
from lifecycle.storage import volumes
from lifecycle.tracking import runs
from lifecycle.training import train as training

RULES = MonitoringRules(probation=ProbationRules(batches=4, days=7, least=2))


def hours(count: int, seed: int, *, broken: bool = False) -> pd.DataFrame:
    """Hours with a temperature, a meter that counts bikes unless it is broken, and how many were out."""
    rng = np.random.default_rng(seed)
    temp = rng.uniform(0, 30, count).round(2)
    cnt = (10 * temp + rng.normal(0, 30, count)).round(2)
    meter = np.zeros(count) if broken else cnt + rng.normal(0, 1, count).round(2)
    keys = [f"{seed}-{number}" for number in range(count)]
    return pd.DataFrame({"instant": keys, "temp": temp, "meter": meter, "cnt": cnt})


def trained(folder: Path) -> tuple[Settings, list[ModelRef]]:
    """A state directory with two models: the first reads the temperature, the second one the meter as well."""
    config, models = settings.load("dev", home=folder), []
    hours(600, 0).to_csv(folder / "bikes.csv", index=False)
    for name, columns in (("plain", {"meter": "drop"}), ("metered", {"meter": "numeric"})):
        wanted = {"data_name": name, "data_version": "1"}
        source = Source(uri=str(folder / "bikes.csv"))
        made = {"problem": "tabular-regression", "target": "cnt", "key": "instant", "columns": columns}
        dataset.create(dataset.plan(config, source, **wanted, **made))
        request = training.plan(config, training.Training(**wanted, model_name="bikes", algorithm="linear_regression"))
        training.train(request)
        models.append(runs.trained(config.mlflow_uri, request.run_id))
        evaluation.evaluate(evaluation.request_for(models[-1], config.datasets, name, "1"))
    return config, models


def promoted(config: Settings, models: Iterable[ModelRef], model_name: str = "bikes") -> Subject:
    """The models as champions of a name, one after the other."""
    target = target_of(config, model_name)
    for model in models:
        promotion.promote(promotion.intend(target, model, promotion.champion(target), reason="better"))
    return subject_of(config, target)


def subject_of(config: Settings, target: Target, rules: MonitoringRules = RULES) -> Subject:
    """The champion of a name as probation knows it."""
    return Subject(
        target=target, root=config.measurements, shadows=config.shadows, data_root=config.datasets, rules=rules
    )


def request_of(config: Settings, subject: Subject, day: int, *, broken: bool) -> BatchRequest:
    """A day's batch of the champion, which also goes into a Delta table."""
    path = config.state / f"day-{day}.csv"
    if not path.exists():
        hours(200, day, broken=broken).drop(columns="cnt").to_csv(path, index=False)
    asked = BatchRequest(
        model=promotion.champion(subject.target),
        input=Source(uri=str(path)),
        key_column="instant",
        logical_date=date(2026, 11, day),
        output_root=config.predictions,
        inference=InferenceRules(table=str(config.state / "table"), workers=1),
    )
    asked = batches.pinned(asked)
    return asked.model_copy(update={"sample": watch.sample_of(asked, config.measurements)})


def score(subject: Subject, request: BatchRequest) -> None:
    """What the flow of a batch does before it acts."""
    shadow.record(subject, request)
    inference.infer(request)
    watch.watch(watch.Watch(batch=request, rules=subject.rules, root=subject.root, data_root=subject.data_root))
    if asked := shadow.asked(subject, shadow.stands(subject), request):
        inference.infer(asked)
        shadow.compare(subject, asked)


def act(subject: Subject) -> list[Restored]:
    """What the flow `monitor` does about a probation, in its order."""
    found = shadow.stands(subject)
    if found.state == "broken":
        restoration.decide(subject, found)
    restored = []
    for decision in restoration.open_decisions(subject, found):
        done = restoration.roll_back(subject, decision)
        if done:
            one = restoration.replace(subject, decision, inference.infer)
            promotion.report(subject.target)
        else:
            one = Restored(outcome="overtaken", decision=decision)
        restoration.finish(subject, one)
        restored.append(one)
    return restored


def _requests_of_day(day: int) -> list[dict[str, object]]:
    """What a server kept of a day on which the meter was broken: every second request says which hour it is about."""
    table = hours(100, day, broken=True)[["instant", "temp", "meter"]]
    return [
        {
            "request_id": f"{day}/{number}",
            "request_time": datetime(2025, 11, day, 8, tzinfo=UTC),
            "status_code": 200,
            "execution_duration_ms": 5.0,
            "request": json.dumps({"dataframe_records": [row if number % 2 else row | {"instant": None}]}),
            "response": json.dumps({"predictions": [{"prediction": row["meter"]}]}),
            "model_version": 2,
        }
        for number, row in enumerate(table.to_dict("records"))
    ]


def requests_kept(config: Settings) -> Path:
    """What a server kept of two days, as a folder."""
    folder = config.state / "requests"
    folder.mkdir(parents=True)
    rows = [row for day in (1, 2) for row in _requests_of_day(day)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "1.parquet")
    return folder


def answer(subject: Subject, folder: Path) -> list[Restored]:
    """What the flow `monitor` does about requests to a champion on probation, in its order."""
    found = served.requests_of(subject, str(folder), "instant")
    assert found is not None
    served.measure(found)
    for asked in shadow.windows(subject, shadow.stands(subject), DataRules(), InferenceRules(workers=1)):
        inference.infer(asked)
        shadow.compare(subject, asked)
        volumes.remove(Path(asked.input.uri))
    return act(subject)
