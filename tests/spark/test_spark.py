"""The engine `spark` publishes what `local` publishes, byte for byte, and trusts a model as little."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import mlflow
import pandas as pd
import psutil
import pytest
import requests
from pyspark.sql import SparkSession
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from lifecycle import settings
from lifecycle.core import spark as sessions
from lifecycle.core.errors import ConfigError, DataError, IntegrityError
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset
from lifecycle.data.source import Source
from lifecycle.inference import batch, local, spark
from lifecycle.inference import manifest as batches
from lifecycle.models import loading, scoring_server
from lifecycle.models.external import external, incoming
from lifecycle.models.external.contract import Asked
from lifecycle.models.external.declared import Declared
from lifecycle.models.external.incoming import Incoming
from lifecycle.settings import Settings
from lifecycle.tracking import runs
from lifecycle.tracking.artifacts import download
from lifecycle.training import train as training
from tests.conftest import ROOT, exhaustive, tree
from tests.questions import write_project
from tests.spark.conftest import TEXTS, requested, write_table
from tests.tabular import CLASSIFICATION, REGRESSION, logged, rentals

pytestmark = pytest.mark.usefixtures("session")

AWKWARD = ["  ", "", "\x07bell", "profit " * 20_000, "naïve – 𝄞 «profit»", 'said ""profit""', "two\nlines", "NA", "007"]


@pytest.fixture(scope="module")
def session() -> Iterator[SparkSession]:
    """A session on this machine, as a process that is offered none starts it."""
    made = sessions.session(2)
    yield made
    made.stop()


def predictions(model: ModelRef, source: Path, output: Path, engine: str, **rules: object) -> dict[str, bytes]:
    """What an engine publishes: every file with its content."""
    request = requested(model, source, output, engine=engine, **rules)
    batch.infer(request)
    return tree(batches.locate(request)[0])


def by_hand(model: ModelRef, folder: Path) -> Path:
    """The files of a model, where a test can change them."""
    return download(model.tracking_uri, model.uri, folder)


def registered(model: ModelRef, folder: Path, **changes: object) -> ModelRef:
    """A reference to changed files, with the digest that somebody registered for them."""
    found = loading.artifact_digest(folder)
    return model.model_copy(update={"uri": str(folder), "artifact_sha256": found, **changes})


def test_spark_publishes_what_local_publishes_byte_for_byte(champion: ModelRef, tmp_path: Path) -> None:
    source = write_table(tmp_path / "in.csv", [*TEXTS, *AWKWARD, *TEXTS])
    expected = predictions(champion, source, tmp_path / "local", "local")
    assert predictions(champion, source, tmp_path / "spark", "spark", workers=0) == expected
    assert sorted(expected) == ["manifest.json", *(f"part-0000{n}.parquet" for n in (0, 2, 3, 4)), "rejected.parquet"]
    manifest = batches.load(batches.locate(requested(champion, source, tmp_path / "spark"))[0])
    assert (manifest.rows_in, manifest.scored) == (17, 13)
    assert manifest.rejected == {"blank_text": 2, "long_text": 1, "unusable_character": 1}


def test_how_spark_cuts_a_part_does_not_change_it(session: SparkSession, champion: ModelRef, tmp_path: Path) -> None:
    source = write_table(tmp_path / "in.csv", TEXTS * 5)
    expected = predictions(champion, source, tmp_path / "local", "local", rows_per_part=20)
    session.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", 3)
    try:
        assert predictions(champion, source, tmp_path / "spark", "spark", rows_per_part=20) == expected
    finally:
        session.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")


def test_either_engine_goes_on_where_the_other_stopped(champion: ModelRef, tmp_path: Path) -> None:
    source = write_table(tmp_path / "in.csv", TEXTS * 3)
    expected = predictions(champion, source, tmp_path / "local", "local")
    final = batches.locate(requested(champion, source, tmp_path / "spark"))[0]
    partial = final.with_name(f".partial-{final.name}-4")
    partial.mkdir(parents=True)
    (partial / "part-00001.parquet").write_bytes(expected["part-00001.parquet"])
    before = (partial / "part-00001.parquet").stat()
    assert predictions(champion, source, tmp_path / "spark", "spark") == expected
    after = (final / "part-00001.parquet").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_batch_that_local_published_is_left_as_it_is(champion: ModelRef, tmp_path: Path) -> None:
    source = write_table(tmp_path / "in.csv", TEXTS)
    expected = predictions(champion, source, tmp_path / "out", "local")
    assert predictions(champion, source, tmp_path / "out", "spark") == expected


def test_a_malformed_row_far_down_publishes_nothing(champion: ModelRef, tmp_path: Path) -> None:
    source = write_table(tmp_path / "in.csv", TEXTS * 5)
    source.write_text(source.read_text() + "k20,one,too many\n")
    with pytest.raises(DataError, match="row 21, line 22: 3 fields instead of 2"):
        batch.infer(requested(champion, source, tmp_path / "out", engine="spark"))
    assert [name for name in tree(tmp_path / "out") if not name.endswith(".lock")] == []


def test_a_model_of_another_flavour_is_scored_like_any(news: Settings, tmp_path: Path) -> None:
    rows = dataset.load_rows(news.datasets, "news", "1.0.0")
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(rows["text"], rows["label"])
    mlflow.sklearn.save_model(pipeline, tmp_path / "model", serialization_format="skops", pip_requirements=["skops"])
    asked = Asked("a model", dataset.load(news.datasets, "news", "1.0.0"), Declared())
    trust = ModelRef(tracking_uri=news.mlflow_uri, uri="", run_id="", artifact_sha256="")
    model = incoming.register(news, "tone", Incoming(tmp_path / "model", "a model", trust), asked, None)
    source = write_table(tmp_path / "in.csv", TEXTS)
    expected = predictions(model, source, tmp_path / "local", "local")
    assert predictions(model, source, tmp_path / "spark", "spark") == expected


def test_vader_is_scored_like_any_model(home: Path, tmp_path: Path) -> None:
    config = settings.load("dev", home=home)
    model = external.log_vader(config.mlflow_uri, "vader-dev", "vader")
    source = write_table(tmp_path / "in.csv", ["a good day", "a bad movie!!", "the table"])
    expected = predictions(model, source, tmp_path / "local", "local")
    assert predictions(model, source, tmp_path / "spark", "spark") == expected


def test_the_code_in_a_model_runs_nowhere(champion: ModelRef, tmp_path: Path) -> None:
    folder = by_hand(champion, tmp_path / "model")
    [code] = folder.glob("*.py")
    code.write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n{code.read_text()}")
    model = registered(champion, folder)
    source = write_table(tmp_path / "in.csv", TEXTS)
    expected = predictions(model, source, tmp_path / "local", "local")
    assert predictions(model, source, tmp_path / "spark", "spark") == expected
    assert not (tmp_path / "ran").exists()


def test_a_pickle_is_scored_only_where_settings_allow_it(champion: ModelRef, tmp_path: Path) -> None:
    folder, pipeline = by_hand(champion, tmp_path / "model"), loading.load(champion).pipeline
    (folder / "artifacts" / "pipeline.skops").unlink()
    joblib.dump(pipeline, folder / "artifacts" / "pipeline.pkl")
    source = write_table(tmp_path / "in.csv", TEXTS)
    with pytest.raises(IntegrityError, match="is a pickle"):
        batch.infer(requested(registered(champion, folder), source, tmp_path / "out", engine="spark"))
    model = registered(champion, folder, allow_pickle=True)
    expected = predictions(model, source, tmp_path / "local", "local")
    assert predictions(model, source, tmp_path / "out", "spark") == expected


def test_a_model_that_is_not_what_was_registered_scores_nothing(champion: ModelRef, tmp_path: Path) -> None:
    other = champion.model_copy(update={"artifact_sha256": "0" * 64})
    source = write_table(tmp_path / "in.csv", TEXTS)
    with pytest.raises(IntegrityError, match="the files digest to"):
        batch.infer(requested(other, source, tmp_path / "out", engine="spark"))


def test_rows_that_spark_loses_are_an_error(session: SparkSession, champion: ModelRef, tmp_path: Path) -> None:
    class Losing:
        """A session that drops the last row of what it is given."""

        def __getattr__(self, name: str) -> Any:
            return getattr(session, name)

        def createDataFrame(self, table: Any) -> Any:  # noqa: N802
            return session.createDataFrame(table.slice(0, len(table) - 1))

    loaded = loading.load(champion)
    with loading.private_copy(champion) as folder:
        model = spark.SparkModel(session, loaded, spark.stand_in(loaded, folder, tmp_path / "model"))
    texts = pd.DataFrame({"text": TEXTS}, index=[7, 8, 9, 11])
    expected = loaded.predict(None, texts)
    assert model.predict(None, texts).to_dict("list") == expected.to_dict("list")
    model._session = Losing()
    with pytest.raises(IntegrityError, match="was given 4 rows and gave back 3"):
        model.predict(None, texts)


def test_the_session_that_is_there_is_used_and_left_running(session: SparkSession) -> None:
    assert sessions.session(1) is session
    assert session.sparkContext.master == "local[2]"


def test_the_session_of_a_databricks_cluster_scores_as_any_other(
    session: SparkSession, champion: ModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_table(tmp_path / "in.csv", TEXTS)
    expected = predictions(champion, source, tmp_path / "local", "local")
    session.conf.set("spark.databricks.mlflow.nfs.enabled", "false")  # this machine lacks a cluster's shared disk
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    assert predictions(champion, source, tmp_path / "spark", "spark") == expected


def test_a_catalog_that_cannot_hold_the_table_is_an_error_with_its_reason(
    champion: ModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")  # as on a cluster, whose session is this one
    source = write_table(tmp_path / "in.csv", TEXTS)
    for table, words in (("spark_catalog.default.predictions", "delta"), ("prod.ml.predictions", "prod")):
        request = requested(champion, source, tmp_path / "out", table=table)
        with pytest.raises(ConfigError, match=f"^{table}: .*{words}.* Check its columns, and the grants"):
            batch.infer(request)
        assert batches.verify(batches.locate(request)[0], request).scored == 4


def test_a_session_of_this_machine_listens_on_loopback_alone() -> None:
    children = [child for child in psutil.Process().children(recursive=True) if "java" in child.name()]
    listening = [c.laddr.ip for child in children for c in child.net_connections("tcp") if c.status == "LISTEN"]
    assert listening
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}


def test_at_most_so_many_parts_are_in_memory_as_are_scored() -> None:
    handed_out, finished = list[int](), list[int]()

    def parts() -> Iterator[local.Part]:
        for number in range(20):
            handed_out.append(number)
            yield number, pd.DataFrame()
            assert len(handed_out) - len(finished) <= 4

    with ThreadPoolExecutor(3) as pool:
        for done in local.bounded(pool, lambda part: {"number": part[0]}, parts(), 4):
            finished.append(done["number"])
    assert sorted(finished) == list(range(20))


def alone(program: str, **environment: str) -> str:
    """What a program says last, in a process of its own, where no session is there yet."""
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    return (done.stdout + done.stderr).strip().splitlines()[-1]


def test_missing_java_is_named_with_what_to_install(tmp_path: Path) -> None:
    program = "from lifecycle.core import spark; spark.session()"
    said = alone(program, PATH=str(tmp_path))
    assert "ConfigError: The engine spark needs Java: there is no java on the PATH. Install Java 17" in said
    said = alone(program, JAVA_HOME=str(tmp_path))
    assert f"needs Java: JAVA_HOME={tmp_path} holds no bin/java" in said
    (tmp_path / "bin").mkdir()
    shutil.copy(shutil.which("false") or "", tmp_path / "bin" / "java")
    assert "ConfigError: Spark does not start" in alone(program, JAVA_HOME=str(tmp_path))


def test_missing_pyspark_is_named_with_its_extra() -> None:
    program = "import sys; sys.modules['pyspark'] = None; from lifecycle.core import spark; spark.session()"
    assert alone(program) == (
        "lifecycle.core.errors.ConfigError: The engine spark needs pyspark. pip install 'mlops-lifecycle[spark]'"
    )


def test_a_batch_that_could_not_begin_leaves_nothing(
    champion: ModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", None)
    source = write_table(tmp_path / "in.csv", TEXTS)
    with pytest.raises(ConfigError, match="pip install"):
        batch.infer(requested(champion, source, tmp_path / "out", engine="spark"))
    assert [path for path in (tmp_path / "out").rglob("*") if path.suffix != ".lock" and path.is_file()] == []
    assert list((tmp_path / "out").rglob(".partial-*")) == []


def test_nothing_is_written_to_the_working_directory(
    champion: ModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    predictions(champion, write_table(tmp_path / "in.csv", TEXTS), tmp_path / "out", "spark")
    assert os.listdir() == []  # noqa: PTH208


@pytest.mark.parametrize("problem", [REGRESSION, CLASSIFICATION])
def test_a_table_is_scored_as_the_engine_local_scores_it(state: Path, tmp_path: Path, problem: str) -> None:
    uri = settings.load("dev", home=state).mlflow_uri
    model = logged(uri, problem, temp="row", season="made.label", holiday="a `b`")
    rows = rentals(10).astype(object)
    rows.loc[2, "temp"], rows.loc[3, "temp"], rows.loc[4, "season"] = None, "warm", None
    source = tmp_path / "in.csv"
    rows.rename(columns={"instant": "id", "temp": "row", "season": "made.label", "holiday": "a `b`"}).to_csv(
        source, index=False
    )
    beside = {"probabilities": True, "keep": ("id",)}
    requests = {
        engine: requested(model, source, tmp_path / engine, engine=engine, **beside).model_copy(update={"columns": {}})
        for engine in ("local", "spark")
    }
    manifests = []
    for request in requests.values():
        batch.infer(request)
        manifests.append(batches.verify(batches.locate(request)[0], request))
    assert manifests[0] == manifests[1]
    assert (manifests[0].scored, manifests[0].rejected) == (9, {"not_a_number": 1})


@exhaustive  # pairs, texts and tables prove the engine by themselves
def test_a_chain_answers_alike_by_spark_by_local_and_served(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_project()
    config = settings.load("dev", home=state)
    of_table = {"problem": "chat", "target": "documents", "columns": {"question": "text"}}
    source = Source(uri=str(tmp_path / "questions.csv"))
    dataset.create(dataset.state(config, source, data_name="handbook", data_version="1", **of_table))
    params = {"documents": str(tmp_path / "handbook")}
    wanted = training.Training(data_name="handbook", data_version="1", model_name="handbook", params=params)
    request = training.plan(config, wanted)
    training.train(request)
    model = runs.trained(config.mlflow_uri, request.run_id)
    asked = pd.read_csv("questions.csv").rename(columns={"question": "text"}).rename_axis("id").reset_index()
    asked[["id", "text"]].to_csv("asked.csv", index=False)
    local_files, spark_files = (
        predictions(model, tmp_path / "asked.csv", tmp_path / engine, engine) for engine in ("local", "spark")
    )
    assert local_files == spark_files
    (folder,) = {path.parent for path in (tmp_path / "local").rglob("manifest.json")}
    told = pd.concat(map(pd.read_parquet, sorted(folder.glob("part-*.parquet"))))
    assert len(told) == len(asked) > 70

    files = by_hand(model, tmp_path / "model")
    body = {"dataframe_records": [{"messages": text} for text in asked["text"].head(5)]}
    with scoring_server.serving(files, loading.load(model), model, "a:b") as port:
        answer = requests.post(f"http://127.0.0.1:{port}/invocations", json=body, auth=("a", "b"), timeout=240)
    pairs = zip(answer.json()["predictions"], told.sort_values("row")["answer"].head(5), strict=True)
    assert all(served.startswith(scored) for served, scored in pairs), "served with its sources behind it"


def test_serverless_compute_is_refused_with_the_job_that_can(
    champion: ModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = requested(champion, write_table(tmp_path / "in.csv", TEXTS), tmp_path / "out", engine="spark")
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "client.4.9")
    with pytest.raises(ConfigError, match="infer-on-cluster"):
        spark.score(request, tmp_path)
