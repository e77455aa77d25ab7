"""The endpoint of a model follows its champion, proves what it answers, and goes back when it cannot."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.service.serving import (
    AiGatewayInferenceTableConfig,
    AiGatewayUsageTrackingConfig,
    AutoCaptureConfigInput,
    EndpointCoreConfigInput,
    EndpointTag,
    Route,
    ServedEntityInput,
    ServingEndpointAccessControlRequest,
    ServingEndpointPermissionLevel,
    TrafficConfig,
)
from pydantic import ValidationError

from databricks_emulator import Emulator
from lifecycle import doctor, settings
from lifecycle.core.errors import ConfigError, ConflictError, IntegrityError, NotFoundError, TransientError
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset
from lifecycle.data.source import Source
from lifecycle.doctor.endpoints import examine_endpoints
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.monitoring import standings
from lifecycle.monitoring.findings import Alert, Standing
from lifecycle.registry import log, promotion, store
from lifecycle.registry.store import Target
from lifecycle.serving import endpoint
from lifecycle.settings import Settings
from lifecycle.settings.rules import ServingRules
from lifecycle.tracking import champions, runs
from lifecycle.training import bases
from lifecycle.training import train as training
from tests.conftest import ROOT, exhaustive, train_model
from tests.encoder import write_encoder
from tests.networks import write_base
from tests.pairs import pairs
from tests.questions import write_project
from tests.unit import test_flavours as elsewhere

ENDPOINT = "dev-sentiment"
QUERY = f"POST /serving-endpoints/{ENDPOINT}/invocations"
CONFIG = f"PUT /api/2.0/serving-endpoints/{ENDPOINT}/config"


class Served(NamedTuple):
    """Two trained and evaluated models, of which version 1 is champion in the workspace's Unity Catalog."""

    home: Path
    bayes: ModelRef
    regression: ModelRef


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Served:
    """Two models that were trained on this machine."""
    home = tmp_path_factory.mktemp("serving") / "state"
    shutil.copytree(prepared, home)
    config = settings.load("dev", home=home)
    models = [train_model(config, kind) for kind in ("naive_bayes", "logistic_regression")]
    for model in models:
        evaluation.evaluate(evaluation.request_for(model, config.datasets, "news", "1.0.0"))
    return Served(home, *models)


@pytest.fixture
def config(trained: Served, databricks_env: Emulator, monkeypatch: pytest.MonkeyPatch) -> Settings:  # noqa: ARG001
    """The settings of dev with an endpoint for the model, in a workspace that is looked at often."""
    monkeypatch.setenv("MLFLOW_ENABLE_DB_SDK", "false")
    rules = {"endpoints": {"sentiment": ENDPOINT}, "poll_seconds": 0.05, "timeout_seconds": 240}
    return settings.load("dev", home=trained.home, registry_uri="databricks-uc", serving=rules)


@pytest.fixture
def target(config: Settings, trained: Served, client: WorkspaceClient) -> Iterator[Target]:
    """A model whose first champion is version 1, without an endpoint."""
    target = store.target_of(config, "sentiment")
    promote(target, trained.bayes)
    yield target
    for each in client.serving_endpoints.list():
        client.serving_endpoints.delete(each.name or "")
    champions.forget(target.tracking_uri, target.name)
    store.mlflow_of(target).delete_registered_model(target.name)


@pytest.fixture
def slowly(workspace: Emulator) -> Iterator[Callable[[float], None]]:
    """A function that lets updates take so many seconds more."""

    def slow(seconds: float) -> None:
        requests.post(f"{workspace.url}/emulator/serving", json={"seconds": seconds}, timeout=240).raise_for_status()

    yield slow
    slow(0)


def promote(target: Target, model: ModelRef) -> None:
    promotion.promote(promotion.intend(target, model, promotion.champion(target), reason="better"))


def roll_back(target: Target) -> None:
    intent = promotion.intend_rollback(target, None, "worse")
    assert isinstance(intent, promotion.Intent)
    promotion.promote(intent)


def version_of(client: WorkspaceClient) -> str | None:
    return client.serving_endpoints.get(ENDPOINT).config.served_entities[0].entity_version


