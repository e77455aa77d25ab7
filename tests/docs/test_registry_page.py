"""Every command and program of docs/registry.md runs, in its order, and every name on the page exists."""

import hashlib
import importlib
import pickle
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from functools import reduce
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import pandas as pd
import pytest
import typer
from mlflow import MlflowClient

from cli import model
from cli.main import main
from lifecycle.gate.proof import replay
from tests.conftest import ROOT, exhaustive
from tests.networks import write_classifier

PAGE = (ROOT / "docs/registry.md").read_text(encoding="utf-8")
DATABASE = "sqlite:///.mlops/mlflow.db"
FENCES = re.compile(r"```(console|python)\n(.*?)```", re.S)


class Line(NamedTuple):
    """One command of the page: what it sets, what it runs, and how it says that it ends."""

    variables: dict[str, str]
    words: list[str]
    code: int


def parsed(line: str) -> Line:
    command, _, ends = line.partition("  # exit code ")
    words, variables = shlex.split(command), {}
    while "=" in words[0]:
        name, _, variables[name] = words.pop(0).partition("=")
    return Line(variables, words, int(ends or 0))


CONSOLE = [line for kind, block in FENCES.findall(PAGE) if kind == "console" for line in block.splitlines()]


@exhaustive  # a page a night: what it goes through has tests of its own
def test_every_command_and_program_runs_in_the_order_of_the_page(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one process, the gate's fresh process included: what that costs and proves is tested elsewhere."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_API_URL", server)
    for variable in ("HOST", "TOKEN", "CLIENT_ID", "CLIENT_SECRET", "CONFIG_PROFILE", "AUTH_TYPE"):
        monkeypatch.delenv(f"DATABRICKS_{variable}", raising=False)
    monkeypatch.setattr(replay, "_in_fresh_process", replay.replay)
    monkeypatch.setattr(replay, "ahead", lambda _=None: nullcontext())
    given: dict[str, str] = {}
    for kind, block in FENCES.findall(PAGE):
        if kind == "python":
            exec(compile(block, "docs/registry.md", "exec"), {"__name__": "page"})  # noqa: S102  our own page
            continue
        for line in block.splitlines():
            run(parsed(Template(line).substitute(given)), monkeypatch, capsys)
            given = given or older_things()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".mlops", "examples", "finbert", "model.pkl"]


def run(line: Line, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with monkeypatch.context() as here:
        for name, value in line.variables.items():
            here.setenv(name, value)
        here.setattr(sys, "argv", line.words)
        with pytest.raises(SystemExit) as end:
            sys.exit(main())
    printed = capsys.readouterr()
    assert (end.value.code or 0) == line.code, f"{shlex.join(line.words)}\n{printed.out}\n{printed.err[-3000:]}"
    assert printed.out.strip() or printed.err.strip(), line.words


def older_things() -> dict[str, str]:
    """What the page takes for granted, made without this project: a pickle, and models in stages."""
    mlflow = MlflowClient(DATABASE)
    released = mlflow.get_model_version("dev.ml.sentiment", "1")
    mlflow.create_registered_model("sentiment_classifier")
    for stage in ("Archived", "Staging", "Production", "None"):
        version = mlflow.create_model_version("sentiment_classifier", released.source, released.run_id).version
        mlflow.transition_model_version_stage("sentiment_classifier", version, stage)
    mlflow.transition_model_version_stage("prod.ml.sentiment", "1", "Production")
    content = pickle.dumps(notebook_model())
    Path("model.pkl").write_bytes(content)
    write_classifier(Path("finbert"), ["negative", "neutral", "positive"])
    return {"RUN_ID": released.run_id, "SHA256": hashlib.sha256(content).hexdigest()}


def notebook_model() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    rows = pd.read_parquet(".mlops/data/financial_news/1.0.0/split.parquet")
    train = rows[rows["split"] == "train"]
    return make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(list(train["text"]), list(train["label"]))


def commands(group: Any, before: tuple[str, ...]) -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*before, name))
        else:
            yield " ".join((*before, name))


def test_every_command_of_the_registry_is_run() -> None:
    """Here, or on the page that it leads to, whose own test runs them."""
    external = (ROOT / "docs/external-models.md").read_text(encoding="utf-8")
    there = [line for kind, block in FENCES.findall(external) if kind == "console" for line in block.splitlines()]
    run_here = {" ".join(parsed(line).words) for line in [*CONSOLE, *there]}
    missing = [
        command
        for command in commands(typer.main.get_command(model.app), ("mlops", "model"))
        if not any(line.startswith(f"{command} ") or line == command for line in run_here)
    ]
    assert missing == []
    assert all(line.startswith("mlops ") for line in run_here)


OLDER = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8").split("## Names of older utilities")[1]
NAMES = sorted(set(re.findall(r"`((?:lifecycle|flows|tasks)(?:\.\w+)+)`", OLDER)))


@pytest.mark.parametrize("name", NAMES)
def test_every_function_that_is_named_exists(name: str) -> None:
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        assert callable(reduce(getattr, parts[end:], module))
        return
    pytest.fail(f"{name} is in no module")


def test_the_names_of_older_utilities_lead_to_functions() -> None:
    rows = re.findall(r"^\| `(\w+\.\w+)` \| (.+) \| (.+) \|$", OLDER, re.M)
    assert len(rows) == 11
    assert all("`mlops " in command or command.startswith("none") for _, command, _ in rows)
    assert all("`lifecycle." in function or "`flows." in function for _, _, function in rows)
