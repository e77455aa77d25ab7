"""Settings: which layer wins, where a value comes from, and that a mistake in any layer names itself."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from lifecycle import settings
from lifecycle.core.errors import ConfigError
from lifecycle.settings import yaml_files
from lifecycle.settings.gate_rules import GateRules
from lifecycle.settings.rules import DataRules
from tests.conftest import ROOT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of settings with a file for dev and one for the platform."""
    (tmp_path / "platforms").mkdir()
    (tmp_path / "dev.yaml").touch()
    (tmp_path / "platforms" / "local.yaml").touch()
    monkeypatch.setenv("MLOPS_CONFIG_DIR", str(tmp_path))
    return tmp_path


LAYERS = {
    "default": "ml",
    "config/platforms/local.yaml": "of_platform",
    "config/dev.yaml": "of_dev",
    "environment": "of_variable",
}


@pytest.mark.parametrize("strongest", LAYERS)
def test_a_stronger_layer_wins_and_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch, strongest: str) -> None:
    given = list(LAYERS)[1 : list(LAYERS).index(strongest) + 1]
    if "config/platforms/local.yaml" in given:
        (folder / "platforms" / "local.yaml").write_text("schema_name: of_platform")
    if "config/dev.yaml" in given:
        (folder / "dev.yaml").write_text("schema_name: of_dev")
    if "environment" in given:
        monkeypatch.setenv("MLOPS_SCHEMA_NAME", "of_variable")
    assert settings.load("dev").schema_name == LAYERS[strongest]
    assert settings.origins("dev")["schema_name"] == (LAYERS[strongest], strongest)
    assert settings.load("dev", schema_name="of_flag").schema_name == "of_flag"
    assert settings.load("dev", schema_name=None).schema_name == LAYERS[strongest]


def test_nested_settings_are_merged_by_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "platforms" / "local.yaml").write_text("gate: {min_rows: 1, resamples: 300, confidence: 0.8}")
    (folder / "dev.yaml").write_text("gate: {min_rows: 2, resamples: 400}")
    monkeypatch.setenv("MLOPS_GATE__MIN_ROWS", "3")
    gate = settings.load("dev").gate
    assert (gate.min_rows, gate.resamples, gate.confidence) == (3, 400, 0.8)
    assert gate.min_gain == GateRules().min_gain
    origins = settings.origins("dev")
    assert [origins[f"gate.{key}"][1] for key in ("min_rows", "resamples", "confidence", "min_gain")] == [
        "environment",
        "config/dev.yaml",
        "config/platforms/local.yaml",
        "default",
    ]


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("MLOPS_HOME", "/srv/state", "home", Path("/srv/state")),
        ("MLOPS_DATA__MIN_ROWS", "7", "data.min_rows", 7),
        ("MLOPS_DATA__ALLOWED_SCHEMES", '["file"]', "data.allowed_schemes", ("file",)),
        ("MLOPS_GATE__FLOORS__ACCURACY", "0.9", "gate.floors", {"accuracy": 0.9}),
        ("MLOPS_GATE_DATA__DATA_NAME", "fsa", "gate_data.data_name", "fsa"),
        ("MLOPS_INFERENCE__WORKERS", "2", "inference.workers", 2),
        ("MLOPS_SCHEMA_NAME", "", "schema_name", "ml"),
        ("MLOPS_GATE__MISSED_CLASS_ROWS", "null", "gate.missed_class_rows", None),
        ("MLOPS_GATE__RETRAINING__MARGIN", "null", "gate.retraining.margin", None),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_variable_sets_any_setting(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, key: str, value: Any
) -> None:
    monkeypatch.setenv(variable, text)
    found: Any = settings.load("dev")
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value


WRONG_VARIABLES = [
    ("MLOPS_HOMEE", "x", "MLOPS_HOMEE is not a setting"),
    ("MLOPS_HOMEE", "x", "Try: unset MLOPS_HOMEE"),
    ("MLOPS_GATES__MIN_ROWS", "3", "MLOPS_GATES__MIN_ROWS is not a setting"),
    ("MLOPS_GATE__MIN_ROW", "3", "gate.min_row='3'"),
    ("MLOPS_GATE__MIN_ROWS", "many", "gate.min_rows='many'"),
    ("MLOPS_GATE__CONFIDENCE", "1.5", "gate.confidence='1.5'"),
    ("MLOPS_DATA__CONFLICTING_LABELS", "ignore", "data.conflicting_labels='ignore'"),
    ("MLOPS_GATE", "abc", "gate"),
    ("MLOPS_DATA__ALLOWED_SCHEMES", "file", "Write it as JSON"),
    ("MLOPS_GATE__FLOORS", '{"f1_macro": 7}', "floors.f1_macro=7"),
    ("MLOPS_ENV", "prod", "MLOPS_ENV is not a setting"),
    ("MLOPS_PLATFORM", "../../etc", "platform='../../etc'"),
    ("MLOPS_GATE__MIN_ROWS", "null", "gate.min_rows=None"),
    ("MLOPS_GATE__METRIC", "cost", "gate={'metric': 'cost'}: `cost` needs `costs`"),
]


