"""docs/gate.md is true: its commands run, its rules are those of the code with their defaults, and none is left out."""

import re
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest
import typer
import yaml
from pydantic import BaseModel

from cli.main import app, main
from lifecycle.gate.proof import replay
from lifecycle.problems.text_classification import behaviour
from lifecycle.settings.gate_rules import HIGHER, LOWER, CostRules, GateRules
from lifecycle.settings.load import Settings
from tests.conftest import ROOT

PAGE = (ROOT / "docs/gate.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.S | re.M)
PROSE = re.sub(r"^```.*?^```", "", PAGE, flags=re.S | re.M)
LINES = [line for kind, block in BLOCKS if kind in {"", "console"} for line in block.splitlines()]
INLINE = re.findall(r"`(mlops [^`\n]+)`", PROSE)
COMMANDS = [line for line in [*LINES, *INLINE] if line.startswith("mlops ")]


def test_every_command_runs_in_the_order_of_the_page(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one process, the gate's fresh process included: what that costs and proves is tested elsewhere."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_API_URL", server)
    monkeypatch.setattr(replay, "_in_fresh_process", replay.replay)
    monkeypatch.setattr(replay, "ahead", lambda _=None: nullcontext())
    for line in (line for kind, block in BLOCKS if kind == "console" for line in block.splitlines()):
        command, _, ends = line.partition("  # exit code ")
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit) as end:
            sys.exit(main())
        printed = capsys.readouterr()
        assert (end.value.code or 0) == int(ends or 0), f"{command}\n{printed.out}\n{printed.err[-3000:]}"
        assert printed.out.strip(), command
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mlops", "examples", "verdict.html"]


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


def test_the_rules_are_those_of_the_code_with_their_defaults() -> None:
    written = next(yaml.safe_load(block) for kind, block in BLOCKS if kind == "yaml")["gate"]
    assert GateRules.model_validate(written) == GateRules()
    for group, rules in [(GateRules, written), *((kind, written[name]) for name, kind in _groups(GateRules))]:
        assert set(rules) == set(group.model_fields)


def _groups(model: type[BaseModel]) -> list[tuple[str, type[BaseModel]]]:
    """The rules that are groups of rules; one that is off by default is none here."""
    kinds = [(name, field.annotation) for name, field in model.model_fields.items()]
    return [(name, kind) for name, kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]


def test_every_rule_and_every_metric_is_explained() -> None:
    explained = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", PROSE))))
    groups = [GateRules, CostRules, *(kind for _, kind in _groups(GateRules))]
    asked = {name for group in groups for name in group.model_fields} - {"currency", "slices", "by"}
    assert asked - explained == set()
    assert (HIGHER | LOWER) - explained == set()


def test_every_block_of_settings_and_every_suite_is_valid(tmp_path: Path) -> None:
    for content in [yaml.safe_load(block) for kind, block in BLOCKS if kind == "yaml"]:
        if "tests" in content:
            (tmp_path / "suite.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
            assert behaviour.load(["suite"], tmp_path)[0].tests
        else:
            assert set(Settings.model_validate({"env": "prod", **content}).model_fields_set) > {"env"}


def test_the_metric_of_the_page_can_be_called() -> None:
    (program,) = [block for kind, block in BLOCKS if kind == "python"]
    names: dict[str, object] = {}
    exec(compile(program, "docs/gate.md", "exec"), names)  # noqa: S102  our own page
    found = names["caught"](["negative", "negative", "neutral"], ["negative", "neutral", "neutral"], pd.DataFrame())
    assert found == 0.5


def test_every_file_and_anchor_that_is_named_exists() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        name, _, anchor = target.partition("#")
        page = ROOT / "docs" / name if name else ROOT / "docs/gate.md"
        assert page.is_file(), target
        assert not anchor or anchor in _anchors(page), target
    linked = re.findall(r"\]\(#([^)]+)\)", PAGE.partition("\n## ")[0])
    sections = [_anchor(title) for title in re.findall(r"^## (.+)$", PROSE, re.M)]
    assert linked == sections


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    return {_anchor(title) for title in re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)}


def _anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
