"""SIGKILL at random side effects of train, promote and infer: the rerun ends where an undisturbed run ends.

Promise: SIGKILL during train, promote or infer: the rerun ends where an undisturbed run ends, nothing twice.
"""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flows.train import train
from lifecycle import settings
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.registry import log, promotion, store
from lifecycle.registry.store import target_of
from lifecycle.tracking import client as tracking
from lifecycle.tracking import runs as training_runs
from tests.conftest import tree, write_news
from tests.faults.flow_orders import carry_out
from tests.zygote import zygote

pytestmark = pytest.mark.timeout(1800)  # what one kill costs depends on the machine, and `make test-all` has 50 of them

KILLS = int(os.environ.get("TEST_KILLS", "1"))
SEED = int(os.environ.get("TEST_SEED", random.randrange(10**6)))
NEWS: dict[str, Any] = {"data_name": "news", "data_version": "1.0.0", "model_name": "sentiment"}
WEAK: dict[str, Any] = {"model_type": "random_forest", "model_params": {"max_depth": 1, "n_estimators": 1}}
RULES = {
    "MLOPS_GATE__REUSE": "count",
    "MLOPS_GATE__MIN_ROWS": "20",
    "MLOPS_INFERENCE__ROWS_PER_PART": "100",
    "MLOPS_INFERENCE__WORKERS": "1",
}
IMPORTED = (
    "flows.batch_inference",
    "flows.promote",
    "flows.train",
    "lifecycle.data.expectations",
    "matplotlib.figure",
    "mlflow.pyfunc",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "skops.io",
)

Run = Callable[[Path, str, dict[str, Any], int | None], tuple[int, int]]


@pytest.fixture(scope="module")
def run(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run a flow on a state directory in a fresh child; returns its exit code and how many side effects it had."""
    count_file = tmp_path_factory.mktemp("orders") / "count"
    environment = {**os.environ, "PREFECT_API_URL": server, "PREFECT_LOGGING_LEVEL": "ERROR"}
    with zygote(*IMPORTED, environment=environment) as process:

        def order(home: Path, flow: str, parameters: dict[str, Any], kill_at: int | None) -> tuple[int, int]:
            env = {"MLOPS_HOME": str(home), **RULES}
            what = {
                "flow": flow,
                "parameters": parameters,
                "kill_at": kill_at,
                "env": env,
                "count_file": str(count_file),
            }
            count_file.write_text("0")
            return process.run(carry_out, what), int(count_file.read_text())

        yield order


@pytest.fixture(scope="module")
def template(run: Run, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory in which dev has a good champion, staging and prod a weak one."""
    home = _copy(prepared, tmp_path_factory.mktemp("template") / "home")
    assert run(home, "train", {**NEWS, **WEAK}, None)[0] == 0
    assert run(home, "promote", {"model_name": "sentiment"}, None)[0] == 0
    return home


def _copy(source: Path, target: Path) -> Path:
    """Copy a state directory; where MLflow keeps absolute paths they are rewritten."""
    shutil.copytree(source, target)
    database = target / "mlflow.db"
    import sqlite3

    with sqlite3.connect(database) as connection:
        places = [
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("logged_models", "artifact_location"),
        ]
        places += [("model_versions", "storage_location")]
        for table, column in places:
            connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(source), str(target)))  # noqa: S608
    connection.close()
    return target


def _kill_and_rerun(
    run: Run, template: Path, tmp_path: Path, flow: str, parameters: dict[str, Any], state: Callable[[Path], Any]
) -> None:
    """Enumerate the side effects of an undisturbed run, then kill before random ones and compare after the rerun."""
    undisturbed = _copy(template, tmp_path / "undisturbed")
    code, effects = run(undisturbed, flow, parameters, None)
    assert (code, effects > KILLS) == (0, True)
    wanted = state(undisturbed)
    for kill_at in sorted(random.Random(SEED).sample(range(1, effects + 1), min(KILLS, effects))):
        home = _copy(template, tmp_path / f"killed-{kill_at}")
        assert run(home, flow, parameters, kill_at)[0] == -9, f"seed {SEED}, effect {kill_at} of {effects}"
        assert run(home, flow, parameters, None)[0] == 0, f"seed {SEED}, effect {kill_at} of {effects}"
        assert state(home) == wanted, f"seed {SEED}, effect {kill_at} of {effects}"
        shutil.rmtree(home)


def test_train(run: Run, template: Path, tmp_path: Path) -> None:
    def state(home: Path) -> Any:
        uri = settings.load("dev", home=home).mlflow_uri
        client = tracking.client(uri)
        runs = client.search_runs([client.get_experiment_by_name("sentiment-dev").experiment_id])
        finished = [r.data.tags[training_runs.TRAIN_KEY] for r in runs if r.info.status == "FINISHED"]
        running = [r for r in runs if r.info.status == "RUNNING"]
        return _registry(home), len(finished), len(set(finished)), len(running)

    _kill_and_rerun(run, template, tmp_path, "train", {**NEWS, "model_type": "naive_bayes"}, state)


def test_promote(run: Run, template: Path, tmp_path: Path) -> None:
    good = _copy(template, tmp_path / "good")
    assert run(good, "train", {**NEWS, "model_type": "naive_bayes"}, None)[0] == 0
    _kill_and_rerun(run, good, tmp_path, "promote", {"model_name": "sentiment"}, _registry)


def test_infer(run: Run, template: Path, tmp_path: Path) -> None:
    table = write_news(tmp_path / "batch.csv", 1000)
    parameters = {"model_name": "sentiment", "env": "staging", "input": str(table)}

    def state(home: Path) -> Any:
        published = {n: data for n, data in tree(home / "predictions").items() if not n.endswith(".lock")}
        return published, [p.name for p in (home / "predictions").rglob(".partial-*")]

    _kill_and_rerun(run, template, tmp_path, "batch_inference", parameters, state)


def _registry(home: Path) -> Any:
    """Each model's log as far as it does not depend on chance, its champion's predictions, and no key twice."""
    found = {}
    for env in ("dev", "staging", "prod"):
        config = settings.load(env, home=home)
        target = target_of(config, "sentiment")
        versions = store.versions(target)
        keys = [version.tags[log.KEY] for version in versions]
        assert len(keys) == len(set(keys))
        now = promotion.read_log(target)
        entries = [(e.number, e.kind, e.expected, e.target, e.outcome) for e in now.applied]
        champion = _predictions(config, now.champion, target) if now.champion else None
        found[env] = (entries, len(versions), store.alias_version(target), champion)
    return found


def _predictions(config: settings.Settings, number: int, target: promotion.Target) -> list[tuple[str, float]]:
    ref = promotion.reference(target, number)
    stored: pd.DataFrame = evaluation.stored(evaluation.request_for(ref, config.datasets, "news", "1.0.0"))
    return list(zip(stored["label"], stored["score"], strict=True))


def test_the_template_is_what_the_tests_assume(template: Path) -> None:
    """Flows are imported here only to be sure that the names in the orders exist."""
    assert train.name == "train"
    assert promotion.read_log(target_of(settings.load("staging", home=template), "sentiment")).champion == 1
