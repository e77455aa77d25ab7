"""How a name is to be written is said in words, whoever has checked it."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from flows import flow_requests
from lifecycle.core import patterns
from lifecycle.core.errors import ConfigError
from lifecycle.core.names import NAME_PATTERN
from lifecycle.problems.behaviour import suites
from lifecycle.settings import Settings, checked
from lifecycle.settings.definitions import ModelDefinition

REQUESTS = [kind for kind in vars(flow_requests).values() if isinstance(kind, type) and issubclass(kind, BaseModel)]
SUITES = [kind for kind in vars(suites).values() if isinstance(kind, type) and issubclass(kind, BaseModel)]


def patterns_in(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        yield from schema.get("patternProperties", ())
    inner = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    for each in inner:
        yield from patterns_in(each)


@pytest.mark.parametrize("kind", [Settings, ModelDefinition, *REQUESTS, *SUITES])
def test_every_pattern_has_words(kind: type[BaseModel]) -> None:
    schemas = [kind.model_json_schema(mode=mode) for mode in ("validation", "serialization")]
    assert {*patterns_in(schemas)} <= patterns.WORDS.keys()


@pytest.mark.parametrize(
    ("field", "text", "told"),
    [
        ("data_name", "My News", "lower-case letters, digits, `_`, `.` and `-`, at most 64, .* such as 'my_news'"),
        ("data_name", "a\tb", "such as 'a_b'"),
        ("data_version", "v 2", "such as 'v_2'"),
        ("model_name", "my model", "letters, digits, .* such as 'my_model'"),
        ("delimiter", ";;", "write one character, or tab"),
        ("data_name", "../other", "at most 64, not `.` or `-` first. See"),
        ("clean", "steps.tidy", "write package.module:name"),
    ],
)
def test_a_name_that_is_none_says_how_to_write_it(field: str, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as refused:
        checked(flow_requests.TableRequest, **{field: text})
    assert "^" not in str(refused.value)


def test_what_prefects_server_says_is_in_words_too() -> None:
    said = f"Validation failed for field 'data_name'. Failure reason: 'Abc' does not match {NAME_PATTERN!r}"
    assert "'Abc' must be written with lower-case letters" in patterns.without_patterns(said)
    assert "^" not in patterns.without_patterns(said)
