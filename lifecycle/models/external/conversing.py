"""A model of any MLflow flavour under the contract of `chat`: questions in, answers and what they rest on out.

This file travels inside each logged model, so it imports nothing of this project but what travels beside it. Each
question is asked by itself, since many models of conversations take no more than one at a time.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

Told = tuple[str, list[str], list[str], float, bool]
"""An answer, its sources and passages, how sure the model is, and whether it refuses."""


def answered(told: Any) -> Mapping[str, Any]:
    """What a model says to one question: `answer`, and if it tells them `sources`, `passages` and `score`.

    Raises:
        ValueError: It is no text, and has no `answer` that is one.
    """
    row = told.to_dict("records") if isinstance(told, pd.DataFrame) else told
    if isinstance(row, list | tuple | np.ndarray | pd.Series):
        if len(row) != 1:
            raise ValueError(f"it answers one question with {len(row)} answers")
        (row,) = row
    if isinstance(row, Mapping) and len(row) == 1:  # a single column, whatever it is called
        (row,) = row.values()
    named = row if isinstance(row, Mapping) else {"answer": row}
    if not isinstance(named.get("answer"), str):
        raise ValueError(f"it answers with {row!r:.80}: a text is needed, or a column `answer` that holds one")
    return named


def texts(named: Mapping[str, Any], name: str) -> list[str]:
    """The texts of a column: a list of them, or that list as JSON; none where the model has no such column.

    Raises:
        ValueError: It is no list of texts.
    """
    cell = named.get(name, [])
    try:
        held = json.loads(cell) if isinstance(cell, str) else [*cell]
    except (TypeError, ValueError):
        held = None
    if not isinstance(held, list) or not all(isinstance(each, str) for each in held):
        raise ValueError(f"its column `{name}` holds {cell!r:.60}, which is no list of texts")
    return held


class ExternalChat(PythonModel):  # type: ignore[misc]  # mlflow is untyped
    """A foreign model, and what is told of it.

    Attributes:
        told: The column that it reads and its type, and which of its answers are refusals.
        asking: What reads conversations, and makes tables of answers.
        within: In which the code that came with it may be imported.
    """

    problem, inputs = "chat", ("text",)

    def __init__(
        self,
        model: Any = None,
        told: Mapping[str, Any] | None = None,
        *,
        asking: Any = None,
        within: Callable[[], AbstractContextManager[Any]] = nullcontext,
        beside: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        self.model, self.told, self.asking, self.within, self.beside = model, dict(told or {}), asking, within, beside

    def load_context(self, context: Any) -> None:
        """Load the foreign model as MLflow does, which runs the code in it."""
        import mlops_messages  # type: ignore[import-not-found]  # both travel beside this file
        from mlops_columns import forget_others  # type: ignore[import-not-found]

        folder = Path(context.artifacts["external"])
        forget_others(folder / "code")
        self.told = json.loads(Path(context.artifacts["told"]).read_text(encoding="utf-8"))
        self.asking = SimpleNamespace(**vars(mlops_messages))
        self.model = mlflow.pyfunc.load_model(str(folder))

    @staticmethod
    def example() -> pd.DataFrame:
        """A question of nobody."""
        return pd.DataFrame({"messages": [[{"role": "user", "content": "What is it about?"}]]})

    # mlflow warns about hints that it cannot turn into a schema, so the other parameters carry none
    def predict(self, context, model_input: pd.DataFrame, params=None) -> Any:  # type: ignore[no-untyped-def]  # noqa: ARG002
        """Answer each conversation with a string, or each question of a column `text` with a row."""
        if self.asking.is_table(model_input):
            table = self.asking.as_table(self._answer(question) for question in model_input["text"])
            return table.set_index(model_input.index)
        return [_cited(*self._answer(each)) for each in self.asking.conversations(model_input)]

    def _answer(self, conversation: Any) -> Told:
        """What the foreign model says to one conversation, or to one question.

        Raises:
            ValueError: It is none, or the answer is none.
        """
        (read,) = self.told["reads"]
        question = self.asking.asked(conversation)[0]
        given = question if read["type"] == "string" else self.asking.said(conversation)
        with self.within():
            told = self.model.predict(
                [given] if self.told["shape"] == "texts" else pd.DataFrame({read["column"]: [given]})
            )
        named, refusal = answered(told), self.told["refusal"]
        text = named["answer"]
        refused = text in self.told["labels"] or refusal.rstrip(".").casefold() in text.casefold()
        sources, passages = texts(named, "sources"), texts(named, "passages")
        return refusal if refused else text, sources, passages, float(named.get("score", 1.0)), refused


def _cited(text: str, sources: Sequence[str], _passages: Any, _score: float, refused: bool) -> str:
    """An answer with its source in brackets at its end, for which no bracket of its own is taken."""
    if refused or not (sources or text.endswith("]")):
        return text
    source = sources[0] if sources else "no source"
    return f"{text} [{source.translate(str.maketrans('[]', '()'))}]"


set_model(ExternalChat())
