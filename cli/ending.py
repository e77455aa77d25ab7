"""How a command ends: what went wrong in one line on stderr, and an exit code that says of which kind it is.

What nobody foresaw is a bug. Its traceback is for those who mend it, so it goes to a file.
"""

import json
import os
import platform
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import typer

from cli import console, interrupts
from lifecycle.core import writer_process
from lifecycle.core.errors import ConfigError, MlopsError, TransientError, of_a_path, of_the_machine
from lifecycle.core.masking import masked
from mlops_lifecycle import start

BUG, INTERRUPTED = 1, 130
_USAGE = typer.BadParameter.__mro__[1]
"""What typer raises for a command line that is none; of its kinds it exports this one."""


def of(app: typer.Typer) -> int:
    """Run a command line to its end and return the exit code."""
    try:
        _require_working_directory()
        with interrupts.orderly():
            code = int(app(prog_name="mlops", standalone_mode=False) or 0)  # no value, or the code of a `typer.Exit`
        console.results().flush()
    except MlopsError as error:
        code = _said(error)
    except (EOFError, typer.Abort):
        code = _said(ConfigError("Nothing was changed: the question was not answered."))
    except KeyboardInterrupt:
        code = INTERRUPTED
    except MemoryError as error:
        traceback.clear_frames(error.__traceback__)  # what they hold is what the rest lacks
        code = _said(TransientError("There is not enough memory.", "End other programs, or ask for less at a time."))
    except SystemExit as error:
        if isinstance(error.code, int) and error.code > interrupts.BASE:
            _answer("Interrupted", f"Ended by signal {error.code - interrupts.BASE}.", "", error.code)
        if error.code != 1 or not isinstance(error.__context__, BrokenPipeError):
            raise
        code = _bug(app, error.__context__)  # typer takes every broken pipe for that of stdout, which cannot break here
    except BaseException as error:
        expected = _usage(error) if isinstance(error, _USAGE) else of_the_machine(error) or of_a_path(error)
        code = _said(expected) if expected else _bug(app, error)
    if code == INTERRUPTED:
        sys.stderr.write("Interrupted.\n")
        _answer("Interrupted", "Interrupted.", "", code)
    return code


def _require_working_directory() -> None:
    try:
        Path.cwd()
    except OSError:
        raise ConfigError("The working directory is no longer there.", "Change to one that is: cd") from None


def _said(error: MlopsError) -> int:
    if text := str(error):
        sys.stderr.write(f"Error: {text}\n")
        _answer(type(error).__name__, error.what, error.fix, error.exit_code)
    return error.exit_code


def _answer(kind: str, what: str, fix: str, code: int) -> None:
    """Give whoever reads JSON the error as JSON, unless a result is there already."""
    asked = "--json" in sys.argv[1:] and "submit" not in sys.argv[1:]  # there it names the file of the run
    if asked and not console.has_result():
        facts = {"kind": kind, "message": what, "fix": fix, "exit_code": code}
        with suppress(MlopsError):  # standard output may be what is wrong
            console.echo(json.dumps({"error": facts}, indent=2, ensure_ascii=not console.holds_all()))


def _usage(error: BaseException) -> ConfigError:
    """What is wrong with a command line; where help was asked for by giving nothing, it has been printed."""
    message, context = " ".join(error.format_message().split()), error.ctx  # type: ignore[attr-defined]
    where = context.command_path if context else "mlops"
    message = message.replace("Value error, ", "").rstrip(".")  # pydantic's name for what a check of ours has raised
    end = "" if message.endswith("?") else "."
    return ConfigError(f"{message}{end}", f"See: {where} --help") if message else ConfigError("")


def _bug(app: typer.Typer, error: BaseException) -> int:
    """Say what was run and where the traceback lies. What the exception says may be secret, so only the file has it."""
    command, where = " ".join(_words(app)), _place(error)
    text = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC, mlops {version('mlops-lifecycle')}, {platform.platform()}, "
    text += f"Python {platform.python_version()}\n{command}\n\n{''.join(traceback.format_exception(error))}"
    kept = _keep(masked(text))
    said = f"The traceback is in {kept}; please report it." if kept else "Its traceback could not be kept anywhere."
    what = f"This is a bug: {type(error).__name__} at {where}, while running {command}."
    sys.stderr.write(f"Error: {what} {said}\n")
    _answer("Bug", what, said, BUG)
    return BUG


def _words(app: typer.Typer) -> Iterator[str]:
    """The command without its options, whose values are nobody else's business."""
    yield "mlops"
    command = typer.main.get_command(app)
    for word in sys.argv[1:]:
        if found := getattr(command, "commands", {}).get(word):
            command = found
            yield word


def _place(error: BaseException) -> str:
    """The last line of ours that was running, else the last one."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [
        frame for frame in frames if Path(frame.filename).is_relative_to(start.HOME) and "lib" not in frame.filename
    ]
    last = (ours or frames)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


def _keep(text: str) -> Path | None:
    """Write a report for its owner only, to the logs of the state, else to the temporary folder."""
    for folder in _folders():
        path = folder / f"bug-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.txt"
        with suppress(OSError):
            folder.mkdir(exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(text.encode("utf-8", "backslashreplace").decode())
            return path
    return None


def _folders() -> Iterator[Path]:
    with suppress(Exception):  # whatever is wrong may be wrong with the settings
        from lifecycle import settings

        if (state := settings.load("dev").state).is_dir():
            yield state / "logs"
    with suppress(OSError):
        yield writer_process.temporary_place()
