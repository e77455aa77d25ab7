"""Every command and program of docs/external-models.md runs, in its order."""

import re
import shlex
import sys
from pathlib import Path

import pandas as pd
import pytest

from cli.main import main
from tests.conftest import ROOT, write_news

PAGE = (ROOT / "docs/external-models.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(console|python)\n(.*?)```", PAGE, re.S)


@pytest.mark.usefixtures("replayed_here")
@pytest.mark.filterwarnings("ignore::UserWarning")  # MLflow advises who saves a model
def test_every_command_and_program_runs_in_the_order_of_the_page(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", server)
    monkeypatch.delenv("MLOPS_CONFIG_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    rows = pd.read_csv(write_news(tmp_path / "news.csv", 480))
    swapped = rows["label"].where(rows.index % 5 > 0, rows["label"].shift(1, fill_value="neutral"))  # nobody is perfect
    rows.assign(label=swapped).to_csv("news.csv", index=False)
    for kind, block in BLOCKS:
        if kind == "python":
            exec(compile(block, "docs/external-models.md", "exec"), {"__name__": "__main__"})  # noqa: S102  as people run it
            continue
        for line in block.splitlines():
            command, _, code = line.partition("  # exit code ")
            monkeypatch.setattr(sys, "argv", shlex.split(command))
            with pytest.raises(SystemExit) as end:
                sys.exit(main())
            assert (end.value.code or 0) == int(code or 0), f"{line}\n{capsys.readouterr()}"
    assert "positive" in capsys.readouterr().out
