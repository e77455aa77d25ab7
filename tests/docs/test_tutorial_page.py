"""docs/tutorial.md and what programs read of it: every command and program runs, in its order, in an empty folder."""

import re
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from cli.main import main
from lifecycle.gate.proof import replay
from tests.conftest import ROOT

PAGES = [ROOT / "docs/tutorial.md", ROOT / "docs/reference/python.md"]
"""The second reads what the first has made."""
FENCES = re.compile(r"```(console|python)\n(.*?)```", re.S)


def test_every_command_and_program_runs_in_the_order_of_the_page(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one process, the gate's fresh process included: what that costs and proves is tested elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_API_URL", server)
    monkeypatch.setattr(replay, "_in_fresh_process", replay.replay)
    monkeypatch.setattr(replay, "ahead", lambda _=None: nullcontext())
    for kind, block in FENCES.findall("\n".join(page.read_text(encoding="utf-8") for page in PAGES)):
        if kind == "python":
            exec(compile(block, "the pages", "exec"), {"__name__": "page"})  # noqa: S102  our own page
            continue
        for line in block.splitlines():
            command, _, ends = line.partition("  # exit code ")
            monkeypatch.setattr(sys, "argv", shlex.split(command))
            with pytest.raises(SystemExit) as end:
                sys.exit(main())
            printed = capsys.readouterr()
            assert (end.value.code or 0) == int(ends or 0), f"{command}\n{printed.out}\n{printed.err[-3000:]}"
            assert printed.out.strip(), command
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".mlops",
        "cells.csv",
        "config",
        "news.csv",
        "verdict.html",
    ]
