"""A model is defined once: what its file may say, which model is meant, where its sources lie, which layer wins."""

from pathlib import Path
from typing import Any, get_args

import hypothesis.strategies as st
import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings

from lifecycle import settings
from lifecycle.core.errors import ConfigError
from lifecycle.problems.contract import DROP, Kind
from lifecycle.settings import definitions, files
from lifecycle.settings.definitions import ColumnKind
from lifecycle.settings.gate_rules import GateRules

BIKES = """
problem: tabular-regression
data:
  name: bikes
  source: data/hour.csv
  target: cnt
  columns: {temp: numeric, season: categorical, dteday: datetime, casual: drop}
  split: {by: time, column: dteday, test_size: 0.2, holdout_size: 0.2}
training: {algorithm: hist_gradient_boosting, params: {max_iter: 300}, seed: 0}
inference: {source: "inbox/{logical_date}.parquet", key: instant}
"""
SMALL = "data: {name: news, source: news.csv}"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `config/models/` alone; the working directory is in it."""
    (tmp_path / "config" / "models").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def define(project: Path, name: str, text: str = SMALL) -> Path:
    path = project / "config" / "models" / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_definition_says_all_that_is_true_of_a_model(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    define(project, "bikes", BIKES)
    (project / "deep" / "below").mkdir(parents=True)
    monkeypatch.chdir(project / "deep" / "below")
    bikes = definitions.load("bikes")
    assert (bikes.problem, bikes.data.target, bikes.data.split.by) == ("tabular-regression", "cnt", "time")
    assert bikes.data.columns["casual"] == "drop"
    assert bikes.training.params == {"max_iter": 300}
    assert bikes.data.source == str(project / "data" / "hour.csv")
    assert bikes.inference.source == str(project / "inbox" / "{logical_date}.parquet")
    assert definitions.every() == {"bikes": bikes}


@pytest.mark.parametrize(
    ("source", "placed"),
    [
        ("news.csv", "{project}/news.csv"),
        ("./a/../news.csv", "{project}/a/../news.csv"),
        ("{version}.csv", "{project}/{{version}}.csv"),
        ("/data/news.csv", "/data/news.csv"),
        ("~/news.csv", "~/news.csv"),
        ("s3://bucket/news.csv", "s3://bucket/news.csv"),
        ("dbfs:/news.csv", "dbfs:/news.csv"),
        ("main.ml.news", "main.ml.news"),
        ("main.ml.there", "{project}/main.ml.there"),
    ],
)
def test_a_relative_source_lies_in_the_project(project: Path, source: str, placed: str) -> None:
    (project / "main.ml.there").touch()
    define(project, "news", yaml.safe_dump({"data": {"name": "news", "source": source}}))
    assert definitions.load("news").data.source == placed.format(project=project)


def test_the_only_model_is_meant_if_none_is_named(project: Path) -> None:
    with pytest.raises(ConfigError, match="mlops init TABLE"):
        definitions.chosen(None)
    define(project, "news")
    name, definition = definitions.chosen(None)
    assert (name, definition) == ("news", definitions.load("news"))
    define(project, "bikes", "no: [definition")
    with pytest.raises(ConfigError, match="bikes, news"):
        definitions.chosen(None)
    assert definitions.chosen("news") == (name, definition)  # whatever is wrong with another one
    assert definitions.chosen("olds") == ("olds", None)
    assert definitions.chosen("../models/news") == ("../models/news", None)
    with pytest.raises(ConfigError, match="mlops init TABLE --model-name olds"):
        definitions.load("olds")


WRONG = [
    ("data: {name: a, sorce: x}", "data.sorce='x'"),
    ("problem: poetry\ndata: {name: a}", "problem='poetry'"),
    ("problem: text-classification", "data="),
    ("data: {name: A b}", "data.name='A b'"),
    ("data: {name: a, columns: {x: number}}", "data.columns.x='number'"),
    ("data: {name: a, target: x, columns: {x: numeric}}", "the target is no input"),
    ("data: {name: a, target: x, key: x}", "x is the key"),
    ("data: {name: a, split: {test_size: 1.5}}", "data.split.test_size=1.5"),
    ("data: {name: a, split: {test_size: 0}}", "data.split.test_size=0"),
    ("data: {name: a, split: {test_size: 0.5, holdout_size: 0.5}}", "must be below 1"),
    ("data: {name: a, split: {by: time}}", "by time needs the column"),
    ("data: {name: a, split: {column: x}}", "no column decides a split by random"),
    ("data: {name: a, split: {by: time, column: t, stratify: [x]}}", "leave stratify out"),
    ("data: {name: a, source: 'https://joe:CANARY@host/a.csv'}", "data.source="),
    ("data: {name: a}\ntraining: {seed: soon}", "training.seed='soon'"),
    ("data: [", "is not YAML"),
    ("- a", "must hold `name: value` lines"),
    ("", "data="),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_a_wrong_definition_names_file_key_and_value(project: Path, text: str, message: str) -> None:
    path = define(project, "wrong", text)
    for read in (lambda: definitions.load("wrong"), definitions.every, lambda: definitions.chosen(None)):
        with pytest.raises(ConfigError) as refused:
            read()
        assert message in str(refused.value)
        assert str(path) in str(refused.value)


def test_a_file_that_names_no_model_is_refused(project: Path) -> None:
    define(project, "Big Name")
    with pytest.raises(ConfigError, match=r"'Big Name' is not a model name: .*Rename the file"):
        definitions.every()


def test_the_kinds_of_columns_are_those_of_the_problems() -> None:
    assert {*get_args(ColumnKind)} == {*get_args(Kind), DROP}


# ---- the project


def test_a_project_is_found_upwards_and_the_package_serves_what_it_lacks(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = project / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert files.project() == project
    assert files.config_dir() == project / "config"
    assert files.located("dev.yaml") == files.SHIPPED / "dev.yaml"
    assert settings.load("prod").gate.selftest  # as the shipped prod.yaml says
    (project / "config" / "prod.yaml").write_text("gate: {min_rows: 7}")
    assert (settings.load("prod").gate.selftest, settings.load("prod").gate.min_rows) == (False, 7)
    assert files.located("expectations/default.json") == files.SHIPPED / "expectations" / "default.json"
    (below / "config").mkdir()
    assert files.project() == project
    (below / "config" / "dev.yaml").touch()
    assert files.project() == below


def test_every_folder_of_a_project_sees_the_same_state(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "below").mkdir()
    (project / "config" / "staging.yaml").write_text("{home: state, data_root: /data, output_root: ~/out}")
    seen = []
    for folder in (project, project / "below"):
        monkeypatch.chdir(folder)
        staging = settings.load("staging")
        seen.append((settings.load("dev").state, staging.state, staging.datasets, staging.predictions))
    assert set(seen) == {(project / ".mlops", project / "state", Path("/data"), Path.home() / "out")}
    monkeypatch.setenv("MLOPS_HOME", "mine")  # as a shell has it: from where one is
    assert settings.load("dev").state == project / "below" / "mine"


def test_outside_of_a_project_all_is_as_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert files.project() is None
    assert files.config_dir() == files.SHIPPED
    assert settings.load("dev").state == tmp_path / ".mlops"


def test_a_chosen_folder_wins_and_is_whole_unless_it_holds_models(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    define(project, "here")
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "config"
    elsewhere.mkdir()
    monkeypatch.setenv("MLOPS_CONFIG_DIR", str(elsewhere))
    with pytest.raises(ConfigError, match=r"dev\.yaml does not exist"):
        settings.load("dev")
    (elsewhere / "models").mkdir()
    define(elsewhere.parent, "there")
    assert settings.load("dev").env == "dev"
    assert definitions.names() == ("there",)
    assert definitions.load("there").data.source == str(elsewhere.parent / "news.csv")
    assert settings.load("dev").state == project / ".mlops"  # what is stored stays where it is found


# ---- layers

LAYERS = ("default", "platform", "environment file", "definition", "model of the environment", "variable", "flag")


def write_layers(project: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, dict[str, int]]) -> None:
    """Write layers of gate rules, each into what it is read from."""
    config = project / "config"
    (config / "platforms").mkdir(exist_ok=True)
    gate = {layer: {"gate": values[layer]} if values.get(layer) else {} for layer in LAYERS}
    (config / "platforms" / "local.yaml").write_text(yaml.safe_dump(gate["platform"]))
    of_models = {"models": {"news": gate["model of the environment"], "olds": {"gate": {"min_rows": 99}}}}
    (config / "dev.yaml").write_text(yaml.safe_dump(gate["environment file"] | of_models))
    define(project, "news", yaml.safe_dump({"data": {"name": "news"}} | gate["definition"]))
    for key in ("min_rows", "resamples", "min_rows_per_class"):
        monkeypatch.delenv(f"MLOPS_GATE__{key.upper()}", raising=False)
    for key, value in values.get("variable", {}).items():
        monkeypatch.setenv(f"MLOPS_GATE__{key.upper()}", str(value))


keys = st.dictionaries(st.sampled_from(["min_rows", "resamples", "min_rows_per_class"]), st.integers(300, 400))


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.dictionaries(st.sampled_from(LAYERS[1:]), keys))
def test_the_strongest_layer_that_names_a_key_wins(
    project: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, dict[str, int]]
) -> None:
    write_layers(project, monkeypatch, values)
    gate = settings.load("dev", "news", gate=values.get("flag", {})).gate
    origins = settings.origins("dev", "news")
    named = dict(zip(LAYERS, ORIGINS, strict=True))
    for key in ("min_rows", "resamples", "min_rows_per_class"):
        naming = [layer for layer in LAYERS if key in values.get(layer, {})]
        default: Any = GateRules().model_dump()[key]
        assert getattr(gate, key) == (values[naming[-1]][key] if naming else default)
        stored = [layer for layer in ("default", *naming) if layer != "flag"]
        assert origins[f"gate.{key}"][1] == named[stored[-1]]


ORIGINS = (
    "default",
    "config/platforms/local.yaml",
    "config/dev.yaml",
    "config/models/news.yaml",
    "config/dev.yaml, models.news",
    "environment",
    "flag",
)


def test_what_is_set_for_one_model_is_not_set_for_another(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_layers(project, monkeypatch, {"definition": {"min_rows": 7}})
    assert settings.load("dev").gate.min_rows == GateRules().min_rows
    assert settings.load("dev", "news").gate.min_rows == 7
    assert settings.load("dev", "olds").gate.min_rows == 99  # it needs no definition
    assert settings.load("dev", "others").gate.min_rows == GateRules().min_rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: {news: {home: elsewhere}}", "models.news.home"),
        ("models: {news: {gates: {min_rows: 1}}}", "models.news.gates"),
        ("models: {news: {gate: {min_row: 1}}}", "gate.min_row=1"),
        ("models: {news: 3}", "models.news=3"),
        ("models: 3", "models=3"),
    ],
)
def test_a_wrong_setting_of_one_model_is_named(project: Path, text: str, message: str) -> None:
    (project / "config" / "dev.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"Correct config/dev\.yaml, config/models/news\.yaml") as refused:
        settings.load("dev", "news")
    assert message in str(refused.value)


def test_a_wrong_rule_of_the_gate_names_the_definition(project: Path) -> None:
    define(project, "news", "data: {name: news}\ngate: {min_row: 3}")
    with pytest.raises(ConfigError, match=r"gate\.min_row=3: .*config/models/news\.yaml"):
        settings.load("dev", "news")


def test_no_variable_sets_the_settings_of_one_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_MODELS__NEWS__GATE__MIN_ROWS", "3")
    with pytest.raises(ConfigError, match="MLOPS_MODELS__NEWS__GATE__MIN_ROWS is not a setting"):
        settings.load("dev")
