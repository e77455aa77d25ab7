"""What can be trained on texts to tell their class."""
# ruff: noqa: ARG002  of the contract's arguments a text model needs no columns, and nothing beside

from pathlib import Path
from typing import Any

import pandas as pd

from lifecycle.core.names import TEXT_CLASSIFICATION
from lifecycle.problems.classification import plots, summary
from lifecycle.problems.contract import Columns
from lifecycle.problems.embedding.learning import WithEmbedding
from lifecycle.problems.learning import NOTHING, Beside, Learning, Spec, StoredModel, Summary
from lifecycle.problems.text_classification import estimators, hashing, model
from lifecycle.problems.text_classification.model import TextModel
from lifecycle.problems.text_classification.stored import MODEL, stored_model
from lifecycle.problems.transformer.learning import WithTransformer


class _Learning(Learning):
    target = "label"
    estimators = estimators.ESTIMATORS
    sources = (
        "problems/fitting.py",
        "problems/text_classification/estimators.py",
        "problems/text_classification/tokens.py",
        "problems/text_classification/model.py",
    )

    def build(self, spec: Spec) -> Any:
        return estimators.build(spec.algorithm, spec.params, spec.seed)

    def fit(self, spec: Spec, inputs: pd.DataFrame, target: "pd.Series[Any]", beside: Beside = NOTHING) -> Any:
        return estimators.fit(spec.algorithm, spec.params, spec.seed, inputs, target, beside)

    def parameters(self, pipeline: Any) -> dict[str, Any]:
        own = {f"model.{name}": value for name, value in pipeline[-1].get_params().items()}
        return own | estimators.text_parameters(pipeline)

    def answers(self, pipeline: Any, inputs: pd.DataFrame, columns: Columns) -> pd.DataFrame:
        with hashing.quickly(pipeline):
            return summary.answers(TextModel(pipeline), inputs)

    def store(self, pipeline: Any, columns: Columns, folder: Path) -> StoredModel:
        path = folder / "pipeline.skops"
        model.store(pipeline, path)
        return stored_model(MODEL, {"pipeline": path})

    def summary(self, split: str, truth: "pd.Series[Any]", answers: pd.DataFrame) -> Summary:
        return summary.summary(split, truth, answers)

    def draw(self, truth: "pd.Series[Any]", answers: pd.DataFrame, folder: Path) -> None:
        plots.draw(truth, answers, folder)


LEARNING: Learning = WithTransformer(WithEmbedding(TEXT_CLASSIFICATION, _Learning()), TEXT_CLASSIFICATION)
