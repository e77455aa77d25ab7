"""Models from elsewhere that answer questions: what they read and say is checked, and then they are as any other."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Array, Object, Property

from lifecycle.core.errors import ConfigError, DataError
from lifecycle.core.names import Side
from lifecycle.data import dataset
from lifecycle.data.source import Source
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.inference.predictions import predict
from lifecycle.models import loading
from lifecycle.models.external import conversing
from lifecycle.problems.known import named
from lifecycle.settings import Settings
from tests.unit.test_flavours import _quiet, asked, function, nothing_is_written, registered

__all__ = ["_quiet"]
MESSAGE = Object([Property("role", DataType.string), Property("content", DataType.string)])
REFUSAL = named("chat").refusal


def signature(kind: Any, name: str = "messages", **others: str) -> ModelSignature:
    columns = [ColSpec(kind, name), *(ColSpec(each, other) for other, each in others.items())]
    return ModelSignature(inputs=Schema(columns), outputs=Schema([ColSpec("string")]))


CONVERSATIONS = signature(Array(MESSAGE))


@pytest.fixture
def questions(config: Settings) -> Settings:
    """Settings whose data hold 80 questions, every fourth of which nothing answers."""
    path = config.datasets.parent / "questions.csv"
    rows = [(f"What is number {n}?", f"d{n}.md" if n % 4 else "") for n in range(80)]
    pd.DataFrame(rows, columns=["question", "documents"]).to_csv(path, index=False)
    options: dict[str, Any] = {"problem": "chat", "target": "documents", "columns": {"question": "text"}}
    dataset.create(dataset.state(config, Source(uri=str(path)), data_name="q", data_version="1.0.0", **options))
    return config


def _said(table: pd.DataFrame) -> list[str]:
    """A chain: the last message is answered, every fourth number is not known."""
    numbers = [int(messages[-1]["content"].split()[-1].strip("?")) for messages in table["messages"]]
    return [f"It is {number}." if number % 4 else "No idea." for number in numbers]


def _found(table: pd.DataFrame) -> pd.DataFrame:
    """One that reads a column of questions, and tells where it has found its answer."""
    numbers = [int(question.split()[-1].strip("?")) for question in table["question"]]
    rows = [(f"Number {n} is it.", [f"d{n}.md"], [f"Number {n} is it."], 0.5) for n in numbers]
    return pd.DataFrame(rows, columns=["answer", "sources", "passages", "score"])


def test_a_chain_of_conversations_is_read_judged_and_served_as_any_other(questions: Settings, tmp_path: Path) -> None:
    folder = function(tmp_path / "model", _said, CONVERSATIONS)
    model = registered(questions, folder, asked(questions, "q", labels={"No idea.": "refused"}))
    told, texts = loading.load(model), pd.DataFrame({"text": ["What is number 4?", "What is number 5?"]}, index=[7, 3])
    assert predict(told, "a model", texts).to_pylist()[1] == {"answer": "It is 5.", "sources": "[]", "score": 1.0}
    table = told.predict(None, texts)
    assert (table["answer"].tolist(), table["refused"].tolist()) == ([REFUSAL, "It is 5."], [1.0, 0.0])
    assert table.index.tolist() == [7, 3]
    assert told.predict(None, texts.head(0)).empty
    mlflow.set_tracking_uri(questions.mlflow_uri)
    plain = mlflow.pyfunc.load_model(model.uri)
    for cell in ("What is number 5?", [{"role": "user", "content": "What is number 5?"}]):
        assert plain.predict(pd.DataFrame({"messages": [cell]})) == ["It is 5."]
    pd.testing.assert_frame_equal(loading.load(model).predict(None, texts), table)


def test_what_it_tells_of_its_sources_is_what_it_is_judged_by(questions: Settings, tmp_path: Path) -> None:
    reads = infer_signature(pd.DataFrame({"question": ["a"]}), np.array(["a"]))
    folder = function(tmp_path / "model", _found, reads)
    model = registered(questions, folder, asked(questions, "q", columns={"text": "question"}))
    request = evaluation.request_for(model, questions.datasets, "q", "1.0.0", Side.TRAIN)
    evaluation.evaluate(request)
    stored = evaluation.stored(request)
    scores = named("chat").judging.scores_of(stored["truth"], {"": stored})[""]
    assert (scores.right == scores.answerable).all(), "it never refuses, and finds all that there is"
    assert loading.load(model).predict(None, pd.DataFrame({"messages": ["What is number 5?"]})) == [
        "Number 5 is it. [d5.md]"
    ]


def _random(table: pd.DataFrame) -> list[str]:
    return [str(np.random.default_rng().random())] * len(table)


ANSWERS: dict[str, tuple[Callable[[pd.DataFrame], Any], str]] = {
    "a number": (lambda table: [7] * len(table), r"answers with 7: a text is needed, or a column `answer`"),
    "too many": (lambda _: ["a", "b"], "answers one question with 2 answers"),
    "no list": (lambda _: {"answer": "a", "sources": "d1.md"}, "`sources` holds 'd1.md', which is no list of texts"),
    "a score": (lambda _: {"answer": "a", "score": 7}, "it predicts 7.0, which is not a score from 0 to 1"),
    "by chance": (_random, "asked again it answers"),
    "fails": (lambda table: table["text"], "KeyError: 'text'"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_is_none_is_named_before_anything_is_written(
    name: str, questions: Settings, tmp_path: Path
) -> None:
    answer, match = ANSWERS[name]
    with pytest.raises(DataError, match=match):
        registered(questions, function(tmp_path / "model", answer, CONVERSATIONS), asked(questions, "q"))
    assert nothing_is_written(questions)


@pytest.mark.parametrize(
    ("read", "declared", "match"),
    [
        (signature("string", "prompt"), {}, "reads neither 'messages', an array of {role, content}, nor a question"),
        (signature(Array(MESSAGE), user="string"), {}, r"its column 'user' \(string\) is no part of a question"),
        (signature("long"), {}, "its column 'messages' is long, and a conversation is an array of {role, content}"),
        (signature(Array(DataType.string)), {}, "and a conversation is an array of {role, content} or a text"),
        (CONVERSATIONS, {"labels": {"No.": "no"}}, "'no' is nothing that an answer of q 1.0.0 can mean"),
    ],
)
def test_a_column_that_is_no_question_is_named(
    read: ModelSignature, declared: dict[str, Any], match: str, questions: Settings, tmp_path: Path
) -> None:
    with pytest.raises((ConfigError, DataError), match=match):
        registered(questions, function(tmp_path / "model", _said, read), asked(questions, "q", **declared))
    assert nothing_is_written(questions)


def test_every_form_of_an_answer_is_read() -> None:

    for form in (
        "a",
        ["a"],
        np.array(["a"]),
        pd.Series(["a"], index=[4]),
        pd.DataFrame({"out": ["a"]}),
        [{"answer": "a"}],
    ):
        assert conversing.answered(form)["answer"] == "a"
    assert conversing.texts({"sources": json.dumps(["a"])}, "sources") == ["a"]
