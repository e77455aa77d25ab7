"""The file of a definition as a person reads and edits it: what is not the default, and the kind of every column."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from lifecycle.settings.definitions import ModelDefinition, placed

SPLITS = {
    "random": "which rows are held out is drawn",
    "group": "no value of this column is on two splits",
    "text": "no text of a pair is on two splits",
    "time": "the newest rows are held out",
}


def render(name: str, definition: ModelDefinition, notes: Mapping[str, str]) -> str:
    """The definition of a model as YAML with short comments.

    Args:
        name: Name of the model.
        definition: What it is.
        notes: What is to be known about a column, by its name.
    """
    values = definition.model_dump(mode="json", exclude_defaults=True, exclude={"problem", "data"})
    lines = [
        f"# What {name} is, the same in all environments. All keys and their meaning: mlops config schema --model",
        _line("problem", definition.problem),
        "data:",
        *(f"  {line}" for line in _data(definition, notes)),
        *(_line(key, value) for key, value in values.items()),
        *_hints(name, definition),
    ]
    return "\n".join(lines) + "\n"


def _data(definition: ModelDefinition, notes: Mapping[str, str]) -> Iterator[str]:
    data = definition.data
    values = data.model_dump(mode="json", exclude_defaults=True) | {"target": data.target}
    columns, split = values.pop("columns", {}), values.pop("split", None)
    is_relative = data.source is not None and placed(data.source, Path("/")) != data.source
    comments = {
        "source": "in the project's folder" if is_relative else "",
        "target": "what is to be predicted",
        "key": "identifies a row",
        "documents": "what is answered from",
    }
    for key, value in values.items():
        yield _line(key, value, comments.get(key, ""))
    yield "columns:  # numeric, categorical, boolean, datetime, text; drop: no input"
    for column, kind in columns.items():
        yield from (f"  {line}" for line in _line(column, kind, notes.get(column, "")).split("\n"))
    if split:
        yield _line("split", split, SPLITS[data.split.by])


def _hints(name: str, definition: ModelDefinition) -> Iterator[str]:
    """What a person may want to add: the table of each batch, and rows of its own for an environment."""
    batch = {"source": "inbox/{logical_date}.csv"} | ({"key": definition.data.key} if definition.data.key else {})
    yield f"# {_line('inference', batch, 'the table that each batch scores')}"
    yield "# By default all environments judge on the same rows: that is one test. Rows of its own (docs/gate.md) are"
    yield "# named in the file of an environment, such as config/prod.yaml:"
    rows = {"gate_data": {"data_name": f"{name}-prod", "data_version": "latest"}}
    yield from (f"#   {line}" for line in _line("models", {name: rows}).split("\n"))


def _line(key: str, value: Any, comment: str = "") -> str:
    style = None if isinstance(value, dict) else False
    text = yaml.safe_dump(
        {key: value}, default_flow_style=style, allow_unicode=True, sort_keys=False, width=10**6
    ).rstrip("\n")
    return f"{text}  # {' '.join(comment.split())}" if comment else text
