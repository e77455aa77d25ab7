"""What can be trained on columns to tell a class or a number."""
# ruff: noqa: ARG002, D102  the contract says what these do, and of their arguments not every problem needs all

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import root_mean_squared_error

from lifecycle.core.names import ProblemName
from lifecycle.problems import fitting, out_of_core, own
from lifecycle.problems.classification import plots as plots_of_classes
from lifecycle.problems.classification import summary as classes
from lifecycle.problems.contract import CLASS, EXAMPLE, NUMBER, Columns, Estimator
from lifecycle.problems.learning import NOTHING, Beside, Learning, Spec, StoredModel, Summary
from lifecycle.problems.own import OwnAlgorithm
from lifecycle.problems.regression import plots as plots_of_numbers
from lifecycle.problems.regression import summary as numbers
from lifecycle.problems.tabular import estimators, importance, model
from lifecycle.problems.tabular.model import TabularModel


class Outcome(NamedTuple):
    """What is predicted: a class or a number.

    Attributes:
        target: What the truth is called in the files of a dataset.
        estimators: The algorithms.
        prediction: Column to MLflow's type.
        answer: What an estimator must be able to say.
        answers: What a model says of inputs.
        summary: What is logged of one split.
        draw: The plots of one split.
        loss: What rises where a column that matters is shuffled, by its name in scikit-learn, of truth and answers.
    """

    target: str
    estimators: Mapping[str, Estimator]
    prediction: Mapping[str, str]
    answer: str
    answers: Callable[..., pd.DataFrame]
    summary: Callable[..., Summary]
    draw: Callable[..., None]
    loss: tuple[str, Callable[..., float]]


def _log_loss(truth: Any, answers: pd.DataFrame) -> float:
    """Of the probability that is given to the true class; a class that the model does not know has none."""
    places = {name: place for place, name in enumerate(answers.columns)}
    columns = (places.get(f"{classes.PROBABILITY}{label}") for label in truth)
    known = [0.0 if place is None else row[place] for place, row in zip(columns, answers.to_numpy(), strict=True)]
    return float(-np.log(np.clip(np.array(known, dtype="float64"), 1e-15, 1)).mean())


def _squared_error(truth: Any, answers: pd.DataFrame) -> float:
    return float(root_mean_squared_error(truth, answers["prediction"]))


