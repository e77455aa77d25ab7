"""The learning of a problem of texts, with the algorithm `embedding` beside those that it has.

The network is frozen: what is fitted is a logistic regression of its vectors, and of pairs of how alike they are.
"""

import inspect
import json
from pathlib import Path
from typing import Any, Self

import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from lifecycle.core.names import ProblemName
from lifecycle.problems import fitting
from lifecycle.problems.classification import plots, summary
from lifecycle.problems.contract import CLASS, EXAMPLE, Columns, Estimator
from lifecycle.problems.embedding import encoders
from lifecycle.problems.embedding.kept import Remembering
from lifecycle.problems.learning import NOTHING, Beside, Learning, Spec, StoredModel, Summary
from lifecycle.problems.own import OwnAlgorithm
from lifecycle.problems.text_classification.model import store
from lifecycle.problems.text_pair_classification.model import NETWORK, TOKENIZER, PairModel, embedded

EMBEDDING = "embedding"
BESIDE = ("encoder", "tokenizer")
"""Parameters that say where the encoder lies."""
PACKAGES = ("onnxruntime", "tokenizers")
"""What its models need beyond the libraries of all."""


class Embedded(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """The first step while a model is trained, known by its encoder's digest; a stored model has the encoder itself."""

    def __init__(self, encoder: str = "") -> None:
        self.encoder = encoder

    def with_files(self, files: encoders.Files, kept: Path | None = None) -> Self:
        """The same, with what it reads by, and where vectors of earlier trainings are kept."""
        self.files_, self.kept_ = files, kept
        return self

    def fit(self, texts: pd.DataFrame, _: Any = None) -> Self:  # noqa: ARG002  what scikit-learn gives
        """Load the encoder."""
        self.files_.encoder()
        self.reader_ = Remembering(self.files_, self.kept_)
        return self

    def transform(self, texts: pd.DataFrame) -> Any:
        """What is learnt from."""
        return embedded([texts[name].tolist() for name in texts], self.reader_)


class WithEmbedding(Learning):
    """A problem's own algorithms, and this one."""

    def __init__(self, problem: ProblemName, plain: Learning) -> None:
        self.problem, self.plain, self.target = problem, plain, plain.target
        space = {"C": (0.1, 1.0, 10.0, 100.0), "class_weight": (None, "balanced")}
        entry = Estimator(
            LogisticRegression,
            {"C": 10.0, "max_iter": 2000},
            packages=PACKAGES,
            reads=("encoder", "tokenizer"),
            space=space,
        )
        self.estimators = {**plain.estimators, EMBEDDING: entry}
        own = ("problems/embedding/learning.py", "problems/embedding/encoders.py", "problems/embedding/kept.py")
        self.sources = tuple(dict.fromkeys((*plain.sources, *own, "problems/text_pair_classification/model.py")))

    def build(self, spec: Spec) -> Any:
        """An unfitted pipeline; of the encoder its digest is a parameter."""
        if spec.algorithm != EMBEDDING:
            if not isinstance(spec.algorithm, OwnAlgorithm):
                fitting.algorithm_of(self.estimators, spec.algorithm)
            return self.plain.build(spec)
        classifier = fitting.made(self.estimators, EMBEDDING, spec.params, spec.seed, beside=BESIDE)
        files = encoders.found(spec.params)
        return Pipeline([("features", Embedded(files.digest).with_files(files)), ("classifier", classifier)])

    def fit(self, spec: Spec, inputs: pd.DataFrame, target: "pd.Series[Any]", beside: Beside = NOTHING) -> Any:
        """The same, fitted."""
        if spec.algorithm != EMBEDDING:
            return self.plain.fit(spec, inputs, target, beside)
        pipeline = self.build(spec)
        pipeline[0].with_files(pipeline[0].files_, beside.vectors)
        of_encoder = {name: value for name, value in spec.params.items() if name in BESIDE}
        own = {name: value for name, value in spec.params.items() if name not in BESIDE}
        texts = inputs[[column.name for column in spec.columns]]
        fitting.fit(EMBEDDING, pipeline, texts, target.to_numpy(), noun="texts", params=(of_encoder, own))
        return pipeline

    def parameters(self, pipeline: Any) -> dict[str, Any]:
        """Those of the classifier, and which encoder it was."""
        if not _is_ours(pipeline):
            return self.plain.parameters(pipeline)
        own = {f"model.{name}": value for name, value in pipeline[-1].get_params().items()}
        return own | {"model.encoder_sha256": pipeline[0].encoder}

    def answers(self, pipeline: Any, inputs: pd.DataFrame, columns: Columns) -> pd.DataFrame:
        """The predictions of the model that would be stored."""
        if not _is_ours(pipeline):
            return self.plain.answers(pipeline, inputs, columns)
        names = [(column.name, column.kind) for column in columns]
        return summary.answers(PairModel(_stored(pipeline), names, self.problem, pipeline[0].reader_), inputs)

    def store(self, pipeline: Any, columns: Columns, folder: Path) -> StoredModel:
        """The classifier, the columns, and both files of the encoder."""
        if not _is_ours(pipeline):
            return self.plain.store(pipeline, columns, folder)
        names = {"pipeline": "pipeline.skops", "columns": "columns.json", "network": NETWORK, "tokenizer": TOKENIZER}
        artifacts = {name: folder / file for name, file in names.items()}
        store(_stored(pipeline), artifacts["pipeline"])
        described = {"problem": self.problem, "columns": [column.model_dump() for column in columns]}
        artifacts["columns"].write_text(json.dumps(described, indent=2, ensure_ascii=False), encoding="utf-8")
        artifacts["network"].write_bytes(pipeline[0].files_.network)
        artifacts["tokenizer"].write_text(pipeline[0].files_.tokenizer, encoding="utf-8")
        inputs = {column.name: "string" for column in columns}
        example = pd.DataFrame([{column.name: EXAMPLE[column.kind] for column in columns}])
        return StoredModel(Path(inspect.getfile(PairModel)), artifacts, inputs, CLASS, example, packages=PACKAGES)

    def summary(self, split: str, truth: "pd.Series[Any]", answers: pd.DataFrame) -> Summary:
        """As of every classifier."""
        return summary.summary(split, truth, answers)

    def draw(self, truth: "pd.Series[Any]", answers: pd.DataFrame, folder: Path) -> None:
        """As of every classifier."""
        plots.draw(truth, answers, folder)

    def explain(
        self, pipeline: Any, inputs: pd.DataFrame, truth: "pd.Series[Any]", columns: Columns, folder: Path
    ) -> None:
        """What the problem's own models tell; of vectors nothing is told."""
        if not _is_ours(pipeline):
            self.plain.explain(pipeline, inputs, truth, columns, folder)


def _is_ours(pipeline: Any) -> bool:
    return isinstance(getattr(pipeline, "steps", [("", None)])[0][1], Embedded)


def _stored(pipeline: Any) -> Any:
    """What is stored of a pipeline: plain scikit-learn, given what the model makes of texts."""
    return Pipeline([("classifier", pipeline[-1])])
