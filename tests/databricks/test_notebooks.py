"""The reference notebooks run as one-time runs of the payloads in `examples/databricks`, on the emulated workspace."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient

from databricks_emulator import Emulator
from lifecycle import settings
from lifecycle.bundle import definition, publish
from lifecycle.core.errors import ConfigError, NotFoundError
from lifecycle.data import dataset
from lifecycle.data.source import Source
from lifecycle.databricks import payload as payloads
from lifecycle.inference import manifest as batches
from lifecycle.jobs import notebooks
from lifecycle.registry import aliases, promotion
from lifecycle.registry.store import target_of
from lifecycle.settings import Settings
from lifecycle.storage import volumes
from tests.conftest import ROOT, exhaustive, write_news
from tests.databricks.test_deploy import wait_for

Submit = Callable[..., Any]


@pytest.fixture
def cloud(databricks_env: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:  # noqa: ARG001
    """The settings of dev on the platform, with the wheel and the notebooks deployed."""
    monkeypatch.setenv("MLOPS_PLATFORM", "databricks")
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "state"))
    bundle = definition.read(ROOT, "dev")
    wheel = publish.build_wheel(ROOT, tmp_path)
    publish.deploy(bundle.model_copy(update={"jobs": {}}), wheel, ROOT)
    return settings.load("dev")


@pytest.fixture
def submit(client: WorkspaceClient, tmp_path: Path) -> Submit:
    """Runs a payload of the examples, with other parameters; the answer is what the notebook exited with."""

    def submit(name: str, **parameters: Any) -> Any:
        file = tmp_path / f"{name}.json"
        payload = json.loads((ROOT / f"examples/databricks/{name}.json").read_text(encoding="utf-8"))
        payload["tasks"][0]["notebook_task"]["base_parameters"] |= parameters
        file.write_text(json.dumps(payload), encoding="utf-8")
        run = client.api_client.do("POST", "/api/2.2/jobs/runs/submit", body=payloads.read(file))
        output = wait_for(client, run["run_id"])
        assert not output.error, output.error_trace
        return json.loads(output.notebook_output.result)

    return submit


@exhaustive  # each notebook for itself is in the tests around
def test_from_a_raw_table_to_predictions(cloud: Settings, submit: Submit, tmp_path: Path) -> None:
    raw = cloud.datasets / "notebook_news" / "raw" / "news.csv"
    volumes.upload(write_news(tmp_path / "news.csv"), raw)
    data = {"data_name": "notebook_news", "data_version": "1.0.0"}
    columns = {"text_column": "text", "label_column": "label", "stratify": "['label']"}

    made = submit("run_create_data", **data, **columns, holdout=False, test_size=0.25)
    manifest = dataset.load(cloud.datasets, "notebook_news", "1.0.0")
    assert (made["digest"], made["rows_split"]) == (manifest.digest, manifest.rows_split)
    assert manifest.counts.keys() == {"train", "test"}

    trained = submit(
        "run_train_model", **data, model_experiment_name="/Shared/notebooks", model_params="{'alpha': 0.5}"
    )
    assert (trained["model_name"], trained["version"]) == ("dev.ml.notebooks", 1)
    registered = promotion.reference(target_of(cloud, "notebooks"), 1)
    assert (registered.run_id, registered.artifact_sha256) == (trained["run_id"], trained["artifact_sha256"])

    scored = submit("run_inference_model", **data, run_id=trained["run_id"])
    found = batches.verify(Path(scored["folder"]))
    assert (found.run_id, found.artifact_sha256) == (trained["run_id"], trained["artifact_sha256"])
    assert (scored["splits"], scored["rows_trained_on"]) == (["test"], 0)
    assert found.scored == scored["scored"] == sum(manifest.counts["test"].values())


def test_in_place_of_a_step_a_notebook_does_what_its_job_would(cloud: Settings, submit: Submit, tmp_path: Path) -> None:
    source = cloud.datasets / "stand_in" / "raw" / "news.csv"
    volumes.upload(write_news(tmp_path / "news.csv"), source)
    request = dataset.plan(cloud, Source(uri=str(source)), data_name="stand_in", data_version="2.0.0")
    submit("run_create_data", request=request.model_dump_json(), prefect_flow_run_id="any")
    assert dataset.verify(cloud.datasets, "stand_in", "2.0.0").rows_in == 240


# --- what a parameter may be, without a workspace ----------------------------------------------------------------


@pytest.fixture
def local(home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of dev on this machine, which notebooks use where the environment says so."""
    monkeypatch.setenv("MLOPS_PLATFORM", "local")
    return settings.load("dev", home=home)