@pytest.mark.parametrize(("variable", "text", "message"), WRONG_VARIABLES)
def test_a_wrong_variable_names_itself(monkeypatch: pytest.MonkeyPatch, variable: str, text: str, message: str) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(ConfigError) as refused:
        settings.load("dev")
    assert message in str(refused.value)


WRONG_FILES = [
    ("schema_nam: x", "schema_nam='x'"),
    ("gate: {min_row: 3}", "gate.min_row=3"),
    ("Gate: {min_rows: 3}", "Gate={'min_rows': 3}: there is no such key, did you mean 'gate'"),
    ("gate: {min_rows: 0}", "gate.min_rows=0"),
    ("gate: 3", "gate=3"),
    ("data: {min_rows: [1]}", "data.min_rows=[1]"),
    ("platform: mainframe", "platform='mainframe'"),
    ("- a", "must hold `name: value` lines, not a list"),
    ("home: [", "is not YAML"),
    ("home: !!python/object/apply:os.system ['touch ran']", "is not YAML"),
    ("\x80", "is not YAML"),
    ("home: 2026-02-30", "is not YAML"),
    ("home: !!int abc", "is not YAML"),
    (f"home: {'9' * 5000}", "is not YAML"),
    ("home: " + "[" * 3000, "is not YAML"),
    ("gate: &x {floors: *x}", "refers to itself"),
    (
        "a: &a [1, 1]\n" + "".join(f"{n}: &{n} [{', '.join([f'*{o}'] * 9)}]\n" for o, n in pairwise("abcdefghi")),
        "too many",
    ),
    ("platform: local\nhome: x\nplatform: local", "line 3, column 1 is not YAML: 'platform' appears twice"),
    ("gate: {<<: {min_rows: 3}, min_rows: 4, min_rows: 5}", "'min_rows' appears twice"),
    ("tracking_uri: no", "tracking_uri=False: YAML reads this as no text; write it in quotes"),
    ("gate: {min_gain: .nan}", "gate.min_gain=nan"),
    ("gate: {min_gain: .inf}", "gate.min_gain=inf"),
    ("gate: {ceilings: {log_loss: .nan}}", "gate.ceilings.log_loss=nan"),
    ("gate: {slices: {max_loss: .nan}}", "gate.slices.max_loss=nan"),
]


@pytest.mark.parametrize(("content", "message"), WRONG_FILES)
@pytest.mark.parametrize("name", ["dev.yaml", "platforms/local.yaml"])
def test_a_wrong_file_names_what_is_wrong(folder: Path, name: str, content: str, message: str) -> None:
    (folder / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError) as refused:
        settings.load("dev")
    assert message in str(refused.value)
    assert ("dev.yaml" if "=" in message else name) in str(refused.value)


@pytest.mark.parametrize("content", ["gate: null", "gate: {floors: null}", "gate: 3"])
def test_a_rule_above_does_not_hide_that_those_below_were_taken_away(
    folder: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (folder / "platforms" / "local.yaml").write_text("gate: {floors: {f1_macro: 0.9}}")
    (folder / "dev.yaml").write_text(content)
    monkeypatch.setenv("MLOPS_GATE__MIN_ROWS", "3")
    monkeypatch.setenv("MLOPS_GATE__FLOORS", '{"accuracy": 0.1}')
    with pytest.raises(ConfigError, match=r"gate(\.floors)?=(None|3)"):
        settings.load("dev")


@pytest.mark.parametrize("chosen", ["{0}/dev.yaml", "~nobody-of-that-name/config", "{0}/folders"])
def test_a_folder_of_settings_that_is_none_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch, chosen: str) -> None:
    (folder / "folders" / "dev.yaml").mkdir(parents=True)
    monkeypatch.setenv("MLOPS_CONFIG_DIR", chosen.format(folder))
    with pytest.raises(ConfigError, match="Set MLOPS_CONFIG_DIR to the folder"):
        settings.load("dev")


