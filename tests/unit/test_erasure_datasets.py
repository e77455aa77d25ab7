"""Rows leave dataset versions: named by text, key or id; digests stay explained, and nothing brings the rows back."""

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from cli import ending, main
from lifecycle import settings
from lifecycle.core.errors import ConfigError, ConflictError, IntegrityError, NotFoundError, TransientError
from lifecycle.data import dataset, lock, tombstones
from lifecycle.data.erased import Erased
from lifecycle.data.manifest import Manifest
from lifecycle.data.source import Source
from lifecycle.erasure import history, journal, search
from lifecycle.erasure.erase import erase
from lifecycle.erasure.forms import Forms
from lifecycle.erasure.journal import Erasure
from lifecycle.erasure.predictions import _before
from lifecycle.erasure.wanted import Subject, Wanted
from lifecycle.problems.text_classification import identity
from lifecycle.settings import Settings
from tests.conftest import tree, write_news

WORDS = ("profit rose to a record", "loss widened on weak demand", "the meeting is in May")
LABELS = ("good", "bad", "neutral")


class Place(NamedTuple):
    """A row of `PEOPLE`, where it came to lie."""

    text: str
    customer: str
    side: str


def people(count: int = 60) -> pd.DataFrame:
    rows = [(f"Customer {n} says {WORDS[n % 3]}, {n}", LABELS[n % 3], f"c{n}") for n in range(count)]
    rows += [(rows[0][0].upper(), rows[0][1], "c0"), ("", "good", "c1"), ("a text without a label", "", "c2")]
    rows += [("Of two minds they write to us", "good", "c3"), ("of two minds they write to us", "bad", "c4")]
    return pd.DataFrame(rows, columns=["text", "label", "customer"])


def make(config: Settings, rows: pd.DataFrame, data_version: str = "1.0.0", data_name: str = "people") -> Manifest:
    path = config.state.parent / f"{data_name}-{data_version}.csv"
    rows.to_csv(path, index=False)
    dataset.create(dataset.plan(config, Source(uri=str(path)), data_name=data_name, data_version=data_version))
    return dataset.load(config.datasets, data_name, data_version)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One version of `people`."""
    folder = tmp_path_factory.mktemp("people") / "state"
    make(settings.load("dev", home=folder), people())
    return folder


@pytest.fixture(scope="module")
def grown(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a second version of more rows."""
    folder = Path(shutil.copytree(made, tmp_path_factory.mktemp("grown") / "state"))
    make(settings.load("dev", home=folder), people(90), "2.0.0")
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path) -> Settings:
    return settings.load("dev", home=Path(shutil.copytree(made, tmp_path / "state")))


@pytest.fixture
def twice(grown: Path, tmp_path: Path) -> Settings:
    return settings.load("dev", home=Path(shutil.copytree(grown, tmp_path / "state")))


def stored(config: Settings, data_version: str = "1.0.0", name: str = "split.parquet") -> pd.DataFrame:
    return pd.read_parquet(config.datasets / "people" / data_version / name)


def holds(config: Settings, *texts: str) -> list[Path]:
    """Every file below the state that holds one of the texts, by the search and, for what it does not know, by grep."""
    plain = [text.encode() for text in texts]
    found = [path for path in search.files([config.state]) if search.holds(path, Forms(texts))]
    return [
        *found,
        *(path for path in search.files([config.state]) if any(text in path.read_bytes() for text in plain)),
    ]


def by_side(config: Settings, side: str) -> Place:
    row = stored(config).query("split == @side").iloc[0]
    return Place(row["text"], row["source_customer"], side)


SUBJECTS: dict[str, Callable[[Place], Subject]] = {
    "text": lambda row: Subject(texts=(row.text,)),
    "text in another case": lambda row: Subject(texts=(row.text.upper(),)),
    "text with other blanks": lambda row: Subject(texts=(f"  {row.text.replace(' ', '   ')}\t",)),
    "key": lambda row: Subject(keys=(identity.text_key(row.text),)),
    "first digits of the key": lambda row: Subject(keys=(identity.text_key(row.text)[:16],)),
    "id": lambda row: Subject(id_column="customer", ids=(row.customer,)),
    "id and text": lambda row: Subject(texts=(row.text,), id_column="customer", ids=(row.customer,)),
}