def test_the_raw_table_is_the_only_one_or_is_named(local: Settings) -> None:
    raw, data = local.datasets / "news" / "raw", {"data_name": "news", "data_version": "1.0.0"}
    with pytest.raises(NotFoundError, match="holds no file, not one table"):
        notebooks.run("create-data", data)
    raw.mkdir(parents=True)
    write_news(raw / "a.csv")
    write_news(raw / "b.csv")
    with pytest.raises(NotFoundError, match=r"holds a\.csv, b\.csv, not one table"):
        notebooks.run("create-data", data)
    made = json.loads(
        notebooks.run("create-data", data | {"source": str(raw / "b.csv"), "parent": "", "holdout": "True"})
    )
    assert made["rows_split"] == 240


def test_values_that_are_no_texts_mean_themselves(local: Settings, tmp_path: Path) -> None:
    data = {"data_name": "typed", "source": str(write_news(tmp_path / "news.csv"))}
    sizes = {"test_size": 0.25, "holdout": False, "parent": None}
    notebooks.run("create-data", {**data, **sizes, "data_version": 1, "stratify": True})
    notebooks.run("create-data", {**data, **sizes, "data_version": 2, "stratify": False, "text_column": "text"})
    first, second = (dataset.load(local.datasets, "typed", version) for version in ("1", "2"))
    assert first.parameters["stratify"] == ["label"]
    assert second.parameters["stratify"] == []
    assert first.parameters["test_size"] == 0.25
    assert first.counts.keys() == second.counts.keys() == {"train", "test"}


def test_a_training_is_registered_and_the_rows_to_score_are_chosen(local: Settings, tmp_path: Path) -> None:
    data = {"data_name": "news", "data_version": "1"}
    notebooks.run("create-data", {**data, "source": str(write_news(tmp_path / "news.csv"))})
    training = {**data, "model_experiment_name": "/Shared/tone", "model_type": "naive_bayes", "seed": 3}
    trained, again = (json.loads(notebooks.run("train", training)) for _ in range(2))
    assert trained == again
    assert (trained["model_name"], trained["version"]) == ("dev.ml.tone", 1)
    assert aliases.get(target_of(local, "tone"), "challenger") == 1
    assert promotion.champion(target_of(local, "tone")) is None

    def scored(**chosen: str) -> dict[str, Any]:
        return dict(json.loads(notebooks.run("infer", {**data, "run_id": trained["run_id"], **chosen})))

    rows = {split: sum(of.values()) for split, of in dataset.load(local.datasets, "news", "1").counts.items()}
    usual, train, every = scored(), scored(split="train"), scored(split="all")
    assert (usual["scored"], usual["rows_trained_on"]) == (rows["test"] + rows["holdout"], 0)
    assert usual["splits"] == ["test", "holdout"]
    assert (train["scored"], train["rows_trained_on"]) == (rows["train"], rows["train"])
    assert (every["scored"], every["rows_trained_on"]) == (sum(rows.values()), rows["train"])
    assert len({each["folder"] for each in (usual, train, every)}) == 3
    assert "trained on" in " ".join(batches.load(Path(train["folder"])).told)
    with pytest.raises(ConfigError, match="split='training' is none of train, test, holdout, all"):
        scored(split="training")


@pytest.mark.parametrize(
    ("step", "parameters", "why"),
    [
        ("create-data", {"data_name": ""}, "needs data_name"),
        ("train", {"data_version": ""}, "needs data_version, model_experiment_name"),
        ("infer", {"data_name": "", "data_version": ""}, "needs data_name, data_version"),
        ("infer", {}, "needs run_id or model_name"),
        ("infer", {"run": "0123"}, "knows no run"),
        ("create-data", {"test_size": True}, "test_size"),
        ("create-data", {"test_size": 1.5}, "test_size"),
        ("create-data", {"holdout_size": 0}, "holdout_size must be above 0"),
        ("create-data", {"stratify": 3}, "stratify"),
        ("train", {"model_experiment_name": "/Shared/My model"}, "'My model' cannot be the name of a model"),
        ("create-data", {"holdout": "perhaps"}, "holdout"),
        ("create-data", {"test_size": "a fifth"}, "test_size"),
        ("create-data", {"test_sise": "0.2"}, "test_sise"),
        ("create-data", {"stratify": "__import__('os')"}, "stratify"),
        ("train", {"model_experiment_name": "/Shared/x", "model_params": "['alpha']"}, "is no dict"),
        ("train", {"model_experiment_name": "/Shared/x", "model_params": "alpha=1"}, "model_params"),
        ("train", {"model_experiment_name": "/Shared/x", "seed": "one"}, "seed"),
        ("train", {"model_experiment_name": "/Shared/x", "seed": "1.5"}, "seed='1.5' is no int"),
    ],
)
def test_a_parameter_that_is_missing_unknown_or_wrong(
    step: str, parameters: dict[str, Any], why: str, local: Settings, tmp_path: Path
) -> None:
    source = {"source": str(write_news(tmp_path / "news.csv"))} if step == "create-data" else {}
    with pytest.raises(ConfigError, match=why):
        notebooks.run(step, {"data_name": "news", "data_version": "1.0.0", **source, **parameters})
    assert not local.datasets.exists()
