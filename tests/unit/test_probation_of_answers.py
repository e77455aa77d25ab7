"""A chain on probation: the former champion answers the same questions, aside."""

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lifecycle import settings
from lifecycle.data import dataset
from lifecycle.data.source import Source
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.inference.manifest import MANIFEST, BatchRequest
from lifecycle.monitoring import shadow, watch
from lifecycle.monitoring.subject import Subject
from lifecycle.registry import promotion
from lifecycle.settings import Settings
from lifecycle.settings.rules import InferenceRules
from lifecycle.tracking import runs
from lifecycle.training import train as training
from tests.conftest import exhaustive
from tests.probation import promoted, score
from tests.questions import write_project


def champions(migrated: Path, folder: Path) -> tuple[Settings, Subject]:
    """Two chains over the same documents as champions: the second answers only where nearly every word is found."""
    shutil.copy(migrated, folder / "mlflow.db")
    write_project()
    config, models, wanted = settings.load("dev", home=folder), [], {"data_name": "q", "data_version": "1"}
    options: dict[str, Any] = {
        "problem": "chat",
        "target": "documents",
        "columns": {"question": "text"},
    }
    dataset.create(dataset.state(config, Source(uri="questions.csv"), **wanted, **options))
    for threshold in (0.3, 0.95):
        params = {"documents": "handbook", "threshold": threshold}
        request = training.plan(config, training.Training(**wanted, model_name="handbook", params=params))
        training.train(request)
        models.append(runs.trained(config.mlflow_uri, request.run_id))
        evaluation.evaluate(evaluation.request_for(models[-1], config.datasets, "q", "1"))
    return config, promoted(config, models, "handbook")


def asked(config: Settings, subject: Subject, day: int) -> BatchRequest:
    rows = pd.read_csv("questions.csv").dropna().sample(24, random_state=day)
    path = Path(f"day-{day}.csv").absolute()
    pd.DataFrame({"text": rows["question"]}).to_csv(path, index=False)
    request = BatchRequest(
        model=promotion.champion(subject.target),
        input=Source(uri=str(path)),
        logical_date=date(2026, 11, day),
        output_root=config.predictions,
        inference=InferenceRules(workers=1),
    )
    return request.model_copy(update={"sample": watch.sample_of(request, config.measurements)})


@exhaustive
def test_the_former_chain_answers_the_same_questions_in_the_shadow(
    migrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("bm25s")
    monkeypatch.chdir(tmp_path)
    config, subject = champions(migrated, tmp_path)
    score(subject, asked(config, subject, 1))
    assert shadow.stands(subject).batches == 1
    assert len([*config.shadows.glob(f"{subject.name}/1/*/{MANIFEST}")]) == 1
