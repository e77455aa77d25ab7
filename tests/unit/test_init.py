"""`mlops init TABLE`: what it proposes for tables of each kind, what it writes, and that a mistake writes nothing."""

import json
import os
import pty
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pandas as pd
import pytest
import yaml

from cli.main import main
from lifecycle.settings import definitions
from tests.questions import write_project

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run `mlops init …` in an empty folder; its exit code and what it wrote to stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mlops", "init", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        return int(end.value.code or 0), out, " ".join(err.split())

    return command


def customers(**columns: Any) -> pd.DataFrame:
    rows = range(60)
    frame = pd.DataFrame(
        {
            "id": [f"c{row:03}" for row in rows],
            "age": [20 + row % 40 for row in rows],
            "plan": [("basic", "plus", "pro")[row % 3] for row in rows],
            "paperless": [row % 2 == 0 for row in rows],
            "churned": [("left", "stayed")[row % 5 > 0] for row in rows],
        }
    )
    return frame.assign(**columns)


def houses() -> pd.DataFrame:
    rows = range(60)
    return pd.DataFrame(
        {
            "sold": [f"2026-{1 + row % 12:02}-{1 + row % 28:02}" for row in rows],
            "area": [30.5 + row for row in rows],
            "street": [("Oak", "Elm")[row % 2] for row in rows],
            "price": [100_000 + 1_371 * row for row in rows],
        }
    )


def news() -> pd.DataFrame:
    rows = range(60)
    texts = [f"The company said on day {row} that its profit had {('risen', 'fallen')[row % 2]}." for row in rows]
    return pd.DataFrame({"Sentence": texts, "label": [("good", "bad")[row % 2] for row in rows]})


def written(folder: Path, name: str) -> dict[str, Any]:
    path = folder / "config" / "models" / f"{name}.yaml"
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def test_a_table_of_classes(run: Run, tmp_path: Path) -> None:
    customers().to_csv(tmp_path / "Customers 2026.csv", index=False)
    code, out, err = run("Customers 2026.csv", "--yes")
    assert (code, err) == (0, "")
    assert "tabular-classification: Customers 2026.csv, of which all 60 rows were looked at" in " ".join(out.split())
    assert out.rstrip().endswith("Wrote config/models/customers_2026.yaml. Next: mlops release")
    definition = definitions.load("customers_2026")
    assert definition.problem == "tabular-classification"
    assert (definition.data.target, definition.data.key) == ("churned", "id")
    assert definition.data.source == str(tmp_path / "Customers 2026.csv")
    kinds = {"id": "drop", "age": "numeric", "plan": "categorical", "paperless": "boolean"}
    assert definition.data.columns == kinds
    assert written(tmp_path, "customers_2026").keys() == {"problem", "data"}  # what is a default is not written
    assert not (tmp_path / ".mlops").exists()


