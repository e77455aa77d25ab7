"""Models that are made of a team's own code: fitted, stored with their code, trusted or not, loaded anywhere."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lifecycle.core.errors import ConfigError, IntegrityError
from lifecycle.core.references import ModelRef
from lifecycle.models import forms, loading
from lifecycle.settings import Settings
from lifecycle.tracking import artifacts, runs
from lifecycle.tracking import client as tracking
from lifecycle.training import train as training
from tests.conftest import exhaustive
from tests.tables import sales, write_version

MODELS = """
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from ours.shape import columns, spread


class Year(TransformerMixin, BaseEstimator):
    def __init__(self, factor=1.0):
        self.factor = factor

    def fit(self, inputs, target=None):
        self.mean_ = float(inputs["size"].mean())
        return self

    def transform(self, inputs):
        return columns(inputs, self.mean_) * self.factor


class Length(TransformerMixin, BaseEstimator):
    def fit(self, texts, labels=None):
        return self

    def transform(self, inputs):
        return pd.DataFrame({"length": inputs["text"].str.len(), "words": inputs["text"].str.count(" ")})


def whole(params, seed):
    return make_pipeline(Year(params.get("factor", 1.0)), Ridge())


def bare(params, seed):
    return Ridge(**params)


def plain(params, seed):
    return Pipeline([("numbers", ColumnTransformer([("size", SimpleImputer(), ["size"])])), ("r", Ridge())])


def with_function(params, seed):
    return make_pipeline(FunctionTransformer(spread), Ridge())


def open_seed(params, seed):
    return SGDClassifier(loss="log_loss")


def lengths(params, seed):
    return make_pipeline(Length(), LogisticRegression(**params))


def fails(params, seed):
    raise RuntimeError(f"nothing goes with {seed}")


def leaves(params, seed):
    raise SystemExit(0)


def no_estimator(params, seed):
    return {"not": "one"}


def a_class(params, seed):
    return Ridge


def no_probabilities(params, seed):
    return SGDClassifier(loss="hinge")


def with_lambda(params, seed):
    return make_pipeline(FunctionTransformer(lambda inputs: inputs[["size"]].fillna(0)), Ridge())


def with_local(params, seed):
    class Local(Year):
        pass

    return make_pipeline(Local(), Ridge())


def foreign_types(params, seed):
    from sklearn.neighbors import KNeighborsRegressor

    return make_pipeline(Year(), KNeighborsRegressor(algorithm="kd_tree"))


def cannot_fit(params, seed):
    return make_pipeline(FunctionTransformer(), Ridge())
"""
SHAPE = """
import pandas as pd


def columns(inputs, mean):
    parts = {"size": inputs["size"].fillna(mean), "year": inputs["sold"].dt.year.fillna(2024)}
    return pd.DataFrame({**parts, "red": inputs["colour"] == "red", "new": inputs["is_new"].fillna(0)}).astype(float)


def spread(inputs):
    return columns(inputs, 5.0)
