"""Raw cells become the same typed columns whoever has read them, and a stored model answers them everywhere alike."""

import io
import json
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import hypothesis
import mlflow
import numpy as np
import pandas as pd
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.references import ModelRef
from lifecycle.models import loading, scoring_server
from lifecycle.problems.tabular.cells import unusable
from lifecycle.problems.tabular.model import MISSING, TRUTH_VALUES, TabularModel, expanded, typed
from lifecycle.settings import Settings
from lifecycle.tracking import artifacts
from tests.tables import sales, train_table, write_version

KINDS = ("numeric", "categorical", "boolean", "datetime")
COLUMNS = [
    ("number", "numeric"),
    ("word", "categorical"),
    ("code", "categorical"),
    ("flag", "boolean"),
    ("at", "datetime"),
]

anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["", " ", "NA", "?", "1.0", " 7 ", "007", "-0", "-0.0", "True", "yes", "1e5", "inf", "2020-02-30"]),
    st.decimals(allow_nan=True, places=3),
    st.datetimes(),
    st.dates(),
    st.sampled_from(
        [pd.NA, pd.NaT, np.nan, np.int64(3), np.float32(0.5), np.bool_(1), pd.Timestamp("2020", tz="Asia/Tokyo")]
    ),
)


written = st.one_of(
    st.text(max_size=8),
    st.from_regex(r"\s?-?[0-9]{1,30}(\.[0-9]{1,40})?(e-?[0-9]{1,3})?\s?", fullmatch=True),
    st.sampled_from(sorted(MISSING | TRUTH_VALUES.keys())).flatmap(lambda word: st.sampled_from([word, f" {word}"])),
    st.none(),
)


@pytest.mark.parametrize("dtype", [object, "str"])
@given(st.lists(written, max_size=8))
def test_texts_alone_are_the_numbers_that_they_are_beside_other_cells(dtype: Any, texts: list[str | None]) -> None:
    alone = typed(pd.DataFrame({"n": pd.Series(texts, dtype=dtype)}), [("n", "numeric")])["n"]
    beside = typed(pd.DataFrame({"n": pd.Series([*texts, Decimal(1)], dtype=object)}), [("n", "numeric")])["n"]
    np.testing.assert_array_equal(alone.to_numpy(), beside.to_numpy()[:-1])


@given(st.lists(anything, max_size=8), st.sampled_from(KINDS))
def test_what_is_typed_stays_as_it_is(cells: list[Any], kind: str) -> None:
    columns = [("column", kind)]
    once = typed(pd.DataFrame({"column": pd.Series(cells, dtype=object)}), columns)
    pd.testing.assert_frame_equal(typed(once, columns), once)
    dtype = {"numeric": "float64", "boolean": "float64", "categorical": "object", "datetime": "datetime64[us]"}[kind]
    assert once["column"].dtype == dtype
    if kind == "numeric":
        assert not np.isinf(once["column"]).any()


rows = st.fixed_dictionaries(
    {
        "number": st.none() | st.integers(-(10**6), 10**6) | st.integers(-(10**6), 10**6).map(lambda n: n / 64),
        "word": st.none() | st.sampled_from(["red", "blue", 'O\'Neil, "x"', "true", "ä"]),
        "code": st.none() | st.integers(0, 99),
        "flag": st.none() | st.booleans(),
        "at": st.none()
        | st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)).map(lambda at: at.replace(microsecond=0)),
    }
)


def as_text(frame: pd.DataFrame) -> str:
    return frame.to_csv(index=False)


@hypothesis.settings(max_examples=30)
@given(st.lists(rows, min_size=1, max_size=12))
def test_the_same_rows_are_the_same_whoever_has_read_them(content: list[dict[str, Any]]) -> None:
    frame = pd.DataFrame(content, dtype=object)
    expected = typed(frame, COLUMNS)
    table = as_text(frame)
    file = io.BytesIO()
    nullable = frame.astype({"number": "Float64", "word": "string", "code": "Int64", "flag": "boolean"})
    nullable.assign(at=pd.to_datetime(frame["at"])).to_parquet(file)
    readings = {
        "texts": pd.read_csv(io.StringIO(table), dtype=str, keep_default_na=False),
        "pandas": pd.read_csv(io.StringIO(table), float_precision="round_trip"),
        "pandas' own missing": pd.read_csv(io.StringIO(table), float_precision="round_trip").convert_dtypes(),
        "Parquet": pd.read_parquet(file),
        "records": pd.DataFrame(json.loads(frame.to_json(orient="records", date_format="iso")), columns=frame.columns),
    }
    for reading in readings.values():
        pd.testing.assert_frame_equal(typed(reading, COLUMNS), expected)


