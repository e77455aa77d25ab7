"""A model that was pickled outside MLflow: nothing of it runs unvouched for, and then in a child process alone.

A child that imports scikit-learn, skops and MLflow costs seconds. So only what is about the process starts one, and
ends it before that import where it can; what is about the object that was read asks the child's own function here.
"""

import io
import json
import os
import pickle
import random
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import mlflow
import numpy as np
import pandas as pd
import pytest
import skops.io
from pydantic import ValidationError
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC

from lifecycle.core.errors import ConfigError, DataError, IntegrityError, MlopsError, NotFoundError
from lifecycle.core.names import Side
from lifecycle.core.references import ModelRef
from lifecycle.core.writer_process import user
from lifecycle.data import dataset
from lifecycle.data.source import Source
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.models import loading
from lifecycle.models.external import conversion, external, unpickle
from lifecycle.models.external.conversion import Answer, Converted, Pickled, convert
from lifecycle.models.external.external import TrainedOn, log_external
from lifecycle.problems.text_classification.model import TextModel
from lifecycle.settings import Settings
from lifecycle.storage.files import sha256_of
from lifecycle.tracking import runs
from lifecycle.tracking.client import client
from lifecycle.training import train as training
from tests.conftest import write_news

TEXTS = ["profit rose", "sales fell", "the board met", "orders grew", "loss widened", "a meeting in the office"] * 3
LABELS = ["positive", "negative", "neutral"] * 6
PROBE = pd.DataFrame({"text": ["profit rose and rose", "loss", "Ünïcode 📉", "nothing known"]})
FLIPS = 40


class Code:
    """Unpickling it evaluates an expression."""

    def __init__(self, expression: str) -> None:
        self.expression = expression

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return eval, (self.expression,)


def strings(classifier: Any = None) -> Pipeline:
    """A pipeline as tutorials make it: it takes the texts alone."""
    last = LogisticRegression() if classifier is None else classifier
    return make_pipeline(TfidfVectorizer(), last).fit(TEXTS, LABELS)


def forest() -> Pipeline:
    """It holds a type beyond skops' defaults, which is on our list."""
    return strings(RandomForestClassifier(n_estimators=5, n_jobs=-1, random_state=0))


def columns(name: str) -> Pipeline:
    pipeline = Pipeline(
        [("features", ColumnTransformer([("tfidf", TfidfVectorizer(), name)])), ("nb", MultinomialNB())]
    )
    return pipeline.fit(pd.DataFrame({name: TEXTS}), LABELS)


def own_class() -> Pipeline:
    """One that picks its column with a class of its author's."""

    class Column(TransformerMixin, BaseEstimator):
        def fit(self, table: Any, labels: Any = None) -> "Column":  # noqa: ARG002
            self.fitted_ = True
            return self

        def transform(self, table: Any) -> Any:
            return table["text"]

    pipeline = make_pipeline(Column(), CountVectorizer(), LogisticRegression())
    return pipeline.fit(pd.DataFrame({"text": TEXTS}), LABELS)


def dumped(model: Any, path: Path) -> Path:
    path.write_bytes(cloudpickle.dumps(model))
    return path


def running(path: Path, expression: str, model: Any = None) -> Path:
    """A pickle that evaluates an expression and then is a model."""
    content = f"({expression}, __import__('pickle').loads({cloudpickle.dumps(model)!r}))[1]"
    path.write_bytes(pickle.dumps(Code(content)))
    return path


def writes(path: Path, value: str) -> str:
    return f"__import__('os').write(__import__('os').open({str(path)!r}, 1089), ({value} + chr(10)).encode())"


PID = "str(__import__('os').getpid())"


