"""Documents are read, cut and indexed; a chain answers from them, in each form in which MLflow asks, or refuses."""

import json
import logging
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema
from mlflow.types.schema import AnyType
from pydantic import ValidationError

from lifecycle.core.errors import ConfigError, DataError, MetricError, NotFoundError, TransientError
from lifecycle.inference.predictions import Tally, predict
from lifecycle.problems import contract
from lifecycle.problems.chat import agent, carried, documents, index, language_judge, metrics, scorers
from lifecycle.problems.chat.chunks import chunks, pieces
from lifecycle.problems.chat.documents import Document
from lifecycle.problems.chat.endpoint import EndpointError
from lifecycle.problems.chat.expected import Expected
from lifecycle.problems.chat.learning import LEARNING
from lifecycle.problems.chat.messages import asked, conversations
from lifecycle.problems.chat.model import Chain, ChatModel
from lifecycle.problems.chat.scores import scores_of
from lifecycle.problems.chat.settings import REFUSAL
from lifecycle.problems.chat.words import sentences
from lifecycle.problems.contract import TEXT_COLUMNS
from lifecycle.problems.known import named
from lifecycle.problems.learning import Spec
from lifecycle.problems.metric import value_of
from lifecycle.settings.gate_rules import GateRules, LanguageJudge

HOURS = "# Opening hours\n\nThe pool opens at eight on weekdays.\n\n## Sundays\n\nOn Sundays it opens at ten.\n"
RETURNS = """<html><head><title>Returns</title><script>var x</script></head>
<body><h2>Money back</h2><p>Send a parcel back within 14 days.</p></body></html>"""
ASK = "When does the pool open on weekdays?"


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> tuple[Document, ...]:
    folder = tmp_path_factory.mktemp("documents")
    (folder / "shop").mkdir()
    (folder / "hours.md").write_text(HOURS)
    (folder / "shop" / "returns.html").write_text(RETURNS)
    (folder / "prices.txt").write_bytes("\ufeffA ticket costs four euros for grown-ups.\r\n".encode())
    (folder / "picture.png").write_bytes(b"\x89PNG")
    return documents.read(folder)


