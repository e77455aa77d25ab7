"""What the columns of a table are taken for, and what is proposed to be learnt from it."""

import logging
from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.errors import ConfigError, DataError
from lifecycle.problems.contract import Column
from lifecycle.problems.tabular.cells import unusable
from lifecycle.problems.tabular.columns import are_written, frozen, infer, judge
from lifecycle.problems.tabular.learnt import departures, learn
from lifecycle.problems.tabular.model import typed
from lifecycle.problems.tabular.proposal import propose
from lifecycle.problems.tabular.spelling import is_missing

WORDS = [f"word{n}" for n in range(20)]
CELLS: dict[str, tuple[str, list[str], str]] = {
    "numbers": ("x", ["1.5", "-2", "1e3", ".5"] * 9, "numeric"),
    "truth values, some unknown": ("x", ["0", "1", "?"] * 9, "boolean"),
    "numbers, some missing": ("x", ["1.5", "", "NA", "?", "2.25"] * 9, "numeric"),
    "more digits than a number has": ("x", ["9" * 5000, "1.5", "2.5"] * 9, "numeric"),
    "many whole numbers": ("x", [str(n) for n in range(13)] * 2, "numeric"),
    "few whole numbers": ("month", [str(n) for n in range(1, 13)] * 2, "categorical"),
    "few whole numbers beside missing ones": ("x", ["1.0", "2.0", ""] * 9, "categorical"),
    "few numbers": ("x", ["1.5", "2.5"] * 9, "numeric"),
    "zip codes": ("pickup_zip", [str(10000 + n) for n in range(20)] * 2, "categorical"),
    "codes": ("ProductCode", [str(10000 + n) for n in range(20)] * 2, "categorical"),
    "a name that only sounds like a code": ("zipper_width", [str(n) for n in range(20)] * 2, "numeric"),
    "leading zeros": ("x", [f"{n:03}" for n in range(20)] * 2, "categorical"),
    "zero and one": ("x", ["0", "1"] * 9, "boolean"),
    "zero and one as floats": ("x", ["0.0", "1.0", ""] * 9, "boolean"),
    "truth values": ("x", ["True", "FALSE", "false", ""] * 9, "boolean"),
    "truth values and a word": ("x", ["True", "FALSE", "false", "maybe"] * 9, "categorical"),
    "zero, one and two, twice": ("x", ["0", "1", "0.0", "2"] * 9, "categorical"),
    "yes and no": ("x", ["Yes", "No"] * 9, "categorical"),
    "dates": ("x", ["2026-01-01", "2026-02-03", ""] * 9, "datetime"),
    "times": ("x", ["2026-01-01 10:00:00", "2026-01-01T10:00:00Z"] * 9, "datetime"),
    "what looks like a date": ("x", ["2026-01-01", "2026-13-45"] * 9, "categorical"),
    "dates as people write them": ("x", [f"{n}.12.2025" for n in range(1, 29)] * 2, "categorical"),
    "words": ("x", WORDS * 3, "categorical"),
    "one value": ("x", ["a"] * 20, "drop"),
    "one value and missing ones": ("x", ["a", ""] * 20, "categorical"),
    "nothing": ("x", ["", "NA"] * 20, "drop"),
    "identifiers": ("x", [f"P{n}" for n in range(40)], "drop"),
    "numbers that identify": ("customerID", [str(n) for n in range(40)], "drop"),
    "numbers, few of them infinite": ("x", [str(n / 4) for n in range(38)] + ["inf", "-Infinity"], "numeric"),
    "numbers with a currency": ("x", [f"${n:,}.50" for n in range(990, 1010)] * 2, "categorical"),
    "per cent": ("x", [f"{n / 4} %" for n in range(20)] * 2, "categorical"),
    "free text": ("x", [f"the {n}th note of a clerk" for n in range(40)], "drop"),
}