def files(workspace: Emulator, version: int) -> Path:
    """The files of a version, where the workspace keeps them."""
    return workspace.root / "files" / "Models" / "dev" / "ml" / "sentiment" / str(version)


def test_what_an_operator_set_goes_on_to_the_next_version(
    config: Settings, target: Target, trained: Served, client: WorkspaceClient
) -> None:
    endpoint.follow(config, "sentiment")
    (entity,) = client.serving_endpoints.get(ENDPOINT).config.served_entities
    given = ServedEntityInput.from_dict(
        entity.as_dict()
        | {
            "environment_vars": {"TOKEN": "{{secrets/scope/token}}"},
            "workload_type": "GPU_SMALL",
            "instance_profile_arn": "arn:aws:iam::1:instance-profile/x",
        }
    )
    sized = ServedEntityInput.from_dict(given.as_dict() | {"min_provisioned_concurrency": 4})
    sized.workload_size = None
    capture = AutoCaptureConfigInput(catalog_name="dev", schema_name="ml", enabled=True)
    beside = set_beside_the_configuration(client)
    for number, asked in enumerate((given, sized), start=2):
        update = {"served_entities": [asked], "auto_capture_config": capture}
        client.serving_endpoints.update_config_and_wait(ENDPOINT, **update)
        promote(target, trained.regression if number == 2 else trained.bayes)
        assert endpoint.follow(config, "sentiment").version == number
        found = client.serving_endpoints.get(ENDPOINT).config
        kept = found.served_entities[0].as_dict()
        wanted = asked.as_dict() | {"name": f"sentiment-{number}", "entity_version": str(number)}
        assert {name: kept.get(name) for name in wanted} == wanted
        assert found.auto_capture_config.catalog_name == "dev"
        assert beside_the_configuration(client) == beside
        assert endpoint.follow(config, "sentiment").changed is False
        asked.entity_version, sized.entity_version = str(number), str(number)
    on_gpu = config.model_copy(update={"serving": config.serving.model_copy(update={"workload_type": "GPU_MEDIUM"})})
    assert [endpoint.follow(on_gpu, "sentiment").changed for _ in range(2)] == [True, False]
    (entity,) = client.serving_endpoints.get(ENDPOINT).config.served_entities
    assert entity.workload_type.value == "GPU_MEDIUM"


def set_beside_the_configuration(client: WorkspaceClient) -> list[Any]:
    """What an operator sets on an endpoint beside what it serves."""
    endpoints = client.serving_endpoints
    endpoints.patch(ENDPOINT, add_tags=[EndpointTag("team", "risk")])
    table = AiGatewayInferenceTableConfig(catalog_name="dev", schema_name="ml", enabled=True)
    endpoints.put_ai_gateway(
        ENDPOINT, usage_tracking_config=AiGatewayUsageTrackingConfig(enabled=True), inference_table_config=table
    )
    who = ServingEndpointAccessControlRequest(
        group_name="risk", permission_level=ServingEndpointPermissionLevel.CAN_QUERY
    )
    endpoints.set_permissions(endpoints.get(ENDPOINT).id, access_control_list=[who])
    found = beside_the_configuration(client)
    assert all(found)
    return found


def beside_the_configuration(client: WorkspaceClient) -> list[Any]:
    found = client.serving_endpoints.get(ENDPOINT)
    return [found.tags, found.ai_gateway, client.serving_endpoints.get_permissions(found.id).access_control_list]


def test_a_new_endpoint_has_the_variables_of_the_settings_beside_those_of_an_operator(
    config: Settings, target: Target, trained: Served, client: WorkspaceClient
) -> None:
    key = {"OPENAI_API_KEY": "{{secrets/mlops/openai}}"}
    with pytest.raises(ValidationError, match="environment"):
        ServingRules(environment={"OPENAI_API_KEY": "sk-plain"})
    config = config.model_copy(update={"serving": config.serving.model_copy(update={"environment": key})})
    endpoint.follow(config, "sentiment")
    (entity,) = client.serving_endpoints.get(ENDPOINT).config.served_entities
    assert entity.environment_vars == key
    entity.environment_vars = {"REGION": "eu"}
    client.serving_endpoints.update_config_and_wait(
        ENDPOINT, served_entities=[ServedEntityInput.from_dict(entity.as_dict())]
    )
    promote(target, trained.regression)
    assert endpoint.follow(config, "sentiment").version == 2
    (entity,) = client.serving_endpoints.get(ENDPOINT).config.served_entities
    assert entity.environment_vars == {"REGION": "eu", **key}
    assert endpoint.follow(config, "sentiment").changed is False


