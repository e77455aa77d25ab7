"""One model's answers beside what is expected, measured by row, and how they compare with another model's."""

import json
from collections.abc import Callable, Hashable, Mapping
from functools import cached_property
from typing import Any, NamedTuple, Self, TypeVar, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lifecycle.problems import shares
from lifecycle.problems.chat import measures
from lifecycle.problems.chat.expected import Expected
from lifecycle.problems.findings import Interval
from lifecycle.problems.metric import Codes, Flips, Floats, Mask

T = TypeVar("T")
SAID = 200
"""Letters of an answer that are shown."""
GROUNDED = 0.5
"""An answer counts as right if more of its sentences than this are in what was retrieved."""
COLUMNS = ("answer", "sources", "passages", "score", "refused")
"""What is stored of the answers to an evaluation set."""


class _Fields(NamedTuple):
    truth: NDArray[Any]
    answer: NDArray[Any]
    passages: NDArray[Any]
    score: Floats
    answerable: Mask
    refused: Mask
    has_documents: Mask
    has_answer: Mask
    recall: Floats
    rank: Floats
    f1: Floats
    exact: Floats
    grounded: Floats


class ChatScores(_Fields):
    """One model's answers, all arrays by row.

    Attributes:
        truth: What is expected, as cells.
        answer: What is answered.
        passages: What was retrieved, as a list in JSON.
        score: How sure the model is that the documents tell it.
        answerable: Where they do.
        refused: Where the model says that they do not.
        has_documents: Where it is known which documents tell it.
        has_answer: Where there is a reference answer.
        recall: The share of the expected documents that were retrieved, also where the answer is a refusal.
        rank: One through the place of the first of them.
        f1: Words shared with the reference answer; of a refusal none are.
        exact: Whether it is the reference answer.
        grounded: The share of sentences that the passages support.
    """

    @cached_property
    def _known(self) -> dict[Hashable, Any]:
        return {}

    @property
    def classes(self) -> tuple[str, ...]:
        """There are none."""
        return ()

    @cached_property
    def right(self) -> Mask:
        """Refused where the documents do not tell, else answered from an expected document with what it says.

        Where it is not known which documents tell it, the answer must have half of the reference answer's words.
        """
        found = np.where(self.has_documents, self.recall > 0, self.f1 >= 0.5)
        return np.where(self.answerable, ~self.refused & found & (self.grounded > GROUNDED), self.refused)

    @property
    def without_model(self) -> tuple[str, int]:
        """A refusal, which is right where the documents do not tell."""
        return "a refusal of every question", int((~self.answerable).sum())

    def once(self, what: Hashable, find: Callable[[], T]) -> T:
        """What depends on the rows alone and not on how often each is drawn: it is found once for all resamples."""
        if what not in self._known:
            self._known[what] = find()
        return cast(T, self._known[what])

    def take(self, rows: Codes) -> Self:
        """These rows alone, in this order."""
        values: list[Any] = [each[rows] for each in self]
        return type(self)(*values)

    def interleave(self, other: Self) -> Self:
        """Each row twice: first as this model answers, then as the other does."""
        both: list[Any] = [np.stack(pair, axis=1).ravel() for pair in zip(self, other, strict=True)]
        return type(self)(*both)

    def alike(self, *others: Self) -> tuple[Codes, Codes]:
        """No two rows count as the same."""
        _ = others
        rows = np.arange(len(self.truth))
        return rows, rows

    def flips(self, champion: Self) -> Flips:
        """The questions that one of the two answers rightly and the other does not."""
        return Flips(champion.right & ~self.right, self.right & ~champion.right, "McNemar")

    def severity(self, other: Self) -> Floats:
        """An answer is worse the surer the model is of it, where it should have refused most of all."""
        _ = other
        return np.asarray(self.score + (~self.answerable & ~self.refused))

    def certainty(self, row: int) -> float:
        """How sure it is that the documents tell it."""
        return float(self.score[row])

    def said(self, row: int) -> tuple[str, str]:
        """What is expected of a row, and what the model answers."""
        return Expected.of(self.truth[row]).told[:SAID], str(self.answer[row])[:SAID]

    def quality(self, mask: Mask, confidence: float) -> Interval:
        """The share of right answers on a part of the rows."""
        return shares.wilson(int(self.right[mask].sum()), int(mask.sum()), confidence)

    def slice_loss(self, champion: Self, mask: Mask) -> tuple[float, float]:
        """The share of right answers that is lost, and the one-sided exact p of McNemar's test."""
        new, old = self.right[mask], champion.right[mask]
        lost = float(old.mean() - new.mean()) if mask.any() else 0.0
        return lost, shares.sign_p(int((old & ~new).sum()), int((new & ~old).sum()))

    def changed(self, champion: Self) -> int:
        """Rows with another answer."""
        return int((self.answer != champion.answer).sum())

    def confusion(self) -> tuple[tuple[int, ...], ...]:
        """Answers are not counted by class."""
        return ()


