"""Models of other flavours of MLflow's: what they read and answer is checked, what they would run is trusted or not."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.models import infer_signature
from mlflow.types import ColSpec, Schema, TensorSpec
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline

from lifecycle.core.errors import ConfigError, DataError, IntegrityError, NotFoundError
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset
from lifecycle.inference.predictions import predict
from lifecycle.models import loading
from lifecycle.models.external import flavours, incoming, wrapped
from lifecycle.models.external.contract import Asked
from lifecycle.models.external.declared import Declared
from lifecycle.settings import Settings, checked
from lifecycle.storage.files import tree_digest
from lifecycle.tracking.client import client
from tests.tables import sales, write_version

NEEDS = ["scikit-learn"]
TEXTS = pd.DataFrame({"text": ["profit rose and orders grew", "sales fell on weak demand", "Ünïcode 📉"]})
CLASSES = ["negative", "neutral", "positive"]
ONE_TEXT = infer_signature(pd.DataFrame({"text": ["a"]}), np.array(["a"]))


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    """MLflow warns of hints, pickles and types; each of these is meant here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def asked(config: Settings, name: str = "news", **declared: Any) -> Asked:
    return Asked("a model", dataset.load(config.datasets, name, "1.0.0"), checked(Declared, **declared))


def trusting(config: Settings, folder: Path | None = None) -> ModelRef:
    """What settings say that trust a folder's digest, or nothing."""
    known = (tree_digest(folder),) if folder else ()
    return ModelRef(tracking_uri=config.mlflow_uri, uri="", run_id="", artifact_sha256="", trusted_models=known)


def registered(config: Settings, folder: Path, what: Asked, *, trusted: bool = True) -> ModelRef:
    trust = trusting(config, folder if trusted else None)
    found = incoming.register(config, "tone", incoming.Incoming(folder, "a model", trust), what, None)
    return found.model_copy(update={"trusted_models": trust.trusted_models})


