"""Questions to documents: what is expected of an answer, what it is worth, and what the gate makes of a bad chain."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from lifecycle.core.errors import ConfigError
from lifecycle.core.names import Environment
from lifecycle.data import dataset
from lifecycle.data.source import Source
from lifecycle.gate.selftest import selftest
from lifecycle.problems.chat import measures
from lifecycle.problems.chat.expected import Expected, documents_of
from lifecycle.problems.chat.learning import LEARNING
from lifecycle.problems.chat.model import ChatModel
from lifecycle.problems.contract import TEXT_COLUMNS
from lifecycle.problems.learning import Spec
from lifecycle.settings import Settings
from lifecycle.settings.gate_rules import GateRules
from tests.encoder import write_encoder
from tests.pairs import DOES, WHAT, WHERE, WHO


def test_documents_are_named_in_any_order_and_none_is_outside_the_folder() -> None:
    assert documents_of("b.md; a/c.md;b.md") == documents_of('["a/c.md", "./b.md"]') == ("a/c.md", "b.md")
    for wrong in ("/etc/passwd", "../a.md", "[1]", "a\\b.md"):
        with pytest.raises(ValueError, match="no"):
            documents_of(wrong)
    expected = Expected("Why?", ("a.md",), "so")
    assert Expected.of(expected.cell) == expected


def test_an_answer_is_worth_what_it_says_and_its_question_nothing() -> None:
    passage = "The limit is 40 requests per minute. Ask for more."
    question = "What is the limit?"
    assert measures.supported("The limit is 40 requests per minute.", [passage], question) == 1
    assert measures.supported("The limit is 900 parrots. Ask for more.", [passage], question) == 0.5
    assert measures.supported(question, [passage], question) == 0
    assert measures.token_f1("the limit is 40", "40") == pytest.approx(0.5)
    assert measures.reciprocal(("b",), ("a", "b")) == 0.5
    assert measures.recalled(("b", "c"), ("a", "b")) == 0.5


def test_an_evaluation_set_is_a_version_with_reasons(config: Settings) -> None:
    rows = [{"question": f"What is number {n}?", "documents": f"d{n}.md", "answerable": ""} for n in range(40)]
    rows += [
        {"question": "WHAT is number 1?", "documents": "d1.md", "answerable": ""},
        {"question": "Where?", "documents": "../d.md", "answerable": ""},
        {"question": "Who?", "documents": "", "answerable": "yes"},
        {"question": "When?", "documents": "d1.md", "answerable": "no"},
    ]
    path = config.datasets.parent / "questions.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    options = {"problem": "chat", "target": "documents", "columns": {"question": "text"}}
    request = dataset.state(config, Source(uri=str(path)), data_name="q", data_version="1", **options)
    dataset.create(request)
    assert dataset.verify(config.datasets, "q", "1").quarantined == {
        "answer_of_unanswerable": 1,
        "answerable_without_answer": 1,
        "document_name": 1,
        "duplicate": 1,
    }


def test_the_threshold_is_learnt_and_the_key_knows_the_documents(tmp_path: Path) -> None:
    pytest.importorskip("bm25s")
    words = [f"alpha{n} beta{n}" for n in range(8)]
    for number, both in enumerate(words):
        (tmp_path / f"d{number}.md").write_text(f"# One\n\nThe tariff of {both} is {number + 40} crowns.\n")
    asked = [f"What is the tariff of {both}?" for both in (*words, "gamma delta", "eta theta")]
    truth = [Expected(text, (f"d{n}.md",) if n < 8 else ()).cell for n, text in enumerate(asked)]
    params = {"documents": str(tmp_path)}
    inputs = pd.DataFrame({"text": asked})
    built = LEARNING.fit(Spec(None, params, 0, TEXT_COLUMNS), inputs, pd.Series(truth))
    summary = LEARNING.summary("test", pd.Series(truth), LEARNING.answers(built, inputs, TEXT_COLUMNS))
    assert summary.metrics["test.accuracy"] == 1
    assert summary.metrics["test.refusal_accuracy"] == 1
    (tmp_path / "d9.md").write_text("# Nine\n\nAnother text.\n")
    assert LEARNING.build(Spec(None, params, 0, TEXT_COLUMNS)).digest != built.recipe.digest
    for wrong in ({}, {**params, "top_k": 0}, {**params, "threshold": 2}, {**params, "depth": 1}):
        with pytest.raises(ConfigError):
            LEARNING.build(Spec(None, wrong, 0, TEXT_COLUMNS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three documents of sentences whose words the tiny encoder knows."""
    folder = tmp_path_factory.mktemp("documents")
    for name, who in zip(("a.md", "b.md", "c.md"), WHO, strict=False):
        (folder / name).write_text(f"# {who}\n\n{who} {DOES[0]} {WHAT[0]} {WHERE[0]}.\n")
    return folder


