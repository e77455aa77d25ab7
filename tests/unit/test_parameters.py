"""Parameters that arrive as text mean what they say, and are never run."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from lifecycle.core.errors import ConfigError
from lifecycle.core.parameters import Flag, Fraction, Name, Params, Strata, literal, texts_of
from lifecycle.data.manifest import CreateDataRequest


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("['label']", ["label"]),
        ('["label"]', ["label"]),
        ("{'alpha': 1.0}", {"alpha": 1.0}),
        ('{"fit_prior": true, "prior": null}', {"fit_prior": True, "prior": None}),
        (" {'fit_prior': True, 'range': (1, 2)} ", {"fit_prior": True, "range": (1, 2)}),
        ("0.5", 0.5),
        ("'label'", "label"),
        (["label"], ["label"]),
        (None, None),
    ],
)
def test_a_literal_is_read_as_json_or_python(text: Any, value: Any) -> None:
    assert literal(text) == value


@pytest.mark.parametrize(
    "text",
    ["label", "", "{'a': }", "1 if 2 else 3", "[x for x in 'ab']", "\0", "9" * 5_000, "[" * 100_000, "(" * 100_000],
)
def test_what_is_no_literal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither JSON nor a Python literal") as refused:
        literal(text)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    "code",
    [
        "__import__('pathlib').Path('ran').touch()",
        "[].__class__.__base__.__subclasses__()",
        "open('ran', 'w')",
        "{'a': open('ran', 'w')}",
        "(lambda: open('ran', 'w'))()",
        'f\'{open("ran", "w")}\'',
    ],
)
def test_code_is_refused_and_not_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="neither JSON nor a Python literal"):
        literal(code)
    assert list(tmp_path.iterdir()) == []


ACCEPTED: list[tuple[Any, Any, Any]] = [
    (Flag, "false", False),
    (Flag, " False ", False),
    (Flag, "TRUE", True),
    (Flag, False, False),
    (Fraction, "0.2", 0.2),
    (Fraction, 0, 0.0),
    (Strata, "['label', 'region']", ("label", "region")),
    (Strata, "[]", ()),
    (Strata, ["label"], ("label",)),
    *((Strata, value, None) for value in (None, True, "true", "True", "null")),
    *((Strata, value, ()) for value in (False, "false", "False")),
    (Params, "{'alpha': 0.5}", {"alpha": 0.5}),
    (Params, "{}", {}),
    (Name, "fsa", "fsa"),
    (Name, "1.0.0-rc_1", "1.0.0-rc_1"),
    (Name, "a" * 64, "a" * 64),
    (Name, 2, "2"),
]


@pytest.mark.parametrize(("kind", "given", "value"), ACCEPTED)
def test_text_becomes_a_value_of_its_type(kind: Any, given: Any, value: Any) -> None:
    parsed = TypeAdapter(kind).validate_python(given)
    assert parsed == value
    assert type(parsed) is type(value)


REFUSED: list[tuple[Any, Any]] = [
    *((Flag, value) for value in ("", "no", "0", "[]", 0, 1, None, "truee")),
    *((Fraction, value) for value in ("", "much", "nan", "inf", "-0.1", "1", 1.0, -0.01, float("nan"), None)),
    *((Strata, value) for value in ("label", "'label'", "[1]", "{'a': 1}", "3", "[['label']]", 1, 0.0, [True])),
    *((Params, value) for value in ("alpha=1", "['alpha']", "3", "{1: 2}", "")),
    *(
        (Name, value)
        for value in (
            "",
            ".",
            "../x",
            "a/b",
            "A",
            "-a",
            ".tmp",
            "a" * 65,
            "a b",
            "a\n",
            "a\0",
            "é",
            "a%2e",
            1.1,
            True,
            -1,
        )
    ),
]


@pytest.mark.parametrize(("kind", "value"), REFUSED)
def test_a_value_that_is_not_of_the_type_is_refused(kind: Any, value: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.text(), VALUES))
def test_values_that_are_sent_as_texts_mean_the_same(values: dict[str, Any]) -> None:
    """Where a text stands for a literal it is left alone; any other value is a literal of itself."""
    texts = texts_of(values)
    assert texts.keys() == {name for name, value in values.items() if value is not None}
    assert all(
        text == values[name] if isinstance(values[name], str) else literal(text) == values[name]
        for name, text in texts.items()
    )


def test_a_request_of_a_job_takes_numbers_booleans_and_null() -> None:
    """What `mlops-step create-data` is sent: null is not given, true the default, false none."""
    given: dict[str, Any] = {"data_root": "d", "data_name": "n", "data_version": 1, "source": {"uri": "a.csv"}}
    request = CreateDataRequest.model_validate_json(
        json.dumps({**given, "test_size": 0.25, "holdout": None, "holdout_size": None, "stratify": True})
    )
    assert (request.data_version, request.test_size, request.holdout, request.strata) == ("1", 0.25, True, ("label",))
    assert CreateDataRequest.model_validate(given | {"stratify": False}).strata == ()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_no_parameter(value: float) -> None:
    with pytest.raises(ConfigError, match=r"test_size: .* cannot be a parameter"):
        texts_of({"test_size": value})
