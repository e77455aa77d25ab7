"""What an earlier release has stored or deployed names modules as they were called then."""

import json
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest
from prefect.serializers import JSONSerializer

from lifecycle.core.earlier_names import CLASSES, MODULES
from lifecycle.core.errors import DataError
from lifecycle.evaluation.evaluate import EvaluateRequest
from tasks.outcomes import Approval
from tests.conftest import ROOT

SOURCE = {"uri": "news.csv"}
MODEL = {"tracking_uri": "sqlite:///m.db", "uri": "models:/m-1", "run_id": "r", "artifact_sha256": "0" * 64}
DATASET = {"data_root": "/data", "data_name": "news", "data_version": "1.0.0"}
TRAINED = {"tracking_uri": "sqlite:///m.db", "run_id": "r", "model_name": "m", "model_type": "naive_bayes"}
STORED: dict[str, dict[str, Any]] = {
    "lifecycle.outcomes.Approval": {"approved": True, "by": "ann", "reason": "good", "verdict_digest": "1"},
    "lifecycle.evaluation.EvaluateRequest": {"model": MODEL, **DATASET, "side": "holdout", "dataset_digest": "2"},
    "lifecycle.training.TrainRequest": {**TRAINED, **DATASET},
    "lifecycle.models.loading.ModelRef": MODEL,
    "lifecycle.data.ingest.Source": SOURCE,
    "lifecycle.data.dataset.CreateDataRequest": {**DATASET, "source": SOURCE},
}


@pytest.mark.parametrize("name", STORED)
def test_a_result_that_an_earlier_release_stored_is_read(name: str) -> None:
    stored = json.dumps({"__class__": name, "data": STORED[name]}).encode()
    assert type(JSONSerializer().loads(stored)).__name__ == name.rpartition(".")[2]


def test_a_stored_result_is_of_the_class_of_now() -> None:
    name = "lifecycle.evaluation.EvaluateRequest"
    stored = json.dumps({"__class__": name, "data": STORED[name]}).encode()
    assert type(JSONSerializer().loads(stored)) is EvaluateRequest
    name = "lifecycle.outcomes.Approval"
    stored = json.dumps({"__class__": name, "data": STORED[name]}).encode()
    assert type(JSONSerializer().loads(stored)) is Approval


def test_an_error_that_an_earlier_release_stored_is_raised() -> None:
    stored = json.dumps({"__exc_type__": "lifecycle.errors.DataError", "message": "row 3 has no label"}).encode()
    assert isinstance(JSONSerializer().loads(stored), DataError)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_found_by_its_earlier_name_from_a_fresh_start(name: str) -> None:
    code = f"import {name}; from {name.rpartition('.')[0]} import {name.rpartition('.')[2]}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("package", CLASSES)
def test_a_name_that_never_was_there_is_not_found(package: str) -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = import_module(package).no_such_name
    with pytest.raises(ImportError):
        import_module(f"{package}.no_such_module")
