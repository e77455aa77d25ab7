"""What leaves a command: results alone on stdout in whatever code page, one line on stderr, and never a traceback.

Promise: Stdout holds results alone; every end has its code and one line, never a traceback; no command line is a bug
(also `tests/flows/test_command_lines.py`).
"""

import asyncio
import json
import os
import stat
import subprocess
import sys
import weakref
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer

from cli import ending, runs
from lifecycle.core.errors import DataError
from lifecycle.registry.leaderboard import TrainingLine
from tests.conftest import ROOT, some

WORDS = "👍 плохо mäßig 中"
RUN = "from mlops_lifecycle.start import main; main()"


def mlops(
    *arguments: str, home: Path, streams: str = "", program: str = RUN, **variables: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a command as a shell does, with redirections such as `<&-`."""
    words = ["sh", "-c", f'exec "$@" {streams}', "sh", sys.executable, "-c", program, *arguments]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment = {**outside, "PYTHONPATH": str(ROOT), "MLOPS_HOME": str(home), "TMPDIR": str(home.parent), **variables}
    return subprocess.run(words, env=environment, capture_output=True, check=False)


@pytest.mark.parametrize(
    "encoding",
    some(
        "ascii:strict",
        "cp1252",
        "utf-16",
        "ascii",
        "latin-1",
        "cp437",
        "koi8-r",
        "shift_jis",
        "gb2312",
        "utf-8:strict",
        always=3,
    ),
)
def test_a_console_of_any_code_page_shows_what_it_can_and_json_loses_nothing(tmp_path: Path, encoding: str) -> None:
    given = {"PYTHONIOENCODING": encoding, "MLOPS_CARD__INTENDED_USE": WORDS}
    done = mlops("config", "show", "--json", home=tmp_path, **given)
    assert (done.returncode, done.stderr) == (0, b"")
    said = done.stdout.decode(encoding.partition(":")[0])
    assert json.loads(said)["card.intended_use"]["value"] == WORDS


@pytest.mark.parametrize(
    ("streams", "code"),
    [
        *(
            (" | true", 0),
            ("2>&1 | true", 0),
            ("| head -n 1", 0),
            (">&-", 0),
            ("<&-", 0),
            ("2>&-", 0),
            ("<&- >&- 2>&-", 0),
        ),
        *(
            ("</dev/null >/dev/null", 0),
            (">/dev/full", 6),
            ("2>/dev/full", 0),
            (">/dev/full 2>&-", 6),
            ("1<>/dev/null", 0),
        ),
    ],
)
@pytest.mark.parametrize("arguments", some(("config", "show"), ("config", "schema"), always=1))
def test_streams_that_are_closed_full_or_left_early_end_in_no_traceback(
    tmp_path: Path, arguments: tuple[str, ...], streams: str, code: int
) -> None:
    done = mlops(*arguments, home=tmp_path, streams=streams, PYTHONUNBUFFERED="1")
    assert b"Traceback" not in done.stderr + done.stdout
    assert b"BrokenPipe" not in done.stderr + done.stdout
    assert done.returncode == code


def test_only_results_go_to_stdout_whoever_prints(tmp_path: Path) -> None:
    """A library in Python, one that keeps `sys.stdout`, native code that knows descriptor 1, a child."""
    program = """
import os, subprocess, sys
from cli import console, runner, show
with console.streams():
    runner.quiet()
    print("printed"); sys.stdout.write("written\\n"); os.write(1, b"native\\n"); subprocess.run(["echo", "child"])
    show.print_json({"a": 1})
    print("after"); os.write(1, b"native after\\n")
"""
    done = mlops(home=tmp_path, program=program)
    assert json.loads(done.stdout) == {"a": 1}
    for word in (b"printed", b"written", b"native", b"child", b"after"):
        assert word in done.stderr


def test_a_line_is_there_while_the_command_goes_on() -> None:
    program = "import sys; from cli import console\nwith console.streams(): console.echo('up'); sys.stdin.read()"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        assert process.poll() is None


class Odd(BaseException):
    """No `Exception`, as an event loop's cancellation."""


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (DataError("a.csv, row 3: broken.", "Correct it."), 3, "Error: a.csv, row 3: broken. Correct it."),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (EOFError(), 2, "was not answered"),
        (typer.Abort(), 2, "was not answered"),
        (typer.Exit(7), 7, ""),
        (typer.BadParameter("it is odd"), 2, "Error: Invalid value: it is odd. See: mlops --help"),
        (MemoryError(), 6, "not enough memory"),
        (ValueError("hunter2"), 1, "This is a bug: ValueError at test_console.py:"),
        (RecursionError(), 1, "This is a bug: RecursionError"),
        (BrokenPipeError(32, "Broken pipe"), 1, "This is a bug: BrokenPipeError"),
        (OSError(5, "hunter2"), 1, "This is a bug: OSError"),
        (OSError(28, "No space left on device"), 2, "No space left on device. Make room"),
        (asyncio.CancelledError(), 1, "This is a bug: CancelledError"),
        (ExceptionGroup("hunter2", [ValueError("hunter2")]), 1, "This is a bug: ExceptionGroup"),
        (UnicodeEncodeError("ascii", "hunter2é", 7, 8, "odd"), 1, "This is a bug: UnicodeEncodeError"),
        (Odd("hunter2"), 1, "This is a bug: Odd"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_each_end_has_its_code_and_one_line(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    words: str,
) -> None:
    app = typer.Typer()

    @app.command()
    def go() -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["mlops"])
    assert ending.of(app) == code
    said = capsys.readouterr()
    assert (said.out, len(said.err.strip().splitlines())) == ("", 1 if words else 0)
    assert words in said.err
    assert "hunter2" not in said.err
    assert [path.parent.name for path in home.rglob("bug-*")] == (["logs"] if code == 1 else [])


def test_when_memory_is_short_what_held_it_is_let_go_before_a_word_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Large:
        pass

    app, held = typer.Typer(), list[weakref.ref[Large]]()

    @app.command()
    def go() -> None:
        large = Large()
        held.append(weakref.ref(large))
        raise MemoryError

    monkeypatch.setattr(sys, "argv", ["mlops"])
    monkeypatch.setattr(ending, "_said", lambda _: 6 if held[0]() is None else 1)
    assert ending.of(app) == 6


def test_a_bug_names_the_file_of_its_traceback_which_holds_no_secret(tmp_path: Path) -> None:
    program = """
from lifecycle import settings
def broken(*_): raise ValueError("s3cr3t-token at https://me:pass@host/t.csv?sig=abc and hooks")
settings.origins = broken
from mlops_lifecycle.start import main; main()
"""
    (tmp_path / "state").mkdir()
    for home, folder in ((tmp_path / "state", tmp_path / "state" / "logs"), (tmp_path / "no-state", tmp_path)):
        done = mlops("config", "show", "--json", home=home, program=program, DATABRICKS_TOKEN="s3cr3t-token")  # noqa: S106
        said = done.stderr.decode()
        assert (done.returncode, said.count("\n")) == (1, 1)
        assert json.loads(done.stdout)["error"]["kind"] == "Bug"
        assert b"s3cr3t" not in done.stdout + done.stderr
        assert "while running mlops config show." in said
        (path,) = folder.glob("bug-*.txt")
        assert str(path) in said
        kept = path.read_text()
        assert "Traceback" in kept
        assert "ValueError: *** at https://***@host/t.csv?sig=*** and hooks" in kept
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "arguments", [("train", "--no-such"), ("nope",), ("train", "--seed", "x"), ("data", "validate"), ("data", "nope")]
)
def test_a_command_line_that_is_none_is_told_in_one_form(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    from cli.main import app

    monkeypatch.setattr(sys, "argv", ["mlops", *arguments])
    assert ending.of(app) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.startswith("Error: ")
    assert said.err.endswith(" --help\n")


def test_a_working_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    program = f"import os; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r}); {RUN}"
    done = mlops("data", "list", home=tmp_path, program=program)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"Error: The working directory is no longer there. Change to one that is: cd\n"


@pytest.mark.parametrize(("ids", "next_step"), [(["a" * 32], ""), (["a" * 32, "b" * 32], "aaaaaaaa bbbbbbbb")])
def test_a_single_training_is_not_to_be_compared_with_itself(
    ids: list[str], next_step: str, capsys: pytest.CaptureFixture[str]
) -> None:
    about: dict[str, Any] = {"at": datetime.now(UTC), "status": "FINISHED", "algorithm": "sgd", "dataset": "news 1"}
    lines = [TrainingLine(run_id=run_id, params={}, metrics={}, decision="Accepted", **about) for run_id in ids]
    runs._show(lines, [], runs.RunsRequest(model_name="news"))
    assert capsys.readouterr().out.partition("mlops compare ")[2].strip() == next_step