@pytest.fixture(scope="module")
def built(read: tuple[Document, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "chain"
    index.build(read, folder, {}, 0)
    return folder


@pytest.fixture(scope="module")
def chain(built: Path) -> Chain:
    return Chain.load(built)


@pytest.fixture
def logged(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = mlflow.get_tracking_uri()
    monkeypatch.chdir(home)
    mlflow.set_tracking_uri(f"sqlite:///{home / 'mlflow.db'}")
    yield
    mlflow.set_tracking_uri(before)


def test_each_kind_of_document_is_read_with_its_headings(read: tuple[Document, ...]) -> None:
    assert [document.id for document in read] == ["hours.md", "prices.txt", "shop/returns.html"]
    assert [document.title for document in read] == ["Opening hours", "prices", "Money back"]
    assert "var x" not in read[2].text
    assert "\ufeff" not in read[1].text
    assert documents.digest(read) != documents.digest(read[:2])


def test_what_cannot_be_read_is_named_all_at_once(tmp_path: Path) -> None:
    outside = tmp_path / "outside.md"
    outside.write_text("a secret")
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "link.md").symlink_to(outside)
    (folder / "latin.txt").write_bytes("Grüße".encode("latin-1"))
    (folder / "binary.txt").write_bytes(b"a\x00b")
    (folder / "broken.pdf").write_bytes(b"no pdf")
    with pytest.raises(DataError) as refused:
        documents.read(folder)
    for name in ("link.md: it is a link", "latin.txt: it is not UTF-8", "binary.txt: it is a bin", "broken.pdf: it is"):
        assert name in str(refused.value)
    assert "secret" not in str(refused.value)


def test_an_empty_document_is_left_out_and_a_folder_of_them_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "empty.md").write_text(" \n")
    with caplog.at_level(logging.WARNING), pytest.raises(DataError, match="no document with text"):
        documents.read(tmp_path)
    assert "empty.md" in caplog.text
    with pytest.raises(NotFoundError, match="no folder"):
        documents.read(tmp_path / "nowhere")


def test_pieces_keep_their_section_page_and_size() -> None:
    text = "# A\n\none two\n\n## B\n\n```\n# no heading\n```\n\fpage two " + "word " * 100
    found = chunks([Document("a.pdf", "A", text)], 80, 20)
    assert [chunk.section for chunk in found[:2]] == ["A", "A > B"]
    assert "# no heading" in found[1].text
    assert {chunk.page for chunk in found} == {1, 2}
    assert max(len(chunk.text) for chunk in found) <= 80
    rows = "\n".join(f"| row {number} | says {number}. Or not |" for number in range(4))
    assert "|\n| row 1" in pieces(rows, 80, 0)[0]
    assert pieces("One is here. Two is there.\n\nThree is after.", 40, 15)[1].startswith("Two is there.")


def test_an_answer_is_a_sentence_with_its_source(chain: Chain) -> None:
    told = chain.answer(ASK)
    assert told.text == "The pool opens at eight on weekdays."
    assert told.cited.endswith("[hours.md, Opening hours]")
    assert (told.sources[0], told.refused) == ("hours.md", False)


@pytest.mark.parametrize(
    "question", ["Who invented the telephone?", "What is it?", "???", "When does the museum shut?"]
)
def test_what_the_documents_do_not_say_is_refused(chain: Chain, question: str) -> None:
    told = chain.answer(question)
    assert (told.text, told.refused, told.citation) == (REFUSAL, True, "")


def test_an_earlier_question_helps_a_later_one(chain: Chain) -> None:
    earlier = {"role": "user", "content": ASK}
    later = [earlier, {"role": "assistant", "content": "At eight."}, {"role": "user", "content": "And on holidays?"}]
    assert chain.answer(*asked([later[-1]])).refused
    assert chain.answer(*asked(later)).sources[0] == "hours.md"


def test_a_prompt_says_where_question_and_passages_go(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="passages"):
        index.build([], tmp_path, {"prompt": "Answer {{question}}"}, 0)


MESSAGE = {"role": "user", "content": ASK}


@pytest.mark.parametrize(
    "given",
    [
        pd.DataFrame({"messages": [[MESSAGE]]}),
        pd.DataFrame({"messages": [ASK]}),
        pd.DataFrame({"messages": [[ASK]]}),
        {"messages": [MESSAGE]},
        [{"messages": [MESSAGE]}],
        [MESSAGE],
        ASK,
    ],
    ids=["messages", "a string", "strings", "a dict", "dicts", "a conversation", "a question"],
)
def test_every_shape_of_a_question_is_understood(given: Any) -> None:
    assert [asked(each)[0] for each in conversations(given)] == [ASK]


def test_a_passage_is_quoted_in_sentences_rows_and_code_without_its_marks() -> None:
    passage = """## Limits of a server

- [Start](#start) · [The end](#end)

| limit | default | what it is |
|---|---|---|
| `a\\|b` | 40 | **requests** per [minute](x.md). No more. |

- A bullet that goes
  on. It ends here.

```console
mlops gate selftest --problem chat
```
"""
    assert sentences(passage) == [
        "limit: default; what it is",
        "`a|b`: 40; requests per minute. No more.",
        "A bullet that goes on.",
        "It ends here.",
        "mlops gate selftest --problem chat",
    ]


def test_a_batch_says_how_many_questions_were_refused(chain: Chain) -> None:
    table = predict(ChatModel(chain), "a model", pd.DataFrame({"text": [ASK, "Who was Bell?", "Who was Watt?"]}))
    assert Tally.of(table, "chat").labels == {"answered": 1, "refused": 2}
    assert Tally.of(table, "chat").numbers is None
    assert contract.REFUSAL == REFUSAL


def test_what_is_no_question_is_said(chain: Chain) -> None:
    with pytest.raises(ValueError, match="no column 'messages'"):
        ChatModel(chain).predict(None, pd.DataFrame({"prompt": [ASK]}))
    for cell in (5, None, float("nan")):
        with pytest.raises(ValueError, match="neither a question"):
            ChatModel(chain).predict(None, pd.DataFrame({"messages": [cell]}))
    with pytest.raises(ValueError, match="no question"):
        ChatModel(chain).predict(None, pd.DataFrame({"messages": [[{"role": "system", "content": "Be kind."}]]}))


def test_a_batch_is_a_table_in_the_order_of_its_rows(chain: Chain) -> None:
    told = ChatModel(chain).predict(None, pd.DataFrame({"text": ["Who was Bell?", ASK]}, index=[7, 3]))
    assert told.index.tolist() == [7, 3]
    assert told["refused"].tolist() == [1.0, 0.0]
    assert json.loads(told["sources"][3])[0] == "hours.md"


@pytest.mark.usefixtures("logged")
def test_plain_mlflow_loads_either_form_and_traces_its_answers(built: Path, tmp_path: Path) -> None:
    code = carried.written(tmp_path)
    assert "lifecycle" not in code.read_text(encoding="utf-8")
    with mlflow.start_run():
        signature = ModelSignature(inputs=Schema([ColSpec(AnyType(), "messages")]), outputs=Schema([ColSpec("string")]))
        chosen = {"python_model": str(code), "artifacts": {"chain": str(built)}, "signature": signature}
        uri = mlflow.pyfunc.log_model(name="model", input_example=ChatModel.example(), **chosen).model_uri
        agent.log_agent(built, registered_as="dev.ml.handbook_agent")
    plain = mlflow.pyfunc.load_model(uri)
    told = plain.predict({"messages": [MESSAGE]})
    assert told == ["The pool opens at eight on weekdays. [hours.md, Opening hours]"]
    for cell in (ASK, [MESSAGE], MESSAGE):  # the reference snippet, with a string and with a list of messages
        assert plain.predict(pd.DataFrame({"messages": [cell]})) == told
    polite = {"role": "system", "content": "Be kind."}
    assert plain.predict({"messages": [polite, MESSAGE]}) == told  # which MLflow hands on as two rows
    spans = mlflow.get_trace(mlflow.get_last_active_trace_id(), flush=True).data.spans
    assert [(span.name, span.span_type) for span in spans] == [
        ("chat", "CHAIN"),
        ("retrieve", "RETRIEVER"),
        ("answer", "TOOL"),
    ]
    speaking = mlflow.pyfunc.load_model("models:/dev.ml.handbook_agent/1")
    assert speaking.metadata.metadata == {"task": "agent/v1/responses"}, "by which Databricks knows an agent"
    answered = speaking.predict({"input": [MESSAGE]})
    assert answered["output"][0]["content"][0]["text"] == told[0]


@pytest.mark.usefixtures("logged")
def test_mlflows_evaluation_gives_the_values_that_the_gate_reads(chain: Chain) -> None:
    asked_for = {ASK: ("hours.md",), "What costs four euros?": ("shop/returns.html",), "Who was Bell?": ()}
    cells = [Expected(question, named, "At eight." if named else "").cell for question, named in asked_for.items()]
    model = ChatModel(chain)
    read = scores_of(pd.Series(cells), {"": model.answered([*asked_for])})[""]
    told = mlflow.genai.evaluate(
        data=scorers.questions(cells),
        scorers=scorers.scorers(),
        predict_fn=lambda messages: model.predict(None, {"messages": messages})[0],
    )
    for name, metric in metrics.STANDARD.items():
        assert told.metrics[f"{name}/mean"] == pytest.approx(value_of(metric, read)), name
        each = {row["request"]["question"]: row[f"{name}/value"] for _, row in told.result_df.iterrows()}
        values = [value_of(metric, read.take(np.array([place]))) for place in range(len(cells))]
        np.testing.assert_allclose([each[question] for question in asked_for], values, err_msg=name)


class _Endpoint(BaseHTTPRequestHandler):
    replies: list[tuple[int, str]]
    asked: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        status, text = self.replies[min(len(self.asked), len(self.replies)) - 1]
        message = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        body = json.dumps({"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [message]})
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Endpoint]]:
    handler = type("Endpoint", (_Endpoint,), {"replies": [(200, "At eight.")], "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-hidden")
        yield handler
        server.shutdown()


def _generating(chain: Chain, **settings: Any) -> Chain:
    chosen = {"language_model": "small", "retries": 0, **settings}
    return Chain(chain.chunks, chain.index, chain.prompt, chain.settings._replace(**chosen))


def test_a_language_model_answers_from_the_passages(chain: Chain, endpoint: type[_Endpoint]) -> None:
    told = _generating(chain).answer(ASK)
    assert told.cited == "At eight. [hours.md, Opening hours]"
    prompt = endpoint.asked[0]["messages"][0]["content"]
    assert ASK in prompt
    assert "The pool opens at eight" in prompt


def test_a_language_model_may_refuse_and_is_not_asked_without_passages(chain: Chain, endpoint: type[_Endpoint]) -> None:
    endpoint.replies[:] = [(200, f"Sorry. {REFUSAL}")]
    assert _generating(chain).answer(ASK).refused
    assert _generating(chain).answer("Who invented the telephone?").text == REFUSAL
    assert len(endpoint.asked) == 1


def test_a_trained_chain_asks_its_endpoint_and_says_what_waiting_may_cure(
    endpoint: type[_Endpoint], tmp_path: Path
) -> None:
    (tmp_path / "hours.md").write_text(HOURS)
    (tmp_path / "prompt.txt").write_text("Be brief. {{passages}} {{question}}")
    params = {"documents": str(tmp_path), "prompt": str(tmp_path / "prompt.txt"), "threshold": 0.5, "retries": 0}
    params |= {"language_model": "small", "endpoint": os.environ["OPENAI_BASE_URL"]}
    rows = pd.DataFrame({"text": [ASK, "Who was Bell?", "On Sundays, when does it open?"]})
    built = LEARNING.fit(Spec(None, params, 0, TEXT_COLUMNS), rows, pd.Series(["", "", ""]))
    told = LEARNING.answers(built, rows, TEXT_COLUMNS)
    assert told["answer"].tolist() == ["At eight.", REFUSAL, "At eight."]
    assert {asked["messages"][0]["content"][:9] for asked in endpoint.asked} == {"Be brief."}
    assert (built.folder / "prompt.txt").read_text() == "Be brief. {{passages}} {{question}}"
    assert "sk-hidden" not in "".join(path.read_text() for path in built.folder.glob("*.json"))
    for status, kind in ((503, TransientError), (401, ConfigError)):
        endpoint.replies[:] = [(status, "")]
        with pytest.raises(kind, match=f"status {status}"):
            LEARNING.answers(built, rows, TEXT_COLUMNS)
        with pytest.raises(kind, match=f"status {status}"):
            predict(built.model, "a model", rows)


def test_a_failing_language_model_is_asked_again_then_an_error_or_replaced(
    chain: Chain, endpoint: type[_Endpoint]
) -> None:
    endpoint.replies[:] = [(500, ""), (200, "At eight.")]
    assert _generating(chain, retries=1).answer(ASK).text == "At eight."
    endpoint.replies[:] = [(401, "")]
    with pytest.raises(EndpointError, match="status 401") as failed:
        _generating(chain).answer(ASK)
    assert "sk-hidden" not in str(failed.value)
    assert _generating(chain, falls_back=True).answer(ASK).text == "The pool opens at eight on weekdays."


JUDGE = LanguageJudge(language_model="judge", retries=0)
ASKED = (("When?", "At eight. For free.", ("It opens at eight.",)), ("Who?", "Bell.", ("Bell did.",)))


def test_a_judge_says_what_share_is_supported_and_is_asked_once(
    endpoint: type[_Endpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has said is kept without a text; what it cannot say is no number."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(language_judge, "AT_ONCE", 1)
    endpoint.replies[:] = [(200, "1. yes\n2. No"), (200, "Yes."), (503, "")]
    for _ in range(2):
        assert language_judge.supported(ASKED, JUDGE) == [0.5, 1.0]
    assert len(endpoint.asked) == 2
    assert "Bell" not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    other = JUDGE.model_copy(update={"language_model": "another"})
    with pytest.raises(TransientError, match=r"status 503.*take gate.language_judge out"):
        language_judge.supported(ASKED, other)
    endpoint.replies[:] = [(200, "I cannot tell.")]
    with pytest.raises(MetricError, match=r"'I cannot tell\.' of 2 sentences"):
        language_judge.supported(ASKED[:1], other)


def test_its_word_is_a_metric_beside_the_words_and_never_alone(
    endpoint: type[_Endpoint], chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rules = GateRules(language_judge=JUDGE, floors={"groundedness": 0.5, "judged_groundedness": 0.5})
    truth = pd.Series([Expected(text, ("hours.md",)).cell for text in (ASK, "Who was Bell?")])
    answers = ChatModel(chain).answered([ASK, "Who was Bell?"])
    scores = scores_of(truth, {"": answers})[""]
    for said, value in (("no", 0.0), ("yes", 0.0)):  # the second time it is not asked any more
        endpoint.replies[:] = [(200, said)]
        assert value_of(metrics.named("judged_groundedness", rules), scores.take(np.arange(2))) == value
    assert (len(endpoint.asked), value_of(metrics.named("groundedness", rules), scores)) == (1, 1.0)
    for wrong, match in (
        ({"metric": "judged_groundedness"}, "decides nothing alone"),
        ({"floors": {"judged_groundedness": 0.5}}, "needs a floor of groundedness"),
        ({"language_judge": None}, "needs `language_judge`"),
    ):
        with pytest.raises(ValidationError, match=match):
            GateRules(**{**rules.model_dump(), **wrong})
    assert [*named("text-classification").judging.inapplicable(GateRules(language_judge=JUDGE))] == [
        "gate.language_judge"
    ]
