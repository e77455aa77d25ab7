"""A state directory that was renamed, restored, copied or linked keeps its models, and touches no other directory.

Promise: A state that was moved, copied, restored or linked works, and nothing is removed outside it.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle import doctor, settings
from lifecycle.data import dataset
from lifecycle.models import loading
from lifecycle.registry import promotion, removal, store
from lifecycle.registry.store import Target
from lifecycle.storage import embedded, moved_state
from lifecycle.tracking import client as tracking
from tests.conftest import ROOT, exhaustive, train_model, tree
from tests.registry.conftest import State, promote


class Lived(NamedTuple):
    """A state in which v1 and then v2 became champion, as it was made: nothing of it names another place."""

    home: Path
    before: dict[str, bytes]


@pytest.fixture(scope="module")
def original_home(original: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = original.moved(tmp_path_factory.mktemp("lived") / "state")
    for model in (found.weak, found.bayes):
        promote(found.target, model)
    return found.config.state


@pytest.fixture
def lived(original_home: Path, tmp_path: Path) -> Lived:
    """The state at a place of the test's own."""
    home = tmp_path / "original" / "state"
    shutil.copytree(original_home, home)
    moved_state.reroot(home / "mlflow.db")
    return Lived(home, tree(home))


def target_in(home: Path) -> Target:
    return store.target_of(settings.load("dev", home=home), "sentiment")


def addresses(database: Path) -> list[str]:
    """Every address of artifacts that a database holds."""
    with closing(sqlite3.connect(database)) as connection:
        return [
            text
            for table, column in moved_state.ADDRESSES
            for (text,) in connection.execute(f"SELECT {column} FROM {table}")  # noqa: S608
            if text and text.startswith(("file:", "/"))
        ]


def within(address: str, folder: Path) -> bool:
    path = moved_state.local_path(address)
    return path is not None and path.resolve().is_relative_to(folder.resolve())


def works_in(home: Path) -> None:
    """History, models, training and rollback work, everything named lies in the state, and doctor is content."""
    target = target_in(home)
    assert [entry.number for entry in promotion.read_log(target).applied] == [1, 2]
    for number in (1, 2):
        loading.verify(promotion.reference(target, number))
    named = [each for each in addresses(home / "mlflow.db") if "mlruns" not in each]
    assert named
    assert [each for each in named if not within(each, home / "artifacts")] == []
    with closing(sqlite3.connect(home / "mlflow.db")) as connection:
        sources = [json.loads(text)["uri"] for (text,) in connection.execute("SELECT dataset_source FROM datasets")]
    assert {within(source, home / "data") for source in sources} == {True}
    intent = promotion.intend_rollback(target, None, "it was worse")
    assert isinstance(intent, promotion.Intent)
    assert promotion.promote(intent).champion == 1
    found = doctor.examine([settings.load("dev", home=home)], repair=False)
    assert [each.message for each in found if each.state != "ok"] == []


def rename(lived: Lived, to: Path) -> Path:
    to.parent.mkdir(parents=True, exist_ok=True)
    return lived.home.rename(to)


def used(home: Path) -> None:
    """Used there by a process that has ended since: this one keeps no connection to what is moved next."""
    store = tracking.client(f"sqlite:///{home / 'mlflow.db'}")._tracking_client.store
    store.engine.dispose()


def twice(lived: Lived, tmp_path: Path) -> Path:
    """Moved, used there, moved again."""
    first = rename(lived, tmp_path / "first")
    used(first)
    return first.rename(tmp_path / "second")


def two_former_places(lived: Lived, tmp_path: Path) -> Path:
    """Moved, and used there by a release that did not follow: what it made names that place, the rest the first."""
    home = rename(lived, tmp_path / "second")
    with closing(sqlite3.connect(home / "mlflow.db")) as connection, connection:
        made = "UPDATE runs SET artifact_uri = replace(artifact_uri, ?, ?) WHERE rowid = 1"
        connection.execute(made, (lived.home.as_uri(), home.as_uri()))
        new = "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage) VALUES (99, ?, ?, ?)"
        connection.execute(new, ("other-dev", (home / "artifacts").as_uri(), "active"))
    return home.rename(tmp_path / "third")