def test_the_endpoint_of_a_chain_is_asked_by_messages_and_compared_with_what_it_said(
    config: Settings, client: WorkspaceClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its signature is that of the reference system: no column of questions, and a string for an answer.

    Its documents and its prompt are brought to the volume: a job finds no folder of whoever asked for it.
    """
    pytest.importorskip("bm25s")
    monkeypatch.chdir(tmp_path)
    write_project()
    source, options = Source(uri="questions.csv"), {"target": "documents", "columns": {"question": "text"}}
    data = {"data_name": "handbook", "data_version": "1"}
    dataset.create(dataset.state(config, source, **data, problem="chat", **options))
    Path("prompt.txt").write_text("{{passages}} {{question}}", encoding="utf-8")
    reads = {"documents": "handbook", "prompt": "prompt.txt"}
    wanted = training.Training(**data, model_name="handbook", params=reads)
    here = {"tracking_uri": config.mlflow_uri, "data_root": config.datasets}
    there = config.model_copy(update={"platform": "databricks", **here})
    request = training.plan(there, wanted)
    assert all(Path(str(request.params[name])).is_relative_to(there.volume / bases.BROUGHT) for name in reads)
    shutil.rmtree("handbook")
    training.train(request)
    model = runs.trained(config.mlflow_uri, request.run_id)
    evaluation.evaluate(evaluation.request_for(model, config.datasets, "handbook", "1"))
    target = store.target_of(config, "handbook")
    promote(target, model)
    rules = config.serving.model_copy(update={"endpoints": {"handbook": "dev-handbook"}})
    done = endpoint.follow(config.model_copy(update={"serving": rules}), "handbook")
    assert (done.version, done.compared) == (1, 19), "as many as are held out"
    body = {"dataframe_records": [{"messages": "Who told the baker the 4th riddle?"}]}
    answer = client.api_client.do("POST", "/serving-endpoints/dev-handbook/invocations", body=body)
    assert isinstance(answer["predictions"][0], str)
    client.serving_endpoints.delete("dev-handbook")
    champions.forget(target.tracking_uri, target.name)
    store.mlflow_of(target).delete_registered_model(target.name)


@exhaustive  # one more family; that of texts and that of chat are served each day
@pytest.mark.filterwarnings("ignore")
def test_the_endpoint_of_a_model_from_elsewhere_answers_as_it_was_judged(
    config: Settings, client: WorkspaceClient, tmp_path: Path
) -> None:
    """It takes the texts alone and tells numbers; what is served tells labels."""
    elsewhere.logistic(config, tmp_path / "model")
    declared = elsewhere.asked(config, labels=dict(enumerate(elsewhere.CLASSES)))
    model = elsewhere.registered(config, tmp_path / "model", declared, trusted=False)
    evaluation.evaluate(evaluation.request_for(model, config.datasets, "news", "1.0.0"))
    target = store.target_of(config, "tone")
    promote(target, model)
    rules = config.serving.model_copy(update={"endpoints": {"tone": "dev-tone"}})
    done = endpoint.follow(config.model_copy(update={"serving": rules}), "tone")
    assert (done.version, done.compared) == (1, 20)
    body = {"dataframe_records": [{"text": "profit rose"}]}
    answer = client.api_client.do("POST", "/serving-endpoints/dev-tone/invocations", body=body)
    assert answer["predictions"][0]["label"] in elsewhere.CLASSES
    client.serving_endpoints.delete("dev-tone")
    champions.forget(target.tracking_uri, target.name)
    store.mlflow_of(target).delete_registered_model(target.name)


def champions_of_pairs(config: Settings, folder: Path) -> Iterator[ModelRef]:
    """Models of pairs of every family, on one dataset version: words, encoder, network."""
    rows, data = pairs(240), {"data_name": "nli", "data_version": "1"}
    rows.to_csv(folder / "nli.csv", index=False)
    about = {"target": "judgment", "columns": {"premise": "text", "hypothesis": "text"}}
    source = Source(uri=str(folder / "nli.csv"))
    dataset.create(dataset.state(config, source, **data, problem="text-pair-classification", **about))
    base = str(write_base(folder / "base", [*rows["premise"], *rows["hypothesis"]]))
    families: dict[str, dict[str, Any]] = {
        "logistic_regression": {},
        "embedding": {"encoder": str(write_encoder(folder / "encoder"))},
        "transformer": {"base": base, "epochs": 1, "max_length": 32},
    }
    for algorithm, params in families.items():
        request = training.plan(config, training.Training(**data, model_name="nli", algorithm=algorithm, params=params))
        training.train(request)
        yield runs.trained(config.mlflow_uri, request.run_id)


@exhaustive
@pytest.mark.filterwarnings("ignore")
def test_an_endpoint_of_pairs_follows_its_champion_from_one_family_to_the_next(
    config: Settings, client: WorkspaceClient, tmp_path: Path
) -> None:
    """Each answers over HTTP as it was judged; the network on a GPU, as the settings then ask for."""
    for package in ("onnxruntime", "torch"):
        pytest.importorskip(package)
    rules = config.serving.model_copy(update={"endpoints": {"nli": "dev-nli"}})
    target = store.target_of(config, "nli")
    for number, model in enumerate(champions_of_pairs(config, tmp_path), 1):
        evaluation.evaluate(evaluation.request_for(model, config.datasets, "nli", "1"))
        promote(target, model)
        workload = "GPU_SMALL" if number == 3 else "CPU"
        asked = config.model_copy(update={"serving": rules.model_copy(update={"workload_type": workload})})
        done = endpoint.follow(asked, "nli")
        assert (done.version, done.changed, done.compared > 15) == (number, True, True)
        (entity,) = client.serving_endpoints.get("dev-nli").config.served_entities
        assert (entity.entity_version, entity.workload_type.value) == (str(number), workload)
    champions.forget(target.tracking_uri, target.name)
    client.serving_endpoints.delete("dev-nli")
    store.mlflow_of(target).delete_registered_model(target.name)


def test_an_endpoint_follows_promotion_and_rollback(
    config: Settings, target: Target, trained: Served, client: WorkspaceClient, workspace: Emulator
) -> None:
    first = endpoint.follow(config, "sentiment")
    assert (first.endpoint, first.version, first.changed, first.compared) == (ENDPOINT, 1, True, 20)
    promote(target, trained.regression)
    assert [finding.state for finding in examine_endpoints(config, repair=False)] == ["problem"]
    assert endpoint.follow(config, "sentiment").version == 2
    assert version_of(client) == "2"
    workspace.forget_calls()
    again = endpoint.follow(config, "sentiment")
    assert (again.version, again.changed, again.compared) == (2, False, 20)
    assert workspace.calls(CONFIG) == []
    roll_back(target)
    assert endpoint.follow(config, "sentiment").version == 1
    assert version_of(client) == "1"


@pytest.fixture
def trying_out(config: Settings) -> Settings:
    """The same settings, where a new champion gets ten in a hundred requests first."""
    return config.model_copy(update={"serving": config.serving.model_copy(update={"canary_traffic": 10})})


def divided(client: WorkspaceClient) -> dict[str, int]:
    """Who is served, with how many in a hundred requests."""
    routes = client.serving_endpoints.get(ENDPOINT).config.traffic_config.routes
    return {route.served_entity_name: route.traffic_percentage for route in routes}


def test_a_new_champion_gets_a_share_of_the_requests_first_and_then_all(
    trying_out: Settings, target: Target, trained: Served, client: WorkspaceClient
) -> None:
    first = endpoint.follow(trying_out, "sentiment")
    assert (first.share, divided(client)) == (100, {"sentiment-1": 100})
    (entity,) = client.serving_endpoints.get(ENDPOINT).config.served_entities
    given = ServedEntityInput.from_dict(entity.as_dict() | {"environment_vars": {"TOKEN": "{{secrets/scope/token}}"}})
    client.serving_endpoints.update_config_and_wait(ENDPOINT, served_entities=[given])
    promote(target, trained.regression)
    second = endpoint.follow(trying_out, "sentiment")
    assert (second.version, second.share, second.compared) == (2, 10, 20)
    assert divided(client) == {"sentiment-1": 90, "sentiment-2": 10}
    served = client.serving_endpoints.get(ENDPOINT).config.served_entities
    assert [each.environment_vars for each in served] == [given.environment_vars] * 2
    (found,) = examine_endpoints(trying_out, repair=False)
    assert (found.state, "v1 (90 %), dev.ml.sentiment v2 (10 %)" in found.message) == ("ok", True)

    routes = [Route(50, served_entity_name=f"sentiment-{number}") for number in (1, 2)]
    update = {"served_entities": [ServedEntityInput.from_dict(each.as_dict()) for each in served]}
    client.serving_endpoints.update_config_and_wait(ENDPOINT, **update, traffic_config=TrafficConfig(routes))
    assert endpoint.advance(trying_out, "sentiment") is None
    again = endpoint.follow(trying_out, "sentiment")
    assert (again.changed, again.share, divided(client)) == (False, 50, {"sentiment-1": 50, "sentiment-2": 50})

    store.tag(target, 2, log.CANARY, "2026-01-01T00:00:00+00:00")  # its day is over
    alert = alerting(trying_out, target.name, 2)
    assert endpoint.advance(trying_out, "sentiment") is None
    assert f"as long as these alerts are open: {alert.id}" in next(examine_endpoints(trying_out, repair=False)).message
    alerting(trying_out, target.name, 2, is_open=False)
    done = endpoint.advance(trying_out, "sentiment")
    assert done
    assert (done.version, done.share, divided(client)) == (2, 100, {"sentiment-2": 100})
    assert endpoint.follow(trying_out, "sentiment").changed is False
    (entity,) = client.serving_endpoints.get(ENDPOINT).config.served_entities
    assert entity.environment_vars == given.environment_vars


def alerting(config: Settings, name: str, version: int, *, is_open: bool = True) -> Alert:
    """Leave a model with one alert where monitoring keeps its standing."""
    day = date(2026, 1, 2)
    told = {"id": "drift-1", "kind": "drift", "model": name, "version": version, "since": day, "until": day}
    alert = Alert(**told, batches=3, window=5, causes=(), is_open=is_open)
    standing = Standing(model=name, version=version, batches=3, last="b", day=day, worst=None, alerts=(alert,))
    path = config.measurements / name / standings.FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(standing.model_dump_json())
    return alert


def test_a_canary_ends_by_a_person_or_by_a_rollback(
    trying_out: Settings, target: Target, trained: Served, client: WorkspaceClient
) -> None:
    endpoint.follow(trying_out, "sentiment")
    promote(target, trained.regression)
    endpoint.follow(trying_out, "sentiment")
    roll_back(target)
    back = endpoint.follow(trying_out, "sentiment")
    assert (back.version, back.share, divided(client)) == (1, 100, {"sentiment-1": 100})
    promote(target, trained.regression)
    assert endpoint.follow(trying_out, "sentiment").share == 10
    done = endpoint.advance(trying_out, "sentiment", complete=True)
    assert done
    assert (done.share, divided(client)) == (100, {f"sentiment-{done.version}": 100})
    assert endpoint.follow(trying_out, "sentiment").changed is False


def test_a_canary_that_answers_something_else_gets_no_requests(
    trying_out: Settings, target: Target, trained: Served, client: WorkspaceClient, workspace: Emulator
) -> None:
    """Also one that was begun by a process that was killed before it had asked for the answers."""
    promote(target, trained.regression)
    shutil.rmtree(files(workspace, 2))
    shutil.copytree(files(workspace, 1), files(workspace, 2))
    size = {"entity_name": target.name, "workload_size": "Small", "scale_to_zero_enabled": True}
    one, two = (ServedEntityInput(name=f"s-{number}", entity_version=str(number), **size) for number in (1, 2))
    client.serving_endpoints.create_and_wait(ENDPOINT, config=EndpointCoreConfigInput(None, served_entities=[one]))
    shares = TrafficConfig([Route(90, served_entity_name="s-1"), Route(10, served_entity_name="s-2")])
    for entities, traffic in (([one], None), ([one, two], shares)):
        client.serving_endpoints.update_config_and_wait(ENDPOINT, served_entities=entities, traffic_config=traffic)
        with pytest.raises(IntegrityError, match=r"of 20 predictions are not what dev.ml.sentiment v2 predicted"):
            endpoint.follow(trying_out, "sentiment")
        assert divided(client) == {"s-1": 100}


def test_after_a_kill_the_same_again_completes_a_canary(
    trying_out: Settings, target: Target, trained: Served, client: WorkspaceClient, slowly: Callable[[float], None]
) -> None:
    endpoint.follow(trying_out, "sentiment")
    promote(target, trained.regression)
    slowly(600)
    code = (
        "import sys; from lifecycle import settings; from lifecycle.serving import endpoint; from pathlib import Path; "
        "rules = {'endpoints': {'sentiment': sys.argv[2]}, 'canary_traffic': 10, 'poll_seconds': 0.05}; "
        "config = settings.load('dev', home=Path(sys.argv[1]), registry_uri='databricks-uc', serving=rules); "
        "endpoint.follow(config, 'sentiment')"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(trained.home), ENDPOINT], cwd=ROOT)
    while client.serving_endpoints.get(ENDPOINT).pending_config is None:
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    slowly(0)
    assert endpoint.follow(trying_out, "sentiment").share == 10
    assert divided(client) == {"sentiment-1": 90, "sentiment-2": 10}
    assert store.version(target, 2).tags[log.CANARY]


@pytest.mark.usefixtures("trained")
def test_doctor_finds_and_repairs_an_endpoint_that_serves_another_version(
    config: Settings, target: Target, trained: Served, client: WorkspaceClient
) -> None:
    found = list(examine_endpoints(config, repair=False))
    assert "serves nothing, not dev.ml.sentiment v1, the champion" in found[0].message
    endpoint.follow(config, "sentiment")
    promote(target, trained.regression)
    repaired = [finding for finding in doctor.examine([config], repair=True) if finding.what == f"endpoint {ENDPOINT}"]
    assert [(finding.state, finding.message) for finding in repaired] == [
        ("repaired", "serves dev.ml.sentiment v1, not dev.ml.sentiment v2, the champion.")
    ]
    assert version_of(client) == "2"
    assert [finding.state for finding in examine_endpoints(config, repair=False)] == ["ok"]


def test_an_endpoint_that_answers_something_else_goes_back(
    config: Settings, target: Target, trained: Served, client: WorkspaceClient, workspace: Emulator
) -> None:
    """What is served under version 2 are the files of version 1: somebody has put them there."""
    endpoint.follow(config, "sentiment")
    promote(target, trained.regression)
    shutil.rmtree(files(workspace, 2))
    shutil.copytree(files(workspace, 1), files(workspace, 2))
    with pytest.raises(IntegrityError, match=r"of 20 predictions are not what dev.ml.sentiment v2 predicted"):
        endpoint.follow(config, "sentiment")
    assert version_of(client) == "1"


@pytest.mark.usefixtures("target")
def test_a_new_endpoint_that_answers_something_else_is_not_left(
    config: Settings, client: WorkspaceClient, workspace: Emulator
) -> None:
    code = next(files(workspace, 1).glob("*.py"))
    code.write_text(code.read_text().replace("probabilities.max(axis=1)", "probabilities.min(axis=1)"))
    with pytest.raises(IntegrityError, match="20 of 20 predictions"):
        endpoint.follow(config, "sentiment")
    assert list(client.serving_endpoints.list()) == []


def test_a_version_that_cannot_be_loaded_is_not_served(
    config: Settings, target: Target, trained: Served, client: WorkspaceClient, workspace: Emulator
) -> None:
    endpoint.follow(config, "sentiment")
    promote(target, trained.regression)
    (files(workspace, 2) / "MLmodel").unlink()
    with pytest.raises(TransientError, match=r"(?s)UPDATE_FAILED.*MLmodel"):
        endpoint.follow(config, "sentiment")
    assert version_of(client) == "1"


@pytest.mark.usefixtures("target")
def test_an_update_that_takes_too_long_ends_at_the_deadline(config: Settings, slowly: Callable[[float], None]) -> None:
    slowly(600)
    hurried = config.model_copy(update={"serving": config.serving.model_copy(update={"timeout_seconds": 0.5})})
    start = time.monotonic()
    with pytest.raises(TransientError, match=r"was not ready after 0.5 s"):
        endpoint.follow(hurried, "sentiment")
    assert time.monotonic() - start < 300


@pytest.mark.usefixtures("target")
def test_a_look_that_fails_is_repeated(config: Settings, workspace: Emulator) -> None:
    workspace.inject(f"GET /api/2.0/serving-endpoints/{ENDPOINT}", status=500, times=2)
    assert endpoint.follow(config, "sentiment").version == 1


@pytest.mark.usefixtures("target")
def test_an_update_of_somebody_else_is_waited_for(
    config: Settings, client: WorkspaceClient, workspace: Emulator, slowly: Callable[[float], None]
) -> None:
    """Their update begins between our look and our request, so that the workspace refuses ours."""
    endpoint.follow(config, "sentiment")
    entity = ServedEntityInput(entity_name="dev.ml.sentiment", entity_version="1", workload_size="Large")
    slowly(0.3)
    client.serving_endpoints.update_config(ENDPOINT, served_entities=[entity])
    workspace.inject(CONFIG, status=409, error_code="RESOURCE_CONFLICT", times=1)
    assert endpoint.follow(config, "sentiment").changed
    served = client.serving_endpoints.get(ENDPOINT).config.served_entities
    assert [(each.entity_version, each.workload_size) for each in served] == [("1", "Small")]


def test_a_promotion_meanwhile_is_followed_too(
    config: Settings,
    target: Target,
    trained: Served,
    client: WorkspaceClient,
    slowly: Callable[[float], None],
) -> None:
    slowly(600)
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(endpoint.follow, config, "sentiment")
        while not list(client.serving_endpoints.list()):
            time.sleep(0.02)
        promote(target, trained.regression)
        slowly(0)
        assert following.result().version == 2
    assert version_of(client) == "2"


@pytest.mark.usefixtures("target")
def test_a_query_that_fails_is_repeated(config: Settings, workspace: Emulator) -> None:
    workspace.inject(QUERY, status=500, times=2)
    assert endpoint.follow(config, "sentiment").version == 1


@pytest.mark.parametrize(("status", "error"), [(500, TransientError), pytest.param(400, ConfigError, marks=exhaustive)])
def test_an_endpoint_that_does_not_answer_goes_back(
    config: Settings,
    target: Target,
    trained: Served,
    client: WorkspaceClient,
    workspace: Emulator,
    status: int,
    error: type[Exception],
) -> None:
    endpoint.follow(config, "sentiment")
    promote(target, trained.regression)
    workspace.inject(QUERY, status=status, times=10_000)
    hurried = config.model_copy(update={"serving": config.serving.model_copy(update={"timeout_seconds": 10})})
    with pytest.raises(error):
        endpoint.follow(hurried, "sentiment")
    workspace.clear()
    assert version_of(client) == "1"


def test_an_endpoint_made_by_hand_is_recognised_by_its_version(
    config: Settings, target: Target, client: WorkspaceClient
) -> None:
    entity = {"entity_name": target.name, "entity_version": "1", "workload_size": "Small"}
    by_hand = ServedEntityInput(name="by-hand", scale_to_zero_enabled=True, **entity)
    client.serving_endpoints.create_and_wait(ENDPOINT, config=EndpointCoreConfigInput(None, served_entities=[by_hand]))
    assert endpoint.follow(config, "sentiment").changed is False
    seen = client.serving_endpoints.get(ENDPOINT)
    client.serving_endpoints.update_config_and_wait(ENDPOINT, served_entities=[ServedEntityInput(**entity)])
    model = promotion.reference(target, 1)
    with pytest.raises(IntegrityError, match=r"answered with sentiment-1: it was changed meanwhile"):
        endpoint.Endpoint(config, "sentiment").compare(model, endpoint._sample(model, config), seen)


def test_the_endpoint_of_another_model_is_left_alone(
    config: Settings, target: Target, trained: Served, client: WorkspaceClient
) -> None:
    other = target.named("dev.ml.other")
    promote(other, trained.bayes)
    entity = ServedEntityInput(entity_name=other.name, entity_version="1", workload_size="Small")
    client.serving_endpoints.create_and_wait(ENDPOINT, config=EndpointCoreConfigInput(None, served_entities=[entity]))
    with pytest.raises(ConflictError, match=r"serves dev.ml.other, not dev.ml.sentiment"):
        endpoint.follow(config, "sentiment")
    assert client.serving_endpoints.get(ENDPOINT).config.served_entities[0].entity_name == other.name
    store.mlflow_of(other).delete_registered_model(other.name)


def test_without_endpoint_registry_or_champion_nothing_is_asked(config: Settings, workspace: Emulator) -> None:
    with pytest.raises(ConfigError, match="name no endpoint for other"):
        endpoint.follow(config, "other")
    with pytest.raises(NotFoundError, match="no champion to serve"):
        endpoint.follow(config, "sentiment")
    with pytest.raises(ConfigError, match="registers at sqlite"):
        endpoint.follow(config.model_copy(update={"registry_uri": None}), "sentiment")
    assert [finding.state for finding in examine_endpoints(config, repair=False)] == ["ok"]
    assert workspace.calls("* /api/2.0/serving-endpoints*") == []


def test_answers_are_compared_one_by_one() -> None:
    import pandas as pd

    sample = pd.DataFrame({"label": ["a", "b"], "score": [0.5, 0.25]})
    right = [{"label": "a", "score": 0.5}, {"label": "b", "score": 0.25 + 1e-9}]
    assert endpoint.differing(right, sample) == 0
    assert endpoint.differing(right[:1], sample) == 1
    assert endpoint.differing([*right, right[0]], sample) == 1
    assert endpoint.differing([right[1], right[0]], sample) == 2
    assert endpoint.differing([{"label": "a", "score": 0.51}, "b"], sample) == 2
    assert endpoint.differing([], sample) == 2


@pytest.mark.usefixtures("server")
def test_the_flows_let_the_endpoint_follow(
    config: Settings, target: Target, trained: Served, client: WorkspaceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    from flows.promote import promote as promote_flow
    from flows.rollback import rollback

    monkeypatch.setenv("MLOPS_HOME", str(trained.home))
    monkeypatch.setenv("MLOPS_REGISTRY_URI", "databricks-uc")
    monkeypatch.setenv("MLOPS_SKIP_GATE", "true")
    monkeypatch.setenv("MLOPS_SERVING", config.serving.model_dump_json())
    candidate = promotion.enter_challenger(target, trained.regression)
    by_hand = {"version": candidate.version, "reason": "it is better", "skip_gate": True}
    admitted = promote_flow("sentiment", "dev", "dev", **by_hand)
    assert version_of(client) == str(admitted.promotion.champion) != "1"
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["endpoint-dev-ml-sentiment"]))
    with get_client(sync_client=True) as prefect:
        shown = prefect.read_artifacts(artifact_filter=wanted)
    assert f"/ml/endpoints/{ENDPOINT})" in shown[0].data
    client.serving_endpoints.delete(ENDPOINT)
    again = promote_flow("sentiment", "dev", "dev", **by_hand)
    assert "champion already" in again.message
    assert version_of(client) == str(admitted.promotion.champion)
    assert rollback("sentiment", "dev", rehearse=True).changed is False
    assert version_of(client) == str(admitted.promotion.champion)
    assert rollback("sentiment", "dev").champion == 1
    assert version_of(client) == "1"
