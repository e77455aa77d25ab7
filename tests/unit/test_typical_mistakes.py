"""What people get wrong in their first hours, and what helps them on: one line, nothing written."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.main import main
from tests.conftest import tree

Run = Callable[..., tuple[int, str]]
DEFINED = "problem: text-classification\ndata: {name: news, source: news.csv, target: label, columns: {text: text}}\n"
ROWS = "".join(f"text number {n},{('good', 'bad')[n % 2]}\n" for n in range(40))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run `mlops …` in a project of one model; its exit code and what it said. That it writes nothing is checked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLOPS_HOME", raising=False)
    (tmp_path / "config" / "models").mkdir(parents=True)
    (tmp_path / "config" / "models" / "news.yaml").write_text(DEFINED)
    (tmp_path / "news.csv").write_text(f"text,label\n{ROWS}")
    (tmp_path / "tables").mkdir()
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "part-0.parquet").touch()

    def command(*arguments: str) -> tuple[int, str]:
        before = tree(tmp_path)
        monkeypatch.setattr(sys, "argv", ["mlops", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        assert tree(tmp_path) == before
        return int(end.value.code or 0), " ".join(capfd.readouterr().err.split())

    return command


MISTAKES = {
    "a file that is called otherwise": ("init nwes.csv", "nwes.csv does not exist. Check the path or the address. Did"),
    "a folder": ("init tables --yes", "tables is a folder. Check the path"),
    "a folder of the parts of a table": ("init parts --yes", "parts is a folder. Write its files as one: pandas.read"),
    "this folder": ("init . --yes", ". is a folder. Name the table in it."),
    "the case of a column": (
        "init news.csv --target Label --model-name m --yes",
        "there are text, label. Did you mean --target 'label'?",
    ),
    "a command": ("relase", "No such command 'relase'. Did you mean 'release'? See: mlops --help"),
    "an environment": (
        "release --to production",
        "'production' is not one of 'dev', 'staging', 'prod'. See: mlops rel",
    ),
    "a model": ("release --model-name nwes", "Missing option --source. Give it, or name a model that is defined"),
    "a literal": ("train --params C=3", "neither JSON nor a Python literal, such as \"{'name': value}\""),
    "no table": ("infer", "Give either an input table or the name of a dataset. Name one of them: --input TABLE"),
}


@pytest.mark.parametrize(("line", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_what_helps(run: Run, line: str, words: str) -> None:
    code, said = run(*line.split())
    assert (code, words in said) == (2, True), said
    assert "Value error" not in said


FILES = {
    "a key of a definition": (
        "models/news.yaml",
        DEFINED.replace("target:", "traget:"),
        "data.traget='label': there is no such key, did you mean 'target'?",
    ),
    "a rule": (
        "dev.yaml",
        "gate:\n  metrc: f1_macro\n",
        "gate.metrc='f1_macro': there is no such key, did you mean 'metric'?",
    ),
    "a tab": ("dev.yaml", "gate:\n\tmetric: f1_macro\n", "dev.yaml, line 2, column 1 is not YAML"),
    "a bracket": ("dev.yaml", "gate: [\n", "dev.yaml, line 2, column 1 is not YAML: expected the node content"),
    "what a key is": ("dev.yaml", "gate: 3\n", "gate=3: "),
}


@pytest.mark.parametrize(("name", "content", "words"), FILES.values(), ids=FILES)
def test_a_file_of_settings_says_where_it_is_wrong(
    run: Run, tmp_path: Path, name: str, content: str, words: str
) -> None:
    (tmp_path / "config" / name).write_text(content)
    code, said = run("release")
    assert (code, words in said) == (2, True), said
    assert "Extra inputs" not in said
    assert ("not tabs" in said) is ("\t" in content)
