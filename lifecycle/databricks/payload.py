"""The payload of a one-time run, or of a run of a job, as other set-ups keep it in a file.

Databricks takes parameters as texts alone; in a file numbers, booleans and null stand among them. They are sent as the
texts that are parsed as them, and all else as it is.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lifecycle.core.errors import ConfigError
from lifecycle.core.parameters import text_of, texts_of

BY_NAME = {"base_parameters", "notebook_params", "job_parameters", "named_parameters", "python_named_params"}
IN_ORDER = {"parameters", "python_params", "jar_params", "spark_submit_params"}
OF_A_JOB = ("default", "value")
"""Where an entry of a job's own `parameters` holds its text."""


class _Written(float):
    """A fraction that is still told as it is written: `1.10`."""

    def __new__(cls, text: str) -> "_Written":
        number = super().__new__(cls, text)
        number.text = text
        return number

    text: str

    def __str__(self) -> str:
        return self.text


def read(file: Path) -> dict[str, Any]:
    """The payload that a file holds, its parameters as texts.

    Raises:
        ConfigError: It holds none, or parameters that cannot be.
    """
    try:
        payload = json.loads(file.read_text(encoding="utf-8"), parse_float=_Written)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file} cannot be read as JSON: {error}.", "Name the payload of a one-time run.") from None
    if not isinstance(payload, dict):
        raise ConfigError(f"{file} holds no JSON object.", "Name the payload of a one-time run.")
    return dict(_sendable(payload))


def _sendable(value: Any) -> Any:
    """A part of a payload with the parameters in it as texts."""
    if isinstance(value, Mapping):
        return {name: _parameters(name, part) for name, part in value.items()}
    return [_sendable(part) for part in value] if isinstance(value, list) else value


def _parameters(name: str, value: Any) -> Any:
    if value is None or name not in BY_NAME | IN_ORDER:
        return _sendable(value)
    if isinstance(value, Mapping):
        return texts_of(value)
    if name in BY_NAME or not isinstance(value, list):
        what = f"{name} holds {json.dumps(value):.80}, not parameters by their names."
        raise ConfigError(what, 'Write it as an object, such as {"test_size": 0.2}.')
    return [_entry(f"{name}[{place}]", entry) for place, entry in enumerate(value)]


def _entry(name: str, entry: Any) -> Any:
    if not isinstance(entry, Mapping):
        return text_of(name, entry)
    return {**entry, **{key: text_of(f"{name}.{key}", entry[key]) for key in OF_A_JOB if key in entry}}
