"""`mlops-step`, which a Databricks job runs: what its command line takes, and how it fails."""

import json
from pathlib import Path

import pytest

from lifecycle.core.errors import ConfigError, DataError
from lifecycle.data import dataset
from lifecycle.data.source import Source
from lifecycle.jobs import steps
from lifecycle.settings import Settings
from tests.conftest import write_news


def step(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["mlops_lifecycle", *arguments])
    steps.main()


def create(config: Settings, source: Path) -> str:
    return dataset.plan(config, Source(uri=str(source)), data_name="news", data_version="1.0.0").model_dump_json()


def test_a_request_travels_as_text_or_in_a_file(
    config: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = create(config, write_news(tmp_path / "news.csv"))
    step(monkeypatch, "create-data", request)
    made = dataset.load(config.datasets, "news", "1.0.0")
    assert made.rows_in == 240
    (tmp_path / "request.json").write_text(request, encoding="utf-8")
    step(monkeypatch, "create-data", f"@{tmp_path / 'request.json'}")
    assert dataset.load(config.datasets, "news", "1.0.0") == made


def test_an_error_of_ours_leaves_as_it_is(config: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "news.csv").write_text("text,label\nonly one,a\n")
    with pytest.raises(DataError, match=r"news\.csv: 1 data rows are fewer"):
        step(monkeypatch, "create-data", create(config, tmp_path / "news.csv"))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "A step and its request are needed"),
        (["train"], "A step and its request are needed"),
        (["train", ""], "A step and its request are needed"),
        (["train", "{}", "scope", "more"], "A step and its request are needed"),
        (["predict", "{}"], "'predict' is not a step: there are create-data, train, evaluate, infer"),
        (["train", "{"], "not a request of the step train: the whole: Invalid JSON"),
        (["train", "{}"], "not a request of the step train: data_name: Field required"),
        (["train", json.dumps({"of": "a later version"})], "mlops databricks deploy"),
        (["train", "@/nowhere/request.json"], "/nowhere/request.json"),
    ],
)
def test_what_is_no_step_or_no_request_of_it(arguments: list[str], why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=why):
        step(monkeypatch, *arguments)
