"""The metrics of answers: of each question by itself, so that two models are compared question by question."""

import json
import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from lifecycle.problems.chat import language_judge
from lifecycle.problems.chat.expected import Expected
from lifecycle.problems.chat.scores import ChatScores
from lifecycle.problems.metric import Codes, Drawn, Floats, Mask, Metric, own, ratio, unknown, weighted
from lifecycle.settings.gate_rules import JUDGED, GateRules, LanguageJudge

Values = Callable[[ChatScores], Floats]
Counted = Callable[[ChatScores], Mask]


def named(name: str, rules: GateRules) -> Metric:
    """The metric of a name.

    Raises:
        ConfigError: There is no such metric of answers.
    """
    if name in rules.own_metrics:
        return own(name, rules.own_metrics[name], ("answer",), _rows_of)
    if name == JUDGED and rules.language_judge is not None:
        return _measure(name, partial(_judged, rules.language_judge), lambda s: ~s.refused, "answer", "refused")
    if name in STANDARD:
        return STANDARD[name]
    raise unknown(name, sorted({*STANDARD, *rules.own_metrics}))


def _judged(judge: LanguageJudge, scores: ChatScores) -> Floats:
    """What a language model says of each answer; it is asked of none that refuses."""
    said = np.flatnonzero(~scores.refused)

    def ask() -> Floats:
        values = np.zeros(len(scores.truth))
        each = zip(scores.truth[said], scores.answer[said], scores.passages[said], strict=True)
        asked = [(Expected.of(cell).question, str(answer), json.loads(found)) for cell, answer, found in each]
        values[said] = language_judge.supported(asked, judge)
        return values

    return scores.once(("judged", judge), ask)


def standard(scores: ChatScores) -> list[Metric]:
    """What a verdict lists: every metric of which there are rows."""
    counted = {
        "recall_at_k": scores.has_documents,
        "mean_reciprocal_rank": scores.has_documents,
        "token_f1": scores.has_answer,
        "exact_match": scores.has_answer,
        "refusal_accuracy": ~scores.answerable,
        "groundedness": ~scores.refused,
    }
    return [metric for name, metric in STANDARD.items() if name not in counted or counted[name].any()]


def _mean(values: Values, counted: Counted, scores: ChatScores, drawn: Drawn) -> Floats:
    """The mean over the rows that count, for each resample; undefined where none is drawn."""
    mask = counted(scores).astype(float)
    return ratio((values(scores) * mask) @ drawn, mask @ drawn, math.nan)


def _rows_of(scores: ChatScores, rows: Codes) -> Sequence[list[str]]:
    """What a metric of a team's own is called with: what is expected, as JSON, and the answers."""
    return scores.truth[rows].tolist(), scores.answer[rows].tolist()


def _measure(name: str, values: Values, counted: Counted, *reads: str) -> Metric:
    return weighted(name, partial(_mean, values, counted), reads=reads)


def _share(name: str, hits: Callable[[ChatScores], Mask], counted: Counted, *reads: str) -> Metric:
    metric = _measure(name, lambda scores: hits(scores).astype(float), counted, *reads)
    return metric._replace(rate=lambda scores: (counted(scores), hits(scores)))


STANDARD: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _share("accuracy", lambda s: s.right, lambda s: s.answerable | ~s.answerable, "right"),
        _measure("recall_at_k", lambda s: s.recall, lambda s: s.has_documents, "recall"),
        _measure("mean_reciprocal_rank", lambda s: s.rank, lambda s: s.has_documents, "rank"),
        _measure("token_f1", lambda s: s.f1, lambda s: s.has_answer, "f1"),
        _share("exact_match", lambda s: s.exact > 0, lambda s: s.has_answer, "exact"),
        _share("refusal_accuracy", lambda s: s.refused, lambda s: ~s.answerable, "refused"),
        _measure("groundedness", lambda s: s.grounded, lambda s: ~s.refused, "grounded", "refused"),
    )
}
"""By name; the first says whether a question is answered rightly, the others why not."""
