"""Serving endpoints through the SDK: what they answer is what the model answers, also while they are updated."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import mlflow
import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import BadRequest, NotFound, ResourceAlreadyExists, ResourceConflict
from databricks.sdk.service.serving import (
    DataframeSplitInput,
    EndpointCoreConfigInput,
    EndpointStateConfigUpdate,
    EndpointStateReady,
    Route,
    ServedEntityInput,
    ServingEndpointDetailed,
    TrafficConfig,
)
from mlflow import MlflowClient
from mlflow.models import Model

from databricks_emulator import Emulator
from tests.databricks.test_emulator_tracking import CODE, SIGNATURE

pytestmark = pytest.mark.filterwarnings("ignore:.*input example:UserWarning")

MODEL = "dev.ml.loud"
QUERY = DataframeSplitInput(columns=["text"], data=[["Profit"]])
CODES = (CODE, CODE.replace("upper", "lower"), CODE.replace("mlflow.models.set_model", "raise RuntimeError('broken');"))


@pytest.fixture(scope="module")
def versions(workspace: Emulator, tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> None:
    """Version 1 answers in upper case, 2 in lower case, and 3 cannot be loaded."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**workspace.environment, "MLFLOW_ENABLE_DB_SDK": "false"}.items():
            patch.setenv(name, value)
        client = MlflowClient(f"sqlite:///{migrated}", "databricks-uc")
        client.create_registered_model(MODEL)
        for number, code in enumerate(CODES, start=1):
            client.create_model_version(MODEL, str(saved(folder / str(number), code)))


def saved(folder: Path, code: str) -> Path:
    """A model as MLflow saves it, without running its code."""
    folder.mkdir()
    (folder / "model.py").write_text(code, encoding="utf-8")
    model = Model(signature=SIGNATURE)
    mlflow.pyfunc.add_to_model(model, "mlflow.pyfunc.loaders.code_model", model_code_path="model.py")
    model.save(str(folder / "MLmodel"))
    return folder


@pytest.fixture
def name(client: WorkspaceClient, versions: None) -> Iterator[str]:  # noqa: ARG001
    """An endpoint that serves version 1."""
    name = f"loud-{time.monotonic_ns()}"
    client.serving_endpoints.create_and_wait(name, config=EndpointCoreConfigInput(None, served_entities=[entity(1)]))
    yield name
    client.serving_endpoints.delete(name)


@pytest.fixture
def slowly(workspace: Emulator) -> Iterator[Callable[[float], None]]:
    """A function that lets updates take so many seconds more."""

    def slow(seconds: float) -> None:
        requests.post(f"{workspace.url}/emulator/serving", json={"seconds": seconds}, timeout=240).raise_for_status()

    yield slow
    slow(0)


def entity(version: int | str, **fields: object) -> ServedEntityInput:
    about = {"workload_size": "Small", "scale_to_zero_enabled": True} | fields
    return ServedEntityInput(name=f"loud-{version}", entity_name=MODEL, entity_version=str(version), **about)


def ask(client: WorkspaceClient, name: str) -> tuple[list[object] | None, str | None]:
    answer = client.serving_endpoints.query(name, dataframe_split=QUERY)
    return answer.predictions, answer.served_model_name


@pytest.mark.usefixtures("versions")
def test_an_endpoint_is_not_ready_before_its_model_is_loaded(
    client: WorkspaceClient, slowly: Callable[[float], None]
) -> None:
    slowly(600)
    client.serving_endpoints.create("early", config=EndpointCoreConfigInput(None, served_entities=[entity(1)]))
    found = client.serving_endpoints.get("early")
    assert (found.state.ready, found.state.config_update) == (
        EndpointStateReady.NOT_READY,
        EndpointStateConfigUpdate.IN_PROGRESS,
    )
    with pytest.raises(BadRequest, match="not ready"):
        ask(client, "early")
    slowly(0)
    client.serving_endpoints.wait_get_serving_endpoint_not_updating("early", timeout=timedelta(seconds=240))
    assert ask(client, "early") == (["PROFIT"], "loud-1")
    assert [each.name for each in client.serving_endpoints.list()] == ["early"]
    client.serving_endpoints.delete("early")
    with pytest.raises(NotFound):
        client.serving_endpoints.get("early")


