"""The rows of a batch that were answered worst: those that a model was sure of and wrong about, or farthest off."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from lifecycle.problems.known import Problem

SHOWN = 10


class WorstRow(NamedTuple):
    """A row of a published batch; its inputs are kept by nobody here."""

    batch: str
    row: int
    truth: str
    answer: str
    size: float
    """How sure the model was, or how far it is from the truth."""


def worst(problem: Problem, batch: str, answers: pd.DataFrame) -> list[WorstRow]:
    """The worst rows of a batch.

    Args:
        problem: Says what is bad.
        batch: Its name.
        answers: `row`, `truth`, and what was predicted.
    """
    there = answers.reset_index(drop=True)
    scores = problem.judging.scores_of(there["truth"], {"": there})[""]
    bad = np.arange(len(there)) if scores.right is None else np.flatnonzero(~scores.right)
    ordered = sorted(bad.tolist(), key=lambda place: -scores.certainty(place))[:SHOWN]
    return [
        WorstRow(batch, int(there["row"].iloc[place]), *scores.said(place), scores.certainty(place))
        for place in ordered
    ]