def scores_of(truth: pd.Series, answers: Mapping[str, pd.DataFrame]) -> dict[str, ChatScores]:
    """The scores of models by their role, from what was stored of each for the same rows in the same order."""
    expected = [Expected.of(cell) for cell in truth]
    return {role: _measured(expected, frame) for role, frame in answers.items()}


def _measured(expected: list[Expected], answers: pd.DataFrame) -> ChatScores:
    refused = answers["refused"].to_numpy(np.float64) > 0
    rows = list(zip(expected, answers["answer"], *_lists(answers), refused, strict=True))
    return ChatScores(
        truth=np.array([each.cell for each in expected], dtype=object),
        answer=answers["answer"].to_numpy(object),
        passages=answers["passages"].to_numpy(object),
        score=answers["score"].to_numpy(np.float64),
        answerable=np.array([each.is_answerable for each in expected], dtype=bool),
        refused=refused,
        has_documents=np.array([bool(each.documents) for each in expected], dtype=bool),
        has_answer=np.array([bool(each.answer) for each in expected], dtype=bool),
        recall=_floats(measures.recalled(each.documents, sources) for each, _, sources, _, _ in rows),
        rank=_floats(measures.reciprocal(each.documents, sources) for each, _, sources, _, _ in rows),
        f1=_floats(0.0 if no else measures.token_f1(said, each.answer) for each, said, _, _, no in rows),
        exact=_floats(not no and measures.is_exact(said, each.answer) for each, said, _, _, no in rows),
        grounded=_floats(measures.supported(said, found, each.question) for each, said, _, found, _ in rows),
    )


def _floats(values: Any) -> Floats:
    return np.fromiter(values, np.float64)


def _lists(answers: pd.DataFrame) -> tuple[list[list[str]], list[list[str]]]:
    """Retrieved documents, the best first, and passages."""
    sources, passages = ([[*map(str, json.loads(cell))] for cell in answers[name]] for name in ("sources", "passages"))
    return sources, passages


def problems_of(answers: pd.DataFrame) -> list[str]:
    """What makes stored answers unusable, in words."""
    columns = list(map(str, answers.columns))
    if wrong := [name for name in COLUMNS if columns.count(name) != 1]:
        return [f"lacks or repeats the columns {', '.join(wrong)}"]
    if any(answers[name].dtype.kind not in "fiub" for name in ("score", "refused")):
        return ["has scores that are no numbers"]
    if not np.isfinite(answers[["score", "refused"]].to_numpy(np.float64)).all():
        return ["has a score that is not finite"]
    if not answers["answer"].map(lambda cell: isinstance(cell, str)).all():
        return ["has an answer that is no text"]
    try:
        both = _lists(answers)
    except (TypeError, ValueError):
        return ["has sources or passages that are no lists"]
    return [] if all(isinstance(cells, list) for cells in both) else ["has sources or passages that are no lists"]
