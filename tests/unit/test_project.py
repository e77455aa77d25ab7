"""Which deployments a project has: those of its own file, else those of each model that it defines."""

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli import runner
from cli.main import main
from cli.operations import deployments, project
from lifecycle import settings
from lifecycle.core.errors import ConfigError
from lifecycle.core.names import Environment
from lifecycle.settings import definitions, files
from tests.conftest import ROOT

SHIPPED = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
SHARED = [entry for entry in SHIPPED if entry["name"] in {*Environment} and "reconcile" in entry["entrypoint"]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two models; the working directory is below it."""
    models = tmp_path / "config" / "models"
    models.mkdir(parents=True)
    (models / "bikes.yaml").write_text(
        "data: {name: rides, source: hour.csv}\ninference: {source: 'inbox/{logical_date}.csv'}"
    )
    (models / "churn.yaml").write_text("data: {name: customers}")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    return tmp_path


def by_name(entries: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(entry["entrypoint"], entry["name"]): entry for entry in entries}


def test_each_model_gets_the_shipped_deployments(place: Path) -> None:
    entries = project.deployments()
    assert project.folder() == place
    assert len(by_name(entries)) == len(entries) == 2 * (len(SHIPPED) - len(SHARED)) + len(SHARED)
    for entry in entries:
        module, _, function = entry["entrypoint"].rpartition(".")
        assert getattr(importlib.import_module(module), function).name
        assert not {"data_name", "data_version", "input", "text_column"} & entry["parameters"].keys()
    train = by_name(entries)["flows.train.train", "churn-dev"]
    assert train["parameters"] == {"env": "dev", "model_name": "churn"}
    assert train["tags"] == ["mlops", "env:dev", "model:churn"]
    retrain = by_name(entries)["flows.retrain.retrain", "churn-dev"]
    assert retrain["parameters"].keys() == {"env", "model_name", "time_zone"}
    (trigger,) = retrain["triggers"]
    assert (trigger["match"], trigger["name"]) == (
        {"prefect.resource.id": "mlops.model.dev.ml.churn"},
        "mlops: retrain after drift: churn",
    )
    assert by_name(entries)["flows.release.release", "bikes-all"]["parameters"] == {"model_name": "bikes"}


def test_schedules_are_off_unless_they_are_set_and_a_batch_without_a_table_has_none(place: Path) -> None:  # noqa: ARG001
    entries = by_name(project.deployments())
    batch = "flows.batch_inference.batch_inference"
    assert [schedule["active"] for schedule in entries[batch, "bikes-prod"]["schedules"]] == ["{{ $SCHEDULES_PROD }}"]
    assert entries[batch, "churn-prod"]["schedules"] == []
    assert entries["flows.rollback.rollback", "churn-rehearsal-prod"]["schedules"]


def test_schedules_keep_the_times_and_the_zone_of_the_settings(place: Path) -> None:
    (place / "config" / "prod.yaml").write_text(
        "schedule: {time_zone: America/New_York, times: {batch-inference: '15 6 * * 1-5', rollback: '0 2 * * 6'}}\n"
        "models: {churn: {schedule: {times: {monitor: '0 12 * * *'}}}}"
    )
    entries = by_name(project.deployments())
    batch, rehearsal = "flows.batch_inference.batch_inference", "flows.rollback.rollback"
    active = "{{ $SCHEDULES_PROD }}"
    assert entries[batch, "bikes-prod"]["schedules"] == [
        {"slug": "daily", "timezone": "America/New_York", "active": active, "cron": "15 6 * * 1-5"}
    ]
    assert entries[batch, "bikes-prod"]["parameters"]["time_zone"] == "America/New_York"
    (saturdays,) = entries[rehearsal, "bikes-rehearsal-prod"]["schedules"]
    assert (saturdays["cron"], saturdays["timezone"]) == ("0 2 * * 6", "America/New_York")
    (noon,) = entries["flows.monitor.monitor", "churn-prod"]["schedules"]
    assert (noon["cron"], noon["timezone"]) == ("0 12 * * *", "America/New_York")
    (shipped,) = entries[batch, "bikes-staging"]["schedules"]
    assert (shipped["cron"], shipped["timezone"]) == ("0 6 * * *", "Europe/Helsinki")


@pytest.mark.parametrize(
    "schedule",
    ["{time_zone: Mars/Olympus}", "{time_zone: ../zone}", "{times: {train: daily}}", "{times: {release: '0 0 * * *'}}"],
)
def test_a_zone_or_a_time_that_is_none_is_refused(place: Path, schedule: str) -> None:
    (place / "config" / "dev.yaml").write_text(f"schedule: {schedule}")
    with pytest.raises(ConfigError, match="schedule"):
        project.deployments()


def test_times_that_a_file_of_its_own_leaves_unread_are_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "config" / "prod.yaml").write_text("schedule: {time_zone: America/New_York}")
    (place / "prefect.yaml").write_text("deployments: []")
    monkeypatch.chdir(place)
    with pytest.raises(ConfigError, match="schedule, and this project writes its own"):
        deployments.deploy([settings.load("prod")])


def test_the_names_of_an_environment_match_its_patterns_and_no_others(place: Path) -> None:  # noqa: ARG001
    for entry in project.deployments():
        env = entry["name"].rpartition("-")[2]
        matching = {
            other
            for other in Environment
            if any(Path(f"flow/{entry['name']}").match(pattern) for pattern in deployments._patterns(other))
        }
        assert matching == {Environment.PROD if env == "all" else Environment(env)}


def test_a_file_of_its_own_wins(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "prefect.yaml").write_text("deployments: [{name: mine, entrypoint: a.py:b, parameters: {}}]")
    assert [entry["name"] for entry in project.deployments()] == ["mine"]
    assert project.folder() == place
    with project.file() as file:
        assert file == place / "prefect.yaml"
    assert project.deployment_name("train", "dev", "bikes") == "train/dev"
    (place / "below" / "prefect.yaml").write_text("deployments: []")
    assert project.folder() == place / "below"
    assert project.read(project.AUTOMATIONS)["automations"]  # the shipped one
    monkeypatch.chdir(ROOT)
    assert project.deployments() == SHIPPED
    assert project.folder() == ROOT


def test_what_prefect_reads_says_the_same_and_is_gone_at_the_end(place: Path) -> None:  # noqa: ARG001
    with project.file() as file:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert content["deployments"] == project.deployments()
    assert content["pull"] == [{"prefect.deployments.steps.set_working_directory": {"directory": "{{ $PROJECT_DIR }}"}}]
    assert not file.exists()


def test_a_deployment_is_named_by_its_model(place: Path) -> None:
    assert project.deployment_name("batch-inference", "prod", "churn") == "batch-inference/churn-prod"
    with pytest.raises(ConfigError, match="bikes, churn"):
        project.deployment_name("batch-inference", "prod", None)
    (place / "config" / "models" / "churn.yaml").unlink()
    assert project.deployment_name("batch-inference", "prod", None) == "batch-inference/bikes-prod"


def test_without_a_model_a_package_says_how_to_define_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert project.folder() == ROOT  # of a checkout
    monkeypatch.setattr(project, "SHIPPED", tmp_path / "site-packages")
    with pytest.raises(ConfigError, match="mlops init TABLE"):
        project.folder()


def test_a_secret_in_a_definition_is_not_stored_with_a_deployment(place: Path) -> None:
    (place / "config" / "models" / "churn.yaml").write_text("data: {name: a, source: 'https://joe:CANARY@h/a.csv'}")
    with pytest.raises(ConfigError) as refused:
        deployments.deploy([])
    assert ("churn.yaml" in str(refused.value), "CANARY" in str(refused.value)) == (True, False)


def test_looking_where_nothing_is_makes_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["model", "list"], ["doctor"], ["history", "--model-name", "mood"], ["runs", "--model-name", "mood"]):
        monkeypatch.setattr(sys, "argv", ["mlops", *words])
        with pytest.raises(SystemExit) as end:
            main()
        assert (end.value.code, "is in no project" in capsys.readouterr().err) == (2, True)
    monkeypatch.setattr(sys, "argv", ["mlops", "history", "--model-name", "it's"])
    with pytest.raises(SystemExit) as end:
        main()
    assert (end.value.code, "is not a model name" in capsys.readouterr().err) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_what_lies_on_a_server_is_looked_at_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLOPS_TRACKING_URI", "http://127.0.0.1:9")
    assert runner.existing(Environment("dev"), "mood").tracking_uri == "http://127.0.0.1:9"


def test_what_is_never_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert files.unread() == [], "what is shipped is what a checkout uses"
    monkeypatch.chdir(tmp_path)
    assert files.unread() == []
    (tmp_path / "config" / "models").mkdir(parents=True)
    for name in ("base.yaml", "models/mood.yml", "models/mood.yaml", "prod.yaml", "expectations/news.json"):
        (tmp_path / "config" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "config" / name).write_text("{}")
    said = " ".join(files.unread())
    assert [name for name in ("base.yaml", "mood.yml", "mood.yaml is", "prod.yaml is", "news") if name in said] == [
        "base.yaml",
        "mood.yml",
    ]
    (tmp_path / "config" / "prod.yaml").write_text("models: {mood: {}, modo: {gate: {min_rows: 500}}}")
    assert [said.partition(": ")[2] for said in definitions.unmatched()] == [
        "models.modo is of no model that is defined: mood."
    ]
    (tmp_path / "config" / "models").rename(tmp_path / "config" / "model")
    assert "config is not used: it has neither dev.yaml nor models/" in files.unread()[0]


def test_a_project_gets_workflows_that_start_its_own_deployments(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "config" / "models" / "churn.yaml").unlink()

    def init(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["mlops", "init", "--github", *words])
        with pytest.raises(SystemExit) as end:
            sys.exit(main())
        return int(end.value.code or 0)

    assert init() == 0
    written = {path.stem: path.read_text(encoding="utf-8") for path in (place / ".github" / "workflows").iterdir()}
    assert set(written) == {"create-data", "train", "promote", "rollback", "inference", "deploy"}
    assert not any("run: make" in text or "make -C" in text or "databricks deploy" in text for text in written.values())
    started = {trigger for text in written.values() for trigger in re.findall('mlops trigger "(.+?)"', text)}
    assert "train/$MODEL_NAME-$TARGET_ENV" in started
    assert "inputs.model_name || 'bikes'" in written["train"]
    known = {
        f"{entry['entrypoint'].rpartition('.')[2].replace('_', '-')}/{entry['name']}" for entry in project.deployments()
    }
    filled = {name.replace("$MODEL_NAME", "bikes").replace("$TARGET_ENV", "prod") for name in started}
    assert filled <= known, "each is a deployment that the project has"
    (place / ".github" / "workflows" / "train.yml").write_text("mine", encoding="utf-8")
    assert init() == 2, "nobody is there to say yes"
    assert "Write over train.yml" in capsys.readouterr().err
    assert init("--force") == 0
    assert (place / ".github" / "workflows" / "train.yml").read_text(encoding="utf-8") == written["train"]
