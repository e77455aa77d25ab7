"""What can be trained on pairs of texts to tell their class."""
# ruff: noqa: ARG002  pairs need no kinds of columns

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lifecycle.problems.contract import Columns
from lifecycle.problems.embedding.learning import WithEmbedding
from lifecycle.problems.learning import Learning
from lifecycle.problems.tabular.learning import OF_CLASSES, TableLearning
from lifecycle.problems.text_classification.model import store
from lifecycle.problems.text_pair_classification import estimators
from lifecycle.problems.text_pair_classification.model import TEXTS, PairModel
from lifecycle.problems.transformer.learning import WithTransformer


class _Learning(TableLearning):
    model = PairModel
    noun = "pairs"
    beside = estimators.BESIDE
    sources = (
        "problems/fitting.py",
        "problems/text_classification/estimators.py",
        "problems/tabular/learning.py",
        "problems/text_pair_classification/estimators.py",
        "problems/text_pair_classification/model.py",
    )

    def behind(
        self, estimator: Any, name: str, params: Mapping[str, Any], features: pd.DataFrame, columns: Columns
    ) -> Any:
        there = [words for words in TEXTS if not len(features) or features[words].str.strip().any()]
        return estimators.behind_features(estimator, name, params, there)

    def parted(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        return estimators.parted(params)

    def parameters(self, pipeline: Any) -> dict[str, Any]:
        words = pipeline[0].transformers[0][1].get_params()
        read = {f"tfidf.{name}": words[name] for name in estimators.OF_WORDS if name in words}
        return super().parameters(pipeline) | read | {estimators.READS: estimators.read_by(pipeline)}

    def write(self, pipeline: Any, path: Path) -> None:
        store(pipeline, path)


_OF_FEATURES = _Learning("text-pair-classification", OF_CLASSES._replace(estimators=estimators.ESTIMATORS))
LEARNING: Learning = WithTransformer(
    WithEmbedding("text-pair-classification", _OF_FEATURES), "text-pair-classification"
)
