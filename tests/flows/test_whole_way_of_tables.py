"""A table of a team's own, with no code: proposed, released, a worse model refused, a better one in, back, scored."""

from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cli.main import app
from flows.batch_inference import batch_inference
from flows.release import release
from flows.rollback import rollback
from flows.train import train
from lifecycle import settings
from lifecycle.registry import promotion
from lifecycle.registry.store import target_of


def customers(count: int = 900) -> pd.DataFrame:
    """Customers who left or stayed: by how long they are there, their contract and their bill, some at random."""
    rng = np.random.default_rng(5)
    rows = pd.DataFrame(
        {
            "customer": [f"c{number:04d}" for number in range(count)],
            "tenure": rng.integers(0, 72, count),
            "contract": rng.choice(["monthly", "yearly"], count),
            "bill": rng.uniform(20, 120, count).round(2),
            "senior": rng.integers(0, 2, count),
        }
    )
    leaves = (rows["tenure"] < 24) & (rows["contract"] == "monthly") | (rows["bill"] > 110)
    noise = rng.random(count) < 0.05
    rows["churn"] = np.where(leaves ^ noise, "Yes", "No")
    rows.loc[rng.choice(count, 20, replace=False), "bill"] = np.nan
    return rows


def rentals(count: int = 900) -> pd.DataFrame:
    """Rides with their price, which depends on distance and hour."""
    rng = np.random.default_rng(6)
    rows = pd.DataFrame(
        {
            "distance": rng.uniform(0.5, 20, count).round(2),
            "hour": rng.integers(0, 24, count),
            "zone": rng.choice(["centre", "north", "south"], count),
            "at": pd.date_range("2026-01-01", periods=count, freq="3h").astype(str),
        }
    )
    rows["price"] = (4 + 2 * rows["distance"] + 5 * (rows["hour"] > 20) + rng.normal(0, 1, count)).round(2)
    return rows.sample(frac=1, random_state=1)


Way = tuple[Callable[[], pd.DataFrame], str, str, str, dict[str, int]]
WAYS: list[Way] = [
    (customers, "churn", "tabular-classification", "label", {"max_iter": 30, "max_depth": 1}),
    (rentals, "price", "tabular-regression", "prediction", {"max_iter": 12, "max_depth": 2}),
]
"""Each with the parameters of a model that has learnt something, and not much."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which a person works."""
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("MLOPS_CONFIG_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


CLASSES, NUMBERS = WAYS
"""The tutorial goes the way of classes too, by commands."""


@pytest.mark.parametrize(
    ("table", "target", "problem", "answer", "weak"),
    [pytest.param(*CLASSES, id="classes", marks=pytest.mark.exhaustive), pytest.param(*NUMBERS, id="numbers")],
)
@pytest.mark.usefixtures("replayed_here")
def test_a_table_goes_the_whole_way_without_code(
    project: Path, table: Callable[[], pd.DataFrame], target: str, problem: str, answer: str, weak: dict[str, int]
) -> None:
    rows = table()
    rows.to_csv("orders.csv", index=False)
    proposed = CliRunner().invoke(app, ["init", "orders.csv", "--yes", "--target", target])
    assert proposed.exit_code == 0, proposed.output
    assert f"problem: {problem}" in (project / "config/models/orders.yaml").read_text(encoding="utf-8")

    first = release(params=weak)
    assert not first.refused, [admission.message for admission in first.admissions]
    assert first.dataset.problem == problem

    worse = train(params={"max_iter": 1, "max_depth": 1})
    assert worse.refused
    assert worse.verdict is not None
    assert worse.verdict.decision == "worse"

    better = release()
    assert [admission.promotion is not None for admission in better.admissions] == [True] * 3, better.admissions
    config = settings.load("prod")
    champion = promotion.champion(target_of(config, "orders"))
    assert champion is not None
    assert champion.version == 2

    back = rollback(env="prod", reason="the test")
    assert back.champion == 1
    batch = batch_inference(input=str(project / "orders.csv"), table=None)
    assert (batch.manifest.model_version, batch.manifest.scored) == (1, len(rows))
    parts = pd.concat(pd.read_parquet(Path(batch.folder) / name) for name in batch.manifest.parts if "part" in name)
    assert set(parts["model_name"]) == {"prod.ml.orders"}

    champion = promotion.champion(target_of(config, "orders"))
    assert champion is not None
    mlflow.set_tracking_uri(champion.tracking_uri)
    plain = mlflow.pyfunc.load_model(champion.uri).predict(rows.drop(columns=target))
    assert plain[answer].tolist() == parts.sort_values("row")[answer].tolist()
