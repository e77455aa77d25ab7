"""What the tests of the pages share: a page's commands and programs, run in its order."""

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.main import main

FENCES = re.compile(r"^```(console|python)\n(.*?)^```", re.S | re.M)

Walk = Callable[..., str]
"""Runs what a page tells people to run, but for commands that begin as `but` does, and returns what was printed."""


@pytest.fixture
def walk(
    server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    replayed_here: None,  # noqa: ARG001
) -> Walk:
    """In an empty folder and in one process, the gate's fresh process included: what that costs and proves is tested
    elsewhere."""
    monkeypatch.setenv("PREFECT_API_URL", server)
    monkeypatch.delenv("MLOPS_CONFIG_DIR", raising=False)
    monkeypatch.chdir(tmp_path)

    def typed(line: str) -> str:
        command, _, code = line.partition("  # exit code ")
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit) as end:
            sys.exit(main())
        printed = capsys.readouterr()
        assert (end.value.code or 0) == int(code or 0), f"{line}\n{printed.out}\n{printed.err[-3000:]}"
        assert (printed.out + printed.err).strip(), line
        return printed.out + printed.err

    def walk(page: str, *, programs: bool = True, but: str = "\n") -> str:
        told = []
        for kind, block in FENCES.findall(page):
            if kind == "console":
                told += [typed(line) for line in block.splitlines() if not line.startswith(but)]
            elif programs:
                exec(compile(block, "the page", "exec"), {"__name__": "__main__"})  # noqa: S102  what the page tells people to run
        return "".join(told) + capsys.readouterr().out

    return walk
