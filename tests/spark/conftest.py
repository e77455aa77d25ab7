"""What the tests of Spark and of tables share: the champion of dev, and requests for small batches."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from lifecycle import settings
from lifecycle.core.references import ModelRef
from lifecycle.data.source import Source
from lifecycle.inference.manifest import BatchRequest
from lifecycle.registry import promotion
from lifecycle.registry.store import Target
from lifecycle.settings.rules import InferenceRules
from tests.conftest import train_model

TEXTS = (
    "profit rose to a record",
    "loss widened as sales fell",
    "the company will hold its meeting",
    "profit fell and sales rose",
)


@pytest.fixture(scope="session")
def state(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory whose registry has a champion in dev."""
    folder = tmp_path_factory.mktemp("spark") / "state"
    shutil.copytree(prepared, folder)
    config = settings.load("dev", home=folder)
    run = train_model(config, "logistic_regression")
    target = Target(tracking_uri=config.mlflow_uri, name=config.registered_name("sentiment"))
    promotion.promote(promotion.intend(target, run, None, reason="the first"))
    return folder


@pytest.fixture(scope="session")
def champion(state: Path) -> ModelRef:
    config = settings.load("dev", home=state)
    found = promotion.champion(Target(tracking_uri=config.mlflow_uri, name=config.registered_name("sentiment")))
    assert found is not None
    return found


def requested(model: ModelRef, source: Path, output: Path, **rules: object) -> BatchRequest:
    """A request for a batch of a table with the columns `id` and `text`."""
    return BatchRequest(
        model=model,
        input=Source(uri=str(source)),
        text_column="text",
        key_column="id",
        output_root=output,
        inference=InferenceRules.model_validate({"rows_per_part": 4, "workers": 1} | rules),
    )


def write_table(path: Path, texts: Sequence[str]) -> Path:
    """A CSV table with a key and a text per row."""
    lines = ["id,text", *(f'k{number},"{text}"' for number, text in enumerate(texts))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
