"""What the gate asks about models that answer questions from documents."""

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd

from lifecycle.problems.chat import metrics
from lifecycle.problems.chat.expected import Expected
from lifecycle.problems.chat.scores import ChatScores, problems_of, scores_of
from lifecycle.problems.contract import TEXT, Columns
from lifecycle.problems.judging import Judging
from lifecycle.problems.metric import Metric
from lifecycle.settings.gate_rules import GateRules

KINDS = ("how", "what", "when", "where", "which", "who", "why")
"""What questions begin with, or have among their words."""
OTHER = "other"
MOST_DOCUMENTS = 20
"""Slices are made of those that most questions are about."""


def _same_truth(recorded: pd.Series, truth: pd.Series) -> bool:
    return bool((recorded.to_numpy(object) == truth.to_numpy(object)).all())


def _document(_: Columns, rows: pd.DataFrame) -> pd.Series:
    """The first expected document; none where none is expected."""
    documents = [Expected.of(cell).documents for cell in rows["truth"]]
    first = pd.Series([names[0] if names else None for names in documents], rows.index, dtype=object)
    return first.where(first.isin(first.value_counts().index[:MOST_DOCUMENTS]))


def _answerable(_: Columns, rows: pd.DataFrame) -> pd.Series:
    told = ["yes" if Expected.of(cell).is_answerable else "no" for cell in rows["truth"]]
    return pd.Series(told, rows.index, dtype=object)


def _question_type(_: Columns, rows: pd.DataFrame) -> pd.Series:
    """The first word that asks."""
    asked = [re.findall(r"\w+", question.lower()) for question in rows[TEXT]]
    kinds = [next((word for word in words if word in KINDS), OTHER) for words in asked]
    return pd.Series(kinds, rows.index, dtype=object)


def _trivial(scores: ChatScores, rules: GateRules) -> Iterator[tuple[str, Metric, ChatScores]]:
    """To refuse every question needs no model."""
    nothing = np.zeros(len(scores.truth))
    refusing = scores._replace(
        answer=np.full(len(scores.truth), "", dtype=object),
        refused=np.ones(len(scores.truth), dtype=bool),
        score=nothing,
        recall=nothing,
        rank=nothing,
        f1=nothing,
        exact=nothing,
        grounded=nothing,
    )
    wanted = rules.metric if rules.metric not in {"refusal_accuracy", "groundedness"} else JUDGING.metric
    yield "a refusal of every question", metrics.named(wanted, rules), refusing


def _inapplicable(rules: GateRules) -> Iterator[str]:
    asked = {"behaviour": rules.behaviour, "calibration.max_ece": rules.calibration.max_ece, "costs": rules.costs}
    yield from (f"gate.{name}" for name, value in asked.items() if value is not None and value != ())


JUDGING = Judging(
    metric="accuracy",
    quality="accuracy",
    slices={"document": _document, "answerable": _answerable, "question_type": _question_type},
    usual_slices=("answerable", "document", "question_type"),
    named=metrics.named,
    standard=metrics.standard,
    scores_of=scores_of,
    problems_of=problems_of,
    same_truth=_same_truth,
    trivial=_trivial,
    inapplicable=_inapplicable,
)
