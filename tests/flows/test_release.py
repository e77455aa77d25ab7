"""The whole lifecycle on the bundled sample, and what anybody can read afterwards with plain libraries.

Promise: Plain MLflow and pandas read model, tags, dataset and predictions.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterId

from flows.release import release
from lifecycle import settings
from lifecycle.data import dataset
from lifecycle.problems.text_classification.identity import text_key
from lifecycle.settings import Settings
from tasks.outcomes import Release
from tests.conftest import SAMPLE, tree

ARGUMENTS = {
    "source": str(SAMPLE),
    "data_name": "financial_news",
    "data_version": "1.0.0",
    "model_name": "sentiment",
    "text_column": "Sentence",
    "label_column": "Sentiment",
}

STAGES = {"data", "training", "dev", "staging", "prod", "predictions"}
READER = """
import sys, json, mlflow, pandas as pd
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/prod.ml.sentiment@champion")
version = mlflow.MlflowClient().get_model_version_by_alias("prod.ml.sentiment", "champion")
run = mlflow.get_run(version.run_id)
scored = pd.concat(pd.read_parquet(p) for p in __import__("pathlib").Path(sys.argv[2]).glob("part-*.parquet"))
first = model.predict(pd.DataFrame({"text": ["Profit rose to a record."]}))
assert not {"lifecycle", "tasks", "flows", "cli"} & sys.modules.keys()
print(json.dumps({
    "columns": list(first.columns),
    "inputs": model.metadata.signature.inputs.input_names(),
    "tags": sorted(version.tags),
    "dataset": run.inputs.dataset_inputs[0].dataset.name,
    "manifest": json.load(open(sys.argv[2] + "/manifest.json"))["scored"],
    "rows": len(scored),
    "version": int(scored.model_version.unique()[0]),
}))
"""


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Release, Release, dict[str, bytes]]:
    """A release, its repetition, and the published files between the two."""
    home = tmp_path_factory.mktemp("release")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLOPS_HOME", str(home))
        config = settings.load("prod")
        first = release(**ARGUMENTS)
        files = tree(home / "data") | tree(home / "predictions")
        second = release(**ARGUMENTS)
    return config, first, second, files


def test_a_release_reaches_production(released: tuple[Settings, Release, Release, dict[str, bytes]]) -> None:
    _, first, _, _ = released
    assert not first.refused
    assert [(a.env, a.promotion.champion) for a in first.admissions if a.promotion] == [
        ("dev", 1),
        ("staging", 1),
        ("prod", 1),
    ]
    assert all(a.verdict and a.verdict.metrics["f1_macro"].low > 0.4 for a in first.admissions)


def _nodes(client: SyncPrefectClient, run_id: UUID) -> list[dict[str, Any]]:
    graph = client.request("GET", "/flow_runs/{id}/graph-v2", path_params={"id": run_id}).json()
    return [node for _, node in graph["nodes"]]


@pytest.mark.usefixtures("released")
def test_a_release_is_drawn_as_six_stages_that_hold_every_step() -> None:
    with get_client(sync_client=True) as client:
        (flow,) = [found for found in client.read_flows() if found.name == "release"]
        runs = client.read_flow_runs(flow_filter=FlowFilter(id=FlowFilterId(any_=[flow.id])))
        nodes: list[dict[str, Any]] = []
        for _ in range(240):  # what a task run does reaches the server as events, in its own time
            graphs = [
                client.request("GET", "/flow_runs/{id}/graph-v2", path_params={"id": run.id}).json() for run in runs
            ]
            nodes = max(([node for _, node in graph["nodes"]] for graph in graphs), key=len)
            if len({node["label"] for node in nodes} & STAGES) == len(STAGES):
                break
            time.sleep(1)
    assert {node["label"] for node in nodes if not node["encapsulating"]} == STAGES
    assert len(nodes) > 5 * len(STAGES)


def test_no_row_is_lost(released: tuple[Settings, Release, Release, dict[str, bytes]]) -> None:
    _, first, _, _ = released
    rows = len(pd.read_csv(SAMPLE, dtype=str, keep_default_na=False))
    data, batch = first.dataset, first.batch
    assert batch is not None
    assert rows == data.rows_in == data.rows_split + data.rows_quarantined
    assert rows == batch.manifest.scored + sum(batch.manifest.rejected.values())
    assert {"blank_text", "blank_label", "conflicting_label", "duplicate"} == set(data.quarantined)


def test_no_text_is_on_two_sides(released: tuple[Settings, Release, Release, dict[str, bytes]]) -> None:
    config, _, _, _ = released
    rows = dataset.load_rows(config.datasets, "financial_news", "1.0.0")
    assert rows.groupby(rows["text"].map(text_key))["split"].nunique().max() == 1


def test_repeating_a_release_changes_nothing(released: tuple[Settings, Release, Release, dict[str, bytes]]) -> None:
    config, first, second, files = released
    assert tree(config.datasets) | tree(config.predictions) == files
    assert all(a.verdict is None and "already" in a.message for a in second.admissions)
    assert second.batch == first.batch


def test_plain_libraries_read_everything(
    released: tuple[Settings, Release, Release, dict[str, bytes]], tmp_path: Path
) -> None:
    config, first, _, _ = released
    assert first.batch is not None
    done = subprocess.run(
        [sys.executable, "-c", READER, config.mlflow_uri, first.batch.folder],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = __import__("json").loads(done.stdout.splitlines()[-1])
    assert found["columns"] == ["label", "score"]
    assert found["inputs"] == ["text"]
    assert {"artifact_sha256", "dataset_digest", "verdict_digest", "idempotency_key"} <= set(found["tags"])
    assert found["dataset"] == "financial_news-1.0.0-train"
    assert found["rows"] == found["manifest"] == first.batch.manifest.scored
    assert found["version"] == 1