@pytest.mark.parametrize(("named", "side"), list(zip(SUBJECTS, cycle(["train", "test", "holdout"]), strict=False)))
def test_a_row_goes_from_every_version_however_it_is_named(twice: Settings, named: str, side: str) -> None:
    here = twice
    row = by_side(here, side)
    before = [dataset.load(here.datasets, "people", version) for version in ("1.0.0", "2.0.0")]
    done = erase([here], SUBJECTS[named](row), reason="asked for")
    assert done.done
    assert {each.what for each in done.touched if each.kind == "dataset"} == {"people 1.0.0", "people 2.0.0"}
    assert not holds(here, row.text)
    assert row.customer not in {*stored(here)["source_customer"], *stored(here, "2.0.0")["source_customer"]}
    for manifest in before:
        after = dataset.verify(here.datasets, "people", manifest.data_version)
        assert after.digest == manifest.digest
        assert after.rows_in == manifest.rows_in
        assert after.rows_in == after.rows_split + after.rows_quarantined + after.rows_erased
        (entry,) = after.erased
        assert sum(entry.rows.values()) == after.rows_erased > 0
        assert (entry.before, entry.after) == (manifest.files, after.files)
        assert (entry.erasure, entry.reason) == (done.erasure, "asked for")


def test_quarantine_is_emptied_of_it_too(here: Settings) -> None:
    texts = ("a text without a label", "OF TWO minds they write to us", f"customer 0 says {WORDS[0]}, 0")
    erase([here], Subject(texts=texts))
    (entry,) = dataset.verify(here.datasets, "people", "1.0.0").erased
    assert entry.rows["quarantine"] == 4
    assert not holds(here, *texts)


def test_report_docs_and_examples_are_made_again_of_what_stays(here: Settings) -> None:
    folder = here.datasets / "people" / "1.0.0"
    assert "a text without a label" in (folder / "report.html").read_text()
    erase([here], Subject(texts=("a text without a label",)))
    assert (folder / "data_docs" / "index.html").exists()
    assert "two minds" in (folder / "report.html").read_text()
    assert "65 rows in = 60 split + 4 in quarantine + 1 erased" in (folder / "report.html").read_text().replace(
        "\n", " "
    )
    assert not holds(here, "a text without a label")


def test_nothing_of_the_text_stands_in_record_manifest_or_tombstone(here: Settings) -> None:
    row = by_side(here, "holdout")
    done = erase([here], Subject(texts=(row.text,)), reason="asked for")
    kept = [here.state / "erasures" / f"{done.erasure}.json", here.datasets / tombstones.FILE]
    kept += [here.datasets / "people" / "1.0.0" / "manifest.json"]
    for path in kept:
        content = path.read_text()
        assert row.text not in content
        assert identity.text_key(row.text)[:16] not in content, "the sha256 of a text lets anybody test a guess"
    assert not (here.state / "erasures" / journal.PENDING).exists()


def test_the_original_table_does_not_bring_the_row_back(here: Settings) -> None:
    row, before = by_side(here, "train"), tree(here.datasets)
    erase([here], Subject(texts=(row.text,)))
    after = tree(here.datasets)
    make(here, people())  # the same command again: the version is in place
    assert tree(here.datasets) == after != before
    manifest = make(here, people(), "3.0.0")
    assert manifest.rows_erased == 1 + (row.customer == "c0")
    assert manifest.erased == ()
    dataset.verify(here.datasets, "people", "3.0.0")
    assert not holds(here, row.text)


def test_the_id_keeps_later_rows_of_the_person_away(here: Settings) -> None:
    erase([here], Subject(id_column="customer", ids=("c7",)))
    later = pd.concat(
        [people(), pd.DataFrame([("A new letter of hers to us", "good", "c7")], columns=["text", "label", "customer"])]
    )
    manifest = make(here, later, "3.0.0")
    assert manifest.rows_erased == 2
    assert not holds(here, "A new letter of hers to us")


def test_a_changed_version_is_refused_as_before(here: Settings) -> None:
    erase([here], Subject(texts=(by_side(here, "test").text,)))
    path = here.datasets / "people" / "1.0.0" / "split.parquet"
    rows = pd.read_parquet(path)
    rows.iloc[1:].to_parquet(path, index=False)
    with pytest.raises(IntegrityError, match=r"split\.parquet"):
        dataset.verify(here.datasets, "people", "1.0.0")


