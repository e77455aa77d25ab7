"""A chain that answers from documents: it finds passages, and says what they tell or that they do not tell it.

This file travels inside each logged model (MLflow's models-from-code), so it imports nothing of this project: plain
`mlflow.pyfunc.load_model` runs it anywhere. By itself it answers with the sentences of the passages that fit best;
with a language model named in its settings, that one is asked. The address and the key of that one come from the
environment, never from the model: OPENAI_BASE_URL and OPENAI_API_KEY, or DATABRICKS_HOST and DATABRICKS_TOKEN.
"""

import json
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Document, NoOpSpan, SpanType
from mlflow.models import ModelConfig, set_model
from mlflow.pyfunc import PythonModel, ResponsesAgent
from mlflow.types import DataType
from mlflow.types.responses import ResponsesAgentRequest, ResponsesAgentResponse
from mlflow.types.schema import Array, Object, Property

CHUNKS, BM25, PROMPT, CONFIG = "chunks.json", "bm25", "prompt.txt", "config.json"
"""The files of a chain."""
REFUSAL = "That is not in the documents."
FORM, RESPONSES = "form", "responses"
"""The key of the model's configuration that says in which form it is served, and the value for MLflow's agents."""
MOST_TRACED = 10
"""Conversations asked at once that are traced: a batch is not."""
DATABRICKS = "databricks"

WORD = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17d3\u3040-\u30ff\u3400-\u9fff]"  # scripts that put no blanks between words
    r"|[^\W_]+"
)
NO_CONTENT = frozenset(
    WORD.findall(
        "a an and any are as at be been but by can could did do does for from had has have how i if in into is it its "
        "may me might must my of on or our shall should so some such than that the their them then there these they "
        "this those to us was we were what when where which while who whom whose why will with would you your about "
        "der die das und ist sind ein eine wie was wer wo wann warum welche welcher mit von zu im in auf für"
    )
)
"""Words that a question is asked with, and that say nothing of what it is about."""
SENTENCE = re.compile(r"(?<=[.!?。!?])\s+|\n\s*\n|\n(?=\s*(?:[-*|>#]|\d+[.)])\s)")
SHORTEST_SENTENCE = 3


def words(text: str) -> list[str]:
    """The words of a text that say what it is about, without regard to case or an English plural."""
    return [_singular(word) for word in WORD.findall(text.casefold()) if word not in NO_CONTENT]


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def indexed(chunk: dict[str, Any]) -> str:
    """What a passage is found by: what it says, and under which headings."""
    return f"{chunk['title']}\n{chunk['section']}\n{chunk['text']}"


class Settings(NamedTuple):
    """How a chain answers; what decides on its passages was settled when it was built.

    Attributes:
        top_k: Documents that are found for a question, each by its best passage.
        threshold: The share of what is asked, each word by its weight, that a passage must say to be answered from.
        sentences: Of the best passage, at most so many are the answer.
        language_model: The name of one that answers instead; none: the sentences do.
        provider: Whose: `openai`, anything that speaks its protocol, or `databricks`.
        temperature: Of the language model.
        max_tokens: Of its answer.
        timeout: Seconds that it has.
        retries: How often it is asked again.
        falls_back: Whether the sentences answer where it fails; else that is an error.
    """

    top_k: int = 3
    threshold: float = 0.5
    sentences: int = 2
    language_model: str = ""
    provider: str = "openai"
    temperature: float = 0.0
    max_tokens: int = 300
    timeout: float = 30.0
    retries: int = 2
    falls_back: bool = False


class Answer(NamedTuple):
    """An answer and what it rests on.

    Attributes:
        text: What is said.
        sources: The ids of the documents, in the order in which they were found.
        passages: Of each of these the best passage.
        score: The share of what is asked that the best of them says.
        refused: Whether it says that the documents do not tell.
        citation: Where the text is from; empty where it is refused.
    """

    text: str
    sources: tuple[str, ...]
    passages: tuple[str, ...]
    score: float
    refused: bool
    citation: str = ""

    @property
    def cited(self) -> str:
        """The text with its source."""
        return f"{self.text} [{self.citation}]" if self.citation else self.text


class EndpointError(RuntimeError):
    """The language model cannot be asked, or does not answer."""


