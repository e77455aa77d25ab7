"""A chain that answers from documents: it finds passages, and says what they tell or that they do not tell it.

By itself it answers with the sentences of the passages that fit best; with a language model named in its settings, that
one is asked. This file travels inside each logged model, in one with the others that it needs (`carried`): so it
imports of this project only names, each by itself, and plain `mlflow.pyfunc.load_model` runs it anywhere.
"""

import json
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Document, NoOpSpan, SpanType
from mlflow.models import ModelConfig, set_model
from mlflow.pyfunc import PythonModel, ResponsesAgent
from mlflow.types.responses import ResponsesAgentRequest, ResponsesAgentResponse

from lifecycle.problems.chat.endpoint import EndpointError, generated
from lifecycle.problems.chat.messages import as_table, asked, conversations, is_table
from lifecycle.problems.chat.settings import (
    BM25,
    BY_BOTH,
    BY_VECTORS,
    CHUNKS,
    CONFIG,
    NETWORK,
    PROMPT,
    REFUSAL,
    TOKENIZER,
    VECTORS,
    Settings,
)
from lifecycle.problems.chat.words import indexed, sentences, words
from lifecycle.problems.text_pair_classification.model import Encoder

FORM, RESPONSES = "form", "responses"
"""The key of the model's configuration that says in which form it is served, and the value for MLflow's agents."""
MOST_TRACED = 10
"""Conversations asked at once that are traced: a batch is not."""
AT_ONCE = 8
"""Questions of a batch for which a language model is asked at the same time."""
FUSED = 60
"""What is added to each place before those by words and those by vectors are put together: reciprocal rank fusion."""
MOST_READ, REMEMBERED = 4, 20_000
"""Sentences of a passage of which a vector is made, and those whose vectors are remembered; questions seldom repeat."""
ROUND = str.maketrans("[]", "()")
"""A source stands in brackets at the end of an answer; it has none itself, so it can be told from the answer."""
NEARLY = 0.6
"""A second sentence is worth its length only if it fits so much as the first."""


