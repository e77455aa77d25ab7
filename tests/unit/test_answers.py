"""Models from outside whose answers are not what their form promises: an error that names it, or a refusal."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator

from lifecycle.core.errors import DataError
from lifecycle.core.references import ModelRef
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.gate.judge import JudgeRequest, judge
from lifecycle.gate.verdict import Verdict
from lifecycle.models.external import external
from lifecycle.models.external.conversion import Pickled
from lifecycle.problems.text_classification.model import TextModel
from lifecycle.settings import Settings
from lifecycle.settings.gate_rules import GateRules
from lifecycle.storage.files import sha256_of

Answer = Callable[[Any], Any]
ROWS = pd.DataFrame({"text": [f"text {number}" for number in range(40)]})
CLASSES = ["negative", "neutral", "positive"]


def outside(answer: Answer, classes: list[Any] | None = None) -> Any:
    """A model that behaves on a few texts, as one is tried when it comes, and answers many in its own way."""

    class Outside(BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
        def fit(self, texts: Any, labels: Any = None) -> "Outside":  # noqa: ARG002
            self.fitted_ = True
            return self

        def predict_proba(self, texts: Any) -> Any:
            likely = np.full((len(texts), len(self.classes_)), 0.25)
            likely[:, 0] += 1 - likely.sum(axis=1)
            return likely if len(texts) < 30 else answer(likely)

    found = Outside().fit(None)
    found.classes_ = CLASSES if classes is None else classes
    return found


def broken(value: float) -> Answer:
    """One row of the answer is not as it should be."""

    def answer(likely: Any) -> Any:
        likely[1, :] = value
        return likely

    return answer


def raises(likely: Any) -> Any:
    raise TypeError(f"no more than 30 texts, not {len(likely)}")


OTHER_FORM: dict[str, tuple[Answer, str]] = {
    "too few rows": (lambda likely: likely[1:], r"answers 40 rows with a table of \(39, 3\), not \(40, 3\)"),
    "too many rows": (lambda likely: np.vstack([likely, likely]), r"a table of \(80, 3\), not"),
    "a column short": (lambda likely: likely[:, 1:], r"a table of \(40, 2\), not"),
    "a column more": (lambda likely: np.hstack([likely, likely]), r"a table of \(40, 6\), not"),
    "one column": (lambda likely: likely[:, 0], r"a table of \(40,\), not"),
    "a number": (lambda likely: 1.0, r"a table of \(\), not"),  # noqa: ARG005
    "nothing": (lambda likely: None, r"a table of \(\), not"),  # noqa: ARG005
    "rows of different length": (lambda likely: [[0.5], *likely[1:].tolist()], "The model cannot score these rows"),
    "texts": (lambda likely: likely.astype(str), "answers with <U.*which are no probabilities"),
    "objects": (lambda likely: likely.astype(object), "answers with object, which are no probabilities"),
    "complex numbers": (lambda likely: likely * 1j, "answers with complex128"),
    "a list": (lambda likely: likely.tolist(), "The model cannot score these rows: AttributeError"),
    "a sparse table": (sparse.csr_array, "answers with object|cannot score"),
    "an exception": (raises, "cannot score these rows: no more than 30 texts, not 40"),
}


@pytest.mark.parametrize("form", OTHER_FORM)
def test_an_answer_of_another_form_is_an_error_that_names_it(form: str) -> None:
    answer, words = OTHER_FORM[form]
    with pytest.raises(DataError, match=words) as error:
        evaluation.predicted(TextModel(outside(answer)), ROWS)
    assert error.value.fix
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("classes", "labels"),
    [([1, 2, 3], ["1", "2", "3"]), ([0.5, 1.0, 2.0], ["0.5", "1.0", "2.0"]), ([b"a", b"b", b"c"], ["a", "b", "c"])],
)
def test_classes_of_another_type_are_named_alike_everywhere(classes: list[Any], labels: list[str]) -> None:
    found = evaluation.predicted(TextModel(outside(lambda likely: likely, classes)), ROWS)
    assert list(found.columns) == ["label", "score", *(f"probability.{label}" for label in labels)]
    assert set(found["label"]) == {labels[0]}


def test_two_classes_may_not_be_called_the_same() -> None:
    with pytest.raises(DataError, match="two classes that are both called '1'"):
        evaluation.predicted(TextModel(outside(lambda likely: likely, [1, "1", 2])), ROWS)


def registered(config: Settings, answer: Answer, folder: Path, model_name: str = "outside") -> ModelRef:
    """What `mlops model register-external --allow-pickle` records."""
    path = folder / "model.pkl"
    path.write_bytes(cloudpickle.dumps(outside(answer)))
    pickled = Pickled(path=path, sha256=sha256_of(path), allow_pickle=True)
    model = external.register(config, model_name, pickled, external.said(config, "news", "1.0.0", ["train"]))
    return model.model_copy(update={"allow_pickle": True})


def verdict(config: Settings, model: ModelRef) -> Verdict:
    return judge(
        JudgeRequest(
            env=config.env,
            challenger=model,
            champion=None,
            data_root=config.datasets,
            data_name="news",
            data_version="1.0.0",
            rules=GateRules(min_rows=30, resamples=300),
            evidence_root=config.state / "evidence",
        )
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), r"score outside \[0, 1\], has probabilities that do not add up to 1"),
        (0.9, "has probabilities that do not add up to 1"),
    ],
)
def test_answers_that_are_no_probabilities_are_refused_with_their_reason(
    news: Settings, tmp_path: Path, value: float, words: str
) -> None:
    model = registered(news, broken(value), tmp_path)
    evaluation.evaluate(evaluation.request_for(model, news.datasets, "news", "1.0.0"))
    found = verdict(news, model)
    assert found.decision == "keep"
    [reason] = found.reasons
    assert re.search(words, reason)


def test_a_model_that_answers_fewer_texts_stores_nothing(news: Settings, tmp_path: Path) -> None:
    model = registered(news, lambda likely: likely[1:], tmp_path)
    request = evaluation.request_for(model, news.datasets, "news", "1.0.0")
    with pytest.raises(DataError, match=r"answers 48 rows with a table of \(47, 3\)"):
        evaluation.evaluate(request)
    assert evaluation.stored_names(model) == set()
    assert "could not be judged" in verdict(news, model).reasons[0]
