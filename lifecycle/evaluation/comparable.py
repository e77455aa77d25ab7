"""Bring the stored predictions of two models onto the same rows, and leave out what either was trained on."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from lifecycle.core.class_names import canonical
from lifecycle.core.errors import IntegrityError
from lifecycle.evaluation.evaluate import PROBABILITY
from lifecycle.evaluation.metrics import Predictions

ROUNDING = 1e-6
"""How far the probabilities of a row may be from adding up to 1."""
COLUMNS = ("key", "truth", "label", "score")


class Comparable(NamedTuple):
    """The rows that both models may be judged on: `row, text, truth` and the dataset's own columns `source_…`."""

    rows: pd.DataFrame
    challenger: Predictions
    champion: Predictions | None
    left_out: dict[str, int]
    knows: dict[str, set[str]]
    """The classes of each model that tells their probabilities."""


def comparable(
    truth: pd.DataFrame, predictions: Mapping[str, pd.DataFrame], seen: Mapping[str, set[int]]
) -> Comparable:
    """Join stored predictions on the rows of a dataset by the key of their text, whatever order they were stored in.

    Args:
        truth: The rows of the side: `row, key, text, label` and the columns of the source.
        predictions: Of the `challenger` and, if there is one, of the `champion`.
        seen: The first 64 bits of the keys of the texts that each model was fitted on.

    Raises:
        IntegrityError: A model's predictions lack a row, repeat one, carry other labels, or are not usable scores.
    """
    for role, frame in predictions.items():
        _check(role, truth, frame)
    truth = truth.assign(label=truth["label"].map(canonical))
    predictions = {role: frame.assign(label=frame["label"].map(canonical)) for role, frame in predictions.items()}
    short = truth["key"].str[:16].map(lambda key: int(key, 16))
    trained = {role: short.isin(keys).to_numpy(bool) for role, keys in seen.items()}
    unseen = ~np.logical_or.reduce([*trained.values(), np.zeros(len(truth), bool)])
    kept = truth[unseen].reset_index(drop=True)
    classes = tuple(sorted({str(label) for labels in _labels(truth, predictions) for label in labels}))
    models = {role: _coded(kept, frame, classes) for role, frame in predictions.items()}
    columns = ["row", "text", "label", *(name for name in kept.columns if str(name).startswith("source_"))]
    return Comparable(
        rows=kept[columns].rename(columns={"label": "truth"}),
        challenger=models["challenger"],
        champion=models.get("champion"),
        left_out={role: int(mask.sum()) for role, mask in trained.items()},
        knows={role: known for role, frame in predictions.items() if (known := {*_told(frame).values()})},
    )


def _told(predictions: pd.DataFrame) -> dict[str, str]:
    """The columns of probabilities with their classes, named as in new dataset versions: older ones have both forms."""
    columns = [str(name) for name in predictions.columns if str(name).startswith(PROBABILITY)]
    return {name: canonical(name.removeprefix(PROBABILITY)) for name in columns}


def _labels(truth: pd.DataFrame, predictions: Mapping[str, pd.DataFrame]) -> Iterator[set[str]]:
    yield set(truth["label"])
    for frame in predictions.values():
        yield set(frame["label"])
        yield set(_told(frame).values())


def _coded(rows: pd.DataFrame, predictions: pd.DataFrame, classes: tuple[str, ...]) -> Predictions:
    """Labels as numbers that mean the same for both models; a class that a model does not know has probability 0."""
    known, frame, told = (
        np.array(classes, dtype=object),
        predictions.set_index("key").loc[rows["key"]],
        _told(predictions),
    )
    probabilities = np.zeros((len(rows), len(classes))) if told else None
    if probabilities is not None:
        for column, name in told.items():
            probabilities[:, classes.index(name)] += frame[column].to_numpy(np.float64)
    return Predictions(
        classes=classes,
        truth=np.searchsorted(known, rows["label"].to_numpy(object)).astype(np.int64),
        label=np.searchsorted(known, frame["label"].to_numpy(object)).astype(np.int64),
        score=frame["score"].to_numpy(np.float64),
        probabilities=probabilities,
    )


def _check(role: str, truth: pd.DataFrame, predictions: pd.DataFrame) -> None:
    _check_form(role, predictions)
    probabilities = predictions.filter(regex=f"^{PROBABILITY.replace('.', '[.]')}").to_numpy(np.float64)
    unusual = probabilities.size > 0 and not (
        (probabilities >= 0).all() and (np.abs(probabilities.sum(axis=1) - 1) <= ROUNDING).all()
    )
    problems = {
        "repeats a row": predictions["key"].duplicated().any(),
        "covers other rows than the dataset": set(predictions["key"]) != set(truth["key"]),
        "has an empty label": predictions["label"].isna().any() or (predictions["label"] == "").any(),
        "has a score outside [0, 1]": not predictions["score"].between(0, 1).all(),
        "has probabilities that do not add up to 1": unusual,
    }
    if found := [problem for problem, broken in problems.items() if broken]:
        raise IntegrityError(f"The stored predictions of the {role} are not usable: {', '.join(found)}.")
    recorded = predictions.set_index("key")["truth"].reindex(truth["key"]).to_numpy(object)
    if (recorded != truth["label"].to_numpy(object)).any():
        raise IntegrityError(f"The {role} was evaluated against other labels than the dataset's.")


def _check_form(role: str, predictions: pd.DataFrame) -> None:
    """That there are columns to look into, and in them what their names say; that a label is missing is told later."""
    columns = [str(name) for name in predictions.columns]
    numbers = ["score", *(name for name in columns if name.startswith(PROBABILITY))]
    if wrong := [name for name in dict.fromkeys((*COLUMNS, *numbers)) if columns.count(name) != 1]:
        raise IntegrityError(f"The stored predictions of the {role} lack or repeat the columns {', '.join(wrong)}.")
    labels = predictions["label"].dropna()
    problems = {
        "has a label that is no text": not labels.map(lambda label: isinstance(label, str)).all(),
        "has scores that are no numbers": not all(dtype.kind in "fiu" for dtype in predictions[numbers].dtypes),
    }
    if found := [problem for problem, broken in problems.items() if broken]:
        raise IntegrityError(f"The stored predictions of the {role} are not usable: {', '.join(found)}.")