def test_a_missing_environment_file_is_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"prod\.yaml does not exist"):
        settings.load("prod")
    (folder / "platforms" / "local.yaml").unlink()
    assert settings.load("dev").env == "dev"


def test_a_flag_is_checked_too() -> None:
    with pytest.raises(ConfigError, match="nonsense=1"):
        settings.load("dev", nonsense=1)


def test_the_environment_is_the_one_that_was_asked_for(folder: Path) -> None:
    (folder / "dev.yaml").write_text("env: prod")
    assert settings.load("dev").env == "dev"
    assert settings.load("dev").registered_name("sentiment") == "dev.ml.sentiment"
    assert settings.load("dev", catalog="main").registered_name("sentiment") == "main.ml.sentiment"


def test_everything_lies_below_home_unless_it_is_placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = settings.load("dev", home="state")
    assert found.state == tmp_path / "state"
    assert (found.datasets, found.predictions) == (tmp_path / "state" / "data", tmp_path / "state" / "predictions")
    assert found.mlflow_uri == f"sqlite:///{tmp_path}/state/mlflow.db"
    placed = settings.load("dev", data_root="d", output_root="/o", tracking_uri="databricks")
    assert (placed.datasets, placed.predictions, placed.mlflow_uri) == (tmp_path / "d", Path("/o"), "databricks")


def test_settings_do_not_change() -> None:
    found = settings.load("dev")
    with pytest.raises(ValueError, match="frozen"):
        found.schema_name = "other"  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        found.data.min_rows = 3  # type: ignore[misc]


@pytest.mark.parametrize("env", ["dev", "staging", "prod"])
def test_each_environment_of_the_repository_is_valid(env: str) -> None:
    assert settings.load(env).env == env
    own = yaml.safe_load((ROOT / "config" / f"{env}.yaml").read_text())
    for key, (_, origin) in settings.origins(env).items():
        assert (origin == f"config/{env}.yaml") == _has(own, key)


def _has(values: dict[str, Any], key: str) -> bool:
    """Whether a nested value is named: `gate.selftest`."""
    first, _, rest = key.partition(".")
    return first in values and (not rest or _has(values[first], rest))


def test_a_request_says_which_argument_is_wrong() -> None:
    assert settings.checked(DataRules, min_rows="5").min_rows == 5
    with pytest.raises(ConfigError, match=r"min_rows=2: .*See --help"):
        settings.checked(DataRules, min_rows=2)


def test_the_platform_databricks_reads_its_file_and_keeps_everything_on_the_volume(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLOPS_PLATFORM", "databricks")
    config = settings.load("staging")
    assert (config.mlflow_uri, config.registry_uri) == ("databricks", "databricks-uc")
    assert config.datasets == Path("/Volumes/staging/ml/mlops/data")
    assert config.predictions == Path("/Volumes/staging/ml/mlops/predictions")
    monkeypatch.setenv("MLOPS_DATABRICKS__VOLUME", "news")
    assert settings.load("staging", catalog="main", schema_name="x").datasets == Path("/Volumes/main/x/news/data")
    assert settings.load("staging", data_root="/Volumes/a/b/c").datasets == Path("/Volumes/a/b/c")


def test_the_job_of_a_step_has_a_name_that_the_settings_may_change() -> None:
    config = settings.load("prod", databricks={"jobs": {"train": "mine"}})
    assert [config.databricks.job(config.env, step) for step in ("train", "infer")] == ["mine", "prod-mlops-infer"]


@pytest.mark.parametrize(
    "rules",
    [
        {"jobs": {"promote": "x"}},
        {"notebooks": {"train": "relative/path"}},
        {"timeout_seconds": 0},
        {"poll_seconds": 0},
        {"credentials": "Not A Block"},
        {"volume": "../elsewhere"},
        {"token": "dapi"},
    ],
    ids=lambda rules: next(iter(rules)),
)
def test_what_databricks_could_not_do_is_refused(rules: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"databricks.{next(iter(rules))}"):
        settings.load("dev", databricks=rules)


def test_what_is_written_like_a_name_or_a_time_is_none_of_yamls_numbers() -> None:
    read = yaml_files.load("{name: 007, at: 12:30, rows: 1_000, seed: 0, low: -3, high: 0x10}")
    assert read == {"name": "007", "at": "12:30", "rows": 1000, "seed": 0, "low": -3, "high": 16}
