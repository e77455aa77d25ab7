"""docs/reference is what the models say that read the settings, and what Prefect is given."""

import ast
import re
import runpy
from typing import get_args

from pydantic import BaseModel

from lifecycle.settings import Settings
from lifecycle.settings.gate_rules import HIGHER, LOWER
from tests.conftest import ROOT

REFERENCE = ROOT / "docs/reference"
PAGE = (REFERENCE / "settings.md").read_text(encoding="utf-8")


def test_the_committed_pages_are_what_the_script_makes() -> None:
    made = runpy.run_path(str(REFERENCE / "generate.py"))["pages"]()
    written = {name: (REFERENCE / name).read_text(encoding="utf-8") for name in made}
    assert made == written, "Run: python docs/reference/generate.py"


def test_every_rule_of_the_gate_and_every_metric_has_its_line_with_a_meaning() -> None:
    rules = dict(re.findall(r"^\| `gate\.([\w.]+)` .*\| (.*?) \|$", PAGE, re.M))
    asked = {name.removeprefix("gate.") for name in _flat(Settings) if name.startswith("gate.")}
    assert asked == {name for name, meaning in rules.items() if meaning.strip()}
    assert set(re.findall(r"^\| `(\w+)` \| (?:more|less) ", PAGE, re.M)) == HIGHER | LOWER


def _flat(model: type[BaseModel]) -> set[str]:
    """The names of all fields, dotted; a group that is off by default counts too."""
    names = set()
    for name, field in model.model_fields.items():
        kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
        groups = [kind for kind in kinds if issubclass(kind, BaseModel)]
        names |= {f"{name}.{inner}" for group in groups for inner in _flat(group)} if groups else {name}
    return names


def test_each_promise_has_tests_that_run_each_time() -> None:
    """What is marked `exhaustive` runs by night alone."""
    promises = (ROOT / "docs/reference/promises.md").read_text(encoding="utf-8")
    files = sorted(set(re.findall(r"`(tests/\S+\.py)`", promises)))
    assert len(files) > 40
    assert [file for file in files if not _each_time(ast.parse((ROOT / file).read_text(encoding="utf-8")))] == []


def _each_time(tree: ast.Module) -> list[str]:
    """The tests of a file that are not marked as a whole."""
    tests = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef) and each.name.startswith("test_")]
    marks = {each.name: [ast.unparse(mark) for mark in each.decorator_list] for each in tests}
    return [name for name, given in marks.items() if not {"exhaustive", "pytest.mark.exhaustive"} & {*given}]