def ask_here(pickled: Pickled, source: Path, folder: Path, samples: Sequence[str]) -> Answer:  # noqa: ARG001
    """What the child would answer, asked of its own function: only for files that hold nothing but our own models."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # which the tests turn into errors, and the child does not
        try:
            return Answer.model_validate_json(json.dumps(unpickle.examine(source, samples, folder)))
        except DataError as error:
            return Answer(error=error.what, fix=error.fix)


def kept(path: Path, *, allow_pickle: bool = False, **limits: int) -> Converted:
    pickled = Pickled(path=path, sha256=sha256_of(path), allow_pickle=allow_pickle, **limits)
    return convert(pickled, path.parent / "converted")


def refused(path: Path, match: str, kind: type[MlopsError] = DataError, **limits: Any) -> MlopsError:
    with pytest.raises(kind, match=match) as error:
        kept(path, **limits)
    assert not list(path.parent.glob("converted/*"))
    assert "Traceback" not in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.fix
    return error.value


def predictions(model: Any) -> pd.DataFrame:
    return TextModel(model).predict(None, PROBE)


def reference(config: Settings, converted: Converted, name: str = "outside") -> ModelRef:
    return log_external(config.mlflow_uri, f"{name}-dev", name, converted)


def stored(config: Settings, model: ModelRef) -> Path:
    return config.state / "artifacts" / "models" / model.uri.removeprefix("models:/") / "artifacts"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "_ask", ask_here)


@pytest.fixture(scope="module")
def skops_form(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """What a real child makes."""
    return kept(dumped(forest(), tmp_path_factory.mktemp("skops") / "model.pkl"))


@pytest.fixture(scope="module")
def pickle_form(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversion, "_ask", ask_here)
        return kept(dumped(own_class(), tmp_path_factory.mktemp("pickle") / "model.pkl"), allow_pickle=True)


# what is refused before anything of the file runs


@pytest.mark.parametrize("digest", ["0" * 64, "f" * 64])
def test_a_file_with_another_digest_never_runs(tmp_path: Path, digest: str) -> None:
    path = running(tmp_path / "model.pkl", writes(tmp_path / "canary", PID))
    with pytest.raises(IntegrityError, match=f"not {digest}") as error:
        convert(Pickled(path=path, sha256=digest, allow_pickle=True), tmp_path / "converted")
    assert error.value.exit_code == 7
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("digest", ["", "abc", "g" * 64, "sha256:" + "0" * 64])
def test_what_is_no_digest_is_a_mistake_of_the_caller(tmp_path: Path, digest: str) -> None:
    path = running(tmp_path / "model.pkl", writes(tmp_path / "canary", PID))
    with pytest.raises(ConfigError, match="is not a sha256"):
        convert(Pickled(path=path, sha256=digest, allow_pickle=True), tmp_path)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", ["missing.pkl", "."])
def test_a_file_that_is_none_is_not_found(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFoundError, match="No file"):
        convert(Pickled(path=tmp_path / name, sha256="0" * 64), tmp_path)


def test_limits_under_which_nothing_can_start_are_a_mistake_of_the_caller(tmp_path: Path) -> None:
    path = dumped({}, tmp_path / "model.pkl")
    refused(path, "memory_limit_mb=100", ConfigError, memory_limit_mb=100)
    refused(path, "timeout_seconds=0", ConfigError, timeout_seconds=0)


# what a file may do once it is vouched for


def test_it_runs_in_a_child_with_no_secrets_and_in_a_folder_that_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hush")
    canary, os_module = tmp_path / "canary", "__import__('os')"
    seen = f"__import__('json').dumps([{os_module}.getpid(), {os_module}.getcwd(), dict({os_module}.environ)])"
    refused(running(tmp_path / "model.pkl", f"{writes(canary, seen)} and 1 / 0"), "ZeroDivisionError")
    pid, folder, environment = json.loads(canary.read_text())
    assert pid != os.getpid()
    assert not Path(folder).exists()
    assert "hush" not in environment.values()
    assert not {"AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_TOKEN"} & set(environment)


def test_a_memory_bomb_ends_clean(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(Code("bytearray(8 << 30)")))
    assert "--memory-limit-mb" in refused(path, "needs more than 1500 MB", memory_limit_mb=1500).fix


@pytest.mark.parametrize("expression", ["__import__('time').sleep(600)", "all(iter(lambda: True, 0))"])
def test_what_does_not_end_is_ended(tmp_path: Path, expression: str) -> None:
    start = time.monotonic()
    path = running(tmp_path / "model.pkl", expression)
    assert "--timeout-seconds" in refused(path, "did not end within 2 s", timeout_seconds=2).fix
    assert time.monotonic() - start < 300


def test_what_it_starts_ends_with_it(tmp_path: Path) -> None:
    spawn = "str(__import__('subprocess').Popen(['sleep', '600']).pid)"
    refused(running(tmp_path / "model.pkl", f"{writes(tmp_path / 'pid', spawn)} and 1 / 0"), "ZeroDivisionError")
    pid, deadline = int((tmp_path / "pid").read_text()), time.monotonic() + 240
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


@pytest.mark.parametrize(
    ("expression", "match"),
    [
        ("__import__('os')._exit(0)", "gave no answer, it ended with exit code 0"),
        ("__import__('os').abort()", "gave no answer, it was killed by SIGABRT"),
        ("__import__('sys').exit('bye')", "cannot be unpickled: SystemExit: bye"),
        ("1 / 0", "cannot be unpickled: ZeroDivisionError"),
        ("print('{}' * 1000) or 1 / 0", "cannot be unpickled: ZeroDivisionError"),
        ("open('answer.json', 'w').write('junk') and __import__('os')._exit(0)", "gave no answer"),
        ("__import__('no_such_package')", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("open('big', 'wb').truncate(3 << 30)", "cannot be unpickled: OSError"),
    ],
)
def test_however_it_ends_there_is_one_clear_error(tmp_path: Path, expression: str, match: str) -> None:
    refused(running(tmp_path / "model.pkl", expression), match)


@pytest.mark.parametrize(
    ("left", "match"),
    [(b"junk", "is not a skops file"), (skops.io.dumps(os.mkdir), "tampers with its own conversion: .*mkdir")],
    ids=["junk", "another type"],
)
def test_a_forged_answer_does_not_bring_a_type_in(tmp_path: Path, left: bytes, match: str) -> None:
    answer = json.dumps({"classes": ["a", "b"]})
    forged = (
        f"open('pipeline.skops', 'wb').write({left!r}), open('answer.json', 'w').write({answer!r}), "
        "__import__('os')._exit(0)"
    )
    refused(running(tmp_path / "model.pkl", f"({forged})"), match, IntegrityError)


def test_the_original_that_is_kept_is_the_one_that_was_vouched_for(tmp_path: Path) -> None:
    path = running(tmp_path / "model.pkl", "open('../source', 'ab').write(b'more') and 1 / 0")
    refused(path, "has sha256", IntegrityError, allow_pickle=True)


# what is no model of ours


@pytest.mark.parametrize("content", [b"", b"no pickle at all", random.Random(3).randbytes(2000), b"\x80\x04."])
def test_garbage_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    refused(path, "cannot be unpickled")


@pytest.mark.usefixtures("no_child")
def test_half_a_file_is_refused(tmp_path: Path) -> None:
    path = dumped(strings(), tmp_path / "model.pkl")
    path.write_bytes(path.read_bytes()[:-2000])
    refused(path, "cannot be unpickled")


def numbers() -> Any:
    return LogisticRegression().fit(np.eye(6), LABELS[:6])


def three_columns() -> Any:
    table = pd.DataFrame(np.eye(6)[:, :3], columns=["a", "b", "c"])
    return LogisticRegression().fit(table, LABELS[:6])


@pytest.mark.usefixtures("no_child")
@pytest.mark.parametrize(
    ("make", "match"),
    [
        (dict, "holds a dict, not a scikit-learn estimator"),
        (lambda: LinearRegression().fit(np.eye(3), [1, 2, 3]), "LinearRegression has no predict_proba"),
        (lambda: strings(LinearSVC()), "LinearSVC has no predict_proba"),
        (lambda: make_pipeline(TfidfVectorizer(), LogisticRegression()), "Pipeline is not fitted"),
        (three_columns, r"reads 3 columns \(a, b, c\)"),
        (numbers, "LogisticRegression does not answer texts: ValueError"),
    ],
)
def test_what_is_no_fitted_classifier_of_texts_is_refused(tmp_path: Path, make: Callable[[], Any], match: str) -> None:
    assert refused(dumped(make(), tmp_path / "model.pkl"), match).exit_code == 3


# what converts


@pytest.mark.usefixtures("no_child")
def test_a_table_with_a_column_of_any_name_converts_and_predicts_the_same(tmp_path: Path) -> None:
    model = columns("review")
    joblib.dump(model, tmp_path / "model.joblib", compress=3)
    converted = kept(tmp_path / "model.joblib")
    assert converted.path.name == "pipeline.skops"
    assert converted.classes == ("negative", "neutral", "positive")
    again = TextModel()
    again.load_context(type("Context", (), {"artifacts": {"pipeline": str(converted.path)}})())
    pd.testing.assert_frame_equal(again.predict(None, PROBE), predictions(model))


@pytest.mark.usefixtures("no_child")
def test_another_version_of_scikit_learn_is_named(tmp_path: Path) -> None:
    """With a note when it answers nonetheless, and in the error when it does not."""
    import sklearn

    other = "0" + sklearn.__version__[1:]
    paths = [dumped(model, tmp_path / f"{n}.pkl") for n, model in enumerate((strings(), strings(LinearSVC())))]
    for path in paths:
        path.write_bytes(path.read_bytes().replace(sklearn.__version__.encode(), other.encode()))
    note = f"It was pickled with scikit-learn {other}; this is {sklearn.__version__}."
    with pytest.raises(DataError, match=f"no predict_proba. {note}"):
        kept(paths[1])
    assert kept(paths[0]).notes == (note,)


@pytest.mark.usefixtures("no_child")
def test_a_type_of_the_author_is_refused_unless_a_pickle_is_asked_for(tmp_path: Path) -> None:
    path = dumped(own_class(), tmp_path / "model.pkl")
    error = refused(path, "holds types that are not trusted: .*Column", IntegrityError)
    assert error.exit_code == 7
    assert "--allow-pickle" in error.fix


def test_a_pickle_that_is_asked_for_keeps_its_bytes(pickle_form: Converted) -> None:
    assert pickle_form.is_pickle
    assert pickle_form.sha256 == pickle_form.source_sha256 == sha256_of(pickle_form.path)
    assert any("Column" in name for name in pickle_form.untrusted)


# what is logged


def test_a_converted_model_is_logged_once_and_loads_verified_and_as_mlflow_would(
    config: Settings, skops_form: Converted
) -> None:
    model = reference(config, skops_form)
    assert reference(config, skops_form) == model
    assert runs.trained(config.mlflow_uri, model.run_id) == model
    tags = client(config.mlflow_uri).get_run(model.run_id).data.tags
    assert tags["mlops.origin"] == "external"
    assert tags["mlops.source_sha256"] == skops_form.source_sha256
    assert reference(config, skops_form, "other").run_id != model.run_id
    expected = predictions(forest())
    pd.testing.assert_frame_equal(loading.load(model).predict(None, PROBE), expected)
    pd.testing.assert_frame_equal(mlflow.pyfunc.load_model(model.uri).predict(PROBE), expected)


def test_a_pickle_loads_only_where_the_settings_allow_it(config: Settings, pickle_form: Converted) -> None:
    model = reference(config, pickle_form)
    loading.verify(model)
    with pytest.raises(IntegrityError, match="MLOPS_ALLOW_PICKLE=true"):
        loading.load(model)
    expected = predictions(own_class())
    allowed = model.model_copy(update={"allow_pickle": True})
    pd.testing.assert_frame_equal(loading.load(allowed).predict(None, PROBE), expected)
    pd.testing.assert_frame_equal(mlflow.pyfunc.load_model(model.uri).predict(PROBE), expected)


def test_no_bit_of_a_pickle_may_change(config: Settings, pickle_form: Converted) -> None:
    model = reference(config, pickle_form).model_copy(update={"allow_pickle": True})
    path, rng = stored(config, model) / "artifacts" / "pipeline.pkl", random.Random(8)
    content = path.read_bytes()
    for _ in range(FLIPS):
        position, bit = rng.randrange(len(content)), 1 << rng.randrange(8)
        path.write_bytes(content[:position] + bytes([content[position] ^ bit]) + content[position + 1 :])
        with pytest.raises(IntegrityError, match="the files digest to"):
            loading.load(model)
    path.write_bytes(b"junk")
    changed = model.model_copy(update={"artifact_sha256": loading.artifact_digest(stored(config, model))})
    with pytest.raises(IntegrityError, match="its pickle cannot be read here"):
        loading.load(changed)


def test_a_pickle_in_the_place_of_a_skops_file_never_runs(
    config: Settings, skops_form: Converted, tmp_path: Path
) -> None:
    """Even with a digest of its own: its form needs the setting, whatever else lies beside it."""
    model = reference(config, skops_form)
    folder = stored(config, model)
    running(folder / "artifacts" / "pipeline.pkl", writes(tmp_path / "canary", PID))
    beside = model.model_copy(
        update={"artifact_sha256": loading.artifact_digest(folder), "allow_pickle": True},
    )
    with pytest.raises(IntegrityError, match="are no form of ours"):
        loading.load(beside)
    (folder / "artifacts" / "pipeline.skops").unlink()
    instead = model.model_copy(update={"artifact_sha256": loading.artifact_digest(folder)})
    with pytest.raises(IntegrityError, match="is a pickle"):
        loading.load(instead)
    assert not (tmp_path / "canary").exists()


def test_a_file_that_changed_since_its_conversion_is_not_logged(
    config: Settings, skops_form: Converted, tmp_path: Path
) -> None:
    copy = tmp_path / "pipeline.skops"
    copy.write_bytes(skops_form.path.read_bytes() + b"0")
    with pytest.raises(IntegrityError, match="was changed since"):
        reference(config, skops_form.model_copy(update={"path": copy}))


def test_what_it_was_trained_on_is_recorded_if_it_is_said(news: Settings, skops_form: Converted) -> None:
    data = TrainedOn(data_root=news.datasets, data_name="news", data_version="1.0.0", sides="train")
    said = log_external(news.mlflow_uri, "outside-dev", "outside", skops_form, trained_on=data)
    unsaid = log_external(news.mlflow_uri, "outside-dev", "outside", skops_form)
    assert said.run_id != unsaid.run_id
    assert len(evaluation.trained_keys(said)) > 50
    assert training.trained_on(news.mlflow_uri, said.run_id) == ("news", "1.0.0")
    with pytest.raises(IntegrityError, match="--trained-on"):
        evaluation.trained_keys(unsaid)
    assert evaluation.claim(unsaid).origin == "none"
    request = evaluation.request_for(said, news.datasets, "news", "1.0.0")
    evaluation.evaluate(request)
    assert evaluation.stored(request)["score"].between(0, 1).all()


@pytest.mark.parametrize(
    ("said", "sides", "words"),
    [
        ("train", [Side.TRAIN], "train"),
        (["test", "train"], [Side.TRAIN, Side.TEST], "train, test"),
        (["test, Train", "test"], [Side.TRAIN, Side.TEST], "train, test"),
        ((Side.HOLDOUT,), [Side.HOLDOUT], "holdout"),
        ("all", list(Side), "all"),
        (["train", "all"], list(Side), "all"),
        (tuple(Side), list(Side), "all"),
        ("None", [], "none"),
    ],
)
def test_the_sides_that_are_said_are_those_that_it_saw(
    news: Settings, skops_form: Converted, said: Any, sides: list[Side], words: str
) -> None:
    data = TrainedOn(data_root=news.datasets, data_name="news", data_version="1.0.0", sides=said)
    model = log_external(news.mlflow_uri, "outside-dev", "outside", skops_form, trained_on=data)
    rows = dataset.load_rows(news.datasets, "news", "1.0.0")
    seen = rows.loc[rows["split"].isin(sides), "key"]
    assert sorted(evaluation.trained_keys(model)) == sorted(int(key[:16], 16) for key in seen)
    claim = evaluation.claim(model)
    assert claim.origin == "declared"
    assert claim.words == f"trained on {words} of news 1.0.0, as {user()} says"


@pytest.mark.parametrize("said", [(), "", ["train", ""], "valid", ["train", 3], ["none", "train"], None])
def test_no_side_is_assumed(news: Settings, said: Any) -> None:
    place = {"data_root": news.datasets, "data_name": "news", "data_version": "1.0.0"}
    with pytest.raises(ValidationError, match="sides"):
        TrainedOn(**place, sides=said)
    with pytest.raises(ValidationError, match="sides"):
        TrainedOn(**place)


def test_a_side_that_a_version_lacks_is_a_mistake_unless_all_are_meant(news: Settings, skops_form: Converted) -> None:
    source = Source(uri=str(write_news(news.state / "news.csv")))
    dataset.create(dataset.plan(news, source, data_name="whole", data_version="1", holdout=False))
    place = {"data_root": news.datasets, "data_name": "whole", "data_version": "1"}
    step = partial(log_external, news.mlflow_uri, "outside-dev", "outside", skops_form)
    with pytest.raises(ConfigError, match="whole 1 has no holdout split, only train, test"):
        step(trained_on=TrainedOn(**place, sides="train,holdout"))
    everything = step(trained_on=TrainedOn(**place, sides="all"))
    assert len(evaluation.trained_keys(everything)) == len(dataset.load_rows(news.datasets, "whole", "1"))


def test_register_converts_and_logs_a_pickle_without_loading_it_here(
    news: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = running(tmp_path / "model.pkl", writes(tmp_path / "pids", PID), own_class())
    pickled = Pickled(path=path, sha256=sha256_of(path).upper(), allow_pickle=True)
    said = partial(external.said, news)
    with pytest.raises(NotFoundError, match=r"no version '9\.9\.9'"):
        said("news", "9.9.9", ["train"])
    with pytest.raises(ConfigError, match="data_version"):
        said("news", None, ["train"])
    with pytest.raises(ConfigError, match="data_name"):
        said(None, None, ["train"])
    with pytest.raises(ConfigError, match="'valid' is no split: there are train, test, holdout, all and none"):
        said("news", "1.0.0", ["train,valid"])
    model = external.register(news, "outside", pickled, said("news", "1.0.0", ["train"]))
    assert "counts as having seen all of them" not in caplog.text
    assert len(evaluation.trained_keys(model)) > 50
    assert "MLOPS_ALLOW_PICKLE=true" in caplog.text
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) == 1
    unsaid = external.register(news, "outside", pickled, said("news", "1.0.0", []))
    assert len(evaluation.trained_keys(unsaid)) == len(dataset.load_rows(news.datasets, "news", "1.0.0"))
    assert "Nobody says which rows of news 1.0.0 it saw" in caplog.text
    assert str(os.getpid()) not in pids


def test_the_canaries_of_these_tests_sing(tmp_path: Path) -> None:
    path = running(tmp_path / "model.pkl", writes(tmp_path / "canary", PID))
    pickle.load(io.BytesIO(path.read_bytes()))  # noqa: S301
    assert (tmp_path / "canary").read_text().strip() == str(os.getpid())