class Answer(NamedTuple):
    """An answer and what it rests on.

    Attributes:
        text: What is said.
        sources: The ids of the documents, in the order in which they were found.
        passages: Of each of these the best passage.
        score: How well the best of them fits, from 0 to 1: the share of what is asked that it says, each word by its
            weight; or how alike the vectors are; or the mean of both.
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


class Found(NamedTuple):
    """Of each document that is found its best passage, how well the best of them fits, and what the question is as one.

    Without an encoder there is no vector of it.
    """

    score: float
    passages: list[dict[str, Any]]
    best: dict[str, Any]
    vector: Any = None


class Chain:
    """Passages, their index and how they are answered from."""

    def __init__(
        self, chunks: Sequence[dict[str, Any]], index: Any, prompt: str, settings: Settings, dense: Any = None
    ) -> None:
        self.chunks, self.index, self.prompt, self.settings, self.dense = chunks, index, prompt, settings, dense
        counts = np.diff(index.scores["indptr"])
        places = {word: place for word, place in index.vocab_dict.items() if place < len(counts)}
        rare = np.log1p((len(chunks) - counts + 0.5) / (counts + 0.5))
        self.weights = {word: float(rare[place]) for word, place in places.items()}
        self.unknown = float(np.log1p((len(chunks) + 0.5) / 0.5))
        self.vector_of: Any = lru_cache(REMEMBERED)(dense[1].vector) if dense else None

    @classmethod
    def load(cls, folder: str | Path) -> "Chain":
        """Read what was built."""
        import bm25s  # not before it is needed: what learns other problems looks at this file too

        folder = Path(folder)
        told = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        settings = {name: told[name] for name in Settings._fields if told.get(name) is not None}
        chunks = json.loads((folder / CHUNKS).read_text(encoding="utf-8"))
        index = bm25s.BM25.load(folder / BM25, show_progress=False)
        dense = None
        if (folder / VECTORS).is_file():
            encoder = Encoder((folder / NETWORK).read_bytes(), (folder / TOKENIZER).read_text(encoding="utf-8"))
            dense = np.load(folder / VECTORS, allow_pickle=False), encoder
        return cls(chunks, index, (folder / PROMPT).read_text(encoding="utf-8"), Settings(**settings), dense)

    def answers(self, questions: Sequence[str]) -> list[Answer]:
        """One answer for each question, whatever the others are; none is traced."""
        if not self.settings.language_model:
            return [self.answer(question) for question in questions]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(self.answer, questions))

    def answer(self, question: str, before: str = "", *, traced: bool = False) -> Answer:
        """The answer to one question; what was asked before helps to find passages where it says too little.

        Raises:
            EndpointError: A language model is to answer, does not, and nothing else may.
        """
        telling = SpanType.LLM if self.settings.language_model else SpanType.TOOL
        with _span("chat", SpanType.CHAIN, traced) as whole:
            whole.set_inputs({"question": question})
            with _span("retrieve", SpanType.RETRIEVER, traced) as span:
                found = self._passages(question, before)
                span.set_inputs({"question": question})
                span.set_outputs([_document(chunk) for chunk in found.passages])
            with _span("answer", telling, traced) as span:
                span.set_inputs({"sources": [chunk["document"] for chunk in found.passages]})
                answer = self._told(question, before, found)
                span.set_outputs(answer.text)
            whole.set_outputs(answer.cited)
        return answer

    def _passages(self, question: str, before: str) -> Found:
        """What is found for a question; with what was asked before, where that fits better and the question little."""
        found = self._found(question)
        if before and found.score < self.settings.threshold:
            further = self._found(f"{question}\n{before}")
            return further if further.score > found.score else found
        return found

    def _found(self, question: str) -> Found:
        asked = words(question)
        known = [word for word in asked if word in self.weights]
        by_words = self.index.get_scores(known) if known else np.zeros(len(self.chunks))
        vector = None if self.dense is None else self.dense[1].vector(question)
        by_vectors = None if vector is None else _alike(self.dense[0], vector)
        fits, order = self._ranked(by_words, by_vectors)
        found = dict[str, int]()
        for place in order:
            if fits[place] <= 0 or len(found) == self.settings.top_k:
                break
            found.setdefault(self.chunks[place]["document"], int(place))
        scores = [self._score(asked, place, by_vectors) for place in found.values()]
        passages = [self.chunks[place] for place in found.values()]
        best = int(np.argmax(scores)) if scores else 0
        return Found(scores[best], passages, passages[best], vector) if scores else Found(0.0, [], {})

    def _ranked(self, by_words: Any, by_vectors: Any) -> tuple[Any, Any]:
        """How well each passage fits, by words, vectors or the places by both, and the passages, the best first."""
        fits = by_words if by_vectors is None else by_vectors
        if self.settings.algorithm == BY_BOTH:
            fits = np.zeros(len(self.chunks))
            for one in (by_words, by_vectors):
                fits[np.argsort(-one, kind="stable")] += 1 / (FUSED + 1 + np.arange(len(fits)))
        return fits, np.argsort(-fits, kind="stable")

    def _score(self, asked: Sequence[str], place: int, by_vectors: Any) -> float:
        share = 0.0 if self.settings.algorithm == BY_VECTORS else self._share(asked, indexed(self.chunks[place]))
        if by_vectors is None:
            return share
        alike = float(by_vectors[place])
        return (share + alike) / 2 if self.settings.algorithm == BY_BOTH else alike

    def _share(self, asked: Iterable[str], text: str) -> float:
        """How much of what is asked a text says, each word by how rare it is among the passages."""
        each, said = {*asked}, {*words(text)}
        whole = sum(self.weights.get(word, self.unknown) for word in sorted(each))
        part = sum(self.weights.get(word, self.unknown) for word in sorted(each & said))
        return part / whole if whole else 0.0

    def _told(self, question: str, before: str, found: Found) -> Answer:
        sources = tuple(chunk["document"] for chunk in found.passages)
        passages = tuple(chunk["text"] for chunk in found.passages)
        refusal = Answer(REFUSAL, sources, passages, found.score, True)
        if not found.passages or found.score < self.settings.threshold:
            return refusal
        if self.settings.language_model:
            text = self._generated(question, found.passages)
            if text is not None and REFUSAL.rstrip(".").casefold() in text.casefold():
                return refusal
            if text is not None:
                return Answer(text, sources, passages, found.score, False, _place(found.passages[0]))
        text = self._extracted(f"{question}\n{before}", found)
        return Answer(text, sources, passages, found.score, False, _place(found.best))

    def _extracted(self, question: str, found: Found) -> str:
        """The sentences of the best passage that say most of what is asked, in their order."""
        passage = found.best["text"]
        quotable = sentences(passage) or [" ".join(passage.split())]
        asked = words(question)
        fits = np.array([self._share(asked, sentence) for sentence in quotable])
        if self.dense is not None:  # only the likeliest are read: that is what an answer takes its time for
            likely = np.argsort(-fits, kind="stable")[:MOST_READ]
            vectors = np.array([self.vector_of(quotable[place]) for place in likely])
            fits[likely] += _alike(vectors, found.vector)
        best = [place for place in np.argsort(-fits, kind="stable")[: self.settings.sentences] if fits[place] > 0]
        kept = [place for place in best if fits[place] >= NEARLY * fits[best[0]]] or [0]
        return " ".join(quotable[place] for place in sorted(kept))

    def _generated(self, question: str, found: list[dict[str, Any]]) -> str | None:
        """What the language model says; None if it fails and the sentences are to answer."""
        passages = "\n\n".join(f"[{_place(chunk)}]\n{chunk['text']}" for chunk in found)
        fields = {"{{passages}}": passages, "{{question}}": question}  # together: a text may hold the name of a field
        prompt = re.sub("|".join(map(re.escape, fields)), lambda field: fields[field.group()], self.prompt)
        try:
            return generated(prompt, self.settings)
        except EndpointError:
            if not self.settings.falls_back:
                raise
        return None


def _alike(vectors: Any, vector: Any) -> Any:
    """How alike vectors are to one, from 0 to 1; linear algebra on threads would round by their number."""
    return np.clip(np.einsum("ij,j->i", vectors, vector), 0, 1)


def _place(chunk: dict[str, Any]) -> str:
    parts = (chunk["document"], chunk["section"].rpartition(" > ")[2], f"page {chunk['page']}" if chunk["page"] else "")
    return ", ".join(part for part in parts if part).translate(ROUND)


def _document(chunk: dict[str, Any]) -> Document:
    where = {"doc_uri": chunk["document"], "section": chunk["section"], "page": chunk["page"]}
    return Document(page_content=chunk["text"], metadata=where, id=chunk["document"])


def _span(name: str, kind: str, traced: bool) -> Any:
    """A span of MLflow's trace; where nothing is traced one that costs nothing."""
    return mlflow.start_span(name, span_type=kind) if traced else nullcontext(NoOpSpan())


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
    def example() -> pd.DataFrame:
        """A question of nobody."""
        return pd.DataFrame({"messages": [[{"role": "user", "content": "What is it about?"}]]})

    # mlflow warns about hints that it cannot turn into a schema, so the other parameters carry none
    def predict(self, context, model_input: pd.DataFrame, params=None) -> Any:  # type: ignore[no-untyped-def]  # noqa: ARG002
        """Answer each conversation with a string, or each question of a column `text` with a row."""
        if is_table(model_input):
            return self.answered(model_input["text"].tolist()).set_index(model_input.index)
        every = [asked(messages) for messages in conversations(model_input)]
        traced = len(every) <= MOST_TRACED
        return [self.chain.answer(*each, traced=traced).cited for each in every]

    def answered(self, questions: Sequence[str]) -> pd.DataFrame:
        """The answers to questions as a table, which is not traced."""
        return as_table(answer[:5] for answer in self.chain.answers(questions))


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
