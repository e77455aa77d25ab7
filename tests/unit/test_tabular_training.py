"""A training on a dataset version of a table: what its run records, what is refused, what is loaded again."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle.core.errors import ConfigError, DataError, IntegrityError
from lifecycle.core.references import ModelRef
from lifecycle.models import loading
from lifecycle.problems.contract import Estimator
from lifecycle.problems.tabular import estimators, importance
from lifecycle.settings import Settings
from lifecycle.tracking import artifacts, runs
from lifecycle.tracking import client as tracking
from lifecycle.training import train as training
from tests.conftest import some
from tests.tables import INPUTS, sales, train_table, write_version

NAMES = tuple(column.name for column in INPUTS)


@pytest.mark.parametrize("problem", ["tabular-classification", "tabular-regression"])
def test_a_run_records_what_it_was_made_of(config: Settings, problem: Any) -> None:
    manifest = write_version(config, problem)
    ref = train_table(config, seed=4, max_iter=30)
    client = tracking.client(config.mlflow_uri)
    run = client.get_run(ref.run_id)
    assert run.data.tags["mlops.problem"] == problem
    assert {
        "model_type": "hist_gradient_boosting",
        "seed": "4",
        "model.max_iter": "30",
    }.items() <= run.data.params.items()
    assert run.data.params["model.random_state"] == "4"
    inputs = {(i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs}
    assert inputs == {(f"sales-1.0.0-{split}", manifest.digest[:32]) for split in ("train", "test")}
    plots = {file.path.removeprefix("plots/") for file in client.list_artifacts(ref.run_id, "plots")}
    if problem == "tabular-classification":
        assert run.data.metrics["test.f1_macro"] > 0.8
        assert {"train.accuracy", "test.recall.high"} <= run.data.metrics.keys()
        assert plots == {"confusion_matrix.png", "pr_roc.png", "importance.png"}
    else:
        assert run.data.metrics["test.r2"] > 0.8
        assert {"train.root_mean_squared_error", "test.mean_absolute_error"} <= run.data.metrics.keys()
        assert plots == {"residuals.png", "predicted_actual.png", "importance.png"}
    table = pd.read_csv(client.download_artifacts(ref.run_id, "importance.csv"))
    assert set(table["input"]) == set(NAMES)
    assert table["input"][0] == "size"


def test_the_same_training_again_finds_its_run_and_another_algorithm_does_not(config: Settings) -> None:
    write_version(config, "tabular-regression")
    first = train_table(config, "linear_regression")
    assert train_table(config, "linear_regression") == first
    assert train_table(config, "linear_regression", alpha=2.0).run_id != first.run_id
    assert loading.load(first).inputs == NAMES


def test_the_example_that_is_kept_is_nobodys_row(config: Settings, tmp_path: Path) -> None:
    write_version(config, "tabular-regression")
    folder = artifacts.download(config.mlflow_uri, train_table(config, "linear_regression").uri, tmp_path)
    example = json.loads((folder / "input_example.json").read_text())
    assert tuple(example["columns"]) == NAMES
    known = {tuple(map(str, row)) for row in sales()[[*NAMES]].to_numpy().tolist()}
    assert not known & {tuple(map(str, row)) for row in example["data"]}


def _scaled_forest(**params: Any) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(n_estimators=5, **params)


def test_an_algorithm_is_one_entry_of_the_table(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    write_version(config, "tabular-classification")
    entry = Estimator(_scaled_forest, {"max_depth": 3}, ("numpy.dtype", "sklearn.tree._tree.Tree"))
    monkeypatch.setitem(estimators.CLASSIFIERS, "extra_trees", entry)
    model = loading.load(train_table(config, "extra_trees", seed=2, min_samples_leaf=3))
    assert type(model.pipeline[-1]).__name__ == "ExtraTreesClassifier"
    assert model.pipeline[-1].random_state == 2


def _unknown_types(**params: Any) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(algorithm="kd_tree", **params)


def test_types_that_are_not_trusted_are_refused_before_a_run_holds_a_model(
    config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_version(config, "tabular-classification")
    monkeypatch.setitem(estimators.CLASSIFIERS, "neighbours", Estimator(_unknown_types))
    wanted = training.Training(data_name="sales", data_version="1.0.0", model_name="m", algorithm="neighbours")
    request = training.plan(config, wanted)
    with pytest.raises(ConfigError, match=r"neighbours holds types that are not trusted: .*KDTree.*trusted_types"):
        training.train(request)
    run = tracking.client(config.mlflow_uri).get_run(request.run_id)
    assert run.info.status == "FAILED"
    assert runs.MODEL_URI not in run.data.tags


def test_an_algorithm_of_another_problem_opens_no_run(config: Settings) -> None:
    write_version(config, "tabular-regression")
    with pytest.raises(ConfigError, match=r"no algorithm 'naive_bayes'.*linear_regression"):
        train_table(config, "naive_bayes")
    assert tracking.client(config.mlflow_uri).search_experiments(filter_string="name LIKE 'prices%'") == []


def test_what_was_requested_by_an_earlier_release_is_read() -> None:
    stored = {"tracking_uri": "sqlite:///m.db", "run_id": "r", "data_root": "/data", "data_name": "news"}
    stored |= {"data_version": "1.0.0", "model_name": "m", "model_type": "naive_bayes", "model_params": "{'alpha': 1}"}
    request = training.TrainRequest.model_validate(stored)
    assert (request.algorithm, request.params) == ("naive_bayes", {"alpha": 1})


@pytest.mark.parametrize("width", [100, 2_000])
def test_importance_takes_no_longer_for_a_wide_table(width: int) -> None:
    predicted: list[int] = []

    def answers(rows: pd.DataFrame) -> pd.DataFrame:
        predicted.append(len(rows))
        return rows[["c7"]].astype("float64")

    def loss(truth: Any, told: pd.DataFrame) -> float:
        return float((told["c7"] - truth).abs().mean())

    cells = np.random.default_rng(1).normal(size=(5_000, width))
    wide = pd.DataFrame(cells, columns=[f"c{n}" for n in range(width)])
    table = importance.measured(answers, loss, wide, wide["c7"])
    assert table["input"][0] == "c7"
    assert set(table["input"]) == set(wide)  # what was not measured is there, and says so
    assert (table["importance"].isna() == (table["rows"] == 0)).all()
    assert table["rows"].value_counts().to_dict() == {0: width - 40, 500: 40}
    assert sum(predicted) == 41 * 500
    assert len(predicted) <= 1 + 40 * 500 * width / 2_000_000 + 1


@pytest.mark.parametrize("follows", ["number", "moment", "category", "rare"])
def test_of_a_wide_table_the_columns_that_the_answers_follow_are_measured(follows: str) -> None:
    rng = np.random.default_rng(2)
    rows = pd.DataFrame(rng.normal(size=(500, 60)), columns=[f"c{n}" for n in range(60)])
    rows["number"] = rng.normal(size=500)
    rows.loc[::9, "number"] = np.nan
    rows["moment"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 9_999, 500), unit="min")
    rows["category"] = np.where(rng.random(500) < 0.5, "red", "green")
    rows["rare"] = [f"only {n}" for n in range(495)] + ["often"] * 5
    told = {
        "number": rows["number"].abs().fillna(9.0),
        "moment": (rows["moment"] - rows["moment"].min()).dt.days,
        "category": (rows["category"] == "red") * 1.0,
        "rare": (rows["rare"] == "often") * 1.0,
    }[follows]

    def answers(shuffled: pd.DataFrame) -> pd.DataFrame:
        lookup = dict(zip(rows[follows].astype(str), told, strict=True))
        return pd.DataFrame({"prediction": shuffled[follows].astype(str).map(lookup)})

    table = importance.measured(answers, lambda truth, of: float((of["prediction"] - truth).abs().mean()), rows, told)
    assert table["input"][0] == follows
    assert table["importance"].notna().sum() == 40


def test_of_answers_that_are_all_the_same_importance_is_none() -> None:
    rows = pd.DataFrame({f"c{n}": range(50) for n in range(60)})
    table = importance.measured(lambda of: pd.DataFrame({"p": [1.0] * len(of)}), lambda *_: 0.0, rows, rows["c0"])
    assert (table["importance"].dropna() == 0).all()


@pytest.fixture
def stored(config: Settings, tmp_path: Path) -> tuple[Path, ModelRef]:
    """The files of a regressor, and the reference to it."""
    write_version(config, "tabular-regression")
    ref = train_table(config, "linear_regression")
    return artifacts.download(config.mlflow_uri, ref.uri, tmp_path / "files"), ref


def read_again(folder: Path, ref: ModelRef) -> Any:
    """Load a folder as if it had been registered as it is now."""
    return loading.load_verified(folder, ref.model_copy(update={"artifact_sha256": loading.artifact_digest(folder)}))


@pytest.mark.parametrize(
    "content",
    some(
        "",
        "[]",
        '{"problem": "tabular-regression", "columns": []}',
        '{"problem": "chat", "columns": [{"name": "size", "kind": "numeric"}]}',
        '{"problem": "tabular-regression", "columns": [{"name": "size", "kind": "text"}]}',
        '{"problem": "tabular-regression", "columns": [%s, %s]}' % (('{"name": "size", "kind": "numeric"}',) * 2),
        '{"problem": "tabular-regression", "columns": [{"name": "size", "kind": "os.system"}]}',
        '{"problem": "tabular-regression", "columns": [{"name": 1, "kind": "numeric"}], "more": 1}',
        "[" * 100_000,
        " " * 2_000_000,
        always=5,
    ),
)  # fmt: skip
def test_a_damaged_list_of_columns_is_no_model(stored: tuple[Path, ModelRef], content: str) -> None:
    folder, ref = stored
    (folder / "artifacts" / "columns.json").write_text(content)
    with pytest.raises(IntegrityError, match=r"columns\.json cannot be read"):
        read_again(folder, ref)


def test_a_regressor_that_says_it_is_a_classifier_is_refused(stored: tuple[Path, ModelRef]) -> None:
    folder, ref = stored
    path = folder / "artifacts" / "columns.json"
    path.write_text(path.read_text().replace("tabular-regression", "tabular-classification"))
    with pytest.raises(IntegrityError, match="no classifier"):
        read_again(folder, ref)


def test_a_changed_file_is_noticed_before_it_is_read(stored: tuple[Path, ModelRef], config: Settings) -> None:
    _, ref = stored
    logged = tracking.client(config.mlflow_uri).get_logged_model(ref.uri.removeprefix("models:/"))
    path = Path(logged.artifact_location.removeprefix("file:")) / "artifacts" / "columns.json"
    path.write_text(path.read_text().replace("size", "mass"))
    with pytest.raises(IntegrityError, match="digest"):
        loading.load(ref)


def test_a_step_that_opens_files_or_holds_other_types_is_refused(stored: tuple[Path, ModelRef]) -> None:
    import skops.io
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer

    folder, ref = stored
    path = folder / "artifacts" / "pipeline.skops"
    opening = CountVectorizer(input="filename", vocabulary={"a": 0})
    skops.io.dump(Pipeline([("opens", opening), ("ridge", Ridge())]), path)
    with pytest.raises(IntegrityError, match="names of files"):
        read_again(folder, ref)
    skops.io.dump(Pipeline([("calls", FunctionTransformer(shutil.rmtree)), ("ridge", Ridge())]), path)
    with pytest.raises(IntegrityError, match=r"not trusted: shutil\.rmtree"):
        read_again(folder, ref)
    path.write_bytes(b"PK no archive")
    with pytest.raises(IntegrityError, match="not a pipeline stored with skops"):
        read_again(folder, ref)


def test_a_table_without_a_column_is_bad_data(stored: tuple[Path, ModelRef]) -> None:
    from lifecycle.core.refusals import refused_by_the_library

    folder, ref = stored
    model = read_again(folder, ref)
    with (
        pytest.raises(DataError, match="the column 'colour' is missing; the model reads size, colour"),
        refused_by_the_library("", DataError, ""),
    ):
        model.predict(None, sales(3).drop(columns="colour"))
