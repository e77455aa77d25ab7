"""Each inconsistency that can be planted in a registry: found, explained, and repaired where no decision is needed."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from lifecycle import doctor
from lifecycle.core.writer_process import OWNER, owner
from lifecycle.registry import log, promotion, registration, removal, store
from lifecycle.storage import files
from lifecycle.tracking import runs
from lifecycle.tracking.client import client, experiment
from tests.registry.conftest import State
from tests.registry.test_doctor import damage, furnished, lived_in, problems

__all__ = ["furnished", "lived_in"]


def sql(state: State, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(state.config.state / "mlflow.db")) as database, database:
        database.execute(statement, values)


def dead_owner() -> str:
    """This machine and the number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return f"{owner().rpartition(':')[0]}:{process.pid}"


def unready(state: State, status: str, by: str) -> None:
    number = registration.candidate(state.target, state.regression)
    store.tag(state.target, number, OWNER, by)
    sql(state, "UPDATE model_versions SET status = ? WHERE version = ?", status, number)


def failed(state: State) -> None:
    unready(state, store.FAILED, owner())


def left_by_a_dead_process(state: State) -> None:
    unready(state, store.PENDING, dead_owner())


def still_being_written(state: State) -> None:
    unready(state, store.PENDING, "elsewhere:1")


def alias_in_capitals(state: State) -> None:
    client(state.config.mlflow_uri).set_registered_model_alias(state.target.name, "Shadow", "1")


def champion_in_capitals(state: State) -> None:
    client(state.config.mlflow_uri).set_registered_model_alias(state.target.name, "Champion", "1")


def dangling_alias(state: State) -> None:
    store.set_alias(state.target, "canary", 1)
    sql(state, "UPDATE registered_model_aliases SET version = 77 WHERE alias = 'canary'")


def silent_loser(state: State) -> None:
    stale = promotion.Intent(target=state.target, model=state.regression, expected=1, head=1, reason="late")
    promotion.register(stale)


def repeated_entry(state: State) -> None:
    tags = store.version(state.target, 2).tags
    kept = {key: tags[key] for key in (log.KEY, log.EXPECTED, log.KIND, log.ARTIFACT, log.PLACE)}
    store.create_version(state.target, state.bayes.uri, state.bayes.run_id, kept)


def winner_that_says_it_lost(state: State) -> None:
    store.tag(state.target, 1, log.OUTCOME, log.LOST)


def deletion_cut_short(state: State) -> None:
    number = registration.candidate(state.target, state.regression)
    removal._retire(state.target, 2, [number], "cut short")


def cleanup_cut_short(state: State) -> None:
    number = registration.candidate(state.target, state.regression)
    removal._retire(state.target, 2, [number], "cut short")
    removal.finish(state.target)
    runs.withdraw(state.target.tracking_uri, state.regression.run_id)


def deleted_run(state: State) -> None:
    client(state.config.mlflow_uri).delete_run(state.bayes.run_id)


def run_that_is_not_there(state: State) -> None:
    sql(state, "UPDATE model_versions SET run_id = ? WHERE version = 1", "0" * 32)


def deleted_logged_model(state: State) -> None:
    client(state.config.mlflow_uri).delete_logged_model(state.weak.uri.removeprefix("models:/"))


def damaged_rollback_target(state: State) -> None:
    damage(state.folder(state.weak) / "artifacts" / "pipeline.skops")


def missing_rollback_target(state: State) -> None:
    (state.folder(state.weak) / "MLmodel").unlink()


def run_of_a_dead_process(state: State) -> None:
    uri = state.config.mlflow_uri
    client(uri).create_run(experiment(uri, "sentiment-dev"), tags={OWNER: dead_owner()})


def forgotten_folder(state: State) -> None:
    left = state.config.datasets / "news" / f"{files.TEMPORARY}0123"
    left.mkdir()
    (left / "split.parquet").write_bytes(b"half")
    long_ago = time.time() - doctor.ABANDONED_SECONDS - 60
    for path in (left / "split.parquet", left):
        os.utime(path, (long_ago, long_ago))


