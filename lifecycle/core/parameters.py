"""Parameters that also arrive as text: a job or a form sends `"false"`, `"['Sentiment']"`, `"{'alpha': 1.0}"`.

They are parsed as literals and checked by type: never by truthiness (`bool("false")` is true), never by `eval`.
"""

import ast
import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from lifecycle.core import secrets
from lifecycle.core.errors import ConfigError
from lifecycle.core.names import MODEL_PATTERN, NAME_PATTERN
from lifecycle.core.own_code import PATTERN
from lifecycle.core.patterns import DELIMITER

DATABRICKS = "databricks"
"""In place of an address: what the workspace serves that the environment names."""


def literal(value: Any, example: str = "['a', 'b']") -> Any:
    """Parse a text as JSON or as a Python literal; anything but a text is returned as it is.

    Raises:
        ValueError: The text is neither.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ValueError(f'{value!r:.80} is neither JSON nor a Python literal, such as "{example}"') from None


def _mapping(value: Any) -> Any:
    parsed = literal(value, "{'name': value}")
    if not isinstance(parsed, Mapping):
        raise ValueError(f"{value!r:.80} is not a mapping, such as \"{{'name': value}}\"")
    return parsed


def texts_of(values: Mapping[str, Any]) -> dict[str, str]:
    """The same parameters where only texts may be sent; what is null was not given.

    Raises:
        ConfigError: One is a number that there is none of.
    """
    return {name: text_of(name, value) for name, value in values.items() if value is not None}


def text_of(name: str, value: Any) -> str:
    """The text that is parsed as a value: `true`, `0.2`, `["label"]`; of a text itself.

    Raises:
        ConfigError: It is null in a list, where a place cannot be left out, or no finite number.
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        raise ConfigError(f"{name}: {json.dumps(value)} cannot be a parameter.", "Leave it out, or give a value.")
    if isinstance(value, float | str):  # as it is written: `1.10` names another version than `1.1`
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def _strata(value: Any) -> Any:
    """True is the default, false none; else the columns."""
    parsed = literal(value)
    if isinstance(parsed, bool):
        return None if parsed else ()
    return parsed


def _name(value: Any) -> Any:
    """A whole number is a name too; which one a fraction means, `1.1` or `1.10`, nobody can tell."""
    if isinstance(value, float):
        raise ValueError(f"write {value!r} in quotes")
    return str(value) if type(value) is int else value


def _flag(value: Any) -> Any:
    return {"true": True, "false": False}.get(value.strip().lower(), value) if isinstance(value, str) else value


def _delimiter(value: Any) -> Any:
    return DELIMITERS.get(value.lower(), value) if isinstance(value, str) else value


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, str) else value


LOCATIONS = ("source", "input", "output", "table")
"""The parameters of flows that may be a URL."""


def require_sealed(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that would be stored with a secret in them.

    Raises:
        ConfigError: One is a URL with a user, a query or a fragment of its own.
    """
    for name in LOCATIONS:
        secrets.require_sealed(name, parameters.get(name))


def _unsealed(value: str) -> str:
    try:
        secrets.require_sealed("A URL", value)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return value


DELIMITERS = {"tab": "\t", "\\t": "\t"}
"""What a shell or a form lets one write for a delimiter that cannot be seen."""


def _address(endpoint: str) -> str:
    """Check the address of a language model, which is stored: with a model, or with a verdict."""
    address = urlsplit(endpoint)
    if endpoint not in {"", DATABRICKS} and (address.scheme not in {"http", "https"} or not address.hostname):
        raise ValueError(f"it must be http://… or https://…, or {DATABRICKS}")
    if address.username or address.password or address.query:
        raise ValueError("an address is stored with the model: a key belongs into OPENAI_API_KEY")
    return endpoint


OwnPath = Annotated[str, Field(pattern=f"^{PATTERN}$")]
"""Code of a team's own: `package.module:name`."""
Name = Annotated[
    str,
    BeforeValidator(_name),
    Field(pattern=NAME_PATTERN, description="Lower-case letters, digits, `_`, `.` and `-`."),
]
ModelName = Annotated[str, Field(pattern=MODEL_PATTERN, description="Letters, digits, `_`, `.` and `-`.")]
LanguageEndpoint = Annotated[str, Field(max_length=1000), AfterValidator(_address)]
Location = Annotated[str, AfterValidator(_unsealed), Field(json_schema_extra={"pattern": secrets.SEALED})]
"""A path, a URL or the name of a table: it is stored, so a secret in it is a reference (`lifecycle.core.secrets`)."""
Flag = Annotated[bool, BeforeValidator(_flag), Field(strict=True)]
Fraction = Annotated[float, Field(ge=0, lt=1), BeforeValidator(_number)]
Format = Literal["csv", "jsonl", "parquet", "delta"]
Delimiter = Annotated[
    str,
    BeforeValidator(_delimiter),
    Field(pattern=DELIMITER, description="Of CSV: one character, or tab."),
]
VersionNumber = Annotated[int, Field(ge=1, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What numpy takes as one."""
Strata = Annotated[
    tuple[str, ...] | None, BeforeValidator(_strata, json_schema_input_type=tuple[str, ...] | bool | None)
]
"""Columns that every split keeps in proportion: true or nothing for the default, false for none."""
Params = Annotated[dict[str, Any], BeforeValidator(_mapping)]
ColumnMap = Annotated[dict[str, str], BeforeValidator(_mapping)]
"""Something about columns, by their names."""