TOKYO_MORNING = datetime(2020, 1, 2, 9, tzinfo=timezone(timedelta(hours=9)))
CELLS: dict[str, list[tuple[Any, Any]]] = {
    "numeric": [
        ("1", 1), (" 2.5 ", 2.5), ("1e3", 1000), ("?", None), ("NA", None), ("", None), ("x", None), ("inf", None),
        (True, 1), ("True", 1), (Decimal("0.1"), 0.1), (10**400, None),
    ],
    "boolean": [
        ("yes", 1), ("No", 0), ("TRUE", 1), (1, 1), (0.0, 0), ("1.0", 1), ("?", None), ("maybe", None), (None, None),
    ],
    "categorical": [
        (1, "1"), (1.0, "1"), ("1.0", "1"), ("007", "007"), (" a ", "a"), ("true", "True"), (True, "True"),
        (0.1, "0.1"), (1e20, "1" + "0" * 20), ("null", None), ("?", "?"), ("1.10", "1.1"), (-0.0, "0"),
        (Decimal("2.0"), "2"), ("1E5", "1E5"),
    ],
    "datetime": [
        ("2020-01-02", "2020-01-02"), ("20200102", "2020-01-02"), (date(2020, 1, 2), "2020-01-02"),
        ("2020-01-02T05:00:00+02:00", "2020-01-02 03:00"), (TOKYO_MORNING, "2020-01-02 00:00"), ("now", None),
        ("5", None), (5, None), ("2020-13-01", None), ("01/02/2020", None),
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", CELLS)
def test_cells_of_each_kind(kind: str) -> None:
    cells, expected = zip(*CELLS[kind], strict=True)
    column = typed(pd.DataFrame({"c": pd.Series(cells, dtype=object)}), [("c", kind)])["c"]
    for cell, found, wanted in zip(cells, column, expected, strict=True):
        right = pd.isna(found) if wanted is None else found == (pd.Timestamp(wanted) if kind == "datetime" else wanted)
        assert right, (cell, found, wanted)


def test_the_first_cell_that_is_not_of_its_kind_is_the_reason() -> None:
    frame = pd.DataFrame(
        {
            "number": ["1", "x", "?", "", "inf", "2"],
            "flag": ["?", "perhaps", "no", None, "1", "maybe"],
            "at": ["2020-01-01", "x", "soon", None, "", "2020-01-01"],
        },
        index=[5, 3, 1, 9, 8, 7],
    )
    reasons = unusable(frame, [("number", "numeric"), ("flag", "boolean"), ("at", "datetime")])
    expected = [None, "not_a_number", "not_a_time", None, "not_a_number", "not_a_truth_value"]
    assert reasons.index.equals(frame.index)
    assert [None if pd.isna(reason) else reason for reason in reasons] == expected


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
def test_many_columns_are_typed_as_each_of_them(number: float) -> None:
    frame = pd.DataFrame({f"c{n}": [n + 0.5, number] for n in range(30)}).assign(word=["1.0", ""], whole=[1, 2])
    columns = [*((f"c{n}", "numeric") for n in range(29, -1, -1)), ("word", "numeric"), ("whole", "numeric")]
    each = pd.concat([typed(frame[[name]].astype(object), [(name, kind)]) for name, kind in columns], axis="columns")
    pd.testing.assert_frame_equal(typed(frame, columns), each)


def test_a_moment_becomes_five_numbers() -> None:
    columns = [("at", "datetime"), ("word", "categorical")]
    frame = typed(pd.DataFrame({"at": ["1970-01-02 12:00:00", None], "word": ["a", "b"]}), columns)
    features = expanded(frame, columns)
    assert [*features] == ["at:year", "at:month", "at:weekday", "at:hour", "at:days", "word"]
    assert features.iloc[0].tolist() == [1970, 1, 4, 12, 1.5, "a"]
    assert features.iloc[1, :5].isna().all()


@pytest.mark.parametrize("moment_first", [True, False])
def test_a_column_that_is_called_like_a_part_of_a_moment_is_learnt_too(*, moment_first: bool) -> None:
    columns = [("at", "datetime"), ("at:year", "categorical"), ("at:year:", "numeric")][:: 1 if moment_first else -1]
    cells = {"at": ["1970-01-02"], "at:year": ["leap"], "at:year:": [5.0]}
    features = expanded(typed(pd.DataFrame(cells), columns), columns)
    assert len(features.columns) == 7
    assert features.loc[0, ["at:year", "at:year:", "at:year::"]].tolist() == ["leap", 5.0, 1970.0]


def test_a_column_that_is_missing_or_there_twice_is_named() -> None:
    with pytest.raises(ValueError, match="the column 'b' is missing; the model reads a, b"):
        typed(pd.DataFrame({"a": [1]}), [("a", "numeric"), ("b", "numeric")])
    with pytest.raises(ValueError, match="the column 'a' appears twice"):
        typed(pd.DataFrame([[1, 2]], columns=["a", "a"]), [("a", "numeric")])


@pytest.fixture
def told(home: Path, config: Settings) -> tuple[ModelRef, pd.DataFrame]:
    """A stored model, and rows as they come from a CSV file, with a column that it does not know."""
    write_version(config, "tabular-classification")
    mlflow.set_tracking_uri(config.mlflow_uri)
    file = home / "sales.csv"
    sales(40).drop(columns=["price", "class"]).assign(further="x").to_csv(file, index=False)
    return train_table(config, "logistic_regression"), pd.read_csv(file)


def test_plain_mlflow_answers_whatever_the_cells_are(told: tuple[ModelRef, pd.DataFrame]) -> None:
    ref, raw = told
    model = mlflow.pyfunc.load_model(ref.uri)
    expected = model.predict(raw)
    assert [*expected] == ["label", "score"]
    texts = raw.astype("string").astype(object).where(raw.notna(), None)
    for rows in (texts, raw.convert_dtypes(), raw.assign(sold=pd.to_datetime(raw["sold"])), raw[raw.columns[::-1]]):
        pd.testing.assert_frame_equal(model.predict(rows), expected)
    whole = raw.assign(size=range(len(raw)), label=1)
    pd.testing.assert_frame_equal(model.predict(whole), model.predict(whole.assign(size=whole["size"] / 1, label="1")))
    assert len(model.predict(raw.assign(size=None, colour=np.nan, label="never seen"))) == len(raw)
    empty = model.predict(raw.head(0))
    assert (len(empty), [*empty], str(empty["score"].dtype)) == (0, ["label", "score"], "float64")
    with pytest.raises(mlflow.exceptions.MlflowException, match="colour"):
        model.predict(raw.drop(columns="colour"))


def test_the_scoring_server_answers_the_same(
    told: tuple[ModelRef, pd.DataFrame], config: Settings, tmp_path: Path
) -> None:
    ref, raw = told
    model = loading.load(ref)
    expected = model.predict(None, raw)
    bodies = {
        "application/json": [
            json.dumps({f"dataframe_{orient}": json.loads(raw.to_json(orient=orient))})
            for orient in ("split", "records")
        ],
        "text/csv": [raw.to_csv(index=False)],
    }
    folder = artifacts.download(config.mlflow_uri, ref.uri, tmp_path)
    with scoring_server.serving(folder, model, ref, "mlops:word") as port:
        for kind, texts in bodies.items():
            for text in texts:
                answer = _asked(port, text, kind)
                pd.testing.assert_frame_equal(pd.DataFrame(answer.json()["predictions"]), expected)
        refused = _asked(port, raw.drop(columns="colour").to_csv(index=False), "text/csv")
    assert refused.status_code == 400
    assert "the column 'colour' is missing" in refused.text


def _asked(port: int, text: str, kind: str) -> requests.Response:
    url, headers = f"http://127.0.0.1:{port}/invocations", {"Content-Type": kind}
    return requests.post(url, text.encode(), headers=headers, auth=("mlops", "word"), timeout=240)


def test_a_regressor_answers_numbers_and_an_empty_table_none(config: Settings) -> None:
    write_version(config, "tabular-regression")
    model = loading.load(train_table(config, "linear_regression"))
    table = sales(10)
    answer = model.predict(None, table)
    assert [*answer] == ["prediction"]
    assert np.abs(answer["prediction"] - table["price"]).median() < 10
    empty = model.predict(None, table.head(0))
    assert (len(empty), str(empty["prediction"].dtype)) == (0, "float64")


def test_of_equal_probabilities_the_first_class_is_told() -> None:
    class Even:
        classes_ = np.array(["a", "b"], dtype=object)

        def predict_proba(self, features: pd.DataFrame) -> Any:
            return np.full((len(features), 2), 0.5)

    answer = TabularModel(Even(), [("x", "numeric")], "tabular-classification").predict(None, pd.DataFrame({"x": [1]}))
    assert answer.to_dict("list") == {"label": ["a"], "score": [0.5]}
