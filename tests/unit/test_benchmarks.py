"""The benchmark compares like with like: round by round, and a bare script that does the same job."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from benchmarks import run, scale
from benchmarks.run import Bench, Run
from tests.conftest import ROOT, SAMPLE, exhaustive


def test_ratios_are_of_the_same_round() -> None:
    """A machine that is three times slower in one round must not change them."""
    runs = [
        Run(way, "cold", wall * factor, wall * 2)
        for factor in (1, 3, 1)
        for way, wall in (("bare", 10.0), ("embedded", 12.0))
    ]
    assert run._medians(runs, "embedded", "cold") == (12.0, 24.0, pytest.approx(1.2), 1.2)
    assert run._medians(runs, "bare", "cold")[2:] == (1.0, 1.0)


def test_a_way_whose_processes_are_not_ours_has_no_cpu_time() -> None:
    runs = [Run("bare", "warm", 10.0, 9.0), Run("worker", "warm", 15.0, None)]
    assert run._medians(runs, "worker", "warm") == (15.0, None, 1.5, None)


def test_settings_from_outside_do_not_reach_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_GATE__FLOORS", "{}")
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere/api")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://elsewhere")
    environment = Bench(SAMPLE, tmp_path).environment("embedded")
    foreign = {name for name in environment if name.startswith(("MLOPS_", "PREFECT_", "MLFLOW_"))}
    assert foreign == {"MLOPS_HOME", "MLFLOW_DISABLE_TELEMETRY"}


def test_the_reference_job_is_a_command() -> None:
    command = [sys.executable, "-m", "benchmarks.reference", "reference", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "--clock" in done.stdout) == (0, True), done.stderr


@exhaustive
def test_the_bare_script_trains_compares_promotes_and_scores(tmp_path: Path) -> None:
    bench = Bench(SAMPLE, tmp_path)
    state = bench.home("bare")
    for version, params in (("1.0.0", run.WEAK), ("2.0.0", "{}")):
        command = [sys.executable, "benchmarks/bare.py", str(SAMPLE), str(state), version, params]
        done = subprocess.run(command, cwd=ROOT, env=bench.environment("bare"), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    database = f"sqlite:///{state}/mlflow.db"
    mlflow = MlflowClient(database, database)
    assert mlflow.get_model_version_by_alias("dev.ml.sentiment", "champion").version == 2
    assert json.loads(mlflow.get_model_version("dev.ml.sentiment", "2").tags["gain"])[0] > 0
    predictions = pd.read_parquet(state / "predictions" / "2.0.0" / "predictions.parquet")
    assert len(predictions) == pd.read_csv(SAMPLE)["Sentence"].count()
    assert set(predictions["label"]) == {"negative", "neutral", "positive"}


def test_the_figures_of_the_page_are_those_that_were_measured() -> None:
    text = scale.PAGE.read_text(encoding="utf-8")
    assert scale.with_figures(text, json.loads(scale.FIGURES.read_text())) == text, "python -m benchmarks.scale --write"
