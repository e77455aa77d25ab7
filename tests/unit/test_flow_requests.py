"""What a flow is asked: its form, the options of its command, and what the definition of a model fills in."""

import ast
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.flows import load_flow_from_entrypoint, safe_load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from typer.main import get_command

from cli.main import app
from flows.flow_requests import (
    CheckRequest,
    DatasetRequest,
    InferenceRequest,
    MonitorRequest,
    PromotionRequest,
    ReleaseRequest,
    RollbackRequest,
    TrainingRequest,
)
from flows.request import Request
from lifecycle.core.errors import ConfigError
from lifecycle.settings import checked
from lifecycle.settings.definitions import ModelDefinition
from tests.conftest import ROOT

FLOWS: dict[str, tuple[type[Request], str]] = {
    "create_data": (DatasetRequest, "data create"),
    "train": (TrainingRequest, "train"),
    "promote": (PromotionRequest, "promote"),
    "check": (CheckRequest, "gate check"),
    "rollback": (RollbackRequest, "rollback"),
    "batch_inference": (InferenceRequest, "infer"),
    "monitor": (MonitorRequest, "monitor run"),
    "release": (ReleaseRequest, "release"),
}
BIKES = ModelDefinition(
    problem="tabular-regression",
    data={  # type: ignore[arg-type]
        "name": "bikes",
        "source": "hour-{version}.csv",
        "target": "cnt",
        "columns": {"temp": "numeric", "casual": "drop"},
        "key": "instant",
        "encoding": "latin-1",
        "split": {"by": "time", "column": "dteday", "test_size": 0.3, "holdout_size": 0.1},
    },
    training={"algorithm": "ridge", "params": {"alpha": 2.0}, "seed": 7},  # type: ignore[arg-type]
    inference={"source": "inbox/{logical_date}.parquet", "key": "instant"},  # type: ignore[arg-type]
)
MOOD = ModelDefinition(
    data={"name": "news", "target": "mood", "columns": {"headline": "text"}, "split": {"holdout_size": 0}}  # type: ignore[arg-type]
)


def command_of(path: str) -> Any:
    found: Any = get_command(app)
    for word in path.split():
        found = found.commands[word]
    return found


@pytest.mark.parametrize("name", FLOWS)
def test_a_form_and_a_command_are_the_fields_of_the_request(name: str) -> None:
    request, path = FLOWS[name]
    flow = load_flow_from_entrypoint(f"{ROOT}/flows/{name}.py:{name}")
    form = parameter_schema(flow).model_dump()["properties"]
    assert set(form) == {*request.model_fields, *request.earlier_names.values()}
    options = {option.name: option for option in command_of(path).params}
    assert set(options) == {*form, "as_json", "verbose"} | ({"yes"} if request.asked else set())
    for field in request.listed():
        assert form[field.name]["description"] == options[field.name].help == field.description
        assert options[field.name].hidden == field.earlier
    assert flow.name == name.replace("_", "-")


@pytest.mark.parametrize("name", FLOWS)
def test_whoever_only_parses_a_flow_finds_its_function_and_name(name: str) -> None:
    (function,) = [
        node
        for node in ast.parse((ROOT / f"flows/{name}.py").read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == name
    ]
    assert "flow" in {getattr(getattr(each, "func", None), "id", "") for each in function.decorator_list}
    parsed = safe_load_flow_from_entrypoint(f"{ROOT}/flows/{name}.py:{name}")
    assert parsed is not None
    assert parsed.name == name.replace("_", "-")


def test_every_parameter_of_the_deployments_is_one_of_its_flow() -> None:
    for entry in yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]:
        if (name := entry["entrypoint"].rpartition(":")[2]) in FLOWS:
            checked(FLOWS[name][0], **entry["parameters"])


def test_the_definition_fills_what_was_not_given() -> None:
    request = ReleaseRequest(test_size=0.25).filled(BIKES)
    assert request.arguments | {"data_version": None} == {
        "data_name": "bikes",
        "data_version": None,
        "problem": "tabular-regression",
        "target": "cnt",
        "columns": {"temp": "numeric", "casual": "drop"},
        "key": "instant",
        "test_size": 0.25,
        "holdout": True,
        "holdout_size": 0.1,
        "time_column": "dteday",
    }
    assert (request.algorithm, request.params, request.seed) == ("ridge", {"alpha": 2.0}, 7)
    versioned = request.model_copy(update={"data_version": "3"})
    assert (versioned.source_of().uri, versioned.source_of().encoding) == ("hour-3.csv", "latin-1")


@pytest.mark.parametrize(
    ("given", "filled"),
    [
        ({"algorithm": "forest"}, {"algorithm": "forest", "params": None, "seed": 7}),
        ({"params": {}}, {"algorithm": "ridge", "params": {}}),
        ({"group_column": "site"}, {"group_column": "site", "time_column": None, "stratify": None}),
        ({"label_column": "casual"}, {"target": None, "label_column": "casual"}),
        ({"text_column": "note"}, {"columns": None}),
        ({"holdout_size": 0.4}, {"holdout_size": 0.4, "holdout": True}),
        ({"holdout": False}, {"holdout": False}),
        ({"source": "other.csv"}, {"source": "other.csv", "encoding": None}),
        ({"data_name": "cars"}, {"data_name": "cars", "source": None, "target": None, "problem": None}),
    ],
)
def test_what_was_given_wins(given: dict[str, Any], filled: dict[str, Any]) -> None:
    request = ReleaseRequest(**given).filled(BIKES)
    assert {name: getattr(request, name) for name in filled} == filled


