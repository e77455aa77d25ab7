"""Truth values, numbers and missing values are the same labels from CSV, Parquet and JSON Lines."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lifecycle import settings
from lifecycle.data import dataset, ingest
from lifecycle.data.source import Source
from lifecycle.problems.classification import labels as values
from lifecycle.settings.rules import DataRules

SPELLED = {
    "pandas in CSV": (["True", "False"], ["True", "False"]),
    "Excel": (["TRUE", "FALSE"], ["True", "False"]),
    "JSON": (["true", "false"], ["True", "False"]),
    "one label in two spellings": (["true", "True", "FALSE"], ["True", "True", "False"]),
    "a third value": (["True", "False", "unknown"], ["True", "False", "unknown"]),
    "truth values and numbers": (["True", "1"], ["True", "1"]),
    "whole numbers": (["1", "-2", "30"], ["1", "-2", "30"]),
    "whole numbers beside missing ones": (["1.0", "", "2.0"], ["1", "", "2"]),
    "both": (["1", "1.0", "1e0", "10e-1"], ["1", "1", "1", "1"]),
    "fractions": (["0.5", "0.50", "5e-1", "-0.0"], ["0.5", "0.5", "0.5", "0"]),
    "large": (["1e+16", "10000000000000000"], ["10000000000000000", "10000000000000000"]),
    "beyond a float": (["9007199254740993", "9007199254740992"], ["9007199254740993", "9007199254740992"]),
    "codes": (["007", "1.0", "2"], ["007", "1.0", "2"]),
    "what looks like nothing": (
        ["NA", "None", "nan", "007", "1.0", "true"],
        ["NA", "None", "nan", "007", "1.0", "true"],
    ),
    "digits of others": (["١", "٢"], ["١", "٢"]),
    "signs": (["+1", "-1"], ["+1", "-1"]),
    "exponents out of reach": (["1e999", "1"], ["1e999", "1"]),
    "words": (["good", "bad"], ["good", "bad"]),
    "none": (["", ""], ["", ""]),
}


@pytest.mark.parametrize(("labels", "expected"), SPELLED.values(), ids=SPELLED.keys())
def test_a_column_of_values_has_one_spelling_and_any_other_is_text(labels: list[str], expected: list[str]) -> None:
    assert values.spelled(pd.Series(labels)).tolist() == expected


def test_the_spelling_of_the_parent_is_kept() -> None:
    assert values.spelled(pd.Series(["true", "FALSE"]), ["false", "true"]).tolist() == ["true", "false"]
    assert values.spelled(pd.Series(["1", "2"]), ["1.0", "high"]).tolist() == ["1.0", "2"]


KINDS: dict[str, st.SearchStrategy[list[Any]]] = {
    "truth values": st.lists(st.booleans(), min_size=1),
    "integers": st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1),
    "floats": st.lists(st.floats(allow_infinity=False, allow_nan=False, width=32), min_size=1),
    "floats beside missing ones": st.lists(st.none() | st.integers(-1000, 1000).map(float), min_size=1),
    "integers beside missing ones": st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1),
    "truth values beside missing ones": st.lists(st.none() | st.booleans(), min_size=1),
    "words": st.lists(st.sampled_from(["NA", "None", "nan", "007", "1.0", "true", "True", "é", "a,b", '"', " x "])),
}


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@hypothesis_settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_label_is_the_same_from_each_format(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    labels = data.draw(KINDS[kind])
    frame = pd.DataFrame({"text": [f"text {n}" for n in range(len(labels))], "label": pd.Series(labels, dtype=object)})
    frame["label"] = frame["label"].astype(
        {"truth": "boolean", "integ": "Int64", "float": "float64"}.get(kind[:5], "str")
    )
    if frame.empty:
        return
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    lines = [{"text": f"text {n}", "label": None if pd.isna(cell) else cell} for n, cell in enumerate(frame["label"])]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(line, default=lambda cell: cell.item()) for line in lines))
    found = [
        values.spelled(
            ingest.read(Source(uri=str(tmp_path / name)), DataRules(), ["text", "label"]).rows["label"]
        ).tolist()
        for name in ("a.csv", "a.parquet", "a.jsonl")
    ]
    assert found[0] == found[1] == found[2]
    written = frame["label"].dropna()
    if set(written) <= {"true", "True"}:  # the words of one truth value, where a column has no others
        written = written.astype(str).str.title()
    assert len(set(found[0]) - {""}) == written.nunique()


def test_datasets_of_one_table_in_three_formats_have_the_same_classes(tmp_path: Path) -> None:
    config = settings.load("dev", home=tmp_path / "state")
    frame = pd.DataFrame({"text": [f"text {n}" for n in range(40)], "label": [n % 2 == 0 for n in range(40)]})
    frame.to_csv(tmp_path / "csv.csv", index=False)
    frame.to_parquet(tmp_path / "parquet.parquet")
    frame.to_json(tmp_path / "jsonl.jsonl", orient="records", lines=True)
    for name in ("csv", "parquet", "jsonl"):
        source = Source(uri=str(tmp_path / f"{name}.{name}"))
        dataset.create(dataset.plan(config, source, data_name=name, data_version="1"))
        assert dataset.load(config.datasets, name, "1").classes == ("False", "True")