@pytest.mark.parametrize("algorithm", ["embedding", "hybrid"])
def test_passages_are_found_by_vectors_that_lie_in_the_version(algorithm: str, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    params = {"documents": str(folder), "encoder": str(write_encoder(tmp_path / "encoder")), "threshold": 0.1}
    asked = pd.DataFrame({"text": [f"{WHO[1]} {DOES[0]}", f"{WHO[2]} {WHERE[0]}"]})
    built = LEARNING.fit(Spec(algorithm, params, 0, TEXT_COLUMNS), asked, pd.Series(["", ""]))
    answers = LEARNING.answers(built, asked, TEXT_COLUMNS)
    assert [json.loads(cell)[0] for cell in answers["sources"]] == ["b.md", "c.md"]
    assert answers["score"].between(0, 1).all()
    shutil.rmtree(tmp_path / "encoder")
    again = ChatModel.of(built.folder)
    assert again.predict(None, asked.iloc[::-1]).sort_index().equals(answers)
    with pytest.raises(ConfigError, match="encoder"):
        LEARNING.build(Spec(algorithm, params, 0, TEXT_COLUMNS))


def test_what_asks_a_language_model_is_part_of_a_training(folder: Path, tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Say it: {{question}} {{passages}}")
    params = {"documents": str(folder), "language_model": "small", "endpoint": "http://127.0.0.1:1/v1"}
    first = LEARNING.build(Spec(None, params, 0, TEXT_COLUMNS))
    with_prompt = LEARNING.build(Spec(None, {**params, "prompt": str(prompt)}, 0, TEXT_COLUMNS))
    assert first.get_params()["endpoint"] == params["endpoint"]
    assert first.get_params() != with_prompt.get_params()
    assert LEARNING.build(Spec(None, {**params, "prompt": prompt.read_text()}, 0, TEXT_COLUMNS)) == with_prompt
    for wrong, said in (
        ({"endpoint": "https://ada:secret@host/v1"}, "a key belongs into OPENAI_API_KEY"),
        ({"endpoint": "ftp://host"}, "http"),
        ({"timeout": 0}, "timeout"),
        ({"retries": 1.5}, "retries"),
        ({"prompt": "nowhere.txt"}, "no file"),
        ({"prompt": "{{question}} alone"}, "passages"),
        ({"encoder": "minilm"}, "no parameter 'encoder'"),
    ):
        with pytest.raises(ConfigError, match=said):
            LEARNING.build(Spec(None, {**params, **wrong}, 0, TEXT_COLUMNS))


def test_every_planted_chain_meets_its_fate() -> None:
    pytest.importorskip("bm25s")
    result = selftest.run("chat", GateRules(), Environment.DEV)
    assert result.passed, result.reasons
    refused = {line.name for line in result.lines if line.expected == "refused"}
    assert {"always refuses", "never refuses", "parrot", "shuffled index", "truncated index"} <= refused
