"""Whatever is typed after `mlops`, nothing of it is a bug: random command lines over the whole tree of commands.

`TEST_EXAMPLES` sets how many are run (default 20).
"""

import contextlib
import io
import os
import string
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from typer.main import get_command

from cli.main import app, main
from lifecycle.settings import Settings
from tests.conftest import write_news

EXAMPLES = int(os.environ.get("TEST_EXAMPLES", "20"))
CODES = {0, 2, 3, 4, 5, 6, 7, 8}
"""The exit codes that are documented, without that of a bug."""
STARTS_SERVERS = {"demo", "up", "deploy", "gate selftest", "databricks deploy"}
"""What does much without being told anything: here it always gets an option too many."""

pytestmark = pytest.mark.timeout(600 + 20 * EXAMPLES)

ODD = [
    *(
        "",
        " ",
        "\t",
        "a\nb",
        "\x00",
        "a\x00b",
        "\x1b[31mred",
        "x" * 300,
        "x" * 50_000,
        "é",
        "👍",
        "\u202eabc",
        "\u0301",
    ),
    *(
        "\udcff",
        "\ud83d",
        "--",
        "-",
        "-1",
        "0",
        "1",
        "1.5",
        "1e999",
        "NaN",
        "inf",
        "-inf",
        "9" * 25,
        "0x10",
        "１",
        "٣",
        "1_0",
    ),
    *(
        ".",
        "..",
        "/",
        "~",
        "~nobody-here",
        "/dev/null",
        "/dev/full",
        "folder",
        "folder/",
        "news.csv",
        "none.csv",
        "no/such/x",
    ),
    *(
        "{}",
        "[]",
        "null",
        '"text"',
        "{'a': 1}",
        '{"a": {"b": [1]}}',
        "[" * 300,
        "{'alpha': 'x'}",
        "{'alpha': nan}",
        "a=b",
        "=",
    ),
    *(
        "'",
        '"',
        "`id`",
        "$(id)",
        "${HOME}",
        "%s",
        "{0}",
        "{logical_date}",
        "[bold]",
        "[/]",
        "\\",
        "*",
        "?",
        "#",
        ";",
        "a:b",
        ":",
    ),
    *(
        "dev",
        "prod",
        "latest",
        "champion",
        "LATEST",
        "v1",
        "True",
        "none",
        "sentiment",
        "news",
        "1.0.0",
        "2026-01-01",
        "2026-13-01",
    ),
    *(
        "http://127.0.0.1:9/x",
        "file:///etc/passwd",
        "models:/x/1",
        "models:/",
        "runs:/x/y",
        "sqlite:///x",
        "s3://",
        "://",
        "@x",
    ),
    *(
        "csv",
        "jsonl",
        "parquet",
        "delta",
        "utf-8",
        "utf-16",
        "rot13",
        "no-code",
        "day",
        "a.b.c",
        "prod.ml.sentiment",
        "0" * 64,
    ),
]
VALUES = st.one_of(
    st.sampled_from(ODD),
    st.sampled_from(ODD),
    st.text(max_size=20),
    st.text(string.printable, max_size=8),
    st.integers().map(str),
)


def leaves(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        yield from leaves(command, (*path, name)) if hasattr(command, "commands") else [((*path, name), command)]


COMMANDS = dict(leaves(get_command(app)))


PLAUSIBLE = {
    "model_name": "sentiment",
    "data_name": "news",
    "data_version": "1.0.0",
    "source": "news.csv",
    "input": "news.csv",
    "sha256": "0" * 64,
    "version": "1",
    "deployment": "train/dev",
    "alias": "shadow",
    "to": "staging",
    "from": "dev",
    "env": "dev",
    "step": "train",
    "keep": "3",
}
"""What a person would give, so that a line gets past its other options to the odd one."""


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command with most of what it needs and some of what it takes, in any order; few or all are odd."""
    path = draw(st.sampled_from(list(COMMANDS)))
    oddness, groups = draw(st.sampled_from([1, 1, 3, 10])), []
    for parameter in COMMANDS[path].params:
        if draw(st.integers(0, 19)) >= (19 if parameter.required else 4):
            continue
        if parameter.name in PLAUSIBLE and draw(st.integers(0, 9)) >= oddness:
            opts = parameter.opts[:1] if parameter.param_type_name == "option" else []
            groups.append([*opts, PLAUSIBLE[parameter.name]])
        elif parameter.param_type_name == "argument":
            groups.append([draw(VALUES)])
        elif parameter.is_flag:
            groups.append([draw(st.sampled_from([*parameter.opts, *parameter.secondary_opts]))])
        else:
            groups.append([draw(st.sampled_from(parameter.opts)), draw(VALUES)])
    if draw(st.integers(0, 9)) == 0:
        groups.append([draw(VALUES)])
    if " ".join(path) in STARTS_SERVERS:
        groups.append(["--no-such-option"])
    return [*path, *(word for group in draw(st.permutations(groups)) for word in group)]


@pytest.fixture
def place(news: Settings, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a table and a folder, a state with a dataset and no model, a server for the flows."""
    work = tmp_path / "work"
    (work / "folder").mkdir(parents=True)
    write_news(work / "news.csv")
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_API_URL", server)
    return news.state


def run(line: list[str]) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["mlops", *line])
        patch.setattr(sys, "stdin", io.StringIO())
        with pytest.raises(SystemExit) as end:
            main()
    return int(end.value.code or 0), out.getvalue(), err.getvalue()  # type: ignore[arg-type]


@pytest.mark.usefixtures("place")
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(line=command_lines())
@example(["trigger", "train/dev", "--summary", ""])
def test_no_command_line_is_a_bug(line: list[str]) -> None:
    code, out, err = run(line)
    assert code in CODES, err
    assert "Traceback" not in out + err
    assert code == 0 or (out + err).strip(), "it says why"
