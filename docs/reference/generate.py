"""The reference, made of what reads the settings and of what Prefect is given: `python docs/reference/generate.py`."""

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from lifecycle.gate.verdict import RULES, Verdict
from lifecycle.problems.behaviour.suites import Suite
from lifecycle.settings import Settings
from lifecycle.settings.definitions import ModelDefinition
from lifecycle.settings.gate_rules import HIGHER, JUDGED, LOWER, OF_A_CLASS

Row = tuple[str, ...]

FOLDER = Path(__file__).parent
PROJECT = FOLDER.parents[1]
TESTS = sorted((PROJECT / "tests").rglob("test_*.py"))
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
DEPLOYMENTS = """\
# Deployments and automations

Made by `python docs/reference/generate.py` from `prefect.yaml` and `automations.yaml`; a test fails where they differ.
[Operations](../operations.md) says how they are used.

## Deployments

Schedules are by the clock of `{zone}` unless you say otherwise; they are off until `schedules: true` stands in
`config/<env>.yaml`.

{deployments}
## Triggers

{triggers}
## Automations

Made by `mlops setup`; notifications for each environment that names a block (`alerts`), the end of a wait for each that
asks for approvals. Of events within so many seconds, one starts or sends something.

{automations}"""
PROMISES = """\
# Promises

What the pipeline promises, and the test that fails when it does not keep it. `make test` runs them offline;
`make test-all` runs their long versions, and again in every registry.

Made by `python docs/reference/generate.py` of the paragraphs "Promise: …" at the head of the tests.

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
    """Write the pages."""
    for name, content in pages().items():
        (FOLDER / name).write_text(content, encoding="utf-8")


def pages() -> dict[str, str]:
    """Each page as it must be, by its name."""
    return {"settings.md": _settings(), "deployments.md": _deployments(), "promises.md": _promises()}


def _promises() -> str:
    heads = ((path, ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "") for path in TESTS)
    return PROMISES + "".join(
        f"- {_promise(' '.join(paragraph.split()), path)}\n"
        for path, head in heads
        for paragraph in head.split("\n\n")
        if paragraph.startswith("Promise: ")
    )


def _promise(said: str, path: Path) -> str:
    """What is promised, and where it is tested: here, and in the files that the paragraph names."""
    what, _, others = said.removeprefix("Promise: ").removesuffix(".").partition(" (also ")
    return ", ".join([f"{what}: `{path.relative_to(PROJECT)}`", *([others.removesuffix(")")] if others else [])])


def _deployments() -> str:
    prefect = yaml.safe_load((PROJECT / "prefect.yaml").read_text(encoding="utf-8"))
    automations = yaml.safe_load((PROJECT / "automations.yaml").read_text(encoding="utf-8"))
    automated = [
        (f'"{entry["name"]}"', entry["description"], f"{entry['trigger'].get('within', '')}")
        for kind in ("automations", "approvals", "notifications")
        for entry in automations[kind]
    ]
    return DEPLOYMENTS.format(
        zone=prefect["definitions"]["zone"],
        deployments=_table(("deployment", "does", "when"), list(_deployed(prefect["deployments"]))),
        triggers=_table(("trigger", "starts", "after", "", "`within`"), list(_triggered(prefect["deployments"]))),
        automations=_table(("automation", "does", "`within`"), automated),
    )


def _deployed(entries: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """One row for what one flow does, in whatever environments."""
    for does, group in groupby(entries, lambda entry: entry["description"]):
        alike = list(group)
        schedules = [schedule for entry in alike for schedule in entry.get("schedules", ())]
        yield ", ".join(map(_deployment, alike)), does, ", ".join(dict.fromkeys(map(_schedule, schedules)))


def _triggered(entries: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    for entry in entries:
        for trigger in entry.get("triggers", ()):
            events, state = ", ".join(map(_code, trigger["expect"])), "on" if trigger["enabled"] else "off"
            yield f'"{trigger["name"]}"', _deployment(entry), events, state, str(trigger["within"])


def _deployment(entry: Mapping[str, Any]) -> str:
    return f"`{entry['entrypoint'].rpartition(':')[2].replace('_', '-')}/{entry['name']}`"


def _schedule(schedule: Mapping[str, str]) -> str:
    rule = schedule.get("cron") or " ".join(schedule["rrule"].split())
    return f"{schedule['slug'].replace('-', ' ')}: {_code(rule)}"


def _settings() -> str:
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
