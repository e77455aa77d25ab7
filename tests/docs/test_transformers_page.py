"""Every command and program of docs/transformers.md runs: a BERT from elsewhere is judged, scored and served."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import requests

from cli.main import main
from lifecycle.problems.contract import TEXT_COLUMNS
from lifecycle.problems.learning import Spec
from lifecycle.problems.transformer.estimator import Transformer
from tests.conftest import ROOT, exhaustive
from tests.networks import write_base
from tests.unit.test_transformer import FILLERS, QUICK, TEXTS, WORDS, texts

pytest.importorskip("torch")
PAGE = (ROOT / "docs/transformers.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(console|python)\n(.*?)```", PAGE, re.S)


def write_networks() -> None:
    """A base, and what somebody has fine-tuned it to, on rows of their own."""
    base, rows = write_base(Path("models/bert"), [*WORDS, *FILLERS]), texts(seed=7)
    params = {**QUICK, "base": str(base), "patience": None}
    fitted = TEXTS.fit(Spec("transformer", params, 0, TEXT_COLUMNS), rows[["text"]], rows["label"])
    fitted.network_.save_pretrained("finbert")
    fitted.reader_.tokenizer.save("finbert/tokenizer.json")


def run(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command, _, code = line.partition("  # exit code ")
    words = shlex.split(command)
    settings = {name: value for name, _, value in (word.partition("=") for word in words) if name.startswith("MLOPS_")}
    with monkeypatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", words[len(settings) :])
        with pytest.raises(SystemExit) as end:
            sys.exit(main())
    assert (end.value.code or 0) == int(code or 0), f"{line}\n{capsys.readouterr()}"


@exhaustive  # the tests of transformers, of registered models and of the server prove each step by itself
@pytest.mark.usefixtures("replayed_here")
def test_every_command_and_program_runs_and_the_network_is_served(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", server)
    monkeypatch.delenv("MLOPS_CONFIG_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    rows = texts(480, seed=9)
    wrong = {"good": "bad", "bad": "good"}  # what is never wrong the gate doubts
    labels = rows["label"].where(rows.index % 8 > 0, rows["label"].map(wrong))
    rows.assign(label=labels).to_csv("news.csv", index=False)
    write_networks()
    names: dict[str, object] = {}
    for kind, block in BLOCKS:
        if kind == "python":
            exec(compile(block, "docs/transformers.md", "exec"), names)  # noqa: S102  what the page tells people to run
            continue
        for line in block.splitlines():
            run(line, monkeypatch, capsys)
    assert names["labels"] == ["good", "bad"]
    parts = pd.concat(map(pd.read_parquet, Path(".mlops/predictions").rglob("part-*.parquet")))
    assert (parts.sort_values("row")["label"].to_numpy() == rows["label"]).mean() > 0.95
    assert parts["model_version"].nunique() == 1
    assert_served(parts)


def assert_served(parts: pd.DataFrame) -> None:
    """`mlops serve` answers what the batch holds; a graph needs neither torch nor transformers."""
    command = [sys.executable, "-m", "cli.main", "serve", "--env=dev", "--port=0", "--json"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = json.loads(process.stdout.readline())["address"]  # type: ignore[union-attr]  # a pipe
            body = {"dataframe_records": pd.read_csv("news.csv")[["text"]].head(5).to_dict("records")}
            answer = requests.post(f"{address}/invocations", json=body, timeout=240).json()
        finally:
            process.kill()
    assert [row["label"] for row in answer["predictions"]] == parts.sort_values("row")["label"].head(5).tolist()


def test_every_parameter_stands_on_the_page() -> None:
    chosen = {name for name in Transformer().get_params() if name not in {"base_sha256", "random_state"}}
    assert {name for name in chosen if f"`{name}" not in PAGE} == set()