def through_a_link(lived: Lived, tmp_path: Path) -> Path:
    rename(lived, tmp_path / "disk" / "state")
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    return tmp_path / "link" / "state"


def linked_itself(lived: Lived, tmp_path: Path) -> Path:
    (tmp_path / "state").symlink_to(rename(lived, tmp_path / "disk" / "state"))
    return tmp_path / "state"


def past_a_link(lived: Lived, tmp_path: Path) -> Path:
    """Used through a link, then directly, when the link is gone."""
    home = through_a_link(lived, tmp_path)
    tracking.client(f"sqlite:///{home / 'mlflow.db'}")
    (tmp_path / "link").unlink()
    return tmp_path / "disk" / "state"


def link_changed(lived: Lived, tmp_path: Path) -> Path:
    home = through_a_link(lived, tmp_path)
    used(home)
    shutil.move(tmp_path / "disk", tmp_path / "other disk")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to(tmp_path / "other disk")
    return home


def database_alone(lived: Lived, tmp_path: Path) -> Path:
    """Restored without its artifacts, which are still where they were."""
    home = tmp_path / "restored"
    shutil.copytree(lived.home, home, ignore=shutil.ignore_patterns("artifacts"))
    return home


def plain_paths(lived: Lived, tmp_path: Path) -> Path:
    """With addresses as MLflow wrote them once: paths."""
    home = rename(lived, tmp_path / "plain")
    with closing(sqlite3.connect(home / "mlflow.db")) as connection, connection:
        for table, column in moved_state.ADDRESSES:
            change = f"UPDATE {table} SET {column} = replace({column}, 'file:///', '/')"  # noqa: S608
            connection.execute(f"{change} WHERE {column} LIKE 'f%'")
    return home


def copied(lived: Lived, tmp_path: Path) -> Path:
    return Path(shutil.copytree(lived.home, tmp_path / "copy", symlinks=True))


def into_itself(lived: Lived, tmp_path: Path) -> Path:
    """To where the former place had its artifacts."""
    home = rename(lived, tmp_path / "moving")
    (lived.home / "artifacts").mkdir(parents=True)
    return home.rename(lived.home / "artifacts" / "state")


WAYS: dict[str, Callable[[Lived, Path], Path]] = {
    "renamed": lambda lived, tmp_path: rename(lived, tmp_path / "renamed"),
    "copied": copied,
    "deeper": lambda lived, tmp_path: rename(lived, tmp_path / "a" / "b" / "c" / "state"),
    "beside a longer name": lambda lived, _: rename(lived, lived.home.with_name("state2")),
    "into itself": into_itself,
    "twice": twice,
    "two former places": two_former_places,
    "through a link": through_a_link,
    "through a link to itself": linked_itself,
    "past a link": past_a_link,
    "link changed": link_changed,
    "database alone": database_alone,
    "plain paths": plain_paths,
    "blanks and accents": lambda lived, tmp_path: rename(lived, tmp_path / "my état 日本" / "run (1)"),
    "hash": lambda lived, tmp_path: rename(lived, tmp_path / "C# models"),
    "percent": lambda lived, tmp_path: rename(lived, tmp_path / "100% done"),
    "quotes": lambda lived, tmp_path: rename(lived, tmp_path / 'it\'s "new"; `x`'),
    "brackets and stars": lambda lived, tmp_path: rename(lived, tmp_path / "a[b]*{c}$HOME"),
    "line break": lambda lived, tmp_path: rename(lived, tmp_path / "a\nb"),
}


ODD = {"blanks and accents", "hash", "percent", "quotes", "brackets and stars", "line break"}
"""Names of folders, each of which MLflow's addresses write otherwise: two of them have all that is written."""


