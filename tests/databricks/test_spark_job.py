"""The engine `spark` in a job of a workspace: it scores with the session of its cluster what `local` scores here.

The emulated workspace has the session of a classic cluster, made for the task on this machine. Serverless compute
offers one over Spark Connect, whose server no emulator brings, so it is not tried here.
"""

from pathlib import Path

from databricks.sdk import WorkspaceClient

from lifecycle.data.source import Source
from lifecycle.inference import batch
from lifecycle.inference import manifest as batches
from lifecycle.inference.manifest import BatchRequest
from lifecycle.settings import Settings
from lifecycle.settings.rules import InferenceRules
from tests.conftest import exhaustive, train_model, tree, write_news
from tests.databricks.remote import until

CLUSTER = {"spark_version": "17.3.x-scala2.13", "node_type_id": "m5d.2xlarge", "num_workers": 1}
CLUSTER_DISK = Path("/local_disk0")
"""Where MLflow leaves models on a cluster; on this machine it must not."""


def run_infer(client: WorkspaceClient, request: BatchRequest) -> str:
    """Run the step `infer` as the one task of a job on a cluster; what it logged."""
    wheel = {"package_name": "mlops_lifecycle", "entry_point": "mlops-step"}
    wheel["parameters"] = ["infer", request.model_dump_json()]  # type: ignore[assignment]
    task = {"task_key": "infer", "new_cluster": CLUSTER, "python_wheel_task": wheel}
    body = {"run_name": "infer-with-spark", "tasks": [task]}
    run_id = client.api_client.do("POST", "/api/2.2/jobs/runs/submit", body=body)["run_id"]
    until(lambda: client.jobs.get_run(run_id).state.result_state, seconds=300)
    run = client.jobs.get_run(run_id)
    output = client.jobs.get_run_output(run.tasks[0].run_id)
    assert run.state.result_state.value == "SUCCESS", output.error_trace
    return str(output.logs)


@exhaustive  # the engine is proven in tests/spark, jobs are in test_run_step.py
def test_a_job_on_a_cluster_scores_with_spark_what_local_scores_here(
    client: WorkspaceClient, news: Settings, tmp_path: Path
) -> None:
    local = BatchRequest(
        model=train_model(news),
        input=Source(uri=str(write_news(tmp_path / "in.csv", 40))),
        text_column="text",
        output_root=tmp_path / "local",
        inference=InferenceRules(rows_per_part=20, workers=1),
    )
    batch.infer(local)
    rules = InferenceRules(engine="spark", rows_per_part=20)
    remote = local.model_copy(update={"output_root": tmp_path / "spark", "inference": rules})
    was_there = CLUSTER_DISK.exists()
    said = run_infer(client, remote)
    assert CLUSTER_DISK.exists() == was_there
    assert "with Spark" in said
    assert "Published 40 predictions" in said
    assert tree(batches.locate(remote)[0]) == tree(batches.locate(local)[0])
