"""Every command and program of docs/chat.md runs, in its order; its definition and its parameters are valid."""

import re
import shlex
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from cli.main import main
from lifecycle.problems.chat.parameters import Parameters
from lifecycle.problems.known import named
from lifecycle.settings.definitions import ModelDefinition
from tests.conftest import ROOT
from tests.encoder import write_encoder
from tests.pairs import DOES, WHAT, WHERE, WHO

PAGE = (ROOT / "docs/chat.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(console|python)\n(.*?)```", PAGE, re.S)
SLOW = "mlops gate selftest"
"""It runs in test_chat already."""


def test_its_definition_is_valid_and_every_parameter_stands_there() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    written = yaml.safe_load(block)
    definition = ModelDefinition.model_validate(written)
    assert definition.model_dump(exclude_unset=True) == written
    for name in (*named("chat").learning.estimators, *Parameters.model_fields):
        assert f"`{name}`" in PAGE


def write_project() -> None:
    """A folder of documents, questions of which the documents answer three quarters, and further ones."""
    Path("handbook").mkdir()
    facts = [(f"{what.split()[-1]}{who.split()[-1]}.md", who, what) for what in WHAT for who in WHO]
    for place, (name, who, what) in enumerate(facts):
        text = f"# {who}\n\n{who} is {DOES[place % len(DOES)]} {what} {WHERE[place % len(WHERE)]}.\n"
        Path("handbook", name).write_text(text, encoding="utf-8")
    rows = [(f"Where is {who.lower()} with {what}?", name) for name, who, what in facts]
    rows += [(f"Who told {who.lower()} the {n}th riddle?", "") for who in WHO for n in range(4, 12)]
    table = pd.DataFrame(rows, columns=["question", "documents"])
    table.to_csv("questions.csv", index=False)
    table.sample(20, random_state=0).to_csv("asked.csv", index=False)
    write_encoder(Path("minilm"))


@pytest.mark.usefixtures("replayed_here")
def test_every_command_and_program_runs_in_the_order_of_the_page(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one process, the gate's fresh process included: what that costs and proves is tested elsewhere."""
    monkeypatch.setenv("PREFECT_API_URL", server)
    monkeypatch.delenv("MLOPS_CONFIG_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    write_project()
    for kind, block in BLOCKS:
        if kind == "python":
            exec(compile(block, "docs/chat.md", "exec"), {})  # noqa: S102  what the page tells people to run
            continue
        for line in block.splitlines():
            command, _, code = line.partition("  # exit code ")
            if command.startswith(SLOW):
                continue
            monkeypatch.setattr(sys, "argv", shlex.split(command))
            with pytest.raises(SystemExit) as end:
                sys.exit(main())
            assert (end.value.code or 0) == int(code or 0), f"{line}\n{capsys.readouterr()}"
    assert "refused" in capsys.readouterr().out