class Chain:
    """Passages, their index and how they are answered from."""

    def __init__(self, chunks: Sequence[dict[str, Any]], index: Any, prompt: str, settings: Settings) -> None:
        self.chunks, self.index, self.prompt, self.settings = chunks, index, prompt, settings
        counts = np.diff(index.scores["indptr"])
        places = {word: place for word, place in index.vocab_dict.items() if place < len(counts)}
        rare = np.log1p((len(chunks) - counts + 0.5) / (counts + 0.5))
        self.weights = {word: float(rare[place]) for word, place in places.items()}
        self.unknown = float(np.log1p((len(chunks) + 0.5) / 0.5))

    @classmethod
    def load(cls, folder: str | Path) -> "Chain":
        """Read what was built."""
        import bm25s  # not before it is needed: what learns other problems looks at this file too

        folder = Path(folder)
        told = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        settings = {name: told[name] for name in Settings._fields if told.get(name) is not None}
        chunks = json.loads((folder / CHUNKS).read_text(encoding="utf-8"))
        index = bm25s.BM25.load(folder / BM25, show_progress=False)
        return cls(chunks, index, (folder / PROMPT).read_text(encoding="utf-8"), Settings(**settings))

    def answers(self, questions: Sequence[str]) -> list[Answer]:
        """One answer for each question, whatever the others are; none is traced."""
        return [self.answer(question) for question in questions]

    def answer(self, question: str, before: str = "", *, traced: bool = False) -> Answer:
        """The answer to one question; what was asked before helps to find passages where it says too little.

        Raises:
            EndpointError: A language model is to answer, does not, and nothing else may.
        """
        telling = SpanType.LLM if self.settings.language_model else SpanType.TOOL
        with _span("chat", SpanType.CHAIN, traced) as whole:
            whole.set_inputs({"question": question})
            with _span("retrieve", SpanType.RETRIEVER, traced) as span:
                score, found = self._passages(question, before)
                span.set_inputs({"question": question})
                span.set_outputs([_document(chunk) for chunk in found])
            with _span("answer", telling, traced) as span:
                span.set_inputs({"sources": [chunk["document"] for chunk in found]})
                answer = self._told(question, before, score, found)
                span.set_outputs(answer.text)
            whole.set_outputs(answer.cited)
        return answer

    def _passages(self, question: str, before: str) -> tuple[float, list[dict[str, Any]]]:
        """How much of a question the best passage says, and of each document found its best passage."""
        asked = words(question)
        score, found = self._found(asked)
        if before and score < self.settings.threshold:
            further_score, further = self._found([*asked, *words(before)])
            if further_score > score:
                return further_score, further
        return score, found

    def _found(self, asked: Sequence[str]) -> tuple[float, list[dict[str, Any]]]:
        known = [word for word in asked if word in self.weights]
        if not known:
            return 0.0, []
        scores = self.index.get_scores(known)
        found = dict[str, dict[str, Any]]()
        for place in np.argsort(-scores, kind="stable"):
            if scores[place] <= 0 or len(found) == self.settings.top_k:
                break
            found.setdefault(self.chunks[place]["document"], self.chunks[place])
        return max((self._share(asked, indexed(chunk)) for chunk in found.values()), default=0.0), [*found.values()]

    def _share(self, asked: Iterable[str], text: str) -> float:
        """How much of what is asked a text says, each word by how rare it is among the passages."""
        each, said = {*asked}, {*words(text)}
        whole = sum(self.weights.get(word, self.unknown) for word in sorted(each))
        part = sum(self.weights.get(word, self.unknown) for word in sorted(each & said))
        return part / whole if whole else 0.0

    def _told(self, question: str, before: str, score: float, found: list[dict[str, Any]]) -> Answer:
        sources = tuple(chunk["document"] for chunk in found)
        passages = tuple(chunk["text"] for chunk in found)
        if not found or score < self.settings.threshold:
            return Answer(REFUSAL, sources, passages, score, True)
        best = max(found, key=lambda chunk: self._share(words(question), indexed(chunk)))
        if self.settings.language_model:
            text = self._generated(question, found)
            if text is not None:
                refused = REFUSAL.rstrip(".").casefold() in text.casefold()
                return Answer(text, sources, passages, score, refused, "" if refused else _place(found[0]))
        text = self._extracted([*words(question), *words(before)], best["text"])
        return Answer(text, sources, passages, score, False, _place(best))

    def _extracted(self, asked: Sequence[str], passage: str) -> str:
        """The sentences of a passage that say most of what is asked, in their order."""
        lines = (" ".join(part.replace("**", "").split()).lstrip("#*->| ") for part in SENTENCE.split(passage))
        sentences = [line for line in lines if len(line.split()) >= SHORTEST_SENTENCE] or [passage.strip()]
        shares = np.array([self._share(asked, sentence) for sentence in sentences])
        best = [place for place in np.argsort(-shares, kind="stable")[: self.settings.sentences] if shares[place] > 0]
        # a second sentence is worth its length only if it says nearly as much as the first
        kept = [place for place in best if shares[place] >= 0.6 * shares[best[0]]] or [0]
        return " ".join(sentences[place] for place in sorted(kept))

    def _generated(self, question: str, found: list[dict[str, Any]]) -> str | None:
        """What the language model says; None if it fails and the sentences are to answer."""
        passages = "\n\n".join(f"[{_place(chunk)}]\n{chunk['text']}" for chunk in found)
        fields = {"{{passages}}": passages, "{{question}}": question}  # together: a text may hold the name of a field
        prompt = re.sub("|".join(map(re.escape, fields)), lambda field: fields[field.group()], self.prompt)
        try:
            return _asked(prompt, self.settings)
        except EndpointError:
            if not self.settings.falls_back:
                raise
        return None


