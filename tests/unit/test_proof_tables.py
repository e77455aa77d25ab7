"""What a model of any problem has answered must come again: from its file, and from a server that is asked for it."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.errors import IntegrityError
from lifecycle.core.references import ModelRef
from lifecycle.gate.proof import infrastructure, replay
from lifecycle.gate.proof.infrastructure import TOLERANCE
from lifecycle.models import loading
from tests.tabular import CLASSIFICATION, KINDS, REGRESSION, logged, rentals
from tests.tabular_code import typed
from tests.unit.test_inference_tables import store

__all__ = ["store"]

RECORDED = pd.DataFrame({"row": [4, 5], "truth": [1.0, 2.0], "prediction": [1.5, 2_000_000.0]})


@pytest.mark.parametrize(
    ("again", "words"),
    [
        (RECORDED, None),
        (RECORDED.assign(prediction=[1.5 + 1e-7, 2_000_001.0]), None),
        (RECORDED.assign(prediction=[1.5 + 2e-6, 2_000_000.0]), "1 of 2 predictions differ, first row 4"),
        (RECORDED.assign(prediction=[1.5, 2_000_003.0]), "1 of 2 predictions differ, first row 5"),
        (RECORDED.assign(prediction=[np.nan, np.inf]), "2 of 2 predictions differ, first row 4"),
        (RECORDED.drop(columns="prediction"), "2 predictions of 2 came, row, truth"),
        (RECORDED.rename(columns={"prediction": "label"}), "2 predictions of 2 came"),
        (RECORDED.head(1), "1 predictions of 2 came"),
    ],
)
def test_every_number_must_come_again(again: pd.DataFrame, words: str | None) -> None:
    answers = again.drop(columns=["row", "truth"]).to_dict("records")
    if words is None:
        replay.compare(again, RECORDED)
        assert infrastructure.differing(answers, RECORDED) == 0
    else:
        with pytest.raises(IntegrityError, match=words):
            replay.compare(again, RECORDED)
        assert infrastructure.differing(answers, RECORDED) > 0


def test_records_without_a_prediction_prove_nothing() -> None:
    nothing = RECORDED[["row", "truth"]]
    with pytest.raises(IntegrityError, match="2 predictions of 2 came"):
        replay.compare(nothing, nothing)
    assert infrastructure.differing([{"row": 4}, {"row": 5}], nothing) == 2


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(-10, 10))
def test_a_number_may_differ_as_far_as_it_is_large(value: float, times: float) -> None:
    again = value + times * TOLERANCE * max(1, abs(value))
    recorded = pd.DataFrame({"row": [1], "prediction": [value]})
    is_near = abs(again - value) <= TOLERANCE * max(1, abs(value))
    assert (infrastructure.differing([{"prediction": again}], recorded) == 0) == is_near


def test_inputs_are_asked_for_as_json_can_say_them() -> None:
    moments = pd.to_datetime(pd.Series(["2026-01-02 03:04:05.678901", None])).astype("datetime64[us]")
    inputs = pd.DataFrame(
        {"temp": [0.1 + 0.2, np.nan], "season": ["007", None], "at": moments.to_numpy()}, index=[7, 9]
    )
    assert infrastructure.as_query(inputs) == {
        "columns": ["temp", "season", "at"],
        "data": [[0.1 + 0.2, "007", "2026-01-02T03:04:05.678901"], [None, None, None]],
    }


@pytest.fixture(scope="module", params=[REGRESSION, CLASSIFICATION])
def model(request: pytest.FixtureRequest, store: str) -> ModelRef:
    return logged(store, request.param)


def test_a_server_repeats_what_a_model_of_any_problem_has_predicted(model: ModelRef) -> None:
    rows = rentals(250).astype(object)
    rows.loc[[3, 120], "temp"], rows.loc[[4, 240], "season"], rows.loc[5, "holiday"] = None, None, None
    inputs = pd.DataFrame({name: typed(rows[name], kind) for name, kind in KINDS.items()})
    loaded = loading.load(model)
    recorded = loaded.predict(None, inputs)
    answer = "prediction" if "prediction" in recorded else "score"
    with loading.private_copy(model) as folder:
        told = infrastructure.serve_and_compare(folder, loaded, model, inputs, recorded)
        assert told == "250 predictions repeated by MLflow's scoring server"
        recorded.loc[249, answer] += 0.01
        with pytest.raises(IntegrityError, match="1 of 250 predictions of MLflow's scoring server differ"):
            infrastructure.serve_and_compare(folder, loaded, model, inputs, recorded)
    assert infrastructure.milliseconds_per_1000(lambda inputs: loaded.predict(None, inputs), inputs) > 0