def test_a_forged_count_of_erased_rows_is_noticed(here: Settings) -> None:
    path = here.datasets / "people" / "1.0.0" / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "rows_erased": 3}))
    with pytest.raises(IntegrityError, match="row numbers"):
        dataset.verify(here.datasets, "people", "1.0.0")


def test_the_same_again_does_nothing(here: Settings) -> None:
    subject = Subject(texts=(by_side(here, "train").text,))
    erase([here], subject)
    after = tree(here.state)
    again = erase([here], subject)
    assert (again.done, again.touched) == (True, ())
    assert tree(here.state) == after


def test_an_id_that_was_erased_is_known_though_nothing_holds_it(here: Settings) -> None:
    erase([here], Subject(id_column="customer", ids=("c9",)))
    assert erase([here], Subject(id_column="customer", ids=("c9",))).done


@pytest.mark.parametrize(
    "subject",
    [
        Subject(texts=("nobody ever wrote this sentence",)),
        Subject(keys=("0" * 64,)),
        Subject(keys=("0123456789abcdef",)),
        Subject(id_column="customer", ids=("c1000",)),
        Subject(id_column="no_such_column", ids=("c1",)),
    ],
)
def test_rows_that_nothing_holds_are_said_to_be_unknown_and_nothing_is_written(
    here: Settings, subject: Subject
) -> None:
    before = tree(here.state)
    with pytest.raises(NotFoundError, match="Nothing holds these rows") as refused:
        erase([here], subject)
    assert subject.id_column in refused.value.fix
    assert tree(here.state) == before


def test_a_dry_run_says_the_same_and_changes_nothing(here: Settings) -> None:
    before, subject = tree(here.state), Subject(texts=(by_side(here, "holdout").text,))
    planned = erase([here], subject, dry_run=True)
    assert not planned.done
    assert tree(here.state) == before
    assert erase([here], subject).touched == planned.touched


def test_what_no_table_holds_of_what_was_named_is_told_by_its_place(here: Settings) -> None:
    texts = ("nobody wrote this", by_side(here, "test").text, "nor that")
    keys = ("0" * 64, identity.text_key(by_side(here, "holdout").text)[:20])
    subject = Subject(texts=texts, keys=keys, id_column="customer", ids=("c9", "c09"))
    unmet = {"texts": (1, 3), "keys": (1,), "ids": (2,)}
    assert erase([here], subject, dry_run=True).unmet == unmet
    done = erase([here], subject)
    assert done.unmet == unmet
    assert erase([here], Subject(id_column="customer", ids=("c9", "c10"))).unmet == {}, "c9 was erased before"
    record = (here.state / "erasures" / f"{done.erasure}.json").read_text(encoding="utf-8")
    assert not any(named in record for named in ("c09", "nobody", "0" * 64))


def test_the_command_says_what_it_would_erase_and_what_nothing_holds(
    here: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ids.txt").write_text("c9\nc0009\n", encoding="utf-8")
    line = ["data", "erase", "--id-column", "customer", "--ids-from", str(tmp_path / "ids.txt")]
    monkeypatch.setenv("MLOPS_HOME", str(here.state))
    for last, told in (("--dry-run", "Would erase rows in 1 place."), ("--yes", "Record: erasures/")):
        monkeypatch.setattr(sys, "argv", ["mlops", *line, last])
        assert ending.of(main.app) == 0
        said = capsys.readouterr().out
        assert told in said
        assert "named: ids 2." in said
        assert "c0009" not in said


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"keys": ("abc",)},
        {"keys": ("g" * 16,)},
        {"keys": ("A" * 64,)},
        {"ids": ("c1",)},
        {"id_column": "customer"},
        {"texts": tuple(map(str, range(501)))},
    ],
)
def test_what_names_no_row_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        settings.checked(Subject, **arguments)


def test_a_subject_shows_no_text() -> None:
    subject = Subject(texts=("Anna wrote this",), id_column="customer", ids=("c77",))
    intent = journal.Intent(subject=subject, texts=subject.texts, planned=Erasure(erasure="e", at="", by="", reason=""))
    assert "Anna" not in f"{subject!r} {intent!r}"
    assert "c77" not in f"{subject!r} {intent!r}"