@pytest.mark.parametrize(
    "way",
    [pytest.param(way, marks=exhaustive if way in ODD - {"blanks and accents", "quotes"} else ()) for way in WAYS],
)
def test_a_state_that_lies_elsewhere_now_works_there_and_leaves_the_former_place_alone(
    lived: Lived, tmp_path: Path, way: str
) -> None:
    home = WAYS[way](lived, tmp_path)
    works_in(home)
    if way in {"copied", "database alone"}:
        assert tree(lived.home) == lived.before
    elif way != "into itself":
        assert not lived.home.exists()


def test_a_clean_up_in_a_copy_removes_files_of_the_copy_alone(lived: Lived, tmp_path: Path) -> None:
    home = copied(lived, tmp_path)
    done = removal.cleanup(target_in(home), 0, reason="a try")
    assert len(done.collected) == 1
    assert sorted(set(tree(lived.home)) - set(tree(home)))
    assert tree(lived.home) == lived.before


LINKED = ("artifacts", "artifacts/models", "mlflow.db", "one model")


@pytest.mark.parametrize("what", LINKED)
def test_files_that_a_link_leads_out_of_the_state_to_are_never_removed(lived: Lived, tmp_path: Path, what: str) -> None:
    home = copied(lived, tmp_path)
    parts = (
        [p.relative_to(home) for p in (home / "artifacts/models").iterdir()] if what == "one model" else [Path(what)]
    )
    for part in parts:
        shutil.rmtree(home / part) if (home / part).is_dir() else (home / part).unlink()
        (home / part).symlink_to(lived.home / part)
    assert removal.cleanup(target_in(home), 0, reason="a try").collected == ()
    doctor.examine([settings.load("dev", home=home)], repair=True)
    after = {name: content for name, content in tree(lived.home).items() if name.startswith("artifacts")}
    assert after == {name: content for name, content in lived.before.items() if name.startswith("artifacts")}


def test_a_clean_up_through_a_link_to_the_state_removes_what_lies_there(lived: Lived, tmp_path: Path) -> None:
    home = linked_itself(lived, tmp_path)
    [collected] = removal.cleanup(target_in(home), 0, reason="tidy").collected
    assert not (home / "artifacts" / "models" / collected.removeprefix("models:/") / "artifacts").exists()


