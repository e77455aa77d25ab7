"""Bring the stored answers of two models onto the same rows, and leave out what either was trained on."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lifecycle.core.errors import IntegrityError
from lifecycle.problems.classification.scores import told_classes
from lifecycle.problems.known import Problem
from lifecycle.problems.metric import Codes, Scores

IDENTITY = 16
"""The first digits of a key, 64 bits: rows that share them are the same to a model that was trained on one of them."""


class Comparable(NamedTuple):
    """The rows that both models may be judged on: `row`, `truth`, the inputs and the other columns of the dataset."""

    rows: pd.DataFrame
    challenger: Scores
    champion: Scores | None
    left_out: dict[str, int]
    knows: dict[str, set[str]]
    """The classes of each model that tells their probabilities."""
    groups: Codes | None = None
    """Which rows have something in common, by the number of each one's group; None where each stands for itself."""


def comparable(
    problem: Problem,
    truth: pd.DataFrame,
    answers: Mapping[str, pd.DataFrame],
    seen: Mapping[str, set[int]],
    groups: "pd.Series[str] | None" = None,
) -> Comparable:
    """Join stored answers on the rows of a dataset by their key, whatever order they were stored in.

    Args:
        problem: What both were asked.
        truth: The rows of the split: `row, key`, the target, the inputs and the columns of the source.
        answers: Of the `challenger` and, if there is one, of the `champion`.
        seen: The first 64 bits of the keys of the rows that each model was fitted on.
        groups: What rows have in common, such as their customer.

    Raises:
        IntegrityError: A model's answers lack a row, repeat one, carry another truth, or are not usable scores.
    """
    for role, frame in answers.items():
        _check(problem, role, truth, frame)
    short = truth["key"].str[:IDENTITY].map(lambda key: int(key, 16))
    trained = {role: short.isin(keys).to_numpy(bool) for role, keys in seen.items()}
    unseen = ~np.logical_or.reduce([*trained.values(), np.zeros(len(truth), bool)])
    aligned = {role: frame.set_index("key").loc[truth["key"]] for role, frame in answers.items()}
    models = problem.judging.scores_of(truth[problem.target], aligned)
    kept = np.flatnonzero(unseen)
    models = {role: scores.take(kept) for role, scores in models.items()}
    rows = truth.iloc[kept].drop(columns=["key", "split", problem.target], errors="ignore").reset_index(drop=True)
    return Comparable(
        rows=rows.assign(truth=_named(models["challenger"])),
        challenger=models["challenger"],
        champion=models.get("champion"),
        left_out={role: int(mask.sum()) for role, mask in trained.items()},
        groups=None if groups is None else pd.factorize(groups.iloc[kept])[0],
        knows={role: known for role, frame in answers.items() if (known := {*told_classes(frame).values()})},
    )


def _named(scores: Scores) -> Any:
    """The truth as it is said: classes by their name, as in new dataset versions."""
    return np.array(scores.classes, dtype=object)[scores.truth] if scores.classes else scores.truth


def _check(problem: Problem, role: str, truth: pd.DataFrame, answers: pd.DataFrame) -> None:
    columns = list(map(str, answers.columns))
    problems = [f"lacks or repeats the column {name}" for name in ("key", "truth") if columns.count(name) != 1]
    problems += problem.judging.problems_of(answers)
    if columns.count("key") == 1:
        keys = answers["key"]
        broken = {
            "repeats a row": keys.duplicated().any(),
            "covers other rows than the dataset": set(keys) != set(truth["key"]),
        }
        problems += [problem for problem, there in broken.items() if there]
    if problems:
        raise IntegrityError(f"The stored predictions of the {role} are not usable: {', '.join(problems)}.")
    recorded = answers.set_index("key")["truth"].reindex(truth["key"])
    if not problem.judging.same_truth(recorded, truth[problem.target]):
        raise IntegrityError(f"The {role} was evaluated against another truth than the dataset's.")
