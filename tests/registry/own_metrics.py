"""Metrics as a team might write them, good and bad."""

import pandas as pd

Probabilities = pd.DataFrame | None


def negatives(truth: list[str], labels: list[str], probabilities: Probabilities) -> float:  # noqa: ARG001
    return labels.count("negative") / len(labels)


def raises(truth: list[str], labels: list[str], probabilities: Probabilities) -> float:  # noqa: ARG001
    raise KeyError("no such thing")


def nan(truth: list[str], labels: list[str], probabilities: Probabilities) -> float:  # noqa: ARG001
    return float("nan")


def word(truth: list[str], labels: list[str], probabilities: Probabilities) -> str:  # noqa: ARG001
    return "good"