@pytest.mark.parametrize("part", ["data", "mlflow.db", "artifacts/../data", "artifacts"])
def test_an_address_within_the_state_that_names_no_artifact_is_not_removed(lived: Lived, part: str) -> None:
    with closing(sqlite3.connect(lived.home / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE logged_models SET artifact_location = ?", (f"{lived.home.as_uri()}/{part}",))
    before = set(tree(lived.home))
    assert removal.cleanup(target_in(lived.home), 0, reason="tidy").collected == ()
    assert before <= set(tree(lived.home))


def test_what_is_trained_after_a_move_lies_in_the_state(lived: Lived, tmp_path: Path) -> None:
    home = rename(lived, tmp_path / "renamed")
    model = train_model(settings.load("dev", home=home), "naive_bayes", alpha=0.7)
    loading.verify(model)
    assert moved_state.lies_within(tracking.client(model.tracking_uri).get_run(model.run_id).info.artifact_uri, home)
    assert list(tmp_path.joinpath("original").iterdir()) == []


def test_experiments_of_others_stay_where_they_are(lived: Lived, tmp_path: Path) -> None:
    elsewhere = tmp_path / "mine" / "artifacts"
    client = tracking.client(f"sqlite:///{lived.home / 'mlflow.db'}")
    client.create_experiment("mine", artifact_location=elsewhere.as_uri())
    client.create_experiment("bucket-dev", artifact_location="s3://bucket/artifacts")
    home = rename(lived, tmp_path / "renamed")
    found = tracking.client(f"sqlite:///{home / 'mlflow.db'}")
    assert found.get_experiment_by_name("mine").artifact_location == elsewhere.as_uri()
    assert found.get_experiment_by_name("bucket-dev").artifact_location == "s3://bucket/artifacts"


def test_doctor_names_the_move_and_writes_nothing_until_it_is_told_to_repair(lived: Lived, tmp_path: Path) -> None:
    home = rename(lived, tmp_path / "renamed")
    config = settings.load("dev", home=home)
    [said] = [each for each in doctor.examine([config], repair=False) if each.state != "ok"]
    assert f"moved: its addresses name {lived.home}" in said.message
    assert said.message.endswith("Run: mlops doctor --repair")
    assert tree(home) == lived.before
    repaired = doctor.examine([config], repair=True)
    assert [each.what for each in repaired if each.state == "repaired"] == ["database"]
    assert [each for each in repaired if each.state == "problem"] == []
    works_in(home)


def test_plain_mlflow_reads_a_moved_state(lived: Lived, tmp_path: Path) -> None:
    home = rename(lived, tmp_path / "renamed")
    works_in(home)
    script = (
        "import mlflow, pandas as pd; mlflow.set_tracking_uri('sqlite:///renamed/mlflow.db')\n"
        "model = mlflow.pyfunc.load_model('models:/dev.ml.sentiment@champion')\n"
        "print(len(model.predict(pd.DataFrame({'text': ['profit rose']}))))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


@pytest.fixture
def processes() -> Iterator[list["subprocess.Popen[bytes]"]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for each in started:
        each.kill()
        each.wait()


def test_two_that_open_a_moved_state_at_once_both_find_it(
    lived: Lived, tmp_path: Path, processes: list["subprocess.Popen[bytes]"]
) -> None:
    home = rename(lived, tmp_path / "renamed")
    script = "import sys; from pathlib import Path; from lifecycle.storage import embedded; "
    script += "embedded.prepare(Path(sys.argv[1]))"
    command = [sys.executable, "-c", script, str(home / "mlflow.db")]
    processes += [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    assert [each.wait(120) for each in processes] == [0, 0]
    works_in(home)


def test_killed_in_the_middle_it_is_as_before_and_the_next_does_it(lived: Lived, tmp_path: Path) -> None:
    home = rename(lived, tmp_path / "renamed")
    with closing(sqlite3.connect(home / "mlflow.db")) as connection, connection:
        connection.execute(
            "CREATE TRIGGER stop BEFORE UPDATE ON model_versions BEGIN SELECT RAISE(ABORT, 'killed here'); END"
        )
    with pytest.raises(sqlite3.IntegrityError, match="killed here"):
        embedded.prepare(home / "mlflow.db")
    assert {moved_state.lies_within(each, home) for each in addresses(home / "mlflow.db") if "mlruns" not in each} == {
        False
    }
    with closing(sqlite3.connect(home / "mlflow.db")) as connection, connection:
        connection.execute("DROP TRIGGER stop")
    works_in(home)


def test_an_address_cannot_climb_out_of_the_state(lived: Lived, tmp_path: Path) -> None:
    database = lived.home / "mlflow.db"
    climbing = f"{lived.home.as_uri()}/artifacts/../../../outside"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE logged_models SET artifact_location = ? WHERE rowid = 1", (climbing,))
    (tmp_path / "outside").mkdir()
    home = rename(lived, tmp_path / "renamed")
    embedded.prepare(home / "mlflow.db")
    assert climbing in addresses(home / "mlflow.db")
    assert not moved_state.lies_within(climbing, home)
    assert list((tmp_path / "outside").iterdir()) == []


@given(names=st.lists(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1), min_size=1))
def test_an_address_is_read_as_it_was_written(names: list[str]) -> None:
    path = Path(os.path.normpath("/" + "/".join(names)))
    assert moved_state.local_path(path.as_uri()) == path
    assert moved_state.local_path(str(path)) == path


@pytest.mark.parametrize(
    "address", ["", "s3://b/a", "mlflow-artifacts:/1", "dbfs:/x", "runs:/1/model", "models:/m-1", "file://[x", "a/b"]
)
def test_other_addresses_name_nothing_on_this_machine(address: str) -> None:
    assert moved_state.local_path(address) is None
    assert not moved_state.lies_within(address, Path("/"))


def test_datasets_and_predictions_do_not_say_where_they_lie(lived: Lived, tmp_path: Path) -> None:
    home = rename(lived, tmp_path / "renamed")
    assert dataset.verify(home / "data", "news", "1.0.0").rows_in == 240
