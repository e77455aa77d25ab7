"""The learning of a problem of texts, and beside its algorithms one that reads the texts themselves."""
# ruff: noqa: D102  the contract says what these do, and of their arguments not every one needs all

import json
from pathlib import Path
from typing import Any

import pandas as pd

from lifecycle.core.names import ProblemName
from lifecycle.problems import fitting
from lifecycle.problems.classification import summary
from lifecycle.problems.contract import CLASS, EXAMPLE, TEXT_COLUMNS, Columns
from lifecycle.problems.learning import NOTHING, Beside, Learning, Spec, StoredModel, Summary
from lifecycle.problems.transformer import files
from lifecycle.problems.transformer.estimator import PACKAGES, PACKAGES_OF_A_GRAPH, TRANSFORMER, Transformer
from lifecycle.problems.transformer.model import GRAPH

NAME = "transformer"
MODEL = Path(__file__).with_name("model.py")


class WithTransformer(Learning):
    """What `rest` can learn, and to fine-tune a pretrained network."""

    def __init__(self, rest: Learning, problem: ProblemName) -> None:
        self.rest, self.problem = rest, problem
        self.target, self.sources = rest.target, rest.sources
        self.estimators = {**rest.estimators, NAME: TRANSFORMER}

    def build(self, spec: Spec) -> Any:
        if spec.algorithm != NAME:
            return self.rest.build(spec)
        made: Transformer = fitting.made(self.estimators, NAME, spec.params, spec.seed, answer="fit")
        return made.require()

    def fit(self, spec: Spec, inputs: pd.DataFrame, target: "pd.Series[Any]", beside: Beside = NOTHING) -> Any:
        if spec.algorithm != NAME:
            return self.rest.fit(spec, inputs, target, beside)
        names = [column.name for column in spec.columns]
        if beside.inputs is not None:
            beside = beside._replace(inputs=beside.inputs[names])
        return self.build(spec).fit(inputs[names], target, beside)

    def parameters(self, pipeline: Any) -> dict[str, Any]:
        if not isinstance(pipeline, Transformer):
            return self.rest.parameters(pipeline)
        return {f"model.{name}": value for name, value in pipeline.get_params().items()}

    def answers(self, pipeline: Any, inputs: pd.DataFrame, columns: Columns) -> pd.DataFrame:
        if not isinstance(pipeline, Transformer):
            return self.rest.answers(pipeline, inputs, columns)
        return summary.answers(self._model(pipeline, columns), inputs)

    def store(self, pipeline: Any, columns: Columns, folder: Path) -> StoredModel:
        if not isinstance(pipeline, Transformer):
            return self.rest.store(pipeline, columns, folder)
        path = folder / NAME
        files.write(pipeline.network_, pipeline.reader_, path, pipeline.runtime, pipeline.quantize)
        return stored_model(self.problem, columns, path)

    def summary(self, split: str, truth: "pd.Series[Any]", answers: pd.DataFrame) -> Summary:
        return self.rest.summary(split, truth, answers)

    def draw(self, truth: "pd.Series[Any]", answers: pd.DataFrame, folder: Path) -> None:
        self.rest.draw(truth, answers, folder)

    def explain(
        self, pipeline: Any, inputs: pd.DataFrame, truth: "pd.Series[Any]", columns: Columns, folder: Path
    ) -> None:
        if not isinstance(pipeline, Transformer):  # to shuffle texts and ask again takes such a network minutes
            self.rest.explain(pipeline, inputs, truth, columns, folder)

    def _model(self, pipeline: Transformer, columns: Columns) -> Any:
        from lifecycle.problems.transformer.model import TransformerModel

        return TransformerModel(pipeline.encoder(), [(column.name, column.kind) for column in columns], self.problem)


def stored_model(problem: ProblemName, columns: Columns, folder: Path) -> StoredModel:
    """The files of a network and the code that reads them, under the contract of its problem."""
    artifacts = {NAME: folder}
    if columns != TEXT_COLUMNS:
        artifacts["columns"] = folder.with_name("columns.json")
        described = {"problem": problem, "columns": [column.model_dump() for column in columns]}
        artifacts["columns"].write_text(json.dumps(described, indent=2, ensure_ascii=False), encoding="utf-8")
    example = pd.DataFrame([{column.name: EXAMPLE[column.kind] for column in columns}])
    packages = PACKAGES_OF_A_GRAPH if (folder / GRAPH).is_file() else PACKAGES
    inputs = {column.name: "string" for column in columns}
    return StoredModel(MODEL, artifacts, inputs, CLASS, example, packages=packages)
