"""The metrics of answers as scorers of `mlflow.genai.evaluate`, which gives the values that the gate reads.

An answer is read as the chain tells it over MLflow, with its source at its end; what it rests on, from its trace.
"""

import json
import math
from collections.abc import Iterable
from typing import Any

import pandas as pd
from mlflow.entities import SpanType, Trace
from mlflow.genai.scorers import Scorer

from lifecycle.problems.chat.expected import Expected
from lifecycle.problems.chat.messages import USER, asked
from lifecycle.problems.chat.metrics import STANDARD
from lifecycle.problems.chat.scores import scores_of
from lifecycle.problems.chat.settings import REFUSAL
from lifecycle.problems.metric import value_of

RESPONSE, CONTEXT, PLACE = "expected_response", "expected_retrieved_context", "doc_uri"
"""Where MLflow's own scorers look for a reference answer and the expected documents."""


def questions(cells: Iterable[str]) -> list[dict[str, Any]]:
    """The rows of an evaluation set, by their targets, as MLflow's evaluation takes them."""
    return [
        {
            "inputs": {"messages": [{"role": USER, "content": each.question}]},
            "expectations": {RESPONSE: each.answer, CONTEXT: [{PLACE: name} for name in each.documents]},
        }
        for each in map(Expected.of, cells)
    ]


def scorers() -> list[Scorer]:
    """One for each metric of answers that needs no language model."""
    return [Measured(name=name) for name in STANDARD]


class Measured(Scorer):  # type: ignore[misc]  # mlflow is untyped
    """A metric of one answer; none where the question does not count for it."""

    def __call__(
        self, *, inputs: dict[str, Any], outputs: str, expectations: dict[str, Any], trace: Trace
    ) -> float | None:
        """What the gate reads of this answer."""
        documents = tuple(each[PLACE] for each in expectations.get(CONTEXT) or ())
        expected = Expected(asked(inputs["messages"])[0], documents, expectations.get(RESPONSE) or "")
        found = trace.search_spans(span_type=SpanType.RETRIEVER)[-1].outputs
        answer = {
            "answer": outputs.rpartition(" [")[0] if outputs.endswith("]") else outputs,
            "sources": json.dumps([passage["metadata"][PLACE] for passage in found]),
            "passages": json.dumps([passage["page_content"] for passage in found]),
            "score": 1.0,  # no metric of an answer reads it
            "refused": float(outputs == REFUSAL),
        }
        value = value_of(STANDARD[self.name], scores_of(pd.Series([expected.cell]), {"": pd.DataFrame([answer])})[""])
        return None if math.isnan(value) else value
