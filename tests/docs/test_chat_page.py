"""Every command and program of docs/chat.md runs, in its order; its definition and its parameters are valid."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

from cli.main import main
from lifecycle.problems.chat.parameters import Parameters
from lifecycle.problems.known import named
from lifecycle.settings.definitions import ModelDefinition
from tests.conftest import ROOT
from tests.encoder import write_encoder
from tests.questions import write_project

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


@pytest.mark.usefixtures("replayed_here")
def test_every_command_and_program_runs_in_the_order_of_the_page(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one process, the gate's fresh process included: what that costs and proves is tested elsewhere."""
    monkeypatch.setenv("PREFECT_API_URL", server)
    monkeypatch.delenv("MLOPS_CONFIG_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    write_project()
    write_encoder(Path("minilm"))
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