def _place(chunk: dict[str, Any]) -> str:
    parts = (chunk["document"], chunk["section"].rpartition(" > ")[2], f"page {chunk['page']}" if chunk["page"] else "")
    return ", ".join(part for part in parts if part)


def _document(chunk: dict[str, Any]) -> Document:
    where = {"doc_uri": chunk["document"], "section": chunk["section"], "page": chunk["page"]}
    return Document(page_content=chunk["text"], metadata=where, id=chunk["document"])


def _span(name: str, kind: str, traced: bool) -> Any:
    """A span of MLflow's trace; where nothing is traced one that costs nothing."""
    return mlflow.start_span(name, span_type=kind) if traced else nullcontext(NoOpSpan())


def _asked(prompt: str, settings: Settings) -> str:
    """The answer of a language model; without one an EndpointError that says what to do about it."""
    try:
        from openai import OpenAI, OpenAIError
    except ImportError:
        raise EndpointError("A language model is asked with the package openai: pip install openai") from None
    try:
        with OpenAI(timeout=settings.timeout, max_retries=settings.retries, **_access(settings)) as client:
            told = client.chat.completions.create(
                model=settings.language_model,
                messages=[{"role": "user", "content": prompt}],
                temperature=settings.temperature,
                max_tokens=settings.max_tokens,
            )
        text = (told.choices[0].message.content or "").strip() if told.choices else ""
    except OpenAIError as error:
        # the address and the words of a library may hold a secret: only the kind of error is told
        status = getattr(error, "status_code", None)
        said = type(error).__name__ + (f", status {status}" if status else "")
        what = f"The language model {settings.language_model!r} of {settings.provider} does not answer ({said})."
        fix = "Check OPENAI_BASE_URL and OPENAI_API_KEY, or build the chain with falls_back: true."
        raise EndpointError(f"{what} {fix}") from None
    if not text:
        raise EndpointError(f"The language model {settings.language_model!r} gave an empty answer.")
    return text


def _access(settings: Settings) -> dict[str, Any]:
    """The address and the key of a language model, where the library does not read them from the environment."""
    if settings.provider != DATABRICKS:
        return {}
    if lacking := [name for name in ("DATABRICKS_HOST", "DATABRICKS_TOKEN") if not os.environ.get(name)]:
        raise EndpointError(f"To ask a model that Databricks serves, set {' and '.join(lacking)}.")
    host = os.environ["DATABRICKS_HOST"].rstrip("/")
    address = host if "://" in host else f"https://{host}"
    return {"base_url": f"{address}/serving-endpoints", "api_key": os.environ["DATABRICKS_TOKEN"]}


def asked(messages: Any) -> tuple[str, str]:
    """The question of a conversation, a user's last message, and what users asked before; a ValueError without one."""
    every = [messages] if isinstance(messages, str | dict) else [*messages] if messages is not None else []
    told = [message if isinstance(message, dict) else {"role": "user", "content": message} for message in every]
    texts = [_text(message.get("content")) for message in told if message.get("role", "user") == "user"]
    if not texts or not texts[-1].strip():
        raise ValueError("messages holds no question: a message {'role': 'user', 'content': '…'} is needed")
    return texts[-1], "\n".join(texts[:-1])