def test_a_definition_without_a_holdout_keeps_none_unless_one_is_asked_for() -> None:
    assert ReleaseRequest().filled(MOOD).arguments["holdout"] is False
    assert ReleaseRequest(holdout_size=0.1).filled(MOOD).arguments["holdout"] is True


def test_a_batch_reads_the_definitions_table_and_its_texts() -> None:
    bikes = InferenceRequest().filled(BIKES)
    assert (bikes.input, bikes.key_column, bikes.inputs) == ("inbox/{logical_date}.parquet", "instant", {})
    assert InferenceRequest(input="a.csv").filled(MOOD).inputs == {"headline": "text"}
    assert InferenceRequest(input="a.csv", text_column="body").filled(MOOD).inputs == {"body": "text"}
    assert InferenceRequest(data_name="bikes", data_version="1").filled(BIKES).input is None


def test_the_day_and_the_version_stand_in_the_address_of_a_table() -> None:
    asked = {"source": "in/{logical_date}-{version}.csv", "data_version": "2", "model_name": "m"}
    sent = ReleaseRequest(**asked, logical_date=date(2026, 3, 29))
    assert sent.for_data().source_of().uri == "in/2026-03-29-2.csv"
    batch = sent.for_inference("2")
    assert (batch.source_of().uri, batch.logical_date) == ("in/2026-03-29-2.csv", date(2026, 3, 29))
    assert "logical_date" not in ReleaseRequest(data_name="d", logical_date=date(2026, 3, 29)).arguments
    for request in (DatasetRequest(source="{logical_date}.csv"), InferenceRequest(input="{logical_date}.csv")):
        with pytest.raises(ConfigError, match="needs a day"):
            request.source_of()


def test_a_training_takes_the_definitions_dataset() -> None:
    assert TrainingRequest().filled(BIKES).dataset == ("bikes", "latest")
    assert TrainingRequest(data_version="2").filled(BIKES).dataset == ("bikes", "2")
    with pytest.raises(ConfigError, match="Missing option --data-name"):
        _ = TrainingRequest(model_name="m").dataset


def test_earlier_names_are_accepted_and_two_names_of_one_thing_are_not() -> None:
    request = TrainingRequest(model_type="naive_bayes", model_params="{'alpha': 1}")  # type: ignore[call-arg]
    assert (request.algorithm, request.params) == ("naive_bayes", {"alpha": 1})
    with pytest.raises(ConfigError, match="algorithm and model_type are one parameter"):
        checked(TrainingRequest, algorithm="a", model_type="b")
    with pytest.raises(ConfigError, match="target and label_column are one parameter"):
        checked(DatasetRequest, target="a", label_column="b")


@pytest.mark.parametrize("request_type", [request for request, _ in FLOWS.values()])
def test_parameters_make_the_same_request_again(request_type: type[Request]) -> None:
    request = request_type(model_name="bikes").filled(BIKES)
    assert request_type(**request.parameters) == request


@pytest.fixture
def bikes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that defines one model."""
    (tmp_path / "config/models").mkdir(parents=True)
    (tmp_path / "config/models/bikes.yaml").write_text(yaml.safe_dump(BIKES.model_dump(mode="json")))
    monkeypatch.setenv("MLOPS_CONFIG_DIR", str(tmp_path / "config"))
    return tmp_path


def test_the_only_model_that_is_defined_needs_no_name(bikes: Path) -> None:
    for request, _ in FLOWS.values():
        completed = request().completed()
        assert completed.model_name in {"bikes", None if request is DatasetRequest else "bikes"}
    assert DatasetRequest().completed().source == str(bikes / "hour-{version}.csv")
    assert DatasetRequest(data_name="bikes").completed().target == "cnt"
    assert DatasetRequest(data_name="cars", source="cars.csv").completed().target is None
    assert TrainingRequest(model_name="other").completed().data_name is None


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (InferenceRequest(), "either an input table or the name of a dataset"),
        (InferenceRequest(input="a.csv", data_name="news"), "either an input table or the name of a dataset"),
        (InferenceRequest(input="a.csv", split="test"), "A version and a split are those of a dataset"),
        (InferenceRequest(input="a.csv", data_version="1"), "A version and a split are those of a dataset"),
    ],
)
def test_a_batch_is_of_one_table(request_: InferenceRequest, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        request_.require_one_table()
    InferenceRequest(data_name="news", split="all").require_one_table()


def test_a_release_goes_as_far_as_it_is_told_and_a_command_does_not_assume_where_to_roll_back() -> None:
    assert [str(env) for env in ReleaseRequest().environments] == ["dev", "staging", "prod"]
    assert [str(env) for env in checked(ReleaseRequest, target_env="staging").environments] == ["dev", "staging"]
    env = next(option for option in command_of("rollback").params if option.name == "env")
    assert (env.default, RollbackRequest().env) == (None, "prod")
