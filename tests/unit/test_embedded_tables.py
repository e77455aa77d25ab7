"""What is read from the tables of an embedded MLflow is what MLflow's client answers."""

import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import mlflow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from cli import ending, main
from lifecycle.core.errors import IntegrityError
from lifecycle.registry import store
from lifecycle.registry.store import Target
from lifecycle.settings import Settings
from lifecycle.storage import embedded
from lifecycle.tracking import artifacts, champions, runs, tables
from lifecycle.tracking import client as tracking

NAMES = ("it's", "Größe")
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
KEYS = st.sampled_from(("a", "promotion.kind", "x y", "it's"))
Step = Callable[[MlflowClient, str], Any]
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(lambda text: lambda mlflow, name: mlflow.create_registered_model(name, {"a": text}, text), TEXTS),
    st.builds(lambda text: lambda mlflow, name: mlflow.create_model_version(name, "s3://b/m", description=text), TEXTS),
    st.builds(lambda key, text: lambda mlflow, name: mlflow.set_registered_model_tag(name, key, text), KEYS, TEXTS),
    st.builds(lambda key, text: lambda mlflow, name: mlflow.set_model_version_tag(name, "1", key, text), KEYS, TEXTS),
    st.builds(lambda n: lambda mlflow, name: mlflow.set_registered_model_alias(name, f"a{n}", "1"), st.integers(0, 2)),
    st.just(lambda mlflow, name: mlflow.transition_model_version_stage(name, "1", "Production")),
    st.just(lambda mlflow, name: mlflow.delete_model_version(name, "2")),
    st.just(lambda mlflow, name: mlflow.delete_registered_model(name)),
)


@contextmanager
def by_the_client() -> Iterator[None]:
    """As if MLflow's tables were of a release that is not known."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "KNOWN", set())
        yield


def registry(uri: str) -> list[Any]:
    """Everything that the registry is asked for."""
    targets = [Target(tracking_uri=uri, name=name) for name in (*NAMES, "absent", "a-prompt")]
    single = [
        (store.find(target, number), store.alias_version(target, "a1")) for target in targets for number in (1, 2)
    ]
    return [store.names(uri), *map(store.model, targets), *map(store.versions, targets), single]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a database in which many registries follow each other."""
    return f"sqlite:///{tmp_path_factory.mktemp('tables') / 'mlflow.db'}"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(STEPS, st.sampled_from(NAMES)), max_size=12))
def test_the_registry_is_what_mlflow_says_whatever_was_done_to_it(database: str, steps: list[tuple[Step, str]]) -> None:
    client = tracking.client(database)
    for name in store.names(database):
        client.delete_registered_model(name)
    for step, name in steps:
        try:
            step(client, name)
        except MlflowException:  # it cannot be done at this moment
            continue
    here = registry(database)
    with by_the_client():
        assert registry(database) == here


def test_a_prompt_is_no_model(config: Settings) -> None:
    tracking.client(config.mlflow_uri)
    mlflow.genai.register_prompt("a-prompt", "Say {{what}}")
    here = registry(config.mlflow_uri)
    assert here[0] == []
    assert not any(here[1:-1])
    with by_the_client():
        assert registry(config.mlflow_uri) == here


@pytest.mark.parametrize("is_deleted", [False, True])
def test_runs_are_those_of_mlflow_be_they_deleted(config: Settings, tmp_path: Path, *, is_deleted: bool) -> None:
    client, uri = tracking.client(config.mlflow_uri), config.mlflow_uri
    run_id = client.create_run(tracking.experiment(uri, "one"), tags={"note": "ä\n'", "empty": ""}).info.run_id
    champions.record(uri, run_id, "x", "{}")
    (tmp_path / "b.json").write_text("{}", encoding="utf-8")
    client.log_artifact(run_id, str(tmp_path / "b.json"), "verdicts")
    if is_deleted:
        client.delete_run(run_id)

    def told() -> list[Any]:
        there = [artifacts.names(uri, run_id, folder) for folder in ("verdicts", "absent")]
        known = [ask(uri, run_id) for ask in (runs.tags, runs.tags_if_there)]
        return [there, known, champions.notes(uri, "x"), champions.notes(uri, "y"), runs.tags_if_there(uri, "absent")]

    here = told()
    assert here[2] == {run_id: "{}"}
    with by_the_client():
        assert told() == here


def test_a_run_that_is_not_there_is_missing_to_both(config: Settings) -> None:
    for ask in (runs.tags, lambda uri, run_id: artifacts.names(uri, run_id, "verdicts")):
        with pytest.raises(MlflowException) as raised:
            ask(config.mlflow_uri, "0" * 32)
        assert tracking.is_missing(raised.value)


def test_the_tables_of_the_installed_mlflow_are_known(config: Settings) -> None:
    tracking.client(config.mlflow_uri)
    found = embedded.revision(Path(config.mlflow_uri.removeprefix("sqlite:///")))
    assert found in tables.KNOWN, "look at what changed in the tables that `tracking.tables` reads, then add it"


def test_where_workspaces_share_the_tables_and_on_a_server_the_client_is_asked(
    config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tables.of(config.mlflow_uri)
    assert tables.of("http://127.0.0.1:1") is None
    monkeypatch.setenv("MLFLOW_ENABLE_WORKSPACES", "true")
    assert tables.of(config.mlflow_uri) is None


def test_a_folder_that_leads_elsewhere_is_not_read(config: Settings, tmp_path: Path) -> None:
    client, uri = tracking.client(config.mlflow_uri), config.mlflow_uri
    run = client.create_run(tracking.experiment(uri, "one"))
    (tmp_path / "b.json").write_text("{}", encoding="utf-8")
    place = Path(run.info.artifact_uri.removeprefix("file://"))
    place.mkdir(parents=True)
    (place / "verdicts").symlink_to(tmp_path)
    with pytest.raises(IntegrityError, match="lies outside"):
        artifacts.read(uri, run.info.run_id, "verdicts/b.json")


def test_a_search_without_a_hit_says_so(
    config: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tracking.client(config.mlflow_uri)
    monkeypatch.setattr(sys, "argv", ["mlops", "model", "search", "--tag", "a=b", "--env", "dev"])
    assert ending.of(main.app) == 0
    assert "No version is like that" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["half", "no text"])
def test_a_database_that_is_damaged_meanwhile_is_called_so(config: Settings, kind: str) -> None:
    path = Path(config.mlflow_uri.removeprefix("sqlite:///"))
    tracking.client(config.mlflow_uri).create_registered_model("x", description="y")
    assert store.names(config.mlflow_uri) == ["x"]
    if kind == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE registered_models SET description = CAST(X'ff' AS TEXT)")
    with pytest.raises(IntegrityError, match="The MLflow database is damaged"):
        store.model(Target(tracking_uri=config.mlflow_uri, name="x"))


def test_a_deleted_version_is_not_there(config: Settings) -> None:
    client, target = tracking.client(config.mlflow_uri), Target(tracking_uri=config.mlflow_uri, name="x")
    client.create_registered_model("x")
    for _ in range(2):
        client.create_model_version("x", "s3://b/m")
    client.delete_model_version("x", "1")
    assert [each.version for each in store.versions(target)] == [2]
    assert (store.find(target, 1), store.find(target, 2) is None) == (None, False)