@pytest.mark.parametrize(("name", "cells", "kind"), CELLS.values(), ids=CELLS)
def test_a_column_is_of_the_kind_of_its_cells(name: str, cells: list[str], kind: str) -> None:
    judged = judge(name, pd.Series(cells, dtype="str"))
    assert judged.kind == kind
    assert bool(judged.note) >= (kind == "drop")
    spaced = pd.Series([f" {cell} " for cell in cells][::-1], dtype="str")
    assert judge(name, spaced)[:3] == judged[:3]


def test_what_people_read_as_a_number_or_a_date_is_no_key() -> None:
    days = [f"{1 + n % 28}/{1 + n // 28}/2025" for n in range(60)]
    frame = table(day=days, paid=[f"${n},000" for n in range(1, 61)], x=[n / 4 for n in range(60)], y=["a", "b"] * 30)
    proposal = propose(frame, "y")
    assert proposal.key is None
    notes = {column.name: column.note for column in proposal.columns}
    assert "write 2026-12-31" in notes["day"]
    assert "write it plainly" in notes["paid"]


NUMBERS = ["1", "0", "1.0", "-2.5", "1e3", "+7", ".5", "007", "inf", " 5 ", "1,5", "?"]
OTHERS = ["", "NA", "nan", "NULL", "True", "false", "t", "Yes", "word", "2026-01-01", "2026-01-01 10:00"]
TIMES = ["2026-01-01T10:00:00+02:00", "2026-13-01", "20260101"]
CELL = st.sampled_from([*NUMBERS, *OTHERS, *TIMES])


@given(st.sets(CELL, min_size=1, max_size=5), st.integers(1, 3))
@hypothesis.example({"0", "1", "?"}, 1)
def test_a_column_that_is_not_declared_has_no_cell_that_is_not_of_its_kind(cells: set[str], times: int) -> None:
    column = pd.Series([*sorted(cells)] * times, dtype="str")
    kind = judge("x", column).kind
    hypothesis.assume(kind != "drop")
    frame = column.to_frame("x")
    assert unusable(frame, [("x", kind)]).isna().all()
    assert typed(frame, [("x", kind)])["x"].notna().sum() == (~is_missing(column.str.strip(), kind)).sum()


WRITTEN = ["$1,234.50", "€ 1.234,50", "1 234,50", "12%", "-5,5 €", "(1,200)", "USD 5", "1'000"]
UNWRITTEN = ["12.03.2024", "192.168.1.1", "ABC123", "5-7", "1,2,3", "$", "12 months", "12", ""]


def test_a_number_as_people_write_it_is_told_from_other_words() -> None:
    assert [cell for cell in WRITTEN + UNWRITTEN if are_written(pd.Series([cell, "NA"], dtype="str"))] == WRITTEN
    assert "a number written like '$1.50' is a word" in judge("x", pd.Series(["$1.50", "2.25"] * 9, dtype="str")).note