def test_an_update_serves_the_old_version_until_the_new_one_is_ready(
    client: WorkspaceClient, name: str, slowly: Callable[[float], None]
) -> None:
    slowly(600)
    client.serving_endpoints.update_config(name, served_entities=[entity(2)])
    found = client.serving_endpoints.get(name)
    assert found.state.config_update == EndpointStateConfigUpdate.IN_PROGRESS
    assert [each.entity_version for each in found.pending_config.served_entities] == ["2"]
    assert ask(client, name) == (["PROFIT"], "loud-1")
    with pytest.raises(ResourceConflict):
        client.serving_endpoints.update_config(name, served_entities=[entity(1)])
    slowly(0)
    client.serving_endpoints.wait_get_serving_endpoint_not_updating(name, timeout=timedelta(seconds=240))
    assert ask(client, name) == (["profit"], "loud-2")


def test_an_update_that_fails_changes_nothing(client: WorkspaceClient, name: str) -> None:
    client.serving_endpoints.update_config(name, served_entities=[entity(3)])
    while (found := client.serving_endpoints.get(name)).state.config_update == EndpointStateConfigUpdate.IN_PROGRESS:
        time.sleep(0.05)
    assert (found.state.ready, found.state.config_update) == (
        EndpointStateReady.READY,
        EndpointStateConfigUpdate.UPDATE_FAILED,
    )
    assert "RuntimeError: broken" in client.serving_endpoints.build_logs(name, "loud-3").logs
    assert ask(client, name) == (["PROFIT"], "loud-1")


def test_traffic_is_split(client: WorkspaceClient, name: str) -> None:
    routes = TrafficConfig(routes=[Route(served_entity_name=f"loud-{v}", traffic_percentage=50) for v in (1, 2)])
    client.serving_endpoints.update_config_and_wait(name, served_entities=[entity(1), entity(2)], traffic_config=routes)
    assert {ask(client, name)[1] for _ in range(60)} == {"loud-1", "loud-2"}


def test_what_the_service_refuses(client: WorkspaceClient, name: str) -> None:
    def update(*entities: ServedEntityInput, **shares: int) -> None:
        routes = [Route(served_entity_name=each, traffic_percentage=share) for each, share in shares.items()]
        traffic = TrafficConfig(routes=routes) if routes else None
        client.serving_endpoints.update_config(name, served_entities=list(entities), traffic_config=traffic)

    with pytest.raises(BadRequest, match="not the number"):
        update(entity("champion"))
    with pytest.raises(NotFound):
        update(entity(9))
    with pytest.raises(BadRequest, match="workload_size"):
        update(entity(1, workload_size=None))
    with pytest.raises(BadRequest, match="different names"):
        update()
    with pytest.raises(BadRequest, match="add up to 100"):
        update(entity(1), **{"loud-1": 90})
    with pytest.raises(BadRequest, match="not served"):
        update(entity(1), **{"loud-7": 100})
    with pytest.raises(ResourceAlreadyExists, match="already exists"):
        client.serving_endpoints.create(name, config=EndpointCoreConfigInput(None, served_entities=[entity(1)]))
    with pytest.raises(BadRequest, match="not a name"):
        client.serving_endpoints.create("a/b", config=EndpointCoreConfigInput(None, served_entities=[entity(1)]))
    with pytest.raises(BadRequest):
        client.serving_endpoints.query(name, dataframe_split=DataframeSplitInput(columns=["other"], data=[["x"]]))


def test_every_field_is_one_of_the_service(workspace: Emulator, name: str) -> None:
    headers = {"Authorization": f"Bearer {workspace.token}"}
    url = f"{workspace.url}/api/2.0/serving-endpoints/{name}"
    found = requests.get(url, headers=headers, timeout=240).json()
    assert ServingEndpointDetailed.from_dict(found).as_dict() == found