REPAIRED = [
    (failed, "dev.ml.sentiment v3", "its registration failed"),
    (left_by_a_dead_process, "dev.ml.sentiment v3", "the process that was registering it has ended"),
    (alias_in_capitals, "dev.ml.sentiment@Shadow", "MLflow keeps it apart from shadow"),
    (champion_in_capitals, "dev.ml.sentiment@Champion", "MLflow keeps it apart from champion"),
    (dangling_alias, "dev.ml.sentiment@canary", "points to v77, which is not there"),
    (silent_loser, "dev.ml.sentiment v3", "lost against another promotion and does not say so"),
    (repeated_entry, "dev.ml.sentiment v3", "it repeats an earlier entry"),
    (winner_that_says_it_lost, "dev.ml.sentiment", "an interrupted step left the alias at 2"),
    (deletion_cut_short, "dev.ml.sentiment", "a deletion was interrupted: the log has let v3 go"),
    (cleanup_cut_short, "dev.ml.sentiment", "a clean-up was interrupted: files of 1 models"),
    (deleted_run, "dev.ml.sentiment", "`mlflow gc` would destroy the files of v2"),
    (run_of_a_dead_process, "run", "is RUNNING, but its process has ended"),
    (forgotten_folder, "leftover", "was left by an interrupted step, 1 hours ago"),
]
LEFT_TO_A_PERSON = [
    (still_being_written, "dev.ml.sentiment v3", "still being registered"),
    (run_that_is_not_there, "dev.ml.sentiment", "of v1 is not there: its lineage is lost"),
    (deleted_logged_model, "dev.ml.sentiment", "`mlflow gc` would destroy its files"),
    (damaged_rollback_target, "dev.ml.sentiment v1", "a rollback would fail"),
    (missing_rollback_target, "dev.ml.sentiment v1", "a rollback would fail"),
]


@pytest.mark.parametrize(("plant", "what", "words"), REPAIRED)
def test_what_needs_no_decision_is_found_and_repaired(
    lived_in: State, plant: Callable[[State], None], what: str, words: str
) -> None:
    champion = promotion.read_log(lived_in.target).champion
    plant(lived_in)
    [found] = [f for f in doctor.examine([lived_in.config], repair=False) if f.state == "problem"]
    assert (found.what, "mlops doctor --repair" in found.message) == (what, True)
    assert words in found.message
    [done] = [f for f in doctor.examine([lived_in.config], repair=True) if f.state != "ok"]
    assert (done.state, done.what) == ("repaired", what)
    assert problems(lived_in) == []
    assert promotion.champion(lived_in.target).version == champion


@pytest.mark.parametrize(("plant", "what", "words"), LEFT_TO_A_PERSON)
def test_what_needs_a_decision_is_found_and_left_alone(
    lived_in: State, plant: Callable[[State], None], what: str, words: str
) -> None:
    plant(lived_in)
    for repair in (False, True):
        [found] = [f for f in doctor.examine([lived_in.config], repair=repair) if f.state != "ok"]
        assert (found.state, found.what) == ("problem", what)
        assert words in found.message


def test_what_was_registered_past_the_command_is_mentioned(lived_in: State) -> None:
    client(lived_in.config.mlflow_uri).create_model_version(lived_in.target.name, lived_in.weak.uri)
    findings = {f.what: f for f in doctor.examine([lived_in.config], repair=True)}
    assert findings["dev.ml.sentiment v3"].state == "ok"
    assert "never loaded or promoted" in findings["dev.ml.sentiment v3"].message


def test_an_alias_in_capitals_is_kept_in_lower_case(lived_in: State) -> None:
    alias_in_capitals(lived_in)
    doctor.examine([lived_in.config], repair=True)
    assert store.model(lived_in.target).aliases == {"champion": 2, "shadow": 1}


def test_the_files_of_an_interrupted_cleanup_are_removed(lived_in: State) -> None:
    folder: Path = lived_in.folder(lived_in.regression)
    cleanup_cut_short(lived_in)
    assert folder.exists()
    doctor.examine([lived_in.config], repair=True)
    assert not folder.exists()