"""
TRUST = ("ours",)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project" / "ours"
    folder.mkdir(parents=True)
    for name, text in {"__init__": "", "models": MODELS, "shape": SHAPE}.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder.parent)
    return folder


@pytest.fixture
def trusting(config: Settings) -> Settings:
    write_version(config, "tabular-regression")
    return config.model_copy(update={"trusted_modules": TRUST})


def planned(config: Settings, algorithm: str, data_name: str = "sales", **params: Any) -> training.TrainRequest:
    what = {"data_name": data_name, "data_version": "1.0.0", "model_name": "m", "seed": 3}
    return training.plan(config, training.Training(**what, algorithm=f"ours.models:{algorithm}", params=params))


def trained(config: Settings, algorithm: str, data_name: str = "sales", **params: Any) -> ModelRef:
    request = planned(config, algorithm, data_name, **params)
    training.train(request)
    found = runs.trained(config.mlflow_uri, request.run_id)
    return found.model_copy(update={"trusted_modules": config.trusted_modules})


PLAIN = """
import json, sys
import mlflow, pandas as pd
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
print(json.dumps(model.predict(pd.read_json(sys.stdin, orient="split", dtype=False)).to_dict("list")))
"""


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("algorithm", ["whole", pytest.param("with_function", marks=exhaustive)])
def test_a_model_takes_its_code_along(trusting: Settings, tmp_path: Path, algorithm: str) -> None:
    ref = trained(trusting, algorithm)
    rows = sales().drop(columns=["price", "class"]).head(40).astype(str)
    expected = loading.load(ref).predict(None, rows)
    assert expected["prediction"].nunique() > 20
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [sys.executable, "-P", "-c", PLAIN, trusting.mlflow_uri, ref.uri]
    given = rows.to_json(orient="split")
    done = subprocess.run(command, env=outside, cwd=tmp_path, input=given, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == expected.to_dict("list")
    loading.verify(ref)  # also after Python has kept what it compiled of the code in the store


@pytest.mark.usefixtures("project")
def test_a_factory_of_an_estimator_gets_our_features(trusting: Settings) -> None:
    model = loading.load(trained(trusting.model_copy(), "bare", alpha=0.5))
    assert [name for name, _ in model.pipeline.steps] == ["features", "estimator"]
    assert model.pipeline[-1].alpha == 0.5
    run = tracking.client(trusting.mlflow_uri).get_run(trained(trusting, "bare", alpha=0.5).run_id)
    assert run.data.params["model.alpha"] == "0.5"
    assert run.data.params["model_type"] == "ours.models:bare"


@pytest.mark.usefixtures("project")
def test_a_seed_that_is_left_open_is_the_one_that_was_given(config: Settings) -> None:
    write_version(config, "tabular-classification")
    model = loading.load(trained(config.model_copy(update={"trusted_modules": TRUST}), "open_seed"))
    assert model.pipeline[-1].random_state == 3
    assert set(model.predict(None, sales())["label"]) == {"high", "low"}


@pytest.mark.usefixtures("project")
def test_texts_have_own_pipelines_and_estimators_too(news: Settings) -> None:
    trusting = news.model_copy(update={"trusted_modules": TRUST})
    texts = pd.DataFrame({"text": ["profit rose", "the company will hold its meeting in the office"]})
    whole = loading.load(trained(trusting, "lengths", "news", C=2.0))
    assert whole.pipeline[-1].C == 2.0
    assert len(whole.predict(None, texts)) == 2
    behind = loading.load(trained(trusting, "open_seed", "news"))
    assert [name for name, _ in behind.pipeline.steps] == ["features", "classifier"]
    assert list(behind.predict(None, texts)["label"]) == ["positive", "neutral"]


def test_a_training_is_another_one_with_other_code(trusting: Settings, project: Path) -> None:
    first = trained(trusting, "whole")
    assert trained(trusting, "whole") == first
    before = loading.load(first)
    shape = project / "shape.py"
    shape.write_text(SHAPE.replace("fillna(2024)", "fillna(2000)"))
    second = trained(trusting, "whole")
    assert second.run_id != first.run_id
    tags = [tracking.client(trusting.mlflow_uri).get_run(ref.run_id).data.tags for ref in (first, second)]
    assert tags[0][training.CODE] != tags[1][training.CODE]
    assert tags[0][runs.DEFINITION] != tags[1][runs.DEFINITION]
    rows = sales().assign(sold=None)
    old, new = before.predict(None, rows), loading.load(second).predict(None, rows)
    assert not old.equals(new)
    forms._of_columns.cache_clear()  # type: ignore[attr-defined]
    assert loading.load(first).predict(None, rows).equals(old)


def test_code_that_changes_on_the_way_is_not_trained_with(trusting: Settings, project: Path) -> None:
    request = planned(trusting, "whole")
    (project / "shape.py").write_text(SHAPE + "\n")
    with pytest.raises(ConfigError, match=r"ours\.models:whole: its code digests to \w{12} here, the training was"):
        training.train(request)


@pytest.mark.usefixtures("project")
def test_no_code_runs_that_is_not_trusted(trusting: Settings, tmp_path: Path) -> None:
    distrustful = trusting.model_copy(update={"trusted_modules": ("ours.shape", "our")})
    with pytest.raises(ConfigError, match=r"ours\.models is not trusted in this environment.*trusted_modules"):
        planned(distrustful, "whole")
    assert not tracking.client(trusting.mlflow_uri).search_experiments(filter_string="name = 'm-dev'")
    ref = trained(trusting, "whole")
    for trust in ((), ("ours.shape",)):
        with pytest.raises(IntegrityError, match=r"types that are not trusted: ours\.models\.Year\. .*trusted_modules"):
            loading.load(ref.model_copy(update={"trusted_modules": trust}))
    folder = artifacts.download(trusting.mlflow_uri, ref.uri, tmp_path / "copy")
    shutil.rmtree(folder / "code")
    with pytest.raises(IntegrityError, match=r"types that are not trusted: ours\.models\.Year"):
        loading.load_verified(folder, ref.model_copy(update={"artifact_sha256": "of none"}))


@pytest.mark.usefixtures("project")
def test_a_model_of_the_librarys_parts_needs_no_trust_and_runs_no_code(trusting: Settings, tmp_path: Path) -> None:
    ref = trained(trusting, "plain")
    untrusting = ref.model_copy(update={"trusted_modules": ()})
    assert len(loading.load(untrusting).predict(None, sales())) == len(sales())
    folder = artifacts.download(trusting.mlflow_uri, ref.uri, tmp_path / "copy")
    assert {path.name for path in (folder / "code/ours").iterdir()} == {"__init__.py", "models.py", "shape.py"}
    (folder / "code/ours/models.py").write_text("raise SystemExit('ran')")
    (folder / "code/sklearn.py").write_text("raise SystemExit('ran')")
    loading.load_verified(folder, ref.model_copy(update={"artifact_sha256": "of none"}))


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("algorithm", "words"),
    [
        ("absent", r"ours\.models:absent: module 'ours\.models' has no attribute"),
        ("fails", r"ours\.models:fails: nothing goes with 3\."),
        ("leaves", r"ours\.models:leaves would end the process: SystemExit: 0\."),
        ("no_estimator", r"ours\.models:no_estimator gave a dict, which has no fit"),
        ("a_class", r"ours\.models:a_class gave the class Ridge"),
    ],
)
def test_a_factory_that_is_none_opens_no_run(trusting: Settings, algorithm: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        planned(trusting, algorithm)
    assert not tracking.client(trusting.mlflow_uri).search_experiments(filter_string="name = 'm-dev'")


@pytest.mark.usefixtures("project")
def test_a_classifier_must_tell_probabilities(config: Settings) -> None:
    write_version(config, "tabular-classification")
    with pytest.raises(ConfigError, match="gave a SGDClassifier, which has no predict_proba"):
        planned(config.model_copy(update={"trusted_modules": TRUST}), "no_probabilities")


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("algorithm", "words"),
    [
        ("with_lambda", r"cannot be loaded again.*<lambda>.*no lambda"),
        ("with_local", r"cannot be loaded again.*Local.*at the top of a module"),
        ("foreign_types", r"types that are not trusted: .*KDTree.*trusted_modules"),
        ("cannot_fit", r"ours\.models:cannot_fit: "),
    ],
)
def test_what_cannot_be_stored_or_fitted_leaves_no_finished_run(trusting: Settings, algorithm: str, words: str) -> None:
    request = planned(trusting, algorithm)
    with pytest.raises(ConfigError, match=words):
        training.train(request)
    run = tracking.client(trusting.mlflow_uri).get_run(request.run_id)
    assert run.info.status == "FAILED"
    assert runs.MODEL_URI not in run.data.tags


@pytest.mark.usefixtures("project")
def test_types_of_an_installed_package_are_trusted_by_name(trusting: Settings) -> None:
    ref = trained(
        trusting.model_copy(update={"trusted_modules": ("ours", "sklearn.neighbors", "sklearn.metrics")}),
        "foreign_types",
    )
    assert len(loading.load(ref).predict(None, sales())) == len(sales())
