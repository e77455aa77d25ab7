"""The reference of all settings, made of the models that read them: `python docs/reference/generate.py`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from lifecycle.gate.verdict import RULES, Verdict
from lifecycle.problems.behaviour.suites import Suite
from lifecycle.settings import Settings
from lifecycle.settings.definitions import ModelDefinition
from lifecycle.settings.gate_rules import HIGHER, JUDGED, LOWER, OF_A_CLASS

Row = tuple[str, ...]

PAGE = Path(__file__).with_name("settings.md")
INTRODUCTION = """\
# Reference

Made by `python docs/reference/generate.py` from the models that read the settings; a test fails where the two differ.

- [Settings of an environment](#settings-of-an-environment)
- [Definition of a model](#definition-of-a-model)
- [Metrics](#metrics)
- [Behaviour suites](#behaviour-suites)
- [Verdict](#verdict)
"""
ENVIRONMENT = """\
## Settings of an environment

`config/<env>.yaml`. A flag wins over a variable (`MLOPS_` and the name in capitals, `__` for each dot:
`MLOPS_GATE__MIN_GAIN=0.01`), that over the file of the environment, that over `config/platforms/<platform>.yaml`, that
over the defaults here. `mlops config show --env prod` prints every value with its origin. An unknown name or a value
out of range ends with exit code 2 before anything is started.
"""
DEFINITION = """\
## Definition of a model

`config/models/<model>.yaml`: what is true of a model in all environments.
"""
BEHAVIOUR = """\
## Behaviour suites

`config/behaviour/<suite>.yaml`: tests of the kinds below, each named by its `kind`.
"""
VERDICT = """\
## Verdict

What `mlops gate check --json` and `mlops gate explain --json` print and the challenger's run keeps. Its digest is the
sha256 of the content as JSON with sorted keys; its JSON schema is [verdict.schema.json](../verdict.schema.json).
"""
LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
KINDS = {
    "boolean": "true, false",
    "integer": "integer",
    "number": "number",
    "string": "text",
    "array": "list",
    "object": "mapping",
    "null": "`null`",
}


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page as it must be."""
    blocks = [
        INTRODUCTION,
        ENVIRONMENT,
        *_sections(Settings),
        DEFINITION,
        *_sections(ModelDefinition),
        _metrics(),
        BEHAVIOUR,
        *_types(Suite),
        VERDICT,
        _rules(),
        *_types(Verdict),
    ]
    return "\n".join(blocks)


def _sections(model: type[BaseModel]) -> Iterator[str]:
    """One table for the model itself and one for each group of fields in it, named by its path."""
    schema = model.model_json_schema()
    yield from _section(schema, schema.get("$defs", {}), "")


def _section(schema: Mapping[str, Any], definitions: Mapping[str, Any], path: str) -> Iterator[str]:
    rows: list[Row] = []
    groups = []
    for name, field in schema["properties"].items():
        if group := _group(field, definitions):
            groups.append((f"{path}{name}{group[1]}", definitions[group[0]]))
        else:
            default = "" if name in schema.get("required", ()) else _code(field.get("default"))
            rows.append((f"`{path}{name}`", _values(field, definitions), default, _meaning(field)))
    if path:
        yield f"### `{path.removesuffix('.')}`\n\n{_first_sentence(schema)}\n"
    if rows:
        yield _table(("name", "values", "default", "meaning"), rows)
    for where, definition in groups:
        yield from _section(definition, definitions, f"{where}.")


def _types(model: type[BaseModel]) -> Iterator[str]:
    """One table for the model and one for each kind of value in it, by the kind's name."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs")
    for name, kind in {"": schema, **definitions}.items():
        if "properties" in kind:
            rows = [
                (f"`{key}`", _values(field, definitions), _meaning(field)) for key, field in kind["properties"].items()
            ]
            title = f"### {name}\n\n{_first_sentence(kind)}\n\n" if name else ""
            yield title + _table(("name", "values", "meaning"), rows)


def _group(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> tuple[str, str] | None:
    """The group of fields that a field holds, and what stands between its name and theirs."""
    for option in field.get("anyOf", [field]):
        for place, suffix in (("", ""), ("additionalProperties", ".<name>")):
            schema = option.get(place, {}) if place else option
            name = schema.get("$ref", "").rpartition("/")[2] if isinstance(schema, Mapping) else ""
            if "properties" in definitions.get(name, {}):
                return name, suffix
    return None


def _values(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """What a field may be, in words; `null` where that is allowed."""
    if "anyOf" in field:
        return ", ".join(_values(option, definitions) for option in field["anyOf"])
    name = field.get("$ref", "").rpartition("/")[2]
    field = definitions.get(name, field)
    if "properties" in field:
        return f"[{name}](#{name.lower()})"
    for kind, place in (("list", "items"), ("mapping", "additionalProperties")):
        inner = field.get(place)
        if isinstance(inner, Mapping) and "$ref" in inner:
            return f"{kind} of {_values(inner, definitions)}"
    if choices := field.get("enum", [field["const"]] if "const" in field else []):
        return ", ".join(_code(value) for value in choices)
    kind = KINDS[field["type"]] if "type" in field else "any"
    limits = [f"{sign} {field[limit]:g}" for limit, sign in LIMITS.items() if limit in field]
    return " ".join([kind, ", ".join(limits)]).strip()


def _metrics() -> str:
    needs = {"cost": "needs `gate.costs`", JUDGED: "needs `gate.language_judge`"}
    better = {"more": HIGHER, "less": LOWER}
    rows = [(f"`{name}`", kind, needs.get(name, "")) for kind, names in better.items() for name in sorted(names)]
    rows += [(f"`{prefix}<class>`", "more", "of one class") for prefix in OF_A_CLASS]
    return f"## Metrics\n\n{_table(('name', 'better is', ''), rows)}"


def _rules() -> str:
    return _table(("rule", "how the two were compared"), [(f"`{name}`", words) for name, words in RULES.items()])


def _table(head: Row, rows: Sequence[Row]) -> str:
    lines = [head, ("---",) * len(head), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _code(value: object) -> str:
    return f"`{value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)}`"


def _meaning(field: Mapping[str, Any]) -> str:
    return str(field.get("description", "")).replace("<", "&lt;")


def _first_sentence(schema: Mapping[str, Any]) -> str:
    return str(schema.get("description", "")).partition("\n")[0]


if __name__ == "__main__":
    main()