def test_a_training_on_what_stays_is_another_training(here: Settings) -> None:
    before = dataset.load(here.datasets, "people", "1.0.0")
    erase([here], Subject(texts=(by_side(here, "train").text,)))
    after = dataset.load(here.datasets, "people", "1.0.0")
    assert before.digest == after.digest


@pytest.mark.parametrize("what", ["data_root", "output_root", "tracking_uri", "registry_uri"])
def test_what_lies_elsewhere_is_refused_with_its_reason(here: Settings, what: str) -> None:
    elsewhere = {
        "data_root": Path("/Volumes/dev/ml/mlops/data"),
        "output_root": Path("/Volumes/dev/ml/mlops/predictions"),
        "tracking_uri": "http://mlflow.example:5000",
        "registry_uri": "databricks-uc",
    }
    before = tree(here.state)
    with pytest.raises(ConfigError, match=r"environment dev.*not reached.*--env"):
        erase([settings.load("dev", home=here.state, **{what: elsewhere[what]})], Subject(texts=("a",)))
    assert tree(here.state) == before


@pytest.mark.parametrize("table", ["main.ml.predictions", "s3://bucket/table", "abfss://a@b/table"])
def test_a_table_that_cannot_be_changed_from_here_is_refused(here: Settings, table: str) -> None:
    with pytest.raises(ConfigError, match="cannot be changed from here"):
        erase([here], Subject(texts=("a",)), tables=[table])


def test_a_file_that_nobody_knows_is_named(here: Settings) -> None:
    row = by_side(here, "train")
    inside, backup = here.state / "demo", here.state / "copy.parquet"
    inside.mkdir()
    (inside / "mlflow.db").touch()
    (inside / "note.txt").write_text(f"she said: {row.text}")
    pd.DataFrame({"t": [row.text]}).to_parquet(backup)
    done = erase([here], Subject(texts=(row.text,)))
    assert {Path(each.what).name for each in done.left} == {"note.txt", "copy.parquet", "people-1.0.0.csv"}


DATABASES = {
    "in a cell": [("INSERT INTO log VALUES (1, ?)", "she said: {}")],
    "as JSON": [("INSERT INTO log VALUES (1, ?)", '{{"message": "{}"}}')],
    "deleted": [("INSERT INTO log VALUES (1, ?)", "{}" * 300), ("DELETE FROM log WHERE 1 OR ? = ''", "{}")],
    "changed": [
        ("INSERT INTO log VALUES (1, ?)", "{}" * 300),
        ("UPDATE log SET message = 'x' WHERE 1 OR ? = ''", "{}"),
    ],
    "as bytes": [("INSERT INTO log VALUES (1, CAST(? AS BLOB))", "{}")],
}


@pytest.mark.parametrize("mode", ["wal", "delete"])
@pytest.mark.parametrize("how", DATABASES)
def test_no_page_of_a_database_keeps_it(tmp_path: Path, how: str, mode: str) -> None:
    text, path = "Anna wrote this letter to us", tmp_path / "prefect.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA secure_delete = OFF")
        database.execute(f"PRAGMA journal_mode = {mode}")
        database.execute("CREATE TABLE log (id INTEGER, message TEXT)")
        for statement, value in DATABASES[how]:
            database.execute(statement, (value.replace("{}", text).replace("{{", "{").replace("}}", "}"),))
        database.execute("INSERT INTO log VALUES (2, 'of somebody else')")
        database.commit()
        assert any(text.encode() in each.read_bytes() for each in tmp_path.iterdir())
    history.clean_database(path, Forms([text]))
    assert not any(text.encode() in each.read_bytes() for each in tmp_path.iterdir())
    with closing(sqlite3.connect(path)) as database:
        assert ("of somebody else",) in database.execute("SELECT message FROM log").fetchall()


def test_a_database_in_use_is_waited_for_and_then_named(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "BUSY_SECONDS", 0.1)
    row, path = by_side(here, "train"), here.state / "some.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE log (message TEXT)")
        database.execute("BEGIN IMMEDIATE")
        with pytest.raises(TransientError, match=r"some\.db.*mlops down"):
            erase([here], Subject(texts=(row.text,)))
        with pytest.raises(ConflictError, match="interrupted"):
            make(here, people(), "3.0.0")
    assert erase([here], None).done
    assert not holds(here, row.text)
    make(here, people(), "3.0.0")