def function(folder: Path, predict: Callable[[pd.DataFrame], Any], signature: Any = ONE_TEXT, **saved: Any) -> Path:
    """Save a function of a table as somebody's own model, which is a pickle."""

    class Own(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ARG002
            return predict(model_input)

    mlflow.pyfunc.save_model(folder, python_model=Own(), signature=signature, pip_requirements=NEEDS, **saved)
    return folder


def logistic(config: Settings, folder: Path, form: str = "skops") -> Any:
    """A pipeline that takes the texts alone and knows classes by number, without a signature: as tutorials leave it."""
    rows = dataset.load_rows(config.datasets, "news", "1.0.0")
    numbers = rows["label"].map({name: place for place, name in enumerate(CLASSES)})
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(rows["text"], numbers)
    mlflow.sklearn.save_model(pipeline, folder, serialization_format=form, pip_requirements=NEEDS)
    return pipeline


def nothing_is_written(config: Settings) -> bool:
    return client(config.mlflow_uri).get_experiment_by_name(f"tone-{config.env}") is None


def test_a_pipeline_without_code_needs_no_trust_and_answers_as_it_did(news: Settings, tmp_path: Path) -> None:
    """Also with plain MLflow; the same bytes again are the same run; other labels another one."""
    pipeline, labels = logistic(news, tmp_path / "model"), dict(enumerate(CLASSES))
    model = registered(news, tmp_path / "model", asked(news, labels=labels), trusted=False)
    told = loading.load(model)
    expected = pipeline.predict_proba(TEXTS["text"])
    assert list(told.pipeline.classes_) == CLASSES
    assert np.allclose(told.probabilities(TEXTS), expected)
    answers = predict(told, "a model", TEXTS).to_pandas()
    assert list(answers["label"]) == [CLASSES[place] for place in expected.argmax(axis=1)]
    mlflow.set_tracking_uri(news.mlflow_uri)
    plain = mlflow.pyfunc.load_model(model.uri).predict(TEXTS)
    pd.testing.assert_frame_equal(plain.astype(answers.dtypes), answers)
    again = registered(news, tmp_path / "model", asked(news, labels=str(labels)), trusted=False)
    assert (again.run_id, again.artifact_sha256) == (model.run_id, model.artifact_sha256)
    turned = registered(news, tmp_path / "model", asked(news, labels=dict(enumerate(CLASSES[::-1]))), trusted=False)
    assert turned.run_id != model.run_id


def test_numbers_are_labels_only_where_somebody_says_which(news: Settings, tmp_path: Path) -> None:
    logistic(news, tmp_path / "model")
    for labels, match in (
        ({}, "answers 0, 1, 2, and the labels of news 1.0.0 are negative, neutral, positive"),
        ({0: "negative", 1: "neutral"}, "answers 2, and"),
        ({0: "negative", 1: "neutral", 2: "good"}, "'good' is no label"),
        ({0: "negative", 1: "neutral", 2: "neutral"}, "two answers are 'neutral'"),
    ):
        with pytest.raises(ConfigError, match=match):
            registered(news, tmp_path / "model", asked(news, labels=labels))
    assert nothing_is_written(news)


RULES = "def right(words, text):\n    return next((words[w] for w in text.split() if w in words), 'neutral')\n"
OWN_MODULE = "def later(words, text):\n    from toneparts.rules import right\n    return right(words, text)\n"


def test_code_runs_only_where_its_digest_is_trusted_and_finds_its_files_and_modules(
    news: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PythonModel that loads a lexicon, imports a module when it is asked, and reads its files again then."""
    for name, text in {
        "__init__": "",
        "part": OWN_MODULE,
        "rules": RULES,
    }.items():
        path = tmp_path / "code" / "toneparts" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    words, script = tmp_path / "words.json", tmp_path / "model.py"
    words.write_text(json.dumps({"rose": "positive", "fell": "negative"}))
    script.write_text(
        "import json, mlflow\nfrom toneparts.part import later\n"
        "class Tone(mlflow.pyfunc.PythonModel):\n"
        "    def load_context(self, context):\n        self.words = json.load(open(context.artifacts['words']))\n"
        "    def predict(self, context, model_input, params=None):\n"
        "        assert json.load(open(context.artifacts['words'])) == self.words\n"
        "        return [later(self.words, text) for text in model_input['text']]\n"
        "mlflow.models.set_model(Tone())\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "code")
    given = {"artifacts": {"words": str(words)}, "code_paths": [str(tmp_path / "code" / "toneparts")]}
    mlflow.pyfunc.save_model(
        tmp_path / "model", python_model=str(script), signature=ONE_TEXT, pip_requirements=NEEDS, **given
    )
    monkeypatch.undo()
    digest = tree_digest(tmp_path / "model")
    with pytest.raises(IntegrityError, match="is not trusted here") as refusal:
        registered(news, tmp_path / "model", asked(news), trusted=False)
    assert f"trusted_models: [{digest}]" in str(refusal.value)
    assert nothing_is_written(news)
    model = registered(news, tmp_path / "model", asked(news))
    told = loading.load(model)
    assert list(told.predict(None, TEXTS)["label"]) == ["positive", "negative", "neutral"]
    assert not hasattr(told, "probabilities")
    with pytest.raises(IntegrityError, match="is not trusted here"):
        loading.load(model.model_copy(update={"trusted_models": ("0" * 64,)}))
    assert loading.load(model.model_copy(update={"trusted_models": (), "allow_pickle": True})).inputs == ("text",)


def _by_length(table: pd.DataFrame) -> Any:
    lengths = table["text"].str.len()
    return np.where(lengths > lengths.mean(), "positive", "negative")


WRONG: dict[str, tuple[Callable[[pd.DataFrame], Any], str]] = {
    "fails": (lambda table: table["sentence"], "asked about 40 rows of train, KeyError: 'sentence'"),
    "a row too few": (lambda table: ["neutral"] * (len(table) - 1), "answers 40 rows with 39"),
    "another shape": (lambda table: np.zeros((len(table), 2, 2)), r"an array of shape \(40, 2, 2\)"),
    "logits": (lambda table: np.full((len(table), 3), 2.0) * [0, 1, 2], "add up to 6 and not to 1"),
    "random": (lambda table: np.random.default_rng().choice(CLASSES, len(table)), "asked again it answers"),
    "by its neighbours": (_by_length, "asked row by row it answers"),
    "by its place": (lambda table: ["neutral", *["positive"] * (len(table) - 1)], "in another order it answers"),
    "no label": (lambda table: ["neutral", *[None] * (len(table) - 1)], "it gives no label to row 1"),
    "a score": (lambda table: pd.DataFrame({"label": ["neutral"] * len(table), "score": 7.0}), "not a score from 0"),
    "other columns": (lambda table: table.assign(a=1, b="x"), "with the columns text, a, b: `label`, or a"),
    "one number": (lambda table: np.full(len(table), 0.25), "of which class it is the probability"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_breaks_the_contract_is_named_before_anything_is_written(
    name: str, news: Settings, tmp_path: Path
) -> None:
    answer, match = WRONG[name]
    declared = {"labels": dict(enumerate(CLASSES))} if name == "logits" else {}
    with pytest.raises((ConfigError, DataError), match=match) as error:
        registered(news, function(tmp_path / "model", answer), asked(news, **declared))
    assert error.value.fix
    assert nothing_is_written(news)


COLUMNS = ["size", "colour", "is_new", "sold"]


def _priced(table: pd.DataFrame) -> Any:
    return table["size"].fillna(0) * 10 + 20 * (table["colour"] == "red") + table["sold"].dt.year.fillna(0) * 0


def test_a_function_of_a_table_is_given_the_types_of_its_signature(config: Settings, tmp_path: Path) -> None:
    """It reads some columns, one by another name; cells as a file has them mean the same."""
    write_version(config, "tabular-regression")
    table = sales().drop(columns=["price", "class"])
    signature = infer_signature(table[COLUMNS[:2] + COLUMNS[3:]].dropna(), np.array([0.5]))
    folder = function(tmp_path / "model", _priced, signature)
    model = registered(config, folder, asked(config, "sales"))
    told, rows = loading.load(model), table.head(30)
    assert told.inputs == ("size", "colour", "sold")
    expected = _priced(rows)
    assert np.allclose(told.predict(None, rows)["prediction"], expected)
    assert np.allclose(
        told.predict(None, rows.astype(object).where(rows.notna(), "").astype(str))["prediction"], expected
    )
    assert told.predict(None, rows.head(0)).empty


def test_an_array_is_filled_in_the_order_that_is_declared(config: Settings, tmp_path: Path) -> None:
    write_version(config, "tabular-regression")
    rows = np.column_stack([np.arange(20) % 2, np.arange(20.0)])
    mlflow.sklearn.save_model(
        HistGradientBoostingRegressor(max_iter=2, min_samples_leaf=2).fit(rows, rows[:, 1]),
        tmp_path / "model",
        serialization_format="cloudpickle",
        pip_requirements=NEEDS,
    )
    with pytest.raises(ConfigError, match="fitted on 2 columns without names") as error:
        registered(config, tmp_path / "model", asked(config, "sales"))
    assert "--order size,is_new" in str(error.value)
    model = registered(config, tmp_path / "model", asked(config, "sales", order="is_new,size"))
    low, high = loading.load(model).predict(None, pd.DataFrame({"is_new": ["no", "no"], "size": [0, 19]}))["prediction"]
    assert low < high


def _signature(**columns: str) -> Any:
    schema = Schema([ColSpec(kind, name) for name, kind in columns.items()])
    return mlflow.models.ModelSignature(schema, Schema([ColSpec("double")]))


@pytest.mark.parametrize(
    ("signature", "declared", "match"),
    [
        (_signature(size="double", rooms="long"), {}, r"column 'rooms' \(long\) is no input of sales 1.0.0, which has"),
        (_signature(size="string"), {}, "'size' is numeric in sales 1.0.0, and the model reads string"),
        (_signature(colour="long"), {}, "'colour' is categorical in sales 1.0.0, and the model reads long"),
        (_signature(size="long"), {}, "'size' holds (a missing cell|[0-9.]+), and the model reads long"),
        (_signature(size="double"), {"columns": {"siez": "size"}}, "has no input 'siez'"),
        (_signature(size="double"), {"order": "size,colour"}, "'colour' is categorical, and an array holds numbers"),
    ],
)
def test_each_column_that_does_not_fit_is_named(
    signature: Any, declared: dict[str, Any], match: str, config: Settings, tmp_path: Path
) -> None:
    write_version(config, "tabular-regression")
    folder = function(tmp_path / "model", lambda table: table.iloc[:, 0].astype(float), signature)
    with pytest.raises((ConfigError, DataError), match=match):
        registered(config, folder, asked(config, "sales", **declared))
    assert nothing_is_written(config)


def test_a_tensor_without_names_asks_for_an_order_and_has_a_width(config: Settings, tmp_path: Path) -> None:
    write_version(config, "tabular-regression")
    schema = Schema([TensorSpec(np.dtype("float32"), (-1, 2))])
    folder = function(tmp_path / "model", lambda array: array[:, 0], mlflow.models.ModelSignature(schema, schema))
    with pytest.raises(ConfigError, match=r"a tensor of shape \(-1, 2\) whose columns have no names"):
        registered(config, folder, asked(config, "sales"))
    with pytest.raises(DataError, match="it reads 2 columns, and --order names 1"):
        registered(config, folder, asked(config, "sales", order="size"))


def test_packages_that_are_missing_are_named_and_other_versions_are_told(news: Settings, tmp_path: Path) -> None:
    logistic(news, tmp_path / "model")
    needs, labels = tmp_path / "model" / "requirements.txt", dict(enumerate(CLASSES))
    needs.write_text("no-such-package==3\nscikit-learn\n")
    with pytest.raises(ConfigError, match=r"no-such-package==3\. .*pip install"):
        registered(news, tmp_path / "model", asked(news, labels=labels))
    needs.write_text("numpy==1.0\n")
    model = registered(news, tmp_path / "model", asked(news, labels=labels))
    assert "pinned is 1.0" in client(news.mlflow_uri).get_run(model.run_id).data.tags["mlops.notes"]


def test_a_folder_that_is_no_model_or_leads_elsewhere_is_refused(news: Settings, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="there is no MLflow model"):
        registered(news, tmp_path, asked(news), trusted=False)
    with pytest.raises(NotFoundError, match="does not exist"):
        registered(news, tmp_path / "modle", asked(news), trusted=False)
    logistic(news, tmp_path / "model")
    (tmp_path / "model" / "secret").symlink_to("/etc/hostname")
    with pytest.raises(IntegrityError, match="secret is a link"):
        registered(news, tmp_path / "model", asked(news), trusted=False)


def _network(folder: Path, **files: str) -> dict[str, Any]:
    (folder / "model").mkdir(parents=True)
    for name, text in {"model/model.safetensors": "", "model/config.json": "{}", **files}.items():
        (folder / name).write_text(text)
    return {"transformers": {"model_binary": "model"}, "python_function": {"loader_module": "mlflow.transformers"}}


def test_what_is_not_known_to_be_data_is_code(tmp_path: Path) -> None:
    def why(named: dict[str, Any], folder: str) -> str:
        return flavours.code_in(tmp_path / folder, named)

    assert why(_network(tmp_path / "network"), "network") == ""
    for name, text, said in (
        ("model/pytorch_model.bin", "", "holds pytorch_model.bin"),
        ("model/config.json", '{"auto_map": {"AutoConfig": "x--y.Z"}}', "names code of its author's"),
    ):
        assert said in why(_network(tmp_path / said, **{name: text}), said)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.onnx").write_text("")
    graph: dict[str, Any] = {"python_function": {"loader_module": "mlflow.onnx", "data": "model.onnx"}, "onnx": {}}
    assert why(graph, "other") == ""
    assert why(graph | {"onnx": {"onnx_session_options": {"extra_session_config": {"a": "b"}}}}, "other")
    assert why({"python_function": {"loader_module": "mlflow.onnx", "data": "../network/model"}}, "other")
    assert "os loads it" in why({"python_function": {"loader_module": "os"}}, "other")
    assert "modules" in why({"python_function": {"loader_module": "mlflow.onnx", "code": "code"}}, "other")


@settings(max_examples=30)
@given(st.lists(st.sampled_from(CLASSES), min_size=1, max_size=9))
def test_the_same_labels_are_read_from_whatever_they_come_in(labels: list[str]) -> None:
    forms: list[Any] = [
        labels,
        pd.Series(labels, index=range(5, 5 + len(labels))),
        np.array(labels),
        np.array(labels)[:, None],
        pd.DataFrame({"label": labels}),
        {"output": np.array(labels)},
    ]
    for form in forms:
        table = wrapped.as_table(form, len(labels))
        told = {"gives": wrapped.gives(table), "labels": {}}
        assert list(wrapped.classes(table, told).labelled["label"]) == labels


def test_a_model_that_cannot_take_a_missing_cell_ends_with_its_own_words(config: Settings, tmp_path: Path) -> None:
    """Rows with gaps are among those that a model is asked about."""
    write_version(config, "tabular-regression")
    linear = LinearRegression().fit(np.array([[0.0], [1.0]]), [0, 1])
    mlflow.sklearn.save_model(linear, tmp_path / "model", serialization_format="skops", pip_requirements=NEEDS)
    with pytest.raises(DataError, match="LinearRegression does not accept missing values"):
        registered(config, tmp_path / "model", asked(config, "sales", order="size"), trusted=False)