def table(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame(columns).astype("str")


def test_what_is_declared_wins_and_what_is_dropped_is_said(caplog: pytest.LogCaptureFixture) -> None:
    frame = table(a=range(40), b=["x", "y"] * 20, c=range(40), id=range(40), y=["1", "0"] * 20)
    with caplog.at_level(logging.INFO, "lifecycle"):
        inputs = infer(frame, "y", {"a": "categorical", "c": "drop"})
    assert inputs == (Column(name="a", kind="categorical"), Column(name="b", kind="categorical"))
    assert [record.message for record in caplog.records] == [
        "Column 'id' is no input: nearly every cell differs (40 of 40): an identifier, or free text"
    ]
    with pytest.raises(ConfigError, match=r"not there: 'd'; there are 'a', 'b', 'c', 'id', 'y'"):
        infer(frame, "y", {"d": "numeric"})
    with pytest.raises(DataError, match="No column but the target 'y' can be learnt from"):
        infer(frame[["id", "y"]], "y", {})


def test_numbers_with_a_few_words_among_them_are_told(caplog: pytest.LogCaptureFixture) -> None:
    frame = table(a=[*range(39), "12O"], b=["x", "y"] * 20, y=["1", "0"] * 20)
    with caplog.at_level(logging.INFO, "lifecycle"):
        assert infer(frame, "y", {}) == (Column(name="b", kind="categorical"),)
    assert "all but cells such as '12O' are numbers: if they are mistakes, declare it" in caplog.text


def test_a_later_version_has_the_inputs_of_its_parent() -> None:
    inputs = (Column(name="a", kind="numeric"), Column(name="b", kind="categorical"))
    assert frozen(["b", "new", "a"], inputs, {"b": "categorical", "new": "drop"}) == inputs
    with pytest.raises(ConfigError, match="'new' is declared numeric, and is no input in the parent"):
        frozen(["a", "b", "new"], inputs, {"new": "numeric"})


def test_what_was_learnt_tells_what_is_unlike() -> None:
    inputs = tuple(
        Column(name=name, kind=kind) for name, kind in (("n", "numeric"), ("c", "categorical"), ("t", "datetime"))
    )
    rows = pd.DataFrame(
        {"n": [1.0, 3.0, None], "c": ["a", "b", None], "t": pd.to_datetime(["2026-01-01", "2026-02-01", None])}
    )
    learnt = learn(rows, inputs)
    assert learnt["n"] == {"missing": 0.333333, "min": 1.0, "max": 3.0, "mean": 2.0}
    assert learnt["c"] == {"missing": 0.333333, "categories": {"a": 1, "b": 1}, "distinct": 2}
    assert learnt["t"]["max"] == "2026-02-01T00:00:00"
    assert departures(learnt, rows, inputs) == {}
    later = pd.DataFrame(
        {"n": [0.0, 4.0, 5.0], "c": ["a", "z", None], "t": pd.to_datetime(["2025-01-01", "2026-01-05", None])}
    )
    assert departures(learnt, later, inputs) == {"n": {"below": 1, "above": 2}, "c": {"unseen": 1}, "t": {"below": 1}}
    gone = later.assign(n=None, t=pd.NaT)
    assert departures(learnt, gone, inputs) == {"n": {"missing": 3}, "c": {"unseen": 1}, "t": {"missing": 3}}
    assert departures(learn(gone, inputs), gone, inputs) == {}
    many = pd.DataFrame({"n": 1.0, "c": [f"c{n}" for n in range(60)], "t": pd.Timestamp("2026-01-01")})
    assert len(learn(many, inputs)["c"]["categories"]) == 50
    assert departures(learn(many, inputs), later, inputs)["n"] == {"below": 1, "above": 2}


# What is proposed

CHANCE = np.random.default_rng(0)
N = 200


def rentals() -> pd.DataFrame:
    one, other = CHANCE.integers(0, 500, N), CHANCE.integers(0, 500, N)
    return table(
        instant=range(1, N + 1),
        day=pd.date_range("2026-01-01", periods=N).astype(str),
        season=CHANCE.integers(1, 5, N),
        casual=one,
        registered=other,
        cnt=one + other,
    )


def customers() -> pd.DataFrame:
    return table(
        customerID=[f"{n:04}-XK" for n in range(N)],
        tenure=CHANCE.integers(0, 70, N),
        contract=CHANCE.choice(["month", "year"], N),
        Churn=CHANCE.choice(["Yes", "No"], N),
    )


def news() -> pd.DataFrame:
    return table(
        id=range(N),
        Sentence=[f"profit of firm {n} rose by {n} percent" for n in range(N)],
        mood=CHANCE.choice(["good", "bad", "neutral"], N),
    )


def test_a_number_with_many_values_is_a_regression_and_what_sums_to_it_is_dropped() -> None:
    proposal = propose(rentals())
    assert (proposal.problem, proposal.target, proposal.key) == ("tabular-regression", "cnt", "instant")
    assert (proposal.split_by, proposal.time_column) == ("time", "day")
    kinds = {column.name: column.kind for column in proposal.columns}
    assert kinds == {
        "instant": "drop",
        "day": "datetime",
        "season": "categorical",
        "casual": "drop",
        "registered": "drop",
    }
    assert "'casual' tells the target: casual + registered = cnt" in proposal.notes


@pytest.mark.parametrize(
    ("offsets", "column"), [(("", ""), "day"), (("Z", "+00:00"), "day"), (("", "Z"), None), (("+00:00", ""), None)]
)
def test_times_some_of_which_have_an_offset_divide_no_table(offsets: tuple[str, str], column: str | None) -> None:
    days = pd.date_range("2026-01-01", periods=N)
    rows = rentals().assign(day=[f"{day:%Y-%m-%dT%H:%M:%S}{offsets[n % 2]}" for n, day in enumerate(days)])
    assert propose(rows).time_column == column


def test_a_target_of_few_classes_is_a_classification_and_an_identifier_is_the_key() -> None:
    proposal = propose(customers())
    assert (proposal.problem, proposal.target, proposal.key) == ("tabular-classification", "Churn", "customerID")
    assert (proposal.split_by, proposal.time_column, proposal.candidates) == ("random", None, ())
    first = proposal.columns[0]
    assert (first.name, first.kind, first.note, first.missing, first.distinct) == (
        "customerID",
        "drop",
        "identifies a row",
        0,
        N,
    )


def test_one_free_text_beside_one_column_of_classes_is_a_model_of_texts() -> None:
    proposal = propose(news())
    assert (proposal.problem, proposal.target) == ("text-classification", "mood")
    assert {column.name: column.kind for column in proposal.columns} == {"id": "drop", "Sentence": "text"}
    assert propose(news().assign(other=["a", "b"] * (N // 2)), "mood").problem == "text-classification"


def test_where_no_column_is_clearly_the_target_the_likeliest_are_named_first() -> None:
    frame = table(
        species=CHANCE.choice(["A", "C", "G"], N),
        length=CHANCE.normal(40, 5, N).round(1),
        sex=CHANCE.choice(["m", "f", ""], N),
    )
    proposal = propose(frame)
    assert (proposal.target, proposal.candidates) == (None, ("species", "length", "sex"))
    assert proposal.notes[0].startswith("no column is clearly the target: 'species'")
    assert propose(frame, "sex").target == "sex"
    last = frame.assign(odd=["a", "b"] * (len(frame) // 2) + ["a"] * (len(frame) % 2))
    told = "'odd' is taken for the target, since it is the last column"
    assert (told in propose(last[["length", "odd"]]).notes, told in propose(last, "odd").notes) == (True, False)
    assert propose(frame, "length").problem == "tabular-regression"
    with pytest.raises(ConfigError, match="There is no column 'size'; there are 'species'"):
        propose(frame, "size")


TELLING: dict[str, tuple[Callable[[pd.DataFrame], Any], str]] = {
    "the same": (lambda frame: frame["Churn"], "it is the same"),
    "one value for each": (lambda frame: frame["Churn"].map({"Yes": "gone", "No": "here"}), "one value of it for each"),
    "answers of a model": (lambda frame: frame["contract"], "looks like the answers of a model"),
}


@pytest.mark.parametrize(("make", "said"), TELLING.values(), ids=TELLING)
def test_what_tells_the_target_is_dropped(make: Callable[[pd.DataFrame], Any], said: str) -> None:
    frame = customers()
    frame.insert(1, "prediction" if "model" in said else "other", make(frame))
    dropped = {column.name: column.note for column in propose(frame).columns if column.kind == "drop"}
    assert set(dropped) == {"customerID", frame.columns[1]}
    assert said in dropped[frame.columns[1]]


@pytest.mark.parametrize("frame", [table(a=[]), table(a=["", ""]), table(a=["x"]), table(a=range(3), b=range(3))])
def test_a_table_of_nothing_proposes_no_target(frame: pd.DataFrame) -> None:
    assert propose(frame).target in (None, "b")


def test_a_column_of_bytes_is_neither_an_input_nor_a_key() -> None:
    frame = pd.DataFrame({"x": [str(n / 7) for n in range(40)], "y": ["a", "b"] * 20}, dtype="str")
    frame.insert(0, "raw", [rf"\udcf1{n}M\udc91" for n in range(40)])
    found = propose(frame, "y")
    assert found.key is None
    assert {column.name: column.kind for column in found.columns} == {"x": "numeric", "raw": "drop"}
