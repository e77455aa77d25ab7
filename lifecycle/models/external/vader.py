"""VADER, the rule-based sentiment lexicon, under the contract of every text model; it needs no training.

This file travels inside each logged model (MLflow's models-from-code), so it imports nothing of this project.
"""

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

THRESHOLD = 0.05
"""From the README of vaderSentiment: positive from 0.05, negative to -0.05, neutral between."""


def analyser(lexicon: str, emoji: str) -> Any:
    """Read VADER's rules with the lexicons of the model, not with those of the installed package."""
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer  # type: ignore[import-untyped]

    return SentimentIntensityAnalyzer(lexicon_file=lexicon, emoji_lexicon=emoji)


class VaderModel(PythonModel):  # type: ignore[misc]  # mlflow is untyped
    """One label and one score in [0, 1] for each text.

    The score is how strongly VADER's compound value speaks for the label: its size for positive and negative, what it
    lacks of 1 for neutral.
    """

    problem = "text-classification"
    inputs = ("text",)

    def __init__(self, rules: Any = None) -> None:
        self.rules = rules

    def load_context(self, context: Any) -> None:
        """Read the lexicons that lie in the model."""
        self.rules = analyser(context.artifacts["lexicon"], context.artifacts["emoji"])

    # mlflow warns about hints that it cannot turn into a schema, so the other parameters carry none
    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:  # type: ignore[no-untyped-def]  # noqa: ARG002
        """Score each text by itself; a missing or blank one is neutral."""
        compounds = [self._compound(text) for text in model_input["text"]]
        labels = [_label(compound) for compound in compounds]
        scores = [1 - abs(c) if label == "neutral" else abs(c) for c, label in zip(compounds, labels, strict=True)]
        return pd.DataFrame({"label": pd.Series(labels, dtype="str"), "score": pd.Series(scores, dtype="float64")})

    def _compound(self, text: Any) -> float:
        if pd.isna(text) or not str(text).strip():
            return 0.0
        return float(self.rules.polarity_scores(str(text))["compound"])


def _label(compound: float) -> str:
    if compound >= THRESHOLD:
        return "positive"
    return "negative" if compound <= -THRESHOLD else "neutral"


set_model(VaderModel())