def test_another_erasure_completes_the_interrupted_one_first(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = by_side(here, "train"), by_side(here, "holdout")
    monkeypatch.setattr(history, "BUSY_SECONDS", 0.1)
    with closing(sqlite3.connect(here.state / "some.db")) as database:
        database.execute("CREATE TABLE log (message TEXT)")
        database.execute("BEGIN IMMEDIATE")
        with pytest.raises(TransientError):
            erase([here], Subject(texts=(first.text,)))
    erase([here], Subject(texts=(second.text,)))
    assert not holds(here, first.text, second.text)
    assert len(journal.known(here.state)) == 2


def test_nothing_to_complete_is_said(here: Settings) -> None:
    with pytest.raises(NotFoundError, match="No erasure was interrupted"):
        erase([here], None)


READER = """
import sys, time
from pathlib import Path
from lifecycle.data import lock
with lock.undisturbed(Path(sys.argv[1])):
    print("reading", flush=True)
    sys.stdin.read()
"""


def test_an_erasure_waits_for_who_reads_until_that_process_ends(here: Settings) -> None:
    command = [sys.executable, "-c", READER, str(here.datasets)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout
        assert reader.stdout.readline() == "reading\n"
        with pytest.raises(TransientError, match="Another command"), lock.alone([here.datasets], 0.2):
            pass
        reader.kill()
    with lock.alone([here.datasets]):
        pass
    with lock.undisturbed(here.datasets), lock.undisturbed(here.datasets):
        pass


def test_damaged_tombstones_let_nothing_in(here: Settings) -> None:
    erase([here], Subject(texts=(by_side(here, "train").text,)))
    (here.datasets / tombstones.FILE).write_text("{")
    with pytest.raises(IntegrityError, match="erased rows come in again"):
        make(here, people(), "3.0.0")


@given(st.lists(st.sets(st.integers(0, 30), max_size=6), max_size=4))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_where_a_row_stood_is_known_after_any_number_of_erasures(steps: list[set[int]]) -> None:
    rows, entries = list(range(20)), list[Erased]()
    for step in steps:
        gone = {place for place in step if place < len(rows)}
        positions = tuple(sorted(place + 1 for place in gone))
        entries.append(Erased(erasure="", at="", by="", reason="", rows={}, positions=positions, before={}, after={}))
        rows = [row for place, row in enumerate(rows) if place not in gone]
    places = list(range(len(rows)))
    for entry in reversed(entries):
        places = _before(places, entry)
    assert places == rows


def test_a_version_that_no_longer_passes_its_suite_is_erased_all_the_same(here: Settings) -> None:
    path = here.datasets / "people" / "1.0.0" / "manifest.json"
    manifest = json.loads(path.read_text())
    suite = [{"type": "expect_table_row_count_to_be_between", "severity": "critical", "kwargs": {"min_value": 65}}]
    manifest["parameters"]["suite"] = suite
    path.write_text(json.dumps(manifest))
    erase([here], Subject(texts=(by_side(here, "train").text,)))
    dataset.verify(here.datasets, "people", "1.0.0")
    docs = here.datasets / "people" / "1.0.0" / "data_docs"
    assert "does not pass" in (docs / "index.html").read_text()
    assert len([each for each in docs.rglob("*") if each.is_file()]) == 1


def test_a_prefix_of_another_text_leaves_that_text_alone() -> None:
    wanted = Wanted.of(Subject(texts=("Customer 1 says",)))
    assert wanted.has_text("customer 1  SAYS")
    assert not wanted.has_text("Customer 1 says more")


def test_a_version_of_an_earlier_release_is_erased_too(here: Settings) -> None:
    path = here.datasets / "people" / "1.0.0" / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(
        json.dumps({name: value for name, value in manifest.items() if name not in {"erased", "rows_erased"}})
    )
    erase([here], Subject(texts=(by_side(here, "train").text,)))
    assert dataset.verify(here.datasets, "people", "1.0.0").rows_erased > 0


def test_news_of_another_dataset_are_left_as_they_are(here: Settings) -> None:
    make(here, pd.read_csv(write_news(here.state.parent / "news.csv")), data_name="news")
    before = tree(here.datasets / "news")
    erase([here], Subject(texts=(by_side(here, "train").text,)))
    assert tree(here.datasets / "news") == before