def _text(content: Any) -> str:
    """The text of a message: itself, or of the parts that it has."""
    parts = [content] if isinstance(content, str) else content
    if isinstance(parts, list):
        return "\n".join(str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in parts)
    raise ValueError(f"the content of a message is {content!r:.60}, which is no text")


def conversations(model_input: Any) -> list[Any]:
    """What is asked, in each form in which MLflow or a caller hands it; what has no `messages` is a ValueError."""
    if isinstance(model_input, str):
        return [model_input]
    model_input = [model_input] if isinstance(model_input, dict) else model_input
    if isinstance(model_input, list) and all(isinstance(row, dict) and "role" in row for row in model_input):
        return [model_input] if model_input else []
    rows = model_input.to_dict("records") if isinstance(model_input, pd.DataFrame) else [*model_input]
    if not all(isinstance(row, dict) and "messages" in row for row in rows):
        raise ValueError("there is no column 'messages': an array of {'role': …, 'content': …} for each answer")
    return [row["messages"] for row in rows]


class _OfChain:
    """What either form has: a chain, and how it is read."""

    def __init__(self, chain: Chain | None = None) -> None:
        self.chain: Any = chain

    def load_context(self, context: Any) -> None:
        """Read the chain."""
        self.chain = Chain.load(context.artifacts["chain"])


class ChatModel(_OfChain, PythonModel):  # type: ignore[misc]  # mlflow is untyped
    """A chain as the reference systems register one: `messages` in, a string out; a column `text` gives a table."""

    problem = "chat"
    inputs = ("text",)

    @classmethod
    def of(cls, folder: str | Path) -> "ChatModel":
        """Read a chain."""
        return cls(Chain.load(folder))

    @staticmethod
    def reads() -> dict[str, Any]:
        """MLflow's type of the input."""
        message = Object([Property("role", DataType.string), Property("content", DataType.string)])
        return {"messages": Array(message)}

    @staticmethod
    def example() -> pd.DataFrame:
        """A question of nobody."""
        return pd.DataFrame({"messages": [[{"role": "user", "content": "What is it about?"}]]})

    # mlflow warns about hints that it cannot turn into a schema, so the other parameters carry none
    def predict(self, context, model_input: pd.DataFrame, params=None) -> Any:  # type: ignore[no-untyped-def]  # noqa: ARG002
        """Answer each conversation with a string, or each question of a column `text` with a row."""
        if isinstance(model_input, pd.DataFrame) and "text" in model_input and "messages" not in model_input:
            return self.answered(model_input["text"].tolist()).set_index(model_input.index)
        every = [asked(messages) for messages in conversations(model_input)]
        traced = len(every) <= MOST_TRACED
        return [self.chain.answer(*each, traced=traced).cited for each in every]

    def answered(self, questions: Sequence[str]) -> pd.DataFrame:
        """The answers to questions as a table, which is not traced."""
        told = self.chain.answers(questions)
        return pd.DataFrame(
            {
                "answer": pd.Series([each.text for each in told], dtype="str"),
                "sources": pd.Series([json.dumps(each.sources, ensure_ascii=False) for each in told], dtype="str"),
                "score": np.array([each.score for each in told], dtype="float64"),
                "refused": np.array([each.refused for each in told], dtype="float64"),
                "passages": pd.Series([json.dumps(each.passages, ensure_ascii=False) for each in told], dtype="str"),
            }
        )


class ChatAgent(_OfChain, ResponsesAgent):  # type: ignore[misc]  # mlflow is untyped
    """The same chain as MLflow's agent, which Databricks' chat serving takes."""

    def predict(self, request: ResponsesAgentRequest) -> ResponsesAgentResponse:
        """Answer the last question of a conversation."""
        messages = [item.model_dump() for item in request.input]
        told = self.chain.answer(*asked(messages), traced=True)
        return ResponsesAgentResponse(output=[self.create_text_output_item(text=told.cited, id="answer")])


def _form() -> str:
    try:
        return str(ModelConfig(development_config={FORM: ""}).get(FORM))
    except (KeyError, FileNotFoundError):
        return ""


set_model(ChatAgent() if _form() == RESPONSES else ChatModel())