class TableLearning(Learning):
    """Of columns: what is learnt from them is computed by the model, and what is fitted stands behind that.

    Attributes:
        model: The class of the model.
        noun: What its inputs are, for messages.
        beside: Parameters of the features, beside those of the estimator.
    """

    model: type[Any] = TabularModel
    noun = "columns"
    beside: tuple[str, ...] = ()
    sources: tuple[str, ...] = (
        "problems/fitting.py",
        "problems/tabular/learning.py",
        "problems/tabular/estimators.py",
        "problems/tabular/model.py",
    )

    def __init__(self, problem: ProblemName, outcome: Outcome) -> None:
        self.problem, self.outcome = problem, outcome
        self.target, self.estimators = outcome.target, outcome.estimators

    def build(self, spec: Spec) -> Any:
        empty = pd.DataFrame(columns=[column.name for column in spec.columns], dtype=object)
        return self._unfitted(spec, self._model(None, spec.columns).features(empty))

    def fit(self, spec: Spec, inputs: pd.DataFrame, target: "pd.Series[Any]", beside: Beside = NOTHING) -> Any:
        features = self._model(None, spec.columns).features(inputs)
        pipeline, parted = self._unfitted(spec, features), self.parted(spec.params)
        if isinstance(spec.algorithm, OwnAlgorithm):
            own.fit(spec.algorithm, pipeline, self._model(pipeline, spec.columns).features(inputs), target.to_numpy())
            return pipeline
        name = fitting.algorithm_of(self.estimators, spec.algorithm)
        if self.estimators[name].out_of_core:
            rows = out_of_core.rows_of(inputs, target, beside, self._model(None, spec.columns).features)
            out_of_core.fit(name, pipeline, features, rows, parted, self.noun)
            return pipeline
        fitting.fit(name, pipeline, features, target.to_numpy(), noun=self.noun, params=parted)
        return pipeline

    def _unfitted(self, spec: Spec, features: pd.DataFrame) -> Any:
        algorithm, params, seed, columns = spec
        if not isinstance(algorithm, OwnAlgorithm):
            name = fitting.algorithm_of(self.estimators, algorithm)
            estimator = fitting.made(self.estimators, name, params, seed, self.beside, self.outcome.answer)
            return self.behind(estimator, name, self.parted(params)[0], features, columns)
        estimator = own.made(algorithm, params, seed, self.outcome.answer)
        if not own.is_whole(estimator):
            return self.behind(estimator, algorithm.path, {}, features, columns)
        estimator.takes_inputs_ = True  # and no features of ours: it is stored with the pipeline
        return estimator

    def behind(
        self, estimator: Any, name: str, params: Mapping[str, Any], features: pd.DataFrame, columns: Columns
    ) -> Any:
        """An unfitted estimator behind what can be learnt of these features, by their own parameters."""
        filled = features.dropna(axis="columns", how="all") if len(features) else features
        return estimators.behind_features(estimator, _categorical(filled, columns))

    def parted(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The parameters of the features and those of the estimator."""
        return {}, dict(params)

    def parameters(self, pipeline: Any) -> dict[str, Any]:
        return {f"model.{name}": value for name, value in pipeline[-1].get_params().items()}

    def answers(self, pipeline: Any, inputs: pd.DataFrame, columns: Columns) -> pd.DataFrame:
        return self.outcome.answers(self._model(pipeline, columns), inputs)

    def store(self, pipeline: Any, columns: Columns, folder: Path) -> StoredModel:
        artifacts = {"pipeline": folder / "pipeline.skops", "columns": folder / "columns.json"}
        self.write(pipeline, artifacts["pipeline"])
        described = {"problem": self.problem, "columns": [column.model_dump() for column in columns]}
        artifacts["columns"].write_text(json.dumps(described, indent=2, ensure_ascii=False), encoding="utf-8")
        example = pd.DataFrame([{column.name: EXAMPLE[column.kind] for column in columns}])
        inputs = {column.name: "string" if column.is_text else "any" for column in columns}
        return StoredModel(Path(inspect.getfile(self.model)), artifacts, inputs, self.outcome.prediction, example)

    def write(self, pipeline: Any, path: Path) -> None:
        """Write a fitted pipeline as a skops file."""
        model.store(pipeline, path)

    def summary(self, split: str, truth: "pd.Series[Any]", answers: pd.DataFrame) -> Summary:
        return self.outcome.summary(split, truth, answers)

    def draw(self, truth: "pd.Series[Any]", answers: pd.DataFrame, folder: Path) -> None:
        self.outcome.draw(truth, answers, folder)

    def explain(
        self, pipeline: Any, inputs: pd.DataFrame, truth: "pd.Series[Any]", columns: Columns, folder: Path
    ) -> None:
        model, (measure, loss) = self._model(pipeline, columns), self.outcome.loss
        table = importance.measured(lambda rows: self.outcome.answers(model, rows), loss, inputs, truth)
        table.to_csv(folder / "importance.csv", index=False)
        importance.draw(table, measure, folder / "plots" / "importance.png")

    def _model(self, pipeline: Any, columns: Columns) -> Any:
        return self.model(pipeline, [(column.name, column.kind) for column in columns], self.problem)


def _categorical(features: pd.DataFrame, columns: Columns) -> dict[str, bool]:
    """Features by name, and whether each is categorical."""
    kinds = {column.name: column.kind for column in columns}
    return {str(name): kinds.get(str(name)) == "categorical" for name in features}


OF_CLASSES = Outcome(
    target="label",
    estimators=estimators.CLASSIFIERS,
    prediction=CLASS,
    answer="predict_proba",
    answers=classes.answers,
    summary=classes.summary,
    draw=plots_of_classes.draw,
    loss=("log loss", _log_loss),
)
"""What is predicted where it is a class."""
CLASSIFICATION: Learning = TableLearning("tabular-classification", OF_CLASSES)
REGRESSION: Learning = TableLearning(
    "tabular-regression",
    Outcome(
        target="target",
        estimators=estimators.REGRESSORS,
        prediction=NUMBER,
        answer="predict",
        answers=numbers.answers,
        summary=numbers.summary,
        draw=plots_of_numbers.draw,
        loss=("root mean squared error", _squared_error),
    ),
)
