"""docs/gate.md and the pages beside it are true: commands run, settings are valid, and what they name exists."""

import re
import shlex
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest
import typer
import yaml
from pydantic import BaseModel

from cli.main import app
from lifecycle.gate.verdict import Decision
from lifecycle.problems.behaviour import suites
from lifecycle.settings import Settings
from lifecycle.settings.gate_rules import GateRules
from tests.conftest import ROOT, exhaustive
from tests.docs.conftest import Walk

NAMES = ("gate.md", "gate-statistics.md", "approval.md")
PAGES = {name: (ROOT / "docs" / name).read_text(encoding="utf-8") for name in NAMES}
PAGE = PAGES["gate.md"]
ALL = "\n".join(PAGES.values())
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", ALL, re.S | re.M)
PROSE = re.sub(r"^```.*?^```", "", ALL, flags=re.S | re.M)
LINES = [line for kind, block in BLOCKS if kind in {"", "console"} for line in block.splitlines()]
INLINE = re.findall(r"`(mlops [^`\n]+)`", PROSE)
COMMANDS = [line for line in [*LINES, *INLINE] if line.startswith("mlops ")]


@exhaustive  # a page a night: what it goes through has tests of its own
def test_every_command_runs_in_the_order_of_the_page(walk: Walk) -> None:
    Path("examples").symlink_to(ROOT / "examples")
    walk(ALL, programs=False)
    assert sorted(path.name for path in Path().iterdir()) == [".mlops", "examples", "verdict.html"]


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_every_command_parses(command: str) -> None:
    found, path = typer.main.get_command(app), ["mlops"]
    words = shlex.split(command.replace(" …", ""), comments=True)[1:]
    while hasattr(found, "commands") and words:
        path.append(words.pop(0))
        found = found.commands[path[-1]]
    if words and command not in INLINE:  # a mention leaves out what a run would need
        with found.make_context(" ".join(path), words) as context:
            assert context.command is found


def test_every_gate_command_is_on_the_page() -> None:
    group = typer.main.get_command(app).commands["gate"]
    assert {f"mlops gate {name}" for name in group.commands} <= {" ".join(line.split()[:3]) for line in COMMANDS}


def test_every_rule_that_is_named_exists() -> None:
    groups = {name: field.annotation for name, field in GateRules.model_fields.items()}
    for group, rule in re.findall(r"`(?:gate\.)?([a-z]+)\.([a-z_0-9]+)", PROSE):
        kind = groups.get(group)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            assert rule in kind.model_fields, f"{group}.{rule}"


def test_every_decision_is_explained() -> None:
    assert {*get_args(Decision)} <= {*re.findall(r"^\| `(\w+)` \| [^|]+ \|$", PAGE, re.M)}


def test_every_block_of_settings_and_every_suite_is_valid(tmp_path: Path) -> None:
    for content in [yaml.safe_load(block) for kind, block in BLOCKS if kind == "yaml"]:
        if "tests" in content:
            (tmp_path / "suite.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
            assert suites.load(["suite"], 1, tmp_path)[0].tests
        else:
            assert set(Settings.model_validate({"env": "prod", **content}).model_fields_set) > {"env"}


def test_the_metric_of_the_page_can_be_called() -> None:
    (program,) = [block for kind, block in BLOCKS if kind == "python"]
    names: dict[str, object] = {}
    exec(compile(program, "docs/gate.md", "exec"), names)  # noqa: S102  our own page
    found = names["caught"](["negative", "negative", "neutral"], ["negative", "neutral", "neutral"], pd.DataFrame())
    assert found == 0.5
