"""The benchmark compares like with like: round by round, and a bare script that does the same job."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from benchmarks import commands, performance, run
from benchmarks.processes import Measured
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


def test_the_page_of_figures_is_made_of_what_was_measured() -> None:
    assert performance.PAGE.read_text(encoding="utf-8") == performance.page(), "python -m benchmarks.performance"


def test_a_benchmark_writes_its_figures_and_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(performance.FIGURES, tmp_path / "figures")
    monkeypatch.setattr(performance, "FIGURES", tmp_path / "figures")
    monkeypatch.setattr(performance, "PAGE", tmp_path / "page.md")
    performance.keep("commands", 3, {}, {"history": commands.Cost(1.0, 0.9, 0.75, 1.25)})
    assert "| `mlops history` | 1.0 | 0.9 | 0.8 | **1.25** |" in (tmp_path / "page.md").read_text()
    assert performance.page() == (tmp_path / "page.md").read_text()


def test_what_a_command_costs_is_beside_the_same_round_of_plain_mlflow() -> None:
    ours = [Measured(2.0 * slow, 3.0, 0.0) for slow in (1, 3, 1)]
    plain = [Measured(1.0 * slow, 1.0, 0.0) for slow in (1, 3, 1)]
    assert commands.cost(ours, plain) == (3.0, 2.0, 1.0, 2.0)
    assert commands.cost(ours) == (3.0, 2.0, None, None)