def test_a_table_of_numbers_over_time_in_another_folder(run: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "houses.parquet"
    houses().to_parquet(elsewhere)
    code, out, _ = run(str(elsewhere), "--time-column", "sold", "--drop", "street", "--json", "--yes")
    assert code == 0
    facts = json.loads(out)
    assert (facts["written"], facts["rows"], facts["next"]) == (True, 60, "mlops release")
    definition = definitions.load("houses")
    assert facts["definition"] == definition.model_dump(mode="json")
    assert (definition.problem, definition.data.source) == ("tabular-regression", str(elsewhere))
    assert (definition.data.split.by, definition.data.split.column) == ("time", "sold")
    assert definition.data.columns["street"] == "drop"


def test_a_table_of_texts(run: Run, tmp_path: Path) -> None:
    news().assign(source="wire").to_json(tmp_path / "news.jsonl", orient="records", lines=True)
    assert run("news.jsonl", "--yes", "--problem", "text-classification")[0] == 0
    definition = definitions.load("news")
    assert definition.problem == "text-classification"
    assert definition.data.columns == {"Sentence": "text", "source": "drop"}


def test_choices_win_over_the_proposal(run: Run, tmp_path: Path) -> None:
    customers().to_csv(tmp_path / "table.tsv", index=False, sep=";")
    arguments = ["table.tsv", "--delimiter", ";", "--model-name", "age", "--target", "age", "--group-column", "plan"]
    assert run(*arguments, "--problem", "tabular-regression", "--key", "id", "--yes")[0] == 0
    data = written(tmp_path, "age")["data"]
    assert (data["delimiter"], data["target"], data["split"]) == (";", "age", {"by": "group", "column": "plan"})
    assert (data["columns"]["id"], data["columns"]["plan"]) == ("drop", "drop")
    assert run("table.tsv", "--delimiter", ";", "--yes")[1].rstrip().endswith("Next: mlops release --model-name table")


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_a_delimiter_that_nobody_declared_is_taken_from_the_header_and_declared(
    run: Run, tmp_path: Path, delimiter: str
) -> None:
    customers().to_csv(tmp_path / "table.csv", index=False, sep=delimiter)
    assert run("table.csv", "--target", "churned", "--yes")[0] == 0
    assert definitions.load("table").data.delimiter == delimiter


def test_a_column_in_another_encoding_may_be_dropped(run: Run, tmp_path: Path) -> None:
    customers().assign(town="Köln").to_csv(tmp_path / "t.csv", index=False, encoding="cp1252")
    assert run("t.csv", "--target", "churned", "--drop", "town", "--yes")[0] == 0
    assert definitions.load("t").data.columns["town"] == "drop"


@pytest.mark.parametrize("options", [[], ["--target", "Gekündigt"]])
def test_a_header_in_another_encoding_is_told_as_that(run: Run, tmp_path: Path, options: list[str]) -> None:
    rows = "".join(f"{n % 17},{'ja' if n % 3 else 'nein'}\n" for n in range(60))
    (tmp_path / "k.csv").write_text(f"Umsatz,Gekündigt\n{rows}", encoding="cp1252")
    code, _, told = run("k.csv", "--yes", *options)
    assert (code, "line 1, byte offset 10 (0xfc): not utf-8" in told, "--encoding cp1252" in told) == (3, True, True)
    assert run("k.csv", "--yes", "--encoding", "cp1252", *options)[0] == 0


def test_no_input_is_lost_for_a_name_in_another_encoding(run: Run, tmp_path: Path) -> None:
    customers().assign(Größe=range(60)).to_csv(tmp_path / "t.csv", index=False, encoding="cp1252")
    code, _, told = run("t.csv", "--target", "churned", "--yes")
    assert (code, "--encoding cp1252" in told) == (3, True)


def test_only_the_first_rows_are_looked_at_and_that_is_said(run: Run, tmp_path: Path) -> None:
    large = pd.concat([customers()] * 340, ignore_index=True)
    large.assign(id=range(len(large))).to_csv(tmp_path / "large.csv", index=False)
    code, out, _ = run("large.csv", "--dry-run")
    assert code == 0
    assert "only the first 20,000 rows were looked at" in " ".join(out.split())
    assert "target: churned" in out
    assert not (tmp_path / "config").exists()


def test_odd_names_of_columns_are_written_so_that_they_are_read_again(run: Run, tmp_path: Path) -> None:
    odd = ["yes", "2024", "a: b", "#c", "größe", " d ", "null", "{e}", "x" * 200, "it's"]
    customers(**{name: range(60) for name in odd}).to_csv(tmp_path / "t.csv", index=False)
    assert run("t.csv", "--yes")[0] == 0
    assert {*odd} <= {*definitions.load("t").data.columns}


def test_texts_are_no_classes(run: Run, tmp_path: Path) -> None:
    news().to_csv(tmp_path / "news.csv", index=False)
    code, _, err = run("news.csv", "--target", "Sentence", "--yes")
    assert code == 2
    assert "The target 'Sentence' has 60 different values in 60 rows: they are texts or ids, not classes." in err
    assert err.endswith("--target 'label'")
    assert not (tmp_path / "config").exists()


def test_where_the_target_is_not_clear_a_person_must_say(run: Run, tmp_path: Path) -> None:
    customers(label=["a", "b"] * 30).to_csv(tmp_path / "t.csv", index=False)
    code, out, err = run("t.csv", "--yes")
    assert (code, out) == (2, "")
    assert all(words in err for words in ("churned", "label", "--target COLUMN"))
    assert run("t.csv", "--yes", "--target", "label")[0] == 0


@contextmanager
def typed(text: str) -> Iterator[TextIO]:
    """A terminal at which somebody has typed some lines."""
    person, terminal = pty.openpty()
    os.write(person, text.encode())
    with os.fdopen(terminal, encoding="utf-8") as stdin:
        yield stdin
    os.close(person)


def test_on_a_terminal_it_asks(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    customers(label=["a", "b"] * 30).to_csv(tmp_path / "t.csv", index=False)
    with typed("label\ny\n") as stdin, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", stdin)
        code, _, err = run("t.csv")
    assert code == 0, err
    assert "Which column is to be predicted: " in err
    assert definitions.load("t").data.target == "label"


def test_a_no_writes_nothing(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    customers().to_csv(tmp_path / "t.csv", index=False)
    with typed("n\n") as stdin, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", stdin)
        code, _, err = run("t.csv")
    assert (code, "Nothing was changed." in err) == (2, True)
    assert not (tmp_path / "config").exists()


def test_what_is_defined_stays_unless_it_is_to_be_written_anew(run: Run, tmp_path: Path) -> None:
    customers().to_csv(tmp_path / "t.csv", index=False)
    assert run("t.csv", "--yes")[0] == 0
    path = tmp_path / "config" / "models" / "t.yaml"
    path.write_text("# mine")
    code, out, err = run("t.csv", "--yes")
    assert (code, out) == (2, "")
    assert "defined already, in config/models/t.yaml" in err
    assert "--force" in err
    assert path.read_text() == "# mine"
    assert run("t.csv", "--yes", "--force")[0] == 0
    assert definitions.load("t").data.target == "churned"


WRONG: dict[str, tuple[list[str], int, str]] = {
    "no table": ([], 2, "For example: mlops init data/customers.csv"),
    "no such file": (["none.csv"], 2, "none.csv does not exist"),
    "an empty file": (["empty.csv"], 3, "the file is empty"),
    "a header alone": (["header.csv"], 3, "no data rows after the header"),
    "one column": (["one.csv"], 2, "needs a target and an input"),
    "names that appear twice": (["twice.csv"], 2, "there is left: y. Rename those that appear twice"),
    "another delimiter": (["t.csv", "--delimiter", ";"], 3, "Declare --delimiter ,."),
    "another encoding": (["letters.csv", "--target", "churned"], 3, "line 2, byte offset"),
    "few rows": (["few.csv", "--target", "churned"], 3, "few.csv: 10 data rows are fewer than 20 (data.min_rows)."),
    "a key of several rows": (["t.csv", "--target", "churned", "--key", "plan"], 2, "--group-column plan"),
    "no such target": (["t.csv", "--target", "churn"], 2, "no column 'churn': there are id, age, plan"),
    "no such key": (["t.csv", "--key", "nr"], 2, "Correct --key"),
    "no such column to drop": (["t.csv", "--drop", "nr"], 2, "Correct --drop"),
    "a dropped target": (["t.csv", "--target", "plan", "--drop", "plan"], 2, "cannot be dropped"),
    "a target that is the key": (["t.csv", "--key", "churned"], 2, "churned is the key"),
    "group and time": (["t.csv", "--group-column", "plan", "--time-column", "age"], 2, "not by both"),
    "group and texts": (["t.csv", "--group-column", "plan", "--group-texts"], 2, "not by both"),
    "texts where no pair is": (["t.csv", "--group-texts"], 2, "--group-texts is for pairs of texts"),
    "a regression of words": (["t.csv", "--problem", "tabular-regression"], 2, "holds no number"),
    "a target that is the same everywhere": (["same.csv", "--target", "b"], 2, "'x' in every row"),
    "a target that is blank everywhere": (["same.csv", "--target", "c"], 2, "is blank in every row"),
    "a target with a currency": (["euro.csv"], 2, "holds no number, but '€1,000'. Write numbers plainly"),
    "texts where there are none": (["t.csv", "--problem", "text-classification"], 2, "one column of texts"),
    "columns of no use": (
        ["no_use.csv", "--target", "y"],
        2,
        "x (it says the same in every row), n (identifies a row)",
    ),
    "no such problem": (["t.csv", "--problem", "poetry"], 2, "poetry"),
    "a name that is none": (["t.csv", "--model-name", "../x"], 2, "is not a model name"),
    "a table without a name": (["%.csv"], 2, "--model-name NAME"),
    "a broken table": (["broken.csv"], 3, "row 2"),
    "a scheme that is not allowed": (["http://h/x.csv"], 2, "is not allowed"),
    "nobody to ask": (["t.csv"], 2, "--yes"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_a_mistake_is_told_and_writes_nothing(run: Run, tmp_path: Path, case: tuple[list[str], int, str]) -> None:
    arguments, code, words = case
    customers().to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "%.csv").write_text((tmp_path / "t.csv").read_text())
    (tmp_path / "empty.csv").touch()
    (tmp_path / "header.csv").write_text("a,b\n")
    (tmp_path / "same.csv").write_text("a,b,c\n1,x,\n2,x,\n")
    (tmp_path / "euro.csv").write_text("a,price\n" + "".join(f'{n % 9},"€{n + 1000:,}"\n' for n in range(60)))
    customers().assign(town="Köln").to_csv(tmp_path / "letters.csv", index=False, encoding="cp1252")
    customers()[:10].to_csv(tmp_path / "few.csv", index=False)
    (tmp_path / "one.csv").write_text("a\n1\n2\n")
    (tmp_path / "twice.csv").write_text("a,a,y\n" + "1,2,x\n" * 30)
    (tmp_path / "no_use.csv").write_text("x,n,y\n" + "".join(f"1,{n},{'ab'[n % 2]}\n" for n in range(30)))
    (tmp_path / "broken.csv").write_text("a,label\n1,x\n2\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    yes = ["--yes"] if words != "--yes" else []
    ended, _, err = run(*arguments, *yes)
    assert (ended, words in err, "Traceback" in err) == (code, True, False), err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_nested_columns_are_named_as_not_read(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture, form: str
) -> None:
    table = customers()
    table["address"] = pd.Series([{"city": "Oslo"}] * len(table))
    if form == "parquet":
        table.to_parquet(tmp_path / "t.parquet")
    else:
        table.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    code, _, err = run(f"t.{form}", "--target", "churned", "--yes")
    assert code == 0, err
    assert f"Not read from t.{form}: column 'address', of lists or objects." in caplog.text
    assert "address" not in written(tmp_path, "t")["data"]["columns"]


def test_a_folder_that_cannot_be_written_is_named(run: Run, tmp_path: Path) -> None:
    customers().to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "config").touch()
    code, _, err = run("t.csv", "--yes")
    assert (code, "Traceback" in err) == (2, False)
    assert "config" in err


def test_a_folder_of_documents_takes_its_questions_along(run: Run, tmp_path: Path) -> None:
    write_project()
    for arguments in (["handbook"], ["handbook", "--problem", "chat"]):
        code, _, err = run(*arguments)
        assert code == 2
        assert "question,documents,answer" in err
        assert "mlops init handbook --questions questions.csv" in err
    assert run("questions.csv", "--problem", "chat")[::2] == (
        2,
        "Error: A model of the problem chat answers from documents: in which folder are they? "
        "Say so: --documents FOLDER",
    )
    assert "is none" in run("questions.csv", "--questions", "questions.csv")[2]
    Path("wrong.csv").write_text("question,documents\n" + "Why?,gone.md\nWho?,../x.md\n" * 20)
    code, _, err = run("handbook", "--questions", "wrong.csv", "--yes")
    assert code == 3
    assert "gone.md (row 1), '../x.md' is no path within the folder of documents (row 2)" in err
    assert not Path("config").exists()
    assert run("handbook", "--questions", "questions.csv", "--yes")[0] == 0
    assert run("questions.csv", "--problem", "chat", "--documents", "handbook", "--yes")[0] == 0
    first, second = definitions.load("handbook"), definitions.load("questions")
    assert first.data.documents == second.data.documents == str(tmp_path / "handbook")
    assert (first.data.target, first.data.columns) == ("documents", {"question": "text"})
    assert (first.data.split.test_size, first.data.split.holdout_size) == (0.1, 0.6)
    assert written(tmp_path, "handbook")["data"]["documents"] == "handbook"
